"""Model runs: registered, changed, deleted; and what lineage says of them then (reference system 2)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from service_support import chain, dataset, opened, person, things

from prefect_registry import Registry
from prefect_registry.errors import Conflict, InvalidInput, NotFound, RunAborted
from prefect_registry.ledger import observers
from prefect_registry.ledger.dropping import Staged, drop
from prefect_registry.provenance.graph import Graph
from prefect_registry.provenance.records import JobStatus, Model, SeedItem
from prefect_registry.provenance.relations import ItemSubType
from prefect_registry.provenance.service import Provenance
from prefect_registry.records.cells import CellGeneration
from prefect_registry.records.types import MODEL_RUN

T = TypeVar("T")


@pytest.fixture
def registry() -> Registry:
    return opened()


@pytest.fixture
def provenance(registry: Registry) -> Provenance:
    return Provenance(registry, by="ada")


def told(graph: Graph) -> set[tuple[str, str, str]]:
    return {(link.source, str(link.relation), link.target) for link in graph.links}


def is_sound(registry: Registry) -> bool:
    return not [f for f in registry.fsck().findings if f.severity != "note"]


def test_pv_13_a_run_asserts_exactly_the_documented_edges(registry: Registry, provenance: Provenance) -> None:
    known = things(provenance)
    taken, made = dataset(registry), dataset(registry, "corals")
    run = str(provenance.register_model_run(known.record([taken], [made])).session_id)
    rows = registry.catalog.upstream(run, depth=3)
    assert {tuple(e[:3]) for e in rows if e.asserted_by == run} | {
        tuple(e[:3]) for e in registry.catalog.upstream(made, depth=3) if e.asserted_by == run
    } == {
        (run, "wasInformedBy", known.study),
        (run, "used", taken),
        (made, "wasGeneratedBy", run),
        (run, "used", known.model),
        (run, "used", known.template),
        (run, "wasAssociatedWith", known.person),
        (run, "wasAssociatedWith", known.organisation),
        (made, "wasAttributedTo", known.person),
        (known.template, "hadMember", known.taken),
        (known.template, "hadMember", known.made),
        (taken, "wasInfluencedBy", known.taken),
        (made, "wasInfluencedBy", known.made),
        (known.template, "hadMember", known.model),
    }
    assert is_sound(registry)


def test_pv_14_a_run_is_informed_by_its_study(registry: Registry, provenance: Provenance) -> None:
    known = things(provenance)
    run = str(provenance.register_model_run(known.record([dataset(registry)], [dataset(registry)])).session_id)
    found = provenance.explore_upstream(run, depth=1)
    assert found.status.success
    assert found.graph is not None
    assert {"source": run, "target": known.study, "type": "wasInformedBy", "types": ["wasInformedBy"]}.items() <= next(
        link for link in found.graph["links"] if link["target"] == known.study
    ).items()
    assert found.record_count == len(found.graph["nodes"]) == 7
    assert found.graph["nodes"][0]["id"] == run
    assert {node["item_subtype"] for node in found.graph["nodes"]} >= {"MODEL_RUN", "STUDY", "DATASET", "MODEL"}


def test_pv_15_chains_are_walked_as_the_reference_counts(provenance: Provenance) -> None:
    ds, runs, _ = chain(provenance, 3, own_agents=True)
    assert provenance.get_contributing_datasets(ds[1], depth=3).record_count == 3
    assert provenance.get_contributing_datasets(ds[3], depth=6).record_count == 7
    assert provenance.get_effected_datasets(ds[0], depth=2).record_count == 3
    assert provenance.get_affected_datasets(ds[0], depth=2).record_count == 3
    assert provenance.get_contributing_agents(ds[1], depth=2).record_count == 4
    assert provenance.get_contributing_agents(ds[3], depth=6).record_count == 12
    assert provenance.get_effected_agents(ds[0], depth=2).record_count == 5
    assert provenance.get_affected_agents(ds[0], depth=2).record_count == 5
    graph = provenance.contributing_datasets(ds[3], depth=6)
    assert {node.id for node in graph.nodes} == {*ds, *runs}


@pytest.mark.parametrize("trial", [{"trial_mode": True}, {"dry_run": True}])
def test_pv_22_deleting_provenance_can_be_rehearsed(
    registry: Registry, provenance: Provenance, trial: dict[str, bool]
) -> None:
    ds, runs, known = chain(provenance, 2)
    before = registry.catalog.ask(lambda c: [tuple(row) for row in c.execute("SELECT * FROM edges")])
    rehearsed = provenance.admin.delete_model_run_provenance(runs[0], **trial)
    assert rehearsed.diff
    assert registry.catalog.ask(lambda c: [tuple(row) for row in c.execute("SELECT * FROM edges")]) == before
    done = provenance.admin.delete_model_run_provenance(runs[0])
    assert done == rehearsed
    actions = {action["action_type"] for action in done.diff}
    assert actions >= {"REMOVE_LINK", "REMOVE_NODE", "REMOVE_RECORD_ID_FROM_NODE", "REMOVE_RECORD_ID_FROM_LINK"}
    assert {a["node_id"] for a in done.diff if a["action_type"] == "REMOVE_NODE"} == {runs[0]}

    assert provenance.downstream(ds[0]).by_id.keys() == {ds[0]}
    assert known.template in provenance.upstream(runs[1])
    assert runs[0] not in provenance.upstream(ds[1])
    assert [n.id for n in provenance.upstream(runs[0]).nodes] == [runs[0]]
    with pytest.raises(NotFound):
        provenance.admin.delete_model_run_provenance(runs[0])
    with pytest.raises(NotFound):
        provenance.get_model_run(runs[0])
    assert registry.get_dataset(ds[1]).state == "READY"
    assert is_sound(registry)

    item = provenance.model_run_history(runs[0])[0].item
    assert item is not None
    assert provenance.admin.store_record(item).status.success
    assert runs[0] in provenance.upstream(ds[1])
    assert provenance.admin.store_record(item).status.details.startswith("0 of 1")
    assert is_sound(registry)


def test_what_the_registry_saw_ends_with_the_provenance_and_not_with_a_change(
    registry: Registry, provenance: Provenance
) -> None:
    """A run that is a model run itself: what it read and made stands, whatever its record says."""
    known, raw = things(provenance), dataset(registry, "raw")
    with registry.run("grow") as run:
        registry.get_dataset(raw).to_table()
        with run.dataset("corals") as ds:
            ds.set_rows(0)
        assert provenance.register_model_run(known.record([raw], [ds.id]), run_id=run.id).session_id == run.id
        assert provenance.get_model_run(run.id, run_id=run.id).record_status == "COMPLETE"
        assert provenance.get_session(run.id).status is JobStatus.IN_PROGRESS
        with pytest.raises(NotFound):
            elsewhere(lambda: provenance.get_model_run(run.id))
    assert provenance.get_model_run(run.id).record_status == "LODGED"
    assert provenance.get_session(run.id).status is JobStatus.SUCCEEDED
    assert provenance.upstream(ds.id).node(run.id).subtype is ItemSubType.MODEL_RUN

    other = dataset(registry, "other")
    provenance.update_model_run(run.id, "it was another one", known.record([other], [other]))
    assert told(provenance.contributing_datasets(ds.id)) == {
        (ds.id, "wasGeneratedBy", run.id),
        (run.id, "used", raw),
        (run.id, "used", other),
        (other, "wasGeneratedBy", run.id),
    } | {e for e in told(provenance.contributing_datasets(ds.id)) if e[0] == other}
    assert (ds.id, "wasAttributedTo", known.person) not in told(provenance.upstream(ds.id))
    assert is_sound(registry)
    provenance.admin.delete_model_run_provenance(run.id)
    assert told(provenance.upstream(ds.id)) == set()
    assert is_sound(registry)


def test_pv_26_depth_is_1_to_100(provenance: Provenance) -> None:
    ds, _, _ = chain(provenance, 1)
    for ask in (
        provenance.explore_upstream, provenance.explore_downstream, provenance.get_contributing_datasets,
        provenance.get_effected_datasets, provenance.get_contributing_agents, provenance.get_effected_agents,
    ):  # fmt: skip
        for depth in (0, -1, 101, 2.0, True, None):
            with pytest.raises(InvalidInput):
                ask(ds[0], depth)  # type: ignore[arg-type]
        assert ask(ds[0], 100).record_count == ask(ds[0]).record_count


def test_pv_27_the_start_is_part_of_the_answer_and_must_be_known(registry: Registry, provenance: Provenance) -> None:
    alone = provenance.register_item(person()).id
    for ask in (provenance.upstream, provenance.downstream, provenance.contributing_agents, provenance.affected_agents):
        assert [node.id for node in ask(alone).nodes] == [alone]
        for unknown in ("nobody", "run_01h00000000000000000000000", "x@1", "ds_1", ""):
            with pytest.raises((NotFound, InvalidInput)):
                ask(unknown)
    with registry.run("w") as run:
        pass
    (node,) = provenance.upstream(run.id).nodes
    assert (node.subtype, node.label) == (ItemSubType.WORKFLOW_RUN, "w")


def test_pv_31_a_change_needs_a_reason_and_the_old_record_stays(registry: Registry, provenance: Provenance) -> None:
    ds, (run,), known = chain(provenance, 1)
    new = known.record([ds[0]], [ds[0]], study_id=None)
    for reason in ("", "  ", None, "x" * 1_001):
        with pytest.raises(InvalidInput, match="reason"):
            provenance.update_model_run(run, reason, new)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput) as caught:
        provenance.update_model_run(run, "", known.record([ds[0]], ["ds_no"]))
    assert len(caught.value.problems) == 2
    assert len(provenance.model_run_history(run)) == 1
    before = registry.catalog.runs(limit=1)
    assert before
    for number in range(3):
        record = known.record([ds[0]], [ds[1]], display_name=f"take {number}", study_id=None)
        assert provenance.post_update_model_run(run, f"because {number}", record).session_id == run
    history = provenance.model_run_history(run)
    assert [entry.id for entry in history] == [0, 1, 2, 3]
    assert [entry.reason for entry in history] == [None, "because 0", "because 1", "because 2"]
    assert [entry.item.display_name for entry in history if entry.item] == [
        "grow corals", "take 0", "take 1", "take 2",
    ]  # fmt: skip
    assert {entry.username for entry in history} == {"ada"}
    assert ds[1] in provenance.downstream(ds[0])
    provenance.update_model_run(run, "wrong output", new)
    assert told(provenance.affected_datasets(ds[0])) == {(ds[0], "wasGeneratedBy", run), (run, "used", ds[0])}
    with pytest.raises(NotFound):
        provenance.update_model_run("run_01h00000000000000000000000", "why", new)
    assert is_sound(registry)


def test_everything_wrong_with_a_record_is_told_at_once_and_nothing_is_written(
    registry: Registry, provenance: Provenance
) -> None:
    known = things(provenance, annotations=["scenario"], resource="map")
    seed = provenance.register_seed_item("STUDY")
    assert isinstance(seed, SeedItem)
    keys = [info.key for info in registry.storage.list("")]
    record = known.record(["ds_no", "no@1"], [known.study], study_id=seed.id,
                          associations={"modeller_id": known.organisation})  # fmt: skip
    with pytest.raises(InvalidInput) as caught:
        provenance.register_model_run(record)
    problems = "\n".join(caught.value.problems)
    for what in ("ds_no", "no@1", known.study, "seed", "map", "scenario", "Modeller"):
        assert what in problems
    assert [info.key for info in registry.storage.list("")] == keys


def test_what_a_record_says_of_itself_is_told_with_everything_else_and_in_order(provenance: Provenance) -> None:
    """Blank texts and an end before the start keep nobody from learning what else is wrong, however it is given."""
    known = things(provenance, annotations=["scenario"])
    values = {"display_name": "", "description": " ", "start_time": 5, "end_time": 4, "study_id": "no"}
    given = {**known.record([], []).model_dump(), **values, "associations": {"modeller_id": "nobody"}}
    wanted = ("end_time: The end", "display_name: Display", "description: Desc", "study_id: ", "inputs: ", "outputs: ",
              "associations.modeller_id: ", "annotations: Missing")  # fmt: skip
    with pytest.raises(InvalidInput) as caught:
        provenance.register_model_run(given)
    assert len(caught.value.problems) == len(wanted)
    assert all(told.startswith(start) for told, start in zip(caught.value.problems, wanted, strict=True))
    with pytest.raises(InvalidInput) as caught:
        provenance.update_model_run("run_no", "", given)
    assert [told.partition(":")[0] for told in caught.value.problems][:3] == ["reason", "end_time", "display_name"]
    (refused,) = provenance.batch_results(str(provenance.register_batch_model_runs({"records": [given]}).session_id))
    assert str(refused.error).startswith("end_time: The end")
    assert str(refused.error).endswith("keys: (scenario).")
    with pytest.raises(InvalidInput, match=r"end_time: Input should be") as caught:
        provenance.register_model_run({**given, "end_time": "late"})
    assert len(caught.value.problems) == 3


def test_a_surrounding_run_becomes_a_model_run_once_and_further_ones_are_nested(
    registry: Registry, provenance: Provenance
) -> None:
    known, raw = things(provenance), dataset(registry)
    with registry.run("all") as run:
        first = provenance.register_model_run(known.record([raw], [raw])).session_id
        second = str(provenance.register_model_run(known.record([raw], [raw])).session_id)
        batch = str(provenance.register_batch_model_runs({"records": [known.record([raw], [raw])]}).session_id)
        assert first == run.id != second
        assert provenance.get_session(batch).status is JobStatus.IN_PROGRESS
        assert elsewhere(lambda: list(provenance.model_runs())) == []
    (third,) = provenance.batch_results(batch)
    assert registry.ledger.runs.known(second).parent == run.id
    assert {m.id for m in provenance.model_runs()} == {first, second, third.model_run_id}
    assert {m.id for m in provenance.model_runs(batch_id=batch)} == {third.model_run_id}
    assert provenance.get_session(batch).status is JobStatus.SUCCEEDED
    assert is_sound(registry)


def elsewhere(call: Callable[[], T]) -> T:
    """In a thread that no run surrounds."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def test_what_is_staged_in_a_run_goes_with_it(registry: Registry, provenance: Provenance) -> None:
    known, raw = things(provenance), dataset(registry)
    found: list[str] = []
    with pytest.raises(RuntimeError), registry.run("fails"):
        item = provenance.register_item(person("Bob"))
        record = known.record([raw], [raw], associations={"modeller_id": item.id})
        found += [str(provenance.register_model_run(record).session_id) for _ in range(2)]
        found.append(str(provenance.register_batch_model_runs({"records": [record]}).session_id))
        raise RuntimeError
    with pytest.raises(NotFound):
        provenance.get_item(item.id)
    for run in found[:2]:
        assert provenance.get_session(run).status is JobStatus.FAILED
        with pytest.raises(NotFound):
            provenance.get_model_run(run)
    with pytest.raises(NotFound):
        provenance.get_session(found[2])
    with pytest.raises(RunAborted):
        provenance.register_model_run(known.record([raw], [raw]), run_id=found[0])
    assert [node.id for node in provenance.downstream(raw).nodes] == [raw]
    assert is_sound(registry)


