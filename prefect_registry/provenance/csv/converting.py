"""From a table that was filled in to model run records (reference system 2)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import ValidationError

from prefect_registry.errors import InvalidInput
from prefect_registry.provenance.csv import cells
from prefect_registry.provenance.csv.columns import (
    AGENT,
    ANNOTATION,
    DESCRIPTION,
    DISPLAY_NAME,
    END,
    JOB_ID,
    MARKER,
    MODEL_VERSION,
    ORGANISATION,
    START,
    STUDY,
    Columns,
    DatasetColumns,
    Keyed,
    columns_of,
)
from prefect_registry.provenance.csv.reading import Row, Sheet, sheet_of, where
from prefect_registry.provenance.csv.times import seconds_of
from prefect_registry.provenance.records.base import Path, duplicates
from prefect_registry.provenance.records.items import SeedItem
from prefect_registry.provenance.records.runs import ModelRunRecord
from prefect_registry.provenance.records.templates import DatasetTemplate, WorkflowTemplate

_EMPTY = {
    DISPLAY_NAME: "Expected display name to be non-empty string.",
    DESCRIPTION: "Expected description to be non-empty string.",
}
_HEADERS: Mapping[Path, str] = {
    ("display_name",): DISPLAY_NAME,
    ("description",): DESCRIPTION,
    ("model_version",): MODEL_VERSION,
    ("associations", "modeller_id"): AGENT,
    ("associations", "requesting_organisation_id"): ORGANISATION,
    ("study_id",): STUDY,
    ("start_time",): START,
    ("end_time",): END,
}


class CsvLookups(Protocol):
    """What a table refers to. Ids are asked for once each, and together."""

    def workflow_template(self, id: str, /) -> WorkflowTemplate | SeedItem | None:
        """The workflow template of that id."""

    def dataset_template(self, id: str, /) -> DatasetTemplate | SeedItem | None:
        """The dataset template of that id."""

    def known_datasets(self, ids: Set[str], /) -> Collection[str]:
        """Those of the ids that datasets have."""

    def known_jobs(self, ids: Set[str], /) -> Collection[str]:
        """Those of the ids that requests to register a model run have."""


@dataclass(frozen=True)
class Conversion:
    """What a table holds.

    Attributes:
        new_records: Of the rows without a job id, in order.
        existing_records: The job ids of the other rows, in order: these runs were registered before.
        warnings: What was passed over.
    """

    new_records: list[ModelRunRecord]
    existing_records: list[str]
    warnings: list[str]


def convert_csv(content: str | bytes, lookups: CsvLookups, encoding: str | None = None) -> Conversion:
    """The model runs that a table describes. Nothing is registered.

    Cells are stripped. Resources and datasets that the templates call optional, and optional annotations, may be left
    empty, and are then left out. Columns ``annotation: …`` beyond those of the template are annotations too, and there
    may be a column ``requesting organisation id``. Other columns are passed over with a warning.

    Args:
        content: A CSV with commas, semicolons or tabs; bytes in UTF-8, or in UTF-16 with a byte order mark.
        lookups: What the table refers to.
        encoding: Of bytes in another encoding.

    Raises:
        InvalidInput: With everything that is wrong: of the file; else of its headers; else of its rows, each with the
            row's number and line, the header and the value.
    """
    sheet = sheet_of(content, encoding)
    columns = _columns(sheet, lookups)
    conversion = _Converting(sheet, columns)
    return conversion.run(lookups)


def _columns(sheet: Sheet, lookups: CsvLookups) -> Columns:
    """The columns of the template that the table's marker names. ``InvalidInput`` if the table does not have them."""
    markers = [h for h in sheet.headers if h.startswith(MARKER) or h == MARKER.strip()]
    problems = []
    twice = duplicates(h for h in sheet.headers if h)
    if twice:
        problems.append(f"Duplicate headers are not allowed. Detected duplicates: {twice}.")
    if len(markers) != 1:
        some = "Multiple" if markers else "None of the"
        flag = "matched the expected workflow template flag to identify the workflow template."
        problems.append(f"{some} provided headers {flag}")
    columns = None
    if len(markers) == 1:
        try:
            columns = _expected(markers[0].removeprefix(MARKER.strip()).strip(), lookups)
        except InvalidInput as error:
            problems += error.problems
    if columns is not None:
        there = set(sheet.headers)
        problems += [f"Expected header '{h}' not in headers!" for h in columns.headers() if h not in there]
    if not sheet.rows:
        problems.append("The provided CSV had no non header rows.")
    if problems or columns is None:
        raise InvalidInput.of("the CSV", problems, todo="Generate a template, and compare the first lines")
    return columns


