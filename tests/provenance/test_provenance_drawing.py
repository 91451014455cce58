"""Pictures of lineage: what is chosen, where it stands, and that no name can break out of it."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from provenance_support import chain, datasets, fan, graphs

from prefect_registry.errors import InvalidInput
from prefect_registry.provenance.drawing.collapsing import MOST_ARROWS, Picture, picture
from prefect_registry.provenance.drawing.colours import DARK, LIGHT
from prefect_registry.provenance.drawing.layers import arrange
from prefect_registry.provenance.drawing.texts import shown
from prefect_registry.provenance.graph import Graph, Link, Node
from prefect_registry.provenance.relations import ItemSubType, Relation

GOLDEN = Path(__file__).parent / "golden"
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = [
    '"]; click n0 "javascript:alert(1)"',
    "`**bold**` _x_ # - 1. $$x$$",
    "a --> b ]}) ||| :::entity",
    '%%{init: {"securityLevel": "loose"}}%%',
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "]]> --> <!-- </svg></title></style>",
    '\\" \\\\" \\N \\l \\',
    "end\nclick n0\r\n---\ttitle\u2028x",
    "\u202etxt.exe \u2066 \x00 \x1b[31m \ud800 \ufffe \u200b",
    "&lt;b&gt; &quot; #quot; #35; \ufb02°°60¶ß style x:#y;",
    "x" * 10_000,
    "\u0301" * 10_000,
    "日本語のとても長い名前のデータセットの一覧表",
]
names = st.one_of(st.sampled_from(HOSTILE), st.text(min_size=1, max_size=30), st.text('"\\`]}>-%{#;&<|\n', min_size=1))


@st.composite
def named(draw: st.DrawFn) -> Graph:
    """Nodes with any names, each used by the one before."""
    nodes = [
        Node.of(f"{draw(names)}{i}", draw(st.sampled_from(list(ItemSubType))), draw(names))
        for i in range(draw(st.integers(1, 5)))
    ]
    return Graph.of(nodes, [Link(a.id, Relation.USED, b.id) for a, b in pairwise(nodes)])


def texts_of(graph: Graph) -> list[str]:
    """What all drawings of a graph show in its boxes."""
    return sorted(text for box in picture(graph).boxes for text in (box.label, box.detail))


# -- names -------------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(named())
def test_svg_shows_names_and_nothing_else(graph: Graph) -> None:
    """It is XML whose elements and attributes are ours, and whose texts are the names."""
    root = ElementTree.fromstring(graph.to_svg())
    allowed = {f"{SVG}{tag}" for tag in ("svg", "g", "title", "style", "rect", "path", "text")}
    assert {element.tag for element in root.iter()} <= allowed
    attributes = {name for element in root.iter() for name in element.keys()}  # noqa: SIM118
    assert not {name for name in attributes if name.startswith("on") or "href" in name or name in ("id", "style")}
    boxes = [group for group in root.iter(f"{SVG}g") if group.get("class") != "lineage-arrow"]
    assert sorted(text.text or "" for box in boxes for text in box.iter(f"{SVG}text")) == texts_of(graph)
    assert all(group.findtext(f"{SVG}title") for group in root.iter(f"{SVG}g"))


_MERMAID = re.compile(
    r"""---|title:\ "[\w,: ]+"|flowchart\ (LR|TB)|accTitle:[\w,: ]+
    |\ {4}[nm]\d+(?:\(\["|\["|\{\{")(?P<label>(?:[^\W_]|\ |\#\w+;)*)<br/>(?P<detail>(?:\w|\ |\#\d+;)*)
      (?:"\]\)|"\]|"\}\}):::[a-z]+
    |\ {4}[nm]\d+\ (?:-->\|"[A-Za-z, ]+"\||-\.->)\ [nm]\d+
    |\ {4}classDef\ [a-z]+\ [-\w:\#, ]+|\ {4}class\ [n\d,]+\ highlighted""",
    re.X,
)


@settings(max_examples=30)
@given(named())
def test_mermaid_shows_names_and_nothing_else(graph: Graph) -> None:
    """Each line is one of the few kinds that are ours; in texts stand only letters, digits, spaces and entities."""
    found = []
    for line in graph.to_mermaid(direction="TB").splitlines():
        match = _MERMAID.fullmatch(line)
        assert match, line
        if match["label"] is not None:
            plain = (re.sub(r"#(\d+);", lambda m: chr(int(m[1])), match[part]) for part in ("label", "detail"))
            found += [text.replace("\u200b", "") for text in plain]
    assert sorted(found) == sorted(text.replace("\ufb02", "fl") for text in texts_of(graph))


_DOT = re.compile(r'"(?P<text>(?:[^"\\\n]|\\.)*)"|(?P<word>->|[\[\]{}=,;]|[A-Za-z_0-9]+)|\s+')


def dot_tokens(source: str) -> list[str]:
    """What Graphviz' lexer finds: our words and punctuation as they are, and quoted texts with a quote in front."""
    tokens, place = [], 0
    while place < len(source):
        match = _DOT.match(source, place)
        assert match, source[place : place + 40]
        place = match.end()
        tokens += [match["word"]] if match["word"] else [] if match["text"] is None else [f'"{match["text"]}']
    return tokens


@settings(max_examples=30)
@given(named())
def test_dot_shows_names_and_nothing_else(graph: Graph) -> None:
    """Graphviz' lexer finds statements of ours, whose quoted texts mean the names."""
    tokens = dot_tokens(graph.to_dot())
    assert tokens[:3] == ["digraph", "lineage", "{"]
    assert tokens[-1] == "}"
    found: list[str] = []
    statement: list[str] = []
    for token in tokens[3:-1]:
        statement.append(token)
        if token != ";":
            continue
        head, attributes = statement[: statement.index("[")], statement[statement.index("[") :]
        shape = "".join("w" if each[0] == '"' or each[0].isalnum() else each for each in attributes)
        assert re.fullmatch(r"\[w=w(,w=w)*\];", shape)
        assert re.fullmatch(r"graph|node|edge|[nm]\d+(->[nm]\d+)?", "".join(head))
        if len(head) == 1 and head[0] not in ("graph", "node", "edge"):
            assert attributes[1] == "label"
            text = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], attributes[3][1:])
            found += text.replace("&amp;", "&").split("\n")
        statement = []
    assert statement == []
    assert sorted(found) == texts_of(graph)


@settings(max_examples=50)
@given(st.text(max_size=60), st.integers(4, 40))
def test_texts_can_be_seen(text: str, longest: int) -> None:
    """No drawn text is long, breaks a line, or holds what cannot be seen."""
    found = shown(text, longest)
    assert len(found) <= longest
    assert found.isprintable() or set(found) & {"\u200c", "\u200d"}


def test_long_names_keep_both_ends() -> None:
    """Names that differ at their ends stay different; wide characters take two columns."""
    assert shown("flights_of_the_year_2026_january.parquet") == "flights_of_the…nuary.parquet"
    assert shown("日" * 30) == "日" * 7 + "…" + "日" * 6
    assert shown("a\u202eb\tc") == "a\\u202eb c"


# -- choosing ----------------------------------------------------------------------------------------------------------


def labels(drawn: Picture) -> list[str]:
    return [box.label for box in drawn.boxes]


def test_large_neighbourhoods_are_collapsed() -> None:
    """A node that used fifty datasets shows twelve, and one box that counts the others."""
    drawn = picture(fan(50))
    assert len(drawn.boxes) == 14
    assert (drawn.boxes[-1].label, drawn.boxes[-1].detail) == ("+38 more", "38 Dataset")
    assert drawn.caption == "Lineage: 13 of 51 nodes"
    assert "+38 more" in fan(50).to_svg()
    assert "+38 more" in fan(50).to_dot()
    assert "#43;38 more" in fan(50).to_mermaid()


def test_nothing_is_replaced_by_a_box_for_itself() -> None:
    """Thirteen neighbours are all shown, where there is room for twelve and a box that says "+1 more"."""
    assert picture(fan(13)).whole
    assert not picture(fan(14)).whole


def test_counts_are_told_by_subtype() -> None:
    """The box has the two most frequent subtypes, and its title all."""
    more = [Node.of(f"m{i}", ItemSubType.MODEL) for i in range(3)] + [Node.of("s", ItemSubType.STUDY)]
    graph = fan(20) + Graph.of(
        [*fan(0).nodes, *more], [Link("run", Relation.WAS_INFLUENCED_BY, node.id) for node in more]
    )
    box = picture(graph, fan=10).boxes[-1]
    assert box.detail == "10 Dataset, 3 Model, …"
    assert box.title == "+14 more upstream: 10 Dataset, 3 Model, 1 Study"


def test_what_is_highlighted_is_shown() -> None:
    """Highlighted nodes come first, and what the graph does not have is passed over."""
    drawn = picture(fan(50), highlight=["d49", "elsewhere"])
    assert labels(drawn)[0] == "d49"
    assert [box.label for box in drawn.boxes if box.highlighted] == ["d49"]
    assert 'class="lineage-entity lineage-highlighted"' in fan(50).to_svg(highlight=["d49"])


def test_parts_that_are_not_linked() -> None:
    """All parts of a small graph are drawn, and nothing that a "more" stands for."""
    assert picture(datasets([("a", "b"), ("x", "y")], "alone")).whole
    drawn = picture(fan(50) + datasets([("x", "y")]))
    assert labels(drawn)[-3:] == ["x", "y", "+38 more"]


@settings(max_examples=50)
@given(graphs(), st.integers(3, 10), st.integers(1, 4), st.lists(st.sampled_from("abcdefghz"), max_size=3))
def test_pictures_are_small_and_complete(graph: Graph, most: int, width: int, highlight: list[str]) -> None:
    """There are never more boxes than allowed; each link is an arrow, part of one, or behind a "more"."""
    drawn = picture(graph, max_nodes=most, fan=width, highlight=highlight)
    assert len(drawn.boxes) <= most
    assert drawn == picture(graph, max_nodes=most, fan=width, highlight=highlight)
    keys = {box.key for box in drawn.boxes}
    assert all({arrow.source, arrow.target} <= keys for arrow in drawn.arrows)
    ids = {box.title.split(": ")[1]: box.key for box in drawn.boxes if box.category}
    if not any(node.label for node in graph.nodes):
        for link in graph.links:
            ends = ids.get(link.source), ids.get(link.target)
            between = [arrow for arrow in drawn.arrows if (arrow.source, arrow.target) == ends]
            if all(ends):
                assert link.relation in between[0].label.split(", ")
            for end, side in ((ends[0], "source"), (ends[1], "target")):
                if end and not all(ends):
                    assert any(getattr(arrow, side) == end and not arrow.label for arrow in drawn.arrows)
    if graph.record_count <= most:
        assert picture(graph, max_nodes=most, fan=100).whole


@pytest.mark.parametrize(
    "options",
    [{"direction": "up"}, {"max_nodes": 2}, {"max_nodes": 1001}, {"fan": 0}, {"fan": True}, {"highlight": "ds0"}],
)
def test_options_are_checked(options: dict[str, object]) -> None:
    """What is out of range is refused by every drawing."""
    for draw in (Graph.to_svg, Graph.to_dot, Graph.to_mermaid):
        with pytest.raises(InvalidInput, match=next(iter(options))):
            draw(chain(), **options)  # type: ignore[arg-type]


def test_mermaid_draws_it() -> None:
    """Even the worst names and the densest graph stay within Mermaid's limits: 50,000 characters and 500 arrows."""
    nodes = [Node.of(f"{'|' * 40}{i}", ItemSubType.MODEL_RUN_WORKFLOW_TEMPLATE, "<" * 40) for i in range(60)]
    links = [Link(a.id, relation, b.id) for a in nodes for b in nodes for relation in list(Relation)[:2]]
    text = Graph.of(nodes, links).to_mermaid(fan=60)
    assert len(text) <= 50_000
    assert text.count("-->") == MOST_ARROWS
    assert "without 3,100 arrows" in text


# -- places ------------------------------------------------------------------------------------------------------------

pairs = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=25)


@settings(max_examples=50)
@given(pairs)
def test_layers(arrows: list[tuple[int, int]]) -> None:
    """Every arrow leads forward by its path, unless it was turned round or ends where it begins; no boxes overlap."""
    layout = arrange(10, arrows)
    for i, (a, b) in enumerate(arrows):
        path = layout.paths[i]
        assert (path[0], path[-1]) == ((b, a) if i in layout.turned else (a, b))
        layers = [layout.layer[place] for place in path]
        assert layers == list(range(layers[0], layers[0] + len(layers)))
        assert len(path) > 1 or a == b
    for layer in set(layout.layer[:10]):
        places = sorted(layout.at[box] for box in range(10) if layout.layer[box] == layer)
        assert all(b - a >= 0.999 for a, b in pairwise(places))
    assert min(layout.layer) == min(layout.at) == 0


def test_arrows_do_not_cross_without_need() -> None:
    """Two pairs in the wrong order are put right, whichever comes first."""
    layout = arrange(4, [(0, 3), (1, 2)])
    assert (layout.at[0] < layout.at[1]) == (layout.at[3] < layout.at[2])


def test_no_cycle_means_no_turned_arrow() -> None:
    """Only arrows that close a cycle are turned round."""
    assert not arrange(4, [(3, 2), (2, 1), (1, 0), (3, 0)]).turned
    assert len(arrange(3, [(0, 1), (1, 2), (2, 0)]).turned) == 1


# -- looks -------------------------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance of ``#rrggbb``."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_colours_can_be_told_apart(theme: type[LIGHT]) -> None:  # type: ignore[valid-type]
    """Text has a contrast of at least 4.5, outlines and arrows of at least 3 (WCAG 2.2, 1.4.3 and 1.4.11)."""
    assert contrast(theme.ink, theme.ground) >= 4.5
    assert contrast(theme.quiet, theme.ground) >= 4.5
    for colours in theme.boxes.values():
        assert contrast(theme.ink, colours.fill) >= 4.5
        assert contrast(colours.line, theme.ground) >= 3
        assert contrast(colours.line, colours.fill) >= 3


@pytest.mark.parametrize("name", ["small.svg", "small.mmd", "small.dot"])
def test_golden(name: str) -> None:
    """The drawings of one small graph are those that were looked at; delete a file to write it anew."""
    graph = chain(1) + datasets([("ds0", "ds1"), ("ds0", "ds0")])
    draw = {"svg": graph.to_svg, "mmd": graph.to_mermaid, "dot": graph.to_dot}[name.partition(".")[2]]
    file, found = GOLDEN / name, draw(highlight=["ds1"])
    if not file.exists():
        file.write_text(found, "utf-8")
        pytest.fail(f"{name} was written: look at it")
    assert found == file.read_text("utf-8")


@pytest.mark.parametrize("direction", ["LR", "RL", "TB", "BT"])
def test_directions(direction: str) -> None:
    """Arrows point where the option says."""
    root = ElementTree.fromstring(datasets([("late", "early")]).to_svg(direction=direction))  # type: ignore[typeddict-item]
    places = {text.text: (float(text.get("x", 0)), float(text.get("y", 0))) for text in root.iter(f"{SVG}text")}
    (x1, y1), (x2, y2) = places["late"], places["early"]
    assert {(1, 0): "LR", (-1, 0): "RL", (0, 1): "TB", (0, -1): "BT"}[
        ((x2 > x1) - (x2 < x1), (y2 > y1) - (y2 < y1))
    ] == direction


def test_notebooks_show_the_picture() -> None:
    """The notebook form is the SVG, with its size, a name for screen readers, and colours for the dark."""
    root = ElementTree.fromstring(chain()._repr_html_())
    assert root.findtext(f"{SVG}title") == "Lineage: 13 nodes"
    assert "prefers-color-scheme: dark" in (root.findtext(f"{SVG}style") or "")
    assert ElementTree.fromstring(Graph().to_svg()).findtext(f"{SVG}title") == "Lineage: 0 nodes"


def test_the_picture_of_a_large_neighbourhood_is_small() -> None:
    """What does not fit is counted; benchmarks/provenance.py measures the time that it takes."""
    assert len(fan(30_000).to_svg()) < 50_000
