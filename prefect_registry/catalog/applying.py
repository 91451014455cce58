"""What a look found, as rows of the index: each publication whole (DESIGN.md 6)."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import pairwise

from prefect_registry.catalog import rows
from prefect_registry.catalog.look import Look, View
from prefect_registry.catalog.rows import Row, Standing
from prefect_registry.ledger import paths
from prefect_registry.ledger.listing import Listing
from prefect_registry.ledger.outcomes import Outcomes
from prefect_registry.ledger.runs import FLOW_RUN
from prefect_registry.ledger.store import D
from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.records.datasets import DatasetGeneration
from prefect_registry.records.events import Event
from prefect_registry.records.runs import Begin, Decision, Members

log = logging.getLogger("prefect_registry")
Rows = dict[str, list[Row]]


@dataclass
class Change:
    """What becomes visible together: rows per table, and what else a transaction notes."""

    rows: Rows = field(default_factory=lambda: {"runs": [], "datasets": [], "events": [], "cells": [], "edges": []})
    settled: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    watched: list[tuple[str, str, int]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Wanted:
    """A dataset to be shown: its run, suffix and generation, and whether its run's decision lists it."""

    run_id: str
    suffix: str
    gen: int
    member: bool | None

    @property
    def id(self) -> str:
        """The dataset's id."""
        return f"ds_{self.run_id[4:]}_{self.suffix}"

    def is_in(self, known: Mapping[str, sqlite3.Row]) -> bool:
        """Whether the index has this very generation."""
        return self.id in known and known[self.id]["gen"] == self.gen


