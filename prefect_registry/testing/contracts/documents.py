"""Documents: created once, replaced whole, read back exactly, under any key."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from prefect_registry.errors import (
    AlreadyExists,
    InvalidInput,
    NotFound,
)
from prefect_registry.storage.base import (
    LARGEST_DOCUMENT_BYTES,
    LONGEST_KEY_BYTES,
    Download,
    Storage,
    Upload,
)
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.contracts.settings import WAIT_SECONDS, ContractSettings


class DocumentContract(ContractSettings):
    """Creating, replacing and reading whole documents."""

    def test_create_then_get(self, storage: Storage) -> None:
        """What was created reads back byte for byte, from 1 byte up to 1 MiB."""
        for key, data in (("one", b"\0"), ("a/b/c.json", b'{"x": 1}'), ("large", os.urandom(LARGEST_DOCUMENT_BYTES))):
            storage.create(key, data)
            assert storage.get(key) == data

    def test_create_twice(self, storage: Storage) -> None:
        """A second create is refused, also with the same bytes, and changes nothing."""
        storage.create("a/key", b"first")
        for data in (b"second", b"first"):
            with pytest.raises(AlreadyExists) as caught:
                storage.create("a/key", data)
            assert caught.value.committed == "no"
        assert storage.get("a/key") == b"first"

    def test_create_limits(self, storage: Storage) -> None:
        """A document that is empty or larger than 1 MiB is refused before anything is written."""
        for data in (b"", bytes(LARGEST_DOCUMENT_BYTES + 1)):
            with pytest.raises(InvalidInput):
                storage.create("key", data)
        assert storage.info("key") is None

    def test_create_beside_put(self, storage: Storage) -> None:
        """A key that was put, even as an empty object, cannot be created."""
        storage.put("touch", b"")
        with pytest.raises(AlreadyExists):
            storage.create("touch", b"data")
        assert storage.get("touch") == b""

    def test_race(self, storage: Storage) -> None:
        """Of many creates of one key at once exactly one wins, and the bytes are the winner's, every time."""
        wins = self._race(storage)
        by_key: dict[str, list[bytes]] = {}
        for key, data in wins:
            by_key.setdefault(key, []).append(data)
        assert {key: len(winners) for key, winners in by_key.items() if len(winners) != 1} == {}
        assert len(by_key) == self.race_keys
        for key, winners in by_key.items():
            assert storage.get(key) == winners[0]

    def _race(self, storage: Storage) -> list[tuple[str, bytes]]:
        keys = [f"race/{i:05}" for i in range(self.race_keys)]
        if not self.race_processes:
            wins: list[tuple[str, bytes]] = []
            _contend(storage, "here", keys, self.race_threads, lambda: None, wins)
            return wins
        context = multiprocessing.get_context("spawn")
        barrier, answers = context.Barrier(self.race_processes), context.Queue()
        processes = [
            context.Process(target=_contend_in_process, args=(storage, i, keys, self.race_threads, barrier, answers))
            for i in range(self.race_processes)
        ]
        for process in processes:
            process.start()
        try:
            return [win for _ in processes for win in answers.get(timeout=WAIT_SECONDS)]
        finally:
            for process in processes:
                process.join(WAIT_SECONDS)
                process.kill()

    def test_put(self, storage: Storage) -> None:
        """A put replaces what is there, may be empty, and reads as new at once."""
        for data in (b"one", b"", b"three" * 100_000, b"4"):
            storage.put("a/beat", data)
            assert storage.get("a/beat") == data
            info = storage.info("a/beat")
            assert info is not None
            assert info.size == len(data)

    def test_missing(self, storage: Storage, tmp_path: Path) -> None:
        """A missing object is ``NotFound`` for every way to read it, and None for ``info``."""
        storage.put("folder/there", b"x")
        for key in ("nothing", "folder", "folder/there/below"):
            assert storage.info(key) is None
            with pytest.raises(NotFound):
                storage.get(key)
            with pytest.raises(NotFound):
                storage.open(key)
            with pytest.raises(NotFound):
                storage.download([Download(key, tmp_path / "target")])
        assert list(tmp_path.iterdir()) == []

    def test_no_torn_reads(self, storage: Storage) -> None:
        """While a document is created or replaced, a reader sees nothing, or all of one of them."""
        documents = [bytes([65 + i]) * (300_000 + i) for i in range(12)]
        done = threading.Event()
        seen: list[bytes] = []

        def read() -> None:
            while not done.is_set():
                for key in ("created/11", "replaced"):
                    with contextlib.suppress(NotFound):
                        seen.append(storage.get(key))

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for i, document in enumerate(documents):
            storage.put("replaced", document)
            storage.create(f"created/{i:02}", document)
        done.set()
        for reader in readers:
            reader.join()
        assert {data for data in seen if data not in documents} == set()

    def test_open(self, storage: Storage) -> None:
        """An open object can be read in pieces from anywhere."""
        data = os.urandom(900_001)
        storage.put("file", data)
        with storage.open("file") as file:
            assert file.read(10) == data[:10]
            assert file.seek(-7, os.SEEK_END) == len(data) - 7
            assert file.read() == data[-7:]
            assert file.read(1) == b""
            file.seek(400_000)
            assert file.read(300_000) == data[400_000:700_000]
            assert file.tell() == 700_000
        storage.put("empty", b"")
        with storage.open("empty") as file:
            assert file.read() == b""


