"""Model runs in flows: the flow's run becomes one by its own decision, or not at all."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from prefect import flow

from prefect_registry import tasks
from prefect_registry.provenance.records import (
    DatasetTemplate,
    Model,
    Person,
    TemplateResource,
    WorkflowTemplate,
)
from prefect_registry.provenance.service import Provenance
from prefect_registry.registry import Registry
from prefect_registry.runs import current_run, registry_run

URL = "https://example.org/coral"


def record(provenance: Provenance) -> dict[str, Any]:
    """A record without its output, of things that are registered."""
    made = provenance.register_item(DatasetTemplate(display_name="corals")).id
    model = Model(display_name="coral", name="coral", description="grows", documentation_url=URL, source_url=URL)
    template = WorkflowTemplate(
        display_name="growth",
        software_id=provenance.register_item(model).id,
        output_templates=[TemplateResource(template_id=made)],
    )
    ada = Person(display_name="Ada", email="a@example.org", first_name="Ada", last_name="L")
    return {
        "workflow_template_id": provenance.register_item(template).id,
        "inputs": [],
        "outputs": [{"dataset_template_id": made}],
        "display_name": "grow",
        "description": "corals",
        "associations": {"modeller_id": provenance.register_item(ada).id},
        "start_time": 0,
        "end_time": 60,
    }


def test_the_run_of_a_flow_becomes_a_model_run(store: Registry) -> None:
    """With the dataset that it has staged; when the flow fails, neither is there. Tasks ask of it afterwards."""
    provenance = Provenance(store)
    wanted = record(provenance)

    @registry_run(store)
    @flow
    def grow(fails: bool) -> str:
        with current_run().dataset("corals") as ds:
            ds.write_table(pa.table({"n": [1]}))
        outputs = [{**wanted["outputs"][0], "dataset_id": ds.id}]
        run: str = tasks.register_model_run({**wanted, "outputs": outputs})
        assert run == current_run().id
        if fails:
            raise ValueError("no")
        return ds.id

    with pytest.raises(ValueError, match="no"):
        grow(True)
    assert list(provenance.model_runs()) == []
    dataset_id = grow(False)
    [model_run] = provenance.model_runs()

    @flow
    def ask() -> tuple[str, ...]:
        broken = tasks.what_breaks(str(model_run.id), registry=store)
        assert tasks.lineage_picture(dataset_id, registry=store).startswith("flowchart")
        return broken.datasets

    assert ask() == (dataset_id,)
