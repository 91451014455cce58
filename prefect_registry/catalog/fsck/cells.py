"""Named cells against the journal: generations, touches, and what decisions list (DESIGN.md P3, P4, P9)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from itertools import takewhile

from prefect_registry.catalog.fsck.expected import cell_entries, owner_of_cell
from prefect_registry.catalog.fsck.look import Checked, Damage, batches
from prefect_registry.catalog.fsck.objects import check_aliases, look_at_alias, look_at_object
from prefect_registry.catalog.fsck.walking import CELLS, foreign
from prefect_registry.clock import iso, parse_iso
from prefect_registry.ids import is_run_id
from prefect_registry.ledger import paths
from prefect_registry.ledger.runs import FLOW_RUN
from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.records.datasets import LATER_STATES, later_state
from prefect_registry.records.types import ALIAS, MODEL_RUN, OBJECT
from prefect_registry.storage.base import ObjectInfo

_GENERATION = re.compile(r"cells/[^/]+/[^/]+(?:/[^/]+)?/[0-9]{10}\.json")
_OF_NO_RUN = "(owner LIKE 'op\\_%' ESCAPE '\\' OR type = 'flow_run')"
MOST_OF_A_GAP = 100
_LOOKED_INTO = {OBJECT: look_at_object, ALIAS: look_at_alias}


def check_cells(checked: Checked) -> None:
    """Every generation of every cell. The journal must have been walked."""
    checked.stage("cells")
    newest: tuple[CellRef, int] | None = None
    for some in batches(_generations(checked)):
        for info in some:
            cell, gen = paths.cell_of_key(info.key)
            first = newest[1] + 1 if newest is not None and newest[0] == cell else 0
            _gap(checked, cell, range(first, gen), info)
            newest = (cell, gen)
        look_at_generations(checked, some)
    _missing_members(checked)
    _untouched(checked)
    _late(checked)
    _touches_alone(checked)
    check_aliases(checked)


def _generations(checked: Checked) -> Iterator[ObjectInfo]:
    for info in checked.storage.list(CELLS):
        checked.see("cells", "generations", info)
        if _GENERATION.fullmatch(info.key):
            yield info
        else:
            foreign(checked, info)


def _gap(checked: Checked, cell: CellRef, gens: range, behind: ObjectInfo) -> None:
    """Numbers are given without gaps (P4): one that is not there was there once."""
    for gen in gens[:MOST_OF_A_GAP]:
        key = paths.cell_key(cell, gen)
        if not checked.exists(key):
            checked.tell("generation-missing", key, f"Generation {behind.key[-15:-5]} stands on it", behind)
            _skip(checked, cell)


def _skip(checked: Checked, cell: CellRef) -> None:
    """What the index must say of a cell is not known, nor of the dataset whose later states it holds."""
    checked.scratch.add("skipped", [(owner_of_cell(*cell),)])
    if cell.type == LATER_STATES:
        checked.scratch.add("skipped", [(f"run_{cell.key[3:29]}",)])
    if cell.type == MODEL_RUN:
        checked.scratch.add("skipped", [(cell.key,)])


# -- documents -----------------------------------------------------------------------------------------------------


def look_at_generations(checked: Checked, infos: list[ObjectInfo]) -> None:
    """The documents of some generations: what they say, and what the index must show of them."""
    for info, found in zip(infos, checked.documents([i.key for i in infos], CellGeneration), strict=True):
        cell, gen = paths.cell_of_key(info.key)
        fits = isinstance(found, CellGeneration) and _fits(cell, gen, found)
        if isinstance(found, CellGeneration) and fits:
            owner = found.value.get("run_id") if cell.type == FLOW_RUN else None
            row = (cell.type, cell.key, gen, found.tx or owner, iso(found.at), iso(info.modified))
            checked.scratch.add("generations", [row])
            if _expect(checked, cell, found) and cell.type in _LOOKED_INTO:
                _LOOKED_INTO[cell.type](checked, info, found)
            continue
        if isinstance(found, Damage):
            checked.tell("document-damaged", info.key, found.why, info)
        elif found is not None:
            says = f"generation {found.gen} of {found.type} {found.name!r:.200} in {found.tx}"
            checked.tell("wrong-id", info.key, f"It says that it is {says}", info)
        checked.scratch.add("generations", [(cell.type, cell.key, gen, "?", None, iso(info.modified))])
        _skip(checked, cell)


def _fits(cell: CellRef, gen: int, document: CellGeneration) -> bool:
    return (
        (CellRef.named(document.type, document.name), document.gen) == (cell, gen)
        and (document.tx is None or is_run_id(document.tx))
        and (document.base is None or 0 <= document.base < gen)
        and (cell.type != FLOW_RUN or is_run_id(document.value.get("run_id")))
    )


def _expect(checked: Checked, cell: CellRef, document: CellGeneration) -> bool:
    """What the index shows: visible generations whose touch, or whose run, the journal has. Whether this is one."""
    where = (cell.type, cell.key, document.gen)
    if document.tx is None:
        if not checked.scratch.has("touched", f"type = ? AND key = ? AND gen = ? AND {_OF_NO_RUN}", *where):
            return False
        visible_at = document.at
    else:
        standing = checked.standing(document.tx)
        if standing is None or checked.scratch.has("skipped", "owner = ?", document.tx):
            _skip(checked, cell)  # its run cannot be read
            return False
        if not checked.scratch.has("members", "type = ? AND key = ? AND gen = ? AND run = ?", *where, document.tx):
            return False
        if standing.outcome != "committed" or standing.settled_at is None:
            return False
        visible_at = standing.settled_at
    checked.scratch.add("expected", cell_entries(cell.key, document, visible_at))
    if cell.type == LATER_STATES:
        checked.scratch.run(
            "INSERT INTO later VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET gen = excluded.gen,"
            " state = excluded.state WHERE excluded.gen >= later.gen",
            (document.name, document.gen, later_state(document.value)),
        )
    return True


# -- what the journal says -----------------------------------------------------------------------------------------


def _missing_members(checked: Checked) -> None:
    sql = (
        "SELECT m.*, g.tx AS tx, g.gen IS NULL AS gone FROM members m LEFT JOIN generations g USING (type, key, gen)"
        " WHERE g.gen IS NULL OR (g.tx IS NOT m.run AND g.tx IS NOT '?')"
    )
    for row in checked.scratch.rows(sql).fetchall():
        cell = CellRef(row["type"], row["key"])
        key = paths.cell_key(cell, row["gen"])
        if not row["gone"]:
            what = f"It lists {key}, which belongs to {row['tx']}"
            checked.tell("decision-contradicted", paths.end_key(row["run"]), what, row["since"])
        elif not checked.exists(key):
            checked.tell("generation-missing", key, f"The decision of {row['run']} lists it", row["since"])
            _skip(checked, cell)


def _untouched(checked: Checked) -> None:
    sql = (
        "SELECT g.*, r.id AS known, m.run AS listed FROM generations g"
        " LEFT JOIN runs r ON r.id = g.tx LEFT JOIN members m ON (m.type, m.key, m.gen, m.run)"
        " = (g.type, g.key, g.gen, g.tx) WHERE g.tx IS NOT '?' AND NOT EXISTS (SELECT 1 FROM touched t WHERE"
        " (t.type, t.key, t.gen) = (g.type, g.key, g.gen) AND (t.owner = g.tx OR (g.tx IS NULL AND"
        " t.owner LIKE 'op\\_%' ESCAPE '\\')))"
    )
    listed_again: set[str] = set()
    for row in checked.scratch.rows(sql).fetchall():
        cell, gen, owner = CellRef(row["type"], row["key"]), row["gen"], row["tx"]
        key, alone = paths.cell_key(cell, gen), owner is None
        if alone and _touched_meanwhile(checked, cell, gen, row["at"], listed_again):
            continue
        if not alone and checked.exists(paths.touch_key(owner, cell, gen)):
            continue
        if alone:
            what = "It belongs to no run, is visible at once, and no touch tells of it"
            checked.tell("generation-without-touch", key, what, row["since"], "error")
        elif cell.type == FLOW_RUN:  # attempts are found by the cell itself
            what = f"{owner} was interrupted when it began"
            checked.tell("generation-without-touch", key, what, row["since"], "note")
        elif row["listed"] is None and row["known"] is not None:
            what = f"{owner} wrote it and does not publish it, or will not"
            checked.tell("generation-without-touch", key, what, row["since"], "note")
        else:
            checked.tell("generation-without-touch", key, f"{owner} wrote it, and no touch tells of it", row["since"])


def _touched_meanwhile(checked: Checked, cell: CellRef, gen: int, at: str, listed: set[str]) -> bool:
    """Whether a touch outside any run landed after the journal was walked: in an hour around the write (P9)."""
    for step in (-1, 0, 1):
        hour = paths.hour_of(parse_iso(at) + timedelta(hours=step))
        if hour in listed:
            continue
        listed.add(hour)
        tree = f"{paths.RUNS}{hour}/"
        for info in takewhile(lambda o, tree=tree: o.key < f"{tree}run_", checked.storage.list(tree)):  # type: ignore[misc]
            touch = paths.parse_run_object(info.key)
            if touch is not None and touch.kind == "touch":
                touched, number = paths.cell_of_key("/".join(touch.rest))
                row = (*touched, number, touch.run_id, iso(info.modified))
                checked.scratch.add("touched", [row])
    return checked.scratch.has("touched", f"type = ? AND key = ? AND gen = ? AND {_OF_NO_RUN}", *cell, gen)


def _late(checked: Checked) -> None:
    """Generations of committed runs that their decisions do not list, and of runs that there are not."""
    sql = (
        "SELECT g.*, r.id AS known FROM generations g LEFT JOIN runs r ON r.id = g.tx WHERE g.tx NOT IN ('?')"
        f" AND g.type != '{FLOW_RUN}' AND (r.id IS NULL OR (r.outcome = 'committed' AND NOT EXISTS (SELECT 1 FROM"
        " members m WHERE (m.type, m.key, m.gen, m.run) = (g.type, g.key, g.gen, g.tx))))"
    )
    for row in checked.scratch.rows(sql).fetchall():
        key, run_id = paths.cell_key(CellRef(row["type"], row["key"]), row["gen"]), row["tx"]
        if checked.scratch.has("skipped", "owner = ?", run_id):
            continue  # its decision cannot be read
        if row["known"] is not None:
            checked.tell("late-member", key, f"The decision of {run_id} does not list it", row["since"])
        elif not (checked.exists(paths.begin_key(run_id)) or checked.exists(paths.end_key(run_id))):
            checked.tell("unknown-run", key, f"It was written in {run_id}, which is not there", row["since"])


def _touches_alone(checked: Checked) -> None:
    sql = "SELECT t.* FROM touched t LEFT JOIN generations g USING (type, key, gen) WHERE g.gen IS NULL"
    for row in checked.scratch.rows(sql).fetchall():
        cell = CellRef(row["type"], row["key"])
        key = paths.cell_key(cell, row["gen"])
        if checked.findings.has("generation-missing", key) or checked.exists(key):
            continue
        what = f"{key} was never written"
        checked.tell("touch-without-generation", paths.touch_key(row["owner"], cell, row["gen"]), what, row["since"])
