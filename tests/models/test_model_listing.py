"""Pages of models, versions and artifacts: orders, filters, what a run has staged, what was there at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from prefect_registry import Registry
from prefect_registry.clock import iso
from prefect_registry.errors import FormatError, InvalidInput
from prefect_registry.ids import random_token
from prefect_registry.ledger.staged import staged_cells
from prefect_registry.models.fields import NOUNS, known
from prefect_registry.models.listing import Listing
from prefect_registry.records.models import ModelArtifactValue, ModelVersionValue, RegisteredModelValue
from prefect_registry.records.types import MODEL, MODEL_ARTIFACT, MODEL_LINK, MODEL_VERSION
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.counting import CountingStorage

MODEL_ID = f"rm_{'0' * 26}_{'m' * 16}"
START = datetime(2026, 3, 1, tzinfo=UTC)


class World:
    """A registry in memory whose calls are counted, and what is written into it."""

    def __init__(self) -> None:
        self.counting = CountingStorage(MemoryStorage())
        self.registry = self.process()
        self.listing = Listing(self.registry.ledger, self.registry.catalog)
        self.written = 0

    def now(self, ahead: float = 0) -> datetime:
        """The time of the store, and so many seconds."""
        return self.registry.ledger.store.clock.now() + timedelta(seconds=ahead)

    def process(self) -> Registry:
        registry = Registry(ResolvingStorage(self.counting), heartbeats=False, use_cache=False)
        registry.ledger.store.know_time()
        return registry

    def put(self, type_: str, name: str, run_id: str | None = None, id: str | None = None, **values: Any) -> str:
        """Write a record; a new one without ``id``. Returns its id."""
        self.written += 1
        id = id or f"xx_{self.written:026d}_{random_token()}"
        moment = iso(START + timedelta(seconds=self.written))
        value = {"id": id, "name": name, "created_at": moment, "changed_at": moment, "state": "LIVE", **values}
        self.registry.ledger.cells.write(type_, id[-16:], value, run_id=run_id)
        return id

    def version(self, name: str, run_id: str | None = None, model: str = MODEL_ID, **values: Any) -> str:
        return self.put(MODEL_VERSION, name, run_id, model=model, model_name="digits", **values)

    def artifact(self, name: str, version: str | None, run_id: str | None = None, **values: Any) -> str:
        values = {"type": "model-artifact", **values}
        id_ = self.put(MODEL_ARTIFACT, name, run_id, version=version, **values)
        if version is not None:
            self.link(version, id_, run_id)
        return id_

    def link(self, version: str, artifact: str, run_id: str | None = None, deleted: bool = False) -> None:
        value = {"version": version, "artifact": artifact, "type": "model-artifact", "name": artifact}
        name, value = f"{version}@model-artifact:{artifact}", {} if deleted else value
        self.registry.ledger.cells.write(MODEL_LINK, name, value, run_id=run_id, deleted=deleted)

    def drop(self, type_: str, id_: str, run_id: str | None = None) -> None:
        self.registry.ledger.cells.write(type_, id_[-16:], {}, run_id=run_id, deleted=True)

    def names(self, kind: str = MODEL_VERSION, **asked: Any) -> list[str]:
        """The names on one page."""
        return [record.name for record in self.listing.page(kind, **asked)[0]]

    def pages(self, kind: str = MODEL_VERSION, **asked: Any) -> Iterator[list[str]]:
        """The names on each page."""
        token = None
        while True:
            found, token = self.listing.page(kind, token=token, **asked)
            yield [record.name for record in found]
            if token is None:
                return


@pytest.fixture
def world() -> World:
    return World()


# -- what is listed --------------------------------------------------------------------------------------------------


def test_records_are_those_of_the_cells(world: World) -> None:
    world.put(MODEL, "digits", id=MODEL_ID, owner="ada")
    version = world.version("v1", author="ada", properties={"a": 1, "b": True, "c": 0.5, "d": ""})
    world.artifact("weights", version, fields={"uri": "s3://b/k"})
    (model,), (found,), (artifact,) = (world.listing.page(kind)[0] for kind in NOUNS)
    assert isinstance(model, RegisteredModelValue)
    assert isinstance(found, ModelVersionValue)
    assert isinstance(artifact, ModelArtifactValue)
    assert (model.id, model.owner) == (MODEL_ID, "ada")
    assert found.properties == {"a": 1, "b": True, "c": 0.5, "d": ""}
    assert found.properties["b"] is True
    assert found.created_at == START + timedelta(seconds=2)
    assert (artifact.fields, artifact.version) == ({"uri": "s3://b/k"}, version)


def test_only_the_newest_generation_counts_and_deleted_ones_are_left_out(world: World) -> None:
    one, two = world.version("v1", properties={"n": 1}), world.version("v2")
    world.version("v1", id=one, properties={"n": 2})
    world.drop(MODEL_VERSION, two)
    assert world.names() == ["v1"]
    assert world.names(filter_query="properties.n = 1") == []
    assert world.names(filter_query="properties.n = 2") == ["v1"]


def test_versions_of_a_model_or_of_all(world: World) -> None:
    world.version("v1")
    world.version("v1 of another", model="rm_other")
    assert world.names(parent=MODEL_ID) == ["v1"]
    assert world.names() == ["v1", "v1 of another"]
    assert world.names(parent="rm_of_nobody") == []


def test_archived_ones_are_hidden_until_they_are_asked_for(world: World) -> None:
    """MR-35; by states, or by a filter that looks at the state. Artifacts in all states are shown."""
    for state in ("LIVE", "ARCHIVED"):
        world.put(MODEL, state, state=state)
        world.version(state, state=state)
        world.artifact(state, None, state="DELETED" if state == "ARCHIVED" else "PENDING")
    for kind in (MODEL, MODEL_VERSION):
        assert world.names(kind) == ["LIVE"]
        assert world.names(kind, states={"ARCHIVED"}) == ["ARCHIVED"]
        assert world.names(kind, states=["LIVE", "ARCHIVED"]) == ["LIVE", "ARCHIVED"]
        assert world.names(kind, states=()) == []
        assert world.names(kind, filter_query="state = 'ARCHIVED'") == ["ARCHIVED"]
        assert world.names(kind, filter_query="name LIKE '%'") == ["LIVE"]
    assert world.names(MODEL_ARTIFACT) == ["LIVE", "ARCHIVED"]
    assert world.names(MODEL_ARTIFACT, states={"PENDING"}) == ["LIVE"]


def test_artifacts_are_those_that_a_version_is_linked_with(world: World) -> None:
    """Also by a later link, and no more when the link is gone; another version may share them."""
    one, two = world.version("v1"), world.version("v2")
    weights, readme = world.artifact("weights", one), world.artifact("readme", None, type="doc-artifact")
    assert world.names(MODEL_ARTIFACT, parent=one) == ["weights"]
    world.link(one, readme)
    world.link(two, weights)
    assert world.names(MODEL_ARTIFACT, parent=one) == ["weights", "readme"]
    assert world.names(MODEL_ARTIFACT, parent=one, artifact_type="doc-artifact") == ["readme"]
    assert world.names(MODEL_ARTIFACT, artifact_type="doc-artifact") == ["readme"]
    assert world.names(MODEL_ARTIFACT, parent=two, filter_query="name = 'weights'") == ["weights"]
    world.link(one, weights, deleted=True)
    assert world.names(MODEL_ARTIFACT, parent=one) == ["readme"]
    assert world.names(MODEL_ARTIFACT, parent=one[:-1]) == []
    named_shortly = {"version": two, "artifact": readme, "type": "doc-artifact", "name": "readme"}
    world.registry.ledger.cells.write(MODEL_LINK, f"{two[-16:]}@doc-artifact:readme", named_shortly)
    assert world.names(MODEL_ARTIFACT, parent=two) == ["weights", "readme"]


# -- order and pages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NOUNS)
def test_every_field_orders_every_kind_both_ways_page_by_page(world: World, kind: str) -> None:
    """Ties go by id; what has no value comes last. Pages of two are the whole, cut."""
    for number, text in enumerate(["b", None, "a", "b", "é"]):
        extra = {"model": MODEL_ID, "model_name": "digits"} if kind == MODEL_VERSION else {}
        extra |= {"type": "metric", "fields": {"uri": text, "value": number % 2}} if kind == MODEL_ARTIFACT else {}
        properties = {"n": [2, 1.5, "x", True][number]} if number < 4 else {}
        world.put(kind, f"n{number}", description=text, owner=text, author=text, properties=properties, **extra)
    fields = [*known(kind).replace("properties.<key>", "properties.n").split(", "), "externalId", "CREATE_TIME", "ID"]
    for field in fields:
        for ascending in (True, False):
            whole = world.names(kind, order_by=field, ascending=ascending)
            assert sorted(whole) == ["n0", "n1", "n2", "n3", "n4"]
            cut = [name for page in world.pages(kind, order_by=field, ascending=ascending, limit=2) for name in page]
            assert cut == whole, field
    assert world.names(kind, order_by="description") == ["n2", "n0", "n3", "n4", "n1"]
    assert world.names(kind, order_by="description", ascending=False) == ["n4", "n3", "n0", "n2", "n1"]
    assert world.names(kind, order_by="properties.n", ascending=False)[-1] == "n4"
    assert world.names(kind, order_by="CREATE_TIME", ascending=False)[0] == "n4"


def test_pages_go_on_while_things_come_and_go(world: World) -> None:
    """Nothing that stays is left out or shown twice."""
    ids = [world.version(f"v{n:02}") for n in range(0, 20, 2)]
    pages = world.pages(order_by="name", limit=4)
    shown = next(pages)
    world.version("v01")  # before what was shown
    world.drop(MODEL_VERSION, ids[0])
    shown += next(pages)
    world.version("v17")  # behind it
    shown += [name for page in pages for name in page]
    assert shown == [f"v{n:02}" for n in range(0, 18, 2)] + ["v17", "v18"]


def test_a_token_belongs_to_its_query(world: World) -> None:
    for n in range(3):
        world.version(f"v{n}")
    asked: dict[str, Any] = {"limit": 1, "parent": MODEL_ID, "filter_query": "name != 'x'", "order_by": "name"}
    _, token = world.listing.page(MODEL_VERSION, **asked)
    assert world.names(**{**asked, "token": token, "limit": 2}) == ["v1", "v2"]
    for other in (
        {"filter_query": None}, {"parent": None}, {"order_by": "id"}, {"ascending": False}, {"states": ["ARCHIVED"]},
        {"as_of": START}, {"token": "nonsense"}, {"token": 7}, {"token": ""},
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match="next_page_token"):
            world.listing.page(MODEL_VERSION, **{**asked, "token": token, **other})


def test_filters_and_pages_together(world: World) -> None:
    """MR-36."""
    for n in range(25):
        world.version(f"v{n:02}", properties={"accuracy": n / 100, "even": n % 2 == 0})
    query = "properties.even = true AND properties.accuracy >= 0.04"
    pages = list(world.pages(filter_query=query, limit=4))
    assert list(map(len, pages)) == [4, 4, 3]
    assert [name for page in pages for name in page] == [f"v{n:02}" for n in range(4, 25, 2)]
    assert world.names(filter_query="name = 'nothing'") == []


# -- inside a run, and in the past -----------------------------------------------------------------------------------


def test_a_run_sees_what_it_has_staged_and_nobody_else_does(world: World) -> None:
    """New ones, changed ones, deleted ones and links, in order, filtered, paged; as it is published when it commits."""
    kept, changed, dropped = (world.version(name, properties={"n": 1}) for name in ("kept", "changed", "dropped"))
    weights = world.artifact("weights", changed)
    with world.registry.run("training") as run:
        world.version("new", run.id, properties={"n": 2})
        world.version("changed", run.id, id=changed, properties={"n": 2}, state="ARCHIVED")
        world.drop(MODEL_VERSION, dropped, run.id)
        world.link(kept, weights, run.id)
        world.link(changed, weights, run.id, deleted=True)
        readme = world.artifact("readme", kept, run.id)
        asked: list[tuple[dict[str, Any], list[str], list[str]]] = [
            ({}, ["kept", "new"], ["kept", "changed", "dropped"]),
            ({"filter_query": "properties.n = 2 AND state != ''"}, ["changed", "new"], []),
            ({"order_by": "name", "parent": MODEL_ID}, ["new", "kept"], ["kept", "dropped", "changed"]),
            ({"kind": MODEL_ARTIFACT, "parent": kept}, ["weights", "readme"], []),
            ({"kind": MODEL_ARTIFACT, "parent": changed}, [], ["weights"]),
            ({"kind": MODEL_ARTIFACT}, ["weights", "readme"], ["weights"]),
        ]  # fmt: skip
        for query, inside, outside in asked:
            assert sorted(world.names(**query, run_id=run.id)) == sorted(inside), query
            assert sorted(world.names(**query)) == sorted(outside), query
            cut = [name for page in world.pages(**query, run_id=run.id, limit=1) for name in page]
            assert cut == world.names(**query, run_id=run.id)
            assert world.names(**query, run_id=run.id, as_of=world.now()) == world.names(**query)
        with pytest.raises(InvalidInput, match="next_page_token"):
            _, token = world.listing.page(MODEL_VERSION, run_id=run.id, limit=1)
            world.listing.page(MODEL_VERSION, limit=1, token=token)
    for query, inside, _ in asked:
        assert sorted(world.names(**query)) == sorted(inside)
    assert readme


def test_a_run_sees_what_those_around_it_and_those_committed_in_it_have_staged(world: World) -> None:
    """Not what a run nested in it has staged and not decided, nor what one has dropped."""
    base = world.version("base", properties={"n": 0})
    with world.registry.run("outer") as outer:
        world.version("base", outer.id, id=base, properties={"n": 1})
        with world.registry.run("inner", parent=outer.id) as inner:
            world.version("inner", inner.id)
            assert sorted(world.names(run_id=inner.id)) == ["base", "inner"]
            assert world.names(run_id=inner.id, filter_query="properties.n = 1") == ["base"]
            assert world.names(run_id=outer.id) == ["base"]
        assert sorted(world.names(run_id=outer.id)) == ["base", "inner"]
        with pytest.raises(ZeroDivisionError), world.registry.run("failing", parent=outer.id) as failing:
            world.version("base", failing.id, id=base, properties={"n": 2})
            assert world.names(run_id=failing.id, filter_query="properties.n = 2") == ["base"]
            raise ZeroDivisionError
        assert world.names(run_id=outer.id, filter_query="properties.n = 1") == ["base"]
        assert world.names() == ["base"]


def test_staged_cells_are_the_newest_that_the_run_sees(world: World) -> None:
    """Also those that others have written since, once the run is decided."""
    assert staged_cells(world.registry.ledger, None, [MODEL]) == {}
    with world.registry.run("training") as run:
        id_ = world.put(MODEL, "digits", run.id)
        world.version("v1", run.id)
        world.put(MODEL, "digits 2", run.id, id=id_)
        ((found, generation),) = staged_cells(world.registry.ledger, run.id, [MODEL]).items()
        assert found == (MODEL, id_[-16:])
        assert generation is not None
        assert (generation.value["name"], generation.gen) == ("digits 2", 1)
    world.put(MODEL, "digits 3", id=id_)
    (after,) = staged_cells(world.registry.ledger, run.id, [MODEL]).values()
    assert after is not None
    assert after.value["name"] == "digits 3"


def test_what_was_there_at_a_time(world: World) -> None:
    id_ = world.version("before", properties={"n": 1})
    with world.registry.run("training") as run:
        world.version("in a run", run.id)
        before = world.now()
    world.version("before", id=id_, properties={"n": 2})
    assert world.names(as_of=before) == ["before"]
    assert world.names(as_of=before, filter_query="properties.n = 1") == ["before"]
    assert sorted(world.names(as_of=world.now(ahead=60))) == ["before", "in a run"]
    assert world.names(as_of=START) == []
    with pytest.raises(InvalidInput, match="time zone"):
        world.names(as_of=datetime(2026, 3, 1))


# -- what it costs, and what is wrong --------------------------------------------------------------------------------


def cost(world: World, call: Callable[[], object]) -> tuple[int, int]:
    """Requests, and round trips."""
    with world.counting.measure() as measure:
        call()
    return measure.total, measure.sequential


def test_a_page_is_one_look_at_the_store_or_none(world: World) -> None:
    version = world.version("v1")
    for n in range(30):
        world.artifact(f"a{n}", version)
    world.names()
    for kind in NOUNS:
        assert cost(world, lambda k=kind: world.names(k, filter_query="name LIKE 'a%'")) == (1, 1)  # type: ignore[misc]
        assert cost(world, lambda k=kind: world.names(k, max_age=60)) == (0, 0)  # type: ignore[misc]
        assert cost(world, lambda k=kind: world.names(k, fresh=False)) == (0, 0)  # type: ignore[misc]


def test_inside_a_run_a_page_costs_one_list_more_whatever_was_staged(world: World) -> None:
    """Another process reads each generation that was staged, all at once, and the run."""
    with world.registry.run("training") as run:
        for n in range(30):
            world.version(f"v{n}", run.id)
        world.names(run_id=run.id)
        assert cost(world, lambda: world.names(run_id=run.id)) == (2, 2)
        elsewhere = world.process()
        assert cost(world, lambda: staged_cells(elsewhere.ledger, run.id, [MODEL_VERSION])) == (32, 3)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"kind": "experiment"}, "one of model, model_version, model_artifact"),
        ({"limit": 0}, "from 1 to 10,000"),
        ({"limit": True}, "from 1 to 10,000"),
        ({"kind": MODEL, "parent": "x"}, "leave out parent"),
        ({"parent": 7}, "parent must be an id"),
        ({"parent": "\ud800"}, "parent must be an id"),
        ({"states": {"DELETED"}}, "some of ARCHIVED, LIVE"),
        ({"states": "LIVE"}, "some of ARCHIVED, LIVE"),
        ({"artifact_type": "metric"}, "left out for a model version"),
        ({"kind": MODEL_ARTIFACT, "artifact_type": "picture"}, "one of dataset-artifact, doc-artifact"),
        ({"order_by": "size"}, "a model version cannot be ordered by 'size'; it has id, name"),
        ({"order_by": "name; DROP TABLE cells"}, "cannot be ordered"),
        ({"order_by": None}, "the name of a field"),
        ({"filter_query": "name = "}, "found the end"),
        ({"max_age": -1}, "max_age must be seconds"),
    ],
)
def test_what_cannot_be_asked_is_refused(world: World, asked: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        world.names(**asked)
    assert says in str(caught.value)


def test_a_record_that_cannot_be_read_is_told(world: World) -> None:
    world.version("v1", properties="none")
    with pytest.raises(FormatError, match=r"a model version cannot be read.*properties"):
        world.names()
