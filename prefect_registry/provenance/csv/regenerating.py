"""From a batch back to a table, with what became of each run (reference system 2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prefect_registry.errors import InvalidInput
from prefect_registry.provenance.csv import cells
from prefect_registry.provenance.csv.columns import ANNOTATION, ORGANISATION, Columns, DatasetColumns, columns_of
from prefect_registry.provenance.csv.template import csv_text
from prefect_registry.provenance.csv.times import cell_of
from prefect_registry.provenance.records.items import SeedItem
from prefect_registry.provenance.records.jobs import JobStatus
from prefect_registry.provenance.records.runs import ModelRunRecord, TemplatedDataset
from prefect_registry.provenance.records.templates import DatasetTemplate, WorkflowTemplate


@dataclass(frozen=True)
class BatchRow:
    """A model run of a batch, and what became of it.

    Attributes:
        job_id: None for a run that is to be registered: then the row is read as a new one.
        model_run_record_id: The run's own id, once it is registered.
        error_info: Why it failed; not written of a run that did not.
        absent: Fields of a refused record that it does not have, or not as they must be: their cells are empty.
    """

    record: ModelRunRecord
    job_id: str | None = None
    job_status: JobStatus | None = None
    model_run_record_id: str | None = None
    error_info: str | None = None
    absent: frozenset[str] = frozenset()


def regenerate_csv(
    workflow_template: WorkflowTemplate,
    dataset_templates: Mapping[str, DatasetTemplate | SeedItem],
    rows: Iterable[BatchRow],
) -> str:
    """The table of a batch: its template's columns, filled in.

    What the template requires and a record does not have is an empty cell: the record was refused for it. Annotations
    beyond the template, and requesting organisations, get columns of their own behind the template's annotations; all
    of it is read by :func:`~prefect_registry.provenance.csv.converting.convert_csv` as it was written.

    Args:
        workflow_template: Registered: it has an id.
        dataset_templates: Those that it names, by id.
        rows: All of this workflow template, or of none.

    Raises:
        InvalidInput: With every row that the columns cannot hold: of another template, with several datasets for one
            dataset template, with datasets or resources that the template does not name.
    """
    columns, rows = columns_of(workflow_template, dataset_templates), list(rows)
    problems = [f"row {n:,}: {what}" for n, row in enumerate(rows, 1) for what in _problems(columns, row)]
    if problems:
        todo = "Look at the runs one by one: a table of this template cannot hold them"
        raise InvalidInput.of("the batch", problems, todo=todo)
    own = {each.key for each in columns.annotations}
    more = list(dict.fromkeys(key for row in rows for key in row.record.annotations or () if key not in own))
    with_organisation = any(row.record.associations.requesting_organisation_id is not None for row in rows)
    headers = columns.headers([ANNOTATION + key for key in more] + [ORGANISATION] * with_organisation)
    keys = [each.key for each in columns.annotations] + more
    return csv_text([map(cells.guarded, headers), *(_cells(columns, row, keys, with_organisation) for row in rows)])


def _cells(columns: Columns, row: BatchRow, annotations: Sequence[str], with_organisation: bool) -> list[str]:
    record = row.record

    def there(field: str, value: str) -> str | None:
        return None if field in row.absent else value

    values = [
        None,
        there("display_name", record.display_name),
        there("description", record.description),
        record.model_version,
        there("associations", record.associations.modeller_id),
        record.study_id,
        there("start_time", cell_of(record.start_time)),
        there("end_time", cell_of(record.end_time)),
        *_dataset_values(columns.inputs, record.inputs),
        *_dataset_values(columns.outputs, record.outputs),
        *((record.annotations or {}).get(key) for key in annotations),
    ]
    if with_organisation:
        values.append(record.associations.requesting_organisation_id)
    error = row.error_info if row.job_status == JobStatus.FAILED else None
    values += [row.job_id, row.job_status and str(row.job_status), row.model_run_record_id, error]
    return [cells.written(value) for value in values]


def _dataset_values(columns: Iterable[DatasetColumns], datasets: Iterable[TemplatedDataset]) -> Iterator[str | None]:
    given = {each.dataset_template_id: each for each in datasets}
    for each in columns:
        dataset = given.get(each.template_id)
        yield None if dataset is None else dataset.dataset_id
        resources = {} if dataset is None else dataset.resources or {}
        yield from (resources.get(resource.key) for resource in each.resources)


def _problems(columns: Columns, row: BatchRow) -> Iterator[str]:
    record = row.record
    if "workflow_template_id" not in row.absent and record.workflow_template_id != columns.workflow_template_id:
        yield (
            f"it is of the workflow template {record.workflow_template_id}, not {columns.workflow_template_id}: "
            "the runs of a table have one workflow template"
        )
        return
    for noun, sides, datasets in (
        ("input", columns.inputs, record.inputs),
        ("output", columns.outputs, record.outputs),
    ):
        known = {each.template_id: {r.key for r in each.resources} for each in sides}
        seen: set[str] = set()
        for dataset in datasets:
            template_id = dataset.dataset_template_id
            if template_id not in known:
                yield f"the workflow template has no {noun} of dataset template {template_id}"
                continue
            if template_id in seen:
                yield f"there are several {noun}s of dataset template {template_id}"
            seen.add(template_id)
            for key in [k for k in dataset.resources or () if k not in known[template_id]]:
                yield f"dataset template {template_id} has no resource {key}"
