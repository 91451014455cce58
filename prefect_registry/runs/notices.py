"""What is told when a run has been decided: the log, an incident, Prefect events, artifacts.

None of it decides anything, so nothing here may fail or hang a flow.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from prefect.context import FlowRunContext

from prefect_registry import artifacts, events
from prefect_registry.errors import RegistryError
from prefect_registry.ledger import observers
from prefect_registry.ledger.closing import Closed
from prefect_registry.models.published import RegisteredVersion, published_models
from prefect_registry.objects.published import SavedObject, published_of
from prefect_registry.records.cells import CellGeneration
from prefect_registry.records.runs import Decision, Failure, Publish, failure
from prefect_registry.registry import Registry, Run
from prefect_registry.resolve import known
from prefect_registry.runs import lineage_events
from prefect_registry.runs.current import registry_at
from prefect_registry.runs.flowrun import flow_run_id, log
from prefect_registry.runs.publication import Publication, line, publication_of
from prefect_registry.runs.record import signals

LONGEST_WAIT_SECONDS = 10.0


_deferred: dict[str, Publication] = {}
_lock = threading.Lock()


# -- what is visible when ----------------------------------------------------------------------------------------------

_WHILE_OPEN: dict[Publish, str] = {
    "on_close": "nothing of it is visible yet",
    "on_commit": 'each dataset becomes visible when it is committed (publish="on_commit")',
    "never": 'nothing of it will be visible (publish="never")',
}
_KEPT = 'what it had published by itself (publish="on_commit") stays visible, and nothing else of it is'


def visible_while_open(publish: Publish) -> str:
    """What readers see of a run that goes on."""
    return _WHILE_OPEN[publish]


def visible_after_rollback(publish: str) -> str:
    """What readers see of a run that was rolled back: each dataset of ``on_commit`` was a run of its own (P13)."""
    return _KEPT if publish == "on_commit" else "nothing of it is visible"


# -- when it begins ----------------------------------------------------------------------------------------------------


def began(run: Run) -> None:
    """Tell of a run that has begun."""
    with _best_effort("tell of the beginning of a run"):
        lineage_events.began(run)


# -- after a commit ----------------------------------------------------------------------------------------------------


def closed(run: Run, result: Closed, flow: FlowRunContext | None, began: float) -> None:
    """Tell of a committed run.

    Events and artifacts of a flow's own run wait until Prefect has recorded that the flow run is completed (``flow``),
    so that nothing stands between the decision and that record.
    """
    publication = logged(run, result, time.monotonic() - began)
    with _best_effort("tell of the commit"):
        if publication is None:
            pass
        elif publication.is_something and flow is not None and not flow.detached and flow.flow is not None:
            with _lock:
                _deferred[str(cast(Any, flow.flow_run).id)] = publication
            _add_hook(flow.flow)
        else:
            announce(publication, flow_run_id())
    _ended(run, result)


def closed_by_task(run: Run, result: Closed, seconds: float) -> None:
    """Tell of a run that the ``close_run`` task has committed; several in one flow run each have their artifacts."""
    publication = logged(run, result, seconds)
    if publication is not None:
        with _best_effort("leave events and artifacts"):
            announce(replace(publication, flow=None), flow_run_id())
    _ended(run, result)


def rolled_back_by_task(run: Run, why: Failure | None, notes: str | None) -> None:
    """Tell of a run that the ``close_run`` task has rolled back: on purpose, so it is no incident."""
    begin, flow_run = run.registry.ledger.runs.known(run.id), flow_run_id()
    log().info("Run %s is rolled back in %s: %s.", run.id, run.registry.url, visible_after_rollback(begin.publish))
    if flow_run is not None:
        with _best_effort("tell of the rollback"):
            events.rolled_back(run, begin.purpose, why or failure("RolledBack", notes or ""), flow_run)
    _ended(run)


def logged(run: Run, result: Closed, seconds: float) -> Publication | None:
    """The line of a committed run in the flow run's log. Returns what it published, if that is visible and known."""
    if result.visible == "staged":
        log().info("Run %s is staged: it becomes visible when the run around it commits.", run.id)
        return None
    publication: Publication | None = None
    with _best_effort("tell of the commit"):
        publication = publication_of(run, result.decision)
        log().info("%s", line(publication, seconds))
    return publication


def late(run: Run, decision: Decision, flow_run: str) -> None:
    """Tell of a commit whose process ended before it could, or whose flow run did not end well after it."""
    with _lock:
        publication = _deferred.pop(flow_run, None)
    with _best_effort("tell of the commit"):
        announce(publication or publication_of(run, decision), flow_run)
    _ended(run)


def announce_registry_run(flow: Any, flow_run: Any, state: Any) -> None:
    """Hook on completion: leave events and artifacts of what the flow run published."""
    with _lock:
        publication = _deferred.pop(str(flow_run.id), None)
    if publication is not None:
        with _best_effort("leave events and artifacts"):
            announce(publication, str(flow_run.id))
    signals.release(str(flow_run.id))


