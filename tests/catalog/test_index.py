"""The index follows the journal: what it lists, when, and that it misses nothing (DESIGN.md 6)."""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from catalog_support import World, asked, counting, fresh, publish, walked

from prefect_registry import Registry
from prefect_registry.catalog.catalog import Catalog
from prefect_registry.catalog.place import index_file
from prefect_registry.ledger import paths
from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.storage.base import Storage
from prefect_registry.testing.counting import PAGE, Measure
from prefect_registry.testing.faults import FaultyStorage


@pytest.fixture
def world() -> World:
    return World()


def refreshed(registry: Registry, catalog: Catalog) -> Measure:
    """The calls that a refresh makes."""
    with counting(registry).measure() as measure:
        catalog.refresh()
    return measure


# -- what it costs ---------------------------------------------------------------------------------------------------


def test_a_thousand_new_datasets_cost_one_listing_of_the_open_hours_and_one_get_for_each_document(world: World) -> None:
    writer, reader = world.process(), world.process()
    publish(reader, "own", 1)
    reader.ledger.store.know_time()
    reader.catalog.refresh()
    for _ in range(10):
        publish(writer, "k", 1, count=100)
    world.clock.sleep(60)
    objects = len(list(world.storage.list("runs/")))
    measure = refreshed(reader, reader.catalog)
    assert measure.by_method["list"] == -(-objects // PAGE)
    assert measure.by_method["get"] == 10 * (1 + 1) + 1000
    assert measure.total == measure.by_method["list"] + measure.by_method["get"]
    assert measure.sequential <= measure.by_method["list"] + 5
    assert reader.catalog.count("datasets", kind="k", state="READY") == 1000
    assert refreshed(reader, reader.catalog).by_method == {"list": -(-objects // PAGE)}


def test_an_hour_that_is_sealed_is_never_listed_again(world: World) -> None:
    registry = world.process()
    for _ in range(12):
        publish(registry, "k", 1, count=45)
    world.clock.hours(3)
    publish(registry, "k", 1)
    registry.catalog.refresh()
    registry.catalog.refresh()
    assert refreshed(registry, registry.catalog).by_method == {"list": 1}
    assert registry.catalog.count("datasets") == 12 * 45 + 1
    assert asked(registry.catalog) == asked(fresh(registry)) == walked(registry)


def test_what_was_decided_just_now_is_looked_at_twice(world: World) -> None:
    """A listing can show a decision without an earlier one that landed where it had passed: two that agree cannot."""
    writer, reader = world.process(), world.process()
    reader.catalog.refresh()
    publish(writer, "k", 1)
    assert refreshed(reader, reader.catalog).by_method["list"] == 2


# -- what it must not miss -------------------------------------------------------------------------------------------


def seal(world: World, registry: Registry) -> None:
    """Let time pass until the hours so far are sealed."""
    world.clock.hours(2)
    publish(registry, "later", 1)
    for _ in range(2):
        registry.catalog.refresh()
    world.clock.hours(2)


def test_a_run_that_outlives_its_hour_is_seen_while_it_works_and_when_it_is_decided(world: World) -> None:
    registry = world.process()
    long = registry.attach(registry.insert_run("long"))
    nested = registry.attach(registry.insert_run("nested", parent=long.id))
    seal(world, registry)
    with long.dataset("k") as ds:
        ds.set_rows(0)
    with nested.dataset("k") as ds:
        ds.set_rows(0)
    registry.incident("slow", long.id, "Slow", "still working", run_id=long.id)
    assert asked(registry.catalog) == walked(registry)
    assert registry.catalog.count("datasets", state="STAGED") == 2
    registry.close_run(nested.id, True)
    seal(world, registry)
    assert {r.purpose: r.state for r in registry.catalog.runs(purpose={"long", "nested"})} == {
        "long": "RUNNING",
        "nested": "RUNNING",
    }
    registry.close_run(long.id, True)
    assert asked(registry.catalog) == asked(fresh(registry)) == walked(registry)
    assert registry.catalog.count("datasets", kind="k", state="READY") == 2
    seal(world, registry)
    assert refreshed(registry, registry.catalog).by_method == {"list": 1}


def test_an_incident_of_a_run_that_was_decided_hours_ago_is_seen(world: World) -> None:
    registry = world.process()
    run = publish(registry, "k", 1)
    seal(world, registry)
    registry.incident("found later", run, "Wrong", "the numbers are off", run_id=run)
    assert [i.event for i in registry.catalog.incidents()] == ["found later"]
    assert asked(registry.catalog) == walked(registry)


class SlowBegin(FaultyStorage):
    """The begin of a run takes hours to arrive; ``meanwhile`` happens on the way."""

    meanwhile: Callable[[], None] | None = None

    def create(self, key: str, data: bytes) -> None:
        if key.endswith("/begin.json") and self.meanwhile is not None:
            do, self.meanwhile = self.meanwhile, None
            do()
        super().create(key, data)


def test_a_begin_that_lands_in_a_sealed_hour_is_seen_when_the_run_closes(world: World) -> None:
    slow: Storage = SlowBegin(world.storage)
    writer, reader = world.process(slow), world.process()
    publish(reader, "k", 0)
    assert isinstance(slow, SlowBegin)
    slow.meanwhile = lambda: seal(world, reader)
    run = publish(writer, "k", 1)
    assert paths.hour_of(world.clock.now()) != run
    assert reader.catalog.runs(order="-id", purpose="publish").items[-1].state == "COMMITTED"
    assert asked(reader.catalog) == asked(fresh(reader)) == walked(reader)


def test_a_generation_that_follows_its_touch_much_later_is_watched_for(world: World) -> None:
    registry = world.process()
    store = registry.ledger.store
    home, cell = store.ids.typeid("op", world.clock.now()), CellRef("document", "x")
    world.storage.put(paths.touch_key(home, cell, 0), b"")
    registry.catalog.refresh()
    seal(world, registry)
    assert list(registry.catalog.cells("document")) == []
    document = CellGeneration(
        write_id=store.ids.write_id(), type="document", name="x", gen=0, tx=None, base=None, at=world.clock.now(),
        value={"id": "x"},
    )  # fmt: skip
    store.create(paths.cell_key(cell, 0), document)
    assert [c.value for c in registry.catalog.cells("document")] == [{"id": "x"}]
    assert [c.value for c in fresh(registry).cells("document")] == [{"id": "x"}]


def test_what_this_process_wrote_is_in_an_answer_that_may_be_old(world: World) -> None:
    registry, other = world.process(), world.process()
    registry.catalog.refresh()
    publish(registry, "mine", 1)
    assert registry.catalog.count("datasets", max_age=3600) == 1
    world.clock.sleep(10)
    publish(other, "theirs", 1)
    with counting(registry).measure() as measure:
        assert registry.catalog.count("datasets", max_age=3600) == 1
    assert measure.total == 0
    assert registry.catalog.count("datasets", max_age=5) == 2


def test_an_answer_that_need_not_be_fresh_is_that_of_the_index_as_it_is(world: World) -> None:
    """Also without what this process has just written; only an index that has never looked does so, once."""
    registry = world.process()
    publish(registry, "first", 1)
    catalog = registry.catalog
    assert catalog.count("datasets", fresh=False) == 1
    publish(registry, "second", 1)
    world.clock.hours(24)
    with counting(registry).measure() as measure:
        assert catalog.count("datasets", fresh=False) == len(catalog.datasets(fresh=False)) == 1
        assert [t.datasets for t in catalog.totals(fresh=False)] == [1]
        assert len(catalog.upstream(catalog.datasets(fresh=False)[0].id, fresh=False)) == 1
    assert measure.total == 0
    assert catalog.count("datasets") == 2
    assert catalog.count("datasets", fresh=False) == 2


def test_every_query_may_be_answered_by_the_index_as_it_is() -> None:
    takes = {n: inspect.signature(m).parameters for n, m in inspect.getmembers(Catalog, inspect.isfunction)}
    queries = [name for name, names in takes.items() if "max_age" in names and not name.startswith("_")]
    assert len(queries) > 20
    assert [name for name in queries if "fresh" not in takes[name] or takes[name]["fresh"].default is not True] == []


# -- the file --------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of indexes."""
    monkeypatch.setenv("PREFECT_REGISTRY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def registry(tmp_path: Path, cache: Path) -> Registry:
    """A registry in a folder, with something in it."""
    found = Registry(tmp_path / "store")
    publish(found, "k", 1, 2)
    return found


def test_the_index_lies_in_the_cache_and_goes_on_where_it_was(registry: Registry, cache: Path) -> None:
    registry.catalog.refresh()
    file = index_file(registry.registry_id, registry.url)
    assert file is not None
    assert file.parent == cache
    again = Registry(registry.url)
    assert again.catalog.count("datasets", fresh=False) == 1
    assert again.catalog.refresh().new_objects == 0
    assert asked(again.catalog) == walked(registry)


def spoil(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[100:3000] = os.urandom(2900)
    file.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        spoil,
        lambda file: file.write_bytes(b"no database at all" * 100),
        lambda file: file.write_bytes(file.read_bytes()[:5000]),
        lambda file: sqlite3.connect(file).execute("PRAGMA user_version = 99"),
        lambda file: sqlite3.connect(file).execute("DROP TABLE datasets"),
        lambda file: file.unlink(),
    ],
    ids=["spoiled pages", "another file", "cut off", "another form", "a table is gone", "deleted"],
)
@pytest.mark.parametrize("when", ["while it is open", "before it is opened"])
def test_a_damaged_index_is_built_anew(registry: Registry, damage: Callable[[Path], object], when: str) -> None:
    registry.catalog.refresh()
    file = index_file(registry.registry_id, registry.url)
    assert file is not None
    if when == "before it is opened":
        registry.catalog.close()
        damage(file)
    else:
        with registry.catalog._database.reading() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        damage(file)
    publish(registry, "k", 3)
    assert asked(registry.catalog) == walked(registry)
    registry.catalog.close()
    assert asked(Registry(registry.url).catalog) == walked(registry)


@pytest.mark.parametrize("lag", [{"fresh": False}, {"max_age": 3600.0}, {}], ids=str)
def test_damage_that_only_a_query_meets_is_mended_too(registry: Registry, lag: dict[str, Any]) -> None:
    """Whatever has been looked at before, and whether or not the query looks at the store itself."""
    registry.catalog.refresh()
    expected = walked(registry)
    registry.catalog.close()
    file = index_file(registry.registry_id, registry.url)
    assert file is not None
    with sqlite3.connect(file) as connection:
        pages = {row[0] for row in connection.execute("SELECT rootpage FROM sqlite_master WHERE tbl_name = 'datasets'")}
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.close()
    data = bytearray(file.read_bytes())
    for page in pages:
        data[(page - 1) * size : page * size] = os.urandom(size)
    file.write_bytes(data)
    assert registry.catalog.count("datasets", **lag) == 1
    assert asked(registry.catalog) == expected


def test_a_cache_that_cannot_be_written_means_an_index_in_memory_and_a_notice(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("PREFECT_REGISTRY_CACHE", str(tmp_path / "a file" / "below"))
    with caplog.at_level(logging.WARNING, "prefect_registry"):
        assert asked(registry.catalog) == walked(registry)
        publish(registry, "k", 3)
        assert asked(registry.catalog) == walked(registry)
    assert sum("PREFECT_REGISTRY_CACHE" in r.message for r in caplog.records) == 1


def test_a_full_disk_means_an_index_in_memory(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    registry.catalog.refresh()
    with registry.catalog._database.reading() as connection:
        connection.execute("PRAGMA max_page_count = 1")
    for n in range(200):
        registry.emit_event("fill", str(n), {"text": "x" * 500})
    with caplog.at_level(logging.WARNING, "prefect_registry"):
        assert asked(registry.catalog) == walked(registry)
    assert "each process builds it in memory" in caplog.text


def test_a_fork_opens_the_index_for_itself(registry: Registry) -> None:
    registry.catalog.refresh()
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            publish(registry, "k", 3)
            code = 0 if registry.catalog.count("datasets") == 2 else 2
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert registry.catalog.count("datasets") == 2


class Refusing(logging.Handler):
    """Raises what is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        raise AssertionError(record.getMessage())


def look(place: str, ready: int) -> None:
    """Wait for the others, then ask; no notice is expected."""
    logging.getLogger("prefect_registry").addHandler(Refusing())
    os.read(ready, 1)
    assert Registry(place).catalog.count("datasets") == 1


def test_processes_that_open_a_new_index_at_once_share_it(registry: Registry) -> None:
    """Nobody takes a file that another one is making for a damaged one."""
    file = index_file(registry.registry_id, registry.url)
    assert file is not None
    for _ in range(5):
        for suffix in ("", "-wal", "-shm"):
            file.with_name(file.name + suffix).unlink(missing_ok=True)
        ready, go = os.pipe()
        children = []
        for _ in range(8):
            child = os.fork()
            if child == 0:
                code = 1
                with contextlib.suppress(BaseException):
                    look(registry.url, ready)
                    code = 0
                os._exit(code)
            children.append(child)
        os.write(go, b"x" * len(children))
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 8
        os.close(ready)
        os.close(go)
