"""Filter expressions of users as a condition in SQL over the index, and values for it.

A comparison is true or false, never unknown. A field that is not there, or has a value of another type than it is
compared with, is false in every comparison, ``!=``, ``NOT IN`` and ``NOT LIKE`` included; only ``IS NULL`` is true of
what is not there. ``NOT (…)`` turns whatever is in it round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from prefect_registry.clock import iso
from prefect_registry.ids import with_article
from prefect_registry.models.addresses import NOUNS
from prefect_registry.models.expressions import Comparison, Junction, Literal, Negation, Node, Value, invalid, parse
from prefect_registry.models.fields import PROPERTIES, Column, Family, bind, column_of, known

_TOLD = {"text": "a text in quotes", "number": "a number", "boolean": "true or false"}


@dataclass(frozen=True)
class Filter:
    """A condition on ``item.value``, the values that it names (``f0``, ``f1`` …), and the fields that it looks at."""

    sql: str
    values: Mapping[str, Any]
    fields: frozenset[str]


def filter_of(kind: str, expression: str | None) -> Filter:
    """What a filter expression means for registered models, versions or artifacts. None and blanks leave out nothing.

    Raises:
        InvalidInput: It shows the expression and where it is wrong; all unknown fields and values of the wrong type.
    """
    tree = parse(expression) if expression is not None else None
    if expression is None or tree is None:
        return Filter("1", {}, frozenset())
    meaning = _Meaning(kind)
    sql = f"({_joined(meaning.of(tree, False)).text})"
    if meaning.problems:
        raise invalid(expression, meaning.problems)
    return Filter(sql, meaning.values, frozenset(meaning.fields))


# -- how conditions are put together -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Parts:
    """Conditions of which all (AND) or one (OR) must hold; none of them is a junction of the same kind."""

    operator: str
    parts: tuple[_Parts | str, ...]


class _Sql(NamedTuple):
    """SQL, the operator that holds it together ("" for none), and how high SQLite's parser stacks what it has read."""

    text: str
    operator: str = ""
    stacked: int = 0


def _joined(condition: _Parts | str) -> _Sql:
    """A condition as SQL that SQLite can always parse: its parser's stack has 100 places and its trees 1,000 levels.

    So what stacks most comes first, where all that it adds is one place for a parenthesis that it cannot do without;
    and many parts become a tree that is flat.
    """
    if isinstance(condition, str):
        return _Sql(condition)
    first, *others = sorted(map(_joined, condition.parts), key=lambda part: -part.stacked)
    return _pair(condition.operator, first, _balanced(condition.operator, others)) if others else first


def _balanced(operator: str, parts: list[_Sql]) -> _Sql:
    if len(parts) == 1:
        return parts[0]
    half = (len(parts) + 1) // 2
    return _pair(operator, _balanced(operator, parts[:half]), _balanced(operator, parts[half:]))


def _pair(operator: str, one: _Sql, other: _Sql) -> _Sql:
    second, first = sorted((one, other), key=lambda part: part.stacked)
    if first.operator == "OR" and operator == "AND":
        first = _in_parentheses(first)
    if second.operator and (second.operator, operator) != ("AND", "OR"):
        second = _in_parentheses(second)
    stacked = max(first.stacked, second.stacked + 2)
    return _Sql(f"{first.text} {operator} {second.text}", operator, stacked)


def _in_parentheses(part: _Sql) -> _Sql:
    return _Sql(f"({part.text})", "", part.stacked + 1)


# -- what comparisons mean -----------------------------------------------------------------------------------------


