"""Checkpoints of the catalog: what goes in, who wins, and that whoever loads one knows what the journal says."""

from __future__ import annotations

import contextlib
import itertools
import logging
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from catalog_support import World, asked, counting, fresh, publish, walked

from prefect_registry import Registry
from prefect_registry.catalog.catalog import Catalog
from prefect_registry.catalog.checkpoints import planning
from prefect_registry.catalog.checkpoints.manifests import generations, manifest_key, read_checkpoint
from prefect_registry.catalog.checkpoints.ranges import REST, Range, stamp_after, stamp_of
from prefect_registry.catalog.checkpoints.tables import schema_of
from prefect_registry.errors import AccessDenied, InvalidState
from prefect_registry.ledger import paths
from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.records.checkpoints import Checkpoint
from prefect_registry.records.documents import Doc
from prefect_registry.storage.base import Storage
from prefect_registry.testing.faults import FaultyStorage, SimulatedCrash, crash

TABLES = ("runs", "datasets", "events", "cells", "edges", "unsettled", "watched")


@pytest.fixture
def world() -> World:
    return World()


def manifests(world: World) -> list[Checkpoint]:
    """The checkpoints in the store, oldest first."""
    store = world.process().ledger.store
    return [read_checkpoint(store, generation) for generation in generations(store)]


def rows(catalog: Catalog) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that an index knows of the store, in any order of arrival."""
    return {
        table: sorted((tuple(row) for row in catalog._database.rows(f"SELECT * FROM {table}")), key=repr)
        for table in TABLES
    }


def from_the_journal(world: World) -> Catalog:
    """An index that has seen no checkpoint."""
    bare = WithoutCheckpoints(world.storage)
    found = fresh(world.process(bare))
    found.refresh()
    return found


class WithoutCheckpoints(FaultyStorage):
    """A store that shows nothing below catalog/."""

    def list(self, prefix: str, start_after: str = "") -> Iterator[Any]:
        return iter(()) if prefix.startswith("catalog/") else super().list(prefix, start_after)


def history(world: World, registry: Registry, seed: int, steps: int) -> Iterator[int]:
    """A random history: runs that succeed, fail, last for hours, nest; reverts, documents, events, lost generations."""
    rng = random.Random(seed)
    committed: list[str] = []
    open_: list[tuple[str, str]] = []

    def staged(run_id: str) -> None:
        with registry.attach(run_id).dataset(rng.choice("ab"), mode="append", tags={"n": str(rng.random())}) as ds:
            ds.write_table(pa.table({"n": [1, 2]}))

    def write() -> None:
        committed.append(publish(registry, rng.choice("ab"), 1, 2, count=rng.randint(1, 3)))

    def begin() -> None:
        root = registry.insert_run("long", config={"n": rng.random()})
        nested = registry.insert_run("nested", parent=root)
        open_.append((root, nested))
        staged(nested)

    def close() -> None:
        if open_:
            root, nested = open_.pop(rng.randrange(len(open_)))
            staged(root)
            registry.emit_event("closing", root, {"x": 1}, run_id=root)
            registry.close_run(nested, rng.random() < 0.8)
            world.clock.hours(rng.choice((0, 2)))
            registry.close_run(root, rng.random() < 0.7)

    def late() -> None:
        if open_:
            root, _ = rng.choice(open_)
            open_.append((registry.insert_run("late", parent=root), registry.insert_run("other")))

    def revert() -> None:
        if committed:
            committed.append(registry.revert(rng.choice(committed)).run_id)

    def said() -> None:
        registry.emit_event("said", str(rng.random()), {})
        registry.incident("wrong", rng.choice(committed or ["x"]), "Error", "it is wrong")
        if committed:
            registry.incident("later", committed[0], "Error", "found later", run_id=committed[0])

    def document() -> None:
        registry.register_documents([Doc(id=f"d{rng.randrange(4)}", title=str(rng.random()))])

    def touch() -> None:
        store = registry.ledger.store
        cell = CellRef("document", f"lost{rng.random()}")
        world.storage.put(paths.touch_key(store.ids.typeid("op", world.clock.now()), cell, 0), b"")

    def read() -> None:
        with registry.run("reads") as run:
            registry.table("a", run_id=run.id).to_table()
            staged(run.id)
        committed.append(run.id)

    for step in range(steps):
        with contextlib.suppress(InvalidState):  # of a run whose parent is decided
            rng.choice((write, write, begin, close, late, revert, said, document, touch, read))()
        world.clock.hours(rng.choice((0, 0, 0.1, 0.4, 1, 5)))
        yield step


@pytest.mark.parametrize("seed", range(5))
def test_a_checkpoint_and_the_tail_say_what_the_journal_says(
    world: World, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any history, whoever wrote the checkpoints: the same one, or others that started from one or from none."""
    monkeypatch.setattr(planning, "LARGEST_PART", 30)
    writer, other = world.process(), world.process()
    rng = random.Random(seed)
    for step in history(world, writer, seed, 60):
        if step % 7 == 3:
            catalog = rng.choice([writer.catalog, other.catalog, fresh(other), from_the_journal(world)])
            catalog.checkpoint()
    world.clock.hours(3)
    publish(writer, "a", 1)
    assert manifests(world)
    loaded = fresh(world.process())
    loaded.refresh()
    assert rows(loaded) == rows(from_the_journal(world))
    assert asked(loaded) == asked(writer.catalog) == walked(writer)


