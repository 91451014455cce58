"""The errors of reference system 5, in the package's one tree."""

from __future__ import annotations

from prefect_registry.errors import (
    ConfigurationError,
    Conflict,
    OutcomeUnknown,
    RecoverableError,
    RegistryError,
    StorageUnavailable,
    UndecidedConflict,
)

DataRegistryError = RegistryError

PASSING = (RecoverableError, StorageUnavailable, OutcomeUnknown, UndecidedConflict)
"""What a task manager may raise without failing its task: the call is made again later."""


class UnexpectedError(RegistryError):
    """Something that a task works with is not as it must be: the task fails."""

    kind = "unexpected_error"
    usual_why = "What the task works with is not as it must be"
    usual_todo = "Look at the task's notes, and at what it works with"


class LockFileError(Conflict):
    """An export is being written by another process."""

    kind = "lock_file_error"
    usual_why = "Another process is writing it"
    usual_todo = "Try again when that one is done"


__all__ = [
    "PASSING",
    "ConfigurationError",
    "DataRegistryError",
    "LockFileError",
    "RecoverableError",
    "UnexpectedError",
]
