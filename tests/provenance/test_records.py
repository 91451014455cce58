"""What the models of provenance take and refuse (reference system 2)."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Any

import pytest
from model_run_support import deferred, record
from pydantic import BaseModel, ValidationError

from prefect_registry.errors import InvalidInput
from prefect_registry.provenance.records import (
    CustomLineageResponse,
    DatasetTemplate,
    DatasetType,
    GenerateReportRequest,
    HealthCheckResponse,
    Item,
    JobStatus,
    JobStatusTable,
    Model,
    ModelRunRecord,
    Person,
    ProvAPIAdminEndpoints,
    ProvAPIEndpoints,
    RegisterBatchModelRunRequest,
    SeedItem,
    TemplatedDataset,
    WorkflowTemplate,
    WorkflowTemplateAnnotations,
    checked,
    problems_of,
)


def refused(model: type[BaseModel], **values: Any) -> list[str]:
    with pytest.raises(ValidationError) as raised:
        model.model_validate(values)
    return problems_of(raised.value)


def test_defaults() -> None:
    """What the reference leaves out is None; a dataset is in the data store."""
    values = record().model_dump()
    for optional in ("model_version", "annotations", "study_id"):
        del values[optional]
    del values["associations"]["requesting_organisation_id"]
    made = ModelRunRecord.model_validate(values)
    assert (made.model_version, made.annotations, made.study_id) == (None, None, None)
    assert made.associations.requesting_organisation_id is None
    dataset = TemplatedDataset(dataset_template_id="t", dataset_id="d")
    assert (dataset.dataset_type, dataset.resources) == (DatasetType.DATA_STORE, None)
    assert HealthCheckResponse().message == "Health check successful."


def test_json_round_trip() -> None:
    """A record is equal after JSON, whose times are whole seconds."""
    assert ModelRunRecord.model_validate_json(record().model_dump_json()) == record()
    assert json.loads(record().model_dump_json())["start_time"] == 1_386_000_000


def test_times_pv_02() -> None:
    """PV-02: an end before the start is refused, also when it is assigned; an equal one is not."""
    made = record(start_time=5, end_time=5)
    said = "The end time cannot be before the start time of a model run"
    assert refused(ModelRunRecord, **{**record().model_dump(), "start_time": 5, "end_time": 4}) == [f"end_time: {said}"]
    with pytest.raises(ValidationError, match=said):
        made.end_time = 4
    with pytest.raises(ValidationError, match=said):
        made.start_time = 6


@pytest.mark.parametrize("time", [1.5, "5", True, 1_386_000_000_000])
def test_times_are_seconds(time: object) -> None:
    """A time is a whole number of seconds: no text, no fraction, and no milliseconds (of the year 45,891)."""
    (problem,) = refused(ModelRunRecord, **{**record().model_dump(), "end_time": time})
    assert problem.startswith("end_time: ")


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_empty_pv_12(empty: str) -> None:
    """PV-12: a display name and a description are not empty, nor all white space."""
    values = {**record().model_dump(), "display_name": empty, "description": empty}
    assert refused(ModelRunRecord, **values) == [
        "display_name: Display name cannot be empty string",
        "description: Description cannot be empty string",
    ]


def test_every_problem_is_listed() -> None:
    """Whatever is wrong anywhere is told at once, with its path."""
    values: dict[str, Any] = {
        "workflow_template_id": " w",
        "inputs": [{"dataset_id": ""}, {"dataset_template_id": "t", "dataset_id": "d", "dataset_type": "OTHER"}],
        "outputs": [],
        "display_name": "",
        "description": "a\0",
        "associations": {},
        "start_time": 5,
        "end_time": 4,
        "colour": "red",
    }
    paths = [problem.partition(": ")[0] for problem in refused(ModelRunRecord, **values)]
    assert paths == [
        "workflow_template_id",
        "inputs[0].dataset_template_id",
        "inputs[0].dataset_id",
        "inputs[1].dataset_type",
        "display_name",
        "description",
        "associations.modeller_id",
        "end_time",
        "colour",
    ]
    with pytest.raises(InvalidInput) as raised:
        checked(ModelRunRecord, values, "the record")
    assert [problem.partition(": ")[0] for problem in raised.value.problems] == paths


def test_half_surrogates() -> None:
    """Text that UTF-8 has no form for is refused."""
    (problem,) = refused(TemplatedDataset, dataset_template_id="t", dataset_id="d", resources={"k": "\udce9"})
    assert problem == "resources.k: it has a NUL character, or is not valid Unicode"


def test_changed_lists_are_checked_anew() -> None:
    """What was put into a record's lists since it was made is seen."""
    made = record()
    made.inputs.append("not a dataset")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"inputs\[1\]"):
        checked(ModelRunRecord, made, "the record")