class KeyContract(ContractSettings):
    """Keys of every kind."""

    def test_keys(self, storage: Storage) -> None:
        """Keys are only bytes: no character in them means anything, up to the limit of their length."""
        for key in _strange_keys():
            storage.create(key, key.encode())
        assert sorted(info.key for info in storage.list("")) == sorted(_strange_keys())
        for key in _strange_keys():
            assert storage.get(key) == key.encode()
            info = storage.info(key)
            assert info is not None
            assert info.key == key

    def test_illegal_keys(self, storage: Storage) -> None:
        """A key that could lead elsewhere is refused by every method."""
        too_long = "/".join(["k" * 100] * 10)
        illegal = [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            ".",
            "..",
            "../a",
            "a/../b",
            "a/./b",
            "a\0b",
            "a\nb",
            "a\\b",
            "a\n",
            too_long,
        ]
        for key in [*illegal, "a/\ud800"]:
            calls: list[Callable[[], object]] = [
                lambda key=key: storage.create(key, b"x"),  # type: ignore[misc]
                lambda key=key: storage.put(key, b"x"),  # type: ignore[misc]
                lambda key=key: storage.get(key),  # type: ignore[misc]
                lambda key=key: storage.open(key),  # type: ignore[misc]
                lambda key=key: storage.info(key),  # type: ignore[misc]
                lambda key=key: storage.upload([Upload(key, b"x")]),  # type: ignore[misc]
                lambda key=key: storage.delete_many([key]),  # type: ignore[misc]
            ]
            for call in calls:
                with pytest.raises(InvalidInput):
                    call()
        assert list(storage.list("")) == []


def _strange_keys() -> list[str]:
    longest = "/".join(["k" * 180] * 5) + "/" + "k" * (LONGEST_KEY_BYTES - 5 * 181)
    assert len(longest) == LONGEST_KEY_BYTES
    names = ["a b", "a+b", "a%20b", "a%2Fb", "%", "a?versionId=1", "a#b", "a[1]*{x}", "~", "-", "...", "a.", ".a"]
    return [*(f"s/{name}/x" for name in names), "ü/日本/🦆", "UPPER/x", "con%2E", longest, "n" * 180]


def _contend(
    storage: Storage,
    name: str,
    keys: Sequence[str],
    threads: int,
    together: Callable[[], Any],
    wins: list[tuple[str, bytes]],
) -> None:
    barrier = threading.Barrier(threads, action=together)

    def run(i: int) -> None:
        for key in keys:
            data = f"{name}-{i}-{key}".encode()
            barrier.wait()
            # Through the resolving storage, as in real use: a 409 is no answer, and is asked again.
            try:
                ResolvingStorage(storage, timeout=WAIT_SECONDS).create(key, data)
                wins.append((key, data))
            except AlreadyExists as error:
                if error.existing in (None, data):
                    wins.append((key, b"a loser was not shown the winner"))

    contenders = [threading.Thread(target=run, args=(i,)) for i in range(threads)]
    for contender in contenders:
        contender.start()
    for contender in contenders:
        contender.join()


def _contend_in_process(
    storage: Storage, number: int, keys: Sequence[str], threads: int, barrier: Any, answers: Any
) -> None:
    wins: list[tuple[str, bytes]] = []
    _contend(storage, f"process {number}", keys, threads, barrier.wait, wins)
    answers.put(wins)
