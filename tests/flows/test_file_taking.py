"""Ticks of the ingestion: each content of a file is taken in once, and nothing is published by halves."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flow_support import KIND, age, ids, rows, steps, tick

from flows.files import taking
from flows.files.plan import make_plan
from flows.files.problems import BadFile
from flows.files.reading import Reading, read
from flows.files.sources import Place
from flows.files.taking import Target, take
from prefect_registry import Registry
from prefect_registry.errors import InvalidInput
from prefect_registry.testing.counting import CountingStorage


def write(path: Path, *numbers: int, text: str = "") -> None:
    path.write_text("id,n\n" + "".join(f"{i},{i * 2}\n" for i in numbers) + text)


def test_new_unchanged_and_changed(registry: Registry, inbox: Path) -> None:
    """What was taken in is passed over; what is new, or has changed, is taken in beside it."""
    write(inbox / "a.csv", 1, 2)
    write(inbox / "b.csv", 3)
    assert steps(tick(registry, inbox)) == {"a.csv": "taken", "b.csv": "taken"}
    write(inbox / "b.csv", 4, 5)
    write(inbox / "c.csv", 6)
    assert steps(tick(registry, inbox)) == {"a.csv": "unchanged", "b.csv": "taken", "c.csv": "taken"}
    assert set(steps(tick(registry, inbox)).values()) == {"unchanged"}
    assert ids(registry) == [1, 2, 3, 4, 5, 6]


def test_same_size_other_time(registry: Registry, inbox: Path) -> None:
    """A file of the same size that was written again is a changed one."""
    write(inbox / "a.csv", 1)
    age(inbox / "a.csv", 60)
    tick(registry, inbox)
    write(inbox / "a.csv", 2)
    assert steps(tick(registry, inbox)) == {"a.csv": "taken"}
    assert ids(registry) == [1, 2]


def test_replaced_rows(registry: Registry, inbox: Path) -> None:
    """The rows of a changed file replace those that it gave before, and no others, when that is asked for."""
    write(inbox / "a.csv", 1, 2)
    write(inbox / "b.csv", 3)
    tick(registry, inbox)
    write(inbox / "b.csv", 4, 5, 6)
    tick(registry, inbox, target=Target(KIND, replaces=True))
    assert ids(registry) == [1, 2, 4, 5, 6]


@pytest.mark.parametrize("partition_by", [(), ("id",)])
def test_no_rows_replace_rows(registry: Registry, inbox: Path, partition_by: tuple[str, ...]) -> None:
    """A file that has no rows any more gives none, and those of other files stay."""
    target = Target(KIND, partition_by, replaces=True)
    write(inbox / "a.csv", 1, 2)
    write(inbox / "b.csv", 3)
    tick(registry, inbox, target=target)
    write(inbox / "a.csv")
    assert steps(tick(registry, inbox, target=target)) == {"a.csv": "taken", "b.csv": "unchanged"}
    assert ids(registry) == [3]
    write(inbox / "b.csv")
    tick(registry, inbox, target=target)
    assert ids(registry) == []
    write(inbox / "a.csv", 4)
    tick(registry, inbox, target=target)
    assert ids(registry) == [4]


def test_where_rows_came_from(registry: Registry, inbox: Path) -> None:
    """Each dataset says which file it came from, in which version; each file has a cell that says which run took it."""
    write(inbox / "a.csv", 1)
    tick(registry, inbox)
    (dataset,) = registry.table(KIND).datasets()
    (source,) = Place(str(inbox)).find()
    assert dataset.tags == {"source": source.url, "version": source.version, "size": str(source.size)}
    cell = registry.ledger.cells.latest("source", f"{KIND}/{source.url}")
    assert cell is not None
    assert cell.tx == dataset.run_id
    assert cell.value == {"kind": KIND, "url": source.url, "size": source.size, "version": source.version}


def test_formats_in_one_table(registry: Registry, inbox: Path) -> None:
    """Files of several formats go into one table, partitioned when that is asked for."""
    write(inbox / "a.csv", 1, 2)
    (inbox / "b.jsonl").write_text('{"id":3,"n":6}\n{"n":8,"id":4}\n')
    pq.write_table(pa.table({"id": [5], "n": [10]}), inbox / "c.parquet")
    tick(registry, inbox, target=Target(KIND, partition_by=("id",)))
    assert rows(registry) == [{"id": i, "n": i * 2} for i in range(1, 6)]
    assert all("/id=" in url for url in registry.table(KIND).files())


def test_a_bad_row_publishes_nothing(registry: Registry, inbox: Path) -> None:
    """One bad row fails the run: the files beside it are not published either, and are taken in once it is mended."""
    write(inbox / "a.csv", 1)
    write(inbox / "b.csv", 2, text="3,x\n")
    with pytest.raises(BadFile, match=r"b\.csv, line 3 cannot be taken in\. column 'n' should be int64, and is 'x'"):
        tick(registry, inbox)
    assert registry.kinds() == []
    write(inbox / "b.csv", 2, 3)
    assert steps(tick(registry, inbox)) == {"a.csv": "taken", "b.csv": "taken"}
    assert ids(registry) == [1, 2, 3]


def test_bad_files_left_out(registry: Registry, inbox: Path) -> None:
    """A bad file can be left out: the others are published, an incident tells of it once, and it is not read again
    until it has changed or is to be read in another way.
    """
    write(inbox / "a.csv", 1)
    write(inbox / "b.csv", 2, text="3,x\n")
    target = Target(KIND, leaves_bad_files_out=True)
    assert steps(tick(registry, inbox, target=target)) == {"a.csv": "taken", "b.csv": "refused"}
    again = tick(registry, inbox, target=target)
    assert again["b.csv"].step == "left"
    assert "line 3" in again["b.csv"].why
    (incident,) = registry.incidents(event="ingest.file-refused")
    assert incident.subject_id == (inbox / "b.csv").as_uri()
    assert "line 3" in incident.message
    assert steps(tick(registry, inbox, target=target, null_values=("x",)))["b.csv"] == "taken"
    assert ids(registry) == [1, 2, 3]


def test_half_written_files_wait(registry: Registry, inbox: Path) -> None:
    """Files that are cut off are left alone, whatever their format, and taken in when they are whole."""
    write(inbox / "a.csv", 1)
    tick(registry, inbox)
    whole = {"b.csv.gz": gzip.compress(b"id,n\n" + b"2,4\n"), "c.jsonl": b'{"id":3,"n":6}\n', "d.csv": b"id,n\n4,8\n"}
    pq.write_table(pa.table({"id": [5], "n": [10]}), inbox / "e.parquet")
    whole["e.parquet"] = (inbox / "e.parquet").read_bytes()
    for name, content in whole.items():
        (inbox / name).write_bytes(content[:-3])
    (inbox / "f.csv").touch()
    for _ in range(2):
        assert steps(tick(registry, inbox)) == {"a.csv": "unchanged", **dict.fromkeys([*whole, "f.csv"], "left")}
    for name, content in whole.items():
        (inbox / name).write_bytes(content)
    assert steps(tick(registry, inbox)) == {"a.csv": "unchanged", **dict.fromkeys(whole, "taken"), "f.csv": "left"}
    assert ids(registry) == [1, 2, 3, 4, 5]


def test_a_file_that_grows(registry: Registry, inbox: Path) -> None:
    """A file that somebody is writing to is left alone, even where each state of it could be read."""
    path = inbox / "a.csv"
    write(path, 1)
    write(inbox / "old.csv", 100)
    age(inbox / "old.csv", 60)
    stop = threading.Event()

    def grow() -> None:
        number = 2
        while not stop.wait(0.05):
            with open(path, "a") as file:
                file.write(f"{number},{number * 2}\n")
            number += 1

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        assert steps(tick(registry, inbox, settle_seconds=0.5)) == {"a.csv": "left", "old.csv": "taken"}
    finally:
        stop.set()
        writer.join()
    assert steps(tick(registry, inbox, settle_seconds=0.5)) == {"a.csv": "taken", "old.csv": "unchanged"}
    assert len(ids(registry)) == len(path.read_text().splitlines()) - 1 + 1


def test_a_file_that_changes_while_it_is_read(registry: Registry, inbox: Path) -> None:
    """What was read of a file that changed meanwhile is dropped, and the file is taken in next time."""
    write(inbox / "a.csv", 1)
    place = Place(str(inbox))
    with registry.run("ingest") as run:
        plan = make_plan(run.registry, place, KIND, Reading(), 0, run.id)
        ((source, before),) = plan.todo
        write(inbox / "a.csv", 1, 2)
        assert take(run, place, source, before, Target(KIND), plan.reading).step == "left"
    assert registry.kinds() == []
    assert steps(tick(registry, inbox)) == {"a.csv": "taken"}
    assert ids(registry) == [1, 2]


def test_only_column_names(registry: Registry, inbox: Path) -> None:
    """A file without rows is taken in, and publishes no dataset."""
    write(inbox / "a.csv")
    assert steps(tick(registry, inbox)) == {"a.csv": "taken"}
    assert steps(tick(registry, inbox)) == {"a.csv": "unchanged"}
    assert registry.kinds() == []


def test_types_of_the_files_before(registry: Registry, inbox: Path) -> None:
    """A later file must fit the types of those before it, so that the table stays readable; new columns may join."""
    write(inbox / "a.csv", 1)
    tick(registry, inbox)
    (inbox / "b.csv").write_text("id,n\n2,4.5\n")
    with pytest.raises(BadFile, match=r"b\.csv, line 2 cannot be taken in\. column 'n' should be int64"):
        tick(registry, inbox)
    assert steps(tick(registry, inbox, columns={"n": "number"}))["b.csv"] == "taken"
    (inbox / "c.csv").write_text("id,n,more\n3,6,new\n")
    assert steps(tick(registry, inbox))["c.csv"] == "taken"
    assert rows(registry) == [
        {"id": 1, "n": 2.0, "more": None},
        {"id": 2, "n": 4.5, "more": None},
        {"id": 3, "n": 6.0, "more": "new"},
    ]


def test_new_columns_of_two_types(registry: Registry, inbox: Path) -> None:
    """Two files of one run that give a new column two types publish nothing, and the error names both."""
    write(inbox / "a.csv", 1)
    tick(registry, inbox)
    (inbox / "b.csv").write_text("id,n,more\n2,4,x\n")
    (inbox / "c.csv").write_text("id,n,more\n3,6,7\n")
    with pytest.raises(InvalidInput, match=r"c\.csv: column 'more' is int64, and string before"):
        tick(registry, inbox)
    assert ids(registry) == [1]


# -- several runs at once --------------------------------------------------------------------------------------------


def test_overlapping_runs_take_each_file_once(tmp_path: Path, inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four runs, each with a file in its hands while the others have one too: each file goes to exactly one of them."""
    names = [f"{number:02}.csv" for number in range(20)]
    for number, name in enumerate(names):
        write(inbox / name, number)
    all_reading = threading.Barrier(4)
    at_work = threading.local()

    def read_together(*args: Any) -> Iterator[pa.Table]:
        if not hasattr(at_work, "began"):
            at_work.began = True
            all_reading.wait(60)
        return read(*args)

    monkeypatch.setattr(taking, "read", read_together)
    columns = {"id": "integer", "n": "integer"}
    Registry(tmp_path / "store")
    with ThreadPoolExecutor(4) as pool:
        ticks = [pool.submit(lambda: tick(Registry(tmp_path / "store"), inbox, columns=columns)) for _ in range(4)]
        outcomes = [steps(t.result()) for t in ticks]
    for name in names:
        assert sorted(o[name] for o in outcomes) == ["elsewhere"] * 3 + ["taken"], name
    assert all("taken" in o.values() for o in outcomes)
    assert ids(Registry(tmp_path / "store")) == list(range(20))