def test_many_threads_register_at_once(registry: Registry, provenance: Provenance) -> None:
    """In one surrounding run: one of them is that run, the others are nested, and none is lost."""
    known, raw = things(provenance), dataset(registry)
    with ThreadPoolExecutor(8) as pool:
        alone = list(pool.map(lambda _: provenance.register_model_run(known.record([raw], [raw])), range(8)))
        with registry.run("all") as run:
            inside = list(
                pool.map(lambda _: provenance.register_model_run(known.record([raw], [raw]), run_id=run.id), range(8))
            )
    ids = {answer.session_id for answer in (*alone, *inside)}
    assert len(ids) == 16
    assert run.id in ids
    assert ids <= provenance.downstream(raw).by_id.keys()
    assert is_sound(registry)


def test_two_who_change_a_run_at_once_do_not_overwrite_each_other(provenance: Provenance) -> None:
    ds, (run,), known = chain(provenance, 1)

    def change(number: int) -> bool:
        record = known.record([ds[0]], [ds[1]], display_name=f"{number}")
        try:
            return bool(provenance.update_model_run(run, "why", record))
        except Conflict:
            return False

    with ThreadPoolExecutor(8) as pool:
        done = sum(pool.map(change, range(8)))
    assert len(provenance.model_run_history(run)) == 1 + done
    assert done >= 1


