"""Every conditional create of every operation loses its answer, in every way: nobody is told anything untrue (P10)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from registry_support import FAST, assert_tells, asset, doc, publish, rows, write

from prefect_registry import Registry
from prefect_registry.clock import SystemClock
from prefect_registry.datasets.adopt import How
from prefect_registry.errors import AlreadyExists, RegistryError, StorageUnavailable
from prefect_registry.ledger import membership
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.remote import RemoteStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.counting import CountingStorage
from prefect_registry.testing.faults import Fault, FaultyStorage, error_before, lost_answer
from prefect_registry.testing.proxies import FAULTS_AFTER_SUCCESS, FAULTS_BEFORE, Proxy, first_conditional_writes
from prefect_registry.testing.proxies import Fault as ProxyFault
from prefect_registry.testing.servers import Server


class HastyClock(SystemClock):
    """Waiting takes no time, and moves this clock on."""

    def __init__(self) -> None:
        self.slept = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


class Place:
    """A store in memory whose conditional creates can lose their answers; each process on it is a registry."""

    def __init__(self) -> None:
        self.counting = CountingStorage(MemoryStorage())
        self.faulty = FaultyStorage(self.counting)
        self.notes: dict[str, str] = {}

    def process(self) -> Registry:
        """A registry as another process opens it; its work meets the planned faults."""
        return Registry(ResolvingStorage(self.faulty, HastyClock(), timeout=5), settings=FAST, heartbeats=False)

    def observer(self) -> Registry:
        """A registry that meets no faults."""
        return Registry(ResolvingStorage(self.counting), settings=FAST, heartbeats=False)

    def creates(self) -> list[str]:
        return [key for method, key in self.faulty.calls if method == "create"]


Step = Callable[[Registry, Place], object]


def staged(registry: Registry, place: Place) -> None:
    """A run with something of every sort in it, not decided yet."""
    run = registry.attach(registry.insert_run("work"))
    place.notes["run"] = run.id
    place.notes["dataset"] = write(run, "k", 1, 2)
    run.register_documents([doc("inside")])
    run.emit_event("happened", "s", {})


def open_dataset(registry: Registry, place: Place) -> None:
    """An undecided run with a dataset whose bytes are there, and which is not committed."""
    run = registry.attach(registry.insert_run("work"))
    place.notes["run"] = run.id
    with run.dataset("k") as ds:
        ds.write_table(pa.table({"n": [1]}))
        place.notes["dataset"] = ds.id
    other = run.dataset("k", mode="append")
    with other.open("part.parquet", "wb") as file:
        pq.write_table(pa.table({"n": [5]}), file)
    place.notes["open"], place.notes["root"] = other.id, other.root


def nested(registry: Registry, place: Place) -> None:
    """A run with one in it, both undecided."""
    outer = registry.insert_run("outer")
    inner = registry.insert_run("inner", parent=outer)
    write(registry.attach(inner), "k", 3)
    registry.attach(inner).register_documents([doc("nested")])
    place.notes.update(outer=outer, inner=inner)


def published(registry: Registry, place: Place) -> None:
    """A run that is published, and one that is rolled back."""
    place.notes["good"] = publish(registry, "k", 1)
    registry.register_documents([doc("there")])
    with contextlib.suppress(ZeroDivisionError), registry.run("bad") as run:
        write(run, "k", 9)
        raise ZeroDivisionError


def attempt(registry: Registry, place: Place) -> None:
    """A flow run with an attempt that is still open."""
    begun = registry.begin_attempt("flow", flow_run="fr").begin
    write(registry.attach(begun.run_id), "k", 1)


def nothing(registry: Registry, place: Place) -> None:
    """An empty registry."""


def retry(registry: Registry, place: Place) -> None:
    begun = registry.begin_attempt("flow", flow_run="fr").begin
    write(registry.attach(begun.run_id), "k", 2)
    registry.close_run(begun.run_id, True)


def commit_in_parts(registry: Registry, place: Place) -> None:
    """As if the members did not fit the decision."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(membership, "MOST_INLINE_BYTES", 0)
        registry.close_run(place.notes["run"], True)


