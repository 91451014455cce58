"""What is said of model runs that are not as their templates say: PV-01 to PV-12 (reference system 2)."""

from __future__ import annotations

from typing import Any

from model_run_support import DATASET_TEMPLATES, WORKFLOW_TEMPLATE, Registry, record

from prefect_registry.provenance.records import ModelRunRecord, SeedItem, TemplatedDataset
from prefect_registry.provenance.validating import Code, problems_of_model_run


def dataset(template_id: str, id_: str = "d0", **resources: str) -> dict[str, Any]:
    return {"dataset_template_id": template_id, "dataset_id": id_, "resources": resources or None}


def codes(made: ModelRunRecord, registry: Registry | None = None) -> list[tuple[str, str]]:
    return [(p.code.value, p.path) for p in problems_of_model_run(made, registry or Registry())]


def test_valid_pv_01() -> None:
    """PV-01: a record of a template without annotations and resources validates."""
    plain = WORKFLOW_TEMPLATE.model_copy(update={"annotations": None})
    bare = {id_: t.model_copy(update={"deferred_resources": []}) for id_, t in DATASET_TEMPLATES.items()}
    registry = Registry(workflow_templates={"10378.1/w": plain}, dataset_templates=dict(bare))
    made = record(annotations=None, inputs=[dataset("t_in")], outputs=[dataset("t_out", "d1")])
    assert problems_of_model_run(made, registry) == []


def test_end_before_start_pv_02() -> None:
    """PV-02: a record made without the model's checks is refused too; an equal end is not."""
    assert codes(record(start_time=5, end_time=5)) == []
    made = record().model_copy(update={"end_time": 0})
    assert codes(made) == [("end_before_start", "end_time")]


def test_study_pv_03() -> None:
    """PV-03: a study that there is, or none, is accepted; another, or a seed item, is not."""
    assert codes(record(study_id=None)) == []
    (problem,) = problems_of_model_run(record(study_id="1234"), Registry())
    assert str(problem) == "study_id: Provided study with id 1234 was not a valid id"
    seeded = Registry(studies={"s": SeedItem(id="s", item_subtype="STUDY")})
    (problem,) = problems_of_model_run(record(), seeded)
    assert problem.code is Code.STUDY_INCOMPLETE
    assert problem.message == "Provided study with id s is an incomplete seed record."


def test_resources_and_annotations_pv_04() -> None:
    """PV-04: required deferred resources and annotations are there; optional ones may be."""
    assert codes(record()) == []
    assert codes(record(inputs=[dataset("t_in", map="a", legend="b")])) == []


def test_missing_input_resource_pv_05() -> None:
    """PV-05: a required resource of an input that is missing is named."""
    (problem,) = problems_of_model_run(record(inputs=[dataset("t_in", legend="x")]), Registry())
    assert (problem.code, problem.path) == (Code.RESOURCES_MISSING, "inputs[0].resources")
    assert problem.message == (
        "The provided templated dataset with id t_in and dataset id d0 was missing deferred resource paths for the "
        "following required resource keys (map)."
    )


def test_missing_output_resource_pv_06() -> None:
    """PV-06: so is one of an output."""
    assert codes(record(outputs=[dataset("t_out", "d1")])) == [("resources_missing", "outputs[0].resources")]


def test_missing_resources_pv_07() -> None:
    """PV-07: both are told at once."""
    made = record(inputs=[dataset("t_in")], outputs=[dataset("t_out", "d1")])
    assert codes(made) == [
        ("resources_missing", "inputs[0].resources"),
        ("resources_missing", "outputs[0].resources"),
    ]


def test_output_as_input_pv_08() -> None:
    """PV-08: a dataset of an output's template is no input, which the reference would take it for."""
    made = record(inputs=[dataset("t_in", map="a"), dataset("t_out", "d1", map="b")])
    (problem,) = problems_of_model_run(made, Registry())
    assert (problem.code, problem.path) == (Code.INPUT_NOT_IN_TEMPLATE, "inputs[1].dataset_template_id")
    assert "t_out does not exist" in problem.message
    keyed = TemplatedDataset.model_validate(dataset("t_in", map="a", corals="b"))
    assert codes(record(inputs=[keyed])) == [("resources_unexpected", "inputs[0].resources")]


