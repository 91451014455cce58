"""One store as the protocol sees it: typed documents under keys, time, ids and the identity of this process."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import repeat
from typing import Any, TypeVar

from prefect_registry.clock import StoreClock, SystemClock
from prefect_registry.errors import IntegrityError, NotFound, StorageError
from prefect_registry.ids import IdFactory, began_at, random_token
from prefect_registry.ledger import paths
from prefect_registry.ledger.holder import is_gone, this_process
from prefect_registry.locks import ForkSafeLock
from prefect_registry.records.base import Document
from prefect_registry.records.runs import Begin, Decision, Holder, Members, MembersDocument, Reference
from prefect_registry.storage.base import ObjectInfo, Storage, Upload

log = logging.getLogger("prefect_registry")

MOST_SENT = 1_000
"""Of how many of the newest creates it is remembered when they were sent."""

CLOCKS_AGREE_SECONDS = 1.0
"""By how much the wall clock may depart from the monotonic one between two looks: stores stamp whole seconds."""

SHARED_OPERATION, MOST_IN_AN_OPERATION = timedelta(minutes=1), 100
"""For how long, and how many, writes outside any run share an ``op_`` id on a store that is near."""

D = TypeVar("D", bound=Document)
T = TypeVar("T")


@dataclass(frozen=True)
class LedgerSettings:
    """The protocol's waits, in seconds.

    ``undecided_wait`` is how long a writer waits for another run's undecided generation; a younger run than the one
    it waits for gives way after ``younger_wait`` (DESIGN.md P4). ``grace`` is how late a write may land and still be
    found by readers that sealed its hour (DESIGN.md 6).
    """

    lease_seconds: float = 900.0
    undecided_wait_seconds: float = 10.0
    younger_wait_seconds: float = 5.0
    grace_seconds: float = 600.0
    poll_seconds: float = 0.05


class _Cache:
    """The most recently used immutable documents: what was read once never changes (DESIGN.md P1)."""

    def __init__(self, capacity: int = 20_000) -> None:
        self._capacity = capacity
        self._items: OrderedDict[str, Document] = OrderedDict()
        self._lock = ForkSafeLock()

    def get(self, key: str) -> Document | None:
        with self._lock:
            found = self._items.get(key)
            if found is not None:
                self._items.move_to_end(key)
            return found

    def add(self, key: str, document: Document) -> None:
        with self._lock:
            self._items[key] = document
            if len(self._items) > self._capacity:
                self._items.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment by both local clocks: the one that can be set, and the one that cannot."""

    wall: datetime
    monotonic: float

    @classmethod
    def of(cls, clock: StoreClock) -> Instant:
        """Now."""
        return cls(clock.local(), clock.monotonic())

    def is_set_since(self, earlier: Instant) -> bool:
        """Whether the wall clock did not go on from ``earlier`` to here as the other one did."""
        passed = (self.wall - earlier.wall).total_seconds()
        return abs(passed - (self.monotonic - earlier.monotonic)) > CLOCKS_AGREE_SECONDS


def no_jitter() -> float:
    """The middle of what a jitter gives: for those who want every wait to be the same."""
    return 0.5


def jitter() -> float:
    """A random number from 0 up to 1, so that two who wait for the same thing do not wait in step."""
    return random.random()


