"""Versioned objects of the facade: save, load, versions, aliases (reference system 3)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from prefect_registry.asynchronous import twin
from prefect_registry.errors import InvalidInput, nothing_published
from prefect_registry.objects import aliasing, telling
from prefect_registry.objects.batches import BatchResult, aligned, run_batch
from prefect_registry.objects.conflicts import OnConflict
from prefect_registry.objects.materializers.base import Materializer
from prefect_registry.objects.telling import AliasMove
from prefect_registry.objects.verifying import VerifyLevel
from prefect_registry.objects.versions import Version, Wanted
from prefect_registry.registry.retaining import RegistryRetention
from prefect_registry.storage.base import Progress

if TYPE_CHECKING:
    from prefect_registry.registry.facade import Registry

AnyMaterializer = type[Materializer] | Materializer | str


class RegistryObjects(RegistryRetention):
    """Versioned objects of :class:`prefect_registry.Registry`.

    An object is named ``name``, a version of it ``name@2.1``; an alias (``name@champion``) points at a version, and
    ``name@latest`` is the highest one. Where a registry does not version its objects, each has the one version ``1``.
    In a run, what is saved, deleted and pointed at is staged, and published with it.
    """

    # -- saving and loading --------------------------------------------------------------------------------------

    @overload
    def save(
        self, name: str, obj: Any, *, version: str | None = None, on_conflict: OnConflict | str | None = None,
        materializer: AnyMaterializer | None = None, metadata: Mapping[str, Any] | None = None,
        run_id: str | None = None, allow_pickle: bool = False, progress: Progress | None = None,
    ) -> str: ...  # fmt: skip

    @overload
    def save(
        self, name: list[str], obj: Any, *, version: Any = None, on_conflict: OnConflict | str | None = None,
        materializer: Any = None, metadata: Any = None, run_id: str | None = None, allow_pickle: bool = False,
        progress: Progress | None = None,
    ) -> BatchResult: ...  # fmt: skip

    @nothing_published
    def save(
        self,
        name: str | list[str],
        obj: Any,
        *,
        version: Any = None,
        on_conflict: OnConflict | str | None = None,
        materializer: Any = None,
        metadata: Any = None,
        run_id: str | None = None,
        allow_pickle: bool = False,
        progress: Progress | None = None,
    ) -> str | BatchResult:
        """Save an object; returns its version. What cannot come back equal and of the same type is refused.

        Args:
            name: The object's name, ``name@version``, or a list of them: then each is saved by itself, several at a
                time, and a :class:`BatchResult` tells what became of them.
            obj: What to save; for a list of names a list, or one value for all.
            version: One to three numbers, such as ``"2.1"``. Without one, the highest major number that was ever taken
                plus one; no number is used twice.
            on_conflict: What to do when that version exists with other content, or with other metadata than is given:
                ``"error"`` (the default), ``"skip"`` (keep it, return its version), ``"overwrite"`` (only in a registry
                with ``mutable=True``). The same content is no conflict, and is not stored again.
            materializer: A class, instance or dotted name, instead of the one that is registered for the type.
            metadata: JSON values, kept beside it.
            allow_pickle: Fall back on pickle, in a registry that was opened with ``allow_pickle=True``. Whoever can
                write to the store can then run code in those who load with it.
            progress: Called with numbers of bytes as they are stored.

        Raises:
            InvalidInput: No materializer fits the type, or it would not come back the same; or a bad name or version.
            RegistryVersionConflict: That version exists with other content or metadata, or was deleted.
        """

        def one(each: str, value: Any, number: Any, form: Any, facts: Any) -> tuple[str, bool]:
            saved, written = self.parts.objects.save(
                Wanted.of(each, number), value, self._wanted(run_id), materializer=form, metadata=facts,
                on_conflict=on_conflict, allow_pickle=allow_pickle, progress=progress,
            )  # fmt: skip
            return str(saved), not written

        if not isinstance(name, list):
            return one(name, obj, version, materializer, metadata)[0]
        given = [("obj", obj), ("version", version), ("materializer", materializer), ("metadata", metadata)]
        columns = [name, *(aligned(noun, value, len(name)) for noun, value in given)]
        items = list(zip(*columns, strict=True))
        return run_batch(self.parts.ledger.store, [(i[0], i[2]) for i in items], lambda i: one(*items[i]))

    @overload
    def load(
        self, name: str, version: str | None = None, *, verify: VerifyLevel | str = "integrity", lazy: bool = False,
        output_dir: str | os.PathLike[str] | None = None, pin: bool = False,
        materializer: AnyMaterializer | None = None, run_id: str | None = None, allow_pickle: bool = False,
        progress: Progress | None = None,
    ) -> Any: ...  # fmt: skip

    @overload
    def load(
        self, name: list[str], version: Any = None, *, verify: VerifyLevel | str = "integrity", lazy: bool = False,
        output_dir: str | os.PathLike[str] | None = None, pin: bool = False, materializer: Any = None,
        run_id: str | None = None, allow_pickle: bool = False, progress: Progress | None = None,
    ) -> BatchResult: ...  # fmt: skip

    def load(
        self,
        name: str | list[str],
        version: Any = None,
        *,
        verify: VerifyLevel | str = "integrity",
        lazy: bool = False,
        output_dir: str | os.PathLike[str] | None = None,
        pin: bool = False,
        materializer: Any = None,
        run_id: str | None = None,
        allow_pickle: bool = False,
        progress: Progress | None = None,
    ) -> Any:
        """Load an object: the version that is named, an alias, or the latest one.

        Args:
            name: ``name``, ``name@2.1``, ``name@champion``, or a list of them: then a :class:`BatchResult`.
            version: The same, apart from the name; ``"latest"`` is the default.
            verify: ``"integrity"`` checks the sha256 of every file, wherever it comes from; ``"full"`` also looks
                whether the store still has the files of a cached object; ``"none"`` trusts what is there.
            lazy: For tables and folders: read only what is used. Parts that are read are not verified.
            output_dir: Where saved files and folders are written to; a temporary folder otherwise.
            pin: In a run: resolve it as this run, or an earlier attempt of its flow run, did first.
            materializer: A class, instance or dotted name, instead of the one that is registered for the form.
            allow_pickle: Load what was pickled, in a registry that was opened with ``allow_pickle=True``.
            progress: Called with numbers of bytes as they are fetched.

        Raises:
            RegistryObjectNotFound: There is no such version; never because the store could not be reached.
            IntegrityError: A file is damaged or missing, and which.
            ConfigurationError: No materializer is registered for the form that it was saved in.
        """
        verify = VerifyLevel.of(verify)
        target = _folder(output_dir) if output_dir is not None else None

        def one(each: str, number: Any, form: Any) -> Any:
            wanted, run = Wanted.of(each, number), self._wanted(run_id)
            return self.parts.objects.load(
                self.parts.objects.pinned(wanted, run) if pin else wanted, run, verify=verify, lazy=lazy,
                output_dir=target, materializer=form, allow_pickle=allow_pickle, progress=progress,
            )  # fmt: skip

        if not isinstance(name, list):
            return one(name, version, materializer)
        versions, forms = aligned("version", version, len(name)), aligned("materializer", materializer, len(name))
        items = list(zip(name, versions, strict=True))
        return run_batch(self.parts.ledger.store, items, lambda i: (one(name[i], versions[i], forms[i]), False))

    # -- what there is -------------------------------------------------------------------------------------------

    def resolve(self, name: str, version: str | None = None, *, pin: bool = False, run_id: str | None = None) -> str:
        """The exact version that a name means now, as ``name@version``. Raises ``RegistryObjectNotFound``.

        ``pin`` as in :meth:`load`: a retry of the same flow run gets the same answer.
        """
        wanted, run = Wanted.of(name, version), self._wanted(run_id)
        return self.parts.objects.get(self.parts.objects.pinned(wanted, run) if pin else wanted, run).id

    def has_object(self, name: str, version: str | None = None, *, run_id: str | None = None) -> bool:
        """Whether that version, alias, or any version is visible. Raises when the store cannot be reached."""
        return self.parts.objects.find(Wanted.of(name, version), self._wanted(run_id)) is not None

    def info(self, name: str | None = None, version: str | None = None, *, run_id: str | None = None) -> dict[str, Any]:
        """What is recorded of a version; without ``version`` (in the name or beside it), of every version of an object,
        by version; without a name, of every object, by name and version.

        Each is a dict: ``name``, ``version``, ``class``, ``materializer``, ``hash`` (of the content), ``size`` in
        bytes, ``file_count``, ``metadata``, ``created_at``, ``run_id``, and, when a name was given, ``files``,
        ``init_params``, ``aliases``.
        """
        objects, run = self.parts.objects, self._wanted(run_id)
        if name is None:
            return telling.info_of_all(self.catalog, objects, run)
        wanted = Wanted.of(name, version)
        if wanted.version or wanted.alias or wanted.latest:
            return telling.info_of(objects, objects.get(wanted, run), run)
        found = {str(f.version): telling.info_of(objects, f, run) for f in objects.finding.versions(wanted.name, run)}
        if not found:
            raise objects.finding.missing(wanted, run)
        return found

    def list_objects(self, prefix: str = "", *, run_id: str | None = None) -> list[str]:
        """The names of all objects that begin with ``prefix``, sorted. Answered by the catalog's index."""
        return list(self._numbers(prefix, run_id))

    def list_versions(self, name: str, *, run_id: str | None = None) -> list[str]:
        """The visible versions of an object, ascending as numbers; empty when there is no such object."""
        wanted = Wanted.of_all(name, "list_versions")
        return [str(f.version) for f in self.parts.objects.finding.versions(wanted.name, self._wanted(run_id))]

    def list_objects_and_versions(self, prefix: str = "", *, run_id: str | None = None) -> dict[str, list[str]]:
        """Every object whose name begins with ``prefix``, and its versions. Answered by the catalog's index."""
        return {name: [str(v) for v in versions] for name, versions in self._numbers(prefix, run_id).items()}

    def _numbers(self, prefix: str, run_id: str | None) -> dict[str, list[Version]]:
        if not isinstance(prefix, str):
            raise InvalidInput.of("prefix", [f"prefix must be a string, not {type(prefix).__name__}"])
        found = telling.numbers_of_all(self.catalog, self.parts.objects, self._wanted(run_id))
        return {name: versions for name, versions in found.items() if name.startswith(prefix)}

    # -- deleting ------------------------------------------------------------------------------------------------

    @nothing_published
    def delete(
        self,
        name: str | list[str],
        version: Any = None,
        *,
        reason: str | None = None,
        run_id: str | None = None,
    ) -> BatchResult | None:
        """Delete a version, or all versions of an object when none is named, by one decision. Nothing is lost until
        retention releases it: :meth:`restore` takes it back, and who is reading it finishes.

        A list of names deletes each by itself, and returns a :class:`BatchResult`. Raises ``RegistryObjectNotFound``.
        """

        def one(each: str, number: Any) -> tuple[list[str], bool]:
            return self.parts.objects.delete(Wanted.of(each, number), self._wanted(run_id), reason), False

        if not isinstance(name, list):
            one(name, version)
            return None
        items = list(zip(name, aligned("version", version, len(name)), strict=True))
        return run_batch(self.parts.ledger.store, items, lambda i: one(*items[i]))

    @nothing_published
    def restore(self, name: str, version: str | None = None, *, run_id: str | None = None) -> list[str]:
        """Take the deletion of a version back, or of all of an object's; returns which (``name@version``).

        Raises:
            RegistryObjectNotFound: There was never such a version.
            InvalidState: Retention has released its bytes.
        """
        return self.parts.objects.restore(Wanted.of(name, version), self._wanted(run_id))

    # -- aliases -------------------------------------------------------------------------------------------------

    @nothing_published
    def set_alias(
        self,
        name: str,
        alias: str,
        version: str | None = None,
        *,
        reason: str | None = None,
        run_id: str | None = None,
    ) -> str | None:
        """Point an alias of an object at a version, atomically; returns the version that it pointed at before.

        Args:
            name: The object, or ``name@2.1``: then that is the version.
            alias: Any text that looks like no version, except ``latest``.
            version: A version, or another alias, whose version is meant; the latest one by default.
            reason: Kept in the alias's history.

        Raises:
            RegistryObjectNotFound: There is no such version.
            RevisionConflict: Somebody moved the alias meanwhile.
        """
        before = aliasing.set_alias(self.parts.objects, name, alias, version, self._wanted(run_id), reason)
        return str(before) if before is not None else None

    @nothing_published
    def remove_alias(self, name: str, alias: str, *, reason: str | None = None, run_id: str | None = None) -> None:
        """Remove an alias; its history stays. Raises ``RegistryObjectNotFound``."""
        aliasing.remove_alias(self.parts.objects, name, alias, self._wanted(run_id), reason)

    def aliases(self, name: str, *, run_id: str | None = None) -> dict[str, str]:
        """The aliases of an object, and the version that each points at."""
        found = self.parts.objects.finding.aliases(Wanted.of_all(name, "aliases").name, self._wanted(run_id))
        return {alias: str(version) for alias, version in found.items()}

    def alias_history(self, name: str, alias: str, *, run_id: str | None = None) -> list[AliasMove]:
        """Every move of an alias, oldest first: when, to which version, by which run, why."""
        moves = aliasing.alias_history(self.parts.objects, name, alias, self._wanted(run_id))
        return [telling.move_of(generation) for generation in moves]

    # -- materializers, cache, other registries --------------------------------------------------------------------

    def register_materializer(self, cls: type | str, materializer: AnyMaterializer | None = None) -> None:
        """Say how objects of a class are saved and loaded: by a materializer, given as class, instance or dotted name.

        Without one, the class itself is made known: instances of dataclasses, pydantic models, enums and modules are
        only made of classes that the reader has registered, or saved in this process.
        """
        self.parts.objects.materializers.register(cls, materializer)

    def clear_cache(self) -> None:
        """Empty the cache of this registry's objects on this machine."""
        self.parts.objects.reading.clear()

    @nothing_published
    def download(
        self,
        source: Registry,
        name: str,
        version: str | None = None,
        target_name: str | None = None,
        target_version: str | None = None,
        *,
        on_conflict: OnConflict | str | None = None,
        run_id: str | None = None,
        progress: Progress | None = None,
    ) -> str:
        """Copy a version from another registry, byte by byte and with its metadata, without making the object; returns
        its version here. Aliases are not copied.

        Args:
            source: The registry that has it.
            name: What to copy, as in :meth:`load`: ``name``, ``name@2.1``, ``name@champion``.
            version: The same, apart from the name; ``"latest"`` is the default.
            target_name: Its name here, or ``name@7`` with its version here; the same as there by default.
            target_version: Its version here; the same as there by default.
            on_conflict: As in :meth:`save`.
            progress: Called with numbers of bytes as they are fetched.

        Raises as :meth:`load` of ``source`` and :meth:`save` do.
        """
        if not isinstance(source, RegistryObjects):
            raise InvalidInput.of(
                "source",
                [f"source must be a registry, not {type(source).__name__}"],
                todo="Open it first: Registry(url)",
            )
        found = source.parts.objects.get(Wanted.of(name, version), source._wanted(None))
        wanted = Wanted.of(found.name if target_name is None else target_name, target_version)
        if wanted.version is None and wanted.alias is None and not wanted.latest:
            wanted = Wanted(wanted.name, found.version)
        saved, _ = self.parts.objects.copy(
            source.parts.objects, found, wanted, self._wanted(run_id), on_conflict=on_conflict, progress=progress
        )
        return str(saved)

    asave = twin(save)
    aload = twin(load)
    aresolve = twin(resolve)
    ahas_object = twin(has_object)
    ainfo = twin(info)
    alist_objects = twin(list_objects)
    alist_versions = twin(list_versions)
    alist_objects_and_versions = twin(list_objects_and_versions)
    adelete = twin(delete)
    arestore = twin(restore)
    aset_alias = twin(set_alias)
    aremove_alias = twin(remove_alias)
    aaliases = twin(aliases)
    aalias_history = twin(alias_history)
    aclear_cache = twin(clear_cache)
    adownload = twin(download)


def _folder(output_dir: object) -> Path:
    """Where files are put: a path that the system can take."""
    if not isinstance(output_dir, (str, os.PathLike)):
        raise InvalidInput.of("output_dir", [f"output_dir must be a path, not {type(output_dir).__name__}"])
    if "\0" in str(output_dir):
        raise InvalidInput.of("output_dir", [f"output_dir {str(output_dir)!r:.80} contains a null character"])
    return Path(output_dir)
