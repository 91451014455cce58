"""What the catalog answers: typed objects, and pages of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar, overload

from prefect_registry.notebook import MOST_ROWS, rows_html, shown
from prefect_registry.records.datasets import DatasetState, Mode, Partition
from prefect_registry.records.runs import Failure

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
RunState = Literal["RUNNING", "COMMITTED", "ABORTED"]


@dataclass(frozen=True)
class RunInfo:
    """A run: what insert_run recorded, and how it ended.

    ``state`` is the effective one: a nested run is RUNNING until the outermost run around it is decided; then
    ``staged`` tells that its own decision is made. Times are UTC.
    """

    id: str
    purpose: str
    state: RunState
    model_id: str | None
    revision: str | None
    config: Mapping[str, Any]
    started_at: datetime
    finished_at: datetime | None
    success: bool | None
    notes: str | None
    failure: Failure | None
    parent: str | None
    isolated: bool
    publish: str
    implicit: bool
    lease_seconds: float
    flow_run: str | None
    staged: bool = False
    left_out: tuple[str, ...] = ()
    prefect: Mapping[str, Any] = field(default_factory=dict, repr=False)

    _repr_html_ = shown

    @property
    def status(self) -> RunState:
        """``state`` by another name."""
        return self.state


@dataclass(frozen=True)
class DatasetInfo:
    """A dataset without its files: ``Registry.get_dataset(id)`` has those.

    ``rows`` is None when no one counted them; ``bytes`` is the size of all files. ``published_at`` is the time of the
    decision that made it visible, and None while none has.
    """

    id: str
    kind: str
    run_id: str
    state: DatasetState
    mode: Mode
    partition: Partition | None
    root: str
    external: bool
    rows: int | None
    bytes: int
    file_count: int
    created_at: datetime
    committed_at: datetime | None
    published_at: datetime | None
    key: str | None = None
    task_run: str | None = None
    parent_run: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    _repr_html_ = shown


@dataclass(frozen=True)
class EventInfo:
    """Something that happened to ``subject_id``. Derived ones (``DatasetCommitted``, ``DatasetRolledBack``,
    ``RunClosed``) come from the decisions themselves.
    """

    id: str
    event_name: str
    subject_id: str
    payload: Mapping[str, Any]
    created_at: datetime
    run_id: str | None

    _repr_html_ = shown


@dataclass(frozen=True)
class IncidentInfo:
    """Something that went wrong, visible at once."""

    id: str
    event: str
    subject_id: str
    error_class: str
    message: str
    created_at: datetime
    run_id: str | None

    _repr_html_ = shown


@dataclass(frozen=True)
class CellInfo:
    """The newest visible generation of a named cell: a registered document, a later state of a dataset …"""

    type: str
    name: str
    gen: int
    value: Mapping[str, Any]
    at: datetime
    run_id: str | None
    deleted: bool
    reason: str | None

    _repr_html_ = shown


@dataclass(frozen=True)
class Total:
    """Sums over datasets: of one kind, of one day, or of one kind on one day (UTC), as was asked."""

    kind: str | None
    day: str | None
    datasets: int
    rows: int
    bytes: int
    files: int

    _repr_html_ = shown


class Edge(NamedTuple):
    """One step of the lineage: ``source`` ``relation`` ``target``, in the words of W3C PROV (a run ``used`` a dataset,
    a dataset ``wasGeneratedBy`` a run). ``asserted_by`` is the run that says so: if several do, there is an edge for
    each. ``depth`` counts from what was asked.
    """

    source: str
    relation: str
    target: str
    asserted_by: str
    depth: int

    def _repr_html_(self) -> str:
        return shown(self)


@dataclass(frozen=True)
class Page(Sequence[T], Generic[T]):
    """Answers to a query, in order: all of them, or a page. ``next`` is the cursor for those that follow, None at the
    end.
    """

    items: tuple[T, ...]
    next: str | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self.items[index]

    def to_dicts(self) -> list[dict[str, Any]]:
        """Each item as a dictionary of its fields."""
        return [as_dict(item) for item in self.items]

    def to_arrow(self) -> pa.Table:
        """The items as a pyarrow table: a column per field. What has no columns of its own (``config``) is JSON."""
        import orjson
        import pyarrow

        def plain(value: Any) -> Any:
            nested = isinstance(value, (dict, list, tuple))
            return orjson.dumps(value).decode() if nested else value

        return pyarrow.Table.from_pylist([{k: plain(v) for k, v in d.items()} for d in self.to_dicts()])

    def to_pandas(self) -> Any:
        """The items as a pandas DataFrame (needs pandas)."""
        return self.to_arrow().to_pandas()

    def _repr_html_(self) -> str:
        more = "<p>There are more: pass <code>cursor=page.next</code>.</p>" if self.next else ""
        return rows_html(Page(self.items[:MOST_ROWS]).to_dicts(), count=len(self)) + more


def as_dict(item: Any) -> dict[str, Any]:
    """The fields of a result, with what is in them as plain dictionaries."""
    if isinstance(item, Edge):
        return item._asdict()
    if not is_dataclass(item):
        return dict(item.model_dump())
    found = {f.name: getattr(item, f.name) for f in fields(item)}
    return {k: v.model_dump(by_alias=True) if isinstance(v, Failure) else v for k, v in found.items()}
