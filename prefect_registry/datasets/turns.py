"""One at a time for each kind: what releases datasets, and what makes a table fall back on older ones (decision 0021).

A revert makes older datasets part of a table again without writing to them; a release takes their bytes away. Both
write the next generation of the cell ``table/<kind>`` in their own run, so of two that overlap one gets a ``Conflict``,
and publishes nothing (DESIGN.md P4, P5). Publishing hides, and never shows again: it takes no turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from prefect_registry.ledger.cells import ANY, Expected
from prefect_registry.ledger.ledger import Ledger

TURN = "table"
"""The type of the cells."""


def take_turn(
    ledger: Ledger, kind: str, run_id: str, by: Literal["release", "revert"], expected: Expected = ANY
) -> Mapping[str, Any]:
    """Hold a kind until ``run_id`` is decided. Returns what the cell said before.

    Args:
        expected: The generation that was visible before anything was computed; ANY for those who compute afterwards.

    Raises:
        Conflict: Another one came first.
    """
    seen = ledger.cells.latest(TURN, kind, run_id) if expected is ANY or expected is not None else None
    before = dict(seen.value) if seen is not None else {}
    releases = int(before.get("releases", 0)) + (by == "release")
    ledger.cells.write(
        TURN,
        kind,
        {"kind": kind, "by": by, "releases": releases},
        run_id=run_id,
        expected=(seen.gen if seen is not None else None) if expected is ANY else expected,
        blind=seen is None,
    )
    return before


def take_turns(ledger: Ledger, kinds: Iterable[str], run_id: str) -> dict[str, int]:
    """Hold several kinds for a revert, in the order that all keep. Returns how many releases each has seen."""
    return {kind: int(take_turn(ledger, kind, run_id, "revert").get("releases", 0)) for kind in sorted(set(kinds))}
