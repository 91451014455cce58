"""Does this storage do what the registry needs? Tried out, not believed: for ``Registry.check`` and ``doctor``.

Some servers ignore the condition of a conditional write and answer 200, some filesystems look first and then write:
either would lose commits silently. So a create must be refused the second time, and of eight at once one must win.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from prefect_registry.clock import Clock, SystemClock
from prefect_registry.errors import AlreadyExists, RegistryError, StorageError, UnsupportedStorage
from prefect_registry.ids import random_token
from prefect_registry.storage.base import Storage

FOLDER = ".probe"
CONTENDERS = 8
_FEWEST_RACES, _MOST_RACES, _RACING_SECONDS = 8, 200, 2.0
_NOT_ATOMIC = (
    "Use a store that honours If-None-Match (S3, GCS, Azure, SeaweedFS 4.48 or newer, MinIO), or a local folder"
)
_IGNORED = "an object that existed was created a second time: the store ignores the condition"
_POLICY = "Allow to read, write, list and delete below this URL"


@dataclass(frozen=True, slots=True)
class ProbeCheck:
    """One thing that was tried.

    Attributes:
        name: Stable: ``write``, ``create``, ``race``, ``overwrite``, ``list``, ``clock``, ``delete``.
        ok: Whether it did what the registry needs.
        detail: What was seen.
        mend: What to do about it when it is not ok.
        seconds: How long it took.
    """

    name: str
    ok: bool
    detail: str
    mend: str
    seconds: float


@dataclass(slots=True)
class ProbeReport:
    """What :func:`probe` found.

    Attributes:
        url: The storage that was tried.
        checks: In the order in which they were made. After one that makes the others pointless there are no more.
        error: The storage error that ended the probe, if one did.
        clock_offset: The store's time less the local time, if it could be told (to about a second).
    """

    url: str
    checks: list[ProbeCheck] = field(default_factory=list)
    error: RegistryError | None = None
    clock_offset: timedelta | None = None

    @property
    def ok(self) -> bool:
        """Whether everything was as it must be."""
        return all(check.ok for check in self.checks)

    def raise_unless_ok(self) -> None:
        """Raise the storage error that ended the probe, or ``UnsupportedStorage`` that tells what went wrong."""
        if self.error is not None:
            raise self.error
        failed = [check for check in self.checks if not check.ok]
        if failed:
            raise UnsupportedStorage(
                f"{self.url} cannot hold a registry",
                why="; ".join(check.detail for check in failed),
                todo=failed[0].mend,
                checks=[check.name for check in failed],
            )


class _NotOk(Exception):
    """A check that failed: what was seen, and the mend."""


def probe(storage: Storage, clock: Clock | None = None) -> ProbeReport:
    """Try out ``storage`` below ``.probe/<random>/``, and clean up. Never raises a storage error: it reports it.

    Args:
        storage: A raw backend; retries would hide what it does.
        clock: Measures times, and what the store's clock is compared with.
    """
    return _Probe(storage, clock or SystemClock()).run()


def refuse_unless_create_only(
    url: str, create: Callable[[str, bytes], None], delete: Callable[[Iterable[str]], None]
) -> None:
    """Raise ``UnsupportedStorage`` if the store creates an object that exists: the one thing that every run rests on.

    Three requests below ``.probe/``. Whether one of several writers at once wins is for :func:`probe` to find out.
    """
    key = f"{FOLDER}/{random_token()}"
    create(key, b"first")
    try:
        create(key, b"second")
    except AlreadyExists:
        return
    finally:
        with contextlib.suppress(StorageError):  # who may write may not always delete
            delete([key])
    raise UnsupportedStorage(
        f"{url} cannot hold a registry", why=_IGNORED, todo=_NOT_ATOMIC, committed="no", checks=["create"]
    )


class _Probe:
    def __init__(self, storage: Storage, clock: Clock) -> None:
        self.storage = storage.unguarded()
        self.clock = clock
        self.folder = f"{FOLDER}/{random_token()}/"
        self.report = ProbeReport(storage.url)

    def run(self) -> ProbeReport:
        with contextlib.suppress(_Ended):
            self.check("write", self.writes, _POLICY)
            self.check("create", self.refuses_to_create_twice, _NOT_ATOMIC)
            self.check("race", self.lets_one_win, _NOT_ATOMIC)
            self.check("overwrite", self.overwrites, "Use a store that shows what was just written")
            self.check("list", self.lists_what_was_written, "Use a store whose listings are consistent")
            self.check("clock", self.tells_the_time, "Set the clock of this machine, or of the store")
        self.check_last("delete", self.deletes, _POLICY)
        return self.report

    def check(self, name: str, call: Callable[[], str], mend: str) -> None:
        began = self.clock.monotonic()
        ended = False
        try:
            detail, ok = call(), True
        except _NotOk as found:
            detail, ok = str(found), False
        except RegistryError as error:
            detail, ok, ended = str(error), False, True
            self.report.error, mend = error, error.todo or mend
        self.report.checks.append(ProbeCheck(name, ok, detail, "" if ok else mend, self.clock.monotonic() - began))
        if ended:
            raise _Ended

    def check_last(self, name: str, call: Callable[[], str], mend: str) -> None:
        """Clean up in any case; after an error its own failure is no news."""
        if self.report.error is None:
            with contextlib.suppress(_Ended):
                self.check(name, call, mend)
        else:
            with contextlib.suppress(RegistryError, _NotOk):
                call()

    def writes(self) -> str:
        key, data = self.folder + "first", self.bytes_of("first")
        self.before = self.clock.now()
        self.storage.create(key, data)
        self.after = self.clock.now()
        if self.storage.get(key) != data:
            raise _NotOk("what was read is not what was written")
        return "an object can be written and read"

    def refuses_to_create_twice(self) -> str:
        key, data = self.folder + "first", self.bytes_of("first")
        try:
            self.storage.create(key, self.bytes_of("second"))
        except AlreadyExists:
            pass
        else:
            raise _NotOk(_IGNORED)
        if self.storage.get(key) != data:
            raise _NotOk("a create that was refused changed the object all the same")
        return "creating an object that exists is refused"

    def lets_one_win(self) -> str:
        began = self.clock.monotonic()
        rounds = 0
        with _eager_threads():
            while rounds < _MOST_RACES and (rounds < _FEWEST_RACES or self.clock.monotonic() - began < _RACING_SECONDS):
                self.race(f"{self.folder}race-{rounds:02}")
                rounds += 1
        return f"of {CONTENDERS} creates at once exactly one won, {rounds} times"

    def race(self, key: str) -> None:
        winners: list[bytes] = []
        errors: list[RegistryError] = []
        together = threading.Barrier(CONTENDERS)

        def contend(data: bytes) -> None:
            together.wait()
            try:
                self.storage.create(key, data)
                winners.append(data)
            except AlreadyExists:
                pass
            except RegistryError as error:
                errors.append(error)

        threads = [threading.Thread(target=contend, args=(self.bytes_of(str(i)),)) for i in range(CONTENDERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if len(winners) > 1:
            raise _NotOk(f"of {CONTENDERS} creates of one object at once, {len(winners)} were told that they won")
        if not winners and errors:
            raise errors[0]
        if not winners or self.storage.get(key) != winners[0]:
            raise _NotOk(f"after {CONTENDERS} creates of one object at once, the bytes are not the winner's")

    def overwrites(self) -> str:
        key = self.folder + "overwritten"
        for text in ("one", "two", "three"):
            self.storage.put(key, self.bytes_of(text))
            if self.storage.get(key) != self.bytes_of(text):
                raise _NotOk("what was just overwritten still reads as it was")
        return "an overwritten object reads as new at once"

    def lists_what_was_written(self) -> str:
        keys = [f"{self.folder}list/{i:02}" for i in range(8)]
        for key in keys:
            self.storage.put(key, b"x")
        found = [info.key for info in self.storage.list(self.folder + "list/")]
        if found != keys:
            raise _NotOk(f"a listing showed {len(found)} of {len(keys)} new objects, or not in order")
        self.storage.delete_many(keys[:4])
        if [info.key for info in self.storage.list(self.folder + "list/")] != keys[4:]:
            raise _NotOk("a listing still showed deleted objects")
        return "listings show at once what was written and deleted"

    def tells_the_time(self) -> str:
        info = self.storage.info(self.folder + "first")
        if info is None:
            raise _NotOk("an object that exists has no information")
        low, high = info.modified - self.after, info.modified + timedelta(seconds=1) - self.before
        self.report.clock_offset = timedelta(0) if low <= timedelta(0) <= high else low + (high - low) / 2
        seconds = self.report.clock_offset.total_seconds()
        if not seconds:
            return "this machine's clock agrees with the store's"
        return f"the store's clock is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} this machine's"

    def deletes(self) -> str:
        self.storage.delete_many([info.key for info in self.storage.list(self.folder)])
        left = [info.key for info in self.storage.list(self.folder)]
        if left:
            raise _NotOk(f"{len(left)} objects could not be deleted, such as {left[0]}")
        return "what was written could be deleted"

    def bytes_of(self, text: str) -> bytes:
        return f"{self.folder}{text}".encode()


class _Ended(Exception):
    """The store refused or failed: the other checks would say the same."""


@contextlib.contextmanager
def _eager_threads() -> Iterator[None]:
    """Let threads take turns all the time, so that a gap between looking and writing is met."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
