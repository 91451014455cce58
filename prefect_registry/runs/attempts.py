"""What a task attempt staged (datasets, objects, documents, events) is dropped when that attempt fails, and is never
taken from a cache (DESIGN.md 8).

Prefect makes each attempt of a task a transaction and calls its rollback hooks when the attempt raises. Two of its
habits need care (measured with Prefect 3.8):

- A failing attempt also rolls back the transactions *around* it, although their tasks go on and may well succeed: a
  task that calls a flaky task with retries would lose what it staged itself. The hook refuses that by an exception,
  which Prefect heeds: the transaction around stays as it was, and so do its other children.
- A task that *returns* a failed state commits its transaction. The commit hook looks at the state.

What cannot be dropped, because the store does not answer, is ``spoiled``: this process tries again when a dataset of
the run is begun here or a task attempt ends well, and before the run is committed. On another worker than the flow's,
the failure says so too: it is what reaches the process that commits.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, cast

from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext
from prefect.transactions import BaseTransaction, TransactionState, get_transaction

from prefect_registry.errors import InvalidState, RegistryError
from prefect_registry.ledger import observers
from prefect_registry.ledger.dropping import STAGED_TEXT, Staged, drop, drop_nested_dataset
from prefect_registry.records.cells import CellGeneration
from prefect_registry.records.events import Event
from prefect_registry.runs import current
from prefect_registry.runs.flowrun import flow_runs_out, log
from prefect_registry.storage.concurrency import in_parallel

AT_ONCE = 16
"""How many things are dropped at the same time."""
MOST_TOLD_SINGLY = 20
"""How many things that are dropped have a line each in the log of the flow run."""

_lock = threading.Lock()


class _OtherAttempt(Exception):
    """An attempt inside this one failed; this one has not ended."""


class _Quiet(logging.LoggerAdapter[Any]):
    """A transaction's log, in which a refusal of ours is no error."""

    def __init__(self, logger: Any) -> None:
        super().__init__(logger, getattr(logger, "extra", None))

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        return self.logger.process(msg, kwargs) if isinstance(self.logger, logging.LoggerAdapter) else (msg, kwargs)

    def exception(self, msg: object, *args: object, **kwargs: Any) -> None:
        if not isinstance(sys.exception(), _OtherAttempt):
            super().exception(msg, *args, **kwargs)


class Attempt:
    """What one attempt of a task has written into runs, and the hooks that drop it.

    Each is a text: the id of a dataset or an event, or what :class:`Staged` makes of a cell's generation.
    """

    def __init__(self, transaction: BaseTransaction, task: TaskRunContext | None) -> None:
        self._task_run = task.task_run if task is not None else None
        self._run_count = task.task_run.run_count if task is not None else 0
        self._inner_failures = _failed_children(transaction)
        self._staged: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    def add(self, url: str, staged: str) -> None:
        """Note what this attempt wrote."""
        with self._lock:
            self._staged.append((url, staged))

    def roll_back(self, transaction: BaseTransaction) -> None:
        """Rollback hook of the attempt's transaction."""
        with self._lock:
            failed = _failed_children(transaction)
            inner, self._inner_failures = failed > self._inner_failures, failed
        if inner and transaction.state == TransactionState.ACTIVE:
            raise _OtherAttempt
        completed = transaction.state == TransactionState.STAGED
        left = self._drop(
            "Prefect rolled back a transaction around its task" if completed else "its task attempt failed"
        )
        error = sys.exception()
        if left and error is not None:
            error.add_note(_told(left))

    def look_at_state(self, transaction: BaseTransaction) -> None:
        """Commit hook of the attempt's transaction: a task that returned a failed state has not succeeded."""
        state = self._task_run.state if self._task_run is not None else None
        if transaction.state != TransactionState.STAGED:
            self._drop("its task attempt will be tried again")
        elif state is not None and not state.is_completed() and self._is_latest():
            left = self._drop(f"its task ended in state {state.name}")
            if left:
                state.message = f"{state.message or ''} {_told(left)}".lstrip()
        else:
            for run_id in list(current.spoiled):
                drop_spoiled(run_id)

    def _is_latest(self) -> bool:
        return self._task_run is not None and self._task_run.run_count == self._run_count

    def _drop(self, why: str) -> list[str]:
        """Drop what was staged; returns what could not be dropped."""
        with self._lock:
            written, self._staged = self._staged, []
        return [staged for url in dict(written) for staged in _drop_all(url, [s for u, s in written if u == url], why)]

    # Prefect announces and reports each call of a hook in the task's log, unless this says otherwise.
    roll_back.log_on_run = False  # type: ignore[attr-defined]
    look_at_state.log_on_run = False  # type: ignore[attr-defined]


