"""What readers see of a kind: modes, several datasets, nested runs, the past, and taking back (DESIGN.md P15)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from registry_support import FAST, asset, doc, numbers, only, publish, refused, rows, rows_of, write
from typing_extensions import override

from prefect_registry import Registry
from prefect_registry.errors import IntegrityError, InvalidInput, InvalidState, NotFound, RunAborted
from prefect_registry.storage.base import ObjectInfo, Storage
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.wrapper import WrapperStorage

# -- modes -----------------------------------------------------------------------------------------------------------


def test_replace_is_the_default_and_is_the_whole_table(registry: Registry) -> None:
    publish(registry, "k", 1)
    with registry.run("p") as run:
        for n in range(2, 12):
            write(run, "k", n)
        assert rows(registry, "k") == [1]
    assert rows(registry, "k") == list(range(2, 12))


def test_append_adds_in_the_order_of_publication(registry: Registry) -> None:
    first = registry.attach(registry.insert_run("first"))
    second = registry.attach(registry.insert_run("second"))
    write(first, "k", 1, mode="append")
    write(second, "k", 2, mode="append")
    registry.close_run(second.id, True)
    registry.close_run(first.id, True)
    publish(registry, "k", 3, mode="append")
    assert rows(registry, "k") == [2, 1, 3]
    publish(registry, "k", 4)
    publish(registry, "k", 5, mode="append")
    assert rows(registry, "k") == [4, 5]


def test_one_replacing_dataset_makes_the_run_replace_and_appended_ones_of_the_same_run_stay(registry: Registry) -> None:
    publish(registry, "k", 1)
    with registry.run("p") as run:
        write(run, "k", 2, mode="append")
        write(run, "k", 3, mode="replace")
    assert rows(registry, "k") == [2, 3]


def test_replace_partitions_replaces_its_partition_and_what_lies_inside_it(registry: Registry) -> None:
    for day in (1, 2):
        partition = {"month": 7, "day": day}
        publish(registry, "k", 70 + day, mode="replace_partitions", partition=partition)
    publish(registry, "k", 80, mode="replace_partitions", partition={"month": 8})
    publish(registry, "k", 75, mode="append")
    assert rows(registry, "k") == [71, 72, 80, 75]
    publish(registry, "k", 171, mode="replace_partitions", partition={"day": 1, "month": 7})
    assert rows(registry, "k") == [72, 80, 75, 171]
    publish(registry, "k", 700, mode="replace_partitions", partition={"month": 7})
    assert rows(registry, "k") == [80, 75, 700]


def test_replace_partitions_also_replaces_files_below_folders_that_spell_the_partition(registry: Registry) -> None:
    table = pa.table({"month": [6, 7, 7, None], "n": [60, 70, 71, 0]})
    with registry.run("p") as run, run.dataset("k") as ds:
        ds.write_table(table, partition_by="month")
    publish(registry, "k", 700, mode="replace_partitions", partition={"month": 7})
    assert sorted(rows(registry, "k")) == [0, 60, 700]
    assert registry.table("k").rows == 3
    publish(registry, "k", 1, mode="replace_partitions", partition={"month": None})
    assert sorted(rows(registry, "k")) == [1, 60, 700]
    assert len(registry.table("k").files()) == 3


def test_several_datasets_of_one_partition_in_one_run_are_all_of_it(registry: Registry) -> None:
    publish(registry, "k", 1, mode="replace_partitions", partition={"m": 1})
    with registry.run("p") as run:
        for n in (2, 3):
            write(run, "k", n, mode="replace_partitions", partition={"m": 1})
    assert rows(registry, "k") == [2, 3]


def test_datasets_rolled_back_in_a_run_are_not_in_its_table(registry: Registry) -> None:
    with registry.run("p") as run:
        dropped = write(run, "k", 1)
        write(run, "k", 2)
        registry.rollback_dataset(dropped)
    assert rows(registry, "k") == [2]


def test_kinds_are_apart_also_when_their_names_are_alike(registry: Registry) -> None:
    names = ["k", "K", "k/../k", "k%", "κ", "k.", " k"]
    for n, name in enumerate(names):
        publish(registry, name, n)
    assert [rows(registry, name) for name in names] == [[n] for n in range(len(names))]
    assert registry.kinds() == sorted(names)


# -- runs in runs, and publish= --------------------------------------------------------------------------------------


def test_a_run_and_those_nested_in_it_are_one_publication(registry: Registry) -> None:
    publish(registry, "k", 1)
    with registry.run("outer") as outer:
        write(outer, "k", 2)
        with registry.run("inner", parent=outer.id) as inner:
            write(inner, "k", 3)
            with registry.run("innermost", parent=inner.id) as innermost:
                write(innermost, "k", 4)
        assert registry.get_run(inner.id).state == "RUNNING"
        assert registry.get_run(inner.id).staged
        assert rows(registry, "k") == [1]
        assert rows_of(outer.table("k")) == [2, 3, 4]
    assert rows(registry, "k") == [2, 3, 4]
    assert {registry.get_run(r.id).state for r in (outer, inner, innermost)} == {"COMMITTED"}
    with pytest.raises(InvalidInput, match="3 datasets"):
        registry.latest("k")


def test_a_nested_run_that_failed_and_was_handled_is_left_out(registry: Registry) -> None:
    with registry.run("outer") as outer:
        write(outer, "k", 1)
        with pytest.raises(ZeroDivisionError), registry.run("inner", parent=outer.id) as inner:
            write(inner, "k", 2)
            raise ZeroDivisionError
    assert rows(registry, "k") == [1]
    assert registry.get_run(inner.id).state == "ABORTED"


def test_a_nested_run_goes_with_the_run_around_it(registry: Registry) -> None:
    with pytest.raises(ZeroDivisionError), registry.run("outer") as outer:
        with registry.run("inner", parent=outer.id) as inner:
            write(inner, "k", 2)
        assert registry.get_run(inner.id).staged
        raise ZeroDivisionError
    assert rows(registry, "k") == []
    assert registry.get_run(inner.id).state == "ABORTED"
    for parent in (outer, inner):
        with pytest.raises(RunAborted):
            registry.insert_run("late", parent=parent.id)


def test_an_isolated_run_stands_alone_and_remembers_its_parent(registry: Registry) -> None:
    with pytest.raises(ZeroDivisionError), registry.run("outer") as outer:
        with registry.run("inner", parent=outer.id, isolated=True) as inner:
            write(inner, "k", 1)
        raise ZeroDivisionError
    assert rows(registry, "k") == [1]
    assert registry.get_run(inner.id).parent == outer.id


def test_published_on_commit_each_dataset_is_visible_at_once_and_for_good(registry: Registry) -> None:
    with pytest.raises(ZeroDivisionError), registry.run("p", publish="on_commit") as run:
        write(run, "k", 1)
        assert rows(registry, "k") == [1]
        with pytest.raises(KeyError), run.dataset("k") as failed:
            failed.write_table(numbers(9))
            raise KeyError
        write(run, "k", 2)
        raise ZeroDivisionError
    assert rows(registry, "k") == [1, 2]
    assert registry.get_dataset(failed.id).state == "ROLLED_BACK"
    assert {r.parent for r in registry.runs(implicit=True)} == {run.id}


def test_never_published_shows_what_would_be_and_discards_it(registry: Registry) -> None:
    publish(registry, "k", 1)
    with registry.run("p", publish="never") as run:
        write(run, "k", 2, mode="append")
        registry.register_documents([doc("a"), doc("b")])
        assert rows_of(run.table("k")) == [1, 2]
        assert registry.get_document("a").id == "a"
    assert rows(registry, "k") == [1]
    assert list(registry.documents()) == []
    info = registry.get_run(run.id)
    assert (info.state, info.failure and info.failure.cls) == ("ABORTED", "NotPublished")
    registry.close_run(run.id, True)


# -- the past --------------------------------------------------------------------------------------------------------


def test_the_past_is_read_by_the_times_of_decisions(registry: Registry) -> None:
    times = [datetime.now(tz=UTC)]
    runs = []
    for n in range(3):
        runs.append(publish(registry, "k", n, mode="append"))
        registry.register_documents([doc("d", title=str(n))])
        finished = registry.get_run(runs[-1]).finished_at
        assert finished is not None
        times.append(datetime.now(tz=UTC))
    for n, time in enumerate(times):
        past = registry.as_of(time)
        assert rows_of(past.table("k")) == list(range(n))
        assert [d.title for d in past.documents()] == [str(n - 1)] * bool(n)
        assert [r.id for r in past.runs(newest_first=False)] == runs[:n]
        assert [d.state for d in past.datasets()] == ["READY"] * n
        assert len([e for e in past.events() if e.event_name == "DatasetCommitted"]) == n
        assert not past.settled
    old = registry.as_of(datetime.now(tz=UTC) - timedelta(days=1))
    assert old.settled
    assert rows_of(old.table("k")) == []


def test_as_of_shows_a_run_as_it_stood_then(registry: Registry) -> None:
    with registry.run("p") as run:
        ds = run.dataset("k")
        begun = datetime.now(tz=UTC)
        ds.write_table(numbers(1))
        ds.commit()
        staged = datetime.now(tz=UTC)
        event = registry.emit_event("e", "s", {})
    done = datetime.now(tz=UTC)
    states = [
        (only(list(past.runs())).state, only(list(past.datasets())).state, [e.id for e in past.events(derived=False)])
        for past in map(registry.as_of, (begun, staged, done))
    ]
    assert states == [("RUNNING", "PENDING", []), ("RUNNING", "STAGED", []), ("COMMITTED", "READY", [event])]


def test_as_of_needs_a_time_with_a_zone(registry: Registry) -> None:
    for wrong in (datetime(2026, 1, 1), "2026-01-01", None, 5):
        with refused(InvalidInput, registry):
            registry.as_of(wrong)  # type: ignore[arg-type]


def everything(snapshot: Any) -> list[Any]:
    """All that a snapshot shows."""
    return [
        [rows_of(snapshot.table(kind)) for kind in ("k", "other")],
        snapshot.kinds(),
        [(r.id, r.state) for r in snapshot.runs()],
        [(d.id, d.state) for d in snapshot.datasets()],
        [e.id for e in snapshot.events()],
        [i.id for i in snapshot.incidents()],
        list(snapshot.documents()),
        list(snapshot.doctags()),
    ]


def test_a_snapshot_stays_what_it_was(registry: Registry) -> None:
    first = publish(registry, "k", 1)
    reverted = publish(registry, "k", 2, mode="append")
    revert = registry.revert(reverted)
    open_run = registry.attach(registry.insert_run("open"))
    write(open_run, "k", 3, mode="append")
    registry.begin_dataset("k", open_run.id)
    registry.register_documents([doc("a")])
    registry.register_documents([doc("b")], run_id=open_run.id)
    registry.register_doctags([asset("a")])
    registry.emit_event("e", "s", {}, run_id=open_run.id)
    registry.incident("i", "s", "E", "m")
    for take in (registry.snapshot, lambda: registry.as_of(datetime.now(tz=UTC))):
        snapshot = take()
        before = everything(snapshot)
        assert before[0][0] == rows(registry, "k")
        publish(registry, "k", 4)
        publish(registry, "other", 5)
        registry.register_documents([doc("a", title="new"), doc(f"c{snapshot.time}")])
        registry.register_doctags([asset("a", pages=99)])
        registry.incident("later", "s", "E", "m")
        if registry.get_run(open_run.id).state == "RUNNING":
            registry.close_run(open_run.id, True)
            registry.revert(revert.run_id)
        registry.revert(first)
        assert everything(snapshot) == before
        assert everything(registry.snapshot()) != before


@pytest.mark.parametrize("nested", [False, True])
def test_the_table_inside_a_run_is_whole_while_another_process_commits_it(nested: bool) -> None:
    """Whatever the listing shows of the decision."""
    storage = MemoryStorage()
    for listing in range(1, 6):
        hooked = Listening(storage)
        registry, closer = Registry(hooked, settings=FAST), Registry(storage, settings=FAST)
        publish(closer, f"k{listing}", 0)
        run = registry.attach(registry.insert_run("p"))
        within = registry.attach(registry.insert_run("inner", parent=run.id)) if nested else run
        write(within, f"k{listing}", 1, mode="append")
        if nested:
            closer.close_run(within.id, True)
        hooked.after(listing, functools.partial(closer.close_run, run.id, True))
        assert rows_of(run.table(f"k{listing}")) == [0, 1], f"closed after listing {listing}"


class Listening(WrapperStorage):
    """Something happens right after the n-th listing of the journal."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self._left, self._then = 0, lambda: None

    def after(self, listing: int, then: Callable[[], object]) -> None:
        self._left, self._then = listing, then  # type: ignore[assignment]

    @override
    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        found = [*self.inner.list(prefix, start_after)]
        if prefix == "runs/":
            self._left -= 1
            if self._left == 0:
                self._then()
        return iter(found)


