"""Many objects in one call, each by itself (reference system 3: batches)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prefect_registry.errors import InvalidInput, RegistryError
from prefect_registry.ledger.store import Store
from prefect_registry.notebook import shown
from prefect_registry.records.base import text_of

MOST_PER_BATCH = 10_000
Item = tuple[str, str | None]
"""The name of an object, and the version that was asked for; of what cannot be a key, the ``repr``."""


@dataclass
class BatchResult:
    """What became of each item of a batch, in the order given.

    Attributes:
        results: What the call by itself would have returned; None where it failed.
        errors: By ``(name, version)`` as they were given: the error as a dict (``kind``, ``what``, ``why``, ``todo``).
            An exception that is none of the registry's, such as a materializer's, has the kind ``registry_error``.
        succeeded, skipped, failed: The items, as ``(name, version)``. What was there already, with the same content or
            by ``on_conflict="skip"``, is skipped.
        exceptions: The exceptions themselves, by the same keys.
    """

    results: list[Any] = field(default_factory=list)
    errors: dict[Item, dict[str, Any]] = field(default_factory=dict)
    succeeded: list[Item] = field(default_factory=list)
    skipped: list[Item] = field(default_factory=list)
    failed: list[Item] = field(default_factory=list)
    exceptions: dict[Item, Exception] = field(default_factory=dict, repr=False)

    _repr_html_ = shown

    @property
    def all_succeeded(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    def raise_for_errors(self) -> None:
        """Raise the first exception, if there is any."""
        for error in self.exceptions.values():
            raise error


def aligned(noun: str, given: object, count: int) -> list[Any]:
    """``given`` for each of ``count`` items: a list of that length, or one value for all."""
    if isinstance(given, (list, tuple)):
        if len(given) != count:
            raise InvalidInput.of("the batch", [f"{noun} has {len(given)} items, and there are {count} names"])
        return list(given)
    return [given] * count


def run_batch(store: Store, items: Sequence[tuple[Any, Any]], call: Callable[[int], tuple[Any, bool]]) -> BatchResult:
    """Make one call per item, several at a time: each returns its result, and whether there was nothing to do.

    Any ``Exception`` is told of its item alone, since the others may be published; interrupts are raised.
    """
    if len(items) > MOST_PER_BATCH:
        raise InvalidInput.of("the batch", [f"{len(items):,} items; at most {MOST_PER_BATCH:,} in one call"])
    calls = [partial(_attempted, call, i) for i in range(len(items))]
    result = BatchResult()
    for (name, version), outcome in zip(items, store.together(calls) if calls else [], strict=True):
        item = _as_key(name), _as_key(version)
        if isinstance(outcome, Exception):
            result.results.append(None)
            result.failed.append(item)
            result.errors[item] = _told(outcome).as_dict()
            result.exceptions[item] = outcome
            continue
        value, skipped = outcome
        result.results.append(value)
        (result.skipped if skipped else result.succeeded).append(item)
    return result


def _attempted(call: Callable[[int], tuple[Any, bool]], i: int) -> tuple[Any, bool] | Exception:
    try:
        return call(i)
    except Exception as error:
        return error


def _as_key(given: Any) -> Any:
    try:
        hash(given)
    except TypeError:
        return f"{given!r:.80}"
    return given


def _told(error: Exception) -> RegistryError:
    if isinstance(error, RegistryError):
        return error
    return RegistryError(
        f"{type(error).__name__}: {text_of(error)}"[:1_000],
        why="It was raised by code that is not the registry's own, such as a materializer, or is a mistake in ours",
        todo="See where it comes from: exceptions has it with its traceback",
    )
