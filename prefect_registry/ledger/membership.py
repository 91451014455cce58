"""What a run publishes: its members, gathered when it closes (DESIGN.md P6, P11)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import orjson

from prefect_registry.ledger import paths
from prefect_registry.ledger.listing import Listing
from prefect_registry.ledger.outcomes import Outcomes
from prefect_registry.ledger.runs import FLOW_RUN
from prefect_registry.ledger.store import Store
from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.records.runs import Begin, Decision, LeftOut, Members, MembersDocument, Reference

MOST_INLINE_BYTES = 500_000
"""Half of a document: notes and a result lie in the decision too."""
MOST_LEFT_OUT = 2_000
"""How many names of what is left out a decision tells; it must fit, whatever was begun."""

DecideNested = Callable[[str, Begin], Decision]
BuiltOn = tuple[str, str, str, int]
"""A generation that something was computed from: the run that wrote it, type and key of its cell, its number."""


class Membership:
    """Gathers the members of a run that closes.

    Args:
        decide_nested: Decides a nested run on behalf of the closing one: aborts it, or learns that it has committed.
    """

    def __init__(self, store: Store, outcomes: Outcomes, decide_nested: DecideNested) -> None:
        self._store = store
        self._outcomes = outcomes
        self._decide_nested = decide_nested

    def gather(self, begin: Begin, listing: Listing) -> tuple[Members, LeftOut]:
        """What the run publishes, and what was found and is left out."""
        run_id = begin.run_id
        touched = [(cell, gen) for cell, gen in listing.touched if cell.type != FLOW_RUN]
        reads: list[Callable[[], object]] = [
            partial(self._store.peek, paths.cell_key(cell, gen), CellGeneration) for cell, gen in touched
        ]
        aborts: list[Callable[[], object]] = [partial(self._decide_nested, child, begin) for child in listing.nested]
        answers = self._store.together([*reads, *aborts]) if reads or aborts else []
        kept = {
            (cell, gen): document
            for (cell, gen), document in zip(touched, answers, strict=False)
            if isinstance(document, CellGeneration) and document.tx == run_id
        }
        children = {d.run_id: d for d in answers[len(touched) :] if isinstance(d, Decision)}
        built_on = self._complete(begin, kept, children)
        members = Members(
            datasets={s: g for s, g in sorted(listing.datasets.items()) if g > 0},
            events=sorted(listing.events),
            cells=sorted((cell.type, cell.key, gen) for cell, gen in kept),
            runs=sorted(d.run_id for d in children.values() if d.committed),
            built_on=sorted(built_on),
        )
        pending = sorted(suffix for suffix, gen in listing.datasets.items() if gen == 0)
        dropped = sorted(d.run_id for d in children.values() if not d.committed)
        return members, LeftOut(pending=pending[:MOST_LEFT_OUT], runs=dropped[:MOST_LEFT_OUT])

    # -- what the members were computed from -----------------------------------------------------------------------

    def _complete(
        self, begin: Begin, kept: dict[tuple[CellRef, int], CellGeneration], children: dict[str, Decision]
    ) -> set[BuiltOn]:
        """Add what a member was computed from and the listing did not show, because it landed while we looked:
        generations of this run, and nested runs. So no visible generation ever stands on a dead one.

        Returns what lies in the runs around this one: they look after it when they close.
        """
        above: set[BuiltOn] = set()
        todo = [need for (cell, _), document in kept.items() for need in _base_of(cell, document)]
        todo += [need for child in children.values() for need in self._needs(child)]
        while todo:
            run, type_, key, gen = need = todo.pop()
            cell = CellRef(type_, key)
            if run == begin.run_id:
                if (cell, gen) not in kept:
                    kept[(cell, gen)] = self._store.read(paths.cell_key(cell, gen), CellGeneration)
                    todo += _base_of(cell, kept[(cell, gen)])
                continue
            chain = [*self._outcomes.ancestors(run), run]
            if begin.run_id not in chain:
                above.add(need)
                continue
            child = chain[chain.index(begin.run_id) + 1]
            if child not in children:
                children[child] = self._decide_nested(child, begin)
                todo += self._needs(children[child])
        return above

    def _needs(self, nested: Decision) -> list[BuiltOn]:
        return self._store.members(nested).built_on if nested.committed else []

    # -- members too many for end.json -----------------------------------------------------------------------------

    def split(self, run_id: str, members: Members) -> tuple[Members, list[Reference]]:
        """Members for ``end.json`` itself, and references to the parts that do not fit it."""
        if len(orjson.dumps(members.model_dump())) <= MOST_INLINE_BYTES:
            return members, []
        parts = [Members(cells=c) for c in _chunks(members.cells, 2_000)]
        parts += [Members(datasets=dict(d)) for d in _chunks(list(members.datasets.items()), 20_000)]
        parts += [Members(events=e) for e in _chunks(members.events, 20_000)]
        parts += [Members(runs=r) for r in _chunks(members.runs, 20_000)]
        parts += [Members(built_on=b) for b in _chunks(members.built_on, 2_000)]
        return Members(), self._store.together([partial(self._store_part, run_id, part) for part in parts])

    def _store_part(self, run_id: str, part: Members) -> Reference:
        document = MembersDocument(write_id=self._store.ids.write_id(), run_id=run_id, members=part)
        key = paths.members_key(run_id, document.write_id)
        self._store.create(key, document)
        data = document.encode()
        return Reference(key=key, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def _chunks(items: list[Any], size: int) -> Iterable[list[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))


def _base_of(cell: CellRef, document: CellGeneration) -> list[BuiltOn]:
    """What a generation was computed from, if that was not published by itself when it was."""
    if document.base is None or document.base_tx is None:
        return []
    return [(document.base_tx, cell.type, cell.key, document.base)]
