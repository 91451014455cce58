"""The table that a workflow template asks to fill in (reference system 2)."""

from __future__ import annotations

import csv
import io

import pytest
from model_run_support import DATASET_TEMPLATES, WORKFLOW_TEMPLATE, dataset_template, deferred, workflow_template

from prefect_registry.errors import InvalidInput
from prefect_registry.provenance.csv import template_csv

TIMES = "execution {} time (YYYY-MM-DD HH:MM:SS+HH:MM)"
GENERIC = ["display name", "description", "model version (optional)", "agent id", "study id"]
GENERIC += [TIMES.format("start"), TIMES.format("end")]
STATUS = ["_job_id", "_job_status", "_model_run_record_id", "_error_info"]


def headers_of(text: str) -> list[str]:
    (headers,) = csv.reader(io.StringIO(text, newline=""), strict=True)
    return headers


def test_columns_in_order() -> None:
    """One line, of the columns in the reference's order; a key that another input has too is told apart."""
    text = template_csv(WORKFLOW_TEMPLATE, DATASET_TEMPLATES)
    assert text.endswith("\r\n")
    assert headers_of(text) == [
        "_workflow template id 10378.1/w",
        *GENERIC,
        "Input dataset id for template: reefs, 2013 [template id: t_in]",
        "Input resource: map",
        "Input resource: legend",
        "Input dataset id for template: weather [template id: t_in2]",
        "Input resource: map [template id: t_in2]",
        "Input resource: stations",
        "Output dataset id for template: corals [template id: t_out]",
        "Output resource: map",
        "annotation: scenario",
        "annotation: note",
        *STATUS,
    ]


def test_hostile_names() -> None:
    """Headers differ whatever templates and keys are called: also when a key is what another one becomes."""
    templates = {
        "a": dataset_template('x,"y"\n;z', deferred("k"), deferred("k [template id: b]")),
        "b": dataset_template("=1+1", deferred("k"), deferred("k [template id: b]")),
    }
    headers = headers_of(template_csv(workflow_template(["a", "b"], []), templates))
    assert len(set(headers)) == len(headers) == 8 + 6 + 2 + 4
    assert "Input resource: k [template id: b] [template id: b]" in headers


def test_without_anything() -> None:
    """A template without datasets and annotations has the generic columns."""
    plain = workflow_template([], []).model_copy(update={"annotations": None})
    assert headers_of(template_csv(plain, {}))[1:] == [*GENERIC, *STATUS]


def test_missing_templates() -> None:
    """Every dataset template that is not there is named; a workflow template without an id has no table."""
    with pytest.raises(InvalidInput) as raised:
        template_csv(WORKFLOW_TEMPLATE, {"t_in": DATASET_TEMPLATES["t_in"]})
    assert raised.value.problems == [
        f"The provided workflow template contained a dataset template id {id_} which was invalid."
        for id_ in ("t_in2", "t_out")
    ]
    with pytest.raises(InvalidInput, match="not registered"):
        template_csv(WORKFLOW_TEMPLATE.model_copy(update={"id": None}), DATASET_TEMPLATES)