def on_commit(registry: Registry, place: Place) -> None:
    run = registry.attach(registry.insert_run("p", publish="on_commit"))
    write(run, "k", 4)
    registry.close_run(run.id, True)


def dead(registry: Registry, place: Place) -> None:
    """A run with something of every sort in it, whose process is known to be gone."""
    staged(registry, place)
    registry.ledger.store.is_gone = lambda holder: True


def take_over(registry: Registry, place: Place) -> None:
    """Another writer wants a cell that the dead run holds (P4): it aborts that run, and goes on."""
    registry.register_documents([doc("inside", title="new"), doc("another")])


def foreign(registry: Registry, place: Place) -> None:
    """An undecided run, and a file of another program's."""
    place.notes["run"] = registry.insert_run("work")
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"n": [6]}), sink)
    with fsspec.open("memory://elsewhere/part.parquet", "wb") as file:
        file.write(sink.getvalue().to_pybytes())


def adopt(registry: Registry, place: Place, how: How) -> None:
    registry.attach(place.notes["run"]).adopt("memory://elsewhere/part.parquet", "k", how=how)


def own_with_key(registry: Registry, place: Place) -> None:
    """Two datasets of one key, each in a run of its own: the second time it is the same one."""
    run = registry.attach(place.notes["run"])
    write(run, "k", 4, key="one")
    with run.dataset("k", key="one") as again:
        again.write_table(pa.table({"n": [4]}))
    registry.close_run(run.id, True)


def abandoned(registry: Registry, place: Place) -> None:
    """A run that publishes each dataset by itself, with one begun under a key by somebody who is gone."""
    run = place.notes["run"] = registry.insert_run("work", publish="on_commit")
    registry.attach(run).dataset("k", key="one")


OPERATIONS: dict[str, tuple[Step, Step]] = {
    "insert_run": (nothing, lambda r, p: r.insert_run("p")),
    "insert_run nested": (nested, lambda r, p: r.insert_run("third", parent=p.notes["inner"])),
    "first attempt": (nothing, lambda r, p: r.begin_attempt("flow", flow_run="fr")),
    "next attempt": (attempt, retry),
    "begin_dataset": (staged, lambda r, p: r.begin_dataset("k", p.notes["run"])),
    "commit_dataset": (open_dataset, lambda r, p: r.commit_dataset(p.notes["open"], p.notes["root"], 1)),
    "commit_dataset elsewhere": (
        staged, lambda r, p: r.commit_dataset(r.begin_dataset("k", p.notes["run"]), "s3://else/where", 1)
    ),
    "rollback_dataset": (open_dataset, lambda r, p: r.rollback_dataset(p.notes["open"])),
    "dataset of its own": (nothing, on_commit),
    "dataset of its own with a key": (abandoned, own_with_key),
    "adopt": (foreign, lambda r, p: adopt(r, p, "copy")),
    "adopt by reference": (foreign, lambda r, p: adopt(r, p, "reference")),
    "reap": (dead, lambda r, p: r.reap()),
    "take over from a dead run": (dead, take_over),
    "document": (nothing, lambda r, p: r.register_documents([doc("a")])),
    "documents": (published, lambda r, p: r.register_documents([doc("a"), doc("there", title="new"), doc("c")])),
    "documents in a run": (staged, lambda r, p: r.register_documents([doc("a"), doc("b")], run_id=p.notes["run"])),
    "doctags": (published, lambda r, p: r.register_doctags([asset("there")])),
    "event": (nothing, lambda r, p: r.emit_event("e", "s", {})),
    "event in a run": (staged, lambda r, p: r.emit_event("e", "s", {}, run_id=p.notes["run"])),
    "incident": (staged, lambda r, p: r.incident("i", "s", "E", "m", run_id=p.notes["run"])),
    "cell": (nothing, lambda r, p: r.ledger.cells.update("model", "m", lambda v: {"n": 1 + (v or {}).get("n", 0)})),
    "commit": (staged, lambda r, p: r.close_run(p.notes["run"], True)),
    "commit in parts": (staged, commit_in_parts),
    "commit of pending": (open_dataset, lambda r, p: r.close_run(p.notes["run"], True)),
    "commit of nested": (nested, lambda r, p: r.close_run(p.notes["inner"], True)),
    "commit around undecided": (nested, lambda r, p: r.close_run(p.notes["outer"], True)),
    "rollback": (staged, lambda r, p: r.close_run(p.notes["run"], False)),
    "rollback around undecided": (nested, lambda r, p: r.close_run(p.notes["outer"], False)),
    "collect": (published, lambda r, p: r.collect(dry_run=False)),
    "revert": (published, lambda r, p: r.revert(p.notes["good"])),
}  # fmt: skip