def test_deleting_a_run_from_the_registry_unpublishes_what_it_made(registry: Registry, provenance: Provenance) -> None:
    known, raw = things(provenance), dataset(registry, "raw")
    with registry.run("grow") as run:
        with run.dataset("corals") as ds:
            ds.set_rows(0)
        provenance.register_model_run(known.record([raw], [ds.id]))
    provenance.update_model_run(run.id, "told better", known.record([raw], [ds.id], display_name="better"))
    rehearsed = provenance.admin.delete_model_run_provenance_and_registry(run.id, trial_mode=True)
    assert registry.get_dataset(ds.id).state == "READY"
    assert provenance.admin.delete_model_run_provenance_and_registry(run.id) == rehearsed
    assert registry.get_dataset(ds.id).state == "DELETED"
    assert not list(provenance.model_runs())
    assert told(provenance.downstream(raw)) == set()
    assert is_sound(registry)


def test_software_can_be_a_registered_model_and_data_a_version_of_an_object(
    registry: Registry, provenance: Provenance
) -> None:
    from prefect_registry.models.client import ModelRegistry

    model = ModelRegistry(registry, author="me").register_model(
        "HAL", "s3://m/hal", version="1", model_format_name="onnx"
    )
    known = things(provenance)
    assert model.id is not None
    registry.save("corals", [1, 2])
    template = provenance.get_item(known.template)
    assert not isinstance(template, SeedItem)
    template.software_id = model.id  # type: ignore[attr-defined]
    provenance.update_item(known.template, "it is HAL", template)
    run = str(provenance.register_model_run(known.record(["corals@1"], ["corals@1"])).session_id)
    graph = provenance.upstream(run)
    assert (graph.node(model.id).subtype, graph.node(model.id).label) == (ItemSubType.MODEL, "HAL")
    assert graph.node("corals@1").attributes["kind"] == "object"
    assert (run, "used", model.id) in told(graph)


