"""Un-publishing a bad run: one new run whose members are tombstones (DESIGN.md 8)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prefect_registry.datasets.finding import TOMBSTONES
from prefect_registry.datasets.service import LONGEST_REASON_CHARACTERS, Datasets
from prefect_registry.errors import InvalidInput, InvalidState
from prefect_registry.ledger import paths
from prefect_registry.ledger.runs import FLOW_RUN
from prefect_registry.records.base import printable
from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.records.datasets import DatasetGeneration


@dataclass
class RevertReport:
    """What ``revert`` did: the new run, the datasets it hid, the cells it took back, and the cells it left alone
    because a later run has changed them since (``[type, name]``).
    """

    run_id: str
    reverted_run: str
    datasets: list[str] = field(default_factory=list)
    cells: list[tuple[str, str]] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)


def revert(datasets: Datasets, run_id: str, reason: str | None = None) -> RevertReport:
    """Hide what ``run_id`` and the runs nested in it published, by one decision. Reverting that run restores it.

    Raises:
        NotFound: No such run.
        InvalidState: The run has not committed, so there is nothing to take back.
    """
    if reason is not None and not isinstance(reason, str):
        raise InvalidInput.of("reason", [f"reason must be a string, not {type(reason).__name__}"])
    reason = printable(reason, LONGEST_REASON_CHARACTERS) if reason is not None else None
    ledger = datasets.ledger
    ledger.runs.known(run_id)
    if ledger.outcomes.effective(run_id) != "committed":
        raise InvalidState(
            f"Run {run_id} cannot be reverted: it has not published anything",
            why="Only committed runs can be reverted",
            committed="no",
        )
    tree = _tree(datasets, run_id)
    config = {"run_id": run_id, "reason": reason}
    with ledger.implicit_run(f"revert {run_id}", config=config, notes=reason) as own:
        report = RevertReport(own, run_id)
        _hide_datasets(datasets, tree, report, reason)
        _restore_cells(datasets, tree, report, reason)
    return report


def _tree(datasets: Datasets, run_id: str) -> list[str]:
    """The run and the committed runs nested in it, at any depth."""
    found, todo = [], [run_id]
    while todo:
        run = todo.pop()
        found.append(run)
        end = datasets.store.decision(run)
        todo += datasets.store.members(end).runs if end is not None else []
    return found


def _members(datasets: Datasets, tree: list[str]) -> list[tuple[str, Any]]:
    ends = [datasets.store.decision(run) for run in tree]
    return [(end.run_id, datasets.store.members(end)) for end in ends if end is not None]


def _hide_datasets(datasets: Datasets, tree: list[str], report: RevertReport, reason: str | None) -> None:
    keys = [
        paths.dataset_key(run, suffix, gen)
        for run, members in _members(datasets, tree)
        for suffix, gen in members.datasets.items()
    ]
    documents = datasets.store.read_many(keys, DatasetGeneration) if keys else []
    staged = [d.dataset_id for d in documents if d is not None and d.step == "staged"]
    calls = [
        partial(
            datasets.ledger.cells.write,
            TOMBSTONES,
            dataset_id,
            {"state": "DELETED", "reverted_run": report.reverted_run},
            run_id=report.run_id,
            deleted=True,
            reason=reason,
        )
        for dataset_id in staged
    ]
    if calls:
        datasets.store.together(calls)
    report.datasets = staged


def _restore_cells(datasets: Datasets, tree: list[str], report: RevertReport, reason: str | None) -> None:
    """Every named cell that the reverted runs wrote last goes back to what it was before them."""
    cells = {
        CellRef(c[0], c[1]): c[2] for _, m in _members(datasets, tree) for c in sorted(m.cells, key=lambda c: c[2])
    }
    for cell, gen in cells.items():
        if cell.type == FLOW_RUN:
            continue
        written = datasets.store.read(paths.cell_key(cell, gen), CellGeneration)
        latest = datasets.ledger.cells.latest(cell.type, written.name, report.run_id)
        if latest is None or latest.tx not in tree:
            report.kept.append((cell.type, written.name))
            continue
        before = _before(datasets, cell, latest, tree)
        restored_dataset = cell.type == TOMBSTONES and before is None
        datasets.ledger.cells.write(
            cell.type,
            written.name,
            {"state": "READY"} if restored_dataset else (dict(before.value) if before is not None else {}),
            run_id=report.run_id,
            expected=latest.gen,
            deleted=False if restored_dataset else (before is None or before.deleted),
            reason=reason,
        )
        report.cells.append((cell.type, written.name))


def _before(datasets: Datasets, cell: CellRef, latest: CellGeneration, tree: list[str]) -> CellGeneration | None:
    """The visible generation that the reverted runs found."""
    base = latest.base
    while base is not None:
        found = datasets.store.read(paths.cell_key(cell, base), CellGeneration)
        if found.tx not in tree and datasets.ledger.cells.state(cell, found) == "visible":
            return found
        base = found.base
    return None
