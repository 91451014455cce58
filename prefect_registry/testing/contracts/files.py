"""Whole files: streamed, hashed, verified."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from prefect_registry.errors import (
    IntegrityError,
)
from prefect_registry.storage.base import (
    CopyOf,
    Download,
    Storage,
    Upload,
)
from prefect_registry.testing.contracts.settings import ContractSettings


class FileContract(ContractSettings):
    """Uploads and downloads."""

    def test_upload_and_download(self, storage: Storage, tmp_path: Path) -> None:
        """Files of every size and kind of source arrive whole, with their size and sha256; so does a copy of one."""
        contents = {
            "large": os.urandom(self.part_bytes + 1),
            "small": b"abc",
            "empty": b"",
            "part": b"x" * self.part_bytes,
        }
        (tmp_path / "source").write_bytes(contents["large"])
        standing = io.BytesIO(b"skipped" + contents["small"])
        standing.seek(7)
        sources: dict[str, Path | BinaryIO | bytes] = {
            "large": tmp_path / "source",
            "small": standing,
            "empty": b"",
            "part": io.BytesIO(contents["part"]),
        }
        progress: list[int] = []
        stored = storage.upload([Upload(f"up/{name}", sources[name]) for name in contents], progress.append)
        for (name, data), file in zip(contents.items(), stored, strict=True):
            assert (file.key, file.size, file.sha256) == (f"up/{name}", len(data), hashlib.sha256(data).hexdigest())
        assert sum(progress) == sum(len(data) for data in contents.values())
        progress.clear()
        files = [Download(s.key, tmp_path / "new" / "deep" / s.key[3:], s.size, s.sha256) for s in stored]
        storage.download(files, progress.append)
        for name, data in contents.items():
            assert (tmp_path / "new" / "deep" / name).read_bytes() == data
        assert sum(progress) == sum(len(data) for data in contents.values())
        storage.download([Download("up/large", tmp_path / "unchecked")])
        assert (tmp_path / "unchecked").read_bytes() == contents["large"]
        (copy,) = storage.upload([Upload("copied", CopyOf("up/large", stored[0].size, stored[0].sha256))])
        storage.download([Download("copied", tmp_path / "copied", copy.size, copy.sha256)])
        assert (tmp_path / "copied").read_bytes() == contents["large"]

    def test_upload_of_a_stream(self, storage: Storage) -> None:
        """A stream of unknown length that gives a little at a time is stored whole."""
        data = os.urandom(self.part_bytes + 12_345)
        (stored,) = storage.upload([Upload("streamed", cast(BinaryIO, _Trickle(data)))])
        assert (stored.size, stored.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert storage.get("streamed") == data

    def test_upload_replaces(self, storage: Storage) -> None:
        """An upload replaces what is there."""
        for data in (b"one", b"two" * 1000, b""):
            storage.upload([Upload("file", data)])
            assert storage.get("file") == data

    def test_download_is_verified(self, storage: Storage, tmp_path: Path) -> None:
        """Bytes other than the recorded ones are an ``IntegrityError``, and what stood at the target stays."""
        large = os.urandom(self.part_bytes)
        storage.upload([Upload("large", large), Upload("small", b"abc")])
        target = tmp_path / "target"
        target.write_bytes(b"before")
        wrong = hashlib.sha256(b"something else").hexdigest()
        for file in (
            Download("small", target, 3, wrong),
            Download("small", target, 4),
            Download("small", target, 2),
            Download("large", target, len(large), wrong),
            Download("large", target, len(large) - 1),
            Download("large", target, len(large) + 1),
            Download("large", target, 2 * len(large)),
        ):
            with pytest.raises(IntegrityError):
                storage.download([file])
        assert target.read_bytes() == b"before"
        assert list(tmp_path.iterdir()) == [target]


class _Trickle(io.RawIOBase):
    """A pipe: not seekable, of unknown length, and it returns less than it is asked for."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._pieces = self._cut(data)
        self._left = b""

    @staticmethod
    def _cut(data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), 300_007):
            yield data[start : start + 300_007]

    def readable(self) -> bool:
        """Yes."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """The next piece, or less."""
        if not self._left:
            self._left = next(self._pieces, b"")
        count = len(self._left) if size is None or size < 0 else size
        piece, self._left = self._left[:count], self._left[count:]
        return piece
