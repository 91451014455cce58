"""Model runs as CSV: a template to fill in, what was filled in, and what became of a batch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from prefect_registry.errors import InvalidInput
from prefect_registry.provenance.batches import BatchResult
from prefect_registry.provenance.csv import BatchRow, Conversion, convert_csv, regenerate_csv, template_csv
from prefect_registry.provenance.holding import not_found
from prefect_registry.provenance.looking_up import Lookups
from prefect_registry.provenance.records import (
    ConvertModelRunsResponse,
    DatasetTemplate,
    SeedItem,
    Status,
    WorkflowTemplate,
)
from prefect_registry.provenance.records.refused import salvaged
from prefect_registry.provenance.sessions import Sessions

PathLike = str | os.PathLike[str]


class Tables(Sessions):
    """What of :class:`~prefect_registry.provenance.service.Provenance` reads and writes CSV."""

    def generate_csv_template(
        self, workflow_template_id: str, file_path: PathLike | None = None, write_to_csv: bool = False
    ) -> str:
        """A table to fill in with runs of a workflow template: the line with the headers.

        Args:
            workflow_template_id: The template.
            file_path: Where it is written as well, if ``write_to_csv``; by default ``<id>.csv`` here, with ``_`` in
                the place of what file names do not have.
            write_to_csv: Also write it into a file.

        Raises:
            NotFound: There is no such workflow template.
            InvalidInput: A dataset template of it is not there; or there is a path, and nothing is to be written.
        """
        path = _target(file_path, write_to_csv, workflow_template_id)
        template, others = self._templates(workflow_template_id)
        return _written(template_csv(template, others), path)

    def convert_model_runs(self, model_run_content: str) -> ConvertModelRunsResponse:
        """The model runs that a filled-in table describes. Nothing is registered.

        Raises:
            InvalidInput: With everything that is wrong with the table.
        """
        return _response(convert_csv(model_run_content, Lookups(self, self.run_of(None))))

    def convert_model_runs_to_csv(self, csv_file_contents: str) -> ConvertModelRunsResponse:
        """The reference system's name of :meth:`convert_model_runs`: it converts *from* CSV."""
        return self.convert_model_runs(csv_file_contents)

    convert_csv_to_model_runs = convert_model_runs_to_csv

    def convert_model_runs_to_csv_with_file(
        self, file_path: PathLike, *, encoding: str | None = None
    ) -> ConvertModelRunsResponse:
        """The same of a file.

        Args:
            file_path: The file.
            encoding: Of a file that is neither in UTF-8 nor in UTF-16 with a byte order mark: ``"cp1252"``.
        """
        try:
            content = Path(file_path).read_bytes()
        except OSError as error:
            raise InvalidInput.of("file_path", [f"{file_path} cannot be read: {error.strerror or error}"]) from error
        return _response(convert_csv(content, Lookups(self, self.run_of(None)), encoding))

    def regenerate_csv_from_model_run_batch(
        self, batch_id: str, file_path: PathLike | None = None, write_to_csv: bool = False
    ) -> str:
        """The table of a batch, with what became of each record, also of those that name no workflow template.

        Args:
            batch_id: The batch.
            file_path: As for :meth:`generate_csv_template`.
            write_to_csv: Also write it into a file.

        Raises:
            NotFound: There is no such batch.
            InvalidInput: Its records are not of one workflow template, or a table cannot hold them.
        """
        path = _target(file_path, write_to_csv, batch_id)
        results = self.batch_results(batch_id)
        named = [each.record.get("workflow_template_id") for each in results]
        ids = list(dict.fromkeys(id_ for id_ in named if id_ and isinstance(id_, str)))
        if len(ids) != 1:
            some = f"{len(ids)} workflow templates: {', '.join(ids[:20])}" if ids else "no workflow template"
            raise InvalidInput.of("the batch", [f"its records are of {some}"])
        template, others = self._templates(ids[0])
        return _written(regenerate_csv(template, others, map(_row, results)), path)

    def _templates(self, id_: str) -> tuple[WorkflowTemplate, Mapping[str, DatasetTemplate | SeedItem]]:
        lookups = Lookups(self, self.run_of(None))
        template = lookups.workflow_template(id_)
        if template is None:
            raise not_found("workflow template", id_)
        if isinstance(template, SeedItem):
            raise InvalidInput.of("workflow_template_id", [f"{id_} is a seed item: nothing is known of it yet"])
        found = {}
        for each in (*template.input_templates, *template.output_templates):
            one = lookups.dataset_template(each.template_id)
            if one is not None:
                found[each.template_id] = one
        return template, found


def _response(found: Conversion) -> ConvertModelRunsResponse:
    details = f"{len(found.new_records):,} new model runs, {len(found.existing_records):,} registered before."
    return ConvertModelRunsResponse(
        status=Status(success=True, details=details), new_records=found.new_records,
        existing_records=found.existing_records, warnings=found.warnings,
    )  # fmt: skip


def _row(result: BatchResult) -> BatchRow:
    # Without any check: what was refused is shown as it was given.
    record, absent = salvaged(result.record)
    job = result.model_run_id if result.error is None else None
    return BatchRow(record, job, result.status, job, result.error, absent)


def _target(file_path: PathLike | None, write: bool, id_: str) -> Path | None:
    if file_path is not None and not write:
        raise InvalidInput.of("file_path", ["a path is given, and nothing is to be written: pass write_to_csv=True"])
    if not write:
        return None
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in str(id_)).lstrip(".")
    path = Path(file_path) if file_path is not None else Path(f"{safe or 'model_runs'}.csv")
    if not path.parent.is_dir():
        raise InvalidInput.of("file_path", [f"there is no folder {path.parent}"])
    return path


def _written(text: str, path: Path | None) -> str:
    if path is not None:
        path.write_text(text, "utf-8", newline="")
    return text
