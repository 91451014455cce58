"""Which version of an object a name means, read from the store itself (DESIGN.md 4: one read is linearizable)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from pydantic import ValidationError

from prefect_registry.errors import FormatError
from prefect_registry.ledger import manifests, paths
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.names import key_of
from prefect_registry.objects.errors import RegistryObjectNotFound
from prefect_registry.objects.versions import FIRST, Version, Wanted
from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.records.datasets import FileEntry
from prefect_registry.records.objects import AliasValue, ObjectSettings, ObjectValue
from prefect_registry.records.types import ALIAS, OBJECT


@dataclass(frozen=True)
class Found:
    """A visible version of an object.

    Attributes:
        generation: What is visible of it now.
        value: What it holds; of one that was restored, what it held before.
        written: The generation that wrote ``value``: its run made the files.
    """

    name: str
    version: Version
    generation: CellGeneration
    value: ObjectValue
    written: CellGeneration

    @property
    def id(self) -> str:
        """``name@version``."""
        return cell_name(self.name, self.version)


def cell_name(name: str, version: Version) -> str:
    """The name of the cell that is a version of an object."""
    return f"{name}@{version}"


class Finding:
    """Reads versions and aliases, inside a run or outside any."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.store = ledger.store

    # -- one version ---------------------------------------------------------------------------------------------

    def find(self, wanted: Wanted, settings: ObjectSettings, run_id: str | None) -> Found | None:
        """What ``wanted`` means now, or None."""
        if wanted.alias is not None:
            version = self.alias(wanted.name, wanted.alias, run_id)
            return self.version(wanted.name, version, run_id) if version is not None else None
        if wanted.version is not None:
            return self.version(wanted.name, wanted.version, run_id)
        if not settings.version_objects:
            return self.version(wanted.name, FIRST, run_id)
        return self.latest(wanted.name, run_id)

    def version(self, name: str, version: Version, run_id: str | None) -> Found | None:
        """One version, if it is visible and not deleted."""
        generation = self.ledger.cells.latest(OBJECT, cell_name(name, version), run_id, guess=0)
        return self.found(name, version, generation) if generation is not None else None

    def latest(self, name: str, run_id: str | None) -> Found | None:
        """The highest visible version. Others' staged, dropped and deleted ones are passed over."""
        for version, gen in sorted(self.numbers(name).items(), reverse=True):
            newest = self.store.read(paths.cell_key(cell(name, version), gen), CellGeneration)
            visible = self.ledger.cells.visible_from(newest, run_id)
            found = self.found(name, version, visible) if visible is not None else None
            if found is not None:
                return found
        return None

    def found(self, name: str, version: Version, generation: CellGeneration) -> Found | None:
        """What a visible generation makes of its version; None for a tombstone."""
        if generation.deleted or generation.value.get("object") != name:
            return None
        value, written = self._value(generation), generation
        while value.restores is not None:
            key = paths.cell_key(cell(name, version), value.restores)
            written = self.store.read(key, CellGeneration)
            value = self._value(written)
        return Found(name, version, generation, value, written)

    def _value(self, generation: CellGeneration) -> ObjectValue:
        try:
            return ObjectValue.model_validate(generation.value)
        except ValidationError as error:
            raise FormatError(
                f"The record of {generation.name!r:.200} cannot be read",
                why=str(error.errors(include_url=False, include_input=False)[0]["msg"]),
                todo="It was damaged, or written by something else; nothing was changed",
            ) from error

    def files(self, found: Found) -> list[FileEntry]:
        """The files of a version that lie in the store by themselves."""
        return self.files_of(found.value, found.id)

    def files_of(self, value: ObjectValue, subject: str) -> list[FileEntry]:
        """The same, of what a version holds; ``subject`` is for errors."""
        files = value.files
        if value.manifest is not None:
            files = manifests.load_manifest(self.store, value.manifest)
        manifests.check_stored(files, subject)
        return files

    # -- many ----------------------------------------------------------------------------------------------------

    def numbers(self, name: str) -> dict[Version, int]:
        """The numbers of an object that are taken, visible or not, each with its newest generation: one listing."""
        prefix = f"{paths.CELLS}{OBJECT}/{key_of(name)}/"
        found: dict[Version, int] = {}
        for key in paths.generations(self.store.storage.list(prefix)):
            version = Version.of_key(key[len(prefix) :].partition("/")[0])
            if version is not None:
                found[version] = max(paths.gen_of_key(key), found.get(version, -1))
        return found

    def highest_number(self, name: str) -> Version | None:
        """The version with the highest major number of an object that anybody has taken, visible or not, or is about to
        take: one listing, of names alone where the store can.
        """
        highest: Version | None = None
        for each in self.store.storage.names(f"{paths.CELLS}{OBJECT}/{key_of(name)}/"):
            spelled = each.rstrip("/")
            major = spelled.partition(".")[0]
            if major.isdecimal() and (highest is None or int(major) > highest.numbers[0]):
                highest = Version.of_key(spelled) or highest
        return highest

    def versions(self, name: str, run_id: str | None) -> Iterator[Found]:
        """Every visible version, ascending."""
        numbers = sorted(self.numbers(name).items())
        keys = [paths.cell_key(cell(name, version), gen) for version, gen in numbers]
        newest = self.store.read_many(keys, CellGeneration) if keys else []
        calls: list[Callable[[], CellGeneration | None]] = [
            partial(self.ledger.cells.visible_from, document, run_id) for document in newest if document is not None
        ]
        visible = self.store.together(calls) if calls else []
        for (version, _), generation in zip(numbers, visible, strict=True):
            found = self.found(name, version, generation) if generation is not None else None
            if found is not None:
                yield found

    # -- aliases -------------------------------------------------------------------------------------------------

    def alias(self, name: str, alias: str, run_id: str | None) -> Version | None:
        """The version that an alias points at, or None when there is no such alias."""
        generation = self.ledger.cells.latest(ALIAS, f"{name}@{alias}", run_id, guess=0)
        if generation is None or generation.deleted:
            return None
        return Version.parse(AliasValue.model_validate(generation.value).version)

    def aliases(self, name: str, run_id: str | None) -> dict[str, Version]:
        """Every alias of an object, and the version that it points at."""
        prefix = f"{paths.CELLS}{ALIAS}/{key_of(name)}/"
        newest = {k.rpartition("/")[0]: k for k in paths.generations(self.store.storage.list(prefix))}
        documents = self.store.read_many(list(newest.values()), CellGeneration) if newest else []
        found = {}
        for document in documents:
            visible = self.ledger.cells.visible_from(document, run_id) if document is not None else None
            if visible is not None and not visible.deleted and visible.value.get("object") == name:
                value = AliasValue.model_validate(visible.value)
                found[value.alias] = Version.parse(value.version)
        return dict(sorted(found.items()))

    # -- errors --------------------------------------------------------------------------------------------------

    def missing(self, wanted: Wanted, run_id: str | None) -> RegistryObjectNotFound:
        """The error for what is not there: it says what is."""
        if wanted.alias is not None:
            aliases = self.aliases(wanted.name, run_id)
            if wanted.alias in aliases:
                why = f"The alias points at version {aliases[wanted.alias]}, which is deleted"
            else:
                why = f"It has the aliases {', '.join(aliases)[:200]}" if aliases else "It has no aliases"
        else:
            versions = [str(found.version) for found in self.versions(wanted.name, run_id)]
            shown = ", ".join(versions[-10:])
            why = f"It has the versions {'… ' if len(versions) > 10 else ''}{shown}" if versions else ""
        return RegistryObjectNotFound(
            f"There is no object {str(wanted)!r:.250}" if wanted.version or wanted.alias
            else f"There is no object {wanted.name!r:.250}",
            why=why,
            committed="no",
            name=wanted.name,
        )  # fmt: skip


def cell(name: str, version: Version) -> CellRef:
    """The cell that is a version of an object."""
    return CellRef.named(OBJECT, cell_name(name, version))
