"""Close-out reports of runs and studies, as .docx, HTML and Markdown (PV-30)."""

from __future__ import annotations

import io
import re
import sys
import zipfile
from collections import Counter
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import docx
import pytest
from markdown_it import MarkdownIt
from provenance_support import chain

from prefect_registry.errors import ConfigurationError, InvalidInput, NotFound
from prefect_registry.provenance.graph import Graph, Link, Node
from prefect_registry.provenance.relations import ItemSubType, Relation
from prefect_registry.provenance.report import content
from prefect_registry.provenance.report.content import Check, Report, RunDetails, report_of

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "]]>&lt;/svg>",
    "a | b\n# heading\n| c |",
    "[x](javascript:alert(1)) ![y](http://evil.example/z.png) https://evil.example www.evil.example",
    "```\nmermaid",
    "**bold** _it_ `code` <!-- -->",
    "\x00\x08\u202e\ud800\ufffe",
    "{\\rtf} \\",
    "../../etc/passwd",
]


def study() -> Graph:
    """A study of two runs that share an input and a model; the second one reads what the first one made."""
    nodes = [
        Node.of("study", ItemSubType.STUDY, "The study"),
        Node.of("102.100/run1", ItemSubType.MODEL_RUN, "First run"),
        Node.of("run2", ItemSubType.MODEL_RUN, "Second run"),
        Node.of("model", ItemSubType.MODEL, "The model"),
        Node.of("shared", ItemSubType.DATASET, "Shared input"),
        Node.of("made", ItemSubType.DATASET, "Made first"),
        Node.of("end", ItemSubType.DATASET, "Made last"),
        Node.of("template", ItemSubType.WORKFLOW_TEMPLATE),
        Node.of("ada", ItemSubType.PERSON, "Ada"),
        Node.of("other", ItemSubType.DATASET, "Of nobody"),
    ]
    links = [
        *(Link(run, Relation.WAS_INFORMED_BY, "study") for run in ("102.100/run1", "run2")),
        *(
            Link(run, Relation.USED, used)
            for run in ("102.100/run1", "run2")
            for used in ("model", "shared", "template")
        ),
        Link("102.100/run1", Relation.WAS_ASSOCIATED_WITH, "ada"),
        Link("made", Relation.WAS_GENERATED_BY, "102.100/run1"),
        Link("run2", Relation.USED, "made"),
        Link("end", Relation.WAS_GENERATED_BY, "run2"),
    ]
    return Graph.of(nodes, links)


def ids(report: Report) -> dict[str, list[str]]:
    return {name: [item.id for item in items] for name, items in report.lists}


DETAILS = {
    "run2": RunDetails(
        description="A run.",
        started_at=NOON,
        ended_at=NOON,
        outcome="committed",
        parameters={"year": 2026, "name": "é"},
        checks=[Check("rows", True, "12 rows"), Check("gaps", False), Check("later", None)],
    )
}


def test_a_model_run() -> None:
    """PV-30: inputs and runs lie upstream, within the depth; outputs one step downstream."""
    report = report_of(study(), "run2")
    assert ids(report) == {"Inputs": ["model", "shared", "made"], "Model Runs": ["run2"], "Outputs": ["end"]}
    deeper = report_of(study(), "run2", 2)
    assert ids(deeper)["Model Runs"] == ["run2", "102.100/run1"]
    assert ids(report_of(study(), "102.100/run1"))["Outputs"] == ["made"]
    assert ids(report_of(chain(), "run2", 3)) == {
        "Inputs": ["ds2", "ds1"],
        "Model Runs": ["run2", "run1"],
        "Outputs": ["ds3"],
    }


def test_a_study() -> None:
    """PV-30: its model runs are taken together, and each thing stands once in each row."""
    report = report_of(study(), "study")
    assert ids(report) == {
        "Inputs": ["model", "shared", "made"],
        "Model Runs": ["102.100/run1", "run2"],
        "Outputs": ["made", "end"],
    }
    assert set(report.graph.by_id) == set(study().by_id) - {"other"}
    assert {item.id: item.link for item in report.runs} == {
        "102.100/run1": "http://hdl.handle.net/102.100/run1",
        "run2": "urn:prefect-registry:item:run2",
    }


