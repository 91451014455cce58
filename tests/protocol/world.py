"""Production code under a scheduler: every storage call of every actor is a step that somebody else chooses.

Each actor is a process of its own as far as the code can tell (its own ledger, caches, holder and ids) and runs in a
greenlet. It stops before each storage call; the scheduler says who goes on, who crashes, and which writes are still on
their way when their sender is told that they timed out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import greenlet

from prefect_registry.clock import StoreClock
from prefect_registry.errors import AlreadyExists, StorageUnavailable
from prefect_registry.ids import IdFactory
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.ledger.store import LedgerSettings, Store
from prefect_registry.records.runs import Holder
from prefect_registry.storage.base import CopyOf, Download, ObjectInfo, Storage, Stored, Upload
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage

EPOCH = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
Program = Callable[["Actor"], None]
LedgerFactory = Callable[..., Ledger]
T = TypeVar("T")


class VirtualClock:
    """Time that passes only when everybody waits; shared by all actors of a world."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._told, self._told_at = EPOCH, 0.0

    def now(self) -> datetime:
        if self._told_at != self.seconds:
            self._told, self._told_at = EPOCH + timedelta(seconds=self.seconds), self.seconds
        return self._told

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        raise AssertionError("actors sleep through their own clock")


class ActorClock(VirtualClock):
    """The same time, for one actor: sleeping lets others go first."""

    def __init__(self, world: World, actor: Actor) -> None:
        self._world, self._actor = world, actor

    @property
    def seconds(self) -> float:  # type: ignore[override]
        return self._world.clock.seconds

    def now(self) -> datetime:
        return self._world.clock.now()

    def sleep(self, seconds: float) -> None:
        self._actor.pause(("sleep", seconds))


@dataclass(eq=False)
class Actor:
    """A program and what became of it. ``facts`` is shared by all actors of the world."""

    name: str
    program: Program
    world: World
    greenlet: Any = None
    state: str = "ready"  # ready, sleeping, waiting, done, crashed
    wakes_at: float = 0.0
    waits_for: str = ""
    told: str = ""
    error: BaseException | None = None
    ledger: Any = None

    @property
    def facts(self) -> dict[str, Any]:
        return self.world.facts

    def pause(self, why: tuple[str, Any]) -> str:
        """Stop here until the scheduler lets this actor go on; returns what it ordered (``go`` or ``delay``)."""
        if self.state == "crashed":
            raise greenlet.GreenletExit
        order = self.greenlet.parent.switch(why)
        if self.state == "crashed":
            raise greenlet.GreenletExit
        return cast("str", order)

    def wait_for(self, fact: str) -> Any:
        """Stop until some actor has set a fact."""
        if fact not in self.facts:
            self.pause(("wait", fact))
        return self.facts[fact]

    def tell(self, outcome: str, run_id: str) -> None:
        """What the caller was told of its run: judged at once, against the raw bytes."""
        self.told = outcome
        self.world.on_told(self, outcome, run_id)


