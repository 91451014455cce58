"""A store in which nothing is decided any more: what several reads of one state look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime

from prefect_registry.ledger import paths
from prefect_registry.ledger.store import D, Store
from prefect_registry.records.runs import Decision


@dataclass
class FrozenStore(Store):
    """A store that shows only the decisions of one state: those of ``decided`` runs, made by ``until``.

    Everything else in a state follows from its decisions (DESIGN.md P3). For reading only.
    """

    decided: frozenset[str] = frozenset()
    until: datetime | None = None

    @classmethod
    def of(cls, store: Store, decided: Iterable[str], until: datetime | None) -> FrozenStore:
        """A frozen view of ``store``, sharing what it has read."""
        parts = {f.name: getattr(store, f.name) for f in fields(Store)}
        frozen = cls(**parts, decided=frozenset(paths.end_key(run_id) for run_id in decided), until=until)
        frozen._cache = store._cache
        return frozen

    def peek(self, key: str, model: type[D]) -> D | None:
        """Like :meth:`Store.peek`; decisions that are not of this state do not exist."""
        if model is Decision and key not in self.decided:
            return None
        found = super().peek(key, model)
        late = isinstance(found, Decision) and self.until is not None and found.closed_at > self.until
        return None if late else found

    def thawed(self) -> Store:
        """The store that this is a state of, sharing what was read."""
        store = Store(**{f.name: getattr(self, f.name) for f in fields(Store)})
        store._cache = self._cache
        return store
