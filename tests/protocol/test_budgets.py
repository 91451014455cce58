"""The cost table of DESIGN.md 4, in sequential round trips, counted: the same on every machine."""

from __future__ import annotations

import io
import math

import pyarrow as pa
import pytest

from prefect_registry import Registry
from prefect_registry.ledger.cells import ANY
from prefect_registry.ledger.paths import run_prefix
from prefect_registry.records.datasets import FileEntry
from prefect_registry.registry import Run
from prefect_registry.storage.base import Upload
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.counting import CountingStorage
from prefect_registry.testing.faults import FaultyStorage, lost_answer

WIDTH = 16


class Bench:
    """Two processes, as far as the code can tell, on one counted store."""

    def __init__(self) -> None:
        self.counting = CountingStorage(MemoryStorage(), width=WIDTH)
        self.registry = self.other_process()

    def other_process(self) -> Registry:
        """Its clock is measured already, which takes three calls, once per process, where nothing else shows it."""
        registry = Registry(ResolvingStorage(self.counting), heartbeats=False)
        registry.ledger.store.know_time()
        return registry


@pytest.fixture
def bench() -> Bench:
    return Bench()


def write_files(run: Run, count: int) -> tuple[str, dict[str, FileEntry]]:
    """A dataset of ``count`` files, uploaded in one call; not committed. Its id and its files."""
    writer = run.dataset("files", mode="append")
    storage = run.registry.storage
    prefix = run.registry.get_dataset(writer.id).prefix
    uploads = [Upload(f"{prefix}{i:05d}", io.BytesIO(b"x")) for i in range(count)]
    files = {}
    for stored in storage.upload(uploads):
        path = stored.key.rpartition("/")[2]
        files[path] = FileEntry(path=path, size=stored.size, sha256=stored.sha256)
    return writer.id, files


def test_insert_run_is_one_round_trip(bench: Bench) -> None:
    """begin.json, beside the flow run's cell."""
    with bench.counting.measure() as plain:
        bench.registry.insert_run("budget")
    with bench.counting.measure() as bound:
        bench.registry.begin_attempt("budget", flow_run="flow-run")
    assert (plain.sequential, plain.total) == (1, 1)
    assert (bound.sequential, bound.total) == (1, 3)


def test_begin_dataset_is_one_round_trip_and_one_more_in_a_new_process(bench: Bench) -> None:
    """The decision is looked at beside the write; a process's first call on a run reads its begin before."""
    run = bench.registry.insert_run("budget")
    with bench.counting.measure() as known:
        bench.registry.begin_dataset("kind", run)
    other = bench.other_process()
    with bench.counting.measure() as unknown:
        other.begin_dataset("kind", run)
    assert (known.sequential, known.total) == (1, 2)
    assert (unknown.sequential, unknown.total) == (2, 4)


@pytest.mark.parametrize("files", [1, 16, 17, 100])
def test_commit_dataset_is_its_uploads_and_one(bench: Bench, files: int) -> None:
    """k files at c a time: ⌈k/c⌉ uploads, then the generation with the manifest."""
    run = bench.registry.attach(bench.registry.insert_run("budget"))
    with bench.counting.measure() as begun:
        writer = run.dataset("kind")
    with bench.counting.measure() as committed:
        storage = run.registry.storage
        uploads = [Upload(f"{writer._prefix}{i:05d}", io.BytesIO(b"x")) for i in range(files)]
        for stored in storage.upload(uploads):
            path = stored.key.rpartition("/")[2]
            run.registry.parts.datasets.note_written(writer.id, FileEntry(path=path, size=1, sha256=stored.sha256))
        writer.commit()
    assert (begun.sequential, begun.total) == (1, 2)
    assert (committed.sequential, committed.total) == (math.ceil(files / WIDTH) + 1, files + 2)


@pytest.mark.parametrize(("files", "datasets"), [(1, 1), (1_000, 1), (10_000, 1), (1, 200)])
def test_close_run_is_two_round_trips_whatever_was_written(bench: Bench, files: int, datasets: int) -> None:
    """LIST, end.json: the same for one file and a thousand, and for many datasets up to a page of the listing."""
    run = bench.registry.attach(bench.registry.insert_run("budget"))
    for _ in range(datasets):
        dataset, ours = write_files(run, files)
        staged = bench.registry.parts.datasets.commit(dataset, None, None, ours=ours)
        assert staged.file_count == files
    with bench.counting.measure() as closed:
        bench.registry.close_run(run.id, True)
    assert (closed.sequential, closed.total) == (2, 2)