@pytest.mark.parametrize("depth", [0, 4, -1, True, 1.0, None])
def test_depths(depth: Any) -> None:
    """PV-30: only 1 to 3 are depths of a report."""
    with pytest.raises(InvalidInput, match="from 1 to 3"):
        report_of(study(), "run2", depth)


def test_what_has_no_report() -> None:
    """PV-30: there are none of datasets, nor of what is not there; links begin with an address."""
    with pytest.raises(ValueError, match="is a DATASET"):
        report_of(study(), "made")
    with pytest.raises(NotFound):
        report_of(study(), "nowhere")
    for base in ("javascript:alert(1)//", "http://a b/", 'https://x/"', "x", "https://", "https:///x"):
        with pytest.raises(InvalidInput):
            report_of(study(), "run2", link_base=base)


@pytest.mark.parametrize(
    ("base", "link"),
    [
        ("https://good.org", "https://good.org/@evil.com/x"),
        ("https://good.org:", "https://good.org/@evil.com/x"),
        ("https://good.org:80", "https://good.org:80/@evil.com/x"),
        ("https://good.org=", "https://good.org/@evil.com/x"),
        ("https://good.org/items", "https://good.org/items/@evil.com/x"),
        ("https://good.org/", "https://good.org/@evil.com/x"),
        ("https://good.org?id=", "https://good.org?id=@evil.com/x"),
        ("https://good.org/#", "https://good.org/#@evil.com/x"),
        ("https://good.org/id:", "https://good.org/id:@evil.com/x"),
        ("urn:items:", "urn:items:@evil.com/x"),
    ],
)
def test_an_id_never_changes_the_host_of_its_link(base: str, link: str) -> None:
    """Whatever the base ends with: what stands before an @ would be a user."""
    graph = Graph.of(
        [Node.of("run", ItemSubType.MODEL_RUN), Node.of("@evil.com/x", ItemSubType.DATASET)],
        [Link("run", Relation.USED, "@evil.com/x")],
    )
    assert [item.link for item in report_of(graph, "run", link_base=base).inputs] == [link]


def opened(report: Report) -> Any:
    target = io.BytesIO()
    assert report.to_docx(target) is None
    return docx.Document(io.BytesIO(target.getvalue()))


@pytest.mark.parametrize(
    ("start", "kind", "name"), [("study", "Study", "The study"), ("run2", "Model Run", "Second run")]
)
def test_docx(start: str, kind: str, name: str) -> None:
    """PV-30: opens, with both headings, a grid of four rows, each thing once, and links under their ids."""
    report = report_of(study(), start, 2, link_base="https://example.org/items/")
    document = opened(report)
    title, heading = document.paragraphs[:2]
    assert (title.style.name, title.text) == ("Title", "Model Run Study Close Out Report")
    assert (heading.style.name, heading.text) == ("Heading 1", f"Report for {kind}: {name}")
    assert [(link.text, link.url) for link in heading.hyperlinks] == [(name, f"https://example.org/items/{start}")]
    table = document.tables[0]
    assert (len(table.rows), len(table.columns), table.style.name) == (4, 2, "Table Grid")
    assert [row.cells[0].text for row in table.rows] == ["Modelling Team", "Inputs", "Model Runs", "Outputs"]
    assert table.rows[0].cells[1].text == "<enter your team name here>"
    for row, (_, items) in zip(table.rows[1:], report.lists, strict=True):
        paragraphs = row.cells[1].paragraphs
        assert [paragraph.text for paragraph in paragraphs] == [f"{i.kind}: {i.name}, {i.id}" for i in items]
        assert [[link.url for link in paragraph.hyperlinks] for paragraph in paragraphs] == [[i.link] for i in items]
        assert [paragraph.runs[0].bold for paragraph in paragraphs] == [True] * len(items)
        assert max(Counter(items).values()) == 1


