"""Many objects in one call, each by itself (reference system 3: batches)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prefect_registry.errors import InvalidInput, RegistryError
from prefect_registry.ledger.store import Store
from prefect_registry.notebook import shown

MOST_PER_BATCH = 10_000
Item = tuple[str, str | None]
"""The name of an object, and the version that was asked for."""


@dataclass
class BatchResult:
    """What became of each item of a batch, in the order given.

    Attributes:
        results: What the call by itself would have returned; None where it failed.
        errors: By ``(name, version)`` as they were given: the error as a dict (``kind``, ``what``, ``why``, ``todo``).
        succeeded, skipped, failed: The items, as ``(name, version)``. What was there already, with the same content or
            by ``on_conflict="skip"``, is skipped.
        exceptions: The errors themselves, by the same keys.
    """

    results: list[Any] = field(default_factory=list)
    errors: dict[Item, dict[str, Any]] = field(default_factory=dict)
    succeeded: list[Item] = field(default_factory=list)
    skipped: list[Item] = field(default_factory=list)
    failed: list[Item] = field(default_factory=list)
    exceptions: dict[Item, RegistryError] = field(default_factory=dict, repr=False)

    _repr_html_ = shown

    @property
    def all_succeeded(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    def raise_for_errors(self) -> None:
        """Raise the first error, if there is any."""
        for error in self.exceptions.values():
            raise error


def aligned(noun: str, given: object, count: int) -> list[Any]:
    """``given`` for each of ``count`` items: a list of that length, or one value for all."""
    if isinstance(given, (list, tuple)):
        if len(given) != count:
            raise InvalidInput.of("the batch", [f"{noun} has {len(given)} items, and there are {count} names"])
        return list(given)
    return [given] * count


def run_batch(store: Store, items: Sequence[Item], call: Callable[[int], tuple[Any, bool]]) -> BatchResult:
    """Make one call per item, several at a time: each returns its result, and whether there was nothing to do.

    An error of the registry is told of its item alone; any other exception is raised.
    """
    if len(items) > MOST_PER_BATCH:
        raise InvalidInput.of("the batch", [f"{len(items):,} items; at most {MOST_PER_BATCH:,} in one call"])
    calls = [partial(_attempted, call, i) for i in range(len(items))]
    result = BatchResult()
    for item, outcome in zip(items, store.together(calls) if calls else [], strict=True):
        if isinstance(outcome, RegistryError):
            result.results.append(None)
            result.failed.append(item)
            result.errors[item] = outcome.as_dict()
            result.exceptions[item] = outcome
            continue
        value, skipped = outcome
        result.results.append(value)
        (result.skipped if skipped else result.succeeded).append(item)
    return result


def _attempted(call: Callable[[int], tuple[Any, bool]], i: int) -> tuple[Any, bool] | RegistryError:
    try:
        return call(i)
    except RegistryError as error:
        return error
