"""From what a caller asks to SQL: filters, text, order, pages."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import orjson

from prefect_registry.catalog.schema import micros
from prefect_registry.catalog.subjects import Subject
from prefect_registry.errors import InvalidInput

MOST_PER_PAGE = 10_000
_RANGE = ("since", "until")


@dataclass(frozen=True)
class Where:
    """A condition in SQL, and the values it names."""

    sql: str
    values: Mapping[str, Any]


def where(subject: Subject[Any], filters: Mapping[str, Any], text: str | None, as_of: datetime | None) -> Where:
    """The condition of a query. ``InvalidInput`` lists every filter that cannot be."""
    problems: list[str] = []
    parts: list[str] = []
    values: dict[str, Any] = {} if as_of is None else {"as_of": moment_of("as_of", as_of)}

    def add(sql: str, value: Any) -> None:
        name = f"v{len(values)}"
        values[name] = value
        parts.append(sql.format(":" + name))

    for name, wanted in filters.items():
        if wanted is None:
            continue
        if name in _RANGE:
            sign = ">=" if name == "since" else "<"
            add(f"{subject.time} {sign} {{}}", moment_of(name, wanted))
        elif name in subject.paths:
            for path, value in _paths(name, wanted, problems):
                add(f"json_extract({subject.paths[name]}, {{}})", path)
                parts[-1] += _compared(value, values)
        elif name in subject.lists:
            parts.append(_any_of(f"IN ({subject.lists[name]})", wanted, values))
        elif name in subject.fields:
            _add_field(subject.fields[name], wanted, add, values, parts)
        else:
            known = ", ".join(sorted({*subject.fields, *subject.paths, *subject.lists, *_RANGE}))
            problems.append(f"a {subject.noun} has no field {name!r:.60}; it has {known}")
    if text:
        columns = " || ' ' || ".join(f"coalesce({c}, '')" for c in subject.text)
        escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        add(f"({columns}) LIKE {{}} ESCAPE '\\'", f"%{escaped}%")
    if problems:
        raise InvalidInput.of("the filter", problems)
    return Where(" AND ".join(parts) or "1", values)


def _add_field(column: str, wanted: Any, add: Any, values: dict[str, Any], parts: list[str]) -> None:
    if isinstance(wanted, (set, frozenset, list, tuple)):
        names = []
        for value in wanted:
            names.append(f":v{len(values)}")
            values[f"v{len(values)}"] = _plain(value)
        parts.append(f"{column} IN ({', '.join(names)})")
    else:
        add(f"{column} = {{}}", _plain(wanted))


def _any_of(sql: str, wanted: Any, values: dict[str, Any]) -> str:
    """Whether one of the values is ``sql``."""
    names = []
    for value in wanted if isinstance(wanted, (set, frozenset, list, tuple)) else (wanted,):
        names.append(f":v{len(values)}")
        values[names[-1][1:]] = _plain(value)
    return f"({' OR '.join(f'{name} {sql}' for name in names) or '0'})"


def _compared(value: Any, values: dict[str, Any]) -> str:
    name = f"v{len(values)}"
    values[name] = _plain(value)
    return f" IS :{name}"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return moment_of("a time", value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (dict, list)):
        return orjson.dumps(value).decode()
    return value


def _paths(name: str, wanted: Any, problems: list[str], before: str = "$") -> Iterator[tuple[str, Any]]:
    """``{"region.name": "eu"}`` and ``{"region": {"name": "eu"}}`` alike, as SQLite's JSON paths."""
    if not isinstance(wanted, Mapping):
        problems.append(f"{name} is filtered by a mapping of paths to values, not by {type(wanted).__name__}")
        return
    for key, value in wanted.items():
        if not isinstance(key, str) or '"' in key:
            problems.append(f"{name} cannot be filtered by the path {key!r:.60}")
            continue
        path = before + "".join(f'."{step}"' for step in key.split("."))
        if isinstance(value, Mapping):
            yield from _paths(name, value, problems, path)
        else:
            yield path, value


def moment_of(name: str, value: Any) -> int | None:
    """A time that a caller gave, as the index has it; None for none. ``InvalidInput`` without a time zone."""
    if value is None:
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidInput.of(name, [f"{name} must be a datetime with a time zone"])
    return micros(value)


@dataclass(frozen=True)
class Order:
    """By what the answers are sorted; ``descending`` for a name with a minus before it. Ties go by id."""

    field: str
    column: str
    descending: bool

    @classmethod
    def of(cls, subject: Subject[Any], order: str) -> Order:
        """``"started_at"`` or ``"-started_at"``."""
        name = order.removeprefix("-")
        if name not in subject.fields:
            raise InvalidInput.of(
                "order", [f"a {subject.noun} cannot be ordered by {name!r:.60}; {', '.join(sorted(subject.fields))}"]
            )
        return cls(name, subject.fields[name], order.startswith("-"))

    def sql(self, unique: str) -> str:
        """ORDER BY; what has no value comes last, whichever way."""
        way = "DESC" if self.descending else "ASC"
        return f"{self.column} {way} NULLS LAST, {unique} {way}"

    def after(self, unique: str, last: tuple[Any, Any]) -> Where:
        """What comes behind the last item of a page."""
        value, key = last
        sign = "<" if self.descending else ">"
        if value is None:
            return Where(f"({self.column} IS NULL AND {unique} {sign} :last_key)", {"last_key": key})
        behind = f"({self.column}, {unique}) {sign} (:last_value, :last_key) OR {self.column} IS NULL"
        return Where(f"({behind})", {"last_value": value, "last_key": key})


def cursor(query: str, last: tuple[Any, Any]) -> str:
    """Where the next page of this very query starts; opaque."""
    return base64.urlsafe_b64encode(orjson.dumps([_digest(query), *last])).decode().rstrip("=")


def last_of(query: str, given: str) -> tuple[Any, Any]:
    """What :func:`cursor` packed. ``InvalidInput`` for one of another query."""
    try:
        digest, value, key = orjson.loads(base64.urlsafe_b64decode(given + "=" * (-len(given) % 4)))
    except (ValueError, binascii.Error, AttributeError, TypeError) as error:
        raise InvalidInput.of("cursor", ["it is not one that a page gave"]) from error
    if digest != _digest(query):
        raise InvalidInput.of("cursor", ["it belongs to a query with other filters or another order"])
    return value, key


def _digest(query: str) -> str:
    return hashlib.sha256(query.encode()).hexdigest()[:12]
