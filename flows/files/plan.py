"""What a run will do with the files that it found: which are new, and of what types their columns are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import pyarrow as pa

from flows.files import claims
from flows.files.claims import Seen
from flows.files.problems import BadFile, HalfWritten
from flows.files.reading import Reading, first_schema
from flows.files.sources import Place, Source, settled
from flows.files.taking import Outcome
from flows.files.types import Types, as_document, known_types, of_document, united
from prefect_registry.errors import RevisionConflict, UndecidedConflict
from prefect_registry.registry import Registry, Run

SCHEMA = "source_schema"
"""The type of the cells that hold the schema which the files of a kind have had so far."""

_FILES_TO_TRY = 5
_TIMES_TO_TRY = 10


@dataclass(frozen=True)
class Plan:
    """Files to take, with what is recorded of them; files that nothing is done about; how to read."""

    todo: tuple[tuple[Source, Seen], ...]
    done: tuple[Outcome, ...]
    reading: Reading
    schema: pa.Schema


def make_plan(
    registry: Registry, place: Place, kind: str, reading: Reading, settle_seconds: float, run_id: str | None = None
) -> Plan:
    """Look at every file and every record once: those that readers see, and those of the run ``run_id``.

    The types of columns are those that were given; else those that the kind's files have had so far; else those of
    the first readable file. So a value of another type is a bad row with a line, and not a table that nobody can read.
    """
    schema = recorded_schema(registry, kind, run_id)
    reading = replace(reading, types={**known_types(schema), **reading.types})
    files = place.find()
    records = claims.seen(registry, run_id, kind, files)
    done = [Outcome(s.url, "unchanged") for s, b in zip(files, records, strict=True) if claims.is_unchanged(s, b)]
    fresh = {s.url: (s, b) for s, b in zip(files, records, strict=True) if not claims.is_unchanged(s, b)}
    ready, busy = settled(place, [s for s, _ in fresh.values()], settle_seconds)
    done += [Outcome(s.url, "left", why="it is being written, or empty") for s in busy]
    if not reading.types:
        reading = replace(reading, types=_first_types(place, ready, reading))
    todo = []
    for source in ready:
        why = claims.passed_over(source, fresh[source.url][1], reading)
        if why is None:
            todo.append(fresh[source.url])
        else:
            done.append(Outcome(source.url, "left", why=f"{why} (unchanged since)"))
    return Plan(tuple(todo), tuple(done), reading, schema)


def _first_types(place: Place, sources: Sequence[Source], reading: Reading) -> Types:
    for source in sources[:_FILES_TO_TRY]:
        try:
            return known_types(first_schema(place, source, reading))
        except (HalfWritten, BadFile):
            continue
    return {}


def recorded_schema(registry: Registry, kind: str, run_id: str | None = None) -> pa.Schema:
    """The schema that the files of a kind have had so far; empty for a new kind."""
    found = registry.ledger.cells.latest(SCHEMA, kind, run_id)
    return of_document(found.value) if found is not None and not found.deleted else pa.schema([])


def record_schema(run: Run, kind: str, before: pa.Schema, outcomes: Sequence[Outcome]) -> None:
    """Record the schema when the files of this run have added to it, whatever another run adds at the same time.

    Raises:
        InvalidInput: Names the files and columns that do not go together.
        UndecidedConflict: Another run is adding to it too and does not end: this one must run again.
    """
    cells = run.registry.ledger.cells
    taken = {o.url: o.schema for o in outcomes if o.schema is not None}
    if united({"the files before": before, **taken}).equals(before):
        return
    for _ in range(_TIMES_TO_TRY):
        found = cells.latest(SCHEMA, kind, run.id)
        recorded = of_document(found.value) if found is not None else pa.schema([])
        whole = united({"the files before": recorded, **taken})
        if whole.equals(recorded):
            return
        with suppress(RevisionConflict):
            expected = found.gen if found is not None else None
            cells.write(SCHEMA, kind, as_document(whole), run_id=run.id, expected=expected)
            return
    raise UndecidedConflict(
        f"The schema of {kind!r} changed {_TIMES_TO_TRY} times meanwhile", why="Many runs add to it", committed="no"
    )
