"""``publish="never"``: what a run would have changed, shown before it is dropped."""

from __future__ import annotations

from dataclasses import dataclass

from prefect_registry import artifacts
from prefect_registry.datasets.reading import Dataset
from prefect_registry.datasets.tables import Table
from prefect_registry.errors import InvalidState
from prefect_registry.registry import Run
from prefect_registry.runs import notices
from prefect_registry.runs.flowrun import flow_run_id, log


@dataclass(frozen=True)
class Change:
    """What would happen to one kind's table: rows are None when they were not counted."""

    kind: str
    datasets: tuple[int, int]
    rows: tuple[int | None, int | None]
    bytes: tuple[int, int]
    added_columns: tuple[str, ...]
    removed_columns: tuple[str, ...]

    def line(self) -> str:
        """The change in one line."""
        rows = " → ".join("uncounted" if r is None else f"{r:,}" for r in self.rows)
        text = (
            f"{self.kind}: {rows} rows, {self.datasets[0]} → {self.datasets[1]} dataset(s), "
            f"{artifacts.readable(self.bytes[0])} → {artifacts.readable(self.bytes[1])}"
        )
        if self.added_columns:
            text += f"; new columns: {', '.join(self.added_columns)}"
        if self.removed_columns:
            text += f"; columns gone: {', '.join(self.removed_columns)}"
        return text


def changes(run: Run) -> list[Change]:
    """What committing the run now would change, kind by kind.

    Raises:
        InvalidState: A dataset was begun and never committed, so that committing would fail.
    """
    own = run.datasets()
    pending = [d for d in own if d.state == "PENDING"]
    if pending:
        raise InvalidState(
            f"Run {run.id} has {len(pending)} dataset(s) that were begun and never committed",
            todo="Commit or roll back every dataset before the run ends",
            committed="no",
            run_id=run.id,
        )
    return [_change(run, kind) for kind in sorted({d.kind for d in own if d.state == "STAGED"})]


def show(run: Run) -> None:
    """Write the changes to the log and, in a flow run, to an artifact."""
    found = changes(run)
    lines = [change.line() for change in found] or ["nothing"]
    log().info('Run %s is a rehearsal (publish="never"). It would change: %s', run.id, " | ".join(lines))
    flow_run = flow_run_id()
    if flow_run is not None and found:
        text = "\n".join(["## Rehearsal: nothing was published", "", *(f"- {line}" for line in lines)])
        begin = run.registry.ledger.runs.known(run.id)
        name = begin.prefect.get("flow_name") or begin.purpose
        notices.page(f"{name}-rehearsal", text, f"What {begin.purpose} would have changed", flow_run)


def _change(run: Run, kind: str) -> Change:
    before, after = run.registry.table(kind), run.table(kind)
    old, new = _columns(before), _columns(after)
    return Change(
        kind,
        (len(before), len(after)),
        (before.rows, after.rows),
        (before.bytes, after.bytes),
        tuple(c for c in new if c not in old) if len(before) else (),
        tuple(c for c in old if c not in new),
    )


def _columns(table: Table) -> list[str]:
    """The columns of a table whose files are all Parquet; none otherwise."""
    datasets: list[Dataset] = table.datasets()
    parquet = datasets and all(d.files and all(f.path.endswith(".parquet") for f in d.files) for d in datasets)
    return list(table.dataset().schema.names) if parquet else []
