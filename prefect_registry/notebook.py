"""What notebooks show instead of a ``repr``: HTML tables in which every value is escaped, and cut where it is long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

LONGEST_IN_ROW, LONGEST_ALONE = 80, 1_000
"""Characters of a value: where one object is a row among others, and where it has a table of its own."""

MOST_ROWS = 200


def fields_of(item: Any) -> dict[str, Any]:
    """The fields of a dataclass that its ``repr`` has, of a named tuple, or of a pydantic model."""
    if is_dataclass(item):
        return {f.name: getattr(item, f.name) for f in fields(item) if f.repr}
    if isinstance(item, tuple):
        return {name: getattr(item, name) for name in getattr(item, "_fields", ())}
    return {name: getattr(item, name) for name in type(item).model_fields}


def shown(item: Any) -> str:
    """An object as a table of its fields: what a class takes as its ``_repr_html_``."""
    return pairs_html(fields_of(item), type(item).__name__)


def pairs_html(pairs: Mapping[str, Any], title: str) -> str:
    """Names and their values, a line each; what is None or empty is left out."""
    lines = (
        f"<tr><th>{_text(name, LONGEST_IN_ROW)}</th><td>{_text(value, LONGEST_ALONE)}</td></tr>"
        for name, value in pairs.items()
        if value not in (None, "", {}, [], ())
    )
    return f"<table><caption>{_text(title, LONGEST_ALONE)}</caption>{''.join(lines)}</table>"


def rows_html(rows: Sequence[Mapping[str, Any]], count: int | None = None, longest: int = LONGEST_IN_ROW) -> str:
    """A table with a column for each name in the first row. Of ``count`` rows it says how many it leaves out."""
    names = list(rows[0]) if rows else []
    head = _line("th", names, longest)
    body = "".join(_line("td", [row[name] for name in names], longest) for row in rows[:MOST_ROWS])
    left_out = max(count or 0, len(rows)) - min(len(rows), MOST_ROWS)
    more = f"<p>and {left_out:,} more</p>" if left_out else ""
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>{more}"


def _line(tag: str, values: Iterable[Any], longest: int) -> str:
    return f"<tr>{''.join(f'<{tag}>{_text(value, longest)}</{tag}>' for value in values)}</tr>"


def _text(value: Any, longest: int) -> str:
    from html import escape

    plain = value.model_dump(by_alias=True) if hasattr(value, "model_dump") else value
    text = "" if plain is None else str(plain)
    return escape(text if len(text) <= longest else text[: longest - 1] + "…")
