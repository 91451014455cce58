"""What is told when a run has been decided: the log, an incident, Prefect events, artifacts.

None of it decides anything, so nothing here may fail or hang a flow.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from prefect.context import FlowRunContext

from prefect_registry import artifacts, events
from prefect_registry.datasets.reading import Dataset
from prefect_registry.errors import RegistryError
from prefect_registry.ledger import observers, paths
from prefect_registry.ledger.closing import Closed
from prefect_registry.records.datasets import DatasetGeneration
from prefect_registry.records.runs import Decision, Failure, Publish, failure
from prefect_registry.registry import Registry, Run
from prefect_registry.runs.current import registry_at
from prefect_registry.runs.flowrun import flow_run_id, log
from prefect_registry.runs.record import signals

MOST_READ = 20_000
"""Datasets of one run that are read back to be told of. Of a larger run the log gives the number alone."""

LONGEST_WAIT_SECONDS = 10.0


@dataclass(frozen=True)
class Publication:
    """What a decision published, nested runs included."""

    run: Run
    purpose: str
    flow: str | None
    publish: str
    decision: Decision
    datasets: list[Dataset]
    count: int

    @property
    def kinds(self) -> Counter[str]:
        """How many datasets there are of each kind."""
        return Counter(d.kind for d in self.datasets)


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


# -- after a commit ----------------------------------------------------------------------------------------------------


def closed(run: Run, result: Closed, flow: FlowRunContext | None, began: float) -> None:
    """Tell of a committed run.

    Events and artifacts of a flow's own run wait until Prefect has recorded that the flow run is completed (``flow``),
    so that nothing stands between the decision and that record.
    """
    publication = logged(run, result, time.monotonic() - began)
    if publication is None:
        return
    with _best_effort("tell of the commit"):
        if publication.datasets and flow is not None and not flow.detached and flow.flow is not None:
            with _lock:
                _deferred[str(cast(Any, flow.flow_run).id)] = publication
            _add_hook(flow.flow)
        else:
            announce(publication, flow_run_id())


def closed_by_task(run: Run, result: Closed, seconds: float) -> None:
    """Tell of a run that the ``close_run`` task has committed; several in one flow run each have their artifacts."""
    publication = logged(run, result, seconds)
    if publication is not None:
        with _best_effort("leave events and artifacts"):
            announce(replace(publication, flow=None), flow_run_id())


def rolled_back_by_task(run: Run, why: Failure | None, notes: str | None) -> None:
    """Tell of a run that the ``close_run`` task has rolled back: on purpose, so it is no incident."""
    begin, flow_run = run.registry.ledger.runs.known(run.id), flow_run_id()
    log().info("Run %s is rolled back in %s: %s.", run.id, run.registry.url, visible_after_rollback(begin.publish))
    if flow_run is not None:
        with _best_effort("tell of the rollback"):
            events.rolled_back(run, begin.purpose, why or failure("RolledBack", notes or ""), flow_run)


def logged(run: Run, result: Closed, seconds: float) -> Publication | None:
    """The line of a committed run in the flow run's log. Returns what it published, if that is visible and known."""
    if result.visible == "staged":
        log().info("Run %s is staged: it becomes visible when the run around it commits.", run.id)
        return None
    publication: Publication | None = None
    with _best_effort("tell of the commit"):
        publication = publication_of(run, result.decision)
        log().info("%s", _line(publication, seconds))
    return publication


def late(run: Run, decision: Decision, flow_run: str) -> None:
    """Tell of a commit whose process ended before it could, or whose flow run did not end well after it."""
    with _lock:
        publication = _deferred.pop(flow_run, None)
    with _best_effort("tell of the commit"):
        announce(publication or publication_of(run, decision), flow_run)


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
    events.committed(publication.run, publication.purpose, publication.datasets, flow_run)
    if publication.datasets:
        run, purpose, key = publication.run, publication.purpose, publication.flow or publication.purpose
        _bounded(partial(artifacts.leave, run, key, purpose, publication.datasets, flow_run))


def page(key: str, text: str, description: str, flow_run: str) -> None:
    """Leave one page of Markdown."""
    with _best_effort("leave an artifact"):
        _bounded(partial(artifacts.leave_page, key, text, description, flow_run))


def publication_of(run: Run, decision: Decision) -> Publication:
    """What a decision published, read from its members: documents that this process wrote cost nothing."""
    registry = run.registry
    begin = registry.ledger.runs.known(run.id)
    keys = _members(registry, decision)
    documents = registry.ledger.store.read_many(keys[:MOST_READ], DatasetGeneration) if keys else []
    staged = sorted((d for d in documents if d is not None and d.step == "staged"), key=lambda d: d.begun_at)
    found = [registry.parts.datasets.view(d, "READY") for d in staged]
    flow, count = begin.prefect.get("flow_name"), len(found) if len(keys) <= MOST_READ else len(keys)
    return Publication(run, begin.purpose, flow, begin.publish, decision, found, count)


def _members(registry: Registry, decision: Decision) -> list[str]:
    store, keys, todo = registry.ledger.store, [], [decision]
    while todo:
        end = todo.pop()
        members = store.members(end)
        keys += [paths.dataset_key(end.run_id, s, g) for s, g in members.datasets.items()]
        todo += [d for d in (store.decision(r) for r in members.runs) if d is not None]
    return keys


def _line(publication: Publication, seconds: float) -> str:
    run, datasets = publication.run, publication.datasets
    if not publication.count and publication.publish == "on_commit":
        return (
            f"Run {run.id} is committed in {run.registry.url}: each dataset became visible when it was committed "
            '(publish="on_commit").'
        )
    if not publication.count:
        return f"Run {run.id} is committed in {run.registry.url}: it published no dataset."
    kinds = ", ".join(f"{kind} ({n})" if n > 1 else kind for kind, n in sorted(publication.kinds.items())[:12])
    rows = (
        "rows not counted" if any(d.rows is None for d in datasets) else f"{sum(d.rows or 0 for d in datasets):,} rows"
    )
    first = datasets[0].kind if datasets else "…"
    return (
        f"Run {run.id} is committed: {publication.count:,} dataset(s) visible now: {kinds}; {rows}, "
        f"{artifacts.readable(sum(d.bytes for d in datasets))}, {seconds:.1f} s, in {run.registry.url}. "
        f"Look: {artifacts.opening(run.registry)[1]}.table({first!r}) or .get_run({run.id!r})"
    )


def published_alone(store_url: str, run_id: str, dataset_id: str) -> None:
    """Observer of the ledger: a dataset of a run with ``publish="on_commit"`` is visible."""
    flow_run = flow_run_id()
    if flow_run is None:
        return
    with _best_effort("tell of a dataset"):
        registry = registry_at(store_url)
        events.published_alone(registry.attach(run_id), registry.get_dataset(dataset_id), flow_run)


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


# -- inside ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _best_effort(doing: str) -> Any:
    try:
        yield
    except RegistryError as error:
        log().warning("Could not %s: %s", doing, error)
    except Exception:  # Prefect's server, its client, a closed loop: whatever it is, the run is decided
        log().warning("Could not %s; the run itself is not affected.", doing, exc_info=True)


def _bounded(call: Callable[[], None]) -> None:
    """Run ``call`` in a thread, and wait for it only so long."""
    errors: list[Exception] = []

    def work() -> None:
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
