"""What OpenLineage is told of a run, from what the registry has kept of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from openlineage.client.serde import Serde
from openlineage_schemas import validate
from service_support import chain, dataset, opened

from prefect_registry import Registry
from prefect_registry.capture.code import Capture
from prefect_registry.credentials import MASK
from prefect_registry.errors import MalformedId, NotFound
from prefect_registry.models.client import ModelRegistry
from prefect_registry.models.types import Metric
from prefect_registry.provenance.captures import captured, involved
from prefect_registry.provenance.data_facts import place_of
from prefect_registry.provenance.run_facts import facts_of
from prefect_registry.provenance.service import Provenance
from prefect_registry.records.runs import failure


def told(registry: Registry, run_id: str) -> list[dict[str, Any]]:
    """The events of a run as JSON, each held against the schemas."""
    events = [json.loads(Serde.to_json(event)) for event in Provenance(registry).openlineage(run_id)]
    for event in events:
        validate(event)
    return events


def test_a_run_is_told_with_what_it_read_and_made() -> None:
    """Tables and objects have the same names in every run; their versions are those of the registry."""
    registry = opened()
    space = registry.url
    flights = dataset(registry, "flights")
    capture = Capture(
        code={"commit": "abc", "repository": "git@host:a/b.git", "path": "flows/x.py"},
        environment={"python": "3.11", "packages": {"prefect": "3.8.1"}},
    )
    run = registry.insert_run("of 2026", config={"rate": 1}, prefect={"flow_name": "ingest"}, capture=capture)
    with registry.attach(run).dataset("delays") as made:
        made.write_table(pa.table({"n": range(3)}))
    registry.save("model", [1], run_id=run)
    registry.ledger.used.note(run, [flights])
    assert facts_of(registry, run).outcome is None
    assert [event["eventType"] for event in told(registry, run)] == ["START"]
    registry.close_run(run, True)

    facts = facts_of(registry, run)
    assert (facts.name, facts.description, facts.namespace) == ("ingest", "of 2026", space)
    assert (facts.outcome, facts.parameters, facts.engine) == ("COMPLETE", {"rate": 1}, ("Prefect", "3.8.1"))
    assert (facts.commit, facts.path, facts.repository) == ("abc", "flows/x.py", "git@host:a/b.git")
    [read] = facts.inputs
    assert (read.namespace, read.name, read.version, read.rows, read.files) == (space, "tables/flights", flights, 1, 1)
    assert read.uri.startswith(f"{space}/data/")
    written = {each.name: each for each in facts.outputs}
    assert (written["tables/delays"].version, written["tables/delays"].rows) == (made.id, 3)
    assert (written["objects/model"].version, written["objects/model"].files) == ("1", 1)
    assert [event["eventType"] for event in told(registry, run)] == ["START", "COMPLETE"]
    assert facts_of(registry, run, namespace="mine").namespace == "mine"


def test_what_is_called_a_secret_is_told_to_nobody() -> None:
    """Whatever a run was given as its config, and however deep: the record keeps it, events mask it."""
    registry = opened()
    config = {
        "rate": 1,
        "token_count": 3,
        "api_key": "planted",
        "source": "https://me:planted@host/x",
        "db": {"password": "planted", "name": "x", "pins": [{"token": 7}], "credentials": {"user": ["planted"]}},
    }
    run = registry.insert_run("x", config=config)
    assert captured(registry, run).parameters == config
    assert facts_of(registry, run).parameters == {
        "rate": 1,
        "token_count": MASK,
        "api_key": MASK,
        "source": "https://***@host/x",
        "db": {"password": MASK, "name": "x", "pins": [{"token": MASK}], "credentials": {"user": [MASK]}},
    }
    assert "planted" not in str(told(registry, run))


@pytest.mark.parametrize(
    ("how", "outcome", "message"),
    [
        (failure("ValueError", "no way"), "FAIL", "ValueError: no way"),
        (failure("ValueError"), "FAIL", "ValueError"),
        (failure("Cancelled", "by hand", "cancelled"), "ABORT", "Cancelled: by hand"),
        (failure("LeaseLost", "it was silent", "reaped"), "FAIL", "LeaseLost: it was silent"),
        (None, "FAIL", "it was closed as not successful"),
    ],
)
def test_failed_runs_say_why(how: Any, outcome: str, message: str) -> None:
    """Cancelled ones are aborted, all others have failed; what they wrote is no output of the last event."""
    registry = opened()
    run = registry.insert_run("fails")
    with registry.attach(run).dataset("lost") as lost:
        lost.write_table(pa.table({"n": [1]}))
    registry.close_run(run, False, failure=how)
    facts = facts_of(registry, run)
    assert (facts.outcome, facts.message) == (outcome, message)
    assert [each.name for each in facts.outputs] == ["tables/lost"]
    assert told(registry, run)[-1]["outputs"] == []


def test_nested_runs_name_those_around_them() -> None:
    """And share their fate: one that committed in a run that failed has failed."""
    registry = opened()
    outer = registry.insert_run("outer", prefect={"flow_name": "whole"})
    middle = registry.insert_run("middle", parent=outer)
    inner = registry.insert_run("inner", parent=middle)
    registry.close_run(inner, True)
    registry.close_run(middle, True)
    facts = facts_of(registry, inner)
    assert facts.parent is not None
    assert facts.root is not None
    assert (facts.parent.run_id, facts.parent.name, facts.root.run_id, facts.root.name) == (
        middle, "middle", outer, "whole",
    )  # fmt: skip
    assert facts.outcome is None
    registry.close_run(outer, False, failure=failure("ValueError", "no"))
    facts = facts_of(registry, inner)
    assert (facts.outcome, facts.message) == (
        "FAIL", f"the run {outer} around it was rolled back: ValueError: no",
    )  # fmt: skip
    assert told(registry, inner)[-1]["run"]["facets"]["parent"]["root"]["job"]["name"] == "whole"


def test_a_model_run_is_told_by_its_record() -> None:
    """Its inputs, outputs and times; none of them once its provenance is deleted."""
    provenance = Provenance(opened())
    ds, [run], _ = chain(provenance, 1)
    facts = facts_of(provenance.registry, run)
    assert ([each.version for each in facts.inputs], [each.version for each in facts.outputs]) == ([ds[0]], [ds[1]])
    assert facts.nominal_start == datetime.fromtimestamp(1_386_000_000, UTC)
    assert told(provenance.registry, run)[-1]["run"]["facets"]["nominalTime"]
    provenance.admin.delete_model_run_provenance(run)
    facts = facts_of(provenance.registry, run)
    assert (facts.inputs, facts.outputs, facts.nominal_start) == ([], [], None)


def test_a_version_has_the_size_of_what_the_run_saved() -> None:
    """Neither what an aborted run had staged under its number counts, nor what was written over it since."""
    registry = opened(mutable=True, version_objects=True)

    def sizes(run_id: str) -> tuple[list[int | None], list[int | None]]:
        facts = facts_of(registry, run_id)
        return [each.bytes for each in facts.inputs], [each.bytes for each in facts.outputs]

    with pytest.raises(ValueError, match="in vain"), registry.run("fails") as failed:
        registry.save("note", "x" * 100, version="1")
        raise ValueError("in vain")
    with registry.run("writes") as first:
        registry.save("note", "y" * 500, version="1")
    assert (sizes(failed.id), sizes(first.id)) == (([], [102]), ([], [502]))
    with registry.run("reads") as reads:
        registry.load("note@1")
    assert sizes(reads.id) == ([502], [])
    with registry.run("goes on") as second:
        registry.load("note@1")
        registry.save("note", "z" * 700, version="1", on_conflict="overwrite")
        registry.save("note", "z" * 900, version="1", on_conflict="overwrite")
    assert sizes(second.id) == ([502], [902])
    assert sizes(first.id) == ([], [502])
    registry.delete("note", "1")
    registry.restore("note", "1")
    assert sizes(reads.id) == ([902], [])


def test_registered_models_are_outputs_of_the_run_that_registered_them() -> None:
    """Model version, artifacts and the object with its files, as lineage says; a later change makes none of them."""
    registry = opened()
    models = ModelRegistry(registry, author="me")
    with registry.run("train") as train:
        models.register_model(
            "HAL", model=[1], version="9000", aliases=["best"], artifacts=[Metric("accuracy", value=1.0)]
        )
    version = models.get_model_version("HAL", "9000")
    assert version is not None
    with registry.run("annotate") as annotate:
        models.models.upsert_model_version_artifact(Metric("recall", value=0.5), str(version.id))
        version.description = "sings"
        models.models.upsert_model_version(version, str(version.registered_model_id))
    for run in (train.id, annotate.id):
        links = registry.catalog.downstream(run, depth=1)
        assert sorted(involved(registry, run).generated) == sorted(each.source for each in links)
    written = {(each.name, each.version) for each in facts_of(registry, train.id).outputs}
    artifacts = {str(each.id): each for each in models.models.get_model_version_artifacts(str(version.id))}
    ids = {f"models/HAL/{each.artifact_type}/{each.name}": id_ for id_, each in artifacts.items()}
    assert written == {
        ("models/HAL", "9000"), ("objects/models/HAL/9000", "1"),
        ("models/HAL/model-artifact/HAL", ids["models/HAL/model-artifact/HAL"]),
        ("models/HAL/metric/accuracy", ids["models/HAL/metric/accuracy"]),
    }  # fmt: skip
    [recall] = facts_of(registry, annotate.id).outputs
    assert (recall.name, recall.version) == ("models/HAL/metric/recall", ids["models/HAL/metric/recall"])
    assert len(told(registry, train.id)[-1]["outputs"]) == 4


def test_models_of_a_run_that_failed_are_told_of_it() -> None:
    """By its own folder, under the ids that nobody else will ever see."""
    registry = opened()
    with pytest.raises(ValueError, match="in vain"), registry.run("train") as run:
        ModelRegistry(registry, author="me").register_model("HAL", "s3://bucket/hal", version="1")
        raise ValueError("in vain")
    assert [id_.partition("_")[0] for id_ in involved(registry, run.id).generated] == ["art", "mv"]
    names = {each.name for each in facts_of(registry, run.id).outputs}
    assert names == {"models/HAL", "models/HAL/model-artifact/HAL"}
    assert told(registry, run.id)[-1]["outputs"] == []


def test_data_elsewhere_has_its_own_name(tmp_path: Path) -> None:
    """That of its place; of what is not there any more, what its id tells."""
    registry = opened()
    run = registry.insert_run("adopts")
    one = registry.begin_dataset("shared", run)
    registry.commit_dataset(one, "s3://bucket/a/b/", 7)
    two = registry.begin_dataset("local", run)
    registry.commit_dataset(two, str(tmp_path), 1)
    gone = f"ds_{run[4:]}_{'0' * 16}"
    registry.ledger.used.note(run, [gone, "odd"])
    registry.ledger.used.note(run, ["object@3"], "objects")
    registry.close_run(run, True)
    facts = facts_of(registry, run)
    by_version = {each.version: each for each in facts.outputs}
    assert (by_version[one].namespace, by_version[one].name, by_version[one].rows) == ("s3://bucket", "a/b", 7)
    assert (by_version[two].namespace, by_version[two].name) == ("file", str(tmp_path))
    assert {each.name for each in facts.inputs} == {f"items/{gone}", "items/odd", "objects/object"}


def test_unknown_runs() -> None:
    """Are not told of."""
    with pytest.raises(NotFound):
        facts_of(opened(), "run_01kxam4mqse0y8kbj0m2mb7vrd")
    with pytest.raises(MalformedId):
        facts_of(opened(), "ds_x")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("s3://bucket/a/b/", ("s3://bucket", "a/b")),
        ("s3://key:secret@bucket", ("s3://bucket", "")),
        ("gs://bucket/x?versions=1", ("gs://bucket", "x")),
        ("abfss://box@account.dfs.core.windows.net/a", ("abfss://box@account.dfs.core.windows.net", "a")),
        ("/data/registry", ("file", "/data/registry")),
        ("file:///data/registry", ("file", "/data/registry")),
    ],
)
def test_places_are_named_as_openlineage_says(url: str, place: tuple[str, str]) -> None:
    """Bucket and path, without credentials."""
    assert place_of(url) == place
