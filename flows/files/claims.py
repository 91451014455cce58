"""Which run takes which file: the cell ``source`` / ``<kind>/<url>`` of each file, written in the run (DESIGN.md P4).

The cell's next generation is created if absent, so of two runs that want the same file exactly one gets it. If that
run aborts, or is killed, its generation is dead and the file is as free as before.

A cell holds the marks (size and version) under which the file was taken in last, and, if it was passed over since,
those of the content that was not good, so that it is not read in vain each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from flows.files.reading import Reading
from flows.files.sources import Source
from prefect_registry.errors import RevisionConflict, UndecidedConflict
from prefect_registry.records.cells import CellGeneration
from prefect_registry.registry import Registry, Run

TYPE = "source"
LONGEST_WHY = 1_000

Seen = CellGeneration | None


def seen(registry: Registry, run_id: str | None, kind: str, sources: Sequence[Source]) -> list[Seen]:
    """What is recorded of each file: the newest generation that is visible in the run, asked for at once."""
    cells = registry.ledger.cells
    calls = [partial(cells.latest, TYPE, _name(kind, s), run_id) for s in sources]
    return registry.ledger.store.together(calls) if calls else []


def is_unchanged(source: Source, before: Seen) -> bool:
    """Whether the file was taken in before, with the same size and the same etag or time of modification."""
    return _marks(_value(before)) == source.marks


def was_taken(before: Seen) -> bool:
    """Whether the file was ever taken in, with whatever content."""
    return _marks(_value(before)) is not None


def passed_over(source: Source, before: Seen, reading: Reading) -> str | None:
    """Why this very content was passed over before, if it was, and would be read in the same way again."""
    record = _value(before).get("passed_over")
    if not isinstance(record, Mapping) or _marks(record) != source.marks or record.get("reading") != _digest(reading):
        return None
    return str(record.get("why"))


def claim(run: Run, kind: str, source: Source, before: Seen) -> str | None:
    """Take the file for this run. Returns None when it is ours, else who has it.

    A file that another run holds is not waited for: if that run commits, the file is taken in; if it aborts, the next
    tick takes it. A dead one is aborted on the way (DESIGN.md P7).

    Args:
        before: What :func:`seen` showed when the file was found to be new.
    """
    try:
        _write(run, kind, source, source.marks, expected=before.gen if before is not None else None)
    except UndecidedConflict as conflict:
        return f"run {conflict.context.get('run_id')} is taking it"
    except RevisionConflict:
        (now,) = seen(run.registry, run.id, kind, [source])
        is_ours = now is not None and now.tx == run.id and is_unchanged(source, now)
        return None if is_ours else "another run took it meanwhile"  # ours: an earlier attempt of this task
    return None


def pass_over(run: Run, kind: str, source: Source, before: Seen, reading: Reading, why: str) -> None:
    """Give a claimed file back in the same run, and remember that this content of it was not good."""
    taken = {key: value for key, value in _value(before).items() if key in ("size", "version")}
    record = {**source.marks, "reading": _digest(reading), "why": why[:LONGEST_WHY]}
    (claimed,) = seen(run.registry, run.id, kind, [source])
    assert claimed is not None
    _write(run, kind, source, {**taken, "passed_over": record}, expected=claimed.gen)


def _write(run: Run, kind: str, source: Source, marks: Mapping[str, Any], expected: int | None) -> None:
    value = {"kind": kind, "url": source.url, **marks}
    run.registry.ledger.cells.write(
        TYPE, _name(kind, source), value, run_id=run.id, expected=expected, patience_seconds=0.0
    )


def _value(before: Seen) -> Mapping[str, Any]:
    return before.value if before is not None and not before.deleted else {}


def _marks(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return {key: record[key] for key in ("size", "version")} if "version" in record else None


def _digest(reading: Reading) -> str:
    return hashlib.sha256(repr(reading).encode()).hexdigest()[:16]


def _name(kind: str, source: Source) -> str:
    return f"{kind}/{source.url}"
