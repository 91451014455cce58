"""Every error the registry raises, grouped by what a handler would do about it.

    RegistryError
    ├── NotFound (KeyError)          nothing has that id or name: fix the name
    ├── Conflict                     somebody else was first: read again, then decide
    │   ├── AlreadyExists
    │   ├── VersionConflict
    │   ├── RevisionConflict
    │   └── UndecidedConflict        another run holds the cell: wait for it, or abort it
    ├── InvalidState                 the thing is past the point where this is possible
    │   ├── RunAborted
    │   ├── RunAlreadyClosed
    │   └── NoActiveRun
    ├── InvalidInput (ValueError)    fix the arguments: lists every problem
    │   └── MalformedId (NotFound)   not an id at all, so nothing can have it
    ├── IntegrityError               stored bytes are not what the manifest says
    ├── FormatError                  the store was written by something newer, or is not a registry
    ├── StorageError                 the object store refused or failed
    │   ├── StorageUnavailable       try again later
    │   ├── AccessDenied             fix the credentials or the policy
    │   ├── UnsupportedStorage       it cannot create-if-absent: use another one
    │   └── OutcomeUnknown           the write may have landed: look before you act
    ├── RecoverableError             an ingestion step may be tried again
    └── ConfigurationError           say which registry, or fix its settings

``kind`` values are stable and append-only: programs may match on them. ``committed`` tells whether the work
the call belonged to is published, where that question makes sense (DESIGN.md 8).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

Committed = Literal["yes", "no", "unknown"]
MOST_SHOWN = 20
"""How many problems the text of one :class:`InvalidInput` names; ``problems`` has them all."""


class RegistryError(Exception):
    """Base of the tree. The message says what happened, why, and what to do next.

    Args:
        what: What happened, one sentence.
        why: The cause; what usually causes an error of this class, when nothing is said.
        todo: What the reader can do about it; what usually helps, when nothing is said.
        committed: Whether the work the call belonged to is published.
        context: Machine-readable details (run id, key, holder …); never secrets.
    """

    kind: ClassVar[str] = "registry_error"
    usual_why: ClassVar[str] = "The cause is not known"
    usual_todo: ClassVar[str] = "Read this error's cause and notes, if it has any"

    def __init__(
        self,
        what: str,
        *,
        why: str = "",
        todo: str = "",
        committed: Committed | None = None,
        **context: Any,
    ) -> None:
        self.what, self.why, self.todo = what, why or self.usual_why, todo or self.usual_todo
        self.committed: Committed | None = committed
        self.context = context
        super().__init__(what)

    def __str__(self) -> str:
        parts = [self.what, self.why, self.todo]
        if self.committed is not None:
            parts.append(f"Committed: {self.committed}.")
        return " ".join(p if p.endswith((".", "!", "?", ":")) else f"{p}." for p in parts if p)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (type(self), self.what, self.why, self.todo, self.committed, self.context)
        notes = getattr(self, "__notes__", None)
        return (_rebuild, arguments) if notes is None else (_rebuild, arguments, {"__notes__": notes})

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON values, for ``--json`` output and logs."""
        return {
            "kind": self.kind,
            "what": self.what,
            "why": self.why,
            "todo": self.todo,
            "committed": self.committed,
            "context": {k: _as_json(v) for k, v in self.context.items() if not isinstance(v, (bytes, BaseException))},
        }


def _as_json(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(k): _as_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_as_json(v) for v in value]
    return str(value)


def _rebuild(
    cls: type[RegistryError], what: str, why: str, todo: str, committed: Committed | None, context: dict[str, Any]
) -> RegistryError:
    return cls(what, why=why, todo=todo, committed=committed, **context)


class NotFound(RegistryError, KeyError):
    """Nothing visible has that id or name. Never raised because a store could not be reached."""

    kind = "not_found"
    usual_why = "Nothing visible has that id or name"
    usual_todo = "Check the spelling, and that it is the right registry"


class Conflict(RegistryError):
    """Another writer was first, or the state is not what the call was computed from."""

    kind = "conflict"
    usual_why = "Another writer was first"
    usual_todo = "Read what is there now, and decide again"


class AlreadyExists(Conflict):
    """The key or name is taken by somebody else. ``existing`` holds the bytes found there, when they were read."""

    kind = "already_exists"

    @property
    def existing(self) -> bytes | None:
        """The bytes that were found under the key, if they were read."""
        value = self.context.get("existing")
        return value if isinstance(value, bytes) else None


class VersionConflict(Conflict):
    """That version exists with other content."""

    kind = "version_conflict"


class RevisionConflict(Conflict):
    """The cell changed since it was read (DESIGN.md P5)."""

    kind = "revision_conflict"


class UndecidedConflict(Conflict):
    """A run that is neither committed nor aborted holds the cell (DESIGN.md P4).

    ``context`` has ``run_id``, ``holder`` and ``available_after`` (when anyone may take it, if nothing happens).
    """

    kind = "undecided_conflict"
    usual_why = "A run that is neither committed nor aborted holds it"
    usual_todo = "Try again when that run is closed"


class InvalidState(RegistryError):
    """The operation is not possible in the state that the thing is in."""

    kind = "invalid_state"
    usual_why = "It is past the point where this is possible"
    usual_todo = "Read its state, and begin anew where that makes sense"


class RunAborted(InvalidState):
    """The run is aborted: nothing of it is visible and nothing can be added."""

    kind = "run_aborted"
    usual_why = "The run was closed without success, or somebody aborted it when its lease was over"
    usual_todo = "Nothing of it is visible; begin a new run and do the work again"


