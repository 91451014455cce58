"""A report as Markdown (GitHub's), in which no name is markup."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from prefect_registry.provenance.drawing.texts import shown
from prefect_registry.provenance.report.content import (
    LONGEST_NAME,
    LONGEST_TEXT,
    MOST_ITEMS,
    Item,
    Report,
    Table,
    time_text,
)

_MEANT = re.compile(r"([!-/:-@\[-`{-~])")
"""ASCII punctuation, of which CommonMark lets every character stand behind a backslash."""


def markdown(report: Report) -> str:
    """See :meth:`Report.to_markdown`."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"# {_text(report.title)}\n"
    yield f"## {report.heading} {_link(report.subject, report.subject.name)}\n"
    if report.made_at is not None:
        yield f"{time_text(report.made_at)}\n"
    yield f"| Modelling Team | {_text(report.team)} |\n| --- | --- |"
    for name, items in report.lists:
        yield f"| {name} | {_items(items)} |"
    for table in report.tables():
        yield from _table(table)
    yield "\n## Lineage\n\n```mermaid"
    yield report.graph.to_mermaid(highlight=[report.subject.id]).rstrip()
    yield "```"


def _items(items: Sequence[Item]) -> str:
    told = [f"**{_text(i.kind)}**: {_text(i.name)}, {_link(i, i.id)}" for i in items[:MOST_ITEMS]]
    more = [f"and {len(items) - MOST_ITEMS:,} more"] * (len(items) > MOST_ITEMS)
    return "<br>".join([*told, *more])


def _link(item: Item, text: str) -> str:
    """The address is percent-encoded: it has no spaces, brackets or quotes."""
    return f"[{_text(text)}]({item.link})"


def _table(table: Table) -> Iterator[str]:
    yield f"\n## {_text(table.title)}\n"
    yield f"| {' | '.join(map(_text, table.head))} |"
    yield f"| {' | '.join('---' for _ in table.head)} |"
    for row in table.rows:
        yield f"| {' | '.join(_text(text, LONGEST_TEXT) for text in row)} |"
    if table.more:
        yield f"\nand {table.more:,} more"


def _text(text: str, longest: int = LONGEST_NAME) -> str:
    """One line in which nothing means anything: no markup, no HTML, no line of a table, no link made of an address."""
    return _MEANT.sub(r"\\\1", shown(text, longest).strip())
