"""Reports of runs and studies: what went in, what ran, what came out (reference system 2)."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect_registry.errors import InvalidInput
from prefect_registry.provenance.captures import captured
from prefect_registry.provenance.exploring import check_depth
from prefect_registry.provenance.graph import Graph, Node
from prefect_registry.provenance.questions import Questions
from prefect_registry.provenance.records import GenerateReportRequest
from prefect_registry.provenance.records.base import checked
from prefect_registry.provenance.relations import RUNS, ItemSubType
from prefect_registry.provenance.report.content import DEEPEST, Report, RunDetails, report_of

REPORT_SUFFIXES = (".docx", ".html", ".md")
MOST_DETAILS = 200
"""Runs of which times, outcome and parameters are told: each costs two reads."""


class Reports(Questions):
    """What of :class:`~prefect_registry.provenance.service.Provenance` writes reports."""

    def report(self, id: str, depth: int = 1) -> Report:
        """The report of a run or a study: ``.to_html()``, ``.to_markdown()``, ``.to_docx(path)``.

        Args:
            depth: How many steps upstream of each run count, 1 to 3.

        Raises:
            NotFound: There is no such thing.
            InvalidInput: The depth is out of range, or there are no reports of such things.
        """
        check_depth(depth, DEEPEST)
        graph = self._around(id, depth)
        runs = [node.id for node in graph.nodes if node.subtype in RUNS and node.id.startswith("run_")]
        details = {run: self._details(run) for run in runs[:MOST_DETAILS]}
        return report_of(graph, id, depth, details, made_at=self.ledger.store.clock.now())

    def generate_report(
        self,
        report_request: GenerateReportRequest | Mapping[str, Any],
        file_path: str | os.PathLike[str] | None = None,
    ) -> bytes:
        """The report as the bytes of a .docx (extra ``report``); written into the folder ``file_path`` as well, if one
        is given, as ``<id> - Study Close Out Report.docx``.

        Raises as :meth:`report` does, also where ``item_subtype`` is another; ``ConfigurationError`` where
        ``python-docx`` is not installed.
        """
        wanted = checked(GenerateReportRequest, report_request, "the report")
        report = self.report(wanted.id, wanted.depth)
        found = report.graph.node(wanted.id).subtype
        if (found is ItemSubType.STUDY) is not (wanted.item_subtype == ItemSubType.STUDY):
            raise InvalidInput.of(
                "the report", [f"item_subtype: {wanted.id} is a {found}, not a {wanted.item_subtype}"]
            )
        buffer = io.BytesIO()
        report.to_docx(buffer)
        if file_path is not None:
            (Path(file_path) / report.file_name).write_bytes(buffer.getvalue())
        return buffer.getvalue()

    def _around(self, id: str, depth: int) -> Graph:
        """What a report looks at: upstream of each run, and one step downstream."""
        parts = [self.upstream(id, depth), self.downstream(id, 1)]
        if parts[0].node(id).subtype is ItemSubType.STUDY:
            for node in parts[1].nodes:
                if node.subtype is ItemSubType.MODEL_RUN:
                    parts += [self.upstream(node.id, depth, fresh=False), self.downstream(node.id, 1, fresh=False)]
        # What the registry does not know is what each link takes it for: the first that speaks of it counts.
        nodes: dict[str, Node] = {}
        for node in itertools.chain.from_iterable(part.nodes for part in parts):
            nodes.setdefault(node.id, node)
        return Graph.of(nodes.values(), itertools.chain.from_iterable(part.links for part in parts))

    def _details(self, run: str) -> RunDetails:
        found = captured(self.registry, run)
        return RunDetails(
            description=found.purpose,
            started_at=found.started_at,
            ended_at=found.finished_at,
            outcome=found.outcome or "running",
            parameters=found.parameters,
        )


def check_report_name(path: str | os.PathLike[str]) -> None:
    """Refuse the name of a file that tells no form of reports. Raises ``InvalidInput``."""
    name = Path(path).name
    if Path(name).suffix.lower() not in REPORT_SUFFIXES:
        raise InvalidInput.of("the file", [f"its name must end in {', '.join(REPORT_SUFFIXES)}, and is {name!r:.100}"])


def write_report(report: Report, path: str | os.PathLike[str]) -> None:
    """A report as a file, in the form that its name tells: Word, HTML or Markdown.

    Raises:
        ConfigurationError: A .docx is wanted, and ``python-docx`` is not installed.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix == ".docx":
        report.to_docx(target)
    else:
        target.write_text(report.to_html() if suffix == ".html" else report.to_markdown(), "utf-8")
