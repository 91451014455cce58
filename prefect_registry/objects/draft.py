"""An object on its way into the store: its files, hashed, with what is known of them."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from prefect_registry.errors import InvalidInput
from prefect_registry.ledger.manifests import check_paths
from prefect_registry.objects.materializers.base import Materializer
from prefect_registry.objects.materializers.builtin import saved
from prefect_registry.objects.payload import Part, StoredPayload
from prefect_registry.records.base import checked_json_object
from prefect_registry.records.datasets import FileEntry
from prefect_registry.records.objects import MOST_INLINE_BYTES, InlineFile, ObjectValue
from prefect_registry.storage.transfer import opened, pump

MOST_INIT_BYTES = 64 * 1024
Source = bytes | Path | BinaryIO
_Stat = tuple[int, int, int]


@dataclass(frozen=True)
class Draft:
    """An object as files that can be read, once or twice.

    Attributes:
        materializer: The name of the form.
        class_: ``module:qualname`` of what is saved.
        sources: The files, by path.
        size: Bytes in all.
    """

    materializer: str
    class_: str
    init: Mapping[str, Any]
    sources: Mapping[str, Source]
    stats: Mapping[str, _Stat]
    size: int
    changes: Callable[[], Iterable[str]] = tuple

    @property
    def is_inline(self) -> bool:
        """Whether it lies in its record."""
        return self.size <= MOST_INLINE_BYTES and len(self.sources) <= 64

    @cached_property
    def files(self) -> list[FileEntry]:
        """The files as a manifest lists them: every byte is read and hashed, once."""
        return [FileEntry(path=p, size=n, sha256=h) for p, (n, h) in sorted(self._hashes().items())]

    def _hashes(self) -> dict[str, tuple[int, str]]:
        found = {}
        for path, source in self.sources.items():
            with opened(source) as file:
                found[path] = pump(file, lambda chunk: None)
            rewind(source)
        self.check_unchanged()
        return found

    @cached_property
    def inline(self) -> list[InlineFile]:
        """The files as they lie in a record."""
        out = []
        for path, source in sorted(self.sources.items()):
            with opened(source) as file:
                data = file.read()
            sha256 = hashlib.sha256(data).hexdigest()
            out.append(
                InlineFile(path=path, size=len(data), sha256=sha256, data=base64.b64encode(data).decode("ascii"))
            )
        self.check_unchanged()
        return out

    def digest(self, files: Sequence[FileEntry | InlineFile]) -> str:
        """Of the content: equal for equal files, form and facts."""
        listed = sorted([f.path, f.size, f.sha256] for f in files)
        canonical = [self.materializer, dict(self.init), listed]
        return hashlib.sha256(orjson.dumps(canonical, option=orjson.OPT_SORT_KEYS)).hexdigest()

    def check_unchanged(self) -> None:
        """Refuse when a file was written to while it was read."""
        changed = [f"{p} was written to" for p, was in self.stats.items() if _stat(self.sources[p]) != was]
        changed = list(self.changes()) or changed
        if changed:
            raise InvalidInput.of(
                "the object, which changed while it was saved",
                changed,
                todo="Save it when nothing writes there any more",
            )


def rewind(source: Source) -> None:
    """Make a source readable from its start once more."""
    if not isinstance(source, (bytes, Path)):
        source.seek(0)


@contextmanager
def drafted(value: Any, materializer: Materializer) -> Iterator[Draft]:
    """The draft of an object. What had to be written to this disk for it is removed at the end of the block."""
    payload = saved(materializer, value)
    init = checked_json_object(payload.init, "what the materializer tells of the object")
    if len(orjson.dumps(init)) > MOST_INIT_BYTES:
        raise InvalidInput.of("the object", [f"its init has more than {MOST_INIT_BYTES:,} bytes"])
    check_paths(sorted(part.path for part in payload.parts), "the object's files")
    with _scratch_for(payload.parts) as scratch:
        sources = {part.path: _source(part, scratch, i) for i, part in enumerate(payload.parts)}
        stats = {p: _stat(s) for p, s in sources.items() if isinstance(s, Path)}
        size = sum(stats[p][0] if p in stats else _size(s) for p, s in sources.items())
        yield Draft(materializer.name, class_of(value), init, sources, stats, size, payload.changes)


@contextmanager
def fetched(payload: StoredPayload, value: ObjectValue) -> Iterator[Draft]:
    """The draft of a version that is stored elsewhere: its files are fetched to this disk for the block."""
    with tempfile.TemporaryDirectory(prefix="prefect-registry-") as scratch:
        folder = payload.export(Path(scratch) / "files")
        sources: dict[str, Source] = {path: folder / path for path in payload.paths()}
        stats = {path: _stat(source) for path, source in sources.items()}
        size = sum(payload.size(path) for path in sources)
        yield Draft(value.materializer, value.class_, value.init, sources, stats, size)


def class_of(value: object) -> str:
    """``module:qualname`` of a value's class, for people."""
    return f"{type(value).__module__}:{type(value).__qualname__}"


@contextmanager
def _scratch_for(parts: Iterable[Part]) -> Iterator[Path | None]:
    """A folder of this disk for those parts that have to be written to be read; None when there are none."""
    if not any(callable(part.source) for part in parts):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="prefect-registry-") as folder:
        yield Path(folder)


def _source(part: Part, scratch: Path | None, number: int) -> Source:
    if not callable(part.source):
        return part.source
    assert scratch is not None
    path = scratch / f"{number:06d}"
    with open(path, "w+b") as file:
        part.source(file)
    return path


def _stat(source: Source) -> _Stat:
    assert isinstance(source, Path)
    found = os.stat(source)
    return found.st_size, found.st_mtime_ns, found.st_ino


def _size(source: Source) -> int:
    if isinstance(source, bytes):
        return len(source)
    assert not isinstance(source, Path)
    end = source.seek(0, os.SEEK_END)
    source.seek(0)
    return end
