"""The tables of docs/explanation/speed.md: written by ``python -m benchmarks --page``, never by hand."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measure import Result

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "speed.md"
_TABLE = "<!-- measured: {} -->\n{}<!-- until here -->"
_VERDICTS = {True: "met", False: "**missed**", None: ""}


def machine(share: float | None) -> str:
    """When and on what: the line above a table."""
    when = datetime.now(UTC).date().isoformat()
    busy = "" if share is None else f"; others used {share:.0%} of it meanwhile"
    return f"On {when}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}{busy}."


def table(results: Sequence[Result], heading: str) -> str:
    """The results of one place as Markdown."""
    lines = [heading, "", "| what | measured | target | |", "|---|---|---|---|"]
    for result in results:
        note = f" ({result.note})" if result.note else ""
        value = f"{result.value:,}" if isinstance(result.value, int) else f"{result.value:.2f}"
        cells = (result.name, f"{value} {result.unit}{note}", result.target if result.ok is not None else "")
        lines.append(f"| {' | '.join(map(_cell, cells))} | {_VERDICTS[result.ok]} |")
    return "\n".join([*lines, ""])


def replaced(text: str, place: str, table: str) -> str:
    """The page with the table of a place in place of the one that was there.

    Raises:
        ValueError: The page has no table of that place.
    """
    pattern = re.compile(re.escape(_TABLE.split("{}")[0] + place) + r" -->\n.*?<!-- until here -->", re.S)
    made, count = pattern.subn(lambda _: _TABLE.format(place, table), text)
    if count != 1:
        raise ValueError(f"{PAGE.name} has {count} tables of {place!r}, where one should be")
    return made


def _cell(text: str) -> str:
    return text.replace("|", "\\|").strip()
