"""OpenLineage events of runs: START when one begins, COMPLETE, ABORT or FAIL after its decision, where settings say so.

They are sent by threads: a run waits for none of them, and what goes wrong with one is a warning in the flow run's log.
Before the decision nothing is read from the store for them. Prefect's record of how the flow run ended is made before
anything waits for what is still on its way, and that wait has a limit.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from prefect_registry.errors import RegistryError
from prefect_registry.ledger.ledger import NO_RUNS, active_run
from prefect_registry.ledger.listing import Listing, list_run
from prefect_registry.locks import ForkSafeLock
from prefect_registry.registry import Registry, Run
from prefect_registry.runs.flowrun import Log, flow_context, log, log_of
from prefect_registry.settings import RegistrySettings, current_settings

if TYPE_CHECKING:
    from prefect_registry.provenance.standards.openlineage_facts import RunFacts

_PREFIXES = ("PREFECT", "OPENLINEAGE")
_known: dict[str, Any] = {}
"""The last ``place`` that was read, and the ``surroundings`` in which it was."""
_HOOKS = ("on_completion_hooks", "on_failure_hooks", "on_crashed_hooks", "on_cancellation_hooks")

_lock = ForkSafeLock()
_sending: dict[str, threading.Thread] = {}
"""The last thread that sends for a run, by its id."""


# -- what runs tell ----------------------------------------------------------------------------------------------------


def began(run: Run) -> None:
    """A run has begun here."""
    place = _place()
    if place is None:
        return
    _send(run.id, partial(_tell_beginning, place, run.registry, run.id))


def ended(run: Run) -> None:
    """A run is decided. One inside a run that goes on has not ended yet: the decision around it tells of both.

    A hook after the flow run waits for what is on its way; where there is no flow, this does.
    """
    place = _place()
    if place is None:
        return
    _send(run.id, partial(_tell_ending, place, run.registry, run.id))
    context = flow_context()
    if context is None or context.detached or context.flow is None:
        _wait(place.seconds, log())
    else:
        _add_hooks(context.flow)


def wait_for_openlineage_events(flow: Any, flow_run: Any, state: Any) -> None:
    """Hook after a flow run: wait a little for what is on its way, since the process may end next."""
    place = _place() if _sending else None
    if place is not None and flow_run.parent_task_run_id is None:  # of a subflow the flow around it waits
        _wait(place.seconds, log_of(flow_run, flow))


def _wait(seconds: float, logger: Log) -> None:
    last = time.monotonic() + seconds
    for thread in list(_sending.values()):
        thread.join(max(0.0, last - time.monotonic()))
    late = sum(thread.is_alive() for thread in list(_sending.values()))
    if late:
        logger.warning(
            "OpenLineage events of %d run(s) were not sent within %g s, and may be lost. No run is affected.",
            late, seconds,
        )  # fmt: skip


# -- where to ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """Where events go: ``settings`` name a URL, a file, or both."""

    settings: RegistrySettings

    @property
    def namespace(self) -> str | None:
        return self.settings.openlineage_namespace or None

    @property
    def seconds(self) -> float:
        return self.settings.openlineage_seconds

    def emit(self, event: Any) -> None:
        """Send one event; a file gets it whatever becomes of the URL."""
        from prefect_registry.provenance.standards.emitting import emit

        url, key = self.settings.openlineage_url, self.settings.openlineage_api_key
        if self.settings.openlineage_file:
            emit([event], self.settings.openlineage_file)
        if url:
            emit([event], url.get_secret_value(), token=key or None, timeout_seconds=self.seconds)


def _place() -> _Place | None:
    """Where events go; None if settings name no place. Settings in files are read again when the environment changes:
    reading them takes long beside all else that a run without events does here.
    """
    surroundings = (_folder(), tuple((k, v) for k, v in os.environ.items() if k.upper().startswith(_PREFIXES)))
    if _known.get("surroundings") != surroundings:
        _known.update(place=_read_place(), surroundings=surroundings)
    return cast("_Place | None", _known["place"])


def _folder() -> str:
    """Where files with settings are looked for; empty when the folder is gone."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def _read_place() -> _Place | None:
    try:
        settings = current_settings()
    except RegistryError as error:
        log().warning("No OpenLineage event is sent: %s", error)
        return None
    wanted = settings.openlineage_url or settings.openlineage_file
    return _Place(settings) if wanted and not settings.openlineage_disabled else None


# -- in threads --------------------------------------------------------------------------------------------------------


def _send(run_id: str, tell: Callable[[], None]) -> None:
    """Make a call in a thread, after those for this run that were made before."""
    logger, context = log(), contextvars.copy_context()

    def work() -> None:
        if before is not None:
            before.join()
        context.run(_telling, run_id, tell, logger)
        with _lock:
            if _sending.get(run_id) is threading.current_thread():
                del _sending[run_id]

    thread = threading.Thread(target=work, daemon=True, name="registry-openlineage")
    with _lock:
        before = _sending.get(run_id)
        if before is not None and not before.is_alive():  # it was the parent's of this forked process
            before = None
        thread.start()
        _sending[run_id] = thread


def _telling(run_id: str, tell: Callable[[], None], logger: Log) -> None:
    active_run.set(NO_RUNS)  # what is read to be told is not what the run has read
    try:
        tell()
    except RegistryError as error:
        logger.warning("An OpenLineage event of run %s was not sent; the run is not affected. %s", run_id, error)
    except Exception:  # whatever it is, the run is none of its business
        logger.warning("An OpenLineage event of run %s was not sent; the run is not affected.", run_id, exc_info=True)


def _tell_beginning(place: _Place, registry: Registry, run_id: str) -> None:
    from prefect_registry.provenance.run_facts import begun_facts
    from prefect_registry.provenance.standards.openlineage import events_of

    place.emit(events_of(begun_facts(registry, run_id, namespace=place.namespace))[0])


def _tell_ending(place: _Place, registry: Registry, run_id: str) -> None:
    from prefect_registry.provenance.run_columns import with_columns
    from prefect_registry.provenance.standards.openlineage import events_of

    for facts in _endings(place, registry, run_id):
        place.emit(events_of(with_columns(registry, facts))[-1])


def _endings(place: _Place, registry: Registry, run_id: str) -> Iterator[RunFacts]:
    """The run, and those inside it that ended with it; none while a run around it goes on."""
    from prefect_registry.provenance.run_facts import facts_of

    facts = facts_of(registry, run_id, namespace=place.namespace)
    if facts.outcome is None:
        return
    yield facts
    for nested in _nested(registry, run_id):
        yield from _endings(place, registry, nested)


def _nested(registry: Registry, run_id: str) -> list[str]:
    """The runs inside a run that had committed, or were undecided, when it was decided. Others have told already."""
    store = registry.ledger.store
    end = store.decision(run_id)
    if end is not None and end.committed:
        return store.members(end).runs
    found = []
    for nested in Listing.of(list_run(store, run_id)).nested:
        end = store.decision(nested)
        if end is None or end.committed or (end.failure is not None and end.failure.cls == "ParentClosed"):
            found.append(nested)
    return found


# -- hooks -------------------------------------------------------------------------------------------------------------


def _add_hooks(flow: Any) -> None:
    """Add the hook to the running flow object, once, behind all others, as new lists: copies of a flow share theirs."""
    with _lock:
        for name in _HOOKS:
            others = [hook for hook in getattr(flow, name) if hook is not wait_for_openlineage_events]
            setattr(flow, name, [*others, wait_for_openlineage_events])
