"""A registry with a study, people, a model and templates, and chains of model runs in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from prefect_registry import Registry
from prefect_registry.ids import random_token
from prefect_registry.provenance.records import (
    DatasetTemplate,
    DeferredResource,
    Model,
    ModelRunRecord,
    Organisation,
    Person,
    ResourceUsageType,
    Study,
    TemplateResource,
    WorkflowTemplate,
    WorkflowTemplateAnnotations,
)
from prefect_registry.provenance.service import Provenance
from prefect_registry.storage.base import Storage
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage

URL = "https://example.org/coral"


def opened(storage: Storage | None = None, **options: Any) -> Registry:
    """A registry in memory, as another process opens it; its index is its own."""
    storage = storage if storage is not None else MemoryStorage(f"provenance-{random_token()}")
    return Registry(ResolvingStorage(storage, attempts=1), heartbeats=False, use_cache=False, **options)


@dataclass
class Things:
    """Ids of what model runs refer to."""

    study: str
    person: str
    organisation: str
    model: str
    taken: str
    """The dataset template of inputs."""
    made: str
    """The dataset template of outputs."""
    template: str

    def record(self, inputs: list[str], outputs: list[str], **changes: Any) -> ModelRunRecord:
        """A record that there is nothing wrong with, but for ``changes``."""
        values: dict[str, Any] = {
            "workflow_template_id": self.template,
            "model_version": "1.2",
            "inputs": [{"dataset_template_id": self.taken, "dataset_id": id_} for id_ in inputs],
            "outputs": [{"dataset_template_id": self.made, "dataset_id": id_} for id_ in outputs],
            "display_name": "grow corals",
            "description": "corals of a year",
            "study_id": self.study,
            "associations": {"modeller_id": self.person, "requesting_organisation_id": self.organisation},
            "start_time": 1_386_000_000,
            "end_time": 1_386_000_060,
        }
        return ModelRunRecord.model_validate({**values, **changes})


def person(name: str = "Ada") -> Person:
    return Person(display_name=name, email=f"{name.lower()}@example.org", first_name=name, last_name="L")


def things(provenance: Provenance, *, annotations: list[str] | None = None, resource: str | None = None) -> Things:
    """Register them. ``annotations`` are required; ``resource`` is a deferred resource of inputs."""
    usage = ResourceUsageType.GENERAL_DATA
    deferred = [DeferredResource(key=resource, description="a map", usage_type=usage)] if resource is not None else []
    taken = provenance.register_item(DatasetTemplate(display_name="reefs", deferred_resources=deferred)).id
    made = provenance.register_item(DatasetTemplate(display_name="corals")).id
    model = provenance.register_item(
        Model(display_name="coral", name="coral", description="grows", documentation_url=URL, source_url=URL)
    ).id
    template = WorkflowTemplate(
        display_name="coral growth",
        software_id=model,
        input_templates=[TemplateResource(template_id=taken)],
        output_templates=[TemplateResource(template_id=made)],
        annotations=WorkflowTemplateAnnotations(required=annotations or []),
    )
    return Things(
        study=provenance.register_item(Study(display_name="reefs", title="reefs", description="of reefs")).id,
        person=provenance.register_item(person()).id,
        organisation=provenance.register_item(Organisation(display_name="Reef", name="Reef")).id,
        model=model,
        taken=taken,
        made=made,
        template=provenance.register_item(template).id,
    )


def dataset(registry: Registry, kind: str = "reefs") -> str:
    """Publish a small dataset by a run of its own; returns its id."""
    with registry.run(f"make {kind}") as run, run.dataset(kind, mode="append") as ds:
        ds.write_table(pa.table({"n": [1]}))
    return ds.id


def chain(provenance: Provenance, links: int = 3, own_agents: bool = False) -> tuple[list[str], list[str], Things]:
    """PV-15: ds0, run0, ds1, run1 …: the ids of datasets and of model runs.

    The registry itself knows of each dataset which run has made it; the model runs are others.
    """
    registry, known = provenance.registry, things(provenance)
    datasets = [dataset(registry, f"d{i}") for i in range(links + 1)]
    runs = []
    for i in range(links):
        changes: dict[str, Any] = {"study_id": None}
        if own_agents:
            who = provenance.register_item(person(f"P{i}")).id
            organisation = provenance.register_item(Organisation(display_name=f"O{i}", name=f"O{i}")).id
            changes["associations"] = {"modeller_id": who, "requesting_organisation_id": organisation}
        record = known.record([datasets[i]], [datasets[i + 1]], **changes)
        runs.append(str(provenance.register_model_run(record).session_id))
    return datasets, runs, known