def dataset_begun(store_url: str, run_id: str, dataset_id: str) -> None:
    """Observer of the ledger: tie a dataset to the task attempt that began it."""
    _note(store_url, dataset_id)
    if not drop_spoiled(run_id):
        raise still_spoiled(run_id)


def cell_written(store_url: str, generation: CellGeneration) -> None:
    """Observer of the ledger: tie a version, an alias, a record … to the task attempt that wrote it."""
    staged = Staged.of(generation)
    if staged is not None:
        _note(store_url, str(staged))


def event_emitted(store_url: str, event: Event) -> None:
    """Observer of the ledger: tie an event to the task attempt that emitted it."""
    _note(store_url, event.event_id)


def _note(store_url: str, staged: str) -> None:
    leave_no_cached_result()
    task = TaskRunContext.get()
    own = _task_transactions()
    if task is not None and own:
        attempts = [_attempt_of(transaction, task if n == 0 else None) for n, transaction in enumerate(own)]
        attempts[0].add(store_url, staged)


def leave_no_cached_result() -> None:
    """Let neither the task runs nor the subflows around this code be skipped later because their results are stored.

    A retry of the flow, or a later flow run, would else miss what they write into the run.
    """
    for transaction in _transactions():
        transaction.write_on_commit = False
    task = TaskRunContext.get()
    if task is not None:
        task.persist_result = False
    for context in flow_runs_out():
        if cast(Any, context.flow_run).parent_task_run_id:
            context.persist_result = False


def _transactions() -> list[BaseTransaction]:
    """Prefect's transactions around this code, innermost first."""
    found: list[BaseTransaction] = []
    transaction = get_transaction()
    while transaction is not None and not any(transaction is known for known in found):
        found.append(transaction)
        transaction = transaction.get_parent()
    return found


def _task_transactions() -> list[BaseTransaction]:
    """Those that Prefect opened for task attempts, innermost first; not those that users open inside tasks."""
    outermost: dict[str, BaseTransaction] = {}
    for transaction in _transactions():
        task_run = (getattr(transaction.logger, "extra", None) or {}).get("task_run_id")
        if task_run:
            outermost[str(task_run)] = transaction
    return list(outermost.values())


def _attempt_of(transaction: BaseTransaction, task: TaskRunContext | None) -> Attempt:
    for hook in transaction.on_rollback_hooks:
        found = getattr(hook, "__self__", None)
        if isinstance(found, Attempt):
            return found
    if transaction.is_rolled_back():  # by a failed attempt inside it, before anything was staged
        transaction.state = TransactionState.ACTIVE
    attempt = Attempt(transaction, task)
    transaction.logger = _Quiet(transaction.logger)
    transaction.on_rollback_hooks.append(attempt.roll_back)
    transaction.on_commit_hooks.append(attempt.look_at_state)
    return attempt


def _failed_children(transaction: BaseTransaction) -> int:
    return sum(1 for child in transaction.children if child.is_rolled_back())


def _drop_all(url: str, written: Sequence[str], why: str) -> list[str]:
    """Drop what was staged in a registry; returns what could not be dropped.

    Of one thing the last write first, since each puts back what was there before it; of several things at once.
    """
    things: dict[str, list[str]] = {}
    for staged in reversed(written):
        things.setdefault(_thing_of(staged), []).append(staged)
    few = len(written) <= MOST_TOLD_SINGLY
    if not few:
        log().warning("%d things that were staged are dropped: %s.", len(written), why)
    calls = [partial(_drop_each, url, writes, why, few) for writes in things.values()]
    return [staged for left in in_parallel(calls, AT_ONCE) for staged in left]


