"""What a storage must do, as a pytest suite to inherit: ours pass it against real servers, and so must anybody's.

::

    class TestMyStorage(StorageContract):
        @pytest.fixture
        def storage(self):
            return MyStorage(f"mine://somewhere/{uuid4()}")  # raw, empty, and used by nobody else

Add :class:`BucketContract`, :class:`AccessContract`, :class:`ServerContract` or :class:`CapacityContract` where they
make sense. Nothing is skipped: what a backend cannot do is a class attribute, and says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import itertools
import multiprocessing
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, cast

import pytest

from prefect_registry.errors import (
    AccessDenied,
    AlreadyExists,
    IntegrityError,
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    StorageError,
    StorageUnavailable,
)
from prefect_registry.storage.base import (
    LARGEST_DOCUMENT_BYTES,
    LONGEST_KEY_BYTES,
    Download,
    Storage,
    Upload,
)
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.counting import CountingStorage
from prefect_registry.testing.faults import Fault, FaultyStorage, error_before, lost_answer

_WAIT_SECONDS = 120.0


class StorageContract:
    """Every storage, whatever it stands on.

    Attributes:
        race_threads: Contenders per process in the race for one key.
        race_processes: Processes in that race; 0 for threads of this process only, as memory is not shared.
        race_keys: How many keys are raced for. 0 for a server that is known not to be atomic: then nothing is.
        many: How many objects are listed and deleted: more than two pages.
        shared: Whether other processes see the same objects.
        has_filesystem: Whether ``fs()`` gives a filesystem of fsspec.
        part_bytes: A size that is more than one part of an upload.
    """

    race_threads: ClassVar[int] = 8
    race_processes: ClassVar[int] = 4
    race_keys: ClassVar[int] = 200
    many: ClassVar[int] = 2_500
    shared: ClassVar[bool] = True
    has_filesystem: ClassVar[bool] = True
    part_bytes: ClassVar[int] = 20 << 20

    @pytest.fixture
    def storage(self) -> Storage:
        """A raw storage, empty, that nobody else uses."""
        raise NotImplementedError

    # Creating -----------------------------------------------------------------------------------------------------

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
            return [win for _ in processes for win in answers.get(timeout=_WAIT_SECONDS)]
        finally:
            for process in processes:
                process.join(_WAIT_SECONDS)
                process.kill()

    # Overwriting and reading --------------------------------------------------------------------------------------

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

    # Keys ---------------------------------------------------------------------------------------------------------

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

    # Listing and deleting -----------------------------------------------------------------------------------------

    def test_list_order(self, storage: Storage) -> None:
        """A listing ascends by the bytes of the keys, also where folders would sort otherwise."""
        names = ["model/1", "model-2/1", "model.x", "model%20/1", "models/1", "model!/a/b", "Model/1", "ä/1", "z"]
        for name in names:
            storage.put(f"p/{name}", b"x")
        expected = sorted(f"p/{name}" for name in names)
        assert [info.key for info in storage.list("p/")] == expected
        assert [info.key for info in storage.list("")] == expected
        for i, key in enumerate(expected):
            assert [info.key for info in storage.list("p/", key)] == expected[i + 1 :]
        assert [info.key for info in storage.list("p/model/")] == ["p/model/1"]

    def test_list_nothing(self, storage: Storage) -> None:
        """Nothing below a prefix is an empty listing, and a prefix must end in a slash."""
        assert list(storage.list("")) == []
        storage.put("a/b", b"x")
        assert list(storage.list("b/")) == []
        assert list(storage.list("a/b/")) == []
        assert list(storage.list("a/", "a/b")) == []
        assert [info.key for info in storage.list("a/", "a/")] == ["a/b"]
        for prefix in ("a", "/", "../", "a//"):
            with pytest.raises(InvalidInput):
                list(storage.list(prefix))

    def test_list_tells_size_and_time(self, storage: Storage) -> None:
        """Listings and ``info`` agree about size and store time, and the time is about now, in UTC."""
        storage.put("x/a", b"12345")
        (listed,) = storage.list("x/")
        info = storage.info("x/a")
        assert info is not None
        assert (listed.key, listed.size) == (info.key, info.size) == ("x/a", 5)
        assert abs(listed.modified - info.modified) <= timedelta(seconds=1)
        assert listed.modified.utcoffset() == timedelta(0)
        assert abs(listed.modified - datetime.now(UTC)) < timedelta(minutes=2)

    def test_list_and_delete_many(self, storage: Storage) -> None:
        """More objects than several pages hold are all listed, in order, and all deleted."""
        keys = [f"many/{i:05}" for i in range(self.many)]
        storage.concurrently([lambda key=key: storage.put(key, b"x") for key in keys])  # type: ignore[misc]
        storage.put("manz", b"x")
        assert [info.key for info in storage.list("many/")] == keys
        assert [info.key for info in storage.list("many/", keys[1034])] == keys[1035:]
        assert [info.key for info in itertools.islice(storage.list("many/"), 10)] == keys[:10]
        storage.delete_many(iter(keys))
        assert [info.key for info in storage.list("")] == ["manz"]

    def test_delete_is_exact(self, storage: Storage) -> None:
        """Only the named objects go: patterns are plain names, missing ones are fine, folders are nothing."""
        kept = ["a1", "a/b", "b/c", "ab"]
        for key in [*kept, "a[1]", "a*"]:
            storage.put(key, b"x")
        storage.delete_many(["a[1]", "a*", "never was", "b", "?b"])
        storage.delete_many([])
        assert [info.key for info in storage.list("")] == sorted(kept)
        storage.delete_many(["b/c"])
        storage.put("b/c", b"again")
        assert storage.get("b/c") == b"again"

    # Whole files --------------------------------------------------------------------------------------------------

    def test_upload_and_download(self, storage: Storage, tmp_path: Path) -> None:
        """Files of every size and kind of source arrive whole, with size and sha256 of what was sent."""
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

    # Concurrency --------------------------------------------------------------------------------------------------

    def test_concurrently(self, storage: Storage) -> None:
        """Results come in order; every call is finished, and then the first error in order is raised; nesting works."""
        assert storage.concurrently([]) == []
        assert storage.concurrently([lambda i=i: i * i for i in range(50)]) == [i * i for i in range(50)]  # type: ignore[misc]
        finished: list[int] = []

        def call(i: int) -> None:
            if i in (3, 7):
                time.sleep(0.02 if i == 3 else 0)
                raise KeyError(i)
            finished.append(i)

        with pytest.raises(KeyError, match="3"):
            storage.concurrently([lambda i=i: call(i) for i in range(20)])  # type: ignore[misc]
        assert sorted(finished) == [i for i in range(20) if i not in (3, 7)]

        def nested(depth: int) -> int:
            below = [lambda: nested(depth - 1)] * 5 if depth else []
            return 1 + sum(storage.concurrently(below))

        assert nested(3) == 1 + 5 + 25 + 125

    def test_event_loops(self, storage: Storage) -> None:
        """It works inside several event loops, one after the other and at the same time."""

        async def use(name: str) -> bytes:
            storage.put(f"loop/{name}", name.encode())  # even when called directly, which blocks that loop
            return await asyncio.to_thread(storage.get, f"loop/{name}")

        assert [asyncio.run(use(str(i))) for i in range(3)] == [b"0", b"1", b"2"]
        results: dict[str, bytes] = {}
        threads = [
            threading.Thread(target=lambda name=f"t{i}": results.update({name: asyncio.run(use(name))}))
            for i in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_WAIT_SECONDS)
        assert results == {f"t{i}": f"t{i}".encode() for i in range(4)}

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_other_processes(self, storage: Storage, method: str) -> None:
        """A child process, forked in mid-use or started anew, works on the same objects, and so does its parent."""
        storage.put("parent", b"from the parent")
        storage.concurrently([lambda: storage.get("parent")] * 8)
        context: Any = multiprocessing.get_context(method)
        answers = context.Queue()
        process = context.Process(target=_use_in_process, args=(storage, self.shared, answers))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks in threaded programs
            process.start()
        try:
            assert answers.get(timeout=_WAIT_SECONDS) == "ok"
        finally:
            process.join(_WAIT_SECONDS)
            process.kill()
        storage.put("parent", b"again")
        assert storage.get("parent") == b"again"
        if self.shared:
            assert storage.get("child") == b"from the child"

    # Lost answers -------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("fault", [lost_answer(method="create"), error_before(method="create")])
    def test_lost_answers(self, storage: Storage, fault: Fault) -> None:
        """With an answer lost, the winner still learns that it won, and the loser that it lost; one more trip."""
        counting = CountingStorage(storage)
        ours = ResolvingStorage(FaultyStorage(counting, fault), first_delay=0.001)
        ours.create("key", b"ours")
        # Lost on the way back: create, read back. Lost on the way there: read back, create.
        assert counting.calls.by_method == {"create": 1, "get": 1}
        theirs = ResolvingStorage(FaultyStorage(storage, fault), first_delay=0.001)
        with pytest.raises(AlreadyExists) as caught:
            theirs.create("key", b"theirs")
        assert caught.value.existing == b"ours"
        assert storage.get("key") == b"ours"

    def test_own_success_is_recognised(self, storage: Storage) -> None:
        """Sending the same bytes again is our own success, however often."""
        ours = ResolvingStorage(storage)
        for _ in range(3):
            ours.create("key", b"ours")

    # Showing itself -----------------------------------------------------------------------------------------------

    def test_filesystem(self, storage: Storage) -> None:
        """``fs()``, and the URL with ``storage_options()``, lead other libraries to the same bytes."""
        storage.put("folder/data", b"bytes")
        if not self.has_filesystem:
            with pytest.raises(InvalidInput):
                storage.fs()
            return
        fs, root = cast(tuple[Any, str], storage.fs())
        assert fs.cat_file(f"{root}/folder/data") == b"bytes"
        fs.pipe_file(f"{root}/folder/written", b"by another library")
        assert storage.get("folder/written") == b"by another library"
        import fsspec

        with fsspec.open(f"{storage.url}/folder/data", "rb", **self.options_for_fsspec(storage)) as file:
            assert file.read() == b"bytes"

    def options_for_fsspec(self, storage: Storage) -> dict[str, Any]:
        """What ``fsspec.open`` needs beside the URL."""
        return dict(storage.storage_options())

    def test_repr(self, storage: Storage) -> None:
        """Its repr is short and shows the URL and nothing else of its configuration."""
        assert repr(storage) == f"<{type(storage).__name__} {storage.url}>"
        assert not storage.url.endswith("/")


class BucketContract:
    """Storages whose bucket may be missing: add to :class:`StorageContract`."""

    @pytest.fixture
    def without_bucket(self) -> Storage:
        """A raw storage in a bucket that does not exist."""
        raise NotImplementedError

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
        raise NotImplementedError

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
        raise NotImplementedError

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
                ResolvingStorage(storage, timeout=_WAIT_SECONDS).create(key, data)
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


def _use_in_process(storage: Storage, shared: bool, answers: Any) -> None:
    try:
        storage.put("child", b"from the child")
        storage.create("created by the child", b"x")
        storage.concurrently([lambda: storage.get("child")] * 8)
        assert storage.get("child") == b"from the child"
        assert not shared or storage.get("parent") == b"from the parent"
        assert not shared or [info.key for info in storage.list("")][:1] == ["child"]
        answers.put("ok")
    except BaseException as error:
        answers.put(repr(error))
        raise


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
