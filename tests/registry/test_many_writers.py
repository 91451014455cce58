"""Many processes write, others read: every committed run is whole, and every read is one whole published state."""

from __future__ import annotations

import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from registry_support import Children, doc, publish, rows, write

from prefect_registry import Registry
from prefect_registry.errors import StorageError

WRITERS, READERS = 16, 3
DATASETS = 1_000
RUNS_EACH = 50


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder for the registry, beside files for the test itself."""
    return tmp_path / "registry"


def tagged(writer: int, number: int, part: int) -> pa.Table:
    """A row that tells who wrote it."""
    return pa.table({"writer": [writer], "number": [number], "part": [part]})


def rest(begun: float) -> None:
    """Leave the machine to the others for three times as long as it was taken."""
    time.sleep(3 * (time.monotonic() - begun))


def keep_house(place: Path, done: Path) -> dict[str, Any]:
    """Reap and collect, over and over, until ``done`` exists. Nobody dies here, so nobody may be reaped."""
    registry = Registry(place)
    passes = collected = 0
    while True:
        last, begun = done.exists(), time.monotonic()
        report = registry.reap()
        assert (report.reaped, report.suspects) == ([], [])
        collected += registry.collect(dry_run=False).objects
        passes += 1
        if last:
            return {"passes": passes, "collected": collected}
        rest(begun)


# -- one run ---------------------------------------------------------------------------------------------------------


def test_a_thousand_datasets_of_sixteen_processes_are_published_by_one_decision(place: Path, tmp_path: Path) -> None:
    registry = Registry(place)
    publish(registry, "k", -1)
    run = registry.insert_run("many")
    done = tmp_path / "done"

    def write_share(writer: int) -> int:
        mine = Registry(place).attach(run)
        share = range(writer, DATASETS, WRITERS)
        for n in share:
            write(mine, "k", n)
        return len(share)

    def read() -> list[list[int]]:
        mine, seen = Registry(place), []
        while not done.exists():
            begun = time.monotonic()
            seen.append(sorted(rows(mine, "k")))
            rest(begun)
        seen.append(sorted(rows(mine, "k")))
        return [list(state) for state in {tuple(state) for state in seen}]

    readers, writers, keepers = Children(tmp_path), Children(tmp_path), Children(tmp_path)
    keepers.start(partial(keep_house, place, done))
    for _ in range(READERS):
        readers.start(read)
    for writer in range(WRITERS):
        writers.start(partial(write_share, writer))
    assert sum(writers.results()) == DATASETS
    closed = registry.close_run(run, True)
    done.touch()
    assert closed is not None
    assert len(closed.decision.members.datasets) == DATASETS
    for states in readers.results():
        assert all(state in ([-1], list(range(DATASETS))) for state in states)
        assert list(range(DATASETS)) in states
    assert len(list(place.glob("runs/*/*/*/end.json"))) == 2
    (kept,) = keepers.results()
    assert kept["passes"] >= 2
    assert kept["collected"] == 0
    assert sorted(rows(registry, "k")) == list(range(DATASETS))


# -- many runs -------------------------------------------------------------------------------------------------------


def write_runs(place: Path, writer: int) -> dict[str, list[int]]:
    """Fifty runs: most commit, some fail, some publish nothing."""
    registry = Registry(place)
    outcome: dict[str, list[int]] = {"committed": [], "failed": []}
    for number in range(RUNS_EACH):
        try:
            with registry.run(f"{writer}/{number}") as run:
                for part in range(2):
                    with run.dataset("pair") as ds:
                        ds.write_table(tagged(writer, number, part))
                with run.dataset("log", mode="append") as ds:
                    ds.write_table(tagged(writer, number, 0))
                registry.register_documents([doc(f"{writer}-{side}", title=str(number)) for side in "ab"])
                registry.emit_event("run", str(writer), {"number": number})
                if number % 5 == 4:
                    raise ZeroDivisionError
            outcome["committed"].append(number)
        except ZeroDivisionError:
            outcome["failed"].append(number)
    return outcome


def watch(place: Path, done: Path) -> dict[str, Any]:
    """Read until ``done`` exists; every state must be whole, and never older than the one before."""
    registry = Registry(place)
    reads, before = 0, dict.fromkeys(range(WRITERS), -1)
    while True:
        last, begun = done.exists(), time.monotonic()
        pair = registry.table("pair").to_table(verify=False).to_pylist()
        assert len(pair) in (0, 2), pair
        if pair:
            assert {row["part"] for row in pair} == {0, 1}
            assert len({(row["writer"], row["number"]) for row in pair}) == 1
        snapshot = registry.snapshot()
        log: dict[int, list[int]] = defaultdict(list)
        for row in snapshot.table("log").to_table(verify=False).to_pylist():
            log[row["writer"]].append(row["number"])
        for writer, numbers in log.items():
            assert numbers == [n for n in range(numbers[-1] + 1) if n % 5 != 4], (writer, numbers)
            assert numbers[-1] >= before[writer], (writer, numbers[-1], before[writer])
            before[writer] = numbers[-1]
        titles: dict[str, set[str]] = defaultdict(set)
        for each in snapshot.documents():
            titles[each.id.partition("-")[0]].add(each.title)
        assert {int(w): {str(n[-1])} for w, n in log.items()} == {int(w): t for w, t in titles.items()}
        reads += 1
        if last:
            return {"reads": reads, "last": [before[w] for w in range(WRITERS)]}
        rest(begun)


def test_every_run_of_sixteen_processes_is_whole_and_so_is_every_read(place: Path, tmp_path: Path) -> None:
    registry = Registry(place)
    done = tmp_path / "done"
    readers, writers, keepers = Children(tmp_path), Children(tmp_path), Children(tmp_path)
    keepers.start(partial(keep_house, place, done))
    for _ in range(READERS):
        readers.start(partial(watch, place, done))
    for writer in range(WRITERS):
        writers.start(partial(write_runs, place, writer))
    outcomes = writers.results()
    done.touch()
    for seen in readers.results():
        assert seen["reads"] >= 2
        assert seen["last"] == [outcome["committed"][-1] for outcome in outcomes]
    snapshot = registry.snapshot()
    runs = {r.purpose: r.state for r in snapshot.runs(implicit=False)}
    for writer, outcome in enumerate(outcomes):
        assert len(outcome["committed"]) + len(outcome["failed"]) == RUNS_EACH
        assert {runs[f"{writer}/{n}"] for n in outcome["committed"]} == {"COMMITTED"}
        assert {runs[f"{writer}/{n}"] for n in outcome["failed"]} == {"ABORTED"}
        events = [e.payload["number"] for e in snapshot.events(subject_id=str(writer), event_name="run")]
        assert events == outcome["committed"]
    committed = sum(len(outcome["committed"]) for outcome in outcomes)
    assert registry.table("log").rows == committed
    assert len(list(snapshot.datasets(state="READY"))) == 3 * committed
    registry.table("log").to_table()
    (kept,) = keepers.results()
    assert kept["passes"] >= 2
    assert kept["collected"] > 0, "the failed runs have left bytes behind, and nobody saw them while others wrote"
    failed = {r.id for r in snapshot.runs(state="ABORTED")}
    assert not [info.key for info in registry.storage.list("data/") if info.key.split("/")[3] in failed]


def test_one_cell_wanted_by_many_processes_is_written_by_each_in_turn(place: Path, tmp_path: Path) -> None:
    """No update is lost, and nobody is told that it was lost."""
    registry = Registry(place)

    def work(writer: int) -> int:
        mine = Registry(place)
        for n in range(10):
            while True:
                try:
                    mine.register_documents([doc("shared", title=f"{writer}/{n}")])
                    break
                except StorageError:  # a busy disk
                    continue
        return 10

    children = Children(tmp_path)
    for writer in range(8):
        children.start(partial(work, writer))
    assert sum(children.results()) == 80
    history = registry.ledger.cells.history("document", "shared")
    assert [g.gen for g in history] == list(range(80))
    assert len({g.value["title"] for g in history}) == 80