def visible(registry: Registry) -> dict[str, Any]:
    """What readers see, without ids and times."""
    return {
        "runs": sorted(
            (r.purpose.partition("run_")[0], r.state, r.implicit, r.parent is not None) for r in registry.runs()
        ),
        "datasets": sorted((d.kind, d.state, d.rows or 0) for d in registry.datasets()),
        "rows": sorted(rows(registry, "k")) if not _elsewhere(registry) else [],
        "documents": [d.id for d in registry.documents()],
        "doctags": [a.doc_id for a in registry.doctags()],
        "events": sorted(e.event_name for e in registry.events(derived=False)),
        "incidents": sorted(i.event for i in registry.incidents()),
        "model": (found := registry.ledger.cells.latest("model", "m")) and found.value,
        "attempts": len(registry.ledger.runs.attempts("fr")),
    }


def _elsewhere(registry: Registry) -> bool:
    return any(d.parquet_root.startswith("s3://") for d in registry.datasets(state="READY"))


@dataclass
class Played:
    """What became of an operation: where, by which process, its error, and how many calls and creates it made."""

    place: Place
    registry: Registry
    error: RegistryError | None
    calls: int
    creates: int


def played(name: str, *faults: Any) -> Played:
    """Do one operation with faults in its creates; then the store is whole again."""
    before, step = OPERATIONS[name]
    place = Place()
    registry = place.process()
    before(registry, place)
    place.faulty.calls.clear()
    place.faulty.plan[:] = faults
    place.faulty._met.clear()
    start = place.counting.calls.total
    error = None
    try:
        step(registry, place)
    except RegistryError as caught:
        error = caught
    place.faulty.plan.clear()
    return Played(place, registry, error, place.counting.calls.total - start, len(place.creates()))


def exists() -> Exception:
    return AlreadyExists("the client library sent it twice")


LOST: dict[str, Callable[[int], Fault]] = {
    "after success": lambda n: lost_answer(method="create", at=n),
    "and sent again by the client": lambda n: lost_answer(exists, method="create", at=n),
    "before it arrived": lambda n: error_before(method="create", at=n),
}
"""Each way to lose the answer of the n-th create."""


@pytest.mark.parametrize("way", LOST)
def test_a_new_store_whose_first_answer_is_lost_is_opened(way: str) -> None:
    """``registry.json`` is a conditional create too: everybody agrees on the id."""
    place = Place()
    place.faulty.plan.append(LOST[way](1))
    assert place.process().registry_id == place.observer().registry_id == place.process().registry_id


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_lost_answer_changes_nothing(name: str) -> None:
    """The operation succeeds, readers see what they would have seen, and it costs one more round trip."""
    whole = played(name)
    assert whole.error is None
    expected = visible(whole.place.observer())
    assert whole.creates > 0 or name == "collect"  # the collector creates nothing
    for n in range(1, whole.creates + 1):
        for way, fault in LOST.items():
            spoiled = played(name, fault(n))
            assert spoiled.error is None, f"{way}, create {n}: {spoiled.error}"
            assert visible(spoiled.place.observer()) == expected, f"{way}, create {n}"
            assert spoiled.calls <= whole.calls + 1, f"{way}, create {n}"


def partition(at: int, landed: bool) -> Fault:
    """The n-th create loses its answer, and from there on the store cannot be reached."""

    def cut(storage: FaultyStorage) -> None:
        storage.plan[:] = [error_before(times=1_000_000)]
        raise StorageUnavailable("The test cut the connection", why="A fault was planned", todo="Try again")

    return Fault("after" if landed else "before", cut, method="create", at=at)


