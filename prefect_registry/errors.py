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

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

Committed = Literal["yes", "no", "unknown"]


class RegistryError(Exception):
    """Base of the tree. The message says what happened, why, and what to do next.

    Args:
        what: What happened, one sentence.
        why: The cause, when it is known.
        todo: What the reader can do about it.
        committed: Whether the work the call belonged to is published.
        context: Machine-readable details (run id, key, holder …); never secrets.
    """

    kind: ClassVar[str] = "registry_error"

    def __init__(
        self,
        what: str,
        *,
        why: str = "",
        todo: str = "",
        committed: Committed | None = None,
        **context: Any,
    ) -> None:
        self.what, self.why, self.todo = what, why, todo
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
        return (_rebuild, (type(self), self.what, self.why, self.todo, self.committed, self.context))

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON values, for ``--json`` output and logs."""
        return {
            "kind": self.kind,
            "what": self.what,
            "why": self.why,
            "todo": self.todo,
            "committed": self.committed,
            "context": {k: v for k, v in self.context.items() if not isinstance(v, (bytes, BaseException))},
        }


def _rebuild(
    cls: type[RegistryError], what: str, why: str, todo: str, committed: Committed | None, context: dict[str, Any]
) -> RegistryError:
    return cls(what, why=why, todo=todo, committed=committed, **context)


class NotFound(RegistryError, KeyError):
    """Nothing visible has that id or name. Never raised because a store could not be reached."""

    kind = "not_found"


class Conflict(RegistryError):
    """Another writer was first, or the state is not what the call was computed from."""

    kind = "conflict"


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


class InvalidState(RegistryError):
    """The operation is not possible in the state that the thing is in."""

    kind = "invalid_state"


class RunAborted(InvalidState):
    """The run is aborted: nothing of it is visible and nothing can be added."""

    kind = "run_aborted"


class RunAlreadyClosed(InvalidState):
    """The run is committed: nothing can be added or taken back."""

    kind = "run_already_closed"


class NoActiveRun(InvalidState):
    """No run was named and none surrounds the call."""

    kind = "no_active_run"


class InvalidInput(RegistryError, ValueError):
    """The arguments are wrong; ``problems`` lists every one that was found. Nothing was written."""

    kind = "invalid_input"

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong, one sentence each."""
        return list(self.context.get("problems", [])) or [self.what]

    @classmethod
    def of(cls, subject: str, problems: Iterable[str], todo: str = "") -> InvalidInput:
        """Build one error from every problem found in ``subject``."""
        found = list(problems)
        return cls(f"{subject} is not valid: " + "; ".join(found), todo=todo, committed="no", problems=found)


class IntegrityError(RegistryError):
    """Stored bytes differ from what the registry recorded, or a recorded file is missing."""

    kind = "integrity_error"


class FormatError(RegistryError):
    """The store has a format or feature that this version does not know, or a document cannot be read."""

    kind = "format_error"


class StorageError(RegistryError):
    """The object store refused or failed, and it is none of the more exact kinds below."""

    kind = "storage_error"


class StorageUnavailable(StorageError):
    """The store cannot be reached, is overloaded or timed out: the same call may work later."""

    kind = "storage_unavailable"


class AccessDenied(StorageError):
    """The credentials do not allow it, or are wrong or missing."""

    kind = "access_denied"


class UnsupportedStorage(StorageError):
    """The filesystem has not proved that it creates an object only if absent (DESIGN.md 5)."""

    kind = "unsupported_storage"


class OutcomeUnknown(StorageError):
    """A conditional write may or may not have landed (DESIGN.md P10). Clean nothing up; read the run first."""

    kind = "outcome_unknown"


class RecoverableError(RegistryError):
    """A step failed in a way that is expected to pass: it may be tried again."""

    kind = "recoverable_error"


class ConfigurationError(RegistryError):
    """It is not clear which registry is meant, or its settings are wrong."""

    kind = "configuration_error"