def _drop_each(url: str, writes: Sequence[str], why: str, told: bool) -> list[str]:
    return [staged for staged in writes if not _drop(url, staged, why, told)]


def _thing_of(staged: str) -> str:
    return staged if staged[:3] in _NAMES else Staged.parse(staged).key.rpartition("/")[0]


def _drop(url: str, staged: str, why: str, told: bool = True) -> bool:
    """Drop what was staged; False when the store did not answer."""
    what = _named(staged)
    run_id = _run_of(staged)
    try:
        registry = current.registry_at(url)
        if staged.startswith("ds_"):
            dropped = drop_nested_dataset(registry.ledger, staged, why)
            if not dropped:
                registry.rollback_dataset(staged)
                dropped = True
        elif staged.startswith("ev_"):
            registry.ledger.events.drop(staged)
            dropped = True
        else:
            dropped = drop(registry.ledger, Staged.parse(staged), why)
        if dropped:
            log().log(logging.WARNING if told else logging.DEBUG, "%s was dropped: %s.", what, why)
    except InvalidState:  # published by itself (publish="on_commit"), or its run is decided: nothing to drop
        log().debug("%s could not be dropped any more", what, exc_info=True)
    except RegistryError as error:
        log().error("%s could not be dropped, although %s: %s", what, why, error)
        with _lock:
            current.spoiled.setdefault(run_id, {})[staged] = url
        return False
    with _lock:
        left = current.spoiled.get(run_id, {})
        left.pop(staged, None)
        if not left:
            current.spoiled.pop(run_id, None)
    return True


def _run_of(staged: str) -> str:
    return f"run_{staged.split('_')[1]}" if staged[:3] in _NAMES else Staged.parse(staged).run_id


def _named(staged: str) -> str:
    return f"{_NAMES.get(staged[:3], 'Generation')} {staged}"


def drop_spoiled(run_id: str) -> bool:
    """Try again to drop what failed task attempts left staged in the run, or in runs inside it; False when some of it
    is still there.
    """
    with _lock:
        found = [(inner, staged, url) for inner, left in current.spoiled.items() for staged, url in left.items()]
    left = [(url, staged) for inner, staged, url in found if _is_within(inner, run_id, url)]
    dropped = [_drop(url, staged, "its task attempt failed before") for url, staged in left]
    return all(dropped)


def learn_spoiled(url: str, run_id: str, states: Iterable[State[Any]]) -> None:
    """Take over what other workers could not drop, as the final states of their tasks tell it."""
    for state in states:
        error = getattr(state.data, "result", state.data)  # as it is, or in a record that Prefect did not store
        told = [state.message or "", *(getattr(error, "__notes__", ()) if isinstance(error, BaseException) else ())]
        for staged in _TOLD.findall("\n".join(told)):
            if _is_within(_run_of(staged), run_id, url):
                with _lock:
                    current.spoiled.setdefault(_run_of(staged), {})[staged] = url


def _is_within(inner: str, run_id: str, url: str) -> bool:
    """Whether a run is ``run_id``, or nested in it."""
    return inner == run_id or run_id in current.registry_at(url).ledger.outcomes.ancestors(inner)


def still_spoiled(run_id: str) -> InvalidState:
    """The refusal to go on with a run that holds what a failed task attempt staged."""
    return InvalidState(
        f"Run {run_id} still holds what a failed task attempt staged",
        why="The store did not answer when it was to be dropped",
        todo="Run the flow again",
        committed="no",
        run_id=run_id,
    )


_NAMES = {"ds_": "Dataset", "ev_": "Event"}
_TOLD = re.compile(
    r"(?:Dataset (?=ds_[0-9a-z]{26}_[0-9a-z]{16} )"
    r"|Event (?=ev_[0-9a-z]{26}_[0-9a-z]{16} )"
    rf"|Generation (?={STAGED_TEXT}))"
    r"(\S+) could not be dropped and is still staged"
)


def _told(left: list[str]) -> str:
    return " ".join(f"{_named(staged)} could not be dropped and is still staged." for staged in left)


observers.on_work_in_run(leave_no_cached_result)
observers.on_dataset_begun(dataset_begun)
observers.on_cell_written(cell_written)
observers.on_event_emitted(event_emitted)
