"""What of :class:`~prefect_registry.catalog.catalog.Catalog` asks what came from what."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from sqlite3 import Connection
from typing import TypeVar

from prefect_registry.asynchronous import twin
from prefect_registry.catalog.lineage import Direction, edges_from
from prefect_registry.catalog.queries import moment_of
from prefect_registry.catalog.results import Edge, Page
from prefect_registry.errors import InvalidInput

T = TypeVar("T")


class Ancestry:
    """Walks of the lineage, upstream and downstream."""

    def ask(self, query: Callable[[Connection], T], fresh: bool = True, max_age: float | None = None) -> T:
        """What ``query`` finds in one state of the index."""
        raise TypeError(f"{type(self).__name__} has no index")

    def upstream(
        self,
        id: str,
        *,
        depth: int = 100,
        as_of: datetime | None = None,
        fresh: bool = True,
        max_age: float | None = None,
    ) -> Page[Edge]:
        """What a run, a dataset or another thing came from: the edges within ``depth`` steps, nearest first.

        Where several runs assert the same edge, there is one for each of them. Those that were taken back are left
        out; ``as_of`` shows them as of a time at which they stood.
        """
        return self._lineage(id, "upstream", depth, as_of, fresh, max_age)

    def downstream(
        self,
        id: str,
        *,
        depth: int = 100,
        as_of: datetime | None = None,
        fresh: bool = True,
        max_age: float | None = None,
    ) -> Page[Edge]:
        """What came from a run, a dataset or another thing; otherwise as :meth:`upstream`."""
        return self._lineage(id, "downstream", depth, as_of, fresh, max_age)

    def _lineage(
        self, id: str, direction: Direction, depth: int, as_of: datetime | None, fresh: bool, max_age: float | None
    ) -> Page[Edge]:
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
            raise InvalidInput.of("depth", [f"depth must be at least 1, not {depth!r:.40}"])
        moment = moment_of("as_of", as_of)
        found = self.ask(lambda connection: edges_from(connection, id, direction, depth, moment), fresh, max_age)
        return Page(tuple(found))

    aupstream = twin(upstream)
    adownstream = twin(downstream)
