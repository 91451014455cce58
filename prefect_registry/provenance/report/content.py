"""What a report says, whatever it is rendered as.

Of a model run: what lies upstream of it, within ``depth``, gives its inputs (models and datasets) and model runs, and
the next step downstream its outputs (datasets). Of a study: the same of each of its model runs, together. Each thing
stands once in each row (reference system 2, PV-30).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from prefect_registry.errors import InvalidInput
from prefect_registry.provenance.drawing.texts import shown
from prefect_registry.provenance.exploring import check_depth
from prefect_registry.provenance.graph import JSON, Graph, Node
from prefect_registry.provenance.relations import RUNS, ItemSubType

TITLE = "Model Run Study Close Out Report"
TEAM = "<enter your team name here>"
"""What stands where people write who they are."""
DEEPEST = 3
MOST_ITEMS, MOST_ROWS = 1_000, 500
"""In each row of the first table, and of each further table; "and 37 more" follows."""
LONGEST_NAME, LONGEST_TEXT = 300, 4_000
"""Columns of a name or an id, and of a value or a description."""
LONGEST_IN_FILE_NAME = 55
"""Columns, each of at most four bytes: file systems have room for 255."""
HANDLES = "http://hdl.handle.net/"
ITEMS = "urn:prefect-registry:item:"
_HANDLE = re.compile(r"\d+(\.\d+)*/\S+")
_BASE = re.compile(r"(https?://(?=[A-Za-z0-9])|urn:)[A-Za-z0-9._~:/?#@!$&+,;=%-]*")
_AFTER_HOSTS = re.compile(r"[/?#]")
_INPUTS = frozenset({ItemSubType.MODEL, ItemSubType.DATASET})


@dataclass(frozen=True)
class Item:
    """A thing of the report.

    Args:
        id: What the registry calls it.
        kind: What it is, as people read it: ``Model Run``.
        name: What people call it.
        link: Where its id leads.
    """

    id: str
    kind: str
    name: str
    link: str


@dataclass(frozen=True)
class Check:
    """Something that was looked at: whether it held (None: nobody knows), and what was seen."""

    name: str
    passed: bool | None
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class RunDetails:
    """What a graph does not tell of a run. Whoever fills it in masks what is secret."""

    description: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: str = ""
    parameters: Mapping[str, JSON] = field(default_factory=dict)
    checks: Sequence[Check] = ()


@dataclass(frozen=True)
class Table:
    """A table of texts. ``rows`` are at most :data:`MOST_ROWS`; ``more`` is how many are left out."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    more: int = 0


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report, see :func:`report_of`.

    Args:
        subject: The run or study.
        inputs: Models and datasets that went in, nearest first.
        runs: Model runs that took part.
        outputs: Datasets that came out.
        details: By the id of a run.
        graph: What is drawn.
        title: Above everything.
        team: Who reports.
        made_at: When; None leaves it out.
    """

    subject: Item
    inputs: tuple[Item, ...]
    runs: tuple[Item, ...]
    outputs: tuple[Item, ...]
    details: Mapping[str, RunDetails]
    graph: Graph
    title: str = TITLE
    team: str = TEAM
    made_at: datetime | None = None

    @property
    def file_name(self) -> str:
        """The name of its .docx file: the id with ``_`` for ``/``, and for what no file name may hold."""
        safe = re.sub(r'[/\\:*?"<>|]', "_", shown(self.subject.id, LONGEST_IN_FILE_NAME))
        return f"{safe} - Study Close Out Report.docx"

    @property
    def heading(self) -> str:
        """What comes before the name of the subject, and a space."""
        return f"Report for {self.subject.kind}:"

    @property
    def lists(self) -> tuple[tuple[str, tuple[Item, ...]], ...]:
        """The rows of the first table below the team."""
        return ("Inputs", self.inputs), ("Model Runs", self.runs), ("Outputs", self.outputs)

    def tables(self) -> tuple[Table, ...]:
        """What the reference does not have: runs, parameters and checks, as far as any are known."""
        known = [(item, self.details[item.id]) for item in self.runs if item.id in self.details]
        told = (
            _table("Runs", ("Run", "Began", "Ended", "Outcome", "Description"), _runs(known)),
            _table("Parameters", ("Run", "Parameter", "Value"), _parameters(known)),
            _table("Checks", ("Run", "Check", "Result", "Detail"), _checks(known)),
        )
        return tuple(table for table in told if table.rows)

    def to_docx(self, target: str | PathLike[str] | BinaryIO) -> Path | None:
        """Write a .docx (extra ``report``): to a file, into a folder (as :attr:`file_name`), or to an open file.

        It has no picture: the library that writes it takes no SVG. It has a table of the links instead.

        Returns:
            The path of the file, if ``target`` is a path.

        Raises:
            ConfigurationError: ``python-docx`` is not installed.
            OSError: The file cannot be written.
        """
        from prefect_registry.provenance.report.word import write

        return write(self, target)

    def to_html(self) -> str:
        """One page that needs nothing else, with the picture: no scripts, nothing loaded; in light and in dark."""
        from prefect_registry.provenance.report.page import page

        return page(self)

    def to_markdown(self) -> str:
        """Markdown with tables and a Mermaid picture, as GitHub, GitLab and Prefect's artifacts show them."""
        from prefect_registry.provenance.report.prose import markdown

        return markdown(self)


