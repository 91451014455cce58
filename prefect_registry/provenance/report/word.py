"""A report as .docx, laid out as the reference system does it, with our tables after it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

from prefect_registry.provenance.drawing.texts import shown
from prefect_registry.provenance.libraries import library
from prefect_registry.provenance.report.content import (
    LONGEST_NAME,
    LONGEST_TEXT,
    MOST_ITEMS,
    MOST_ROWS,
    Item,
    Report,
    Table,
)

_LINK_COLOUR = "0563C1"
_GRID = "Table Grid"


def write(report: Report, target: str | PathLike[str] | BinaryIO) -> Path | None:
    """See :meth:`Report.to_docx`."""
    document = _Document(library("docx", "report"), report).document
    if not isinstance(target, (str, PathLike)):
        document.save(target)
        return None
    path = Path(target)
    path = path / report.file_name if path.is_dir() or os.fspath(target).endswith("/") else path
    document.save(str(path))
    return path


class _Document:
    """A document of ``python-docx``, built when this is made."""

    def __init__(self, docx: Any, report: Report) -> None:
        self.document = docx.Document()
        self._properties(report)
        self.document.add_heading(_text(report.title), 0)
        heading = self.document.add_heading(_text(report.heading) + " ", 1)
        self._link(heading, report.subject.name, report.subject.link)
        self._first_table(report)
        for table in report.tables():
            self._table(table)
        self._table(_links(report))

    def _properties(self, report: Report) -> None:
        """The template of the library names its own author, and a time of its own."""
        properties = self.document.core_properties
        properties.author, properties.comments = "prefect-registry", ""
        properties.title = _text(f"{report.title}: {report.subject.name}")[:255]
        if report.made_at is not None:
            made = report.made_at.astimezone(UTC).replace(tzinfo=None)
            properties.created = properties.modified = made

    def _first_table(self, report: Report) -> None:
        table = self.document.add_table(rows=4, cols=2, style=_GRID)
        rows = [row.cells for row in table.rows]
        rows[0][0].text, rows[0][1].text = "Modelling Team", _text(report.team)
        for (name, cell), (title, items) in zip(rows[1:], report.lists, strict=True):
            name.text = title
            self._items(cell, items)

    def _items(self, cell: Any, items: Sequence[Item]) -> None:
        for i, item in enumerate(items[:MOST_ITEMS]):
            paragraph = cell.add_paragraph() if i else cell.paragraphs[0]
            paragraph.add_run(item.kind).bold = True
            paragraph.add_run(f": {_text(item.name)}, ")
            self._link(paragraph, item.id, item.link)
        if len(items) > MOST_ITEMS:
            cell.add_paragraph(f"and {len(items) - MOST_ITEMS:,} more")

    def _table(self, told: Table) -> None:
        if not told.rows:
            return
        self.document.add_heading(told.title, 2)
        table = self.document.add_table(rows=0, cols=len(told.head), style=_GRID)
        for row in (told.head, *told.rows):
            for cell, text in zip(table.add_row().cells, row, strict=True):
                cell.text = _text(text, LONGEST_TEXT)
        for cell in table.rows[0].cells:
            cell.paragraphs[0].runs[0].bold = True
        if told.more:
            self.document.add_paragraph(f"and {told.more:,} more")

    def _link(self, paragraph: Any, text: str, url: str) -> None:
        """The library reads hyperlinks, and has no call that adds one."""
        shared = library("docx.oxml.shared", "report")
        kind = library("docx.opc.constants", "report").RELATIONSHIP_TYPE.HYPERLINK
        link = shared.OxmlElement("w:hyperlink")
        link.set(shared.qn("r:id"), paragraph.part.relate_to(url, kind, is_external=True))
        run = paragraph.add_run(_text(text))
        run.font.underline = True
        run.font.color.rgb = library("docx.shared", "report").RGBColor.from_string(_LINK_COLOUR)
        link.append(run._r)
        paragraph._p.append(link)


def _links(report: Report) -> Table:
    """What the picture shows elsewhere."""
    names = {node.id: node.label or node.id for node in report.graph.nodes}
    links = report.graph.links
    rows = tuple((names[link.source], link.relation.value, names[link.target]) for link in links[:MOST_ROWS])
    return Table("Lineage", ("From", "Relation", "To"), rows, max(0, len(links) - MOST_ROWS))


def _text(text: str, longest: int = LONGEST_NAME) -> str:
    """One line, without what XML cannot hold."""
    return shown(text, longest)