# -- taking back -----------------------------------------------------------------------------------------------------


def test_revert_takes_a_run_back_and_reverting_that_restores_it(registry: Registry) -> None:
    publish(registry, "k", 1)
    registry.register_documents([doc("d", title="old")])
    with registry.run("bad") as bad:
        ids = [write(bad, "k", 2), write(bad, "other", 3)]
        registry.register_documents([doc("d", title="new"), doc("e")])
    latest = bad.id
    for round_ in range(3):
        report = registry.revert(latest, f"because {round_}")
        taken_back = round_ % 2 == 0
        assert rows(registry, "k") == ([1] if taken_back else [2])
        assert rows(registry, "other") == ([] if taken_back else [3])
        assert registry.get_document("d").title == ("old" if taken_back else "new")
        assert [d.id for d in registry.documents()] == (["d"] if taken_back else ["d", "e"])
        assert {registry.get_dataset(i).state for i in ids} == ({"DELETED"} if taken_back else {"READY"})
        assert registry.get_run(report.run_id).notes == f"because {round_}"
        assert registry.get_run(bad.id).state == "COMMITTED"
        latest = report.run_id
    with pytest.raises(InvalidState):
        registry.get_dataset(ids[0]).to_table()


def test_revert_leaves_alone_what_a_later_run_has_changed(registry: Registry) -> None:
    with registry.run("bad") as bad:
        registry.register_documents([doc("d", title="bad"), doc("e", title="bad")])
    registry.register_documents([doc("d", title="later")])
    report = registry.revert(bad.id)
    assert (report.kept, [name for _, name in report.cells]) == ([("document", "d")], ["e"])
    assert [d.title for d in registry.documents()] == ["later"]


