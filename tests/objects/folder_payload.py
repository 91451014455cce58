"""A stored payload over a folder on this disk: what the materializers' tests store to and load from."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from prefect_registry.errors import InvalidInput, NotFound
from prefect_registry.names import clashes, path_problems
from prefect_registry.objects.materializers.registered import Materializers
from prefect_registry.objects.payload import Payload, StoredPayload


class FolderPayload(StoredPayload):
    """Files below a folder; counts the bytes that are read of each."""

    def __init__(
        self, folder: Path, init: Mapping[str, Any], *, lazy: bool = False, output_dir: Path | None = None
    ) -> None:
        self.folder, self.init, self.lazy, self.output_dir = folder, init, lazy, output_dir
        self.opened: list[str] = []

    def paths(self) -> list[str]:
        return sorted(p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file())

    def size(self, path: str) -> int:
        return self.local(path).stat().st_size

    def read(self, path: str) -> bytes:
        return self.local(path).read_bytes()

    def open(self, path: str) -> BinaryIO:
        self.opened.append(path)
        return self.local(path).open("rb")

    def local(self, path: str) -> Path:
        if not (self.folder / path).is_file():
            raise NotFound(f"The payload has no file {path!r}")
        return self.folder / path

    def export(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for path in self.paths():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folder / path, folder / path)
        return folder


def store(payload: Payload, folder: Path, **options: Any) -> FolderPayload:
    """Write a payload below a folder as the service does: paths and facts are checked, and what changed meanwhile."""
    paths = [part.path for part in payload.parts]
    assert not [*clashes(paths), *(problem for path in paths for problem in path_problems(path))]
    folder.mkdir(parents=True, exist_ok=True)
    for part in payload.parts:
        target = folder / part.path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            if callable(part.source):
                part.source(file)
            elif isinstance(part.source, bytes):
                file.write(part.source)
            elif isinstance(part.source, Path):
                with part.source.open("rb") as source:
                    shutil.copyfileobj(source, file)
            else:
                shutil.copyfileobj(part.source, file)
    if changed := list(payload.changes()):
        raise InvalidInput.of("The object", changed)
    facts = json.dumps(dict(payload.init), allow_nan=False)
    assert len(facts) <= 64 * 1024
    return FolderPayload(folder, json.loads(facts), **options)


def stored(
    materializers: Materializers, value: Any, *, allow_pickle: bool = False, folder: Path | None = None, **options: Any
) -> tuple[str, FolderPayload]:
    """What saving a value leaves: the name in its record, and its payload."""
    found = materializers.find(value, allow_pickle)
    return found.name, store(found.save(value), folder or Path(tempfile.mkdtemp()), **options)


def there_and_back(
    materializers: Materializers, value: Any, *, reader: Materializers | None = None, **options: Any
) -> Any:
    """A value saved, and loaded by those who know only its record."""
    allow_pickle = options.pop("allow_pickle", False)
    with tempfile.TemporaryDirectory() as folder:
        name, payload = stored(materializers, value, allow_pickle=allow_pickle, folder=Path(folder) / "o", **options)
        return (reader or materializers).named(name, allow_pickle).load(payload)