class ScheduledStorage(Storage):
    """The shared memory store, as one actor sees it: each call is a step."""

    def __init__(self, world: World, actor: Actor) -> None:
        self._world, self._actor, self._inner = world, actor, world.storage

    @property
    def url(self) -> str:
        return self._inner.url

    def create(self, key: str, data: bytes) -> None:
        self._send("create", key, data)
        self._inner.create(key, data)
        self._world.on_created(key)

    def _send(self, method: str, key: str, data: bytes) -> None:
        """A write may be told to have timed out while it is still on its way."""
        if self._actor.pause((method, (key, data))) == "delay":
            self._world.pending.append((method, key, data))
            raise StorageUnavailable("timed out", key=key)

    def put(self, key: str, data: bytes) -> None:
        self._send("put", key, data)
        self._inner.put(key, data)

    def get(self, key: str) -> bytes:
        self._actor.pause(("get", key))
        return self._inner.get(key)

    def open(self, key: str) -> BinaryIO:
        if greenlet.getcurrent() is self._actor.greenlet:  # Arrow reads data, which never change, in threads of its own
            self._actor.pause(("open", key))
        return self._inner.open(key)

    def upload(self, files: Sequence[Upload], progress: Any = None) -> list[Stored]:
        stored = []
        for file in files:
            source = file.source
            if isinstance(source, CopyOf):
                data = self._inner.get(source.key)
            else:
                data = source if isinstance(source, bytes) else Path(source).read_bytes()  # type: ignore[arg-type]
            self._send("upload", file.key, data)
            self._inner.put(file.key, data)
            stored.append(Stored(file.key, len(data), hashlib.sha256(data).hexdigest()))
        return stored

    def download(self, files: Sequence[Download], progress: Any = None) -> None:
        raise AssertionError("no scenario downloads")

    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        self._actor.pause(("list", prefix))
        return iter(tuple(self._inner.list(prefix, start_after)))

    def concurrently(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """One by one, in an order that the schedule chooses: which of several requests lands first is nobody's."""
        results: dict[int, T] = {}
        errors: dict[int, Exception] = {}
        for i in self._world.shuffled(len(calls)):
            try:
                results[i] = calls[i]()
            except Exception as error:
                errors[i] = error
        if errors:
            raise errors[min(errors)]
        return [results[i] for i in range(len(calls))]

    def delete_many(self, keys: Iterable[str]) -> None:
        self._actor.pause(("delete", ""))
        self._inner.delete_many(keys)

    def info(self, key: str) -> ObjectInfo | None:
        self._actor.pause(("info", key))
        return self._inner.info(key)


@dataclass
class World:
    """One store, its actors and the virtual time; ``make`` builds an actor's ledger (mutations swap it)."""

    settings: LedgerSettings
    provable: bool = True
    make: LedgerFactory = Ledger
    clock: VirtualClock = field(default_factory=VirtualClock)
    storage: MemoryStorage = field(init=False)
    actors: list[Actor] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    pending: list[tuple[str, str, bytes]] = field(default_factory=list)
    told: list[tuple[str, str, str]] = field(default_factory=list)
    judge_told: Callable[[World, str, str, str], None] | None = None
    minted: int = 0
    judge_state: Callable[[World], None] | None = None
    shuffled: Callable[[int], Sequence[int]] = range

    def __post_init__(self) -> None:
        self.storage = MemoryStorage(clock=self.clock)

    def ledger_for(self, actor: Actor) -> Ledger:
        """A process of its own on the shared store."""
        clock = ActorClock(self, actor)
        storage = ResolvingStorage(ScheduledStorage(self, actor), clock, timeout=1.0, jitter=lambda: 0.0)
        store_clock = StoreClock(clock)
        holder = Holder(host="test", boot="test", pid=self.actors.index(actor), process_start=actor.name)
        store_clock.measured = True  # one clock for all: there is nothing to measure, and no calls to schedule for it
        store = Store(
            storage,
            store_clock,
            ids=IdFactory(self._random),
            settings=self.settings,
            holder=lambda: holder,
            is_gone=self._is_gone,
            random=lambda: 0.0,
        )
        return self.make(store, heartbeats=False)

    def observer(self) -> Ledger:
        """A newcomer that only reads, unscheduled, after everything."""
        return Ledger(Store(self.storage, StoreClock(self.clock), settings=self.settings), heartbeats=False)

    def _random(self, count: int) -> bytes:
        self.minted += 1
        return self.minted.to_bytes(count, "big")

    def _is_gone(self, holder: Holder) -> bool:
        return self.provable and self.actors[holder.pid].state in ("crashed", "done")

    def add(self, name: str, program: Program) -> None:
        """One more actor; it starts when it is first scheduled."""
        actor = Actor(name, program, self)
        self.actors.append(actor)
        actor.ledger = self.ledger_for(actor)

        def body() -> None:
            try:
                program(actor)
            except greenlet.GreenletExit:
                pass
            except BaseException as error:
                actor.error = error

        actor.greenlet = greenlet.greenlet(body)

    def close(self) -> None:
        """End what has not ended: the garbage collector does not see into a greenlet that stands still. And take the
        ledgers apart, which refer to themselves: what is freed at once, it need not look for.
        """
        for actor in self.actors:
            if actor.greenlet:
                actor.state = "crashed"
                actor.greenlet.throw()
            for part in [actor.ledger, *vars(actor.ledger).values()]:
                getattr(part, "__dict__", {}).clear()
            actor.greenlet = actor.ledger = None

    def on_told(self, actor: Actor, outcome: str, run_id: str) -> None:
        self.told.append((actor.name, outcome, run_id))
        if self.judge_told is not None:
            self.judge_told(self, actor.name, outcome, run_id)

    def land(self, index: int) -> None:
        """A write that was on its way arrives."""
        method, key, data = self.pending.pop(index)
        if method != "create":
            self.storage.put(key, data)
            return
        try:
            self.storage.create(key, data)
        except AlreadyExists:
            return
        self.on_created(key)

    def on_created(self, key: str) -> None:
        """Each decision makes a new state for readers: judged at once."""
        if self.judge_state is not None and key.endswith("/end.json"):
            self.judge_state(self)
