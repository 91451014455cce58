"""Every conditional create of every operation on objects loses its answer: nobody is told anything untrue (P10)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from prefect_registry import Registry
from prefect_registry.clock import SystemClock
from prefect_registry.errors import AlreadyExists, RegistryError, StorageError
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.remote import RemoteStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.counting import CountingStorage
from prefect_registry.testing.faults import Fault, FaultyStorage, error_before, lost_answer
from prefect_registry.testing.proxies import Fault as ProxyFault
from prefect_registry.testing.proxies import Proxy, first_conditional_writes
from prefect_registry.testing.servers import Server

LARGE = b"x" * 20_000


class HastyClock(SystemClock):
    """Waiting takes no time, and moves this clock on."""

    slept = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


class Place:
    """A store in memory whose calls can lose their answers."""

    def __init__(self) -> None:
        self.counting = CountingStorage(MemoryStorage())
        self.faulty = FaultyStorage(self.counting)

    def process(self, spoiled: bool = True) -> Registry:
        """A registry as another process opens it; its work meets the planned faults, or none."""
        storage = ResolvingStorage(self.faulty if spoiled else self.counting, HastyClock(), timeout=5)
        return Registry(storage, heartbeats=False, version_objects=True, mutable=True, use_cache=False)


def some(registry: Registry) -> None:
    """Some versions, one deleted, and an alias."""
    for n in range(3):
        registry.save("m", n)
    registry.save("large", LARGE)
    registry.delete("m@2")
    registry.set_alias("m", "best", "1")


def none(registry: Registry) -> None:
    """An empty registry, whose first save fixes its settings."""


def in_run(registry: Registry) -> list[str]:
    with registry.run("r") as run:
        saved = [registry.save("m", "new", run_id=run.id), registry.save("large", LARGE + b"1", run_id=run.id)]
        registry.set_alias("m", "best", "4", run_id=run.id)
        registry.delete("m@1", run_id=run.id)
    return saved


Step = Callable[[Registry], object]
OPERATIONS: dict[str, tuple[Step, Step]] = {
    "first save": (none, lambda r: r.save("m", 1)),
    "first save with files": (none, lambda r: r.save("m", LARGE)),
    "save inline": (some, lambda r: r.save("m", 9)),
    "save a version": (some, lambda r: r.save("m", 9, version="7")),
    "save the same again": (some, lambda r: r.save("m", 0, version="1")),
    "save files": (some, lambda r: r.save("large", LARGE + b"2")),
    "save files as a version": (some, lambda r: r.save("large", LARGE + b"2", version="1.1")),
    "overwrite": (some, lambda r: r.save("m", 9, version="3", on_conflict="overwrite")),
    "overwrite with files": (some, lambda r: r.save("large", LARGE + b"3", version="1", on_conflict="overwrite")),
    "in a run": (some, in_run),
    "alias": (some, lambda r: r.set_alias("m", "other", "3")),
    "move an alias": (some, lambda r: r.set_alias("m", "best", "3")),
    "remove an alias": (some, lambda r: r.remove_alias("m", "best")),
    "delete": (some, lambda r: r.delete("m@3")),
    "delete all": (some, lambda r: r.delete("m")),
    "restore": (some, lambda r: r.restore("m@2")),
    "batch": (some, lambda r: r.save(["a", "b", "m"], [1, 2, 3]).results),
    "pin": (some, lambda r: _pinned(r)),
}


def _pinned(registry: Registry) -> str:
    with registry.run("r") as run:
        return registry.resolve("m", pin=True, run_id=run.id)


def seen(registry: Registry) -> dict[str, Any]:
    """Everything that readers see of objects, without ids and times."""
    names = registry.list_objects_and_versions()
    return {
        "values": {f"{n}@{v}": registry.load(n, v) for n, versions in names.items() for v in versions},
        "listed": {n: registry.list_versions(n) for n in names},
        "aliases": registry.aliases("m"),
        "moves": len(registry.alias_history("m", "best")),
    }


@dataclass
class Played:
    """What became of an operation: what it returned, its error, its calls and round trips, its creates and puts."""

    place: Place
    result: object
    error: RegistryError | None
    trips: int
    calls: list[tuple[str, str]]

    def count(self, method: str) -> int:
        return sum(called == method for called, _ in self.calls)


def played(name: str, *faults: Fault) -> Played:
    """Do one operation with faults; then the store is whole again."""
    before, step = OPERATIONS[name]
    place = Place()
    before(place.process(spoiled=False))
    registry = place.process()
    registry.ledger.store.know_time()
    place.faulty.calls.clear()
    place.faulty.plan[:] = faults
    place.faulty._met.clear()
    result, error = None, None
    with place.counting.measure() as cost:
        try:
            result = step(registry)
        except RegistryError as caught:
            error = caught
    place.faulty.plan.clear()
    return Played(place, result, error, cost.sequential, list(place.faulty.calls))


def _exists() -> Exception:
    return AlreadyExists("the client library sent it twice")


LOST: dict[str, Callable[[str, int], Fault]] = {
    "reset after success": lambda method, n: lost_answer(method=method, at=n),
    "sent again by the client": lambda method, n: lost_answer(_exists, method=method, at=n),
    "503 before": lambda method, n: error_before(method=method, at=n),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_lost_answer_is_no_conflict_and_no_second_version(name: str) -> None:
    """Each create, each touch and each upload: the same result as without, for one more round trip at most."""
    whole = played(name)
    assert whole.error is None
    expected = seen(whole.place.process(spoiled=False))
    for method in ("create", "put", "upload"):
        for way, fault in LOST.items():
            if method != "create" and way == "sent again by the client":
                continue
            for n in range(1, whole.count(method) + 1):
                spoiled = played(name, fault(method, n))
                where = f"{method} {n}, {way}"
                assert spoiled.error is None, f"{where}: {spoiled.error}"
                assert spoiled.result == whole.result, where
                assert seen(spoiled.place.process(spoiled=False)) == expected, where
                # A write that never arrived is looked for, and sent again.
                more = 2 if (method, way) == ("create", "503 before") else 1
                assert spoiled.trips <= whole.trips + more, where


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "batch"])  # that tells of each item by itself
@pytest.mark.parametrize("landed", [True, False])
def test_whoever_is_cut_off_from_the_store_is_told_what_is_true(name: str, landed: bool) -> None:
    """From the n-th create on nothing answers: "no" means that nothing of it is there, "yes" that it is."""
    whole = played(name)
    place = Place()
    OPERATIONS[name][0](place.process(spoiled=False))
    old, new = seen(place.process(spoiled=False)), seen(whole.place.process(spoiled=False))
    creates = [i for i, (method, _) in enumerate(whole.calls, 1) if method == "create"]
    told = set()
    for n, call in enumerate(creates, 1):
        last = [lost_answer(method="create", at=n)] if landed else []
        cut = played(name, *last, error_before(at=call + landed, times=100_000))
        now = seen(cut.place.process(spoiled=False))
        assert cut.error is not None, f"create {n}"
        told.add(cut.error.committed)
        if cut.error.committed == "no":
            assert now["values"] == old["values"], f"create {n}: told no"
        if cut.error.committed == "yes":
            assert now["values"] == new["values"], f"create {n}: told yes"
        assert isinstance(cut.error, StorageError)
    assert None not in told


@pytest.mark.server
@pytest.mark.parametrize("fault", ["reset", "503", "503 before"])
@pytest.mark.parametrize("kind", ["seaweedfs", "fake_gcs"])
def test_every_create_loses_its_answer_on_a_real_server(kind: str, fault: ProxyFault, request: Any) -> None:
    """One of everything, through a proxy that spoils the first answer to each conditional write there is."""
    server: Server = request.getfixturevalue(kind)
    proxy: Proxy = request.getfixturevalue(f"{kind}_proxy")
    raw = server.through(proxy.endpoint).storage()
    assert isinstance(raw, RemoteStorage)
    raw.read_seconds = 0.5
    storage = ResolvingStorage(raw, first_delay=0.02)
    proxy.fail_next(fault, times=1_000, which=first_conditional_writes())
    registry = Registry(storage, heartbeats=False, version_objects=True, mutable=True, use_cache=False)

    assert [registry.save("m", n) for n in range(2)] == ["1", "2"]
    assert registry.save("m", LARGE) == "3"
    assert registry.save("m", "given", version="2.1") == "2.1"
    assert registry.save("m", "over", version="1", on_conflict="overwrite") == "1"
    registry.set_alias("m", "best", "2.1")
    registry.delete("m@2")
    with registry.run("r") as run:
        assert registry.save("m", "of a run", run_id=run.id) == "4"
    reader = Registry(server.url(storage.url.rpartition("/")[2]), storage_options=server.storage_options, create=False)
    assert reader.list_versions("m") == ["1", "2.1", "3", "4"]
    assert [reader.load("m", v) for v in ("1", "best", "3", "latest")] == ["over", "given", LARGE, "of a run"]
    assert len(proxy.seen) >= 12