class Reader:
    """Reads what a look found."""

    def __init__(self, view: View, look: Look) -> None:
        self.view, self.look = view, look
        self.outcomes = Outcomes(view)

    # -- how runs stand ------------------------------------------------------------------------------------------

    def standing(self, run_id: str) -> Standing:
        """The effective outcome of a run, and since when: the runs around it taken into account (P3, P11)."""
        chain = [*self.outcomes.ancestors(run_id), run_id]
        ends = {r: self.view.decision(r) for r in chain}
        own = ends[run_id]
        aborted = [own.closed_at] if own is not None and not own.committed else []
        for parent, child in pairwise(chain):
            up = ends[parent]
            if up is not None and not (up.committed and child in self.view.members(up).runs):
                aborted.append(up.closed_at)
        if aborted:
            return Standing("aborted", min(aborted))
        root = ends[chain[0]]
        if root is None or any(end is None for end in ends.values()):
            return Standing(None)
        return Standing("committed", root.closed_at, root.run_id)

    def prefetch(self, run_ids: Sequence[str]) -> None:
        """Read begins and decisions, all at once."""
        calls: list[Callable[[], object]] = [partial(self.view.peek, paths.end_key(r), Decision) for r in run_ids]
        calls += [partial(self.view.peek, paths.begin_key(r), Begin) for r in run_ids]
        if calls:
            self.view.together(calls)

    def fetch(self, run_ids: Sequence[str], known: Mapping[str, sqlite3.Row]) -> None:
        """Read all that the rows of these runs are made of, at once."""
        calls: list[Callable[[], object]] = []
        for run_id in run_ids:
            listing, members = self._found(run_id)
            for wanted in _datasets_of(run_id, listing, members):
                if not wanted.is_in(known):
                    key = paths.dataset_key(run_id, wanted.suffix, wanted.gen)
                    calls.append(partial(self.view.peek, key, DatasetGeneration))
            names = [*_events_at_once(run_id, listing), *(members.events if members is not None else ())]
            calls += [partial(self.view.peek, paths.event_key(run_id, name), Event) for name in names]
            cells = [(CellRef(t, k), g) for t, k, g in members.cells] if members is not None else []
            keys = [paths.cell_key(cell, gen) for cell, gen in [*cells, *_cells_at_once(run_id, listing)]]
            calls += [partial(self.view.peek, key, CellGeneration) for key in keys]
        if calls:
            self.view.together(calls)

    def _found(self, run_id: str) -> tuple[Listing, Members | None]:
        """What was listed of a run, and its members if it is committed."""
        end = self.view.decision(run_id) if run_id.startswith("run_") else None
        members = self.view.members(end) if end is not None and end.committed else None
        return self.look.runs.get(run_id, Listing()), members

    def tree(self, run_id: str) -> Iterator[str]:
        """A committed run, and those nested in it that its decision publishes, at any depth."""
        yield run_id
        end = self.view.decision(run_id)
        for child in self.view.members(end).runs if end is not None and end.committed else ():
            yield from self.tree(child)

    # -- one publication, or one run that has none ---------------------------------------------------------------

    def change(self, run_ids: Iterable[str], known: Mapping[str, sqlite3.Row]) -> Change:
        """Rows of runs that become visible together. ``known``: datasets that the index has, by id; an unchanged one
        is not read again.
        """
        change = Change()
        for run_id in run_ids:
            self._add(change, run_id, known)
        return change

    def _add(self, change: Change, run_id: str, known: Mapping[str, sqlite3.Row]) -> None:
        if run_id.startswith("op_"):
            change.seen += self.look.keys[run_id]
            self._add_at_once(change, run_id, self.look.runs[run_id])
            return
        begin, end, standing = self.view.begin(run_id), self.view.decision(run_id), self.standing(run_id)
        listing, members = self._found(run_id)
        if begin is not None:
            change.rows["runs"].append(rows.run_row(begin, end, standing))
        change.seen += self.look.keys.get(run_id, [])
        (change.unsettled if standing.outcome is None or begin is None else change.settled).append(run_id)
        for wanted, row in self._datasets(run_id, listing, members, known):
            row = rows.standing_of_dataset(row, wanted.member, end, standing)
            change.rows["datasets"].append(row)
            if standing.outcome == "committed" and row["step"] == "staged" and wanted.member:
                assert standing.settled_at is not None
                edge = rows.edge_row(row["id"], "wasGeneratedBy", run_id, run_id, standing.settled_at)
                change.rows["edges"].append(edge)
        if standing.outcome == "committed" and members is not None:
            self._add_members(change, run_id, members, standing)
        self._add_at_once(change, run_id, listing)

    def _datasets(
        self, run_id: str, listing: Listing, members: Members | None, known: Mapping[str, sqlite3.Row]
    ) -> Iterator[tuple[_Wanted, Row]]:
        for each in _datasets_of(run_id, listing, members):
            if each.is_in(known):
                yield each, dict(known[each.id])
                continue
            document = self.view.peek(paths.dataset_key(run_id, each.suffix, each.gen), DatasetGeneration)
            if document is None or (document.dataset_id, document.gen) != (each.id, each.gen):
                log.warning("The index leaves out %s: it is not what its key says. Run fsck.", each.id)
                continue
            yield each, rows.dataset_row(document, self._staged_at(document))

    def _staged_at(self, document: DatasetGeneration) -> datetime | None:
        if document.step == "staged":
            return document.at
        if document.step == "begun" or document.gen < 2:
            return None
        key = paths.dataset_key(document.run_id, document.dataset_id[-16:], document.gen - 1)
        before = self.view.peek(key, DatasetGeneration)
        return before.at if before is not None and before.step == "staged" else None

    def _read(self, keys: Sequence[str], model: type[D]) -> list[D | None]:
        return self.view.read_many(keys, model) if keys else []

    def _add_members(self, change: Change, run_id: str, members: Members, standing: Standing) -> None:
        at = standing.settled_at
        assert at is not None
        for event in self._read([paths.event_key(run_id, name) for name in members.events], Event):
            if event is not None:
                change.rows["events"].append(rows.event_row(event, at))
                change.rows["edges"] += rows.used_edges(event, at) if event.record == "usage" else ()
        keys = [paths.cell_key(CellRef(type_, key), gen) for type_, key, gen in members.cells]
        for (_, key, _), cell in zip(members.cells, self._read(keys, CellGeneration), strict=True):
            if cell is not None:
                change.rows["cells"].append(rows.cell_row(key, cell, at))
                change.rows["edges"] += rows.cell_edges(cell, at)

    # -- what is visible at once ---------------------------------------------------------------------------------

    def _add_at_once(self, change: Change, run_id: str, listing: Listing) -> None:
        """Incidents, immediate events, and generations that belong to no run (P2)."""
        for event in self._read([paths.event_key(run_id, n) for n in _events_at_once(run_id, listing)], Event):
            if event is not None and event.tx is None:
                change.rows["events"].append(rows.event_row(event, event.created_at))
        self.add_cells(change, _cells_at_once(run_id, listing))

    def add_cells(self, change: Change, generations: Sequence[tuple[CellRef, int]]) -> None:
        """Generations that were touched outside any run; those that are not there yet are watched for."""
        keys = [paths.cell_key(cell, gen) for cell, gen in generations]
        for (ref, gen), cell in zip(generations, self._read(keys, CellGeneration), strict=True):
            if cell is None:
                change.watched.append((ref.type, ref.key, gen))
            elif cell.tx is None:
                change.rows["cells"].append(rows.cell_row(ref.key, cell, cell.at))
                change.rows["edges"] += rows.cell_edges(cell, cell.at)


def _datasets_of(run_id: str, listing: Listing, members: Members | None) -> list[_Wanted]:
    """The datasets of a run: those that its decision lists, and those that were found beside them."""
    left_out = None if members is None else False
    published = members.datasets if members is not None else {}
    wanted = [_Wanted(run_id, s, g, left_out) for s, g in listing.datasets.items() if s not in published]
    return wanted + [_Wanted(run_id, s, g, True) for s, g in published.items()]


def _events_at_once(run_id: str, listing: Listing) -> list[str]:
    return [*listing.incidents, *(listing.events if run_id.startswith("op_") else ())]


def _cells_at_once(run_id: str, listing: Listing) -> list[tuple[CellRef, int]]:
    return [(c, g) for c, g in listing.touched if run_id.startswith("op_") or c.type == FLOW_RUN]
