"""What notebooks show of provenance: pictures of graphs, and tables of answers. Every name in them is escaped."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from prefect_registry.errors import RegistryError
from prefect_registry.notebook import LONGEST_ALONE, pairs_html, rows_html

if TYPE_CHECKING:
    from prefect_registry.provenance.graph import Graph
    from prefect_registry.provenance.questions import Breaks, Changed, Origin, Recipe

LONGEST_LIST = 20
"""Ids of one kind that are listed; the rest is counted, and in the object."""


def bundle(graph: Graph) -> dict[str, str]:
    """A graph in the forms that notebooks choose from; the picture is made once for all of them."""
    svg = graph.to_svg()
    return {"text/plain": repr(graph), "image/svg+xml": svg, "text/html": svg}


def counted(title: str, **lists: Collection[Any]) -> str:
    """The ``repr`` of an answer: how much it has of each."""
    told = ", ".join(f"{len(items):,} {name}" for name, items in lists.items() if items)
    return f"<{title}: {told or 'nothing'}>"


def breaks_html(found: Breaks) -> str:
    """How many there are of each, and the picture."""
    names = ("runs", "datasets", "models", "aliases", "publications", "agents")
    rows = [{"what": name, "count": len(ids), "ids": _listed(ids)} for name in names if (ids := getattr(found, name))]
    start = [node.id for node in found.graph.nodes[:1]]
    return _table(rows, f"What breaks with {start[0]}" if start else "Breaks") + found.graph.to_svg(highlight=start)


def origin_html(found: Origin) -> str:
    """The sources, the ways to them, and the picture, in which the sources stand out."""
    sources = set(found.sources)  # behind the source is the run that made it
    rows = [
        {
            "source": next(id_ for id_ in reversed(path) if id_ in sources),
            "steps": len(path) - 1,
            "path": " ← ".join(path),
        }
        for path in found.paths
    ]
    start = found.paths[0][0] if found.paths else ""
    left_out = "" if found.complete else " (longer paths are left out)"
    return _table(rows, f"Where {start} is from{left_out}") + found.graph.to_svg(highlight=found.sources)


def changed_html(found: Changed) -> str:
    """A line for each difference."""
    names = ("inputs", "parameters", "code", "packages", "environment")
    rows = [
        {"what": what, "name": name, "first": _said(first), "second": _said(second)}
        for what in names
        for name, (first, second) in getattr(found, what).items()
    ]
    return _table(rows, "What changed") if rows else pairs_html({"difference": "none that was recorded"}, "Changed")


def recipe_html(found: Recipe) -> str:
    """What it takes, whether it is there, and what is missing."""
    facts: dict[str, Any] = {
        "run": found.run_id,
        "purpose": found.purpose,
        "model": found.model,
        "possible": "yes" if found.possible else "no",
        "missing": "; ".join(found.missing),
    }
    rows = [{"what": "input", "name": id_, "value": "there" if is_there else "gone"}
            for id_, is_there in found.inputs.items()]  # fmt: skip
    for what in ("parameters", "code", "environment", "packages"):
        rows += _rows(what, getattr(found, what))
    return pairs_html(facts, f"What it takes to run {found.run_id} again") + (rows_html(rows) if rows else "")


def response_html(details: str, graph: Mapping[str, Any] | None) -> str:
    """The reference system's answer: what it says, and the picture, if there is one to draw."""
    from prefect_registry.provenance.graph import Graph

    said = pairs_html({"status": details}, "Lineage")
    try:
        return said + Graph.from_node_link(graph).to_svg() if graph is not None else said
    except RegistryError:  # a graph that somebody else has made need not be one of ours
        return said


def _table(rows: Sequence[Mapping[str, Any]], title: str) -> str:
    """Rows under a title; of many it says how many are left out. A value may be long: it is what was asked for."""
    return f"<p><b>{escape(title)}</b></p>{rows_html(rows, longest=LONGEST_ALONE)}"


def _rows(what: str, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, value in values.items():
        yield {"what": what, "name": name, "value": _said(value)}


def _said(value: Any) -> Any:
    return "none" if value is None else value


def _listed(ids: Iterable[str]) -> str:
    found = list(ids)
    more = f", and {len(found) - LONGEST_LIST:,} more" if len(found) > LONGEST_LIST else ""
    return ", ".join(found[:LONGEST_LIST]) + more