@pytest.mark.parametrize("thousands", [1, 2])
def test_close_run_is_at_most_one_more_per_further_thousand_datasets(bench: Bench, thousands: int) -> None:
    """A dataset is two small objects; the pages beyond the first are listed at the same time (decision 0017)."""
    run = bench.registry.attach(bench.registry.insert_run("budget"))
    for _ in range(thousands * 1_000):
        dataset, ours = write_files(run, 1)
        bench.registry.parts.datasets.commit(dataset, None, None, ours=ours)
    small = len(list(bench.registry.storage.list(run_prefix(run.id))))
    with bench.counting.measure() as closed:
        result = bench.registry.close_run(run.id, True)
    assert small == 2_000 * thousands + 1
    assert closed.sequential <= 2 + thousands
    pages = -(-small // 1_000)
    assert pages <= closed.by_method["list"] <= pages + 3
    assert result is not None
    assert len(bench.registry.ledger.store.members(result.decision).datasets) == thousands * 1_000


@pytest.mark.parametrize("cells", [1, 50])
@pytest.mark.parametrize("children", [0, 1, 20])
def test_close_run_is_three_when_it_touched_cells_or_has_nested_runs(bench: Bench, cells: int, children: int) -> None:
    """GETs of the touched generations, and the decisions of nested runs, are one parallel step."""
    run = bench.registry.insert_run("budget")
    for i in range(cells):
        bench.registry.ledger.cells.write("alias", f"a{i}", {}, run_id=run)
    for _ in range(children):
        bench.registry.close_run(bench.registry.insert_run("child", parent=run), True)
    other = bench.other_process()
    other.ledger.runs.known(run)
    with bench.counting.measure() as closed:
        other.close_run(run, True)
    assert (closed.sequential, closed.total) == (3, 1 + cells + children + 1)


def test_rolling_a_whole_run_back_is_one_round_trip(bench: Bench) -> None:
    """end.json alone; deleting bytes is later and elsewhere."""
    run = bench.registry.insert_run("budget")
    with bench.counting.measure() as failed:
        bench.registry.close_run(run, False)
    assert (failed.sequential, failed.total) == (1, 1)


def test_a_new_cell_is_one_round_trip_and_an_update_two(bench: Bench) -> None:
    """Touch beside generation; to update: LIST, then touch beside generation (one more to read a cold base)."""
    cells = bench.registry.ledger.cells
    with bench.counting.measure() as created:
        cells.write("alias", "champion", {"version": 1}, blind=True)
    with bench.counting.measure() as warm:
        cells.write("alias", "champion", {"version": 2}, expected=0)
    elsewhere = bench.other_process().ledger.cells
    with bench.counting.measure() as cold:
        elsewhere.write("alias", "champion", {"version": 3}, expected=ANY)
    assert (created.sequential, created.total) == (1, 2)
    assert (warm.sequential, warm.total) == (2, 3)
    assert (cold.sequential, cold.total) == (3, 4)


def test_loading_the_latest_state_of_a_cell_is_two_round_trips(bench: Bench) -> None:
    """LIST, GET."""
    bench.registry.ledger.cells.write("alias", "champion", {"version": 1}, blind=True)
    cold = bench.other_process()
    with bench.counting.measure() as loaded:
        assert cold.ledger.cells.latest("alias", "champion") is not None
    assert (loaded.sequential, loaded.total) == (2, 2)


def test_emitting_an_event_is_one_round_trip(bench: Bench) -> None:
    """Outside a run, in a run (its decision is looked at beside), and for an incident."""
    run = bench.registry.insert_run("budget")
    for run_id, calls in ((None, 1), (run, 2)):
        with bench.counting.measure() as emitted:
            bench.registry.emit_event("event", "subject", {}, run_id=run_id)
        assert (emitted.sequential, emitted.total) == (1, calls)
    with bench.counting.measure() as incident:
        bench.registry.incident("event", "subject", "Error", "message", run_id=run)
    assert (incident.sequential, incident.total) == (1, 1)


def test_a_process_measures_its_clock_once_and_only_if_nothing_else_shows_it() -> None:
    """Put, info, delete, before its first plain write. Who closes the run it has begun reads it in the listing."""
    counting = CountingStorage(MemoryStorage())
    registry = Registry(ResolvingStorage(counting), heartbeats=False)
    with counting.measure() as closed:
        registry.close_run(registry.insert_run("budget"), True)
    with counting.measure() as first:
        registry.emit_event("event", "subject", {})
    assert (closed.sequential, first.sequential) == (3, 1)
    newcomer = Registry(ResolvingStorage(counting), heartbeats=False)
    with counting.measure() as newly:
        newcomer.emit_event("event", "subject", {})
    with counting.measure() as again:
        newcomer.emit_event("event", "subject", {})
    assert (newly.sequential, again.sequential) == (4, 1)


def test_a_lost_answer_costs_one_more_round_trip() -> None:
    """The key is read back; nothing is sent again."""
    counting = CountingStorage(MemoryStorage())
    faulty = FaultyStorage(counting, lost_answer(method="create", key="*/end.json"))
    registry = Registry(ResolvingStorage(faulty), heartbeats=False)
    run = registry.insert_run("budget")
    with counting.measure() as closed:
        registry.close_run(run, True)
    assert (closed.sequential, closed.total) == (3, 3)
    assert registry.get_run(run).state == "COMMITTED"


def test_committing_files_of_others_reads_them_once(bench: Bench) -> None:
    """LIST, every byte once (its Parquet footer too), and the generation."""
    run = bench.registry.attach(bench.registry.insert_run("budget"))
    writer = run.dataset("kind")
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1, 2, 3]}), sink)
    bench.registry.storage.put(f"{writer._prefix}part.parquet", sink.getvalue())
    with bench.counting.measure() as committed:
        bench.registry.commit_dataset(writer.id, writer.root, 3)
    assert committed.by_method["list"] == 1
    assert committed.by_method["open"] <= 2
    assert committed.by_method["create"] == 1
