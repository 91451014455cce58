"""From a run's decision to Prefect's record that its flow run is Completed: nothing may come between the two.

Decision and record are made in two systems, so they cannot be one step. What can be kept out of the moment between
them is kept out here: a flow run that is being cancelled or suspended, or whose server does not answer, is refused
before the decision; signals wait until the record is made; a timeout that has not struck before does not strike any
more. What is left is told by the flow run's log and hooks, with ``committed: yes``.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, cast

from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext
from prefect.exceptions import Abort, Pause

from prefect_registry.runs.flowrun import log

LONGEST_DEFERRAL_SECONDS = 10.0
"""How long a signal waits at most; runners and pods are given thirty seconds to end."""

_LOOK_EVERY_SECONDS = 0.02
_FOR_HOOKS_SECONDS = 2.0
_FOR_ENGINE_SECONDS = 0.2
"""After its record, Prefect's engine swallows an interrupt until it is left."""

_DEFERRED = (signal.SIGTERM, signal.SIGINT)


# -- before the decision -----------------------------------------------------------------------------------------------


def refuse_stopped(context: FlowRunContext) -> None:
    """Refuse to publish for a flow run that Prefect would not record as Completed.

    Raises:
        prefect.exceptions.Pause: It is suspended, and will be run again.
        prefect.exceptions.Abort: It is being cancelled.
        Exception: Prefect's server does not answer, so that it could not record anything either.
    """
    _refuse_suspended(context)
    try:
        flow_run = cast(Any, context.client).read_flow_run(_id(context))
    except Exception as error:
        _tell_unanswered(error)
        raise
    _judge(flow_run.state)


async def arefuse_stopped(context: FlowRunContext) -> None:
    """:func:`refuse_stopped` for an asynchronous flow, whose client is asynchronous."""
    _refuse_suspended(context)
    try:
        flow_run = await cast(Any, context.client).read_flow_run(_id(context))
    except Exception as error:
        _tell_unanswered(error)
        raise
    _judge(flow_run.state)


def _id(context: FlowRunContext) -> Any:
    return cast(Any, context.flow_run).id


def _refuse_suspended(context: FlowRunContext) -> None:
    request = getattr(context, "flow_run_suspension_request", None)  # what Prefect's engine looks at after us
    if request is not None:
        request.raise_if_requested()


def _tell_unanswered(error: Exception) -> None:
    log().error(
        "Prefect's server does not tell the state of this flow run (%s: %s), so it could not be recorded as Completed: "
        "nothing is published.",
        type(error).__name__,
        error,
    )


def _judge(state: State[Any] | None) -> None:
    if state is None:
        return
    if state.is_paused():
        raise Pause(f"The flow run was suspended ({state.name}) before it could publish", state=state)
    if state.type in (StateType.CANCELLING, StateType.CANCELLED):
        log().error("This flow run is in state %s: nothing is published.", state.name)
        raise Abort(f"The flow run was cancelled (state {state.name}) before it could publish: nothing is visible")


# -- timeouts ----------------------------------------------------------------------------------------------------------


def stop_alarm(context: FlowRunContext | None) -> None:
    """Let the flow's own timeout, if it has not struck, not strike any more.

    It is an alarm in the main thread, or, in others and where something else uses the alarm, a thread that watches this
    one; nothing public gives them. The alarm's timer is reset when Prefect leaves the flow.
    """
    if not _has_timeout(context):
        return
    seconds, watched = cast(Any, context).flow.timeout_seconds, threading.current_thread()
    scopes = [_scope_of(getattr(t, "_target", None)) for t in threading.enumerate() if t is not watched]
    ours = [s for s in scopes if s is not None and s.timeout == seconds and _watches(s, watched)]
    if ours:
        max(ours, key=lambda scope: scope._start_time)._event.set()
    elif watched is threading.main_thread() and hasattr(signal, "setitimer"):
        alarm = _scope_of(signal.getsignal(signal.SIGALRM))
        if alarm is not None and alarm.timeout == seconds:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _scope_of(method: object) -> Any:
    """Prefect's cancel scope that this is a method of, if it is one as we know them."""
    scope = getattr(method, "__self__", None)
    return scope if all(hasattr(scope, name) for name in ("timeout", "timedout", "_start_time")) else None


def _watches(scope: Any, thread: threading.Thread) -> bool:
    return getattr(scope, "_supervised_thread", None) is thread and hasattr(scope, "_event")


