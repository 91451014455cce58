"""Who wants to know when something happens in this process, and who knows what surrounds it: how the Prefect layer
works with the ledger, while nothing below it imports Prefect (DESIGN.md 7).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from prefect_registry.records.cells import CellGeneration
from prefect_registry.records.events import Event

CellObserver = Callable[[str, CellGeneration], None]
DatasetObserver = Callable[[str, str, str], None]
EventObserver = Callable[[str, Event], None]
WorkObserver = Callable[[], None]
SurroundingRun = Callable[[str], str | None]

_work_in_run: list[WorkObserver] = []
_cell_written: list[CellObserver] = []
_cell_published: list[CellObserver] = []
_dataset_begun: list[DatasetObserver] = []
_dataset_published: list[DatasetObserver] = []
_event_emitted: list[EventObserver] = []
_surrounding_run: list[SurroundingRun] = []

_noting: ContextVar[list[CellGeneration] | None] = ContextVar("prefect_registry_noting", default=None)

# In a process that Prefect started (a pool of processes, a Dask worker) nobody may have imported the Prefect layer. It
# is named here, not imported: without Prefect in the process it is never loaded.
_WITH = {"prefect.context": "prefect_registry.runs"}


def on_work_in_run(observer: WorkObserver) -> None:
    """Call ``observer()`` before anything is written into a run that becomes visible with a decision of its caller's.
    Once per observer.
    """
    if observer not in _work_in_run:
        _work_in_run.append(observer)


def work_in_run() -> None:
    """Tell the observers."""
    _wake()
    for observer in _work_in_run:
        observer()


def on_dataset_begun(observer: DatasetObserver) -> None:
    """Call ``observer(store_url, run_id, dataset_id)`` after each begin of a dataset. Once per observer."""
    if observer not in _dataset_begun:
        _dataset_begun.append(observer)


def dataset_begun(store_url: str, run_id: str, dataset_id: str) -> None:
    """Tell the observers."""
    _wake()
    for observer in _dataset_begun:
        observer(store_url, run_id, dataset_id)


def on_event_emitted(observer: EventObserver) -> None:
    """Call ``observer(store_url, event)`` after each event that is to be a member of a run, and after each whose
    outcome is not known. Once per observer.
    """
    if observer not in _event_emitted:
        _event_emitted.append(observer)


def event_emitted(store_url: str, event: Event) -> None:
    """Tell the observers."""
    _wake()
    for observer in _event_emitted:
        observer(store_url, event)


def on_dataset_published(observer: DatasetObserver) -> None:
    """Call ``observer(store_url, run_id, dataset_id)`` after a dataset was published by itself (DESIGN.md P13).

    ``run_id`` is the run that it belongs to for lineage. Once per observer.
    """
    if observer not in _dataset_published:
        _dataset_published.append(observer)


def dataset_published(store_url: str, run_id: str, dataset_id: str) -> None:
    """Tell the observers."""
    _wake()
    for observer in _dataset_published:
        observer(store_url, run_id, dataset_id)


def on_cell_written(observer: CellObserver) -> None:
    """Call ``observer(store_url, generation)`` after each write to a named cell in a run, and after each whose outcome
    is not known; not in one that is implicit and in no other run. Once per observer.
    """
    if observer not in _cell_written:
        _cell_written.append(observer)


@contextmanager
def noting(written: list[CellGeneration]) -> Iterator[None]:
    """Append to ``written`` what the block writes to named cells in runs, but for implicit ones that are in no other,
    and what it may have written: the store did not say.
    """
    token = _noting.set(written)
    try:
        yield
    finally:
        _noting.reset(token)


def cell_written(store_url: str, generation: CellGeneration) -> None:
    """Tell the observers."""
    noted = _noting.get()
    if noted is not None:
        noted.append(generation)
    _wake()
    for observer in _cell_written:
        observer(store_url, generation)


def on_cell_published(observer: CellObserver) -> None:
    """Call ``observer(store_url, generation)`` after an object was saved, an alias moved, or anything of a registered
    model written, outside any run: it is visible. Once per observer.
    """
    if observer not in _cell_published:
        _cell_published.append(observer)


def cell_published(store_url: str, generation: CellGeneration) -> None:
    """Tell the observers."""
    _wake()
    for observer in _cell_published:
        observer(store_url, generation)


def know_surrounding_run(knows: SurroundingRun) -> None:
    """Ask ``knows(store_url)`` for the surrounding run's id where no context variable tells it. Once per callable."""
    if knows not in _surrounding_run:
        _surrounding_run.append(knows)


def surrounding_run(store_url: str) -> str | None:
    """The run of that store around the calling code, by those who know; None if nobody does."""
    _wake()
    return next((found for knows in _surrounding_run if (found := knows(store_url)) is not None), None)


def _wake() -> None:
    for loaded, wanted in _WITH.items():
        if loaded in sys.modules and wanted not in sys.modules:
            importlib.import_module(wanted)