def test_ids_of_templates_are_unique() -> None:
    """On each side of a workflow template a dataset template stands once; on both sides it may."""
    one = [{"template_id": "a"}]
    assert WorkflowTemplate.model_validate(
        {"display_name": "w", "software_id": "m", "input_templates": one, "output_templates": one}
    )
    values = {"display_name": "w", "software_id": "m", "input_templates": one * 2, "output_templates": one * 3}
    assert refused(WorkflowTemplate, **values) == [
        "input_templates: Non unique template ids: a",
        "output_templates: Non unique template ids: a",
    ]


def test_keys_are_unique() -> None:
    """Keys of annotations differ, required and optional together; so do those of a template's deferred resources."""
    assert refused(WorkflowTemplateAnnotations, required=["a"], optional=["b", "a"]) == [
        "optional: Non unique keys of annotations: a"
    ]
    assert refused(DatasetTemplate, display_name="t", deferred_resources=[deferred("k"), deferred("k")]) == [
        "deferred_resources: Non unique keys of deferred resources: k"
    ]


def test_items() -> None:
    """Items know their subtype; URLs are http or https; a seed item has nothing but its id."""
    assert {c.item_subtype for c in (Person, Model, WorkflowTemplate)} == {
        "PERSON",
        "MODEL",
        "MODEL_RUN_WORKFLOW_TEMPLATE",
    }
    assert issubclass(Model, Item)
    url = {"documentation_url": "ftp://example.org", "source_url": "https://"}
    assert refused(Model, display_name="m", name="m", description="d", **url) == [
        "documentation_url: it is no http or https URL",
        "source_url: it is no http or https URL",
    ]
    assert SeedItem(id="x", item_subtype="STUDY").record_type == "SEED_ITEM"


def test_batch_of_nothing() -> None:
    """A batch has at least one record."""
    (problem,) = refused(RegisterBatchModelRunRequest, records=[])
    assert problem.startswith("records: ")


class Subtype(StrEnum):
    STUDY = "STUDY"
    DATASET = "DATASET"


def test_report_pv_30() -> None:
    """PV-30: a report is of a study or a model run, by text or enumeration, and one to three steps deep."""
    assert GenerateReportRequest(id="s", item_subtype=Subtype.STUDY, depth=3).item_subtype == "STUDY"  # type: ignore[arg-type]
    paths = [p.partition(": ")[0] for p in refused(GenerateReportRequest, id="s", item_subtype="DATASET", depth=4)]
    assert paths == ["item_subtype", "depth"]
    assert refused(GenerateReportRequest, id="s", item_subtype=Subtype.DATASET, depth=1)
    assert refused(GenerateReportRequest, id="s", item_subtype="STUDY", depth=0)


@pytest.mark.parametrize("links", ["links", "edges", None])
def test_custom_lineage(links: str | None) -> None:
    """A graph's links may be called edges, and be missing; nodes and links keep what else is known of them."""
    graph: dict[str, Any] = {"directed": True, "multigraph": False, "graph": {}, "nodes": []}
    graph["nodes"] = [{"id": i, "item_category": "ENTITY", "item_subtype": "DATASET", "name": i} for i in "ab"]
    if links:
        graph[links] = [{"type": ["used", "wasInfluencedBy"], "source": "a", "target": "b", "key": 0}]
    status = {"success": True, "details": ""}
    made = CustomLineageResponse.model_validate({"status": status, "record_count": 2, "graph": graph})
    assert made.graph is not None
    assert [link.target for link in made.graph.links] == ["b"] * bool(links)
    assert made.graph.nodes[0].model_dump()["name"] == "a"


def test_job_status() -> None:
    """A request's record has the reference's fields."""
    made = JobStatusTable.model_validate(
        {
            "session_id": "run_1",
            "created_timestamp": 5,
            "username": "ada",
            "payload": {},
            "job_sub_type": "MODEL_RUN_PROV_LODGE",
            "status": "FAILED",
            "info": "no such dataset",
        }
    )
    assert (made.status, made.batch_id, made.result, made.job_type) == (JobStatus.FAILED, None, None, "PROV_LODGE")


def test_endpoints() -> None:
    """Both enumerations are texts, as many as the reference document has."""
    assert ProvAPIEndpoints.POST_MODEL_RUN_UPDATE == "/model_run/update"
    assert (len(ProvAPIEndpoints), len(ProvAPIAdminEndpoints)) == (18, 6)
    for each in (*ProvAPIEndpoints, *ProvAPIAdminEndpoints):
        assert re.fullmatch(r"(GET|POST)_[A-Z_]+", each.name)
        assert each.value.startswith("/")
