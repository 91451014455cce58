"""Futures that a flow submitted: which of them nobody looked at, and how they ended.

A wrapper around a flow's function returns before Prefect has drained what was submitted and not awaited
(with Prefect 3.8 the flow run is Completed by then), so the wrapper waits itself: what a run publishes must be
complete, and a task that failed must not go unnoticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner
from prefect.utilities.collections import visit_collection

_PRUNE_EVERY = 500
_LOOK_EVERY_SECONDS = 0.5
LONGEST_WAIT_FOR_NAME_SECONDS = 2.0
"""Prefect's server learns of task runs by events, which take a moment."""


@dataclass(frozen=True)
class Unseen:
    """A future that the flow never looked at, and how it ended.

    ``passed_on``: another task took it as an input, so that its failure is that task's matter.
    """

    future: PrefectFuture[Any]
    task: str
    passed_on: bool
    state: State[Any] | None
    error: BaseException | None

    @property
    def completed(self) -> bool:
        """Whether the task run succeeded."""
        return self.state is not None and self.state.is_completed()

    def name(self) -> str:
        """Name and id of the task run, as Prefect's UI shows them; the task's name where the server does not answer."""
        return f"{_name_of(self.future.task_run_id) or self.task} ({self.future.task_run_id})"

    def raise_it(self) -> None:
        """Raise what the task raised, as ``future.result()`` would."""
        if self.error is not None:
            raise self.error
        self.future.result(raise_on_failure=True)


class Submitted:
    """Every future of one task runner, in the order of submission. Futures that are done with are let go."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._futures: dict[int, PrefectFuture[Any]] = {}
        self._tasks: dict[UUID, str] = {}
        self._passed_on: set[Any] = set()
        self._count = 0

    def add(self, future: PrefectFuture[Any], task: str, inputs: Iterable[Any]) -> None:
        """Note a future of that task, and that the futures among ``inputs`` were passed on to it."""
        passed: set[Any] = set()
        for value in inputs:
            if value:
                visit_collection(value, visit_fn=functools.partial(_collect, passed), return_data=False)
        with self._lock:
            self._passed_on |= passed
            self._futures[self._count] = future
            self._tasks[future.task_run_id] = task
            self._count += 1
            if self._count % _PRUNE_EVERY == 0:
                self._futures = {n: f for n, f in self._futures.items() if not _is_finished_business(f)}
                self._tasks = {f.task_run_id: self._tasks[f.task_run_id] for f in self._futures.values()}

    def mark(self) -> int:
        """A point in the order: what is submitted from now on comes after it."""
        with self._lock:
            return self._count

    def unseen(self, mark: int) -> list[tuple[int, PrefectFuture[Any]]]:
        """Futures submitted since ``mark`` that nobody has waited for."""
        with self._lock:
            return [(n, f) for n, f in self._futures.items() if n >= mark and not was_looked_at(f)]

    def states(self, mark: int) -> list[State[Any]]:
        """The final states, as far as somebody has looked, of what was submitted since ``mark``."""
        with self._lock:
            found = [getattr(f, "_final_state", None) for n, f in self._futures.items() if n >= mark]
        return [state for state in found if isinstance(state, State)]

    def settle(self, mark: int) -> list[Unseen]:
        """Wait for every future since ``mark`` that nobody waited for; those that they submit meanwhile too.

        Looks up from time to time, so that a timeout of the flow can interrupt it in any thread.
        """
        settled: dict[int, Unseen] = {}
        while new := [(n, f) for n, f in self.unseen(mark) if n not in settled]:
            for number, future in new:
                done = threading.Event()
                future.add_done_callback(functools.partial(_set, done.set))
                while not done.wait(_LOOK_EVERY_SECONDS):
                    pass
                settled[number] = self._outcome(future)
        return list(settled.values())

    async def asettle(self, mark: int) -> list[Unseen]:
        """:meth:`settle` without blocking the event loop, and without leaving a thread behind when cancelled."""
        settled: dict[int, Unseen] = {}
        loop = asyncio.get_running_loop()
        while new := [(n, f) for n, f in self.unseen(mark) if n not in settled]:
            for number, future in new:
                done = asyncio.Event()
                future.add_done_callback(
                    functools.partial(_set, functools.partial(loop.call_soon_threadsafe, done.set))
                )
                await done.wait()
                settled[number] = await asyncio.to_thread(self._outcome, future)
        return list(settled.values())

    def _outcome(self, future: PrefectFuture[Any]) -> Unseen:
        passed_on, task = future.task_run_id in self._passed_on, self._tasks.get(future.task_run_id, "a task")
        try:
            future.wait()
            if not was_looked_at(future):  # Dask's swallows what the worker's death raised
                future.result(raise_on_failure=False)
            return Unseen(future, task, passed_on, future.state, None)
        except Exception as error:
            return Unseen(future, task, passed_on, None, error)


def watch(runner: TaskRunner[Any]) -> Submitted:
    """Note what is submitted to this task runner: the instance that Prefect made for one attempt of a flow run.

    Prefect offers no place to ask for it, so ``submit`` of that one instance is wrapped; ``map`` goes through it.
    """
    existing = getattr(runner.__dict__.get("submit"), "submitted", None)
    if isinstance(existing, Submitted):
        return existing
    submitted, original = Submitted(), runner.submit

    @functools.wraps(original)
    def submit(task: Any, parameters: Any = None, wait_for: Any = None, *args: Any, **kwargs: Any) -> Any:
        future = cast(Any, original)(task, parameters, wait_for, *args, **kwargs)
        submitted.add(future, task.name, (parameters, wait_for))
        return future

    submit.submitted = submitted  # type: ignore[attr-defined]
    runner.submit = submit  # type: ignore[method-assign]
    return submitted


def raise_unseen_failure(unseen: list[Unseen]) -> None:
    """Raise what the first unseen task raised that failed: the root of it, when a later one only lacked its input."""
    failed = [u for u in unseen if not u.completed]
    if all(u.passed_on for u in failed):
        return
    first = next((u for u in failed if u.error is not None or (u.state is not None and u.state.is_final())), failed[0])
    first.raise_it()


def was_looked_at(future: PrefectFuture[Any]) -> bool:
    """Whether somebody waited for the future or took its result: only that sets its final state."""
    return getattr(future, "_final_state", None) is not None


def _name_of(task_run_id: UUID) -> str | None:
    """The name of a task run that has ended, from Prefect's server; None if it does not tell in time."""
    found: list[str] = []
    enough = threading.Event()

    def look() -> None:
        with contextlib.suppress(Exception), get_client(sync_client=True) as client:
            while not enough.is_set():
                with contextlib.suppress(ObjectNotFound):
                    task_run = client.read_task_run(task_run_id)
                    found.append(task_run.name)
                    if task_run.state is not None and task_run.state.is_final():  # before, it may be renamed
                        return
                enough.wait(0.1)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(look,), daemon=True, name="registry-task-run-name")
    thread.start()
    thread.join(LONGEST_WAIT_FOR_NAME_SECONDS)
    enough.set()
    return found[-1] if found else None


def _is_finished_business(future: PrefectFuture[Any]) -> bool:
    state = getattr(future, "_final_state", None)
    return isinstance(state, State) and state.is_completed()


def _collect(found: set[Any], value: Any) -> Any:
    if isinstance(value, PrefectFuture):
        found.add(value.task_run_id)
    return value


def _set(setter: Callable[[], object], future: PrefectFuture[Any]) -> None:
    with contextlib.suppress(RuntimeError):  # the event loop that waited has been closed meanwhile
        setter()
