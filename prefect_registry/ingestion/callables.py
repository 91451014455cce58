"""Tasks that are Python functions."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

from prefect_registry.ingestion.enums import Status
from prefect_registry.ingestion.errors import ConfigurationError
from prefect_registry.ingestion.managers import TaskManager
from prefect_registry.ingestion.models import Task
from prefect_registry.ledger.ledger import active_run, enter_run
from prefect_registry.records.base import json_object_problems

_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class CallableTask(TaskManager):
    """Calls a function in the process that ticks: ``function(manager, **arguments)``.

    Options: ``function`` (``"package.module:name"``) and ``arguments`` (JSON). What the function stages in
    ``manager.attempt``, or simply by calls on the registry, is dropped when it raises. A dict that it returns is added
    to the job's context. ``changed`` names a function of the same form that tells whether the source has changed since
    ``manager.previous``: True, False, or None if it cannot tell.
    """

    remote = False

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.path = str(task.options.get("function", ""))
        self.changed = str(task.options.get("changed") or "")
        for option, path in (("function", self.path), ("changed", self.changed)):
            if not _PATH.fullmatch(path) and (path or option == "function"):
                raise ConfigurationError(
                    f"Task {task.id} names no function: {path!r:.200}", todo=f"Give {option}: package.module:name"
                )

    @property
    def final_output(self) -> bool:
        """What it stages is published with the job."""
        return True

    def function(self) -> Callable[..., Any]:
        """The function that the plan names. Raises ``ConfigurationError`` when there is none."""
        return _function(self.path)

    def has_changed(self) -> bool | None:
        """What the function ``changed`` says; None without one."""
        if not self.changed:
            return None
        told = _function(self.changed)(self, **self.options.get("arguments", {}))
        return None if told is None else bool(told)

    def run(self) -> None:
        """Call the function, in the run of this attempt."""
        function = self.function()
        token = enter_run(self.registry.url, self.attempt.id)
        try:
            told = function(self, **self.options.get("arguments", {}))
        finally:
            active_run.reset(token)
        if isinstance(told, dict):
            problems = list(json_object_problems(told, "the function's result"))
            if problems:
                raise ConfigurationError(f"{self.path} returned what cannot be stored", why="; ".join(problems)[:500])
            self.job.context.update(told)

    def get_status(self) -> tuple[Status, str | None]:
        """Done: :meth:`run` returns when the function does."""
        return Status.COMPLETED, None

    def wipe(self) -> None:
        """Nothing: what it staged belongs to the registry, which drops what is not published."""


def _function(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"The function {path} cannot be loaded", why=str(error), todo="Install it where the tick runs"
        ) from error
    if not callable(found):
        raise ConfigurationError(f"{path} is no function", todo="Give package.module:name")
    return found  # type: ignore[no-any-return]