@pytest.mark.parametrize("seed", range(3))
def test_the_tables_of_a_checkpoint_hold_each_row_once(
    world: World, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other engines read all files of a manifest as one table."""
    monkeypatch.setattr(planning, "LARGEST_PART", 30)
    writer = world.process()
    for step in history(world, writer, seed, 40):
        if step % 9 == 8:
            writer.checkpoint()
    world.clock.hours(3)
    publish(writer, "a", 1)
    report = fresh(writer).checkpoint(unsealed=True)
    assert report.written
    index = from_the_journal(world)
    found = tables(world)
    for table in ("runs", "datasets", "events", "cells", "edges"):
        mine = sorted(map(repr, found[table].to_pylist()))
        assert mine == sorted(map(repr, typed(index, table))), table
        assert found[table].num_rows == report.rows[table]


def tables(world: World) -> dict[str, pa.Table]:
    """The newest checkpoint, read as another program would."""
    newest = manifests(world)[-1]
    found = {table: schema_of(table).empty_table() for table in TABLES}
    for file in newest.files():
        table = file.key.rpartition("/")[2].removesuffix(".parquet")
        part = pq.read_table(pa.BufferReader(world.storage.get(file.key)))
        assert part.num_rows == file.rows
        found[table] = pa.concat_tables([found[table], part])
    return found


def typed(catalog: Catalog, table: str) -> list[dict[str, Any]]:
    schema = schema_of(table)
    raw = pa.Table.from_pylist([dict(row) for row in catalog._database.rows(f"SELECT * FROM {table}")])
    if not raw.num_rows:
        return []
    columns = []
    for field in schema:
        column = raw.column(field.name)
        whole = pa.types.is_timestamp(field.type) or pa.types.is_boolean(field.type)
        columns.append((column.cast(pa.int64()) if whole else column).cast(field.type))
    return pa.table(columns, schema=schema).to_pylist()


def test_columns_are_typed_for_other_engines(world: World) -> None:
    """Timestamps with a zone, booleans, and JSON as text."""
    registry = world.process()
    publish(registry, "k", 1, tags={"a": "b"})
    world.clock.hours(3)
    publish(registry, "k", 1)
    registry.checkpoint()
    schema = tables(world)["datasets"].schema
    assert schema.field("created_at").type == pa.timestamp("us", tz="UTC")
    assert schema.field("external").type == pa.bool_()
    assert schema.field("tags").type == pa.string()
    assert schema.field("rows").type == pa.int64()
    (row,) = (r for r in tables(world)["datasets"].to_pylist() if r["tags"])
    assert row["tags"] == '{"a":"b"}'
    assert row["created_at"] == world.process().catalog.datasets(order="created_at")[0].created_at


def test_nothing_that_is_not_sealed_goes_in_unless_it_is_asked_for(world: World) -> None:
    registry = world.process()
    publish(registry, "old", 1)
    assert sum(registry.checkpoint().rows.values()) == 0
    world.clock.hours(3)
    publish(registry, "new", 1)
    registry.checkpoint()
    assert tables(world)["datasets"]["kind"].to_pylist() == ["old"]
    registry.checkpoint(unsealed=True)
    assert tables(world)["datasets"]["kind"].to_pylist() == ["old", "new"]


def test_what_became_visible_together_is_in_a_checkpoint_together(world: World) -> None:
    """A nested run of an open hour goes in with the run around it, which lies in a sealed one."""
    registry = world.process()
    root = registry.attach(registry.insert_run("root"))
    with root.dataset("k", mode="append") as ds:
        ds.set_rows(0)
    world.clock.hours(3)
    nested = registry.attach(registry.insert_run("nested", parent=root.id))
    with nested.dataset("k", mode="append") as ds:
        ds.set_rows(0)
    registry.close_run(nested.id, True)
    registry.close_run(root.id, True)
    publish(registry, "open", 1)
    assert registry.checkpoint().written
    assert tables(world)["datasets"]["kind"].to_pylist() == ["k", "k"]
    assert tables(world)["edges"].num_rows == 2


# -- what it costs ---------------------------------------------------------------------------------------------------


def test_a_cold_reader_lists_no_sealed_hour(world: World) -> None:
    """Its calls do not depend on how much is sealed: a checkpoint, one page of the journal, what is new."""
    registry = world.process()
    calls = []
    for _ in range(2):
        for _ in range(12):
            publish(registry, "k", 1, count=45)
            world.clock.hours(1)
        world.clock.hours(2)
        publish(registry, "k", 1)
        registry.checkpoint(full=True)
        cold = world.process()
        with counting(cold).measure() as measure:
            fresh(cold).refresh()
        calls.append({m: n for m, n in measure.by_method.items() if m != "download"})
        assert measure.by_method["list"] == 3, measure.keys  # checkpoints, and a fresh decision is looked at twice
        assert measure.by_method["download"] == 3
        assert not [key for _, key in measure.keys if key.startswith("runs/") and key < f"runs/{newest_hour(world)}"
                    and key != "runs/"]  # fmt: skip
    assert calls[0] == calls[1]


def newest_hour(world: World) -> str:
    return paths.hour_of(world.clock.now())


def test_what_has_not_changed_is_not_written_again(world: World) -> None:
    registry = world.process()
    publish(registry, "k", 1, count=100)
    sizes = []
    for _ in range(5):
        world.clock.hours(3)
        publish(registry, "k", 1)
        report = registry.checkpoint()
        sizes.append((report.parts_written, report.rows["datasets"]))
    assert sizes == [(1, 100), (1, 101), (1, 102), (1, 103), (1, 104)]
    first = manifests(world)[-1].parts[0]
    assert first.tables["datasets"].rows == 100
    assert {p.name for p in manifests(world)[0].parts} & {p.name for p in manifests(world)[1].parts} == {first.name}
    assert registry.checkpoint().reason == "nothing has changed since the newest checkpoint"


def test_parts_grow_with_the_logarithm_of_what_there_is(world: World) -> None:
    registry = world.process()
    for _ in range(40):
        publish(registry, "k", 1)
        world.clock.hours(1)
        registry.checkpoint()
    assert len(manifests(world)[-1].parts) <= 6


def test_a_change_of_the_past_writes_its_part_anew_and_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a revert, and by a run that settles days later; also when the checkpoint before was another machine's."""
    monkeypatch.setattr(planning, "LARGEST_PART", 30)
    registry = world.process()
    days = []
    slow = ""
    for day in range(4):
        days.append(publish(registry, f"k{day}", 1, count=25))
        slow = slow or registry.insert_run("slow")
        world.clock.hours(24)
        registry.checkpoint()
    before = {p.name for p in manifests(world)[-1].parts}
    registry.revert(days[1])
    world.clock.hours(3)
    publish(registry, "new", 1)
    report = fresh(world.process()).checkpoint()
    after = {p.name for p in manifests(world)[-1].parts}
    assert len(before - after) == 1
    assert report.parts_kept == len(before) - 1
    registry.close_run(slow, True)
    world.clock.hours(3)
    publish(registry, "new", 1)
    registry.checkpoint()
    loaded = fresh(world.process())
    assert asked(loaded) == walked(registry)
    assert loaded.count("datasets", state="DELETED") == 25


def test_an_undecided_run_of_a_sealed_hour_does_not_make_its_part_be_written_again(world: World) -> None:
    registry = world.process()
    registry.insert_run("slow")
    publish(registry, "k", 1, count=50)
    world.clock.hours(3)
    publish(registry, "k", 1)
    assert registry.checkpoint().written
    for _ in range(2):
        world.clock.hours(3)
        publish(registry, "k", 1)
        assert fresh(world.process()).checkpoint().parts_kept == 1


# -- races and failures ----------------------------------------------------------------------------------------------


def grown(world: World) -> Registry:
    """A store with two checkpoints, and something that neither has."""
    registry = world.process()
    for hours in (3, 3, 3):
        publish(registry, "k", 1, count=3)
        world.clock.hours(hours)
        publish(registry, "k", 1)
        if len(list(world.storage.list("catalog/checkpoints/"))) < 2:
            registry.checkpoint()
    return registry


def test_of_many_attempts_one_wins_and_the_others_are_fine(world: World) -> None:
    grown(world)
    catalogs = [fresh(world.process()) for _ in range(5)]
    barrier = threading.Barrier(len(catalogs))
    reports: list[Any] = []

    def attempt(catalog: Catalog) -> None:
        barrier.wait()
        reports.append(catalog.checkpoint(full=True))

    threads = [threading.Thread(target=attempt, args=(c,)) for c in catalogs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reports) == len(catalogs)
    winners = [r.generation for r in reports if r.written]
    assert len(set(winners)) == len(winners) >= 1
    newest = manifests(world)[-1]
    assert newest.generation == max(winners)
    there = {o.key for o in world.storage.list("catalog/tables/")}
    assert {file.key for file in newest.files()} <= there
    assert asked(fresh(world.process())) == walked(world.process())


def test_the_tables_of_losers_and_of_old_checkpoints_are_collected(world: World) -> None:
    """Nothing stays but the newest two, what they name, and what nobody can tell the meaning of."""
    registry = grown(world)
    newest = manifests(world)[-1].generation
    world.storage.put(f"catalog/tables/{newest:010d}-{'l' * 16}/runs.parquet", b"of a loser")
    world.storage.put(f"catalog/tables/{newest + 2:010d}-{'f' * 16}/runs.parquet", b"of somebody who is at work")
    world.storage.put("catalog/tables/notes/readme.txt", b"of somebody else")
    assert registry.checkpoint().written
    kept = {file.key for manifest in manifests(world) for file in manifest.files()}
    assert [m.generation for m in manifests(world)] == [newest, newest + 1]
    assert {o.key for o in world.storage.list("catalog/tables/")} == kept | {
        f"catalog/tables/{newest + 2:010d}-{'f' * 16}/runs.parquet", "catalog/tables/notes/readme.txt",
    }  # fmt: skip


class Overtaken(FaultyStorage):
    """Between the manifest and the tables of a reader, ``meanwhile`` happens."""

    meanwhile: Callable[[], None] | None = None

    def get(self, key: str) -> bytes:
        found = super().get(key)
        if key.startswith("catalog/checkpoints/") and self.meanwhile is not None:
            do, self.meanwhile = self.meanwhile, None
            do()
        return found


def test_a_reader_whose_files_are_collected_in_mid_load_goes_on_with_the_newer_checkpoint(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    writer = grown(world)

    def three_more() -> None:
        for _ in range(3):
            world.clock.hours(3)
            publish(writer, "k", 1)
            assert writer.checkpoint(full=True).written

    slow = Overtaken(world.storage)
    reader = world.process(slow)
    slow.meanwhile = three_more
    with counting(reader).measure() as measure:
        catalog = fresh(reader)
        catalog.refresh()
    loaded = [key for method, key in measure.keys if method == "get" and key.startswith("catalog/checkpoints/")]
    assert len(loaded) == 2
    assert loaded[0] < loaded[1]
    assert asked(catalog) == walked(writer)
    assert "cannot be used" in caplog.text


@pytest.mark.parametrize(
    "where", [pytest.param("before", marks=pytest.mark.deep), "after"]
)  # before one call is after the one before it
def test_a_crash_at_any_call_leaves_what_readers_and_the_next_checkpoint_work_with(
    world: World, where: Literal["before", "after"]
) -> None:
    registry = grown(world)
    expected = walked(registry)
    before = {o.key: world.storage.get(o.key) for o in world.storage.list("")}
    for at in itertools.count(1):
        victim = world.process(FaultyStorage(world.storage, crash(where=where, at=at, key="catalog/*")))
        try:
            fresh(victim).checkpoint()
            break
        except SimulatedCrash:
            pass
        assert asked(fresh(world.process())) == expected
        fresh(world.process()).checkpoint()
        named = {file.key for manifest in manifests(world) for file in manifest.files()}
        newest = manifests(world)[-1].generation
        there = {o.key for o in world.storage.list("catalog/tables/")}
        assert named == {key for key in there if int(key.split("/")[2][:10]) <= newest}
        assert asked(fresh(world.process())) == expected
        world.storage.delete_many([o.key for o in world.storage.list("catalog/")])
        for key, data in before.items():
            if key.startswith("catalog/"):
                world.storage.put(key, data)
    assert at > 15


def damaged_tables(storage: Storage) -> None:
    for info in [*storage.list("catalog/tables/")]:
        data = bytearray(storage.get(info.key))
        data[len(data) // 2] ^= 0xFF
        storage.put(info.key, bytes(data))


def missing_tables(storage: Storage) -> None:
    storage.delete_many([o.key for o in storage.list("catalog/tables/")])


def damaged_manifests(storage: Storage) -> None:
    for info in [*storage.list("catalog/checkpoints/")]:
        storage.put(info.key, b'{"schema": "checkpoint/1", "write_id": "x"}')


def manifests_of_a_newer_release(storage: Storage) -> None:
    for info in [*storage.list("catalog/checkpoints/")]:
        storage.put(info.key, b'{"schema": "checkpoint/2", "write_id": "x"}')


@pytest.mark.parametrize(
    "damage",
    [damaged_tables, missing_tables, damaged_manifests, manifests_of_a_newer_release],
    ids=lambda d: d.__name__,
)
def test_a_damaged_checkpoint_is_passed_over_with_a_notice_and_mended_by_the_next(
    world: World, damage: Callable[[Storage], None], caplog: pytest.LogCaptureFixture
) -> None:
    registry = grown(world)
    damage(world.storage)
    with caplog.at_level(logging.WARNING, "prefect_registry"):
        cold = fresh(world.process())
        assert asked(cold) == walked(registry)
    assert "cannot be used" in caplog.text
    assert cold.checkpoint().written
    caplog.clear()
    again = fresh(world.process())
    assert asked(again) == walked(registry)
    assert caplog.text == ""


def test_what_another_registry_has_left_at_the_same_root_is_passed_over(world: World) -> None:
    """Somebody has deleted the registry, but for what lies below catalog/, and made a new one."""
    grown(world)
    world.storage.delete_many([o.key for o in world.storage.list("") if not o.key.startswith("catalog/")])
    registry = world.process()
    run = publish(registry, "new", 1)
    assert [r.id for r in fresh(registry).runs()] == [run]
    assert fresh(registry).checkpoint(unsealed=True).parts_kept == 0
    assert tables(world)["datasets"]["kind"].to_pylist() == ["new"]


def test_the_older_checkpoint_is_used_when_the_newest_is_damaged(world: World) -> None:
    registry = world.process()
    for _ in range(2):
        publish(registry, "k", 1)
        world.clock.hours(3)
        publish(registry, "k", 1)
        registry.checkpoint(full=True)
    older, newest = manifests(world)
    world.storage.delete_many([newest.parts[0].tables["runs"].key])
    cold = fresh(world.process())
    assert asked(cold) == walked(registry)
    assert {row["name"] for row in cold._database.rows("SELECT name FROM parts")} == {p.name for p in older.parts}


def test_a_reader_may_lack_the_right_to_see_checkpoints(world: World, caplog: pytest.LogCaptureFixture) -> None:
    registry = grown(world)

    class Refusing(FaultyStorage):
        def list(self, prefix: str, start_after: str = "") -> Iterator[Any]:
            if prefix.startswith("catalog/"):
                raise AccessDenied("Access denied")
            return super().list(prefix, start_after)

    assert asked(fresh(world.process(Refusing(world.storage)))) == walked(registry)
    assert "cannot be listed" in caplog.text


def test_a_checkpointer_that_is_behind_writes_nothing(world: World) -> None:
    """Its index has seen fewer hours sealed than the newest checkpoint holds."""
    registry = grown(world)
    newest = manifests(world)[-1]
    ahead = newest.model_copy(update={"generation": newest.generation + 1, "sealed": "2026-01-09/00"})
    world.storage.put(manifest_key(ahead.generation), ahead.encode())
    report = registry.checkpoint()
    assert (report.written, report.generation, report.sealed) == (False, ahead.generation, "2026-01-09/00")


def test_a_store_without_a_journal_has_nothing_to_put_in(world: World) -> None:
    registry = world.process()
    assert registry.checkpoint().reason == "no hour of the journal is sealed yet"
    assert registry.checkpoint(unsealed=True).written
    assert asked(fresh(world.process())) == walked(registry)


def test_a_generation_that_was_waited_for_is_found_after_a_checkpoint(world: World) -> None:
    registry = world.process()
    store = registry.ledger.store
    cell = CellRef("document", "x")
    world.storage.put(paths.touch_key(store.ids.typeid("op", world.clock.now()), cell, 0), b"")
    publish(registry, "k", 1)
    world.clock.hours(3)
    publish(registry, "k", 1)
    assert registry.checkpoint().written
    document = CellGeneration(
        write_id=store.ids.write_id(), type="document", name="x", gen=0, tx=None, base=None, at=world.clock.now(),
        value={"id": "x"},
    )  # fmt: skip
    store.create(paths.cell_key(cell, 0), document)
    assert [c.value for c in fresh(world.process()).cells("document")] == [{"id": "x"}]


def test_a_generation_that_is_newer_than_its_touch_is_in_every_checkpoint(world: World) -> None:
    """Its touch lies in a sealed hour, which nobody lists again; its own time in one that is not sealed yet."""
    registry = world.process()
    store = registry.ledger.store
    world.clock.hours(0.9)
    cell = CellRef("document", "x")
    world.storage.put(paths.touch_key(store.ids.typeid("op", world.clock.now()), cell, 0), b"")
    world.clock.hours(0.2)
    document = CellGeneration(
        write_id=store.ids.write_id(), type="document", name="x", gen=0, tx=None, base=None, at=world.clock.now(),
        value={"id": "x"},
    )  # fmt: skip
    store.create(paths.cell_key(cell, 0), document)
    world.clock.hours(0.4)
    for _ in range(3):
        publish(registry, "k", 1)
        assert registry.checkpoint().written
        assert [c.value for c in fresh(world.process()).cells("document")] == [{"id": "x"}]
        assert tables(world)["cells"].num_rows == 1
        world.clock.hours(1)


async def test_the_asynchronous_twin_does_the_same(world: World) -> None:
    registry = world.process()
    publish(registry, "k", 1)
    world.clock.hours(3)
    publish(registry, "k", 1)
    assert (await registry.acheckpoint()).written


def test_ranges_and_stamps_agree(world: World) -> None:
    """What Python says of a row's hour is what SQL selects."""
    registry = world.process()
    for _ in history(world, registry, 7, 30):
        pass
    registry.catalog.refresh()
    sealed = paths.hour_of(world.clock.now())
    end = stamp_after(sealed)
    for table, condition in REST.items():
        if table in ("unsettled", "watched"):
            continue
        everything = [dict(r) for r in registry.catalog._database.rows(f"SELECT * FROM {table}")]
        values = {**Range("", stamp_after("2026-01-01/14")).values, "all": True}
        behind = registry.catalog._database.rows(f"SELECT * FROM {table} WHERE {condition}", values)  # type: ignore[arg-type]
        assert all(stamp_of(table, row) < end for row in everything)
        newer = [row for row in everything if stamp_of(table, row) >= values["high"]]
        assert len(newer) <= len(behind)


def test_two_processes_that_start_at_once_share_one_load(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits for the first, and both answer from the same file."""
    monkeypatch.setenv("PREFECT_REGISTRY_CACHE", str(tmp_path / "cache"))
    writer = Registry(tmp_path / "store", clock=world.clock, heartbeats=False)
    for _ in range(3):
        publish(writer, "k", 1, count=20)
    assert writer.checkpoint(unsealed=True).written
    writer.catalog.close()
    for file in (tmp_path / "cache").iterdir():
        file.unlink()
    answers: list[int] = []
    registries = [Registry(tmp_path / "store", clock=world.clock, heartbeats=False) for _ in range(2)]
    threads = [threading.Thread(target=lambda r=r: answers.append(r.catalog.count("datasets"))) for r in registries]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [60, 60]
    assert len(list((tmp_path / "cache").glob("*.sqlite"))) == 1
    assert asked(registries[0].catalog) == walked(registries[1])