def test_the_loser_skips_and_the_next_tick_recovers(tmp_path: Path, registry: Registry, inbox: Path) -> None:
    """A file that an undecided run holds is passed over at once; when that run aborts, the next tick takes the file."""
    write(inbox / "a.csv", 1)
    other = Registry(tmp_path / "store")
    place = Place(str(inbox))
    with pytest.raises(RuntimeError, match="by design"), other.run("ingest") as run:
        plan = make_plan(run.registry, place, KIND, Reading(), 0, run.id)
        ((source, before),) = plan.todo
        assert take(run, place, source, before, Target(KIND), plan.reading).step == "taken"
        began = time.monotonic()
        outcome = tick(registry, inbox)["a.csv"]
        assert time.monotonic() - began < 3
        assert outcome.step == "elsewhere"
        assert run.id in outcome.why
        raise RuntimeError("by design")
    assert steps(tick(registry, inbox)) == {"a.csv": "taken"}
    assert ids(registry) == [1]


def test_the_winner_commits(tmp_path: Path, registry: Registry, inbox: Path) -> None:
    """A run that planned to take a file, and comes after another that took it and committed, leaves it."""
    write(inbox / "a.csv", 1)
    place = Place(str(inbox))
    with registry.run("ingest") as late:
        plan = make_plan(late.registry, place, KIND, Reading(), 0, late.id)
        tick(Registry(tmp_path / "store"), inbox)
        ((source, before),) = plan.todo
        outcome = take(late, place, source, before, Target(KIND), plan.reading)
    assert outcome.step == "elsewhere"
    assert ids(registry) == [1]


def test_a_task_that_is_tried_again(registry: Registry, inbox: Path) -> None:
    """A second attempt in the same run takes the file that its first attempt had claimed."""
    write(inbox / "a.csv", 1)
    place = Place(str(inbox))
    with registry.run("ingest") as run:
        plan = make_plan(run.registry, place, KIND, Reading(), 0, run.id)
        ((source, before),) = plan.todo
        first = take(run, place, source, before, Target(KIND), plan.reading)
        registry.rollback_dataset(first.dataset_id)
        assert take(run, place, source, before, Target(KIND), plan.reading).step == "taken"
    assert ids(registry) == [1]


def test_cost_of_an_idle_tick(tmp_path: Path, inbox: Path) -> None:
    """Finding out that nothing is new asks the store for two or three small objects a file, and writes nothing."""
    for number in range(10):
        write(inbox / f"{number}.csv", number)
    tick(Registry(tmp_path / "store"), inbox)
    from prefect_registry.storage import open_storage

    counting = CountingStorage(open_storage(str(tmp_path / "store")))
    tick(Registry(counting), inbox)
    assert counting.calls.total <= 10 * 3 + 15
