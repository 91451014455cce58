"""A model, its templates, and what there is in a registry that knows them."""

from __future__ import annotations

from collections.abc import Collection, Set
from dataclasses import dataclass, field
from typing import Any

from prefect_registry.provenance.records import (
    DatasetTemplate,
    DeferredResource,
    Model,
    ModelRunRecord,
    Organisation,
    Person,
    ResourceUsageType,
    SeedItem,
    Study,
    TemplateResource,
    WorkflowTemplate,
    WorkflowTemplateAnnotations,
)


def deferred(key: str, optional: bool | None = None) -> DeferredResource:
    return DeferredResource(
        key=key, description=f"the {key}", usage_type=ResourceUsageType.GENERAL_DATA, optional=optional
    )


def dataset_template(name: str, *resources: DeferredResource) -> DatasetTemplate:
    return DatasetTemplate(display_name=name, deferred_resources=list(resources))


def workflow_template(inputs: list[str], outputs: list[str], optional: Set[str] = frozenset()) -> WorkflowTemplate:
    return WorkflowTemplate(
        id="10378.1/w",
        display_name="coral growth",
        software_id="10378.1/m",
        input_templates=[TemplateResource(template_id=id_, optional=id_ in optional or None) for id_ in inputs],
        output_templates=[TemplateResource(template_id=id_, optional=id_ in optional or None) for id_ in outputs],
        annotations=WorkflowTemplateAnnotations(required=["scenario"], optional=["note"]),
    )


DATASET_TEMPLATES = {
    "t_in": dataset_template("reefs, 2013", deferred("map"), deferred("legend", optional=True)),
    "t_in2": dataset_template("weather", deferred("map"), deferred("stations")),
    "t_out": dataset_template("corals", deferred("map")),
}
WORKFLOW_TEMPLATE = workflow_template(["t_in", "t_in2"], ["t_out"], optional={"t_in2"})


@dataclass
class Registry:
    """The items of a small registry, as validation and tables look them up."""

    workflow_templates: dict[str, WorkflowTemplate | SeedItem] = field(
        default_factory=lambda: {"10378.1/w": WORKFLOW_TEMPLATE}
    )
    dataset_templates: dict[str, DatasetTemplate | SeedItem] = field(default_factory=lambda: dict(DATASET_TEMPLATES))
    studies: dict[str, Study | SeedItem] = field(
        default_factory=lambda: {"s": Study(display_name="reefs", title="reefs", description="of reefs")}
    )
    datasets: set[str] = field(default_factory=lambda: {"d0", "d1", "d2"})
    jobs: set[str] = field(default_factory=lambda: {"job1", "job2"})
    asked: list[Set[str]] = field(default_factory=list)

    def study(self, id: str) -> Study | SeedItem | None:
        return self.studies.get(id)

    def workflow_template(self, id: str) -> WorkflowTemplate | SeedItem | None:
        return self.workflow_templates.get(id)

    def dataset_template(self, id: str) -> DatasetTemplate | SeedItem | None:
        return self.dataset_templates.get(id)

    def dataset(self, id: str) -> object | None:
        return id if id in self.datasets else None

    def model(self, id: str) -> object | None:
        url = "https://example.org/m"
        model = Model(display_name="m", name="m", description="grows", documentation_url=url, source_url=url)
        return model if id == "10378.1/m" else None

    def person(self, id: str) -> object | None:
        person = Person(display_name="Ada", email="ada@example.org", first_name="Ada", last_name="Byron")
        return person if id == "p" else None

    def organisation(self, id: str) -> object | None:
        return Organisation(display_name="Reef", name="Reef") if id == "o" else None

    def known_datasets(self, ids: Set[str]) -> Collection[str]:
        self.asked.append(ids)
        return ids & self.datasets

    def known_jobs(self, ids: Set[str]) -> Collection[str]:
        return ids & self.jobs


def record(**changes: Any) -> ModelRunRecord:
    """A record that there is nothing wrong with, but for ``changes``."""
    values: dict[str, Any] = {
        "workflow_template_id": "10378.1/w",
        "model_version": "v1",
        "inputs": [{"dataset_template_id": "t_in", "dataset_id": "d0", "resources": {"map": "maps/a.tif"}}],
        "outputs": [{"dataset_template_id": "t_out", "dataset_id": "d1", "resources": {"map": "maps/b.tif"}}],
        "annotations": {"scenario": "warm"},
        "display_name": "run 1",
        "description": "the first",
        "study_id": "s",
        "associations": {"modeller_id": "p", "requesting_organisation_id": "o"},
        "start_time": 1_386_000_000,
        "end_time": 1_386_000_060,
    }
    return ModelRunRecord.model_validate({**values, **changes})
