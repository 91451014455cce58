"""How much of a stored object is checked when it is loaded, and the checks that the store's own files need."""

from __future__ import annotations

import io
from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from typing import BinaryIO

from prefect_registry.errors import IntegrityError, InvalidInput
from prefect_registry.storage import failures
from prefect_registry.storage.base import Download, Progress, Storage, Stored
from prefect_registry.storage.transfer import digest_of, pump

_FEW = 4


class VerifyLevel(StrEnum):
    """What ``load`` checks before it hands out a byte.

    ``none``: nothing but the size of what the cache has. ``integrity``: size and sha256 of every file against the
    record. ``full``: that, and that the store still has every file, in its size, also when the cache could answer.
    """

    NONE = "none"
    INTEGRITY = "integrity"
    FULL = "full"

    @classmethod
    def of(cls, value: str) -> VerifyLevel:
        """``value`` as a level, else ``InvalidInput``."""
        try:
            return cls(value)
        except ValueError:
            raise InvalidInput(
                f"verify={value!r:.80} is not known", todo=f"Use one of {[str(level) for level in cls]}", committed="no"
            ) from None


def check_stored(storage: Storage, items: Sequence[Stored]) -> None:
    """Look whether the store has these objects in their sizes: one request each for a few, else one listing.

    Raises:
        NotFound: One is missing.
        IntegrityError: One has another size.
    """
    if len(items) <= _FEW:
        infos = storage.concurrently([partial(storage.info, item.key) for item in items])
        sizes = {info.key: info.size for info in infos if info is not None}
    else:
        sizes = _listed(storage, {item.key for item in items})
    for item in items:
        if item.key not in sizes:
            raise failures.not_found(storage.url, item.key)
        if sizes[item.key] != item.size:
            raise failures.corrupt(storage.url, item.key, f"It has {sizes[item.key]:,} bytes instead of {item.size:,}")


def _listed(storage: Storage, keys: set[str]) -> dict[str, int]:
    """Sizes of those that are there, from a listing of the folder that has them all."""
    first, last = min(keys), max(keys)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    prefix = first[: first.rfind("/", 0, same) + 1]
    return {info.key: info.size for info in storage.list(prefix) if info.key in keys}


def download(storage: Storage, files: Sequence[Download], level: VerifyLevel, progress: Progress | None = None) -> bool:
    """Fetch files, verified. With ``none``, what is damaged is fetched as it is: then the answer is False."""
    try:
        storage.download(files, progress)
    except IntegrityError:
        if level is not VerifyLevel.NONE:
            raise
        storage.download([Download(file.key, file.target) for file in files], progress)
        return False
    return True


def whole(storage: Storage, item: Stored, level: VerifyLevel) -> bytes:
    """A whole object of the store in memory, verified."""
    data = storage.get(item.key)
    if level is not VerifyLevel.NONE and (len(data) != item.size or digest_of(data) != item.sha256):
        raise failures.corrupt(storage.url, item.key, "Its bytes are not those of its sha256")
    return data


def check_size(storage: Storage, item: Stored, file: BinaryIO) -> None:
    """Raise ``IntegrityError`` unless an open file has the right size; it stands at its beginning then."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if size != item.size:
        raise failures.corrupt(storage.url, item.key, f"It has {size:,} bytes instead of {item.size:,}")


def check(storage: Storage, item: Stored, file: BinaryIO) -> None:
    """As :func:`check_size`, and that all its bytes are right."""
    check_size(storage, item, file)
    if pump(file, lambda chunk: None)[1] != item.sha256:
        raise failures.corrupt(storage.url, item.key, "Its bytes are not those of its sha256")
    file.seek(0)
