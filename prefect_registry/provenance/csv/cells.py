"""Values as cells, so that spreadsheets run none of them, and each can be had back exactly.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-`` or ``@`` for a formula (OWASP, CSV injection): such a
value is written with an apostrophe before it. Cells are stripped when they are read: a value with white space (a tab, a
line end) at its beginning or end is written between two apostrophes. An empty cell means that there is no value; an
empty value is two apostrophes. Values that look as if they were written so get apostrophes once more.

Where semicolons or tabs part cells, the quotes of a cell that begins behind a comma count as text: what follows a
semicolon, a tab or a line end within it begins a cell or a row. There formulas get an apostrophe as well.

What people type needs none of this: ``-5`` and ``'-5`` are both read as -5.
"""

from __future__ import annotations

import re

FORMULAS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Their first characters; some spreadsheets take the wide forms of Chinese and Japanese keyboards as well."""
_LEADING = re.compile(r"[\s\"';]+")
"""What may stand between the beginning of a cell and its formula: what spreadsheets strip, or take for quotes."""
_PARTING = re.compile(r"[;\t\r\n]")
_PARTING_AND_GUARD = re.compile(r"([;\t\r\n])'")


def guarded(text: str) -> str:
    """A text in which no spreadsheet that parts cells elsewhere finds a formula; :func:`unguarded` undoes it."""
    return _LEADING.sub(lambda m: _PARTING.sub(r"\g<0>'", m[0]) if _before_formula(m) else m[0], text)


def unguarded(text: str) -> str:
    """What :func:`guarded` has guarded."""
    return _LEADING.sub(lambda m: _PARTING_AND_GUARD.sub(r"\1", m[0]) if _before_formula(m) else m[0], text)


def _before_formula(match: re.Match[str]) -> bool:
    return match.string.startswith(FORMULAS, match.end())


def written(value: str | None) -> str:
    """The cell for a value."""
    if value is None:
        return ""
    value = guarded(value)
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
    return unguarded(value)


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
