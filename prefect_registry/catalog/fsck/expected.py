"""What the index must say of a run, by its documents in the store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from prefect_registry.catalog import rows
from prefect_registry.catalog.rows import Row
from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.records.datasets import DatasetGeneration
from prefect_registry.records.events import Event
from prefect_registry.records.types import MODEL_ARTIFACT, MODEL_VERSION, OBJECT

if TYPE_CHECKING:
    from prefect_registry.catalog.fsck.runs import RunCheck

IDS: Mapping[str, tuple[str, ...]] = {
    "runs": ("id",),
    "datasets": ("id",),
    "events": ("id",),
    "cells": ("type", "key", "gen"),
    "edges": ("source", "relation", "target", "asserted_by"),
}
"""The tables of the index that are compared, and what names a row in each."""
_BY_THEMSELVES: Mapping[str, tuple[str, ...]] = {"datasets": ("state",), "edges": ("at", "ended_at")}


def id_of(table: str, row: Any) -> str:
    """A row's name within its table."""
    return "/".join(str(row[column]) for column in IDS[table])


def digest_of(table: str, row: Any, columns: Iterable[str]) -> bytes:
    """A row in 16 bytes, but for what :func:`state_of` compares by itself, and when an edge ends."""
    values = [row[c] for c in sorted(columns) if c not in _BY_THEMSELVES.get(table, ())]
    plain = [int(v) if isinstance(v, bool) else v for v in values]
    return hashlib.blake2b(orjson.dumps(plain), digest_size=16).digest()


def state_of(table: str, row: Any) -> str | None:
    """What documents elsewhere may change of a row: the state of a dataset, and when an edge was said first."""
    if table == "edges":
        return f"{row['at']:020}"
    return row["state"] if table == "datasets" else None


def entry(table: str, row: Row, owner: str) -> tuple[str, str, str, bytes, str | None]:
    """A row as it is remembered for the comparison; ``owner`` is the run (or the cell) to look at again."""
    return (table, id_of(table, row), owner, digest_of(table, row, row), state_of(table, row))


def _expect(run: RunCheck, table: str, row: Row) -> None:
    run.looked.remember("expected", *entry(table, row, run.run_id))


def expect_run(run: RunCheck) -> None:
    """The run's own row."""
    if run.begin is not None:
        _expect(run, "runs", rows.run_row(run.begin, run.end, run.standing))


def expect_dataset(
    run: RunCheck, suffix: str, steps: Mapping[int, DatasetGeneration], gen: int, member: bool | None
) -> None:
    """A dataset by its step ``gen``. ``member``: whether the run's decision lists it; None when it lists none."""
    document = steps.get(gen)
    if document is None:
        return
    staged_at = document.at if document.step == "staged" else None
    before = steps.get(gen - 1)
    if document.step == "rolled_back" and before is not None and before.step == "staged":
        staged_at = before.at
    row = rows.standing_of_dataset(rows.dataset_row(document, staged_at), member, run.end, run.standing)
    _expect(run, "datasets", row)
    if run.standing.outcome == "committed" and document.step == "staged" and member:
        assert run.standing.settled_at is not None
        edge = rows.edge_row(row["id"], "wasGeneratedBy", run.run_id, run.run_id, run.standing.settled_at)
        _expect(run, "edges", edge)


def expect_events(run: RunCheck, found: Mapping[str, Event]) -> None:
    """What is visible of some events, by the names of their files."""
    members = set(run.members.events) if run.members is not None and run.standing.outcome == "committed" else set()
    for name, event in found.items():
        if name in members:
            assert run.standing.settled_at is not None
            _expect(run, "events", rows.event_row(event, run.standing.settled_at))
            if event.record == "usage":
                for edge in rows.used_edges(event, run.standing.settled_at):
                    _expect(run, "edges", edge)
        elif event.tx is None:
            _expect(run, "events", rows.event_row(event, event.created_at))


def cell_entries(key: str, cell: CellGeneration, visible_at: Any) -> list[tuple[str, str, str, bytes, str | None]]:
    """A visible generation of a named cell, and its lineage."""
    owner = owner_of_cell(cell.type, key)
    edges = [entry("edges", edge, owner) for edge in rows.cell_edges(cell, visible_at)]
    return [entry("cells", rows.cell_row(key, cell, visible_at), owner), *edges]


def owner_of_edge(relation: str, source: str, target: str, asserted_by: str) -> str:
    """What is looked at again when an edge differs: the cell that it comes from, or the run that says so."""
    if relation == "wasGeneratedBy" and "@" in source:
        return owner_of_cell(*CellRef.named(OBJECT, source))
    if relation == "hadMember" and target.startswith("art_"):
        return owner_of_cell(MODEL_ARTIFACT, target[-16:])
    for prefix, type_ in (("art_", MODEL_ARTIFACT), ("mv_", MODEL_VERSION)):
        if source.startswith(prefix):
            return owner_of_cell(type_, source[-16:])
    return asserted_by


def owner_of_cell(type_: str, key: str) -> str:
    """What is looked at again when a row of a cell differs."""
    return f"cell:{type_}/{key}"
