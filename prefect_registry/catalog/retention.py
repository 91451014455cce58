"""Rules that say what to keep though nobody sees it any more, and what a release of the rest tells: cells of the types
``retention`` (kinds of datasets) and ``object_retention`` (objects).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from prefect_registry.catalog.histories import Cell
from prefect_registry.errors import InvalidInput, NotFound
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.names import name_problems
from prefect_registry.notebook import shown

RETENTION = "retention"
"""The type of the cells, one for each kind of datasets."""
OBJECT_RETENTION = "object_retention"
"""The type of the cells, one for each object."""
DEFAULT = "*"
"""The name of the rule for kinds, or objects, that have none of their own."""
MOST_STATES = 1_000_000
MOST_DAYS = 36_500


@dataclass(frozen=True)
class RetentionRule:
    """What is kept of a kind of datasets besides its table as it is, or of the versions of an object; one condition is
    enough.

    Attributes:
        kind: The kind; ``*`` for all those without a rule of their own; None in a rule for objects.
        keep_last: How many of the table's states stay readable, the present one included; of an object, how many of the
            highest versions. None: no such condition; then every version stays that is not deleted.
        keep_days: States that were the present one within this many days stay readable, and what was reverted, deleted
            or overwritten within them can be restored. None: no such condition, and nothing of these is released.
        keep_used: Keep what something visible was made from.
        objects: The object; ``*`` for all those without a rule of their own; None in a rule for datasets.
    """

    kind: str | None
    keep_last: int | None = None
    keep_days: float | None = None
    keep_used: bool = True
    objects: str | None = None

    @property
    def name(self) -> str:
        """The kind or the object."""
        return str(self.kind if self.objects is None else self.objects)

    @property
    def cell_type(self) -> str:
        """The type of the cell that has it."""
        return RETENTION if self.objects is None else OBJECT_RETENTION

    def as_value(self) -> dict[str, Any]:
        """As its cell has it."""
        return {"keep_last": self.keep_last, "keep_days": self.keep_days, "keep_used": self.keep_used}

    def __str__(self) -> str:
        states = "state(s)" if self.objects is None else "version(s)"
        said = [
            f"the last {self.keep_last} {states}" if self.keep_last is not None else "",
            f"{self.keep_days:g} day(s)" if self.keep_days is not None else "",
            "what is used" if self.keep_used else "",
        ]
        return f"keep {', '.join(s for s in said if s)}"


def rules_of(cells: Mapping[str, Cell], type_: str = RETENTION) -> dict[str, RetentionRule]:
    """The rules in the newest cells, by kind or object. What a newer release has added to a rule cannot be obeyed: it
    is refused.

    Raises:
        InvalidInput: A rule has conditions that this release does not know.
    """
    return {name: _rule(name, cell.value, type_) for name, cell in cells.items() if cell.value}


def _rule(name: str, value: Mapping[str, Any], type_: str) -> RetentionRule:
    unknown = sorted(set(value) - {"keep_last", "keep_days", "keep_used"})
    if unknown:
        raise InvalidInput(
            f"The retention rule of {name!r} has conditions that this release does not know: {', '.join(unknown)}",
            why="A newer release has written it; to act on a part of it could delete what it keeps",
            todo="Upgrade prefect-registry here, or set the rule again",
            committed="no",
        )
    kind, objects = (name, None) if type_ == RETENTION else (None, name)
    keep_used = bool(value.get("keep_used", True))
    return RetentionRule(kind, value.get("keep_last"), value.get("keep_days"), keep_used, objects)


def set_rule(ledger: Ledger, rule: RetentionRule, run_id: str | None) -> None:
    """Write a rule, whatever was there. ``InvalidInput`` lists every problem."""
    problems = list(_problems(rule))
    if problems:
        raise InvalidInput.of("the retention rule", problems)
    ledger.cells.update(rule.cell_type, rule.name, lambda before: rule.as_value(), run_id=run_id)


def remove_rule(ledger: Ledger, kind: str | None, objects: str | None, run_id: str | None) -> None:
    """Take a rule away. ``NotFound`` if there is none."""
    problems = list(_owner_problems(kind, objects))
    if problems:
        raise InvalidInput.of("the retention rule", problems)
    rule = RetentionRule(kind, objects=objects)
    found = ledger.cells.latest(rule.cell_type, rule.name, run_id)
    if found is None or found.deleted:
        raise NotFound(
            f"There is no retention rule for {'objects ' if objects is not None else ''}{rule.name!r:.200}",
            todo="registry.retention() lists them",
            committed="no",
        )
    ledger.cells.update(rule.cell_type, rule.name, lambda before: None, run_id=run_id)


SeenRules = dict[str, tuple[RetentionRule | None, int | None]]
"""By kind or object: the rule, or None where there is none, and the generation in which that was seen."""


def write_rules(ledger: Ledger, seen: SeenRules, type_: str, run_id: str) -> None:
    """Hold the rules that a release acts on. One that changes meanwhile is a ``Conflict``."""
    for name, (rule, gen) in sorted(seen.items()):
        value = rule.as_value() if rule is not None else {}
        ledger.cells.write(type_, name, value, run_id=run_id, expected=gen, deleted=rule is None)


def _owner_problems(kind: str | None, objects: str | None) -> Iterator[str]:
    if (kind is None) == (objects is None):
        yield "a rule is for a kind of datasets or for objects: give kind or objects, not both and not neither"
    elif objects is None:
        yield from name_problems(kind, "kind")
    else:
        yield from name_problems(objects, "objects")
        if isinstance(objects, str) and "@" in objects:
            yield f"objects {objects!r:.80} names a version; a rule is for all versions of an object"


def _problems(rule: RetentionRule) -> Iterator[str]:
    yield from _owner_problems(rule.kind, rule.objects)
    last, days = rule.keep_last, rule.keep_days
    if last is not None and (isinstance(last, bool) or not isinstance(last, int) or not 1 <= last <= MOST_STATES):
        yield f"keep_last must be an integer from 1 to {MOST_STATES:,}, not {last!r:.40}"
    if days is not None and (isinstance(days, bool) or not isinstance(days, (int, float)) or not 0 < days <= MOST_DAYS):
        yield f"keep_days must be a number above 0 and up to {MOST_DAYS:,}, not {days!r:.40}"
    if not isinstance(rule.keep_used, bool):
        yield f"keep_used must be True or False, not {rule.keep_used!r:.40}"
    if last is None and days is None:
        yield "keep_last or keep_days must be given: a rule that names neither would release all that nobody sees"


# -- what a release tells ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Released:
    """A dataset that is released: its size in bytes, and why nothing keeps it."""

    id: str
    kind: str
    bytes: int
    why: str


@dataclass(frozen=True)
class ReleasedObject:
    """A version of an object that is released, or an older state of one that was overwritten.

    Attributes:
        id: ``name@version``.
        generation: The generation whose files go; None where the version goes as a whole.
        bytes: The size of its files. What lies in its record itself has none, and stays there.
        why: Why nothing keeps it.
    """

    id: str
    generation: int | None
    bytes: int
    why: str


@dataclass
class ReleaseReport:
    """What was released, or would be.

    Attributes:
        run_id: The run that did it; None for a dry run, and when there was nothing.
        kept: How many datasets were kept, by the first reason that was found: ``current`` (part of the table),
            ``no_rule``, ``keep_last``, ``keep_days``, ``alias`` (an alias points at an object that was made from it),
            ``keep_used``, ``reverted`` (can be restored, and the rule has no ``keep_days``), ``external`` (their bytes
            are not the registry's), ``archived``, ``unproved`` (the store does not say that they are hidden: a revert
            came between, or the index is wrong, which fsck finds).
        kept_objects: How many versions of objects, and older states of them, were kept. Beside the same reasons:
            ``current`` (not deleted, and the rule has no ``keep_last``), ``deleted`` and ``overwritten`` (can be
            restored, and the rule has no ``keep_days``), ``inline`` (they lie in their records, which stay),
            ``unproved`` (also: somebody is writing them).
    """

    dry_run: bool
    run_id: str | None = None
    datasets: list[Released] = field(default_factory=list)
    kept: dict[str, int] = field(default_factory=dict)
    objects: list[ReleasedObject] = field(default_factory=list)
    kept_objects: dict[str, int] = field(default_factory=dict)

    _repr_html_ = shown

    @property
    def bytes(self) -> int:
        """The size of all that was released."""
        return sum(d.bytes for d in self.datasets) + sum(o.bytes for o in self.objects)


class ReleasePlan(Protocol):
    """What is about to be released of one sort of things, and the generations that it was computed from."""

    def __bool__(self) -> bool:
        """Whether there is anything."""

    def tell(self, report: ReleaseReport) -> None:
        """Add it to a report."""

    def write(self, run_id: str) -> None:
        """Write the generations that release it. ``Conflict`` when one of those that it stands on has changed."""
