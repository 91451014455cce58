"""What an undecided run makes of cells: how they stand inside it, before anybody outside sees that (DESIGN.md P3)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING

from prefect_registry.ledger import paths
from prefect_registry.ledger.listing import Listing, list_run
from prefect_registry.records.cells import CellGeneration, CellRef

if TYPE_CHECKING:
    from prefect_registry.ledger.ledger import Ledger


def staged_cells(
    ledger: Ledger, run_id: str | None, types: Collection[str]
) -> dict[tuple[str, str], CellGeneration | None]:
    """The cells of some types that a run, those around it and those nested in them have touched: by type and name,
    the generation that is visible inside the run now. None where nothing is; a tombstone is what it says.

    Who follows the store by an index lays this over it. Outside any run nothing is staged.

    It costs one LIST for each level of nesting, and each generation that was touched, in parallel. A cell costs
    a LIST of its own only if somebody else may have written it too.
    """
    if run_id is None:
        return {}
    listings = _listings(ledger, run_id)
    newest = _newest_touched(ledger, listings.values(), types)
    undecided = not next(iter(listings.values())).end
    calls: list[Callable[[], CellGeneration | None]] = [
        partial(_inside, ledger, run_id, document, listings if undecided else {}) for document in newest
    ]
    found = ledger.store.together(calls) if calls else []
    return {(touched.type, touched.name): visible for touched, visible in zip(newest, found, strict=True)}


def _listings(ledger: Ledger, run_id: str) -> dict[str, Listing]:
    """What lies in the prefix of each run of the tree, the outermost first."""
    store, found = ledger.store, dict[str, Listing]()
    runs = [*ledger.outcomes.ancestors(run_id), run_id][:1]
    while runs:
        level = store.together([partial(list_run, store, run) for run in runs])
        listings = [Listing.of(objects) for objects in level]
        found.update(zip(runs, listings, strict=True))
        runs = [run for listing in listings for run in listing.nested]
    return found


def _newest_touched(ledger: Ledger, listings: Collection[Listing], types: Collection[str]) -> list[CellGeneration]:
    """Of each cell, the highest generation that was touched and exists."""
    touched = sorted({each for listing in listings for each in listing.touched if each[0].type in types})
    keys = [paths.cell_key(cell, gen) for cell, gen in touched]
    documents = ledger.store.read_many(keys, CellGeneration) if keys else []
    newest: dict[CellRef, CellGeneration] = {}
    for (cell, _), document in zip(touched, documents, strict=True):
        if document is not None:
            newest[cell] = document
    return list(newest.values())


def _inside(ledger: Ledger, run_id: str, touched: CellGeneration, undecided: Collection[str]) -> CellGeneration | None:
    """What is visible of a cell inside a run.

    While a run of the tree holds a cell, nobody outside writes it (P4): then nothing can be newer than what the tree
    has touched. Otherwise the cell itself is looked at.
    """
    if touched.tx in undecided:
        visible = ledger.cells.visible_from(touched, run_id)
        if visible is not None and visible.tx in undecided:
            return visible
    return ledger.cells.latest(touched.type, touched.name, run_id, guess=0)