CONTENT = ("rows", "documents", "doctags", "events", "model")
AGAIN = ("commit", "rollback", "documents", "doctags", "collect", "reap", "take over")
"""Operations that may be repeated, and are then as if they had been done once."""


@pytest.mark.parametrize("landed", [True, False], ids=["landed", "did-not-land"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_answer_that_stays_lost_is_told_as_what_it_is(name: str, landed: bool) -> None:
    """Unknown, or no where that is certain; it names the run; and the work can be done again."""
    before, step = OPERATIONS[name]
    place = Place()
    before(place.process(), place)
    untouched = visible(place.observer())
    whole = played(name)
    done = visible(whole.place.observer())
    for n in range(1, whole.creates + 1):
        cut = played(name, partition(n, landed))
        error, seen = cut.error, visible(cut.place.observer())
        if error is None:  # what failed was a kindness, such as an incident beside it
            assert seen == done, f"create {n}: told done, and is not"
            continue
        assert_tells(error)
        assert error.committed in ("unknown", "no"), f"create {n}: {error.committed} for {error}"
        if error.committed == "no":
            assert [seen[k] for k in CONTENT] == [untouched[k] for k in CONTENT], f"create {n}: it is there: {error}"
        if "run" in cut.place.notes:
            assert str(error.context.get("run_id")).startswith("run_"), f"create {n} names no run: {error!r}"
            assert str(error.context["run_id"]) in str(error)
        if name.startswith(AGAIN):
            step(cut.registry, cut.place)
            again = visible(cut.place.observer())
            assert [again[k] for k in CONTENT] == [done[k] for k in CONTENT], f"create {n}, done again"


# -- the same through real servers -----------------------------------------------------------------------------------


@pytest.mark.server
@pytest.mark.parametrize("fault", [*FAULTS_AFTER_SUCCESS, *FAULTS_BEFORE])
@pytest.mark.parametrize("kind", ["seaweedfs", "fake_gcs"])
def test_every_create_loses_its_answer_on_a_real_server(
    kind: str, fault: ProxyFault, request: pytest.FixtureRequest
) -> None:
    """One of everything, through a proxy that spoils the first answer to each conditional write there is."""
    server: Server = request.getfixturevalue(kind)
    proxy: Proxy = request.getfixturevalue(f"{kind}_proxy")
    raw = server.through(proxy.endpoint).storage()
    assert isinstance(raw, RemoteStorage)
    raw.read_seconds = 0.5
    storage = ResolvingStorage(raw, first_delay=0.02)
    proxy.fail_next(fault, times=1_000, which=first_conditional_writes())
    registry = Registry(storage, settings=FAST, heartbeats=False)

    begun = registry.begin_attempt("flow", flow_run="fr").begin
    newer = registry.attach(registry.begin_attempt("flow", flow_run="fr").begin.run_id)
    dataset = write(newer, "k", 1, 2)
    newer.register_documents([doc("a"), doc("b")])
    inner = registry.insert_run("inner", parent=newer.id)
    event = registry.emit_event("happened", "s", {}, run_id=newer.id)
    registry.rollback_dataset(registry.begin_dataset("k", newer.id))
    registry.close_run(inner, True)
    registry.close_run(newer.id, True)
    registry.register_documents([doc("a", title="newer")])
    bad = publish(registry, "k", 9)
    registry.revert(bad)
    spoiled = len([status for status in proxy.seen if status in (200, 201)])

    proxy.reset()
    reader = Registry(storage.url, storage_options=server.storage_options, create=False)
    states = {r.id: r.state for r in reader.runs()}
    assert states[begun.run_id] == "ABORTED"
    assert [states[r] for r in (newer.id, inner, bad)] == ["COMMITTED"] * 3
    assert (rows(reader, "k"), reader.latest("k").id) == ([1, 2], dataset)
    assert [(d.id, d.title) for d in reader.documents()] == [("a", "newer"), ("b", "")]
    assert [e.id for e in reader.events(event_name="happened")] == [event]
    assert spoiled >= 20
