"""Versioned objects of one registry: save, load, delete, restore (reference system 3)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from prefect_registry.errors import InvalidInput, InvalidState, RevisionConflict
from prefect_registry.ledger.dropping import before_of, was_never_saved
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.objects.aliasing import LONGEST_REASON_CHARACTERS
from prefect_registry.objects.conflicts import OnConflict
from prefect_registry.objects.draft import drafted, fetched
from prefect_registry.objects.errors import RegistryObjectNotFound
from prefect_registry.objects.finding import Finding, Found, cell_name
from prefect_registry.objects.materializers.base import Materializer
from prefect_registry.objects.materializers.registered import Materializers
from prefect_registry.objects.reading import Reading
from prefect_registry.objects.saving import Saver, Saving
from prefect_registry.objects.settings import Settings
from prefect_registry.objects.versions import FIRST, LATEST, Version, Wanted
from prefect_registry.records.base import as_reason, checked_json_object
from prefect_registry.records.cells import CellGeneration
from prefect_registry.records.objects import PAYLOAD, ObjectSettings, ObjectValue
from prefect_registry.records.types import OBJECT
from prefect_registry.storage.base import Progress

log = logging.getLogger("prefect_registry")

PIN = "pin"
"""The type of the cells that keep what a run resolved, for its retries."""
MOST_MET = 100_000


class Objects:
    """The objects of one registry. ``run_id`` is the surrounding run everywhere: None outside any."""

    def __init__(
        self, ledger: Ledger, settings: Settings, reading: Reading, materializers: Materializers, may_pickle: bool
    ) -> None:
        self._may_pickle = may_pickle
        self.ledger = ledger
        self.settings = settings
        self.materializers = materializers
        self.finding = Finding(ledger)
        self.reading = reading
        self._saver = Saver(self.finding)
        self._met: set[str] = set()
        self._last: dict[str, ObjectValue] = {}

    # -- saving --------------------------------------------------------------------------------------------------

    def save(
        self,
        wanted: Wanted,
        value: Any,
        run_id: str | None,
        *,
        materializer: type[Materializer] | Materializer | str | None = None,
        metadata: Mapping[str, Any] | None = None,
        on_conflict: str | None = None,
        allow_pickle: bool = False,
        progress: Progress | None = None,
    ) -> tuple[Version, bool]:
        """Save one object; see ``Registry.save``. Returns its version, and whether anything was written."""
        stored = self.settings.fixed()
        version = self._number(wanted, stored)
        conflict = self._conflict(on_conflict, stored)
        facts = checked_json_object(metadata, "metadata")
        form = self.materializers.find(value, self._pickle(allow_pickle), materializer=materializer)
        with drafted(value, form) as draft:
            saving = Saving(
                wanted.name,
                version,
                draft,
                run_id,
                stored,
                conflict,
                facts,
                self._has_met(wanted.name, version),
                progress,
                self._last.get(wanted.name),
            )
            number, written = self._saver.save(saving)
            if written is not None:
                self.reading.keep(draft, written, saving.stored)
        self._meet(wanted.name, number, written)
        self._log(
            "Saved" if written is not None else "Left as it is", cell_name(wanted.name, number), form.name, run_id
        )
        return number, written is not None

    def _log(self, what: str, name: str, form: str, run_id: str | None) -> None:
        log.debug("%s: object %s, as %r, in %s", what, name, form, run_id or "no run around it")

    def _pickle(self, asked: bool) -> bool:
        """Whether pickle may be used: it takes the registry's permission and the call's (DESIGN.md 9)."""
        if asked and not self._may_pickle:
            raise InvalidInput.of(
                "allow_pickle",
                ["allow_pickle is True, and this registry was opened without it"],
                todo="Open it with allow_pickle=True if you trust everybody who can write to it",
            )
        return asked

    def _number(self, wanted: Wanted, settings: ObjectSettings) -> Version | None:
        """The number that a save asks for; None for the next one."""
        word = LATEST if wanted.latest else wanted.alias
        if word is not None:
            raise InvalidInput.of(
                "the object",
                [f"{word!r:.80} is not a version; a version is one to three numbers: 2, 2.1, 2.1.0"],
                todo="Save the version, and point the alias at it with set_alias",
            )
        if settings.version_objects:
            return wanted.version
        if wanted.version not in (None, FIRST):
            raise InvalidInput.of(
                "the object",
                [f"version {wanted.version} was given, and this registry keeps one version of each object"],
                todo="Leave the version out, or make a registry with version_objects=True",
            )
        return FIRST

    def _conflict(self, asked: str | None, settings: ObjectSettings) -> OnConflict:
        conflict = OnConflict.of(asked)
        if conflict is OnConflict.OVERWRITE and not settings.mutable:
            raise InvalidInput.of(
                "on_conflict",
                ["on_conflict is 'overwrite', and this registry never changes what it has saved"],
                todo="Save it under another version, or make a registry with mutable=True",
            )
        return conflict

    def _has_met(self, name: str, version: Version | None) -> bool:
        """Whether this process has seen that version; without one, any of the object."""
        return (cell_name(name, version) if version is not None else name) in self._met

    def _meet(self, name: str, version: Version, value: ObjectValue | None) -> None:
        if len(self._met) >= MOST_MET:
            self._met.clear()
            self._last.clear()
        self._met |= {name, cell_name(name, version)}
        if value is not None and len(value.files) == 1:
            self._last[name] = value

    # -- loading -------------------------------------------------------------------------------------------------

    def get(self, wanted: Wanted, run_id: str | None) -> Found:
        """The version that ``wanted`` means now. Raises ``RegistryObjectNotFound``."""
        found = self.find(wanted, run_id)
        if found is None:
            raise self.finding.missing(wanted, run_id)
        return found

    def find(self, wanted: Wanted, run_id: str | None) -> Found | None:
        """The version that ``wanted`` means now, or None."""
        if self.settings.known is None and (wanted.version is not None or wanted.alias is not None):
            # The settings say only which version no version means; here they are checked.
            calls: list[Callable[[], Any]] = [
                self.settings.current,
                partial(self.finding.find, wanted, ObjectSettings(), run_id),
            ]
            found: Found | None = self.ledger.store.together(calls)[1]
            return found
        return self.finding.find(wanted, self.settings.current(), run_id)

    def pinned(self, wanted: Wanted, run_id: str | None) -> Wanted:
        """``wanted`` as an exact version: the one that this run, or an earlier attempt of its flow run, resolved first.

        Outside any run it is resolved anew.
        """
        if wanted.version is not None:
            return wanted
        if run_id is None:
            return Wanted(wanted.name, self.get(wanted, run_id).version)
        begin = self.ledger.runs.known(run_id)
        name = f"{begin.flow_run or run_id}/{wanted}"
        kept = self.ledger.cells.generation(PIN, name, 0)
        if kept is None:
            version = str(self.get(wanted, run_id).version)
            self.ledger.cells.first(PIN, name, {"object": wanted.name, "version": version})
            kept = self.ledger.cells.generation(PIN, name, 0)
        return Wanted(wanted.name, Version.parse(kept.value["version"])) if kept is not None else wanted

    def load(
        self,
        wanted: Wanted,
        run_id: str | None,
        *,
        verify: str = "integrity",
        lazy: bool = False,
        output_dir: Path | None = None,
        materializer: type[Materializer] | Materializer | str | None = None,
        allow_pickle: bool = False,
        progress: Progress | None = None,
    ) -> Any:
        """Load one object; see ``Registry.load``."""
        found = self.get(wanted, run_id)
        if found.written.tx != run_id or run_id is None:
            self._note_used(found, run_id)
        if materializer is not None:
            form = self.materializers.find(None, materializer=materializer)
        else:
            form = self.materializers.named(
                found.value.materializer, self._pickle(allow_pickle), saved=found.value.class_
            )
        gone = partial(self.gone, found, run_id)
        payload = self.reading.payload(
            found, partial(self.finding.files, found), verify=verify, lazy=lazy, output_dir=output_dir, gone=gone,
            progress=progress,
        )  # fmt: skip
        self._meet(found.name, found.version, found.value)
        self._log("Loading", found.id, found.value.materializer, run_id)
        if lazy:  # its files go when nobody reads them any more
            return form.load(payload)
        with payload:
            return form.load(payload)

    def copy(
        self,
        source: Objects,
        found: Found,
        wanted: Wanted,
        run_id: str | None,
        *,
        on_conflict: str | None = None,
        progress: Progress | None = None,
    ) -> tuple[Version, bool]:
        """Save a version of another registry under ``wanted``, byte by byte; see ``Registry.download``."""
        stored = self.settings.fixed()
        version, conflict = self._number(wanted, stored), self._conflict(on_conflict, stored)
        payload = source.reading.payload(
            found, partial(source.finding.files, found), gone=partial(source.gone, found), progress=progress
        )
        with payload, fetched(payload, found.value) as draft:
            saving = Saving(wanted.name, version, draft, run_id, stored, conflict, found.value.metadata)
            number, written = self._saver.save(saving)
        self._meet(wanted.name, number, written)
        self._log(f"Copied {found.id} to", cell_name(wanted.name, number), found.value.materializer, run_id)
        return number, written is not None

    def delete_all(self, names: list[str], run_id: str | None) -> None:
        """Delete every version of some objects, by one decision."""
        with self.ledger.implicit_run("delete all objects", run_id) as own:
            for name in names:
                for found in self.finding.versions(name, own):
                    self._tombstone(found, own, None, guarded=True)

    def _note_used(self, found: Found, run_id: str | None) -> None:
        if run_id is not None:
            self.ledger.used.note(run_id, [found.id], "objects")

    def gone(self, found: Found, run_id: str | None = None) -> InvalidState | RegistryObjectNotFound | None:
        """Why files that a version names are not there: it was deleted or overwritten while they were read, or nobody
        knows (P8).
        """
        now = self.ledger.cells.latest(OBJECT, found.id, run_id)
        freed = self.ledger.cells.latest(PAYLOAD, found.value.payload) if found.value.payload else None
        if freed is not None and freed.value.get("purged") is True:
            deleted = now is not None and now.deleted
            how = "is deleted" if deleted else "was overwritten"
            return InvalidState(
                f"Object {found.id!r:.250} {how}, and retention has released the bytes that were read",
                why=freed.reason or "",
                todo="Load another version" if deleted else "Load it again",
                committed="no",
            )
        if now is None or not now.deleted:
            return None
        return RegistryObjectNotFound(f"Object {found.id!r:.250} was deleted", why=now.reason or "", committed="no")

    # -- deleting ------------------------------------------------------------------------------------------------

    def delete(self, wanted: Wanted, run_id: str | None, reason: str | None = None) -> list[str]:
        """Delete one version, or all of them when none is named; returns which. See ``Registry.delete``."""
        why = as_reason(reason, LONGEST_REASON_CHARACTERS)
        if wanted.version is None and wanted.alias is None and not wanted.latest:
            founds = list(self.finding.versions(wanted.name, run_id))
            if not founds:
                raise self.finding.missing(wanted, run_id)
        else:
            founds = [self.get(wanted, run_id)]
        if len(founds) == 1:
            self._tombstone(founds[0], run_id, why, guarded=True)
        else:
            doing = f"delete {wanted.name}"[:250]
            with self.ledger.implicit_run(doing, run_id, config={"object": wanted.name[:1000]}) as own:
                calls: list[Callable[[], object]] = [
                    partial(self._tombstone, found, own, why, guarded=False) for found in founds
                ]
                self.ledger.runs.within(own, calls, doing)
        self._forget(founds)
        for found in founds:
            self._log("Deleted", found.id, found.value.materializer, run_id)
        return [found.id for found in founds]

    def _forget(self, founds: list[Found]) -> None:
        """Drop the files of deleted versions from the cache here; whoever has the same files fetches them anew."""
        if self.reading.cache is not None:
            self.reading.forget(f.sha256 for found in founds for f in self.finding.files(found))

    def _tombstone(self, found: Found, run_id: str | None, reason: str | None, guarded: bool) -> None:
        value = {"object": found.name, "version": str(found.version)}
        try:
            self.ledger.cells.write(
                OBJECT, found.id, value, run_id=run_id, expected=found.generation.gen, deleted=True, reason=reason,
                fresh=True, guarded=guarded,
            )  # fmt: skip
        except RevisionConflict:
            now = self.finding.version(found.name, found.version, run_id)
            if now is not None:  # it was overwritten meanwhile: that is deleted, too
                self._tombstone(now, run_id, reason, guarded)

    def restore(self, wanted: Wanted, run_id: str | None) -> list[str]:
        """Take the deletion of one version, or of all of them, back; returns which. See ``Registry.restore``."""
        versions = self._restorable(wanted, run_id)
        cells = [(v, self.ledger.cells.latest(OBJECT, cell_name(wanted.name, v), run_id)) for v in versions]
        cells = [(v, c) for v, c in cells if c is not None and not was_never_saved(c)]
        deleted = [(v, c) for v, c in cells if c is not None and c.deleted]
        if not deleted:
            if any(c is not None for _, c in cells):
                return []
            raise self.finding.missing(wanted, run_id)
        purged = [str(v) for v, c in deleted if c.value.get("purged") is True]
        if purged and (len(versions) == 1 or len(purged) == len(deleted)):
            raise InvalidState(
                f"Object {wanted.name!r:.250} cannot be restored: retention has released version {', '.join(purged)}",
                why="Its bytes are deleted, or may be at any time",
                todo="Save it again from where it came from",
                committed="no",
            )
        kept = [(v, c) for v, c in deleted if str(v) not in purged]
        if len(kept) == 1:
            return [self._undo(wanted.name, *kept[0], run_id, guarded=True)]
        doing = f"restore {wanted.name}"[:250]
        with self.ledger.implicit_run(doing, run_id, config={"object": wanted.name[:1000]}) as own:
            calls = [partial(self._undo, wanted.name, v, c, own, guarded=False) for v, c in kept]
            return self.ledger.runs.within(own, calls, doing)

    def _restorable(self, wanted: Wanted, run_id: str | None) -> list[Version]:
        """The versions that a restore is about, deleted or not."""
        if wanted.latest:
            raise InvalidInput.of(
                "the object",
                ["'latest' is the highest version that is not deleted"],
                todo="Name the version, or none to restore all of them",
            )
        if wanted.alias is not None:
            pointed = self.finding.alias(wanted.name, wanted.alias, run_id)
            if pointed is None:
                raise self.finding.missing(wanted, run_id)
            return [pointed]
        return [wanted.version] if wanted.version is not None else sorted(self.finding.numbers(wanted.name))

    def _undo(self, name: str, version: Version, tombstone: CellGeneration, run_id: str | None, guarded: bool) -> str:
        base = before_of(tombstone)
        while base is not None:
            before = self.finding.ledger.cells.generation(OBJECT, cell_name(name, version), base, run_id)
            if before is None or before.deleted:
                base = before_of(before) if before is not None else None
                continue
            value = {"object": name, "version": str(version), "restores": before.value.get("restores", before.gen)}
            self.ledger.cells.write(
                OBJECT, cell_name(name, version), value, run_id=run_id, expected=tombstone.gen, fresh=True,
                guarded=guarded,
            )  # fmt: skip
            return cell_name(name, version)
        raise self.finding.missing(Wanted(name, version), run_id)