def test_unknown_key_pv_09() -> None:
    """PV-09: resources that the template does not know are named."""
    (problem,) = problems_of_model_run(record(inputs=[dataset("t_in", map="a", z="b", y="c")]), Registry())
    assert problem.message.endswith("provided unexpected deferred resource paths for the following unexpected "
                                    "resource keys (z,y).")  # fmt: skip


def test_missing_annotation_pv_10() -> None:
    """PV-10: a required annotation that is missing is named."""
    for given in (None, {"note": "x"}):
        (problem,) = problems_of_model_run(record(annotations=given), Registry())
        assert str(problem) == "annotations: Missing required annotations with keys: (scenario)."


def test_extra_annotation_pv_11() -> None:
    """PV-11: more annotations than the template knows are accepted."""
    assert codes(record(annotations={"scenario": "warm", "colour": "red"})) == []


def test_empty_texts_pv_12() -> None:
    """PV-12: empty texts are refused also when the model did not check them."""
    made = record().model_copy(update={"display_name": "", "description": " "})
    assert codes(made) == [("empty_display_name", "display_name"), ("empty_description", "description")]


def test_all_at_once_in_the_reference_order() -> None:
    """Where the reference stops at the first, everything is told, in the order of its checks."""
    registry = Registry(datasets=set(), dataset_templates={"t_in": DATASET_TEMPLATES["t_in"]})
    made = record(
        study_id="x",
        inputs=[dataset("t_other"), dataset("t_in")],
        outputs=[],
        annotations=None,
        associations={"modeller_id": "o", "requesting_organisation_id": "p"},
    ).model_copy(update={"end_time": 0, "display_name": ""})
    assert codes(made, registry) == [
        ("end_before_start", "end_time"),
        ("empty_display_name", "display_name"),
        ("study_not_found", "study_id"),
        ("dataset_template_not_found", "workflow_template_id"),
        ("dataset_template_not_found", "workflow_template_id"),
        ("output_missing", "outputs"),
        ("input_not_in_template", "inputs[0].dataset_template_id"),
        ("dataset_not_found", "inputs[0].dataset_id"),
        ("dataset_not_found", "inputs[1].dataset_id"),
        ("resources_missing", "inputs[1].resources"),
        ("modeller_not_found", "associations.modeller_id"),
        ("organisation_not_found", "associations.requesting_organisation_id"),
        ("annotations_missing", "annotations"),
    ]


def test_without_its_workflow_template() -> None:
    """What can be known without the template is told: datasets, people."""
    registry = Registry(workflow_templates={}, datasets=set())
    assert codes(record(), registry) == [
        ("workflow_template_not_found", "workflow_template_id"),
        ("dataset_not_found", "inputs[0].dataset_id"),
        ("dataset_not_found", "outputs[0].dataset_id"),
    ]
    registry = Registry(workflow_templates={"10378.1/w": SeedItem(id="10378.1/w", item_subtype="WORKFLOW_TEMPLATE")})
    assert codes(record(), registry) == [("workflow_template_incomplete", "workflow_template_id")]


def test_seeded_dataset_template() -> None:
    """A dataset template that is a seed item is refused; its resources cannot be checked."""
    registry = Registry()
    registry.dataset_templates["t_in"] = SeedItem(id="t_in", item_subtype="DATASET_TEMPLATE")
    assert codes(record(), registry) == [("dataset_template_incomplete", "workflow_template_id")]


def test_several_datasets_for_one_template() -> None:
    """Several datasets may fulfil one template; one that is required must be there, an optional one need not."""
    made = record(inputs=[dataset("t_in", "d0", map="a"), dataset("t_in", "d2", map="b")])
    assert codes(made) == []
    assert codes(record(inputs=[])) == [("input_missing", "inputs")]


def test_model_of_the_template() -> None:
    """The template's model must exist."""
    other = WORKFLOW_TEMPLATE.model_copy(update={"software_id": "gone"})
    registry = Registry(workflow_templates={"10378.1/w": other})
    assert codes(record(), registry) == [("model_not_found", "workflow_template_id")]