@dataclass
class Store:
    """Storage, clock, ids and process identity: what every part of the ledger works with."""

    storage: Storage
    clock: StoreClock = field(default_factory=lambda: StoreClock(SystemClock()))
    ids: IdFactory = field(default_factory=IdFactory)
    settings: LedgerSettings = field(default_factory=LedgerSettings)
    holder: Callable[[], Holder] = this_process
    is_gone: Callable[[Holder], bool] = is_gone
    random: Callable[[], float] = no_jitter

    def __post_init__(self) -> None:
        self._cache = _Cache()
        self._sent: dict[str, tuple[Instant, Instant]] = {}
        self.creates = 0  # of this process: an index from before the last one is too old for it
        self._operation: Iterator[tuple[str, datetime, datetime]] = iter(())

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_cache", "_sent", "creates", "_operation")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    def thawed(self) -> Store:
        """The store as it is now; of a frozen one, what it is a state of."""
        return self

    def operation(self) -> str:
        """The ``op_`` id for the touch of a write outside any run (P9).

        On a store that is near, where a touch is four new folders, those that follow each other within a minute have
        the same; not more than a hundred, since who finds one more there looks at all of them.
        """
        now = self.clock.now()
        shared, since, until = next(self._operation, ("", now, now))
        if since <= now < until:
            return shared
        new = self.ids.typeid("op", now)
        if self.storage.near:
            since = began_at(new)
            next_hour = since.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
            self._operation = repeat((new, since, min(since + SHARED_OPERATION, next_hour)), MOST_IN_AN_OPERATION - 1)
        return new

    # -- documents -----------------------------------------------------------------------------------------------

    def read(self, key: str, model: type[D]) -> D:
        """An immutable document. Raises ``NotFound`` (of the key), ``FormatError``."""
        cached = self._cache.get(key)
        if isinstance(cached, model):
            return cached
        document = model.decode(self.storage.get(key), key)
        self._remember(key, document)
        return document

    def peek(self, key: str, model: type[D]) -> D | None:
        """Like :meth:`read`, None when it does not exist (yet)."""
        try:
            return self.read(key, model)
        except NotFound:
            return None

    def prefetch(self, key: str, model: type[D]) -> Callable[[], D | None] | None:
        """Begin a :meth:`peek` and go on; what this returns waits for it. None where the storage cannot do that."""
        cached = self._cache.get(key)
        if isinstance(cached, model):
            return lambda: cached
        answer = self.storage.prefetch(key)
        if answer is None:
            return None

        def document() -> D | None:
            try:
                return self.remember(key, answer(), model)
            except NotFound:
                return None

        return document

    def read_many(self, keys: Sequence[str], model: type[D]) -> list[D | None]:
        """Documents in the order of ``keys``, fetched concurrently; None for those that do not exist."""
        return self.together([partial(self.peek, key, model) for key in keys])

    def create(self, key: str, document: D) -> D:
        """Create an immutable document. ``AlreadyExists`` carries what is there; see ``Storage.create``."""
        before = Instant.of(self.clock)
        self.storage.create(key, document.encode())
        self._sent[key] = (before, Instant.of(self.clock))
        self.creates += 1
        if len(self._sent) > MOST_SENT:
            with contextlib.suppress(KeyError, RuntimeError, StopIteration):  # another thread does the same
                del self._sent[next(iter(self._sent))]
        self._remember(key, document)
        return document

    def learn_time(self, listed: Iterable[ObjectInfo]) -> None:
        """Measure this process's clock by when the store says that it received what we created (P12).

        What was sent before somebody set the clock tells nothing of the clock as it goes now.
        """
        now = Instant.of(self.clock)
        for info in listed:
            before, after = self._sent.pop(info.key, (None, None))
            if before is not None and after is not None and not now.is_set_since(before):
                self.clock.measure(info.modified, before.wall, after.wall)

    def has(self, key: str) -> bool:
        """Whether this process has the document already."""
        return self._cache.get(key) is not None

    def remember(self, key: str, data: bytes, model: type[D]) -> D:
        """Decode bytes that a lost create found, and keep them."""
        document = model.decode(data, key)
        self._remember(key, document)
        return document

    def _remember(self, key: str, document: Document) -> None:
        self._cache.add(key, document)
        if isinstance(document, Decision) and document.committed:  # an aborted one orders nothing
            self.clock.met(document.closed_at)

    def together(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Calls at the same time; one alone runs in place."""
        return [calls[0]()] if len(calls) == 1 else self.storage.concurrently(calls)

    def know_time(self) -> None:
        """Measure the clock, once per process, by an object that is deleted again, if nothing has measured it yet.

        For those who are about to act on the time and have written nothing whose store time they could read (P12).
        Whoever may not write there goes on with the local clock.
        """
        if self.clock.measured:
            return
        key = f".probe/{random_token()}"
        try:
            before = self.clock.local()
            self.storage.put(key, b"clock")
            after = self.clock.local()
            stored = self.storage.info(key)
            if stored is not None:
                self.clock.measure(stored.modified, before, after)
            self.storage.delete_many([key])
        except StorageError as error:
            log.debug("The store's time could not be measured: %s", error)

    # -- the two documents that everything looks at -------------------------------------------------------------

    def begin(self, run_id: str) -> Begin | None:
        """What insert_run recorded of a run, or None when there is no such run."""
        return self.peek(paths.begin_key(run_id), Begin)

    def decision(self, run_id: str) -> Decision | None:
        """The decision of a run, or None while it is undecided. A present one is cached for ever."""
        return self.peek(paths.end_key(run_id), Decision)

    def members(self, decision: Decision) -> Members:
        """All members of a committed run, the parts that did not fit ``end.json`` included."""
        if not decision.more_members:
            return decision.members
        parts = [decision.members]
        parts += [self._members_part(ref).members for ref in decision.more_members]
        return Members(
            datasets={k: v for p in parts for k, v in p.datasets.items()},
            events=[e for p in parts for e in p.events],
            cells=[c for p in parts for c in p.cells],
            runs=[r for p in parts for r in p.runs],
            built_on=[b for p in parts for b in p.built_on],
        )

    def _members_part(self, ref: Reference) -> MembersDocument:
        cached = self._cache.get(ref.key)
        if isinstance(cached, MembersDocument):
            return cached
        part = MembersDocument.decode(self.fetch_reference(ref), ref.key)
        self._remember(ref.key, part)
        return part

    # -- larger objects that belong to a document ---------------------------------------------------------------

    def fetch_reference(self, ref: Reference) -> bytes:
        """The bytes of a referenced object, verified against its document."""
        data = self.storage.get(ref.key)
        if len(data) != ref.size or hashlib.sha256(data).hexdigest() != ref.sha256:
            raise IntegrityError(
                f"{ref.key} is not what its document says",
                why=f"It should have {ref.size:,} bytes with sha256 {ref.sha256[:12]}…",
                todo="Restore the object from a backup; nothing was changed",
                key=ref.key,
            )
        return data

    def store_reference(self, key: str, data: bytes) -> Reference:
        """Store an object of any size that a document is about to name."""
        stored = self.storage.upload([Upload(key, data)])[0]
        return Reference(key=key, size=stored.size, sha256=stored.sha256)