def test_revert_takes_nested_runs_along(registry: Registry) -> None:
    with registry.run("outer") as outer:
        write(outer, "k", 1)
        with registry.run("inner", parent=outer.id) as inner:
            write(inner, "k", 2)
    assert len(registry.revert(outer.id).datasets) == 2
    assert rows(registry, "k") == []


def test_only_what_is_published_can_be_reverted(registry: Registry) -> None:
    undecided, failed = registry.insert_run("p"), registry.insert_run("p")
    registry.close_run(failed, False)
    for run in (undecided, failed):
        with refused(InvalidState, registry):
            registry.revert(run)
    good = publish(registry, "k", 1)
    for reason in (5, b"x", {"a": 1}):
        with refused(InvalidInput, registry):
            registry.revert(good, reason)  # type: ignore[arg-type]


# -- adopting --------------------------------------------------------------------------------------------------------


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder that another program wrote."""
    folder = tmp_path / "foreign"
    (folder / "m=1").mkdir(parents=True)
    pq.write_table(numbers(1, 2), folder / "m=1" / "a.parquet")
    pq.write_table(numbers(3), folder / "b.parquet")
    (folder / "_SUCCESS").touch()
    (folder / ".hidden").write_text("x")
    return folder


def test_adopting_a_copy_takes_the_member_files_in(registry: Registry, foreign: Path) -> None:
    with registry.run("p") as run:
        copied = run.adopt(str(foreign), "k", how="copy")
        single = run.adopt(f"file://{foreign}/b.parquet", "single")
    for file in (foreign / "b.parquet", foreign / "m=1" / "a.parquet"):
        file.unlink()
    assert [f.path for f in registry.get_dataset(copied).files] == ["b.parquet", "m=1/a.parquet"]
    assert sorted(rows(registry, "k")) == [1, 2, 3]
    assert registry.table("k").to_table().column("m").to_pylist() == [None, 1, 1]
    assert (registry.get_dataset(single).rows, rows(registry, "single")) == (1, [3])


def test_adopting_a_reference_reads_it_where_it_lies_and_never_touches_it(
    registry: Registry, foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(foreign.parent)
    with registry.run("p") as run:
        run.adopt("foreign", "k", how="reference")
    monkeypatch.chdir("/")
    found = registry.latest("k")
    assert (found.external, found.rows, found.parquet_root) == (True, 3, str(foreign))
    assert sorted(rows(registry, "k")) == [1, 2, 3]
    with pytest.raises(InvalidInput):
        found.download("b.parquet", foreign / "x")
    registry.revert(run.id)
    registry.collect(dry_run=False)
    assert (foreign / "b.parquet").exists()


def test_a_reference_whose_files_are_gone_is_damaged_and_not_empty(registry: Registry, foreign: Path) -> None:
    with registry.run("p") as run:
        run.adopt(str(foreign), "k", how="reference")
    for file in foreign.rglob("*.parquet"):
        file.unlink()
    with pytest.raises(IntegrityError, match="is gone"):
        registry.table("k").to_table()


def test_adopting_what_is_not_there_is_not_found_and_leaves_nothing(registry: Registry, tmp_path: Path) -> None:
    with registry.run("p") as run:
        for how in ("copy", "reference"):
            with pytest.raises(NotFound):
                run.adopt(str(tmp_path / "nothing"), "k", how=how)
        with pytest.raises(InvalidInput):
            run.adopt(str(tmp_path), "k", how="steal")  # type: ignore[arg-type]
    assert registry.kinds() == []


# -- schemas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ([pa.table({"a": pa.array([1], pa.int32())}), pa.table({"a": [2**40]})], [{"a": 1}, {"a": 2**40}]),
        ([pa.table({"a": [1]}), pa.table({"a": [1.5]})], [{"a": 1.0}, {"a": 1.5}]),
        ([pa.table({"a": [1]}), pa.table({"a": [2], "b": ["x"]})], [{"a": 1, "b": None}, {"a": 2, "b": "x"}]),
        ([pa.table({"a": [1], "b": [2]}), pa.table({"b": [3], "a": [4]})], [{"a": 1, "b": 2}, {"a": 4, "b": 3}]),
        ([pa.table({"a": pa.nulls(1)}), pa.table({"a": ["x"]})], [{"a": None}, {"a": "x"}]),
        ([pa.table({"a": pa.array(["x"]).dictionary_encode()}), pa.table({"a": ["y"]})], [{"a": "x"}, {"a": "y"}]),
        (
            [pa.table({"a": [{"x": 1}]}), pa.table({"a": [{"y": 2}]})],
            [{"a": {"x": 1, "y": None}}, {"a": {"x": None, "y": 2}}],
        ),
        ([pa.table({"a": pa.array([], pa.int64())}), pa.table({"a": [1]})], [{"a": 1}]),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_schemas_that_grow_go_together(
    memory: Registry, tables: list[pa.Table], expected: list[dict[str, Any]], together: bool
) -> None:
    """Between datasets, and between the files of one."""
    with memory.run("p") as run:
        if together:
            with run.dataset("k") as ds:
                for table in tables:
                    ds.write_table(table)
        else:
            for table in tables:
                with run.dataset("k") as ds:
                    ds.write_table(table)
    read = memory.table("k").to_table()
    assert read.to_pylist() == expected
    assert memory.table("k").dataset().count_rows() == len(expected)
    assert memory.table("k").to_table(columns=["a"]).column_names == ["a"]


def test_schemas_that_cannot_go_together_are_told_and_can_be_read_apart(registry: Registry) -> None:
    with registry.run("p") as run:
        for table in (pa.table({"a": [1]}), pa.table({"a": ["x"]})):
            with run.dataset("k") as ds:
                ds.write_table(table)
    with refused(InvalidInput, registry, committed=None) as caught:
        registry.table("k").to_table()
    assert "int64" in str(caught.value)
    assert [d.to_table().to_pylist() for d in registry.table("k").datasets()] == [[{"a": 1}], [{"a": "x"}]]


def test_an_empty_table_is_empty_and_a_table_of_no_rows_has_its_columns(registry: Registry) -> None:
    assert (registry.table("nothing").rows, registry.table("nothing").bytes, registry.table("nothing").files()) == (
        0,
        0,
        [],
    )
    assert registry.table("nothing").to_table().num_rows == 0
    with registry.run("p") as run:
        with run.dataset("empty") as ds:
            ds.write_table(pa.table({"m": pa.array([], pa.int32()), "n": pa.array([], pa.string())}), partition_by="m")
        with run.dataset("no files") as ds:
            ds.set_rows(0)
    read = registry.table("empty").to_table()
    assert (read.num_rows, read.column_names) == (0, ["n", "m"])
    assert (registry.latest("no files").rows, registry.table("no files").to_table().num_rows) == (0, 0)


def test_a_column_that_is_not_there_is_told(registry: Registry) -> None:
    publish(registry, "k", 1)
    for wrong in (["nope"], ["n", "nope"]):
        with refused(InvalidInput, registry):
            registry.table("k").to_table(columns=wrong)


def test_files_without_rows_of_their_own_can_be_opened_but_not_read_as_a_table(registry: Registry) -> None:
    with registry.run("p") as run, run.dataset("k") as ds:
        with ds.open("notes.txt", "w") as file:
            file.write("hello")
        ds.set_rows(1)
    latest = registry.latest("k")
    with latest.open("notes.txt") as opened:
        assert (latest.rows, opened.read()) == (1, b"hello")
    with refused(InvalidInput, registry, committed=None):
        registry.table("k").to_table()