async def stop_deadline(context: FlowRunContext | None) -> None:
    """Let the timeout of an asynchronous flow, if it has not struck, not strike any more.

    It is a cancel scope around the body, the innermost with a deadline; nothing public gives it.
    """
    if not _has_timeout(context):
        return
    await asyncio.sleep(0)  # where a timeout that is over strikes
    try:
        from anyio._backends._asyncio import _task_states

        scope = _task_states[cast(Any, asyncio.current_task())].cancel_scope
        while scope is not None and scope.deadline == math.inf:
            scope = scope._parent_scope
    except (ImportError, AttributeError, KeyError):
        return
    if scope is not None and not scope.cancel_called:
        scope.deadline = math.inf


def _has_timeout(context: FlowRunContext | None) -> bool:
    return context is not None and context.flow is not None and context.flow.timeout_seconds is not None


# -- signals -----------------------------------------------------------------------------------------------------------


class Signals:
    """SIGTERM and SIGINT wait until Prefect has recorded how a flow run ended that is publishing, or for ten seconds.

    The second signal of a kind does not wait. When no flow run is publishing, the handlers that were there before are
    called, also where ours could not be taken away because nothing of ours was called after the record.
    """

    def __init__(self) -> None:
        self._publishing: dict[str, FlowRunContext] = {}
        self._before: dict[int, Any] = {}
        self._noted: list[int] = []
        self._watcher: threading.Thread | None = None
        self._pid = 0

    def hold(self, context: FlowRunContext) -> None:
        """From here on signals wait. Does nothing outside the main thread, which gets no signals."""
        if threading.current_thread() is not threading.main_thread():
            return
        if self._pid != os.getpid():  # a forked child
            self._pid, self._publishing, self._noted, self._watcher = os.getpid(), {}, [], None
        self._forget_recorded()
        self._publishing[str(_id(context))] = context
        for number in _DEFERRED:
            found = signal.getsignal(number)
            if found is not None and found != self._on_signal:
                self._before[number] = found
                signal.signal(number, self._on_signal)

    def release(self, flow_run_id: str) -> None:
        """The flow run is recorded, or publishes nothing: what came meanwhile is sent on."""
        if self._publishing.pop(flow_run_id, None) is None or self._is_held():
            return
        if threading.current_thread() is threading.main_thread():
            for number, before in self._before.items():
                if signal.getsignal(number) == self._on_signal:
                    signal.signal(number, before)
        self._send_on()

    def put_off(self, error: BaseException) -> bool:
        """Note the signal that this exception was made of, for later; False if it was none, or none is waited for."""
        number = _NUMBERS.get(type(error).__name__)
        if number is None or not self._is_held():
            return False
        self._note(number)
        return True

    def _is_held(self) -> bool:
        self._forget_recorded()
        return bool(self._publishing)

    def _forget_recorded(self) -> None:
        for flow_run_id, context in list(self._publishing.items()):
            if _is_recorded(context):
                self._publishing.pop(flow_run_id, None)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() == self._pid and number not in self._noted and self._is_held():
            self._note(number)
            return
        if number in self._noted:
            self._noted.remove(number)
        before = self._before.get(number, signal.SIG_DFL)
        if callable(before):
            cast(Callable[[int, FrameType | None], Any], before)(number, frame)
        elif before == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _note(self, number: int) -> None:
        if number not in self._noted:
            self._noted.append(number)
        if self._watcher is None or not self._watcher.is_alive():
            self._watcher = threading.Thread(target=self._watch, daemon=True, name="registry-deferred-signals")
            self._watcher.start()

    def _watch(self) -> None:
        """Send on what nobody releases: after the record and some time for hooks, or when the longest wait is over."""
        last, recorded = time.monotonic() + LONGEST_DEFERRAL_SECONDS, False
        while self._noted and time.monotonic() < last:
            time.sleep(_LOOK_EVERY_SECONDS)
            if not recorded and all(_is_recorded(c) for c in list(self._publishing.values())):
                recorded, last = True, min(last, time.monotonic() + _FOR_HOOKS_SECONDS)
        if self._noted:
            self._publishing.clear()
            self._send_on()

    def _send_on(self) -> None:
        noted, self._noted = self._noted, []
        for number in noted:
            if number == signal.SIGINT:
                later = threading.Timer(_FOR_ENGINE_SECONDS, os.kill, (os.getpid(), number))
                later.daemon = True
                later.start()
            else:
                os.kill(os.getpid(), number)


_NUMBERS = {"TerminationSignal": signal.SIGTERM, "KeyboardInterrupt": signal.SIGINT}
signals = Signals()
"""Of this process."""


def _is_recorded(context: FlowRunContext) -> bool:
    state = cast(Any, context.flow_run).state
    return state is not None and not state.is_running()