def test_docx_with_details() -> None:
    """Runs, parameters, checks and links between things follow as tables; without a time, none is told."""
    document = opened(report_of(study(), "study", details=DETAILS, team="Reef", made_at=NOON))
    headings = [paragraph.text for paragraph in document.paragraphs if paragraph.style.name == "Heading 2"]
    assert headings == ["Runs", "Parameters", "Checks", "Lineage"]
    told = [[[cell.text for cell in row.cells] for row in table.rows] for table in document.tables]
    assert told[0][0][1] == "Reef"
    assert told[1][1] == ["Second run", "2026-01-02 12:00:00 UTC", "2026-01-02 12:00:00 UTC", "committed", "A run."]
    assert told[2][1:] == [["Second run", "year", "2026"], ["Second run", "name", "é"]]
    assert [row[2] for row in told[3][1:]] == ["passed", "failed", "not known"]
    assert ["Made last", "wasGeneratedBy", "Second run"] in told[4]
    assert document.core_properties.author == "prefect-registry"
    assert document.core_properties.created.replace(tzinfo=UTC) == NOON


def test_docx_files(tmp_path: Path) -> None:
    """Into a folder, the file has the reference's name; a given name counts; no name leads elsewhere."""
    report = report_of(study(), "102.100/run1")
    assert report.to_docx(tmp_path) == tmp_path / "102.100_run1 - Study Close Out Report.docx"
    assert report.to_docx(str(tmp_path / "mine.docx")) == tmp_path / "mine.docx"
    assert sorted(path.name for path in tmp_path.iterdir()) == [report.file_name, "mine.docx"]
    with pytest.raises(OSError, match="nowhere"):
        report.to_docx(tmp_path / "nowhere" / "x.docx")
    for name in [*HOSTILE, "é" * 300, "\U0001f41f" * 300]:
        run = Graph.of([Node.of(name, ItemSubType.MODEL_RUN)], [])
        file_name = report_of(run, name).file_name
        assert Path(file_name).name == file_name
        assert len(file_name.encode()) <= 255
        assert not set(file_name) & set('/\\:*?"<>|\0\n')


def hostile() -> Report:
    """A run of which every name, id, parameter and check means something to some format."""
    nodes = [Node.of("run", ItemSubType.MODEL_RUN, HOSTILE[0])]
    nodes += [Node.of(name, ItemSubType.DATASET, name) for name in HOSTILE]
    details = RunDetails(
        description=HOSTILE[1],
        outcome=HOSTILE[2],
        parameters={name: name for name in HOSTILE} | {"list": HOSTILE},
        checks=[Check(name, True, name) for name in HOSTILE],
    )
    links = [Link("run", Relation.USED, name) for name in HOSTILE]
    return report_of(Graph.of(nodes, links), "run", details={"run": details}, team=HOSTILE[0])


