"""One registry run around a body of code: opened, bound to its surroundings, and decided exactly once.

Everything here is synchronous and may be called from a thread; ``wrapping`` drives it, for functions of both colours
and for ``with`` blocks.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Any, cast

from prefect.context import FlowRunContext
from prefect.exceptions import Abort

from prefect_registry.capture import commit_of
from prefect_registry.errors import InvalidState, OutcomeUnknown, RegistryError, settle
from prefect_registry.ledger.closing import Closed
from prefect_registry.ledger.ledger import NO_RUNS, active_run, enter_run
from prefect_registry.records.runs import Decision, Failure, failure, not_published
from prefect_registry.registry import Registry, Run
from prefect_registry.resolve import keep, resolve_registry
from prefect_registry.runs import attempts, current, notices, record, rehearsal
from prefect_registry.runs.capturing import capturing, worker
from prefect_registry.runs.flowrun import (
    facts,
    failure_of,
    flow_context,
    flow_run_id,
    is_in_task,
    is_own_function,
    log,
    timed_out,
)
from prefect_registry.runs.futures import Unseen, raise_unseen_failure
from prefect_registry.runs.options import RunOptions
from prefect_registry.runs.parameters import bound_parameters, recorded, redacted, render, secrets_in
from prefect_registry.runs.subflows import Watched, watched
from prefect_registry.runs.verdict import Verdict

SUPERSEDED = "Superseded"
_OUTSIDE: dict[ContextVar[Any], Any] = {
    active_run: NO_RUNS, current.surrounding: None, current.claimed: (), watched: None,
}  # fmt: skip
"""What the variables are where no run is."""


@dataclass
class Scope:
    """A run, from :meth:`open` to :meth:`commit`, :meth:`discard` or :meth:`fail`."""

    options: RunOptions
    fn: Callable[..., Any] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    context: FlowRunContext | None = None
    published: Decision | None = None
    _run: Run | None = None
    _watched: Watched | None = None
    _tokens: list[Token[Any]] = field(default_factory=list)
    _label_before: dict[str, Any] | None = None
    _owns_flow_run: bool = False
    _began: float = 0.0
    _pid: int = 0

    @classmethod
    def of_call(cls, options: RunOptions, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Scope:
        """The scope of one call of a decorated function."""
        return cls(options, fn, bound_parameters(fn, args, kwargs))

    @classmethod
    def of_block(cls, options: RunOptions) -> Scope:
        """The scope of a ``with`` block: the parameters are those of the flow around it."""
        context = flow_context()
        return cls(options, None, (context.parameters or {}) if context is not None else {})

    @property
    def run(self) -> Run:
        """The handle of the run."""
        assert self._run is not None, "the scope is not open"
        return self._run

    @property
    def registry(self) -> Registry:
        """The registry of the run."""
        return self.run.registry

    # -- open ----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Begin the run. ``published`` tells that an earlier attempt of this flow run has published (P14)."""
        self._began, self._pid = time.monotonic(), os.getpid()
        self.context = flow_context()
        begun = capturing(self.fn)  # first: git is asked meanwhile
        registry = keep(resolve_registry(self.options.registry_for(self.parameters)))
        flow_run = flow_run_id()
        self._owns_flow_run = (
            self.fn is not None
            and is_own_function(self.context, self.options)
            and flow_run not in current.claimed.get()
        )
        attempt = registry.begin_attempt(
            self._purpose(),
            self.options.model_id,
            self.options.revision or self._revision(),
            self.options.config if self.options.config is not None else recorded(self.parameters),
            publish=self.options.publish,
            lease=self.options.lease,
            parent=current.run_around(registry),
            isolated=self.options.isolated,
            flow_run=flow_run if self._owns_flow_run else None,
            prefect=facts(),
            capture=begun.finish(worker()),
        )
        self._run = registry.attach(attempt.begin.run_id)
        self.published = attempt.published
        if self.published is not None:
            self._tell_published(self.published)
            return
        around = "" if attempt.begin.parent is None else f", inside {attempt.begin.parent}"
        visible = notices.visible_while_open(self.options.publish)
        log().info("Registry run %s began in %s%s: %s.", self.run.id, registry.url, around, visible)
        notices.began(self.run)

    def _purpose(self) -> str:
        if self.options.purpose is not None:
            if self.fn is None:
                return self.options.purpose
            return redacted(render(self.options.purpose, self.parameters), secrets_in(self.parameters))
        flow = self.context.flow if self.context is not None else None
        if flow is not None and (self.fn is None or is_own_function(self.context, self.options)):
            return flow.name
        return getattr(self.fn, "__name__", "run").replace("_", "-")

    def _revision(self) -> str | None:
        flow_run = cast(Any, self.context).flow_run if self.context is not None else None
        if flow_run is not None and flow_run.deployment_version:
            return str(flow_run.deployment_version)
        flow = self.context.flow if self.context is not None else None
        fn = self.fn or (flow.fn if flow is not None else None)
        return commit_of(fn) if fn is not None else None

    def _tell_published(self, decision: Decision) -> None:
        told = "its recorded result is returned" if decision.has_result else (
            "None is returned, because its result was no JSON value of at most 16 KiB"
        )  # fmt: skip
        log().warning(
            "An earlier attempt of this flow run has published already (run %s, committed: yes). The flow is not run "
            "again; %s.",
            decision.run_id,
            told,
        )
        notices.late(self.registry.attach(decision.run_id), decision, str(flow_run_id()))

    # -- surroundings --------------------------------------------------------------------------------------------

    def bind(self) -> None:
        """Make this the surrounding run in the caller's context, in Prefect's, and for what it submits."""
        self._tokens = [
            enter_run(self.registry.url, self.run.id),
            current.surrounding.set(self.run),
            current.claimed.set((*current.claimed.get(), *((flow_run_id(),) if self._owns_flow_run else ()))),
        ]
        context = self.context
        has_flow = context is not None and not context.detached and not is_in_task(context)
        self._watched = Watched(cast(Any, context).task_runner if has_flow else None)
        self._tokens.append(watched.set(self._watched))
        if context is None or not has_flow:
            return  # inside a task: runner and label belong to the flow, which other tasks use too
        reference = current.reference_of(self.options.registry_for(self.parameters))
        self._label_before = current.put_label(context, self.run, reference)

    def unbind(self) -> None:
        """Undo :meth:`bind`."""
        if self._label_before is not None and self.context is not None:
            current.restore_label(self.context, self._label_before)
            self._label_before = None
        for token in self._tokens:
            try:
                token.var.reset(token)
            except ValueError:  # entered and left in different contexts, as fixtures and generators do
                token.var.set(_OUTSIDE[token.var])
        self._tokens = []

    # -- the end of the body -------------------------------------------------------------------------------------

    def settle(self) -> list[Unseen]:
        """Wait for what was submitted in the body and not awaited."""
        return self._watched.settle() if self._watched is not None else []

    async def asettle(self) -> list[Unseen]:
        """:meth:`settle` without blocking the event loop."""
        return await self._watched.asettle() if self._watched is not None else []

    def refuse_unseen(self, unseen: list[Unseen]) -> None:
        """Raise what a task raised that the flow submitted and never looked at."""
        failed = [u for u in unseen if not u.completed and not u.passed_on]
        if not failed:
            return
        told = f"{len(failed)} task run(s) were submitted, failed, and nobody looked at them: {failed[0].name()}"
        if self.options.on_unawaited_failure == "ignore":
            log().warning('%s. Ignored, because on_unawaited_failure="ignore".', told)
            return
        log().error(
            "%s. A run publishes everything or nothing, so the flow fails. Wait for the future and handle it, or pass "
            'on_unawaited_failure="ignore".',
            told,
        )
        raise_unseen_failure(unseen)

    def passed(self, answer: object) -> None:
        """What ``check`` answered: ``False`` is a refusal, like an exception."""
        if answer is False:
            raise InvalidState(
                f"The check of run {self.run.id} returned False",
                why=f"{_name_of(self.options.check)} looked at what was staged, and said no: "
                f"{notices.visible_after_rollback(self.options.publish)}",
                todo="Mend the data, or the check, and run the flow again",
                committed="no",
                run_id=self.run.id,
            )

    # -- from the decision to Prefect's record of it -----------------------------------------------------------------

    def look_at_flow_run(self) -> None:
        """Refuse to publish what Prefect would not record as Completed; from here on signals wait for that record.

        Right before the decision, and only when there is something to publish: asking costs a request.
        """
        context = self._recorded_by()
        if context is not None:
            record.refuse_stopped(context)
            record.signals.hold(context)

    async def alook_at_flow_run(self) -> None:
        """:meth:`look_at_flow_run` for an asynchronous flow, whose timeout does not interrupt its decision either.

        From the flow's own task, to which its client and its timeout belong: before the closing begins in a thread.
        """
        context = self._recorded_by()
        if context is not None:
            await record.arefuse_stopped(context)
            await record.stop_deadline(context)
            record.signals.hold(context)

    def let_signals_through(self) -> None:
        """Nothing was published."""
        if self._owns_flow_run:
            record.signals.release(str(flow_run_id()))

    def _recorded_by(self) -> FlowRunContext | None:
        """The context of the flow run that Prefect will record as Completed when the decorated function returns."""
        context = self.context
        return context if self._owns_flow_run and context is not None and context.client is not None else None

    # -- decisions -----------------------------------------------------------------------------------------------

    def commit(self, verdict: Verdict, confirm: Callable[[], object] = lambda: None) -> bool:
        """Publish. A commit that fails fails the flow; one that was interrupted is looked up before anything is said.

        ``confirm`` is called before a decision that publishes anything, and may refuse it by raising. Returns whether
        the flow run must be recorded as Completed now, whatever wants to interrupt that.

        Raises:
            RunAborted: Somebody else aborted the run. Committed: no.
            InvalidState: A dataset was begun and never committed. Committed: no.
            OutcomeUnknown: The store gave no certain answer. Nothing is cleaned up.
        """
        if self._is_of_parent():
            return False
        try:
            if self.options.publish == "never":
                self._rehearse()
                self.let_signals_through()
                return False
            closed = self._close(verdict, confirm)
        except BaseException:
            self.let_signals_through()
            raise
        try:
            self._stop_persisting()
            notices.closed(self.run, closed, self.context if self._owns_flow_run else None, self._began)
        except BaseException as error:
            if not self._goes_on(error):
                raise
        return self._owns_flow_run

    def _close(self, verdict: Verdict, confirm: Callable[[], object]) -> Closed:
        try:
            self._refuse_spoiled()
            ledger = self.registry.ledger
            closed = ledger.commit(self.run.id, result=verdict.value, refuse_pending=True, confirm=confirm)
            if self._owns_flow_run:
                record.stop_alarm(self.context)
        except OutcomeUnknown as error:
            log().error("%s", error)
            raise
        except BaseException as error:
            decision = self.fail(error)
            if decision is not None:
                settle(error, "yes" if decision.committed else "no")
            if decision is None or not decision.committed or not self._goes_on(error):
                raise
            # The flow's timeout or a signal struck when the commit was made already: the work is done, and said so.
            closed = self.registry.ledger.commit(self.run.id)
        return closed

    def _goes_on(self, error: BaseException) -> bool:
        """Whether what interrupts a committed run must not unsay it: a timeout is void, a signal comes later."""
        return timed_out(error, self.context) or (self._owns_flow_run and record.signals.put_off(error))

    def _refuse_spoiled(self) -> None:
        if self._watched is not None:
            attempts.learn_spoiled(self.registry.url, self.run.id, self._watched.states())
        if not attempts.drop_spoiled(self.run.id):
            raise attempts.still_spoiled(self.run.id)

    def _rehearse(self) -> None:
        """``publish="never"``: show what would have changed, and drop it."""
        try:
            rehearsal.show(self.run)
        except BaseException as error:
            self.fail(error)
            raise
        decision = self.registry.ledger.fail(self.run.id, not_published(), None)
        self._give_way(decision, not_published(), None)
        log().info('Run %s was discarded: publish="never". Nothing of it is visible.', self.run.id)
        notices.not_published(self.run)

    def reject(self, verdict: Verdict) -> None:
        """Roll back because Prefect will not call the flow run Completed, although its function returned."""
        if self._is_of_parent():
            return
        why = failure(verdict.name, redacted(verdict.message, secrets_in(self.parameters)), verdict.kind)
        try:
            self._abort(why, None)
        except RegistryError as error:
            log().error("Run %s could not be rolled back, and will be when its lease is over: %s", self.run.id, error)

    def fail(self, error: BaseException) -> Decision | None:
        """Roll back because of ``error``; the caller raises it again. What goes wrong here becomes a note on it.

        Raises:
            prefect.exceptions.Abort: A newer attempt of the flow run has taken over: this process must not report a
                state of it.
        """
        if self._run is None or self._is_of_parent():  # it was not begun, or nobody knows of it
            return None
        message = redacted(_text_of(error), secrets_in(self.parameters))
        try:
            return self._abort(failure_of(error, message, self.context), error)
        except RegistryError as second:
            error.add_note(f"Run {self.run.id} could not be rolled back, and will be when its lease is over: {second}")
            return None

    def _is_of_parent(self) -> bool:
        """Whether this is a forked child that ended inside the body: the run is its parent's to decide."""
        return self._pid != os.getpid()

    def _abort(self, why: Failure, cause: BaseException | None) -> Decision:
        decision = self.registry.ledger.abort(self.run.id, why)
        self._give_way(decision, why, cause)
        if decision.committed:
            log().warning("Run %s is committed and stays so, although: %s", self.run.id, why.message or why.cls)
        else:
            visible = notices.visible_after_rollback(self.options.publish)
            log().error("Run %s was rolled back, %s: %s: %s", self.run.id, visible, why.cls, why.message)
            notices.rolled_back(self.run, why, flow_run_id())
        return decision

    def _give_way(self, decision: Decision, why: Failure, cause: BaseException | None) -> None:
        """Leave the flow run to the newer attempt that aborted this one, without reporting any state of it."""
        if decision.failure is None or decision.failure.cls != SUPERSEDED or decision.failure == why:
            return
        log().warning("Run %s was %s. This process ends without a word on the flow run.", self.run.id, decision.notes)
        raise Abort(f"Registry run {self.run.id} was {decision.notes}") from cause

    def _stop_persisting(self) -> None:
        """A subflow's result must not be reused when the flow around it is retried: its data went with that attempt."""
        context = self.context
        if context is not None and not context.detached and cast(Any, context.flow_run).parent_task_run_id:
            context.persist_result = False


def _name_of(check: object) -> str:
    """What a check is called where it was written."""
    fn = getattr(check, "func", check)  # functools.partial
    return str(getattr(fn, "__qualname__", type(fn).__qualname__)).rpartition("<locals>.")[2]


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:
        return f"<the message cannot be shown: {type(second).__name__}>"