def _expected(id_: str, lookups: CsvLookups) -> Columns:
    workflow = lookups.workflow_template(id_) if id_ else None
    if workflow is None:
        what = f"The provided workflow template ID was invalid: there is no workflow template {id_!r:.80}"
        raise InvalidInput.of("the CSV", [what])
    if isinstance(workflow, SeedItem):
        raise InvalidInput.of("the CSV", ["The provided workflow template ID was a seed item."])
    found: dict[str, DatasetTemplate | SeedItem] = {}
    for each in (*workflow.input_templates, *workflow.output_templates):
        template = lookups.dataset_template(each.template_id) if each.template_id not in found else None
        if template is not None:
            found[each.template_id] = template
    # Its own id can be None; that by which it was found cannot.
    return columns_of(workflow.model_copy(update={"id": id_}), found)


class _Converting:
    """One table, on its way to records."""

    def __init__(self, sheet: Sheet, columns: Columns) -> None:
        self._sheet, self._columns = sheet, columns
        self._at = {header: i for i, header in enumerate(sheet.headers)}
        own = set(columns.headers())
        more = [h for h in sheet.headers if h and h not in own]
        self._annotations = (
            *columns.annotations,
            *(Keyed(h.removeprefix(ANNOTATION), h, True) for h in more if h.startswith(ANNOTATION)),
        )
        self._organisation = ORGANISATION in more
        self._extra = [h for h in more if not h.startswith(ANNOTATION) and h != ORGANISATION]
        self._problems: list[str] = []
        self._warnings: list[str] = []
        self._told: set[str] = set()
        """Headers of the present row's cells that something is wrong with."""

    def run(self, lookups: CsvLookups) -> Conversion:
        rows, datasets = self._sheet.rows, (*self._columns.inputs, *self._columns.outputs)
        job_ids = [self._value(row, JOB_ID) for row in rows]
        asked = {id_ for id_ in job_ids if id_ is not None}
        jobs = set(lookups.known_jobs(asked)) if asked else set()
        named = {
            value
            for row, job_id in zip(rows, job_ids, strict=True)
            if job_id is None
            for each in datasets
            if (value := self._value(row, each.header)) is not None
        }
        self._datasets = set(lookups.known_datasets(named)) if named else set()
        self._warn()

        records: list[ModelRunRecord] = []
        existing: dict[str, Row] = {}
        repeated: list[str] = []
        for row, job_id in zip(rows, job_ids, strict=True):
            if job_id is None:
                record = self._record(row)
                if record is not None:
                    records.append(record)
                continue
            if job_id not in jobs:
                self._problem(row, JOB_ID, f"The (job_id = {job_id!r:.80}) does not exist in the job status database.")
            first = existing.setdefault(job_id, row)
            if first is not row:
                self._warnings.append(
                    f"Row #{row.number:,} (line {row.line:,}) has the job id of row #{first.number:,}: it is no new "
                    f"model run. To make it one, leave {JOB_ID!r} empty"
                )
            repeated.append(job_id)
        if self._problems:
            raise InvalidInput.of("the CSV", self._problems, todo="Nothing was registered; correct the rows")
        return Conversion(records, repeated, self._warnings)

    def _warn(self) -> None:
        nameless = [i for i, header in enumerate(self._sheet.headers) if not header]
        extra = self._extra + [""] * any(row.cells[i].strip() for row in self._sheet.rows for i in nameless)
        self._warnings += [f"Extra column with header '{header}' provided, ignoring" for header in extra]

    # -- one row -------------------------------------------------------------------------------------------------

    def _value(self, row: Row, header: str) -> str | None:
        return cells.read(row.cells[self._at[header]])

    def _problem(self, row: Row, header: str, what: str) -> None:
        self._told.add(header)
        cell = row.cells[self._at[header]] if header in self._at else ""
        self._problems.append(f"{where(row)}, {header!r} is {cell!r:.80}: {what}")

    def _record(self, row: Row) -> ModelRunRecord | None:
        self._told = set()
        for header in (DISPLAY_NAME, DESCRIPTION, AGENT):
            if not (self._value(row, header) or "").strip():
                self._problem(row, header, _EMPTY.get(header, "The id of a person is needed."))
        inputs = [d for each in self._columns.inputs if (d := self._dataset(row, each)) is not None]
        outputs = [d for each in self._columns.outputs if (d := self._dataset(row, each)) is not None]
        annotations = {}
        for each in self._annotations:
            value = self._value(row, each.header)
            if value is not None:
                annotations[each.key] = value
            elif not each.optional:
                self._problem(row, each.header, f"Required annotation with key {each.key} was either empty or None.")
        raw = {
            "workflow_template_id": self._columns.workflow_template_id,
            "model_version": self._value(row, MODEL_VERSION),
            "inputs": inputs,
            "outputs": outputs,
            "annotations": annotations or None,
            "display_name": self._value(row, DISPLAY_NAME),
            "description": self._value(row, DESCRIPTION),
            "study_id": self._value(row, STUDY),
            "associations": {
                "modeller_id": self._value(row, AGENT),
                "requesting_organisation_id": self._value(row, ORGANISATION) if self._organisation else None,
            },
            "start_time": self._time(row, START),
            "end_time": self._time(row, END),
        }
        return self._made(row, raw)

    def _made(self, row: Row, raw: dict[str, Any]) -> ModelRunRecord | None:
        """The record. Of cells of which nothing was told yet, what its model refuses is."""
        try:
            return ModelRunRecord.model_validate(raw)
        except ValidationError as error:
            for each in error.errors(include_url=False, include_input=False):
                header = self._header_of(each["loc"], raw)
                if header not in self._told:
                    self._problem(row, header, each["msg"])
            return None

    def _header_of(self, loc: Path, raw: dict[str, Any]) -> str:
        if loc in _HEADERS:
            return _HEADERS[loc]
        if loc[0] == "annotations" and len(loc) > 1:
            return next(each.header for each in self._annotations if each.key == loc[1])
        if loc[0] in ("inputs", "outputs") and len(loc) > 2:
            side = self._columns.inputs if loc[0] == "inputs" else self._columns.outputs
            template_id = raw[str(loc[0])][loc[1]]["dataset_template_id"]
            dataset = next(each for each in side if each.template_id == template_id)
            return next((r.header for r in dataset.resources if r.key in loc[3:]), dataset.header)
        return ".".join(map(str, loc))

    def _time(self, row: Row, header: str) -> int | None:
        try:
            return seconds_of(self._value(row, header) or "")
        except ValueError as error:
            self._problem(row, header, str(error))
            return None

    def _dataset(self, row: Row, columns: DatasetColumns) -> dict[str, Any] | None:
        """The dataset that fulfils a template; None if it is left out."""
        id_ = self._value(row, columns.header)
        given = {each.key: self._value(row, each.header) for each in columns.resources}
        resources = {key: path for key, path in given.items() if path is not None}
        if id_ is None and columns.optional and not resources:
            return None
        if id_ is None:
            what = "its resources are given, so" if columns.optional else "the template requires one:"
            self._problem(row, columns.header, f"The id of a dataset is needed; {what} tell which dataset it is.")
        elif id_ not in self._datasets:
            what = f"The provided workflow template contained a dataset id {id_} which was invalid."
            self._problem(row, columns.header, what)
        for each in columns.resources:
            if given[each.key] is None and not each.optional:
                what = f"A path in the dataset is needed for the required resource key {each.key}."
                self._problem(row, each.header, what)
        return {"dataset_template_id": columns.template_id, "dataset_id": id_, "resources": resources or None}