class Page(HTMLParser):
    """The elements of a page, its links and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.open: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        names = dict(attrs)
        assert not [name for name in names if name.startswith("on") or name in ("src", "srcset", "action")]
        if "href" in names:
            self.links.append(str(names["href"]))
        if tag not in ("meta", "path", "rect", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html() -> None:
    """One page with the same rows, links, tables and the picture, which needs nothing from elsewhere."""
    text = report_of(study(), "study", details=DETAILS, link_base="https://example.org/", made_at=NOON).to_html()
    page = Page(text)
    assert page.open == []
    assert page.tags["svg"] == 1
    assert page.tags["li"] == 7
    assert page.tags["table"] == 4
    assert set(page.links) == {
        f"https://example.org/{id}" for id in ("study", "102.100/run1", "run2", "model", "shared", "made", "end")
    }
    for part in ("Report for Study:", "First run", "<enter your team name here>", "2026-01-02 12:00:00 UTC", "failed"):
        assert part in page.text
    assert "prefers-color-scheme: dark" in text
    assert "default-src &#x27;none&#x27;" in text


def test_hostile_names_in_html() -> None:
    """No name becomes an element, an attribute or a link of its own."""
    report = hostile()
    page_parts = "html head meta title style body main h1 h2 p table thead tbody tr th td ul li b a div"
    harmless = {*page_parts.split(), "svg", "g", "path", "rect", "text"}
    text = report.to_html()
    page = Page(text)
    text.encode()
    assert page.open == []
    assert set(page.tags) <= harmless
    assert set(page.links) == {report.subject.link, *(item.link for item in report.inputs)}
    assert all(link.startswith("urn:prefect-registry:item:") for link in page.links)
    assert HOSTILE[0] in page.text
    assert "\u202e" not in text


def test_markdown() -> None:
    """The same rows and tables, and a Mermaid picture."""
    text = report_of(study(), "study", details=DETAILS).to_markdown()
    html = MarkdownIt("commonmark").enable("table").render(text)
    page = Page(html)
    assert page.tags["table"] == 4
    assert page.tags["tr"] == 4 + 2 + 3 + 4
    assert page.text.count("Shared input") == 2  # once in the table, once in the picture
    assert 'class="language-mermaid"' in html
    assert "Report for Study: The study" in page.text


def test_hostile_names_in_markdown() -> None:
    """Names end no table, heading or code, and are no HTML and no links."""
    report = hostile()
    text = report.to_markdown()
    text.encode()
    parser = MarkdownIt("commonmark", {"linkify": False}).enable("table")
    page = Page(parser.render(text))
    tables = {"table", "thead", "tbody", "tr", "th", "td"}
    assert set(page.tags) <= tables | {"h1", "h2", "p", "strong", "a", "br", "pre", "code"}
    assert set(page.links) == {report.subject.link, *(item.link for item in report.inputs)}
    assert page.tags["table"] == 4
    assert page.tags["pre"] == 1
    assert page.tags["tr"] == 4 + 2 + (1 + len(HOSTILE) + 1) + (1 + len(HOSTILE))
    assert HOSTILE[0] in page.text
    outside_of_links = re.sub(r"\]\(\S+\)", "]", text)
    assert "https://" not in outside_of_links  # which GitHub would make a link
    assert "www.evil" not in outside_of_links


def test_hostile_names_in_docx() -> None:
    """Every name is text; nothing in the file leads elsewhere but the ids."""
    report = hostile()
    target = io.BytesIO()
    report.to_docx(target)
    document = docx.Document(target)
    inputs = document.tables[0].rows[1].cells[1].paragraphs
    assert len(inputs) == len(HOSTILE)
    assert HOSTILE[0] in inputs[0].text
    with zipfile.ZipFile(target) as archive:
        relations = archive.read("word/_rels/document.xml.rels").decode()
        assert b"<script" not in archive.read("word/document.xml")
    assert relations.count('TargetMode="External"') == relations.count("urn:prefect-registry:item:") == len(HOSTILE) + 1


def test_long_reports_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows have limits, and say how much is left out."""
    monkeypatch.setattr(content, "MOST_ROWS", 2)
    details = {"run": RunDetails(parameters=dict.fromkeys("abcde", 1))}
    nodes = [Node.of("run", ItemSubType.MODEL_RUN), *(Node.of(f"d{i}", ItemSubType.DATASET) for i in range(1_003))]
    graph = Graph.of(nodes, [Link("run", Relation.USED, f"d{i}") for i in range(1_003)])
    report = report_of(graph, "run", details=details)
    for text in (report.to_html(), report.to_markdown()):
        assert "and 3 more" in text
        assert text.count("d1002") == 0
    assert report.tables()[1].more == 3


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed, the error names the extra; HTML and Markdown need nothing."""
    monkeypatch.setitem(sys.modules, "docx", None)
    report = report_of(study(), "study")
    with pytest.raises(ConfigurationError, match=r"prefect-registry\[report\]"):
        report.to_docx(io.BytesIO())
    assert report.to_html()
    assert report.to_markdown()
