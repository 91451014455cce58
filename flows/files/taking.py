"""Taking one file into a run: claim it, read it, stage its rows as a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

from flows.files import claims
from flows.files.claims import Seen
from flows.files.problems import BadFile, HalfWritten, bad_file
from flows.files.reading import Reading, read
from flows.files.sources import Place, Source
from prefect_registry.datasets.writing import DatasetWriter
from prefect_registry.errors import InvalidInput
from prefect_registry.records.datasets import Mode
from prefect_registry.registry import Run

Step = Literal["taken", "unchanged", "elsewhere", "left", "refused"]


@dataclass(frozen=True)
class Target:
    """Where the rows go.

    Attributes:
        kind: The table.
        partition_by: Columns whose values become folders.
        replaces: The rows of a changed file replace those that it gave before, instead of joining them.
        leaves_bad_files_out: A bad file is left out, with an incident, instead of failing the run.
    """

    kind: str
    partition_by: tuple[str, ...] = ()
    replaces: bool = False
    leaves_bad_files_out: bool = False

    @property
    def mode(self) -> Mode:
        """A file is the partition of the table that it gave: replacing it leaves those of other files alone."""
        return "replace_partitions" if self.replaces else "append"


@dataclass(frozen=True)
class Outcome:
    """What became of a file: ``taken``; ``unchanged`` since it was taken before; ``elsewhere``: another run has it;
    ``left`` for the next time, because it is still being written; ``refused``, because it is bad.
    """

    url: str
    step: Step
    rows: int = 0
    why: str = ""
    dataset_id: str = ""
    schema: pa.Schema | None = field(default=None, repr=False)


def take(run: Run, place: Place, source: Source, before: Seen, target: Target, reading: Reading) -> Outcome:
    """Take a new or changed file into the run.

    Whatever happens, it is either claimed and staged, or neither. It is claimed first, so that another run passes it
    over at once and does not read it in vain.

    Raises:
        BadFile: Its content is wrong, unless bad files are to be left out.
        StorageUnavailable: Trying again may help.
    """
    holder = claims.claim(run, target.kind, source, before)
    if holder is not None:
        return Outcome(source.url, "elsewhere", why=holder)
    try:
        return _staged(run, place, source, target, reading, replaced=target.replaces and claims.was_taken(before))
    except HalfWritten as error:
        why = f"{error.what}: {error.why}"
        claims.pass_over(run, target.kind, source, before, reading, why)
        return Outcome(source.url, "left", why=why)
    except BadFile as error:
        if not target.leaves_bad_files_out:
            raise
        why = "; ".join(error.problems)
        claims.pass_over(run, target.kind, source, before, reading, why)
        run.incident("ingest.file-refused", source.url, type(error).__name__, str(error))
        return Outcome(source.url, "refused", why=why)


class _NoRows(Exception):
    """The file has column names and nothing else: there is nothing to publish."""


def _staged(
    run: Run, place: Place, source: Source, target: Target, reading: Reading, replaced: bool = False
) -> Outcome:
    """Read the file and stage its rows; if it has none, an empty dataset where that replaces rows that it gave."""
    tags = {"source": source.url, "version": source.version, "size": str(source.size)}
    schema: pa.Schema | None = None
    rows = 0
    try:
        with run.dataset(target.kind, mode=target.mode, partition={"source": source.url}, tags=tags) as ds:
            for table in read(place, source, reading):
                schema, rows = table.schema, rows + table.num_rows
                if table.num_rows:
                    _write(ds, source, table, target.partition_by)
            place.check_unchanged(source)
            if rows == 0:
                if not replaced:
                    raise _NoRows
                _write(ds, source, table.drop_columns([c for c in target.partition_by if c in table.schema.names]), ())
        return Outcome(source.url, "taken", rows, dataset_id=ds.id, schema=schema)
    except _NoRows:
        return Outcome(source.url, "taken", why="it has no rows", schema=schema)


def _write(ds: DatasetWriter, source: Source, table: pa.Table, partition_by: tuple[str, ...]) -> None:
    try:
        ds.write_table(table, partition_by=list(partition_by) or None)
    except InvalidInput as error:
        raise bad_file(source.url, "; ".join(error.problems), todo=error.todo) from error


def counted(outcomes: list[Outcome]) -> Mapping[Step, int]:
    """How many files there are of each outcome."""
    steps: dict[Step, int] = {}
    for outcome in outcomes:
        steps[outcome.step] = steps.get(outcome.step, 0) + 1
    return steps