def test_items_are_completed_changed_and_deleted_with_a_history(provenance: Provenance) -> None:
    seed = provenance.register_seed_item("PERSON", external_id="orcid:1")
    assert provenance.get_item(seed.id) == seed
    ada = person()
    ada.id = seed.id
    assert provenance.register_item(ada).display_name == "Ada"
    with pytest.raises(InvalidInput, match="registered already"):
        provenance.register_item(ada)
    with pytest.raises(InvalidInput, match="reason"):
        provenance.update_item(seed.id, " ", person("Eva"))
    url = "https://example.org"
    with pytest.raises(InvalidInput, match="PERSON"):
        provenance.update_item(
            seed.id, "x", Model(display_name="m", name="m", description="m", documentation_url=url, source_url=url)
        )
    provenance.update_item(seed.id, "she married", person("Eva"))
    assert [i.id for i in provenance.items("PERSON", external_id="orcid:1")] == [seed.id]
    assert [i.id for i in provenance.items(text="Eva")] == [seed.id]
    history = provenance.item_history(seed.id)
    assert [(h.id, h.username, h.reason) for h in history] == [
        (0, "ada", None),
        (1, "ada", None),
        (2, "ada", "she married"),
    ]
    provenance.delete_item(seed.id, "she left")
    with pytest.raises(NotFound):
        provenance.get_item(seed.id)
    assert list(provenance.items()) == []
    assert provenance.item_history(seed.id)[-1].item is None
    with pytest.raises(InvalidInput):
        list(provenance.items("CAT"))


