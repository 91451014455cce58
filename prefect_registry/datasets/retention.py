"""Rules that say which datasets to keep though no table shows them any more: cells of type ``retention``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prefect_registry.catalog.histories import Cell
from prefect_registry.errors import InvalidInput, NotFound
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.names import name_problems

RETENTION = "retention"
"""The type of the cells, one for each kind."""
DEFAULT = "*"
"""The name of the rule for kinds that have none of their own."""
MOST_STATES = 1_000_000
MOST_DAYS = 36_500


@dataclass(frozen=True)
class RetentionRule:
    """What is kept of a kind besides its table as it is; one condition is enough.

    Attributes:
        kind: The kind; ``*`` for all those without a rule of their own.
        keep_last: How many of the table's states stay readable, the present one included. None: no such condition.
        keep_days: States that were the present one within this many days stay readable, and what was reverted within
            them can be restored. None: no such condition, and nothing that was reverted is released.
        keep_used: Keep what something visible was made from.
    """

    kind: str
    keep_last: int | None = None
    keep_days: float | None = None
    keep_used: bool = True

    def as_value(self) -> dict[str, Any]:
        """As its cell has it."""
        return {"keep_last": self.keep_last, "keep_days": self.keep_days, "keep_used": self.keep_used}

    def __str__(self) -> str:
        said = [
            f"the last {self.keep_last} state(s)" if self.keep_last is not None else "",
            f"{self.keep_days:g} day(s)" if self.keep_days is not None else "",
            "what is used" if self.keep_used else "",
        ]
        return f"keep {', '.join(s for s in said if s)}"


def rules_of(cells: Mapping[str, Cell]) -> dict[str, RetentionRule]:
    """The rules in the newest cells, by kind. What a newer release has added to a rule cannot be obeyed: it is refused.

    Raises:
        InvalidInput: A rule has conditions that this release does not know.
    """
    return {name: _rule(name, cell.value) for name, cell in cells.items() if cell.value}


def _rule(kind: str, value: Mapping[str, Any]) -> RetentionRule:
    unknown = sorted(set(value) - {"keep_last", "keep_days", "keep_used"})
    if unknown:
        raise InvalidInput(
            f"The retention rule of {kind!r} has conditions that this release does not know: {', '.join(unknown)}",
            why="A newer release has written it; to act on a part of it could delete what it keeps",
            todo="Upgrade prefect-registry here, or set the rule again",
            committed="no",
        )
    return RetentionRule(kind, value.get("keep_last"), value.get("keep_days"), bool(value.get("keep_used", True)))


def set_rule(ledger: Ledger, rule: RetentionRule, run_id: str | None) -> None:
    """Write a rule, whatever was there. ``InvalidInput`` lists every problem."""
    problems = list(_problems(rule))
    if problems:
        raise InvalidInput.of("the retention rule", problems)
    ledger.cells.update(RETENTION, rule.kind, lambda before: rule.as_value(), run_id=run_id)


def remove_rule(ledger: Ledger, kind: str, run_id: str | None) -> None:
    """Take a rule away. ``NotFound`` if there is none."""
    problems = list(name_problems(kind, "kind"))
    if problems:
        raise InvalidInput.of("kind", problems)
    found = ledger.cells.latest(RETENTION, kind, run_id)
    if found is None or found.deleted:
        raise NotFound(
            f"There is no retention rule for {kind!r:.200}", todo="registry.retention() lists them", committed="no"
        )
    ledger.cells.update(RETENTION, kind, lambda before: None, run_id=run_id)


def _problems(rule: RetentionRule) -> Iterator[str]:
    yield from name_problems(rule.kind, "kind")
    last, days = rule.keep_last, rule.keep_days
    if last is not None and (isinstance(last, bool) or not isinstance(last, int) or not 1 <= last <= MOST_STATES):
        yield f"keep_last must be an integer from 1 to {MOST_STATES:,}, not {last!r:.40}"
    if days is not None and (isinstance(days, bool) or not isinstance(days, (int, float)) or not 0 < days <= MOST_DAYS):
        yield f"keep_days must be a number above 0 and up to {MOST_DAYS:,}, not {days!r:.40}"
    if not isinstance(rule.keep_used, bool):
        yield f"keep_used must be True or False, not {rule.keep_used!r:.40}"
    if last is None and days is None:
        yield "keep_last or keep_days must be given: a rule that names neither would release all that no table shows"
