"""``Catalog``: what is asked of a registry as a whole, answered by a local index that follows the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cached_property
from sqlite3 import Connection
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from prefect_registry.asynchronous import twin
from prefect_registry.catalog import subjects
from prefect_registry.catalog.ancestry import Ancestry
from prefect_registry.catalog.database import Database
from prefect_registry.catalog.place import index_file
from prefect_registry.catalog.queries import MOST_PER_PAGE, Order, Where, cursor, last_of, where
from prefect_registry.catalog.results import (
    CellInfo,
    DatasetInfo,
    EventInfo,
    IncidentInfo,
    Page,
    RunInfo,
    Total,
)
from prefect_registry.catalog.subjects import Subject
from prefect_registry.errors import InvalidInput
from prefect_registry.ledger import paths
from prefect_registry.ledger.store import Store
from prefect_registry.records.documents import Doc, DoctagsAsset
from prefect_registry.records.store import RegistryDocument

if TYPE_CHECKING:  # what few programs do need not be loaded by all
    from prefect_registry.catalog.checkpoints.writing import CheckpointReport, Checkpoints
    from prefect_registry.catalog.sync import Sync, SyncReport

T = TypeVar("T")
By = Literal["kind", "day"]
_COUNTED: dict[str, Subject[Any]] = {
    "runs": subjects.RUNS,
    "datasets": subjects.DATASETS,
    "events": subjects.EVENTS,
    "incidents": subjects.INCIDENTS,
}
_DAY = "date(created_at / 1000000, 'unixepoch')"


class Catalog(Ancestry):
    """Queries over everything in a registry: filtered, ordered, a page at a time, as it is or as it was.

    Every query first takes in what is new in the store: one LIST per open hour, and what is new in parallel. With
    ``max_age`` seconds, an index that is no older answers without looking; what this process decided itself is in it
    all the same. With ``fresh=False`` the index answers as it is; only one that has never looked does so. The index
    lies in the user's cache folder and can be deleted at any time.

    >>> from prefect_registry import Registry
    >>> registry = Registry("memory://docs-catalog")
    >>> with registry.run("nightly") as run, run.dataset("greetings") as ds, ds.open("hello.txt", "w") as file:
    ...     _ = file.write("hello")
    >>> [(d.kind, d.state, d.file_count) for d in registry.catalog.datasets(kind="greetings")]
    [('greetings', 'READY', 1)]
    """

    def __init__(self, store: Store, use_cache: bool = True) -> None:
        self._store = store
        self._use_cache = use_cache

    def __getstate__(self) -> tuple[Store, bool]:
        return (self._store, self._use_cache)

    def __setstate__(self, state: tuple[Store, bool]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    @cached_property
    def _database(self) -> Database:
        registry_id = self._store.read(paths.REGISTRY, RegistryDocument).registry_id
        return Database(index_file(registry_id, self._store.storage.url) if self._use_cache else None)

    @cached_property
    def _sync(self) -> Sync:
        from prefect_registry.catalog.sync import Sync

        return Sync(self._store, self._database)

    @cached_property
    def _checkpoints(self) -> Checkpoints:
        from prefect_registry.catalog.checkpoints.writing import Checkpoints

        return Checkpoints(self._store, self._database, self._sync)

    # -- keeping up ----------------------------------------------------------------------------------------------

    def refresh(self) -> SyncReport:
        """Take in everything that was decided before this call."""
        return self._sync.run()

    def checkpoint(self, full: bool = False, unsealed: bool = False) -> CheckpointReport:
        """Write the index as Parquet tables into the store. See :meth:`prefect_registry.Registry.checkpoint`."""
        return self._checkpoints.write(full, unsealed)

    def ask(self, query: Callable[[Connection], T], fresh: bool = True, max_age: float | None = None) -> T:
        """What ``query`` finds in one state of the index, brought up to date first. For those who build on the
        catalog; not for users. It may be called twice: once more on a new index, if this one turns out to be damaged.
        """
        again = False

        def answer() -> T:
            nonlocal again
            if self._sync.is_due(fresh, max_age) or again:
                self.refresh()
            again = True
            with self._database.reading() as connection:
                return query(connection)

        return self._database.mended(answer)

    def relodge(self) -> int:
        """Make the lineage of all model runs in the index anew from their records; returns how many there are."""
        return self._sync.relodge()

    # -- queries -------------------------------------------------------------------------------------------------

    def runs(
        self,
        /,
        *,
        order: str = "-started_at",
        limit: int = 100,
        cursor: str | None = None,
        text: str | None = None,
        as_of: datetime | None = None,
        fresh: bool = True,
        max_age: float | None = None,
        **filters: Any,
    ) -> Page[RunInfo]:
        """Runs, newest first.

        Args:
            order: A field, with a minus before it for descending. Ties go by id.
            limit: The most that a page has; at most 10,000.
            cursor: ``next`` of the page before. It goes on behind its last item, whatever has come in between.
            text: Only those that have this in one of their texts; case is ignored for ASCII letters.
            as_of: As it was then (aware), by the times of the decisions.
            fresh: Look at the store first. If False, the index answers as it is, also without what this process has
                just written; one that has never looked does so once.
            max_age: Seconds by which a fresh answer may lag behind; by default none.
            filters: Fields: a value, or several of which one is enough; ``since`` and ``until`` (exclusive) for the
                time; ``config={"region.name": "eu"}`` looks into JSON; ``left_out`` takes one of what was left out.
                None does not filter.

        Raises:
            InvalidInput: Lists every filter that there is not; or ``max_age`` is given with ``fresh=False``.
        """
        return self._page(subjects.RUNS, order, limit, cursor, text, as_of, (fresh, max_age), filters)

    def datasets(
        self,
        /,
        *,
        order: str = "-created_at",
        limit: int = 100,
        cursor: str | None = None,
        text: str | None = None,
        as_of: datetime | None = None,
        fresh: bool = True,
        max_age: float | None = None,
        **filters: Any,
    ) -> Page[DatasetInfo]:
        """Datasets in every state, newest first. Arguments are those of :meth:`runs`; ``tags`` and ``partition`` are
        looked into.
        """
        return self._page(subjects.DATASETS, order, limit, cursor, text, as_of, (fresh, max_age), filters)

    def events(
        self,
        /,
        *,
        order: str = "created_at",
        limit: int = 100,
        cursor: str | None = None,
        text: str | None = None,
        as_of: datetime | None = None,
        fresh: bool = True,
        max_age: float | None = None,
        **filters: Any,
    ) -> Page[EventInfo]:
        """Events that were emitted, oldest first. Arguments are those of :meth:`runs`; ``payload`` is looked into."""
        return self._page(subjects.EVENTS, order, limit, cursor, text, as_of, (fresh, max_age), filters)

    def incidents(
        self,
        /,
        *,
        order: str = "created_at",
        limit: int = 100,
        cursor: str | None = None,
        text: str | None = None,
        as_of: datetime | None = None,
        fresh: bool = True,
        max_age: float | None = None,
        **filters: Any,
    ) -> Page[IncidentInfo]:
        """Incidents, oldest first. Arguments are those of :meth:`runs`."""
        return self._page(subjects.INCIDENTS, order, limit, cursor, text, as_of, (fresh, max_age), filters)

    def documents(
        self,
        /,
        *,
        order: str = "id",
        limit: int = 100,
        cursor: str | None = None,
        text: str | None = None,
        as_of: datetime | None = None,
        fresh: bool = True,
        max_age: float | None = None,
        **filters: Any,
    ) -> Page[Doc]:
        """Registered documents, by id. Arguments are those of :meth:`runs`; filters are fields of ``Doc``, and
        ``since`` and ``until`` compare when it was registered last.
        """
        return self._page(subjects.DOCUMENTS, order, limit, cursor, text, as_of, (fresh, max_age), filters)

    def doctags(
        self,
        /,
        *,
        order: str = "doc_id",
        limit: int = 100,
        cursor: str | None = None,
        text: str | None = None,
        as_of: datetime | None = None,
        fresh: bool = True,
        max_age: float | None = None,
        **filters: Any,
    ) -> Page[DoctagsAsset]:
        """Registered doctags assets, by the id of their document. Arguments are those of :meth:`documents`."""
        return self._page(subjects.DOCTAGS, order, limit, cursor, text, as_of, (fresh, max_age), filters)

    def cells(
        self,
        type: str,
        /,
        *,
        order: str = "name",
        limit: int = 100,
        cursor: str | None = None,
        text: str | None = None,
        as_of: datetime | None = None,
        fresh: bool = True,
        max_age: float | None = None,
        deleted: bool | None = False,
        **filters: Any,
    ) -> Page[CellInfo]:
        """The newest visible generation of every cell of a type (``document``, ``doctags`` …), by name.

        Arguments are those of :meth:`runs`; ``value`` is looked into. ``deleted=None`` shows tombstones too.
        """
        filters = {"type": type, "deleted": deleted, **filters}
        return self._page(subjects.CELLS, order, limit, cursor, text, as_of, (fresh, max_age), filters)

    def _page(
        self,
        subject: Subject[T],
        order: str,
        limit: int,
        after: str | None,
        text: str | None,
        as_of: datetime | None,
        lag: tuple[bool, float | None],
        filters: dict[str, Any],
    ) -> Page[T]:
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_PER_PAGE:
            raise InvalidInput.of("limit", [f"limit must be from 1 to {MOST_PER_PAGE:,}, not {limit!r:.40}"])
        condition, by = where(subject, filters, text, as_of), Order.of(subject, order)
        asked = f"{subject.noun} {order} {as_of} {condition.sql} {condition.values}"
        behind = by.after(subject.unique, last_of(asked, after)) if after is not None else None
        source = subject.source if as_of is None else subject.past
        sql = f"SELECT *, {by.column} AS last_value FROM ({source}) AS item WHERE {condition.sql}"
        values = self._bound(condition)
        if behind is not None:
            sql += f" AND {behind.sql}"
            values |= behind.values
        sql += f" ORDER BY {by.sql(subject.unique)} LIMIT {limit + 1}"
        found = self.ask(lambda connection: connection.execute(sql, values).fetchall(), *lag)
        items = tuple(subject.make(row, self._store.storage.url) for row in found[:limit])
        last = found[limit - 1] if len(found) > limit else None
        following = cursor(asked, (last["last_value"], last[subject.unique])) if last is not None else None
        return Page(items, following)

    def count(
        self,
        what: Literal["runs", "datasets", "events", "incidents"],
        /,
        *,
        text: str | None = None,
        as_of: datetime | None = None,
        fresh: bool = True,
        max_age: float | None = None,
        **filters: Any,
    ) -> int:
        """How many there are. Filters are those of the query of that name."""
        if what not in _COUNTED:
            raise InvalidInput.of("what", [f"it must be one of {', '.join(_COUNTED)}, not {what!r:.40}"])
        subject = _COUNTED[what]
        condition = where(subject, filters, text, as_of)
        source = subject.source if as_of is None else subject.past
        sql, values = f"SELECT count(*) FROM ({source}) AS item WHERE {condition.sql}", self._bound(condition)
        return int(self.ask(lambda connection: connection.execute(sql, values).fetchone()[0], fresh, max_age))

    def totals(
        self,
        /,
        *,
        by: By | Iterable[By] = "kind",
        text: str | None = None,
        as_of: datetime | None = None,
        fresh: bool = True,
        max_age: float | None = None,
        **filters: Any,
    ) -> Page[Total]:
        """Datasets, rows, bytes and files per kind, per day on which they were begun (UTC), or both.

        Filters are those of :meth:`datasets`; pass ``state="READY"`` to count what is visible.
        """
        wanted = [by] if isinstance(by, str) else list(by)
        if not wanted or any(name not in ("kind", "day") for name in wanted):
            raise InvalidInput.of("by", [f"by must be 'kind', 'day' or both, not {by!r:.60}"])
        condition = where(subjects.DATASETS, filters, text, as_of)
        source = subjects.DATASETS.source if as_of is None else subjects.DATASETS.past
        kind = "kind" if "kind" in wanted else "NULL"
        day = _DAY if "day" in wanted else "NULL"
        sql = (
            f"SELECT {kind} AS kind, {day} AS day, count(*) AS datasets, coalesce(sum(rows), 0) AS rows,"
            f" coalesce(sum(bytes), 0) AS bytes, coalesce(sum(file_count), 0) AS files FROM ({source}) AS item"
            f" WHERE {condition.sql} GROUP BY 1, 2 ORDER BY 2, 1"
        )
        values = self._bound(condition)
        found = self.ask(lambda connection: connection.execute(sql, values).fetchall(), fresh, max_age)
        return Page(tuple(Total(*row) for row in found))

    def _bound(self, condition: Where) -> dict[str, Any]:
        """The values that a query names."""
        return {**condition.values, "url": self._store.storage.url}

    def close(self) -> None:
        """Give the index's file back; the next query opens it again."""
        self._database.close()

    arefresh = twin(refresh)
    acheckpoint = twin(checkpoint)
    arelodge = twin(relodge)
    aruns = twin(runs)
    adatasets = twin(datasets)
    aevents = twin(events)
    aincidents = twin(incidents)
    adocuments = twin(documents)
    adoctags = twin(doctags)
    acells = twin(cells)
    acount = twin(count)
    atotals = twin(totals)