class _Meaning:
    """Compiles the nodes of one expression."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.values: dict[str, Any] = {}
        self.fields: set[str] = set()
        self.problems: list[tuple[int, str]] = []

    def of(self, node: Node, negated: bool) -> _Parts | str:
        """The condition of a node, or its contrary. Negations go down to the comparisons, which are never unknown."""
        if isinstance(node, Negation):
            return self.of(node.part, not negated)
        if isinstance(node, Comparison):
            sql = self._comparison(node)
            return f"NOT {sql}" if negated else sql
        return self._junction(node, negated)

    def _junction(self, node: Junction, negated: bool) -> _Parts:
        operator = node.operator if not negated else {"AND": "OR", "OR": "AND"}[node.operator]
        parts: list[_Parts | str] = []
        for part in (self.of(part, negated) for part in node.parts):
            parts += part.parts if isinstance(part, _Parts) and part.operator == operator else (part,)
        return _Parts(operator, tuple(parts))

    def _comparison(self, node: Comparison) -> str:
        column = column_of(self.kind, node.field, self.values)
        if column is None:
            self.problems.append((node.field.column, self._unknown(node)))
            return "0"
        self.fields.add(column.name)
        if node.operator == "NULL":
            return f"({column.sql} IS {'NOT ' * node.negated}NULL)"
        problems = len(self.problems)
        families = self._families(column, node)
        if len(self.problems) > problems:
            return "0"
        parts = [self._of_family(column, family, values, node) for family, values in families.items()]
        return f"ifnull({' OR '.join(parts)}, 0)"

    def _unknown(self, node: Comparison) -> str:
        if node.field.key is None and node.field.name in PROPERTIES:
            return f"found {node.field.name}, expected the key of a property: {node.field.name}.key"
        name = node.field.name if node.field.key is None else f"{node.field.name}.{node.field.key}"
        return f"{with_article(NOUNS[self.kind])} has no field {name!r:.60}; it has {known(self.kind)}"

    def _families(self, column: Column, node: Comparison) -> dict[Family, list[Value]]:
        """What a field is compared with, by family. Notes what cannot be."""
        found: dict[Family, list[Value]] = {}
        for literal in node.values:
            family = _family(literal.value)
            if family not in column.families:
                expected = " or ".join(_TOLD[family] for family in column.families)
                self._refuse(literal, f"found {_TOLD[family]}, expected {expected}: {column.name} is no {family}")
            elif family == "boolean" and node.operator not in ("=", "!=", "IN"):
                self._refuse(literal, "found true or false, which are only equal or not")
            else:
                value = self._value(column, literal, node.operator)
                found.setdefault(family, []).append(value)
        if len(found) > 1 and (node.operator == "BETWEEN" or column.is_time):
            self._refuse(node.values[-1], "found another type than before, expected values of one type")
        return found

    def _refuse(self, literal: Literal, problem: str) -> None:
        self.problems.append((literal.column, problem))

    def _value(self, column: Column, literal: Literal, operator: str) -> Value:
        if operator in ("LIKE", "ILIKE"):
            if column.is_time:
                self._refuse(literal, f"{column.name} is a time, expected =, <, BETWEEN …")
            elif _ends_in_escape(str(literal.value)):
                self._refuse(literal, r"found a pattern that ends in \, expected \\ for a backslash")
        elif column.is_time and isinstance(literal.value, str):
            try:
                return _moment(literal.value)
            except (ValueError, OverflowError):
                self._refuse(literal, "expected a time, as '2026-01-31' or '2026-01-31T12:00:00Z'")
        return literal.value

    def _of_family(self, column: Column, family: Family, values: list[Value], node: Comparison) -> str:
        present, sql = column.families[family]
        compared = _OPERATORS.get(node.operator, _simple)(sql, node, values, self._bind)
        return f"({present} AND {compared})"

    def _bind(self, value: Any) -> str:
        """A value in SQL. SQLite reads floats out of JSON by a rule of its own: it must read these by the same."""
        if isinstance(value, float):
            return f"CAST({bind(self.values, repr(value))} AS REAL)"
        return bind(self.values, value)


Bind = Callable[[Any], str]


def _simple(sql: str, node: Comparison, values: list[Value], bind: Bind) -> str:
    return f"{sql} {node.operator} {bind(values[0])}"


def _between(sql: str, node: Comparison, values: list[Value], bind: Bind) -> str:
    return f"{sql} {'NOT ' * node.negated}BETWEEN {bind(values[0])} AND {bind(values[1])}"


def _in(sql: str, node: Comparison, values: list[Value], bind: Bind) -> str:
    part = f"SELECT part.value FROM json_each({bind(orjson.dumps(values).decode())}) AS part"
    return f"{sql} {'NOT ' * node.negated}IN ({part})"


def _like(sql: str, node: Comparison, values: list[Value], bind: Bind) -> str:
    """GLOB, which minds the case, for LIKE; SQLite's LIKE ignores that of ASCII letters, so it is ILIKE."""
    pattern = str(values[0])
    if node.operator == "ILIKE":
        return f"{sql} {'NOT ' * node.negated}LIKE {bind(pattern)} ESCAPE '\\'"
    return f"{sql} {'NOT ' * node.negated}GLOB {bind(_as_glob(pattern))}"


_OPERATORS: dict[str, Callable[[str, Comparison, list[Value], Bind], str]] = {
    "BETWEEN": _between,
    "IN": _in,
    "LIKE": _like,
    "ILIKE": _like,
}


def _as_glob(pattern: str) -> str:
    found, characters = [], iter(pattern)
    for character in characters:
        if character in "%_":
            found.append("*" if character == "%" else "?")
            continue
        plain = next(characters) if character == "\\" else character
        found.append(f"[{plain}]" if plain in "*?[" else plain)
    return "".join(found)


def _ends_in_escape(pattern: str) -> bool:
    return (len(pattern) - len(pattern.rstrip("\\"))) % 2 == 1


def _family(value: Value) -> Family:
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"


def _moment(text: str) -> str:
    """A time that a user wrote as the store writes it; without a zone it is UTC."""
    found = datetime.fromisoformat(text)
    return iso(found if found.tzinfo is not None else found.replace(tzinfo=UTC))
