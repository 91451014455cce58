"""A report as one HTML page: no scripts, nothing loaded, every text escaped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from prefect_registry.provenance.drawing.colours import DARK, LIGHT, Theme
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

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_LINK_LIGHT, _LINK_DARK = "#0550ae", "#79b8ff"


def page(report: Report) -> str:
    """See :meth:`Report.to_html`."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    title = _text(f"{report.title}: {report.subject.name}")
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="referrer" content="no-referrer">\n<meta name="color-scheme" content="light dark">'
    yield f"<title>{title}</title>\n<style>{_style()}</style>\n</head>\n<body>\n<main>"
    yield f"<h1>{_text(report.title)}</h1>"
    yield f"<h2>{_text(report.heading)} {_link(report.subject, report.subject.name)}</h2>"
    if report.made_at is not None:
        yield f"<p>{_text(time_text(report.made_at))}</p>"
    yield f'<table>\n<tr><th scope="row">Modelling Team</th><td>{_text(report.team)}</td></tr>'
    for name, items in report.lists:
        yield f'<tr><th scope="row">{name}</th><td>{_items(items)}</td></tr>'
    yield "</table>"
    for table in report.tables():
        yield from _table(table)
    yield '<h2>Lineage</h2>\n<div class="picture">'
    yield report.graph.to_svg(highlight=[report.subject.id]).rstrip()
    yield "</div>\n</main>\n</body>\n</html>"


def _items(items: Sequence[Item]) -> str:
    if not items:
        return ""
    told = [f"<li><b>{_text(i.kind)}</b>: {_text(i.name)}, {_link(i, i.id)}</li>" for i in items[:MOST_ITEMS]]
    more = [f"<li>and {len(items) - MOST_ITEMS:,} more</li>"] * (len(items) > MOST_ITEMS)
    return f"<ul>{''.join([*told, *more])}</ul>"


def _link(item: Item, text: str) -> str:
    return f'<a href="{escape(item.link, quote=True)}" rel="noreferrer">{_text(text)}</a>'


def _table(table: Table) -> Iterator[str]:
    yield f"<h2>{_text(table.title)}</h2>\n<table>"
    yield "<thead><tr>" + "".join(f'<th scope="col">{_text(name)}</th>' for name in table.head) + "</tr></thead>"
    yield "<tbody>"
    for row in table.rows:
        yield "<tr>" + "".join(f"<td>{_text(text, LONGEST_TEXT)}</td>" for text in row) + "</tr>"
    yield "</tbody>\n</table>" + f"<p>and {table.more:,} more</p>" * bool(table.more)


def _text(text: str, longest: int = LONGEST_NAME) -> str:
    return escape(shown(text, longest), quote=True)


def _style() -> str:
    return (
        f"{_colours(LIGHT, _LINK_LIGHT)} @media (prefers-color-scheme: dark) {{ {_colours(DARK, _LINK_DARK)} }} "
        "body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem } "
        "table { border-collapse: collapse; width: 100% } ul { margin: 0; padding-left: 1.2rem } "
        "th, td { border-style: solid; border-width: 1px; padding: .3rem .6rem; text-align: left; vertical-align: top; "
        "overflow-wrap: anywhere } .picture { overflow-x: auto }"
    )


def _colours(theme: Theme, link: str) -> str:
    return (
        f"body {{ background: {theme.ground}; color: {theme.ink} }} a {{ color: {link} }} "
        f"th, td {{ border-color: {theme.quiet} }}"
    )