def report_of(
    graph: Graph,
    start: str,
    depth: int = 1,
    details: Mapping[str, RunDetails] | None = None,
    *,
    link_base: str | None = None,
    team: str = TEAM,
    made_at: datetime | None = None,
) -> Report:
    """The report of a run or a study.

    Args:
        graph: In which it lies, with what is within ``depth`` upstream of its runs, and one step downstream.
        start: The id of a model run, a workflow run or a study.
        depth: How many links upstream count, 1 to 3.
        details: Of runs, by their ids.
        link_base: Before ids, where they are links, with a ``/`` between unless it ends in one of ``/:=?#``. By
            default handles (``102.100/1``) lead to the Handle system, and other ids are names under
            ``urn:prefect-registry:item:``, which lead nowhere.
        team: Who reports.
        made_at: When; None leaves it out.

    Raises:
        InvalidInput: The depth is out of range, there are no reports of such things, or no links can begin so.
        NotFound: The graph has no such node.
    """
    check_depth(depth, DEEPEST)
    if link_base is not None and not _BASE.fullmatch(link_base):
        raise InvalidInput.of(
            "link_base", [f"it must begin with http:// or https:// and a host, or urn:, not {link_base!r:.80}"]
        )
    link_base = _whole(link_base) if link_base is not None else None
    subject = graph.node(start)
    runs = _runs_of(graph, subject)
    upstream = [graph.upstream(run.id, depth) for run in runs]
    downstream = [graph.downstream(run.id, 1) for run in runs]
    wanted = {ItemSubType.MODEL_RUN, *({subject.subtype} & RUNS)}

    def items(graphs: Iterable[Graph], subtypes: Iterable[ItemSubType]) -> tuple[Item, ...]:
        found = {node.id: node for each in graphs for node in each.nodes if node.subtype in subtypes}
        return tuple(_item(node, link_base) for node in found.values())

    return Report(
        subject=_item(subject, link_base),
        inputs=items(upstream, _INPUTS),
        runs=items(upstream, wanted),
        outputs=items(downstream, {ItemSubType.DATASET}),
        details=dict(details or {}),
        graph=_together(subject, [*upstream, *downstream]),
        team=team,
        made_at=made_at,
    )


def _runs_of(graph: Graph, subject: Node) -> list[Node]:
    if subject.subtype in RUNS:
        return [subject]
    if subject.subtype is ItemSubType.STUDY:
        return [node for node in graph.downstream(subject.id, 1).nodes if node.subtype is ItemSubType.MODEL_RUN]
    told = ", ".join(sorted([*RUNS, ItemSubType.STUDY]))
    problem = f"there are reports of {told}; {subject.id!r:.80} is a {subject.subtype}"
    raise InvalidInput.of("the report", [problem])


def _together(subject: Node, graphs: Iterable[Graph]) -> Graph:
    parts = list(graphs)
    nodes = [subject, *(node for part in parts for node in part.nodes)]
    return Graph.of(nodes, (link for part in parts for link in part.links))


def _whole(base: str) -> str:
    """A base behind which an id can change neither host nor port: with ``/`` at its end, if it has no other end."""
    if not base.endswith(("/", ":", "=", "?", "#")):
        return f"{base}/"
    has_host = base.startswith("urn:") or _AFTER_HOSTS.search(base.partition("://")[2])
    return base if has_host else f"{base.rstrip(':=')}/"


def _item(node: Node, link_base: str | None) -> Item:
    base = link_base
    if base is None:
        base = HANDLES if _HANDLE.fullmatch(node.id) else ITEMS
    spelt = quote(node.id.encode("utf-8", "backslashreplace"), safe="/:@")
    kind = node.subtype.value.replace("_", " ").title()
    return Item(node.id, kind, node.label.strip() or node.id, base + spelt)


# -- tables ------------------------------------------------------------------------------------------------------------


def _table(title: str, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    found = list(rows)
    return Table(title, head, tuple(found[:MOST_ROWS]), max(0, len(found) - MOST_ROWS))


def _runs(known: Iterable[tuple[Item, RunDetails]]) -> Iterator[tuple[str, ...]]:
    for item, told in known:
        yield item.name, time_text(told.started_at), time_text(told.ended_at), told.outcome, told.description


def _parameters(known: Iterable[tuple[Item, RunDetails]]) -> Iterator[tuple[str, ...]]:
    for item, told in known:
        for name, value in told.parameters.items():
            yield (
                item.name,
                name,
                value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str),
            )


def _checks(known: Iterable[tuple[Item, RunDetails]]) -> Iterator[tuple[str, ...]]:
    words = {True: "passed", False: "failed", None: "not known"}
    for item, told in known:
        for check in told.checks:
            yield item.name, check.name, words[check.passed], check.detail


def time_text(time: datetime | None) -> str:
    """A time as people read it, in UTC; empty if there is none."""
    if time is None:
        return ""
    return f"{time.astimezone(UTC) if time.tzinfo else time:%Y-%m-%d %H:%M:%S}{' UTC' * (time.tzinfo is not None)}"