def announce(publication: Publication, flow_run: str | None) -> None:
    """Events and artifacts; nothing outside a flow run, where there may be no Prefect server."""
    if flow_run is None:
        return
    found, objects, versions = publication, publication.objects, publication.models.versions
    events.committed(found.run, found.purpose, found.datasets, flow_run, objects, found.aliases, found.models)
    calls: list[Callable[[], None]] = []
    if found.datasets or objects or versions:
        key = found.flow or found.purpose
        calls.append(
            partial(
                artifacts.leave,
                found.run,
                key,
                found.purpose,
                found.datasets,
                flow_run,
                objects,
                versions,
                found.event_keys,
            )
        )
    if versions:
        calls.append(partial(_leave_versions, found.run.registry, versions, flow_run))
    if calls:
        _bounded(*calls)


def page(key: str, text: str, description: str, flow_run: str) -> None:
    """Leave one page of Markdown."""
    with _best_effort("leave an artifact"):
        _bounded(partial(artifacts.leave_page, key, text, description, flow_run))


def published_alone(store_url: str, run_id: str, dataset_id: str) -> None:
    """Observer of the ledger: a dataset of a run with ``publish="on_commit"`` is visible."""
    flow_run = flow_run_id()
    if flow_run is None:
        return
    with _best_effort("tell of a dataset"):
        registry = registry_at(store_url)
        events.published_alone(registry.attach(run_id), registry.get_dataset(dataset_id), flow_run)


def cell_published(store_url: str, generation: CellGeneration) -> None:
    """Observer of the ledger: outside any run an object was saved, an alias moved, a model registered or archived."""
    flow_run = flow_run_id()
    if flow_run is None:
        return
    what, models = published_of(generation), published_models([generation])
    if what is None and not models:
        return
    with _best_effort("tell of an object or a model"):
        registry = known(store_url)  # and nothing is opened for this
        opened_by = registry.reference or registry.url if registry is not None else store_url
        registry_id = registry.registry_id if registry is not None else store_url
        origin = events.Origin(store_url, opened_by, registry_id, generation.tx)
        events.models_published(origin, models, flow_run)
        if isinstance(what, SavedObject):
            events.object_saved(origin, what, flow_run)
        elif what is not None:
            events.alias_moved(origin, what, flow_run)
        if models.versions and registry is not None:
            _bounded(partial(_leave_versions, registry, models.versions, flow_run))


# -- after a rollback --------------------------------------------------------------------------------------------------


def rolled_back(run: Run, why: Failure, flow_run: str | None) -> None:
    """Record the incident of a run that was rolled back, and tell Prefect, where there is one."""
    with _best_effort("record the incident"):
        message = why.message or why.cls
        incident = run.registry.incident("run.failed", run.id, why.cls, message, run_id=run.id)
        if flow_run is not None:
            begin = run.registry.ledger.store.begin(run.id)
            events.rolled_back(run, begin.purpose if begin is not None else "", why, flow_run)
            events.incident(run, incident, "run.failed", why.cls, message, flow_run)
    _ended(run)


def not_published(run: Run) -> None:
    """Tell of a rehearsal that is over; the page and the log have told what would have changed."""
    _ended(run)


# -- inside ------------------------------------------------------------------------------------------------------------


def _ended(run: Run, result: Closed | None = None) -> None:
    """OpenLineage's last event, where settings ask for it, of a run that is over."""
    if result is None or result.visible != "staged":
        with _best_effort("tell of the end of a run"):
            lineage_events.ended(run)


def _leave_versions(registry: Registry, versions: Sequence[RegisteredVersion], flow_run: str) -> None:
    from prefect_registry.artifacts.models import leave_versions  # few flows register models

    leave_versions(registry, versions, flow_run)


@contextlib.contextmanager
def _best_effort(doing: str) -> Any:
    try:
        yield
    except RegistryError as error:
        log().warning("Could not %s: %s", doing, error)
    except Exception:  # Prefect's server, its client, a closed loop: whatever it is, the run is decided
        log().warning("Could not %s; the run itself is not affected.", doing, exc_info=True)


def _bounded(*calls: Callable[[], None]) -> None:
    """Make calls in a thread, one after the other whatever becomes of each, and wait for them only so long."""
    errors: list[Exception] = []

    def work() -> None:
        for call in calls:
            try:
                call()
            except Exception as error:
                errors.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True, name="registry-notices")
    thread.start()
    thread.join(LONGEST_WAIT_SECONDS)
    if errors:
        raise errors[0]


def _add_hook(flow: Any) -> None:
    """Add the completion hook to the running flow object, once, as a new list: copies of a flow share theirs."""
    with _lock:
        if announce_registry_run not in flow.on_completion_hooks:
            flow.on_completion_hooks = [*flow.on_completion_hooks, announce_registry_run]


observers.on_dataset_published(published_alone)
observers.on_cell_published(cell_published)
