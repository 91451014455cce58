"""What there is of an export, and how far it is, by the state of its dataset (reference system 5).

Where the reference system has a folder and a lock file, this has a dataset, whose files are visible together or not at
all, and the lease of the run that writes it, which ends by itself when the writer dies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prefect_registry.errors import InvalidInput
from prefect_registry.ingestion.enums import EXPORT_JOB_TAG, EXPORT_TAG, TaskStatus
from prefect_registry.ingestion.models import Collection, Job
from prefect_registry.ledger import paths
from prefect_registry.ledger.ledger import Ledger

EXPORTER_MAX_JSON_BYTES_TO_EXCEL = 1 << 30
"""The largest JSON lines file, uncompressed, of which the reference system makes an Excel file. This package goes by
what a sheet can hold: see :func:`~prefect_registry.ingestion.exporting.export`.
"""

_NAME = re.compile(r"(full|undated|\d{4})\.(jsonl|csv|xlsx)(?:\.tar)?(?:\.gz)?", re.ASCII)


@dataclass(frozen=True)
class ExportState:
    """The dataset of an export, as it was when somebody looked.

    ``lease_alive`` matters only while the run is undecided; ``lease_key`` is the key of the run's heartbeat. ``files``
    maps paths to sizes in bytes, of what is visible.
    """

    root: str
    lease_key: str
    visible: bool
    undecided: bool
    lease_alive: bool
    files: Mapping[str, int]


class _File(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def size(self) -> int: ...


class _Dataset(Protocol):
    """What ``Registry.get_dataset`` returns."""

    @property
    def run_id(self) -> str: ...
    @property
    def state(self) -> Any: ...
    @property
    def root(self) -> str: ...
    @property
    def files(self) -> Sequence[Any]: ...


Look = Callable[[tuple[str, ...]], ExportState | None]
"""The newest dataset that was begun for an export of these components; None if there is none."""


def state_of(dataset: _Dataset, ledger: Ledger, run_id: str | None = None) -> ExportState:
    """How a dataset and its run stand now.

    Args:
        run_id: The run whose lease counts, where that is another one than the run of the dataset.
    """
    run_id = run_id or dataset.run_id
    undecided = dataset.state in ("PENDING", "STAGED")
    visible = dataset.state in ("READY", "ARCHIVED")
    return ExportState(
        root=dataset.root,
        lease_key=paths.heartbeat_key(run_id),
        visible=visible,
        undecided=undecided,
        lease_alive=undecided and _is_alive(ledger, run_id),
        files={file.path: file.size for file in dataset.files} if visible else {},
    )


def _is_alive(ledger: Ledger, run_id: str) -> bool:
    """Whether the run has shown a sign of life within its lease. Only a look: nothing is aborted because of it."""
    pulse = ledger.leases.pulse(run_id)
    if pulse is None:
        return False
    if pulse.holder is not None and pulse.of_beginner and ledger.store.is_gone(pulse.holder):
        return False
    return (ledger.store.clock.now() - pulse.at).total_seconds() <= pulse.lease_seconds


def _of_job(subject: Any, kind: str | None) -> ExportState | None:
    """The newest export of a kind, or of any, by a job as it is now; else the newest one that was made of it later."""
    ingestion = subject.ingestion
    id = ingestion.publication(subject.id).active_job if isinstance(subject, Collection) else subject.id
    job = ingestion.get_job(id) if id is not None else None
    if job is None:
        return None
    ledger = ingestion.registry.ledger
    for task in reversed(job.tasks):
        for dataset in reversed(ingestion.registry.attach(task.attempt).datasets() if task.attempt else []):
            exported = dataset.tags.get(EXPORT_TAG)
            if exported is not None and kind in (None, exported):
                decided = ledger.store.decision(dataset.run_id) is not None
                return state_of(dataset, ledger, job.run if decided else None)
    wanted = {EXPORT_JOB_TAG: job.id, **({EXPORT_TAG: kind} if kind is not None else {})}
    found = next(iter(ingestion.registry.catalog.datasets(tags=wanted, limit=1)), None)
    return state_of(ingestion.registry.get_dataset(found.id), ledger) if found is not None else None


class Export:
    """An export, or with ``basename`` one file of it. Every property looks anew.

    Args:
        components: A job, or a publication, which means its active job; and the kind that was exported, where the job
            exports several. With ``look``, whatever that understands.
        basename: The file that is meant, such as ``full.jsonl.gz``.
        look: Finds the dataset.
    """

    def __init__(self, *components: object, basename: str | None = None, look: Look | None = None) -> None:
        first = components[0] if components else None
        if look is None and not isinstance(first, (Job, Collection)):
            raise InvalidInput.of("the export", ["give a job or a publication, and perhaps a kind"])
        self.components = tuple(c.id if isinstance(c, (Job, Collection)) else str(c) for c in components)
        self.basename = basename
        self._look = look or (lambda found: _of_job(first, found[1] if len(found) > 1 else None))

    def _state(self) -> ExportState | None:
        return self._look(self.components)

    @property
    def path(self) -> str | None:
        """The URL of the folder, or of the file; None while no dataset was begun."""
        state = self._state()
        if state is None:
            return None
        return state.root if self.basename is None else f"{state.root.rstrip('/')}/{self.basename}"

    @property
    def lockfile(self) -> str | None:
        """The key, in the store, of the heartbeat that keeps the writer's lease; None while no dataset was begun."""
        state = self._state()
        return None if state is None else state.lease_key

    @property
    def locked(self) -> bool:
        """Whether it is being written. A writer that died does not lock it for longer than its lease."""
        return self.status is TaskStatus.RUNNING

    @property
    def status(self) -> TaskStatus:
        """How far it is; of one file, COMPLETED only if it is among those that are visible."""
        state = self._state()
        if state is not None and state.undecided:
            return TaskStatus.RUNNING if state.lease_alive else TaskStatus.STALE
        if state is None or not state.visible or (self.basename is not None and self.basename not in state.files):
            return TaskStatus.WAITING
        return TaskStatus.COMPLETED

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """What can be downloaded, by format (``csv``, ``jsonl``, ``xlsx``): sizes in bytes of ``full`` and ``undated``,
        False where there is none, and ``by_year`` a list of ``{"year": 2024, "size": 1}``. Other files are left out.
        """
        state = self._state()
        return files_by_format(state.files.items() if state is not None else ())

    def __repr__(self) -> str:
        name = "/".join(self.components) + (f"/{self.basename}" if self.basename else "")
        return f"<Export {name!r}>"


def files_by_format(files: Iterable[tuple[str, int]]) -> dict[str, dict[str, Any]]:
    """:attr:`Export.files` of these paths and sizes."""
    found: dict[str, dict[str, Any]] = {
        format_: {"full": False, "undated": False, "by_year": []} for format_ in ("csv", "jsonl", "xlsx")
    }
    for path, size in sorted(files):
        match = _NAME.fullmatch(path.rpartition("/")[2])
        if match is None:
            continue
        segment, format_ = match[1], found[match[2]]
        if segment.isdigit():
            format_["by_year"].append({"year": int(segment), "size": size})
        else:
            format_[segment] = size
    return found
