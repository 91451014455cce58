"""What notebooks show of provenance: a picture of what is a graph, a table of what is an answer."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pytest

from prefect_registry import Registry
from prefect_registry.provenance.graph import Graph
from prefect_registry.provenance.questions import Breaks, Changed, Origin, Recipe
from prefect_registry.provenance.records import LineageResponse
from prefect_registry.provenance.service import Provenance

HOSTILE = """</td><script>alert(1)</script><img src=x onerror='a()'>"&"""
DRAWN = {"svg", "title", "style", "rect", "g", "path", "text", "tspan"}


class Seen(HTMLParser):
    """The tags, and the text outside of pictures."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += f"{data}\n"


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    """A dataset and what was made of it, asked about in every way."""
    registry = Registry("memory://provenance-notebooks")
    with registry.run("ingest") as ingest, ingest.dataset("raw") as raw:
        raw.write_table(_rows())
    runs = []
    for rate in (1, 2):
        with registry.run(f"fit {HOSTILE}", config={"rate": rate, HOSTILE: HOSTILE}) as run:
            registry.get_dataset(raw.id).to_table()
            with run.dataset("clean") as clean:
                clean.write_table(_rows())
        runs.append(run.id)
    provenance = Provenance(registry)
    return {
        "graph": provenance.downstream(raw.id),
        "response": provenance.explore_downstream(raw.id),
        "breaks": provenance.what_breaks(raw.id),
        "origin": provenance.where_from(clean.id),
        "changed": provenance.what_changed(*runs),
        "recipe": provenance.reproduce(runs[0]),
        "ids": {"raw": raw.id, "clean": clean.id, "runs": runs},
    }


def _rows() -> Any:
    return pa.table({"x": [1, 2]})


def test_a_graph_is_a_picture(answers: dict[str, Any]) -> None:
    """In the forms that front ends ask for, made once; a text for those that show none."""
    graph: Graph = answers["graph"]
    forms = graph._repr_mimebundle_()
    assert set(forms) == {"text/plain", "text/html", "image/svg+xml"}
    assert forms["image/svg+xml"] == graph._repr_svg_() == graph._repr_html_()
    assert ElementTree.fromstring(forms["image/svg+xml"]).tag.endswith("svg")
    assert forms["text/plain"] == repr(graph)


@pytest.mark.parametrize("name", ["graph", "response", "breaks", "origin", "changed", "recipe"])
def test_nothing_in_what_is_shown_is_markup(answers: dict[str, Any], name: str) -> None:
    """Purposes and parameters are whatever somebody wrote."""
    page = answers[name]._repr_html_()
    assert not Seen(page).tags - DRAWN - {"table", "caption", "thead", "tbody", "tr", "th", "td", "p", "b"}
    assert "<script" not in page
    assert ("<svg" in page) is (name not in ("changed", "recipe"))


def test_answers_tell_what_was_asked(answers: dict[str, Any]) -> None:
    """Ids and counts of what breaks, ways to the sources, a line for each difference, what a recipe needs."""
    ids = answers["ids"]
    breaks = Seen(answers["breaks"]._repr_html_()).text
    assert f"What breaks with {ids['raw']}" in breaks
    assert all(run in breaks for run in ids["runs"])
    origin = Seen(answers["origin"]._repr_html_()).text
    assert f"{ids['clean']} ← {ids['runs'][1]} ← {ids['raw']} ← run_" in origin
    assert f"\n{ids['raw']}\n" in origin
    changed = Seen(answers["changed"]._repr_html_()).text.split()
    assert changed[-4:] == ["parameters", "rate", "1", "2"]
    recipe = Seen(answers["recipe"]._repr_html_()).text
    assert ids["raw"] in recipe
    assert "there" in recipe
    assert answers["response"].status.details in Seen(answers["response"]._repr_html_()).text


def test_texts_are_short(answers: dict[str, Any]) -> None:
    """What a shell shows of an answer counts, and does not list."""
    assert repr(answers["breaks"]) == "<Breaks: 2 runs, 2 datasets>"
    assert repr(answers["origin"]) == "<Origin: 1 sources, 1 paths>"
    assert repr(answers["changed"]) == "<Changed: 1 parameters>"
    assert repr(answers["recipe"]).startswith(f"<Recipe of {answers['ids']['runs'][0]} (")
    assert repr(answers["response"]) == f"<LineageResponse: {answers['response'].status.details}>"
    assert all(len(repr(answers[name])) < 700 for name in ("breaks", "origin", "changed", "recipe", "response"))


def test_empty_and_strange_answers_are_shown_too(answers: dict[str, Any]) -> None:
    """Nothing breaks, nothing changed, many ids, and a response whose graph is none of ours."""
    nothing = Breaks((), (), (), (), (), (), Graph())
    assert repr(nothing) == "<Breaks: nothing>"
    assert "<svg" in nothing._repr_html_()
    assert "<svg" in Origin((), (), Graph())._repr_html_()
    assert "none that was recorded" in Changed({}, {}, {}, {}, {})._repr_html_()
    assert "gone" in Recipe("run", "p", None, {}, {}, {}, {}, {"ds": False}, ("it",))._repr_html_()
    many = replace(answers["breaks"], runs=tuple(f"run_{n}" for n in range(57)))
    assert "and 37 more" in many._repr_html_()
    answer: LineageResponse = answers["response"]
    assert "<svg" not in answer.model_copy(update={"graph": {"nodes": "x"}})._repr_html_()
    assert "<svg" not in answer.model_copy(update={"graph": None})._repr_html_()
