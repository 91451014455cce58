"""Stores that are missing, closed, down or full."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from prefect_registry.errors import (
    AccessDenied,
    OutcomeUnknown,
    StorageError,
    StorageUnavailable,
)
from prefect_registry.storage.base import (
    Download,
    Storage,
    Upload,
)
from prefect_registry.storage.resolving import ResolvingStorage


class BucketContract:
    """Storages whose bucket may be missing: add to :class:`StorageContract`."""

    @pytest.fixture
    def without_bucket(self) -> Storage:
        """A raw storage in a bucket that does not exist."""
        raise NotImplementedError("override the fixture 'without_bucket': the contract tests what it returns")

    def test_missing_bucket(self, without_bucket: Storage, tmp_path: Path) -> None:
        """A missing bucket is a ``StorageError`` that names it, at once: never "not found", empty or unknown."""
        for name, call in _every_call(without_bucket, tmp_path).items():
            if name != "delete_many":  # deleting what is not there is fine
                with pytest.raises(StorageError, match=r"(?s)bucket .* does not exist.*Create the bucket") as caught:
                    call()
                assert type(caught.value) is StorageError, name
        with pytest.raises(StorageError, match="does not exist"):
            ResolvingStorage(without_bucket).create("key", b"x")


class AccessContract:
    """Storages that check who asks: add to :class:`StorageContract`."""

    @pytest.fixture
    def denied(self) -> Storage:
        """A raw storage with wrong credentials, or without permission."""
        raise NotImplementedError("override the fixture 'denied': the contract tests what it returns")

    def test_denied(self, denied: Storage, tmp_path: Path) -> None:
        """Without permission every call is ``AccessDenied``, at once, with what to do about it."""
        for name, call in _every_call(denied, tmp_path).items():
            with pytest.raises(AccessDenied) as caught:
                call()
            assert caught.value.todo, name
        began = time.monotonic()
        with pytest.raises(AccessDenied):
            ResolvingStorage(denied).create("key", b"x")
        assert time.monotonic() - began < 5


class ServerContract:
    """Storages behind a server, which may be down: add to :class:`StorageContract`."""

    @pytest.fixture
    def unreachable(self) -> Storage:
        """A raw storage at an address where nobody listens."""
        raise NotImplementedError("override the fixture 'unreachable': the contract tests what it returns")

    def test_server_down(self, unreachable: Storage, tmp_path: Path) -> None:
        """A server that is down is ``StorageUnavailable`` for every call, soon; a create ends as unknown, in time."""
        began = time.monotonic()
        for name, call in _every_call(unreachable, tmp_path).items():
            with pytest.raises(StorageUnavailable):
                call()
            assert time.monotonic() - began < 30, name
        with pytest.raises(OutcomeUnknown) as caught:
            ResolvingStorage(unreachable, timeout=1.0).create("key", b"x")
        assert caught.value.committed == "unknown"
        assert list(tmp_path.iterdir()) == []


class CapacityContract:
    """Storages that may be full: add to :class:`StorageContract`."""

    @pytest.fixture
    def run_full(self) -> Callable[[Callable[[Storage], str]], str]:
        """Calls a function with a raw storage that has no room for 256 KiB, and gives its result."""
        raise NotImplementedError

    def test_full(self, run_full: Callable[[Callable[[Storage], str]], str]) -> None:
        """Without room a write is a ``StorageError`` that says so, nothing of it is stored, and smaller writes work."""
        assert run_full(_write_when_full) == "ok"


def _write_when_full(storage: Storage) -> str:
    storage.put("small", b"fits")
    writes: list[Callable[[], object]] = [
        lambda: storage.create("document", bytes(256 << 10)),
        lambda: storage.put("small", bytes(256 << 10)),
        lambda: storage.upload([Upload("file", bytes(4 << 20))]),
        lambda: ResolvingStorage(storage).create("document", bytes(256 << 10)),
    ]
    for write in writes:
        try:
            write()
        except StorageError as error:
            if type(error) is not StorageError or "full" not in str(error):
                return f"unclear: {error!r}"
        else:
            return "a write into a full store succeeded"
    left = [info.key for info in storage.list("")]
    storage.create("also small", b"fits")
    return "ok" if left == ["small"] and storage.get("small") == b"fits" else f"left behind: {left}"


def _every_call(storage: Storage, folder: Path) -> dict[str, Callable[[], object]]:
    return {
        "create": lambda: storage.create("key", b"x"),
        "put": lambda: storage.put("key", b"x"),
        "get": lambda: storage.get("key"),
        "open": lambda: storage.open("key"),
        "upload": lambda: storage.upload([Upload("key", b"x")]),
        "download": lambda: storage.download([Download("key", folder / "target")]),
        "list": lambda: list(storage.list("")),
        "delete_many": lambda: storage.delete_many(["key"]),
        "info": lambda: storage.info("key"),
    }
