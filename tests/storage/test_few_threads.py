"""Where no more threads can be started, as in a container at its limit, every call is still made, and made once."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest

from prefect_registry.storage import concurrency
from prefect_registry.storage.concurrency import begun, beside, in_parallel
from prefect_registry.storage.transfer import Digest, FollowingDigest

NO_STACK_IS_THIS_LARGE = 1 << 46
CHUNK = bytes(range(256)) * 4096


@pytest.fixture
def leave(monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """Lets threads that are kept busy go. The pools have no thread at first, and what a test forbids ends with it."""
    monkeypatch.setattr(concurrency, "_pools", {})
    event = Event()
    yield event
    event.set()
    threading.stack_size(0)


def _no_more_threads() -> None:
    threading.stack_size(NO_STACK_IS_THIS_LARGE)
    with pytest.raises(RuntimeError, match="thread"):
        threading.Thread(target=print).start()


def _keep_busy(start: Callable[[Callable[[], object]], object], leave: Event) -> None:
    """Give a pool one thread, keep that busy, and let it have no other."""
    here = Event()
    start(lambda: here.set() or leave.wait())  # type: ignore[func-returns-value]
    here.wait()
    _no_more_threads()


@pytest.mark.usefixtures("leave")
def test_without_threads_the_caller_does_it_all() -> None:
    """Calls in parallel, one begun early and what is hashed beside the rest have their results."""
    _no_more_threads()
    assert in_parallel([lambda i=i: i for i in range(9)], 4) == list(range(9))  # type: ignore[misc]
    assert begun(lambda: 7).result() == 7
    digest = Digest()
    digest.update(CHUNK)
    assert digest.hexdigest() == hashlib.sha256(CHUNK).hexdigest()


def test_no_result_is_lost_when_a_thread_comes_late(leave: Event) -> None:
    """A pool does later what it has refused for want of threads: the results are complete all the same."""
    _keep_busy(begun, leave)
    caller = threading.current_thread()

    def call(i: int) -> int:
        if i == 0:
            leave.set()
        time.sleep(0.02 if threading.current_thread() is caller else 0.3)
        return i

    assert in_parallel([lambda i=i: call(i) for i in range(6)], 4) == list(range(6))  # type: ignore[misc]


def test_nothing_is_hashed_twice_when_a_thread_comes_late(leave: Event, tmp_path: Path) -> None:
    """The sha256 of what is uploaded is that of its bytes, whoever has hashed which chunk."""
    _keep_busy(beside, leave)
    digest, path = Digest(), tmp_path / "file"
    digest.update(CHUNK)
    path.write_bytes(CHUNK * 3)
    following = FollowingDigest(path)
    following.advance(len(CHUNK) * 2)
    leave.set()
    threading.stack_size(0)
    beside(lambda: None).result()
    expected = hashlib.sha256(CHUNK).hexdigest(), hashlib.sha256(CHUNK * 3).hexdigest()
    assert (digest.hexdigest(), following.hexdigest()) == expected
    following.close()


def test_what_is_cancelled_before_it_has_begun_never_begins(leave: Event) -> None:
    """So a file that is closed early is not read afterwards; what has begun cannot be cancelled."""
    _keep_busy(begun, leave)
    done = list[int]()
    late = begun(lambda: done.append(1))
    assert late.cancel()
    leave.set()
    threading.stack_size(0)
    begun(lambda: None).result()
    assert done == []
    ended = begun(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        ended.result()
    assert not ended.cancel()
    assert isinstance(ended.error(), ZeroDivisionError)
