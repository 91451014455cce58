"""Lineage of model runs in time: as of then, in every index, and against a graph that is kept by hand."""

from __future__ import annotations

import json
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from service_support import Things, chain, dataset, opened, things

from prefect_registry import Registry
from prefect_registry.capture import Capture
from prefect_registry.errors import MalformedId, NotFound
from prefect_registry.models.client import ModelRegistry
from prefect_registry.models.types import Metric
from prefect_registry.provenance.graph import Graph, Node
from prefect_registry.provenance.questions import by_kind
from prefect_registry.provenance.relations import ItemSubType
from prefect_registry.provenance.service import Provenance
from prefect_registry.provenance.standards.prov import from_prov_json, to_prov_json
from prefect_registry.storage.base import Storage
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.testing.counting import CountingStorage


class Clock:
    """Time passes when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def edges_of(registry: Registry) -> list[tuple[Any, ...]]:
    """Everything that the index says of lineage."""
    sql = "SELECT * FROM edges ORDER BY source, relation, target, asserted_by"
    return registry.catalog.ask(lambda c: [tuple(row) for row in c.execute(sql)])


def told(graph: Graph) -> set[tuple[str, str, str]]:
    return {(link.source, str(link.relation), link.target) for link in graph.links}


def is_sound(registry: Registry) -> bool:
    return not [f for f in registry.fsck().findings if f.severity != "note"]


def test_lineage_is_as_it_was_before_and_after_a_change() -> None:
    clock = Clock()
    registry = opened(MemoryStorage("as-of", clock=clock), clock=clock)
    provenance = Provenance(registry)
    known, a, b, c = things(provenance), dataset(registry), dataset(registry), dataset(registry)
    times = []

    def step() -> None:
        clock.seconds += 60
        times.append(clock.now())
        clock.seconds += 60

    step()
    run = str(provenance.register_model_run(known.record([a], [c])).session_id)
    step()
    provenance.update_model_run(run, "it was b", known.record([b], [c]))
    step()
    provenance.admin.delete_model_run_provenance(run)
    step()
    item = provenance.model_run_history(run)[1].item
    assert item is not None
    provenance.admin.store_record(item)
    step()

    def used(as_of: datetime | None) -> set[str]:
        graph = provenance.contributing_datasets(c, as_of=as_of)
        return {id_ for id_ in (a, b) if id_ in graph}

    # What is deleted and then lodged again counts as asserted all the time.
    assert [used(t) for t in times] == [set(), {a}, {b}, {b}, {b}]
    assert used(None) == {b}
    assert [run in provenance.downstream(a, as_of=t) for t in times] == [False, True, False, False, False]
    assert is_sound(registry)


def test_what_is_said_again_counts_as_said_all_the_time() -> None:
    """After A, B and A again, lineage as of the time of B has both, and the history of the model run has B alone."""
    clock = Clock()
    registry = opened(MemoryStorage("said-again", clock=clock), clock=clock)
    provenance = Provenance(registry)
    known, a, b, c = things(provenance), dataset(registry), dataset(registry), dataset(registry)
    run = str(provenance.register_model_run(known.record([a], [c])).session_id)
    clock.seconds += 60
    provenance.update_model_run(run, "it was b", known.record([b], [c]))
    clock.seconds += 60
    then = clock.now()
    assert {id_ for id_ in (a, b) if id_ in provenance.upstream(run, 1, as_of=then)} == {b}
    clock.seconds += 60
    provenance.update_model_run(run, "it was a", known.record([a], [c]))
    assert {id_ for id_ in (a, b) if id_ in provenance.upstream(run, 1)} == {a}
    assert {id_ for id_ in (a, b) if id_ in provenance.upstream(run, 1, as_of=then)} == {a, b}
    [told_then] = [each.item for each in provenance.model_run_history(run) if each.reason == "it was b"]
    assert told_then is not None
    assert [each.dataset_id for each in told_then.record.inputs] == [b]


@pytest.mark.parametrize("seed", range(4))
def test_every_index_says_the_same_and_what_records_say(seed: int) -> None:
    """Followed all along, built anew, from a checkpoint, lodged again: one lineage, which is that of the records."""
    clock, chance = Clock(), random.Random(seed)
    storage = MemoryStorage(f"random-{seed}", clock=clock)
    registry = opened(storage, clock=clock)
    provenance = Provenance(registry)
    known = things(provenance)
    data = [dataset(registry, f"d{i}") for i in range(6)]
    runs: dict[str, tuple[list[str], list[str]] | None] = {}
    for number in range(24):
        clock.seconds += 900
        _act(provenance, known, data, runs, chance)
        if chance.random() < 0.5:
            registry.catalog.refresh()
        if number == 12:
            assert registry.checkpoint().written
    registry.catalog.refresh()
    expected = edges_of(registry)
    standing = {tuple(row[:3]) for row in expected if row[5] is None}
    for run, record in runs.items():
        own = {row[:3] for row in expected if row[5] is None and row[3] == run}
        wanted = (
            {(run, "used", i) for i in record[0]} | {(o, "wasGeneratedBy", run) for o in record[1]} if record else set()
        )
        assert {e for e in own if e[0] in data or e[2] in data} >= wanted
        assert {e for e in own if run in (e[0], e[2]) and {e[0], e[2]} & set(data)} == wanted
    assert standing
    assert edges_of(opened(storage, clock=clock)) == expected
    assert registry.checkpoint(unsealed=True, full=True).written
    assert edges_of(opened(storage, clock=clock)) == expected
    assert is_sound(registry)
    assert provenance.admin.store_all_registry_records(validate_record=False).status.success
    assert edges_of(registry) == expected
    clock.seconds += 7_200
    dataset(registry)
    registry.catalog.refresh()
    registry.catalog.refresh()
    registry.checkpoint()
    later = edges_of(registry)
    assert edges_of(opened(storage, clock=clock)) == later
    assert is_sound(opened(storage, clock=clock))


def _act(
    provenance: Provenance,
    known: Things,
    data: list[str],
    runs: dict[str, tuple[list[str], list[str]] | None],
    chance: random.Random,
) -> None:
    inputs, outputs = chance.sample(data, chance.randint(1, 2)), chance.sample(data, chance.randint(1, 2))
    record = known.record(inputs, outputs)
    standing = [run for run, said in runs.items() if said]
    gone = [run for run, said in runs.items() if not said]
    what = chance.random()
    if not standing or what < 0.4:
        if what < 0.2:
            with provenance.registry.run("all"):
                ids = [provenance.register_model_run(record).session_id for _ in range(2)]
        else:
            ids = [provenance.register_model_run(record).session_id]
        runs |= {str(id_): (inputs, outputs) for id_ in ids}
    elif what < 0.75:
        run = chance.choice(standing)
        provenance.update_model_run(run, "why not", record)
        runs[run] = (inputs, outputs)
    elif what < 0.9 or not gone:
        run = chance.choice(standing)
        provenance.admin.delete_model_run_provenance(run)
        runs[run] = None
    else:
        run = chance.choice(gone)
        item = provenance.model_run_history(run)[0].item
        assert item is not None
        provenance.admin.store_record(item)
        runs[run] = ([d.dataset_id for d in item.record.inputs], [d.dataset_id for d in item.record.outputs])


@pytest.mark.parametrize("seed", range(3))
def test_exploring_agrees_with_networkx(seed: int) -> None:
    """On random records: the nodes within a depth, and whole closures."""
    nx = pytest.importorskip("networkx")
    chance = random.Random(seed)
    provenance = Provenance(opened())
    known = things(provenance)
    data = [dataset(provenance.registry) for _ in range(8)]
    for _ in range(12):
        provenance.register_model_run(known.record(chance.sample(data, 2), chance.sample(data, 1)))
    whole = nx.DiGraph([row[:3:2] for row in edges_of(provenance.registry)])
    for start in (*data, known.person, known.template):
        for depth in (1, 2, 3, 100):
            up = nx.single_source_shortest_path_length(whole, start, depth)
            down = nx.single_source_shortest_path_length(whole.reverse(), start, depth)
            assert provenance.upstream(start, depth).by_id.keys() == set(up)
            assert provenance.downstream(start, depth).by_id.keys() == set(down)
            graph = nx.node_link_graph(provenance.explore_upstream(start, depth).graph, edges="links")
            assert set(graph.nodes) == set(up)


def test_several_asserters_are_one_link_and_one_edge_each(storage: Storage) -> None:
    provenance = Provenance(opened(storage))
    known, raw = things(provenance), dataset(provenance.registry)
    runs = {provenance.register_model_run(known.record([raw], [raw])).session_id for _ in range(3)}
    edges = provenance.registry.catalog.upstream(known.template, depth=1)
    assert len(edges) == 9
    assert {edge.asserted_by for edge in edges} == runs
    (link,) = [link for link in provenance.upstream(known.template, 1).links if link.target == known.made]
    assert link.record_ids == runs
    graph = provenance.upstream(raw)
    assert graph.node(known.template).record_ids == runs


@pytest.fixture
def storage() -> Storage:
    return MemoryStorage("asserters")


def test_questions_are_answered() -> None:
    """What breaks, where it is from, what has changed, how to do it again."""
    registry = opened()
    provenance = Provenance(registry)
    ds, runs, known = chain(provenance, 2)
    with registry.run("train", config={"rate": 1, "deep": {"er": 2}}) as train:
        registry.get_dataset(ds[2]).to_table()
        registry.save("model", [1])
    registry.set_alias("model", "champion", "1")
    registry.ledger.cells.write("job", "weather/1", {"run": train.id})
    registry.ledger.cells.write("job", "rain/1", {"run": "run_other"})
    found = provenance.what_breaks(ds[0])
    assert found.publications == ("weather",)
    assert set(found.runs) == {*runs, train.id}
    assert set(found.datasets) == {ds[1], ds[2], "model@1"}
    assert found.aliases == ("model@champion",)
    assert set(found.agents) == {known.person, known.organisation}

    (path,) = provenance.where_from("model@1").paths
    maker = registry.get_dataset(ds[0]).run_id
    assert path == ("model@1", train.id, ds[2], runs[1], ds[1], runs[0], ds[0], maker)
    assert provenance.where_from(ds[0]).sources == (ds[0],)

    with registry.run("train", config={"rate": 2, "deep": {"er": 2}}) as again:
        registry.get_dataset(ds[1]).to_table()
    changed = provenance.what_changed(train.id, again.id)
    assert changed.parameters == {"rate": (1, 2)}
    assert changed.inputs == {"d1": (None, ds[1]), "d2": (ds[2], None)}
    assert not provenance.what_changed(again.id, again.id).parameters
    recipe = provenance.reproduce(train.id)
    assert recipe.inputs == {ds[2]: True}
    assert recipe.parameters == {"rate": 1, "deep": {"er": 2}}
    registry.revert(str(registry.get_dataset(ds[2]).run_id))
    recipe = provenance.reproduce(train.id)
    assert recipe.inputs == {ds[2]: False}
    assert not recipe.possible
    assert any(ds[2] in what for what in recipe.missing)


def test_what_is_asked_of_runs_says_what_it_was_given_instead_of_one() -> None:
    """Which kind of id it wants, and which it got."""
    registry = opened()
    provenance = Provenance(registry)
    known, raw = things(provenance), dataset(registry)
    registry.save("model", 1)
    with registry.run("p") as run:
        pass
    for id_, noun in ((raw, "a dataset"), (known.person, "a person"), ("model@1", "a version of an object")):
        for ask in (provenance.reproduce, lambda id_: provenance.what_changed(run.id, id_)):
            with pytest.raises(MalformedId, match=f"is not the id of a run, but of {noun}. A run id is 'run_'"):
                ask(id_)
    with pytest.raises(MalformedId, match=r"'x' is not the id of a run\. "):
        provenance.what_changed("x", run.id)


def test_what_is_gone_breaks_no_more() -> None:
    """Deleted and reverted things are left out, and in the graph they are what they were, with the state DELETED."""
    registry = opened()
    provenance, models = Provenance(registry), ModelRegistry(registry, author="me")
    raw = dataset(registry)
    with registry.run("train") as train:
        registry.get_dataset(raw).to_table()
        registry.save("note", 1, version="1")
        models.register_model("HAL", model=[1], version="1", artifacts=[Metric("accuracy", value=1.0)])
    before = provenance.what_breaks(raw)
    version = models.get_model_version("HAL", "1")
    assert version is not None
    assert {"note@1", "models/HAL/1@1"} < set(before.datasets)
    assert version.id in before.models
    registry.delete("note", "1")
    assert "note@1" not in provenance.what_breaks(raw).datasets
    registry.revert(train.id)
    after = provenance.what_breaks(raw)
    assert (after.runs, after.datasets, after.models) == ((train.id,), (), ())
    for id_ in (*before.datasets, *before.models):
        was, now = before.graph.node(id_), after.graph.node(id_)
        assert (now.subtype, now.label, now.attributes["state"]) == (was.subtype, was.label, "DELETED")
    with pytest.raises(NotFound):
        provenance.upstream("note@2")


def test_what_breaks_as_of_then_tells_all_as_it_was_then() -> None:
    """States, names, aliases and publications of then; not what was reverted, moved or deleted since."""
    clock = Clock()
    registry = opened(MemoryStorage("breaks-as-of", clock=clock), clock=clock, version_objects=True)
    provenance, models = Provenance(registry), ModelRegistry(registry, author="me")
    raw = dataset(registry)
    clock.seconds += 60
    with registry.run("fit") as fit:
        registry.get_dataset(raw).to_table()
        with fit.dataset("fitted", mode="append") as fitted:
            fitted.write_table(pa.table({"n": [1]}))
        registry.save("note", 1, version="1")
        models.register_model("HAL", model=[1], version="1", aliases=["champion"])
    registry.set_alias("note", "best", "1")
    registry.ledger.cells.write("job", "weather/1", {"run": fit.id})
    clock.seconds += 60
    then = clock.now()
    was = provenance.what_breaks(raw)
    assert (set(was.aliases), was.publications) == ({"note@best", "HAL@champion"}, ("weather",))
    assert {fitted.id, "note@1", "models/HAL/1@1"} == set(was.datasets)
    clock.seconds += 60
    registry.save("note", 2, version="2")
    registry.set_alias("note", "best", "2")
    registry.ledger.cells.write("job", "weather/1", {}, deleted=True)
    registry.revert(fit.id)
    now, past = provenance.what_breaks(raw), provenance.what_breaks(raw, as_of=then)
    assert (now.datasets, now.models, now.aliases, now.publications) == ((), (), (), ())
    assert past == was
    assert past.graph.by_id == was.graph.by_id
    assert past.graph.node(fitted.id).attributes["state"] == "READY"
    earlier = provenance.what_breaks(raw, as_of=then - timedelta(seconds=90))
    assert (earlier.runs, earlier.datasets, earlier.aliases) == ((), (), ())


def test_where_from_goes_back_to_the_run_that_made_a_source() -> None:
    """That run read nothing through the registry, and its code is where numbers began; the source stays the data."""
    registry = opened()
    provenance = Provenance(registry)
    raw = dataset(registry)
    with registry.run("mean") as mean:
        registry.get_dataset(raw).to_table()
        registry.save("mean", 2)
    maker = registry.get_dataset(raw).run_id
    origin = provenance.where_from("mean@1")
    assert origin.sources == (raw,)
    assert origin.paths == (("mean@1", mean.id, raw, maker),)
    assert (raw, "wasGeneratedBy", maker) in told(origin.graph)
    assert all(id_ in origin.graph for id_ in origin.paths[0])
    # Within a depth: two links lead to the data, and the third to the run that made it.
    assert provenance.where_from("mean@1", 2).paths == (("mean@1", mean.id, raw),)
    # Of a run and of what it alone has made there is no data before.
    assert provenance.where_from(raw).paths == ((raw, maker),)
    assert provenance.where_from(str(maker)).sources == (maker,)


@pytest.mark.parametrize("name", ["mean", "mean@latest", "mean@best"])
def test_asking_of_a_name_or_an_alias_tells_which_version_it_means(name: str) -> None:
    """Lineage is of versions: what an alias means tomorrow is another one."""
    registry = opened()
    with registry.run("mean"):
        registry.save("mean", 2)
    registry.set_alias("mean", "best", "1")
    with pytest.raises(NotFound, match="ask for 'mean@1'"):
        Provenance(registry).where_from(name)


def test_activities_have_the_times_that_prov_knows() -> None:
    """Of a workflow run when it was begun and decided, of a model run what its record says."""
    registry = opened()
    provenance = Provenance(registry)
    known, raw, made = things(provenance), dataset(registry), dataset(registry)
    run = str(provenance.register_model_run(known.record([raw], [made])).session_id)
    graph = provenance.upstream(made)
    assert graph.node(run).attributes["start_time"] == "2013-12-02T16:00:00.000000+00:00"
    activities = json.loads(to_prov_json(graph))["activity"]
    runs = [told for name, told in activities.items() if name.startswith("item:run_")]
    assert len(runs) == 3
    assert all(told["prov:startTime"] <= told["prov:endTime"] for told in runs)
    assert all(not name.endswith("_time") for told in runs for name in told)
    assert from_prov_json(to_prov_json(graph)) == graph


def test_questions_about_a_run_that_failed() -> None:
    """It has no lineage; what it had read and how it was begun is told all the same."""
    registry = opened()
    provenance = Provenance(registry)
    raw = dataset(registry)
    with registry.run("train", config={"rate": 1}) as good:
        registry.get_dataset(raw).to_table()
    newer = dataset(registry)
    with pytest.raises(ValueError, match="in vain"), registry.run("train", config={"rate": 2}) as bad:
        registry.get_dataset(newer).to_table()
        raise ValueError("in vain")
    changed = provenance.what_changed(good.id, bad.id)
    assert changed.inputs == {"reefs": (raw, newer)}
    assert changed.parameters == {"rate": (1, 2)}
    assert provenance.reproduce(bad.id).inputs == {newer: True}


@pytest.mark.parametrize(("one", "other", "told"), [
    (None, False, {}), (True, None, {}), (None, None, {}), (False, True, {"dirty": (False, True)}),
])  # fmt: skip
def test_what_git_did_not_tell_in_time_is_no_difference(
    one: bool | None, other: bool | None, told: dict[str, Any]
) -> None:
    registry = opened()
    code = {"commit": "a" * 40}
    runs = [registry.insert_run("r", capture=Capture(code={**code, "dirty": dirty})) for dirty in (one, other)]
    assert Provenance(registry).what_changed(*runs).code == told


def test_code_and_packages_of_two_runs_are_compared() -> None:
    """What only one of them has, or in another version; what is the same is not told."""
    registry = opened()
    runs = []
    for commit, packages in (("a" * 40, {"numpy": "1.0", "pandas": "2"}), ("b" * 40, {"numpy": "2.0", "pandas": "2"})):
        capture = Capture(
            code={"commit": commit, "entrypoint": "f.py:f"}, environment={"python": "3.11", "packages": packages}
        )
        runs.append(registry.insert_run("fit", config={"deep": {"rate": 1}}, capture=capture))
        registry.close_run(runs[-1], True)
    changed = Provenance(registry).what_changed(*runs)
    assert changed.code == {"commit": ("a" * 40, "b" * 40)}
    assert changed.packages == {"numpy": ("1.0", "2.0")}
    assert {} == changed.parameters == changed.environment == changed.inputs
    assert Provenance(registry).reproduce(runs[0]).possible


def test_a_version_that_was_overwritten_is_another_input() -> None:
    """Of a registry where that is allowed: the id is the same, and what was read is not there any more."""
    registry = opened(mutable=True, version_objects=True)
    provenance = Provenance(registry)
    registry.save("rate", 1, version="1")
    registry.save("rate", 1, version="1", on_conflict="overwrite")
    runs = []
    for rate in (2, 3):
        with registry.run("fit") as run:
            registry.load("rate@1")
        runs.append(run.id)
        assert provenance.reproduce(run.id).inputs == {"rate@1": True}
        if rate == 2:
            assert not provenance.what_changed(runs[0], run.id).inputs
        registry.save("rate", rate, version="1", on_conflict="overwrite")
    recipe = provenance.reproduce(runs[0])
    assert recipe.inputs == {"rate@1": False}
    assert "input rate@1 was overwritten after the run had begun" in recipe.missing
    changed = provenance.what_changed(*runs).inputs["rate"]
    assert all(told.startswith("rate@1 (sha256 ") for told in changed)
    assert changed[0] != changed[1]
    # Deleted and restored, it holds what it held.
    with registry.run("fit") as run:
        registry.load("rate@1")
    registry.delete("rate", "1")
    assert provenance.reproduce(run.id).inputs == {"rate@1": False}
    registry.restore("rate", "1")
    assert provenance.reproduce(run.id).inputs == {"rate@1": True}


def test_inputs_are_looked_for_at_the_same_time() -> None:
    """A recipe of many inputs takes as many round trips as one of few, whether they are there or not."""
    steps = {}
    for inputs in (2, 12):
        storage = CountingStorage(MemoryStorage(f"recipes-{inputs}"))
        registry = opened(storage)
        ids = [dataset(registry, f"kind-{n}") for n in range(inputs)]
        with registry.run("reads") as run:
            for id_ in ids:
                registry.get_dataset(id_).to_table()
        registry.revert(str(registry.get_dataset(ids[0]).run_id))
        provenance = Provenance(opened(storage))
        provenance.upstream(run.id)
        with storage.measure() as measured:
            recipe = provenance.reproduce(run.id)
        assert recipe.inputs == {id_: id_ != ids[0] for id_ in ids}
        steps[inputs] = measured.sequential
    assert steps[2] == steps[12]


def test_naming_inputs_takes_time_in_proportion_to_how_many_there_are() -> None:
    """Ten times as many take about ten times as long, and not a hundred times."""

    def seconds(count: int) -> float:
        nodes = [Node.of(f"ds_{n}", ItemSubType.DATASET, "", {"kind": f"kind_{n // 2}"}) for n in range(count)]
        nodes.append(Node.of("model@1", ItemSubType.DATASET))
        begun = time.process_time()
        found = by_kind(nodes)
        taken = time.process_time() - begun
        assert len(found) == count + 1
        assert (found["model"], found["ds_0"]) == ("model@1", "ds_0")
        return taken

    assert min(seconds(10_000) for _ in range(3)) < 40 * min(seconds(1_000) for _ in range(5))


def test_what_git_told_late_counts() -> None:
    """Whether there were changes often travels with the decision: a recipe tells it."""
    registry = opened()
    code = {"commit": "a" * 40, "dirty": None}
    run_id = registry.insert_run("quick", capture=Capture(code=code, late=lambda: {"dirty": True}))
    registry.close_run(run_id, True)
    recipe = Provenance(registry).reproduce(run_id)
    assert recipe.code["dirty"] is True
    assert "the code had changes that were not committed" in recipe.missing
