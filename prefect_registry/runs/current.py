"""Which run surrounds this code: in this process, in a process pool, on Dask or Ray (DESIGN.md 8)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, cast
from uuid import UUID

from prefect.context import FlowRunContext

from prefect_registry.errors import ConfigurationError, NoActiveRun, RegistryError
from prefect_registry.ledger import observers
from prefect_registry.ledger.ledger import innermost_run, is_same_store, run_in_context
from prefect_registry.registry import Registry, Run
from prefect_registry.resolve import RegistryLike, keep, known, open_shared, resolve_registry, set_surrounding
from prefect_registry.runs import bound
from prefect_registry.runs.flowrun import flow_context
from prefect_registry.runs.options import options_of

RUN_LABEL = "prefect-registry.run"
URL_LABEL = "prefect-registry.url"
REFERENCE_LABEL = "prefect-registry.registry"
_LABELS = (RUN_LABEL, URL_LABEL, REFERENCE_LABEL)

surrounding: ContextVar[Run | None] = ContextVar("prefect_registry_run", default=None)
"""The handle of the run that surrounds this code in this process."""


claimed: ContextVar[tuple[str, ...]] = ContextVar("prefect_registry_claimed", default=())
"""The flow runs around this code whose attempt a scope in this process is: a flow's function that calls itself is one
attempt, not several."""

spoiled: dict[str, dict[str, str]] = {}
"""What of failed task attempts is still staged, because the store did not answer: by run, then URLs of stores by id."""

_looking: ContextVar[bool] = ContextVar("prefect_registry_looking", default=False)


def current_run(registry: RegistryLike | None = None) -> Run:
    """The run that surrounds this code, in any of its tasks, on whatever worker they run.

    Args:
        registry: Which registry, for the one case in which it must be looked up: the code of a flow run whose
            surroundings were lost. Otherwise the run knows its own.

    Raises:
        NoActiveRun: There is none.
    """
    found = nearest_run() or _looked_up(registry)
    if found is None:
        raise NoActiveRun(
            "No run surrounds this code",
            todo="Decorate the flow with @registry_run, or work inside 'with registry_run(...) as run'",
            committed="no",
        )
    return found


async def acurrent_run(registry: RegistryLike | None = None) -> Run:
    """Asynchronous twin of :func:`current_run`."""
    return await asyncio.to_thread(current_run, registry)


def nearest_run() -> Run | None:
    """The run around this code as far as this process and Prefect's context know it: no request is made."""
    return _innermost() or _labelled(flow_context()) or bound.only_open_run()


def nearest_registry() -> Registry | None:
    """The registry of the surrounding run."""
    found = nearest_run()
    return found.registry if found is not None else None


def run_around(registry: Registry) -> str | None:
    """The id of the run of that registry around this code: a run that begins here is nested in it."""
    found = _in_context(registry.url) or _labelled(flow_context(), registry.url)
    return found.id if found is not None else None


def surrounding_run_id(url: str) -> str | None:
    """The same for a store's URL: what calls without ``run_id`` belong to in processes that Prefect started."""
    found = _in_context(url) or _labelled(flow_context(), url) or bound.only_open_run()
    return found.id if found is not None and is_same_store(found.registry.url, url) else None


def registry_at(url: str) -> Registry:
    """The registry of a root that this process works with."""
    handle = surrounding.get()
    if handle is not None and handle.registry.url == url:
        return handle.registry
    return known(url) or open_shared(url)


def _innermost() -> Run | None:
    innermost = innermost_run()
    return _in_context(innermost[0]) if innermost is not None else None


def _in_context(url: str) -> Run | None:
    """The run of the store at ``url`` around this code in this process: there may be runs of other stores inside."""
    run_id, handle = run_in_context(url), surrounding.get()
    if run_id is None:
        return None
    if handle is not None and handle.id == run_id:
        return handle
    return registry_at(url).attach(run_id)


# -- the label: what Prefect carries to other processes --------------------------------------------------------------


