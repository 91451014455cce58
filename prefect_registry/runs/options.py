"""What ``registry_run`` was asked for: checked once, when the decorator is applied."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from prefect_registry.errors import InvalidInput
from prefect_registry.records.runs import Publish
from prefect_registry.runs.parameters import render, template_problems

OnUnawaitedFailure = Literal["fail", "ignore"]
Check = Callable[..., object]
MARK = "__prefect_registry__"
"""The attribute of a wrapped function that holds its options: hooks find them on ``flow.fn``, in any process."""


@dataclass(frozen=True, eq=False)
class RunOptions:
    """The arguments of ``registry_run``, as they were given."""

    registry: Any = None
    purpose: str | None = None
    model_id: str | None = None
    revision: str | None = None
    config: Mapping[str, Any] | None = None
    publish: Publish = "on_close"
    lease: float | None = None
    isolated: bool = False
    check: Check | None = None
    on_unawaited_failure: OnUnawaitedFailure = "fail"

    def checked(self, fn: Callable[..., Any] | None = None) -> RunOptions:
        """Themselves, or :class:`InvalidInput` with every problem; ``fn`` is the function to be decorated."""
        problems = list(self._problems(fn))
        if problems:
            raise InvalidInput.of("registry_run", problems)
        return self

    def _problems(self, fn: Callable[..., Any] | None) -> Iterator[str]:
        if self.publish not in ("on_close", "on_commit", "never"):
            yield f"publish must be 'on_close', 'on_commit' or 'never', not {self.publish!r:.80}"
        if self.on_unawaited_failure not in ("fail", "ignore"):
            yield f"on_unawaited_failure must be 'fail' or 'ignore', not {self.on_unawaited_failure!r:.80}"
        if self.check is not None and not callable(self.check):
            yield f"check must be a function of the run, not {type(self.check).__name__}"
        if self.config is not None and not isinstance(self.config, Mapping):
            yield f"config must be a mapping, not {type(self.config).__name__}"
        for noun, value in (("purpose", self.purpose), ("model_id", self.model_id), ("revision", self.revision)):
            if value is not None and not isinstance(value, str):
                yield f"{noun} must be a string, not {type(value).__name__}"
        if fn is not None:
            yield from self._function_problems(fn)

    def _function_problems(self, fn: Callable[..., Any]) -> Iterator[str]:
        name = getattr(fn, "__qualname__", repr(fn))
        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            yield (
                f"{name} is a generator: nobody can tell when it has ended, so nothing could be published. "
                "Collect what it yields in a function that returns, or use 'with registry_run(...)' inside it"
            )
        if getattr(fn, MARK, None) is not None:
            yield f"{name} is decorated with registry_run already: once is enough, above or below @flow"
        if self.check is not None and inspect.iscoroutinefunction(self.check) and not inspect.iscoroutinefunction(fn):
            yield f"check is asynchronous, and {name} is not"
        if isinstance(self.purpose, str):
            yield from template_problems(self.purpose, fn, "purpose")
        if isinstance(self.registry, str) and "{" in self.registry:
            yield from template_problems(self.registry, fn, "registry")

    def registry_for(self, parameters: Mapping[str, Any]) -> Any:
        """Which registry is meant in a call with these parameters: ``"{name}"`` stands for the parameter itself."""
        wanted = self.registry
        if isinstance(wanted, str) and "{" in wanted:
            whole = wanted.strip()
            name = whole[1:-1]
            wanted = parameters[name] if whole == f"{{{name}}}" and name in parameters else render(wanted, parameters)
        return wanted or None


def options_of(fn: object) -> RunOptions | None:
    """The options that a function was decorated with, looking through other decorators that use ``functools.wraps``."""
    for _ in range(32):
        if fn is None:
            return None
        found = vars(fn).get(MARK) if hasattr(fn, "__dict__") else None
        if isinstance(found, RunOptions):
            return found
        fn = getattr(fn, "__wrapped__", None)
    return None
