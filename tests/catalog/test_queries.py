"""What the catalog answers: filters, text, order, pages, sums, the past, lineage."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from catalog_support import EPOCH, World, publish

from prefect_registry import Registry
from prefect_registry.errors import InvalidInput, RunAborted
from prefect_registry.records import Doc


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def registry(world: World) -> Registry:
    """Three runs: one published, one failed, one open."""
    registry = world.process()
    with registry.run("nightly", revision="r1", config={"region": {"name": "eu"}, "top.level": 1, "big": True}) as run:
        with run.dataset("sales", tags={"team": "a"}, partition={"day": 3}, mode="replace_partitions") as ds:
            ds.set_rows(0)
        run.emit_event("Checked", "sales", {"score": 7})
    world.clock.sleep(60)
    with pytest.raises(ZeroDivisionError), registry.run("nightly", config={"region": {"name": "us"}}) as run:
        with run.dataset("sales", tags={"team": "b"}) as ds:
            ds.set_rows(0)
        raise ZeroDivisionError("100 % wrong_")
    world.clock.sleep(60)
    open_run = registry.insert_run("weekly", model_id="m7")
    registry.begin_dataset("stock", open_run)
    registry.register_documents([Doc(id="a", title="Zinc"), Doc(id="b", title="Ångström")])
    return registry


@pytest.mark.parametrize(
    ("filters", "purposes"),
    [
        ({"state": "COMMITTED", "implicit": False}, ["nightly"]),
        ({"state": ["RUNNING", "ABORTED"]}, ["weekly", "nightly"]),
        ({"purpose": {"weekly"}}, ["weekly"]),
        ({"model_id": "m7"}, ["weekly"]),
        ({"revision": "r1", "purpose": None}, ["nightly"]),
        ({"config": {"region.name": "us"}}, ["nightly"]),
        ({"config": {"region": {"name": "us"}}}, ["nightly"]),
        ({"config": {"big": True}}, ["nightly"]),
        ({"config": {"region.name": "asia"}}, []),
        ({"failure": {"class": "ZeroDivisionError"}}, ["nightly"]),
        ({"since": EPOCH + timedelta(seconds=90), "implicit": False}, ["weekly"]),
        ({"until": EPOCH + timedelta(seconds=50)}, ["nightly"]),
        ({"text": "100 % wrong_"}, ["nightly"]),
        ({"text": "WEEK"}, ["weekly"]),
        ({"text": "100 _ wrong_"}, []),
    ],
)
def test_runs_are_filtered_by_every_field(registry: Registry, filters: Any, purposes: list[str]) -> None:
    assert [r.purpose for r in registry.catalog.runs(**filters)] == purposes
    assert registry.catalog.count("runs", **filters) == len(purposes)


@pytest.mark.parametrize(
    ("filters", "kinds"),
    [
        ({"state": "READY"}, ["sales"]),
        ({"tags": {"team": "b"}}, ["sales"]),
        ({"partition": {"day": 3}}, ["sales"]),
        ({"kind": "stock"}, ["stock"]),
        ({"published_at": None, "mode": "replace", "order": "kind"}, ["sales", "stock"]),
    ],
)
def test_datasets_are_filtered_by_tags_partitions_and_fields(registry: Registry, filters: Any, kinds: Any) -> None:
    assert [d.kind for d in registry.catalog.datasets(**filters)] == kinds


def test_events_incidents_and_cells_are_found(registry: Registry) -> None:
    catalog = registry.catalog
    assert [e.subject_id for e in catalog.events(payload={"score": 7})] == ["sales"]
    assert [e.event_name for e in catalog.events(text="check")] == ["Checked"]
    assert [i.error_class for i in catalog.incidents(event="run.failed")] == ["ZeroDivisionError"]
    assert [c.name for c in catalog.cells("document")] == ["a", "b"]
    assert [d.title for d in catalog.documents()] == ["Zinc", "Ångström"]
    assert [d.id for d in catalog.documents(title="Zinc", language={"en", "de"})] == ["a"]
    page = catalog.documents(order="-title", limit=1)
    assert [d.id for d in (*page, *catalog.documents(order="-title", limit=1, cursor=page.next))] == ["b", "a"]
    assert list(catalog.documents(source="none")) == list(catalog.doctags()) == []
    assert [c.name for c in catalog.cells("document", order="-name", value={"title": "Zinc"})] == ["a"]
    assert [c.name for c in catalog.cells("document", text="ngstr")] == ["b"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (lambda c: c.runs(colour="red"), "no field 'colour'"),
        (lambda c: c.runs(order="colour"), "cannot be ordered by 'colour'"),
        (lambda c: c.runs(limit=0), "limit must be from 1"),
        (lambda c: c.runs(limit=10**9), "limit must be from 1"),
        (lambda c: c.runs(limit="x"), "limit must be from 1"),
        (lambda c: c.runs(config="eu"), "mapping of paths"),
        (lambda c: c.runs(config={'a"b': 1}), "path"),
        (lambda c: c.runs(since=datetime(2026, 1, 1)), "time zone"),
        (lambda c: c.runs(as_of=datetime(2026, 1, 1)), "time zone"),
        (lambda c: c.runs(as_of="yesterday"), "time zone"),
        (lambda c: c.runs(cursor="nonsense"), "cursor"),
        (lambda c: c.runs(cursor=5), "cursor"),
        (lambda c: c.runs(purpose="x", cursor=c.runs(limit=1).next), "other filters"),
        (lambda c: c.count("files"), "one of runs"),
        (lambda c: c.totals(by="hour"), "'kind', 'day'"),
        (lambda c: c.upstream("x", depth=0), "depth"),
        (lambda c: c.runs(fresh=False, max_age=5), "leave out max_age"),
        (lambda c: c.count("runs", max_age=-1), "max_age must be seconds"),
        (lambda c: c.upstream("x", max_age=float("nan")), "max_age must be seconds"),
        (lambda c: c.totals(max_age=timedelta(seconds=5)), "max_age must be seconds"),
        (lambda c: c.upstream("x", as_of=datetime(2026, 1, 1)), "time zone"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused_with_what_is_wrong(registry: Registry, query: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        query(registry.catalog)


@pytest.mark.parametrize("order", ["-started_at", "started_at", "purpose", "-finished_at", "finished_at", "model_id"])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_pages_show_everything_once_in_order(registry: Registry, order: str, size: int) -> None:
    for n in range(5):
        publish(registry, f"k{n}", n)
    whole = list(registry.catalog.runs(order=order))
    found: list[Any] = []
    cursor = None
    while True:
        page = registry.catalog.runs(order=order, limit=size, cursor=cursor)
        found += page
        cursor = page.next
        if cursor is None:
            break
    assert found == whole


def test_a_page_goes_on_behind_the_last_item_whatever_came_in_between(registry: Registry, world: World) -> None:
    before = [r.id for r in registry.catalog.runs()]
    page = registry.catalog.runs(limit=2)
    world.clock.sleep(5)
    publish(registry, "new", 1)
    rest = registry.catalog.runs(cursor=page.next)
    assert [r.id for r in page] + [r.id for r in rest] == before


def test_totals_per_kind_and_day_add_up(registry: Registry, world: World) -> None:
    world.clock.hours(24)
    publish(registry, "sales", 1, 2, 3, count=2)
    found = registry.catalog.totals(by=["kind", "day"], state="READY")
    assert [(t.kind, t.day, t.datasets, t.rows, t.files) for t in found] == [
        ("sales", "2026-01-01", 1, 0, 0),
        ("sales", "2026-01-02", 2, 6, 2),
    ]
    assert [(t.kind, t.datasets) for t in registry.catalog.totals()] == [("sales", 4), ("stock", 1)]
    assert [(t.day, t.datasets) for t in registry.catalog.totals(by="day", kind="sales")] == [
        ("2026-01-01", 2),
        ("2026-01-02", 2),
    ]
    (total,) = registry.catalog.totals(kind="sales", since=EPOCH + timedelta(hours=1))
    assert total.bytes == sum(d.bytes for d in registry.datasets(kind="sales") if d.rows)


def test_the_past_is_as_it_was(registry: Registry, world: World) -> None:
    nightly = registry.catalog.runs(revision="r1")[0]
    (before,) = registry.catalog.datasets(run_id=nightly.id)
    world.clock.sleep(60)
    then = world.clock.now()
    world.clock.sleep(60)
    registry.revert(nightly.id)
    assert registry.catalog.datasets(run_id=nightly.id)[0].state == "DELETED"
    assert registry.catalog.datasets(run_id=nightly.id, as_of=then) == type(
        registry.catalog.datasets(run_id=nightly.id)
    )((before,))
    assert registry.catalog.count("datasets", state="READY", as_of=then) == 1
    assert registry.catalog.count("datasets", state="READY") == 0
    assert registry.catalog.count("runs", as_of=EPOCH - timedelta(seconds=1)) == 0


def test_results_become_tables_frames_and_html(registry: Registry) -> None:
    page = registry.catalog.runs(implicit=False)
    table = page.to_arrow()
    assert table.column("purpose").to_pylist() == [r.purpose for r in page]
    assert table.schema.field("started_at").type.tz == "UTC"
    assert list(page.to_pandas()["id"]) == [r.id for r in page]
    assert "<td>weekly</td>" in page._repr_html_()
    assert "page.next" in registry.catalog.runs(limit=1)._repr_html_()
    assert registry.catalog.runs(purpose="none").to_arrow().num_rows == 0


# -- lineage ---------------------------------------------------------------------------------------------------------


def test_what_a_run_reads_is_upstream_of_what_it_publishes(world: World) -> None:
    writer, reader = world.process(), world.process()
    raw = publish(writer, "raw", 1, 2)
    other = publish(writer, "other", 1)
    with reader.run("derive") as run:
        assert reader.table("raw").to_table().num_rows == 2
        reader.table("raw").files()
        reader.latest("other").dataset()
        with run.dataset("clean") as ds:
            ds.set_rows(0)
        reader.get_dataset(ds.id)
    with pytest.raises(ZeroDivisionError), reader.run("fails") as run:
        reader.table("raw").to_table()
        raise ZeroDivisionError
    reader.table("raw").to_table()
    ids = {d.kind: d.id for d in reader.catalog.datasets()}
    steps = [(e.source, e.relation, e.target, e.depth) for e in reader.catalog.upstream(ids["clean"])]
    assert steps[0] == (ids["clean"], "wasGeneratedBy", run_of(reader, "derive"), 1)
    assert sorted(steps[1:3]) == sorted((run_of(reader, "derive"), "used", ids[k], 2) for k in ("raw", "other"))
    assert sorted(steps[3:]) == sorted((ids[k], "wasGeneratedBy", r, 3) for k, r in (("raw", raw), ("other", other)))
    assert len(reader.catalog.upstream(ids["clean"], depth=2)) == 3
    down = reader.catalog.downstream(raw)
    assert [e.source for e in down] == [ids["raw"], run_of(reader, "derive"), ids["clean"]]
    assert {e.asserted_by for e in down[1:]} == {run_of(reader, "derive")}
    assert [e.event_name for e in reader.events(derived=False)] == []


def run_of(registry: Registry, purpose: str) -> str:
    return registry.catalog.runs(purpose=purpose)[0].id


def test_lineage_goes_through_a_cycle_once(world: World) -> None:
    """A run may read what another one replaces from its own output, night after night."""
    registry = world.process()
    publish(registry, "state", 0)
    for _ in range(20):
        with registry.run("nightly") as run:
            registry.table("state").to_table()
            with run.dataset("state") as ds:
                ds.set_rows(0)
    newest = registry.latest("state")
    assert len(registry.catalog.upstream(newest.id, depth=1000)) == 41
    first = run_of(registry, "publish")
    with registry.catalog._database.writing() as connection:
        connection.execute("INSERT INTO edges VALUES (?, 'used', ?, '', 0, NULL)", (first, newest.id))
    assert len(registry.catalog.upstream(newest.id, depth=1000)) == 42


def test_what_is_read_after_the_decision_is_read_all_the_same(world: World) -> None:
    registry = world.process()
    publish(registry, "raw", 1)
    with pytest.raises(RunAborted), registry.run("late") as run:
        world.process().close_run(run.id, False)
        assert registry.table("raw").to_table().num_rows == 1
    assert [e.relation for e in registry.catalog.downstream(registry.latest("raw").id)] == []
