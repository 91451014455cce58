"""What named cells go back to when the runs that wrote them last are reverted (decisions 0021, 0026)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefect_registry.errors import InvalidState
from prefect_registry.ledger import paths
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.records.datasets import LATER_STATES
from prefect_registry.records.objects import PAYLOAD
from prefect_registry.records.types import ALIAS, MODEL_TYPES, OBJECT


@dataclass(frozen=True)
class Restoring:
    """One revert.

    Attributes:
        tree: The run that is reverted, and those nested in it.
        run_id: The run that reverts.
    """

    ledger: Ledger
    tree: Sequence[str]
    reverted_run: str
    run_id: str
    reason: str | None

    def restore(self, cell: CellRef, latest: CellGeneration) -> dict[str, Any]:
        """Write what the cell was before the reverted runs on top of what they made of it; returns the value."""
        before = self._before(cell, latest)
        value, deleted = (dict(before.value), before.deleted) if before is not None else ({}, True)
        if cell.type == LATER_STATES and before is None:
            value, deleted = {"state": "READY"}, False
        elif cell.type == OBJECT:
            value = self._object(cell, latest, before)
        elif cell.type == ALIAS and not deleted:
            self._check_target(value)
        elif cell.type in MODEL_TYPES and "changed" in value:
            told = {name for name in value if value[name] != latest.value.get(name)}
            value["changed"] = sorted(told - {"changed", "changed_at", "by"})
        self.ledger.cells.write(
            cell.type, latest.name, value, run_id=self.run_id, expected=latest.gen, deleted=deleted, reason=self.reason
        )
        return value

    def _before(self, cell: CellRef, latest: CellGeneration) -> CellGeneration | None:
        """The visible generation that the reverted runs found."""
        base = latest.base
        while base is not None:
            found = self.ledger.store.read(paths.cell_key(cell, base), CellGeneration)
            if found.tx not in self.tree and self.ledger.cells.state(cell, found) == "visible":
                return found
            base = found.base
        return None

    # -- objects -------------------------------------------------------------------------------------------------

    def _object(self, cell: CellRef, latest: CellGeneration, before: CellGeneration | None) -> dict[str, Any]:
        """A version goes back to a generation, and copies nothing of it: a manifest names files of its own run."""
        named = {name: latest.value.get(name) for name in ("object", "version")}
        if before is None or before.deleted:
            return {**before.value} if before is not None else named
        gen = int(before.value.get("restores", before.gen))
        made = before if gen == before.gen else self.ledger.store.read(paths.cell_key(cell, gen), CellGeneration)
        if made.value.get("payload"):
            self._hold(str(made.value["payload"]), {**named, "gen": gen, "purged": False})
        return {**named, "restores": gen}

    def _hold(self, payload: str, value: dict[str, Any]) -> None:
        """Files that were overwritten are wanted again: of this and a release of them, one is refused."""
        seen = self.ledger.cells.latest(PAYLOAD, payload, self.run_id)
        if seen is not None and seen.value.get("purged") is True:
            raise released(self.reverted_run, f"object {value['object']}@{value['version']}", todo=_OF_OBJECTS)
        self.ledger.cells.write(
            PAYLOAD, payload, value, run_id=self.run_id, expected=seen.gen if seen is not None else None,
            blind=seen is None,
        )  # fmt: skip

    def _check_target(self, alias: dict[str, Any]) -> None:
        target = f"{alias.get('object')}@{alias.get('version')}"
        latest = self.ledger.cells.latest(OBJECT, target, self.run_id)
        if latest is not None and latest.value.get("purged") is True:
            what = f"alias {alias.get('alias')!r:.80} would point at object {target!r:.250}"
            raise released(self.reverted_run, what, todo=_OF_OBJECTS, comes_back=False)

    def check_payload(self, written: CellGeneration) -> None:
        """Refuse to take back that files were released."""
        latest = self.ledger.cells.latest(PAYLOAD, written.name, self.run_id)
        if written.value.get("purged") is True and latest is not None:
            named = f"object {written.value.get('object')}@{written.value.get('version')}"
            raise released(self.reverted_run, named, todo=_OF_OBJECTS)

    def stays_released(self, cell: CellRef, latest: CellGeneration) -> bool:
        """Whether a version is released, and reverting the runs does not want it back.

        Raises:
            InvalidState: It does: they released it, or deleted it before it was released.
        """
        if latest.value.get("purged") is not True:
            return False
        base = latest.base
        below = self.ledger.store.read(paths.cell_key(cell, base), CellGeneration) if base is not None else None
        if latest.tx in self.tree or (below is not None and below.deleted and below.tx in self.tree):
            raise released(self.reverted_run, f"object {latest.name}", todo=_OF_OBJECTS)
        return True


_OF_OBJECTS = "Save a good version, and point aliases at it. Rules that keep more leave something to fall back on"


def released(
    run_id: str,
    what: str,
    dataset_ids: list[str] | None = None,
    todo: str = "Publish a good version with mode 'replace'. Rules that keep more leave something to fall back on",
    comes_back: bool = True,
) -> InvalidState:
    """The error of a revert that needs what retention has released."""
    named = f": {', '.join(dataset_ids[:3])}{' …' if len(dataset_ids) > 3 else ''}" if dataset_ids else ""
    how = "would come back, and was released by retention" if comes_back else "which was released by retention"
    return InvalidState(
        f"Run {run_id} cannot be reverted: {what}{' ' if comes_back else ', '}{how}{named}",
        why="The bytes of what was released are deleted, or about to be",
        todo=todo,
        committed="no",
        run_id=run_id,
        released=dataset_ids or [],
    )