def put_label(context: FlowRunContext, run: Run, reference: str | None) -> dict[str, Any]:
    """Name the run on Prefect's context of the flow run, which travels to process pools, Dask and Ray.

    Holds no credentials: the other process opens the registry by its block, by the flow's own decorator, or by its
    settings, and checks that it is the same store. Returns what :func:`restore_label` needs.
    """
    labels = cast(Any, context.flow_run).labels
    before = {label: labels[label] for label in _LABELS if label in labels}
    labels.update(zip(_LABELS, (run.id, run.registry.url, reference or ""), strict=True))
    return before


def restore_label(context: FlowRunContext, before: dict[str, Any]) -> None:
    """Undo :func:`put_label`."""
    labels = cast(Any, context.flow_run).labels
    for label in _LABELS:
        labels.pop(label, None)
    labels.update(before)


def reference_of(registry: Any) -> str | None:
    """How another process names a registry that was given as a block or by name; None for URLs and objects."""
    if isinstance(registry, str):
        return None if "://" in registry or registry.startswith(("/", ".", "~")) else registry
    name, slug = getattr(registry, "_block_document_name", None), getattr(type(registry), "get_block_type_slug", None)
    return f"{slug()}/{name}" if name and slug else None


def _labelled(context: FlowRunContext | None, wanted: str | None = None) -> Run | None:
    """The run that the label names, if it is of the store at ``wanted``; None takes any."""
    if context is None or _looking.get():
        return None
    labels = cast(Any, context.flow_run).labels
    run_id, url = labels.get(RUN_LABEL), labels.get(URL_LABEL)
    if not run_id or not url or not (wanted is None or is_same_store(wanted, url)):
        return None
    return _registry_at(url, labels.get(REFERENCE_LABEL) or None, context).attach(run_id)


def _registry_at(url: str, reference: str | None, context: FlowRunContext) -> Registry:
    opened = known(url)
    if opened is not None:
        return opened
    token = _looking.set(True)  # resolving asks for the surrounding registry, which is what is being looked for
    try:
        candidates = (c for c in _candidates(reference, context) if c.url == url)
        return keep(next(candidates, None) or open_shared(url))
    finally:
        _looking.reset(token)


def _candidates(reference: str | None, context: FlowRunContext) -> Iterator[Registry]:
    options = options_of(context.flow.fn) if context.flow is not None else None
    decorated = options.registry_for(context.parameters or {}) if options is not None else None
    for wanted in dict.fromkeys([reference, decorated if isinstance(decorated, str) else None]):
        if wanted is not None:
            yield resolve_registry(wanted)
    if decorated is not None and not isinstance(decorated, str):
        yield resolve_registry(decorated)
    try:
        yield resolve_registry(None)
    except ConfigurationError:
        return


# -- the flow run's cell: when nothing else tells --------------------------------------------------------------------


def _looked_up(registry: RegistryLike | None) -> Run | None:
    """The run of the newest attempt of this flow run, or of the flow run around it, by their cells (P14)."""
    context = flow_context()
    if context is None:
        return None
    try:
        found = resolve_registry(registry)
    except RegistryError:
        return None
    flow_run: UUID | None = cast(Any, context.flow_run).id
    parent_task: UUID | None = cast(Any, context.flow_run).parent_task_run_id
    while flow_run is not None:
        attempts = found.ledger.runs.attempts(str(flow_run))
        if attempts:
            return found.attach(str(attempts[-1].value["run_id"]))
        flow_run, parent_task = _flow_run_around(parent_task)
    return None


def _flow_run_around(parent_task: UUID | None) -> tuple[UUID | None, UUID | None]:
    """The flow run that a task run belongs to, and the task run which that flow run is in turn: subflows are tasks."""
    if parent_task is None:
        return None, None
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        flow_run_id = client.read_task_run(parent_task).flow_run_id
        if flow_run_id is None:
            return None, None
        return flow_run_id, client.read_flow_run(flow_run_id).parent_task_run_id


set_surrounding(nearest_registry)
observers.know_surrounding_run(surrounding_run_id)
