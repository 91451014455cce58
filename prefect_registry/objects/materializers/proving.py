"""Whether a materializer gives back the exact type of a subclass: found out by loading what it has just saved."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

from prefect_registry.errors import NotFound
from prefect_registry.objects.materializers.base import Materializer
from prefect_registry.objects.materializers.builtin import refused, saved
from prefect_registry.objects.materializers.classes import dotted
from prefect_registry.objects.payload import Part, Payload, StoredPayload


class Proving(Materializer):
    """A materializer that was registered for a base of the object's class: saves if the exact type comes back."""

    def __init__(self, materializer: Materializer) -> None:
        self._materializer = materializer
        self.name = materializer.name  # type: ignore[misc]  # stands for the other

    def save(self, value: Any) -> Payload:
        """What the other saves.

        Raises:
            InvalidInput: Another type would come back.
        """
        folder = tempfile.TemporaryDirectory(prefix="prefect-registry-")
        with folder:
            payload = _settled(saved(self._materializer, value), Path(folder.name))
            with tempfile.TemporaryDirectory(prefix="prefect-registry-") as exported:
                back = self._materializer.load(Written(payload, Path(exported)))
        if type(back) is not type(value):
            raise refused(
                value,
                f"The materializer {self.name!r}, registered for a base class, gives back {dotted(type(back))}",
                "Let it save and restore the class of the object, or register one for this class",
            )
        return payload

    def load(self, payload: StoredPayload) -> Any:
        """What the other loads."""
        return self._materializer.load(payload)

    def refuses(self, value: Any) -> str | None:
        """What the other refuses."""
        return self._materializer.refuses(value)


def _settled(payload: Payload, folder: Path) -> Payload:
    """The payload with bytes in place of functions, which may be called only once."""
    parts = []
    for part in payload.parts:
        if callable(part.source):
            with tempfile.TemporaryFile(dir=folder) as file:
                part.source(file)
                file.seek(0)
                part = Part(part.path, file.read())
        parts.append(part)
    return Payload(parts, payload.init, payload.changes, payload.keep)


class Written(StoredPayload):
    """A payload of bytes and files that was not stored yet, read back."""

    def __init__(self, payload: Payload, folder: Path) -> None:
        self.init, self._folder = payload.init, folder
        self.output_dir = folder / "output"
        self._parts = {part.path: part.source for part in payload.parts}

    def paths(self) -> list[str]:
        """The files."""
        return sorted(self._parts)

    def size(self, path: str) -> int:
        """Bytes of a file."""
        return len(self.read(path))

    def read(self, path: str) -> bytes:
        """A whole file."""
        if path not in self._parts:
            raise NotFound(f"The payload has no file {path!r}")
        source = self._parts[path]
        assert not callable(source)
        if isinstance(source, (bytes, Path)):
            return source.read_bytes() if isinstance(source, Path) else source
        source.seek(0)
        return source.read()

    def open(self, path: str) -> BinaryIO:
        """A file."""
        return io.BytesIO(self.read(path))

    def local(self, path: str) -> Path:
        """A file on this disk."""
        return self._write(path, self._folder / "local")

    def export(self, folder: Path) -> Path:
        """All files."""
        folder.mkdir(parents=True, exist_ok=True)
        for path in self._parts:
            self._write(path, folder)
        return folder

    def _write(self, path: str, folder: Path) -> Path:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.read(path))
        return target
