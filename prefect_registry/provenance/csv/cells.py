"""Values as cells, so that spreadsheets run none of them, and each can be had back exactly.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-`` or ``@`` for a formula (OWASP, CSV injection): such a
value is written with an apostrophe before it. Cells are stripped when they are read: a value with white space (a tab, a
line end) at its beginning or end is written between two apostrophes. An empty cell means that there is no value; an
empty value is two apostrophes. Values that look as if they were written so get apostrophes once more.

What people type needs none of this: ``-5`` and ``'-5`` are both read as -5.
"""

from __future__ import annotations

FORMULAS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Their first characters; some spreadsheets take the wide forms of Chinese and Japanese keyboards as well."""


def written(value: str | None) -> str:
    """The cell for a value."""
    if value is None:
        return ""
    if _has_loose_ends(value):
        value = f"'{value}'"
    return f"'{value}" if _is_formula(value) else value


def read(cell: str) -> str | None:
    """The value of a cell."""
    value = cell.strip()
    if not value:
        return None
    if value[0] == "'":
        if _is_formula(value[1:]):
            value = value[1:]
        if len(value) > 1 and value[0] == value[-1] == "'" and _has_loose_ends(value[1:-1]):
            value = value[1:-1]
    return value


def _has_loose_ends(value: str) -> bool:
    """Whether it has to stand between apostrophes: as it is, or within those pairs of apostrophes that it has."""
    left, right = len(value) - len(value.lstrip("'")), len(value) - len(value.rstrip("'"))
    if left == len(value):
        return left % 2 == 0
    pairs = min(left, right)
    inner = value[pairs : len(value) - pairs]
    return inner != inner.strip()


def _is_formula(value: str) -> bool:
    return value.lstrip("'").startswith(FORMULAS)