class RunAlreadyClosed(InvalidState):
    """The run is committed: nothing can be added or taken back."""

    kind = "run_already_closed"
    usual_why = "A decided run never changes"
    usual_todo = "Begin a new run"


class NoActiveRun(InvalidState):
    """No run was named and none surrounds the call."""

    kind = "no_active_run"
    usual_why = "No run was named, and none surrounds the call"
    usual_todo = "Pass run_id, or work inside a run"


class InvalidInput(RegistryError, ValueError):
    """The arguments are wrong; ``problems`` lists every one that was found. Nothing was written."""

    kind = "invalid_input"
    usual_why = "The arguments cannot mean anything that the registry could do"
    usual_todo = "Correct the arguments and call again"

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong, one sentence each."""
        return list(self.context.get("problems", [])) or [self.what]

    @classmethod
    def of(cls, subject: str, problems: Iterable[str], todo: str = "") -> InvalidInput:
        """Build one error from every problem found in ``subject``."""
        found = list(problems)
        shown = "; ".join(found[:MOST_SHOWN]) + (f"; and {len(found) - MOST_SHOWN:,} more" * (len(found) > MOST_SHOWN))
        return cls(f"{subject} is not valid", why=shown, todo=todo, committed="no", problems=found)


class MalformedId(InvalidInput, NotFound):
    """What was given does not have the form of an id, so nothing can have it: wrong as an argument, and not found."""

    kind = "malformed_id"
    usual_why = "It does not have the form of the ids that the registry gives"
    usual_todo = "Pass the id as the registry returned it"


class IntegrityError(RegistryError):
    """Stored bytes differ from what the registry recorded, or a recorded file is missing."""

    kind = "integrity_error"
    usual_why = "Stored bytes differ from what the registry recorded"
    usual_todo = "Restore what is damaged from a backup; nothing was changed"


class FormatError(RegistryError):
    """The store has a format or feature that this version does not know, or a document cannot be read."""

    kind = "format_error"
    usual_why = "The store was written by a newer version, or is not a registry"
    usual_todo = "Upgrade prefect-registry, or check the URL"


class StorageError(RegistryError):
    """The object store refused or failed, and it is none of the more exact kinds below."""

    kind = "storage_error"
    usual_why = "The object store refused or failed"
    usual_todo = "Check the settings of the storage"


class StorageUnavailable(StorageError):
    """The store cannot be reached, is overloaded or timed out: the same call may work later."""

    kind = "storage_unavailable"
    usual_why = "The store cannot be reached, is overloaded or timed out"
    usual_todo = "Try again later"


class AccessDenied(StorageError):
    """The credentials do not allow it, or are wrong or missing."""

    kind = "access_denied"
    usual_why = "The credentials are wrong, missing or not allowed to do it"
    usual_todo = "Check the credentials and their policy"


class UnsupportedStorage(StorageError):
    """The filesystem has not proved that it creates an object only if absent (DESIGN.md 5)."""

    kind = "unsupported_storage"
    usual_why = "It has not proved that it creates an object only if absent"
    usual_todo = "Use another store"


class OutcomeUnknown(StorageError):
    """A conditional write may or may not have landed (DESIGN.md P10). Clean nothing up; read the run first."""

    kind = "outcome_unknown"
    usual_why = "The store gave no certain answer"
    usual_todo = "Clean nothing up; look at what is stored once the store answers again"


class RecoverableError(RegistryError):
    """A step failed in a way that is expected to pass: it may be tried again."""

    kind = "recoverable_error"
    usual_why = "The cause is expected to pass"
    usual_todo = "Try again"


class ConfigurationError(RegistryError):
    """It is not clear which registry is meant, or its settings are wrong."""

    kind = "configuration_error"
    usual_why = "The settings do not say which registry is meant, or are wrong"
    usual_todo = "Name the registry, or correct its settings"


@contextmanager
def in_run(run_id: str) -> Iterator[None]:
    """Errors of the store in this block name the run whose work met them (DESIGN.md P10)."""
    try:
        yield
    except StorageError as error:
        if "run_id" not in error.context:
            error.context["run_id"] = run_id
            if run_id not in error.what:
                error.what += f", in run {run_id}"
                error.args = (error.what,)
        raise


def settle(error: BaseException, committed: Committed) -> None:
    """A later look has shown what ``error`` could not tell."""
    if isinstance(error, StorageError) and error.committed in (None, "unknown"):
        error.committed = committed


@contextmanager
def published_before(committed: Committed, note: str) -> Iterator[None]:
    """Errors of this block come after a part of the call is published: none of them says ``committed: no``.

    Args:
        committed: What they say instead: "yes" when nothing is to be done again, "unknown" when somebody has to look.
        note: What is published, what may not be, and what to do; added to the error.
    """
    try:
        yield
    except BaseException as error:
        error.add_note(note)
        if isinstance(error, RegistryError) and error.committed != "unknown":
            error.committed = committed
        raise


def nothing_published(method: Callable[P, R]) -> Callable[P, R]:
    """A writing method whose storage errors say ``committed: no``, unless they know better.

    The writes that publish resolve their own doubts, and say "unknown" when they cannot (DESIGN.md P10). So where any
    other error of the store ends a call, nothing of it was published.
    """
    return _telling("no", method)


def outcome_unknown(method: Callable[P, R]) -> Callable[P, R]:
    """A closing method whose storage errors say ``committed: unknown``, unless they know better: somebody may have
    decided the run before, and nobody could look.
    """
    return _telling("unknown", method)


def _telling(committed: Committed, method: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except StorageError as error:
            if error.committed is None:
                error.committed = committed
            raise

    return call
