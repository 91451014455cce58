"""Use from threads, event loops and processes; lost answers; what a storage shows of itself."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
import warnings
from functools import partial
from typing import Any, cast

import pytest

from prefect_registry.errors import (
    AlreadyExists,
    InvalidInput,
    NotFound,
)
from prefect_registry.storage.base import (
    Storage,
)
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.contracts.settings import WAIT_SECONDS, ContractSettings
from prefect_registry.testing.counting import CountingStorage
from prefect_registry.testing.faults import Fault, FaultyStorage, error_before, lost_answer


class ConcurrencyContract(ContractSettings):
    """Use from everywhere at once."""

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

    def test_in_order(self, storage: Storage) -> None:
        """What is written together is there when that returns; one that is refused keeps no other from it."""
        assert storage.in_order([]) == []
        storage.in_order([partial(storage.put, "order/touch", b""), partial(storage.create, "order/0", b"a")])
        assert (storage.get("order/touch"), storage.get("order/0")) == (b"", b"a")
        calls = [("order/1", b"b"), ("order/0", b"c"), ("order/2", b"d")]
        with pytest.raises(AlreadyExists):
            storage.in_order([partial(storage.create, key, data) for key, data in calls])
        assert [storage.get(f"order/{i}") for i in range(3)] == [b"a", b"b", b"d"]

    def test_prefetch(self, storage: Storage) -> None:
        """Where a get can be under way beside other requests, it gives what get gives; else it says so every time."""
        storage.put("ahead", b"x")
        found, missing = storage.prefetch("ahead"), storage.prefetch("missing")
        if found is None or missing is None:
            assert found is missing
            return
        storage.put("meanwhile", b"y")
        with pytest.raises(NotFound):
            missing()
        assert found() == b"x"

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
            thread.join(WAIT_SECONDS)
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
            assert answers.get(timeout=WAIT_SECONDS) == "ok"
        finally:
            process.join(WAIT_SECONDS)
            process.kill()
        storage.put("parent", b"again")
        assert storage.get("parent") == b"again"
        if self.shared:
            assert storage.get("child") == b"from the child"


class AnswerContract(ContractSettings):
    """Lost answers."""

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


class FaceContract(ContractSettings):
    """What a storage shows of itself."""

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
