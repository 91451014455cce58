"""What every part of a check works with: the store as it is now, and reads that damage does not stop."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from prefect_registry.catalog.applying import Reader
from prefect_registry.catalog.fsck.report import KINDS, Finding, Findings, Severity
from prefect_registry.catalog.fsck.scratch import Scratch
from prefect_registry.catalog.look import Look, View
from prefect_registry.catalog.rows import Standing
from prefect_registry.clock import iso, parse_iso
from prefect_registry.errors import AccessDenied, NotFound, RegistryError, StorageUnavailable
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.ledger.store import D, Store
from prefect_registry.records.cells import CellGeneration
from prefect_registry.storage.base import ObjectInfo

T = TypeVar("T")
Progress = Callable[[str, int], object]
"""Called with what is being looked at (``journal``, ``cells``, ``files``, ``checkpoints``, ``index``), and how many of
them so far.
"""

EVERY = 500
"""How many objects lie between two calls of a progress."""
KEPT_DECISIONS = 2_000
AT_A_TIME = 200


@dataclass(frozen=True)
class Damage:
    """What is there instead of a document: why it cannot be read."""

    why: str


def tolerant(call: Callable[[], T]) -> T | Damage | None:
    """What ``call`` reads: None when it is not there, :class:`Damage` when it cannot be understood.

    Raises ``StorageUnavailable`` and ``AccessDenied``: they tell nothing of what is stored.
    """
    try:
        return call()
    except (StorageUnavailable, AccessDenied):
        raise
    except NotFound:
        return None
    except RegistryError as error:
        return Damage(f"{error.what}. {error.why}")
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError, AttributeError) as error:
        return Damage(f"{type(error).__name__}: {error}"[:300])


@dataclass
class Looked:
    """What one look at a run found. Nothing of it counts before the run is done with."""

    findings: list[Finding] = field(default_factory=list)
    remembered: dict[str, list[Sequence[Any]]] = field(default_factory=dict)
    files: list[tuple[str, int, str, str, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def tell(
        self, kind: str, key: str, what: str, since: ObjectInfo | datetime | None, severity: Severity | None = None
    ) -> None:
        """Note a finding. ``since``: the object that it is about, or a time."""
        moment = since.modified if isinstance(since, ObjectInfo) else since
        self.findings.append(Finding(kind, severity or KINDS[kind].severity, key, what, moment))

    def remember(self, table: str, *row: Any) -> None:
        """Note a row for the scratch table."""
        self.remembered.setdefault(table, []).append(row)

    @property
    def is_fine(self) -> bool:
        """Whether there is nothing that a second look could clear up."""
        return all(f.severity == "note" for f in self.findings)


class Checked:
    """The store under a check: fresh reads, memory on disk, findings, and progress.

    Nothing that this process has read before counts: it may have been damaged since.
    """

    def __init__(self, store: Store, progress: Progress | None) -> None:
        clock = copy.copy(store.clock)  # a document from the future must not set the clock of this process
        self.store = Store(store.storage, clock, store.ids, store.settings, store.holder, store.is_gone, store.random)
        self.store._cache._capacity = KEPT_DECISIONS
        self.storage = store.storage
        self.scratch = Scratch()
        self.findings = Findings()
        self.counts: Counter[str] = Counter()
        self.newest: datetime | None = None
        self._reader = Reader(View.of(self.store, Look()), Look())
        self._cells = Ledger(self.store, heartbeats=False).cells
        self._progress = progress

    # -- reading -------------------------------------------------------------------------------------------------

    def document(self, key: str, model: type[D]) -> D | Damage | None:
        """A document as it lies there now."""
        return tolerant(lambda: model.decode(self.storage.get(key), key))

    def kept(self, key: str, model: type[D]) -> D | Damage | None:
        """The same of a begin or decision, which others ask for again: kept for a while."""
        return tolerant(lambda: self.store.read(key, model))

    def documents(self, keys: Sequence[str], model: type[D]) -> list[D | Damage | None]:
        """Many at once, in the order of ``keys``."""
        return self.store.together([partial(self.document, key, model) for key in keys]) if keys else []

    def standing(self, run_id: str) -> Standing | None:
        """How a run stands, the runs around it taken into account; None when a decision on the way cannot be read."""
        found = tolerant(lambda: self._reader.standing(run_id))
        return found if isinstance(found, Standing) else None

    def latest(self, type_: str, name: str) -> CellGeneration | None:
        """The newest visible generation of a cell as it is now; None also when it cannot be read."""
        found = tolerant(lambda: self._cells.latest(type_, name))
        return found if isinstance(found, CellGeneration) else None

    def is_released(self, type_: str, name: str) -> bool:
        """Whether retention has given the bytes of a dataset or payload free: then they are gone, or will be (P8)."""
        latest = self.latest(type_, name)
        return latest is not None and latest.value.get("purged") is True

    def exists(self, key: str) -> bool:
        """Whether an object is there now."""
        return isinstance(tolerant(lambda: self.storage.info(key)), ObjectInfo)

    def now(self) -> datetime:
        """The time by the store, as far as it can be known without a write."""
        now = self.store.clock.now()
        return max(now, self.newest) if self.newest is not None else now

    # -- telling -------------------------------------------------------------------------------------------------

    def see(self, stage: str, counted: str, info: ObjectInfo) -> None:
        """Count an object that a listing showed."""
        self.newest = info.modified if self.newest is None else max(self.newest, info.modified)
        self.count(stage, counted)

    def count(self, stage: str, counted: str, amount: int = 1) -> None:
        """Count, and tell the progress now and then."""
        self.counts[counted] += amount
        if self._progress is not None and self.counts[counted] % EVERY < amount:
            self._progress(stage, self.counts[counted])

    def stage(self, name: str) -> None:
        """Tell that another part begins."""
        if self._progress is not None:
            self._progress(name, 0)

    def tell(
        self,
        kind: str,
        key: str,
        what: str,
        since: ObjectInfo | datetime | str | None,
        severity: Severity | None = None,
    ) -> None:
        """Note a finding for good."""
        once = Looked()
        once.tell(kind, key, what, parse_iso(since) if isinstance(since, str) else since, severity)
        self.take(once)

    def take(self, looked: Looked) -> None:
        """What was found counts."""
        for finding in looked.findings:
            self.findings.add(finding)
        for table, rows in looked.remembered.items():
            self.scratch.add(table, rows)
        self.counts.update(looked.counts)


def since_text(info: ObjectInfo | None) -> str | None:
    """A store timestamp as the scratch table keeps it."""
    return iso(info.modified) if info is not None else None


def batches(items: Iterable[T], size: int = AT_A_TIME) -> Iterable[list[T]]:
    """Lists of at most ``size`` items."""
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
