"""Un-publishing a bad run: one new run whose members are tombstones (DESIGN.md 8).

What retention has released cannot come back: neither by taking its release back, nor by taking away what hides it
(decision 0021).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prefect_registry.catalog.catalog import Catalog
from prefect_registry.catalog.histories import history
from prefect_registry.datasets.placing import places
from prefect_registry.datasets.proving import files_of
from prefect_registry.datasets.restoring import Restoring, released
from prefect_registry.datasets.service import LONGEST_REASON_CHARACTERS, Datasets
from prefect_registry.datasets.turns import TURN, take_turns
from prefect_registry.errors import InvalidInput, InvalidState
from prefect_registry.ids import parse_inner_id
from prefect_registry.ledger import paths
from prefect_registry.ledger.runs import FLOW_RUN
from prefect_registry.notebook import shown
from prefect_registry.records.base import as_reason
from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.records.datasets import LATER_STATES, DatasetGeneration
from prefect_registry.records.objects import PAYLOAD
from prefect_registry.records.types import OBJECT


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

    _repr_html_ = shown


@dataclass
class _Work:
    """A revert on its way: what it reports, the new state of each dataset that it changes, and how many releases each
    kind has seen.
    """

    datasets: Datasets
    tree: list[str]
    report: RevertReport
    reason: str | None
    published: list[DatasetGeneration]
    releases: dict[str, int] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)


def revert(datasets: Datasets, catalog: Catalog, run_id: str, reason: str | None = None) -> RevertReport:
    """Hide what ``run_id`` and the runs nested in it published, by one decision. Reverting that run restores it.

    Raises:
        NotFound: No such run.
        InvalidState: The run has not committed, so there is nothing to take back; or a table would fall back on
            datasets that were released.
        Conflict: Another revert, or a release, of the same kind came first.
    """
    if reason is not None and not isinstance(reason, str):
        raise InvalidInput.of("reason", [f"reason must be a string, not {type(reason).__name__}"])
    reason = as_reason(reason, LONGEST_REASON_CHARACTERS)
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
    published = _published(datasets, tree)
    kinds = {d.kind for d in published} | _kinds_restored(datasets, tree)
    with ledger.implicit_run(f"revert {run_id}", config=config, notes=reason) as own:
        work = _Work(datasets, tree, RevertReport(own, run_id), reason, published)
        work.releases = take_turns(ledger, kinds, own)
        _hide_datasets(work)
        _restore_cells(work)
        for kind in sorted(k for k, releases in work.releases.items() if releases):
            _check_falls_back_on_nothing_released(work, catalog, kind)
    return work.report


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


def _published(datasets: Datasets, tree: list[str]) -> list[DatasetGeneration]:
    """The datasets that the runs published."""
    keys = [
        paths.dataset_key(run, suffix, gen)
        for run, members in _members(datasets, tree)
        for suffix, gen in members.datasets.items()
    ]
    documents = datasets.store.read_many(keys, DatasetGeneration) if keys else []
    return [d for d in documents if d is not None and d.step == "staged"]


def _kinds_restored(datasets: Datasets, tree: list[str]) -> set[str]:
    """The kinds of the datasets whose later states the runs wrote."""
    cells = [CellRef(type_, key) for _, m in _members(datasets, tree) for type_, key, _ in m.cells]
    ids = [cell.key for cell in cells if cell.type == LATER_STATES]  # ids are their own keys
    firsts = [paths.dataset_key(run, suffix, 0) for run, suffix in (parse_inner_id(i, "ds", "dataset") for i in ids)]
    return {d.kind for d in (datasets.store.read_many(firsts, DatasetGeneration) if firsts else []) if d is not None}


def _hide_datasets(work: _Work) -> None:
    calls = [partial(_hide, work, d) for d in work.published]
    if calls:
        work.datasets.store.together(calls)
    work.report.datasets = [d.dataset_id for d in work.published]


def _hide(work: _Work, dataset: DatasetGeneration) -> None:
    """Write a tombstone; one that was released stays so, and no longer hides what it had replaced."""
    cells, own = work.datasets.ledger.cells, work.report.run_id
    found = cells.latest(LATER_STATES, dataset.dataset_id, own) if work.releases.get(dataset.kind) else None
    released = found is not None and found.value.get("purged") is True
    kept = {**found.value, "was": "DELETED"} if found is not None and released else {}
    value = {**kept, "state": "DELETED", "reverted_run": work.report.reverted_run}
    cells.write(LATER_STATES, dataset.dataset_id, value, run_id=own, deleted=True, reason=work.reason)
    work.states[dataset.dataset_id] = "DELETED"


def _restore_cells(work: _Work) -> None:
    """Every named cell that the reverted runs wrote last goes back to what it was before them."""
    datasets, report, tree = work.datasets, work.report, work.tree
    restoring = Restoring(datasets.ledger, tree, report.reverted_run, report.run_id, work.reason)
    cells = {
        CellRef(c[0], c[1]): c[2] for _, m in _members(datasets, tree) for c in sorted(m.cells, key=lambda c: c[2])
    }
    for cell, gen in cells.items():
        if cell.type in (FLOW_RUN, TURN):
            continue
        written = datasets.store.read(paths.cell_key(cell, gen), CellGeneration)
        if cell.type == PAYLOAD:
            restoring.check_payload(written)
            continue
        latest = datasets.ledger.cells.latest(cell.type, written.name, report.run_id)
        if cell.type == LATER_STATES and latest is not None and latest.value.get("purged") is True:
            raise released(report.reverted_run, f"dataset {written.name}")
        if latest is None or (cell.type == OBJECT and restoring.stays_released(cell, latest)) or latest.tx not in tree:
            report.kept.append((cell.type, written.name))
            continue
        value = restoring.restore(cell, latest)
        if cell.type == LATER_STATES:
            work.states[written.name] = str(value.get("state"))
        report.cells.append((cell.type, written.name))


def _check_falls_back_on_nothing_released(work: _Work, catalog: Catalog, kind: str) -> None:
    """Refuse a revert after which a table would lack datasets that it would have had before they were released.

    Publishing can only hide more, so what the index shows now is enough; releases and reverts wait for this run.
    """
    found = catalog.ask(lambda connection: list(history(connection, kind)))
    load = partial(files_of, work.datasets)
    after = [d if d.id not in work.states else d.in_state(work.states[d.id]) for d in found]
    shown = {p.dataset.id for p in places(found, load) if p.current and p.dataset.purged}
    lacking = [p.dataset.id for p in places(after, load) if p.current and p.dataset.purged]
    if set(lacking) - shown:
        raise released(work.report.reverted_run, f"a part of the table of {kind!r}", sorted(set(lacking) - shown))