BAD: list[Any] = [None, 3, "text", [], {}, {"records": []}]


@pytest.mark.parametrize("given", BAD)
def test_what_is_no_record_is_refused(provenance: Provenance, given: Any) -> None:
    with pytest.raises(InvalidInput):
        provenance.register_model_run(given)
    with pytest.raises(InvalidInput):
        provenance.register_batch_model_runs(given)


def test_what_a_failed_attempt_registered_is_taken_back_while_its_run_goes_on(
    registry: Registry, provenance: Provenance
) -> None:
    """The run's own record, that of a nested run, an item, a batch; what it read and made itself stays its lineage."""
    known, raw = things(provenance), dataset(registry)
    written: list[CellGeneration] = []
    observers.on_cell_written(observe := lambda url, generation: written.append(generation))
    with registry.run("all") as run:
        with run.dataset("corals") as ds:
            ds.set_rows(0)
        try:
            answers = [provenance.register_model_run(known.record([raw], [ds.id])) for _ in range(2)]
            item = provenance.register_item(person("Bob"))
            batch = provenance.register_batch_model_runs({"records": [known.record([raw], [raw])]})
        finally:
            observers._cell_written.remove(observe)
        for staged in filter(None, map(Staged.of, reversed(written))):
            assert drop(registry.ledger, staged, "its attempt failed")
        assert provenance.register_model_run(known.record([raw], [ds.id])).session_id == run.id
    assert {m.id for m in provenance.model_runs()} == {run.id} == {answers[0].session_id}
    for call in (lambda: provenance.get_item(item.id), lambda: provenance.batch_results(str(batch.session_id))):
        with pytest.raises(NotFound):
            call()
    assert (ds.id, "wasGeneratedBy", run.id) in told(provenance.upstream(ds.id))
    assert str(answers[1].session_id) not in provenance.downstream(raw)
    assert [change.id for change in provenance.model_run_history(run.id)] == [0, 1]
    assert is_sound(registry)


def test_an_attempt_that_is_taken_back_takes_no_automatic_lineage_with_it(
    registry: Registry, provenance: Provenance
) -> None:
    known, raw = things(provenance), dataset(registry)
    with registry.run("all") as run:
        registry.get_dataset(raw).to_table()
        with run.dataset("corals") as ds:
            ds.set_rows(0)
        provenance.register_model_run(known.record([raw], [ds.id]))
        generation = registry.ledger.cells.latest(MODEL_RUN, run.id, run.id)
        assert generation is not None
        staged = Staged.of(generation)
        assert staged is not None
        drop(registry.ledger, staged, "its attempt failed")
        with pytest.raises(NotFound):
            provenance.get_model_run(run.id)
    assert told(provenance.contributing_datasets(ds.id)) == {(ds.id, "wasGeneratedBy", run.id), (run.id, "used", raw)}
    assert (ds.id, "wasAttributedTo", known.person) not in told(provenance.upstream(ds.id))
    assert provenance.upstream(ds.id).node(run.id).subtype is ItemSubType.WORKFLOW_RUN
    assert is_sound(registry)
