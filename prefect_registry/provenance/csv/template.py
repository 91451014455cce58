"""Tables as text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping

from prefect_registry.provenance.csv import cells
from prefect_registry.provenance.csv.columns import columns_of
from prefect_registry.provenance.records.items import SeedItem
from prefect_registry.provenance.records.templates import DatasetTemplate, WorkflowTemplate


def template_csv(
    workflow_template: WorkflowTemplate, dataset_templates: Mapping[str, DatasetTemplate | SeedItem]
) -> str:
    """A table to fill in with runs of ``workflow_template``: the line with the headers.

    Args:
        workflow_template: Registered: it has an id.
        dataset_templates: Those that it names, by id.

    Raises:
        InvalidInput: With every dataset template that is not there.
    """
    return csv_text([map(cells.guarded, columns_of(workflow_template, dataset_templates).headers())])


def csv_text(rows: Iterable[Iterable[str]]) -> str:
    """Cells as CSV (RFC 4180): commas, CR LF at line ends, quotes where they are needed."""
    sink = io.StringIO(newline="")
    csv.writer(sink).writerows(rows)
    return sink.getvalue()
