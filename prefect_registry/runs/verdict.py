"""How Prefect will judge what a flow returned: a run is published only when its flow run will be Completed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import GeneratorType
from typing import Any

from prefect.client.schemas.objects import State
from prefect.futures import resolve_futures_to_states
from prefect.states import StateGroup, is_state_iterable

from prefect_registry.ledger.closing import UNSET
from prefect_registry.records.runs import FailureKind


@dataclass(frozen=True)
class Verdict:
    """Whether the flow run will be Completed, and why not. ``value`` is what may be recorded as its result (P14)."""

    completed: bool
    name: str = "Completed"
    message: str = ""
    kind: FailureKind = "error"
    value: Any = UNSET


def judge(returned: Any) -> Verdict:
    """The rule of ``prefect.states.return_value_to_state``.

    A state decides; of several states all must be completed; anything else is data. Waits for futures in it.
    """
    resolved = resolve_futures_to_states(returned)
    states = _states(resolved)
    if states is None:
        return Verdict(True, value=returned if resolved is returned else UNSET)
    group = StateGroup(list(states))
    if group.all_completed():
        return Verdict(True)
    bad = next(s for s in group.states if not s.is_completed())
    kind: FailureKind = "cancelled" if group.any_cancelled() else "crashed" if bad.is_crashed() else "error"
    told = bad.message or f"the flow returned a state of type {bad.type.value}"
    if group.total_count > 1:
        told = f"{group.total_count - _completed(group)} of {group.total_count} states are not completed: {told}"
    return Verdict(False, bad.name or bad.type.value, told, kind)


def settled(returned: Any) -> Any:
    """A returned generator as a list, as Prefect will make of it: its code must run before the run is closed."""
    return list(returned) if isinstance(returned, GeneratorType) else returned


def _states(value: Any) -> Iterable[State[Any]] | None:
    if isinstance(value, State):
        return [value]
    return value if is_state_iterable(value) else None


def _completed(group: StateGroup) -> int:
    return sum(1 for state in group.states if state.is_completed())
