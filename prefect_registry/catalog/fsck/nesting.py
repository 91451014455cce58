"""Runs inside runs: what each says of the other (DESIGN.md P11)."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

from prefect_registry.catalog.fsck.look import Checked
from prefect_registry.clock import parse_iso
from prefect_registry.ledger import paths
from prefect_registry.records.runs import Decision

CROSSING = timedelta(seconds=2)
"""Stores stamp whole seconds. What is decided while the run around it closes is left out, and is told so (P11)."""

_LISTED = (
    "SELECT l.parent, l.child, p.since, c.id AS known, c.outcome, c.parent AS inside FROM listed l JOIN runs p"
    " ON p.id = l.parent LEFT JOIN runs c ON c.id = l.child"
    " WHERE c.outcome IS NOT 'committed' OR c.parent IS NOT l.parent"
)
_NOT_LISTED = (
    "SELECT c.id AS child, c.parent, c.since, p.since AS above, d.child IS NOT NULL AS dropped"
    " FROM runs c JOIN runs p ON p.id = c.parent"
    " LEFT JOIN dropped d ON (d.parent, d.child) = (c.parent, c.id)"
    " WHERE c.outcome = 'committed' AND p.outcome = 'committed'"
    " AND NOT EXISTS (SELECT 1 FROM listed l WHERE (l.parent, l.child) = (c.parent, c.id))"
)
_UNMARKED = (
    "SELECT c.id AS child, c.parent, c.since, c.outcome, p.id AS known, p.outcome AS above FROM runs c"
    " LEFT JOIN runs p ON p.id = c.parent"
    " WHERE c.parent IS NOT NULL AND c.outcome IS NOT 'aborted' AND (p.id IS NULL OR (p.outcome IS NULL AND NOT EXISTS"
    " (SELECT 1 FROM markers m WHERE (m.parent, m.child) = (c.parent, c.id))))"
)
_ALONE = "SELECT m.* FROM markers m LEFT JOIN runs c ON c.id = m.child WHERE c.id IS NULL"


def check_nesting(checked: Checked) -> None:
    """Decisions of inner runs against those around them. The journal must have been walked."""
    for row in checked.scratch.rows(_LISTED).fetchall():
        _listed(checked, row["parent"], row["child"], row["outcome"], row["inside"], row["since"])
    for row in checked.scratch.rows(_NOT_LISTED).fetchall():
        if checked.scratch.has("skipped", "owner = ?", row["parent"]):
            continue  # what it lists could not be read
        key, parent = paths.end_key(row["child"]), row["parent"]
        if row["dropped"]:
            what = f"It says committed, and the decision of {parent} names it as a run that did not commit"
            checked.tell("nested-contradicted", key, what, row["since"])
        else:
            what = f"It says committed, and the decision of {parent} around it does not list it"
            crossed = parse_iso(row["since"]) > parse_iso(row["above"]) - CROSSING
            checked.tell("nested-contradicted", key, what, row["since"], "note" if crossed else "warning")
    for row in checked.scratch.rows(_UNMARKED).fetchall():
        _unmarked(checked, row)
    for row in checked.scratch.rows(_ALONE).fetchall():
        if not checked.exists(paths.begin_key(row["child"])):
            key = paths.nested_key(row["parent"], row["child"])
            checked.tell("left-over", key, "A run was about to begin inside this one, and did not", row["since"])


def _listed(checked: Checked, parent: str, child: str, outcome: str | None, inside: str | None, since: str) -> None:
    key = paths.end_key(child)
    if outcome == "damaged":
        return  # told already
    if outcome != "committed":
        end = checked.document(key, Decision)  # a run is walked after those around it, unless clocks differ
        if isinstance(end, Decision) and end.committed:
            return
        found = outcome or ("there is no decision" if end is None else "another outcome")
        what = f"The decision of {parent} around it lists it as committed; here it is: {found}"
    else:
        what = f"The decision of {parent} lists it, and it says that it was inside {inside}"
    checked.tell("nested-contradicted", key, what, since)


def _unmarked(checked: Checked, row: sqlite3.Row) -> None:
    child, parent, since = row["child"], row["parent"], row["since"]
    key = paths.begin_key(child)
    if row["known"] is None:
        if not (checked.exists(paths.begin_key(parent)) or checked.exists(paths.end_key(parent))):
            what = f"It is inside {parent}, which is not there: it will never be visible"
            checked.tell("unknown-run", key, what, since)
    elif not checked.exists(paths.nested_key(parent, child)):
        what = f"{parent} around it has no marker of it, and will close without it"
        interrupted = row["outcome"] is None  # a run does nothing before its marker has landed (P11)
        checked.tell("nested-contradicted", key, what, since, "note" if interrupted else "warning")
