"""Names as drawings show them. Each format escapes on top of this what means something in it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

LONGEST_LABEL, LONGEST_TITLE = 28, 200
"""Columns of what stands in a box, and of the name in full that a pointer finds."""
_JOINERS = "\u200c\u200d"
"""They cannot be seen, and are part of how words in some scripts, and some emojis, are spelt."""
_UNSEEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})


def shown(text: str, longest: int = LONGEST_LABEL) -> str:
    r"""One line of ``text`` in which everything can be seen, cut in the middle to ``longest`` columns.

    Line breaks and tabs become spaces; control characters, marks that turn the direction of writing and what no
    document may hold become ``\u202e`` and the like.
    """
    if len(text) > 2 * longest:  # a column each at least: what lies between is cut anyway
        text = text[:longest] + text[-longest:]
    text = "".join(map(_seen, text))
    if sum(map(_columns, text)) <= longest:
        return text
    head = _within(text, longest // 2)
    tail = _within(reversed(text), longest - 1 - longest // 2)
    return f"{head}…{tail[::-1]}"


def _within(text: Iterable[str], columns: int) -> str:
    found = ""
    for character in text:
        columns -= _columns(character)
        if columns < 0:
            break
        found += character
    return found


def _columns(character: str) -> int:
    """Two for wide characters of East Asia and emojis."""
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _seen(character: str) -> str:
    if " " <= character <= "~":
        return character
    if character in "\t\n\r":
        return " "
    category = unicodedata.category(character)
    if category == "Zs":
        return " "
    if category in _UNSEEN and character not in _JOINERS:
        number = ord(character)
        return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
    return character
