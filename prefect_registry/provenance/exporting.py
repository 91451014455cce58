"""Lineage in other forms: pictures, the documents of W3C PROV, OpenLineage events."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Literal, cast, get_args

from prefect_registry.errors import InvalidInput
from prefect_registry.provenance.asking import Way
from prefect_registry.provenance.graph import DEFAULT_DEPTH
from prefect_registry.provenance.libraries import library
from prefect_registry.provenance.reporting import Reports

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent
    from typing_extensions import Unpack

    from prefect_registry.provenance.drawing.collapsing import DrawingOptions

PictureFormat = Literal["mermaid", "dot", "svg"]
ProvFormat = Literal["json", "n", "o"]
Format = Literal["prov-json", "prov-n", "prov-o", "node-link", "openlineage"]
PICTURE_DEPTH = 5
"""How far pictures go: what is further away is seldom in them."""


class Exports(Reports):
    """What of :class:`~prefect_registry.provenance.service.Provenance` tells other programs of lineage."""

    def picture(
        self,
        starting_id: str,
        way: Way = "both",
        depth: int = PICTURE_DEPTH,
        format: PictureFormat = "mermaid",
        *,
        as_of: datetime | None = None,
        fresh: bool = True,
        **options: Unpack[DrawingOptions],
    ) -> str:
        """A drawing of lineage around something, which stands out in it; large neighbourhoods are "+37 more".

        Args:
            format: A Mermaid flowchart, Graphviz' ``dot``, or an ``svg`` that needs no program.
            options: ``direction`` of the arrows, ``max_nodes`` …, see
                :class:`~prefect_registry.provenance.drawing.collapsing.DrawingOptions`.

        Raises:
            NotFound: The registry does not know it.
            InvalidInput: An option is out of range, or there is no such format.
        """
        _known("format", format, ("mermaid", "dot", "svg"))
        graph = self.lineage(starting_id, way, depth, as_of=as_of, fresh=fresh)
        options.setdefault("highlight", [starting_id])
        return {"mermaid": graph.to_mermaid, "dot": graph.to_dot, "svg": graph.to_svg}[format](**options)

    def prov(
        self,
        starting_id: str,
        way: Way = "both",
        depth: int = DEFAULT_DEPTH,
        format: ProvFormat = "json",
        *,
        as_of: datetime | None = None,
        fresh: bool = True,
    ) -> str:
        """Lineage around something as a document of W3C PROV (extra ``prov``).

        Args:
            format: PROV-JSON (``json``), PROV-N (``n``), or PROV-O as Turtle (``o``).

        Raises:
            NotFound: The registry does not know it.
            InvalidInput: The depth is out of range, or there is no such format.
            ConfigurationError: ``prov``, or for PROV-O rdflib, is not installed.
        """
        _known("format", format, ("json", "n", "o"))
        from prefect_registry.provenance.standards import prov

        graph = self.lineage(starting_id, way, depth, as_of=as_of, fresh=fresh)
        return {"json": prov.to_prov_json, "n": prov.to_prov_n, "o": prov.to_prov_o}[format](graph)

    def openlineage(self, run_id: str) -> list[RunEvent]:
        """The OpenLineage events of a run (extra ``openlineage``): START, and COMPLETE, ABORT or FAIL once it has
        ended. :func:`prefect_registry.provenance.standards.emitting.emit` sends them.

        Raises:
            NotFound: No such run.
            InvalidInput: ``run_id`` is none.
            ConfigurationError: ``openlineage-python`` is not installed.
        """
        from prefect_registry.provenance.run_facts import facts_of
        from prefect_registry.provenance.standards.openlineage import events_of

        return events_of(facts_of(self.registry, run_id))

    def export(
        self,
        starting_id: str,
        format: Format = "prov-json",
        way: Way = "both",
        depth: int = DEFAULT_DEPTH,
        *,
        as_of: datetime | None = None,
        fresh: bool = True,
    ) -> str:
        """Lineage around something as text for other programs.

        Args:
            format: W3C PROV as ``prov-json``, ``prov-n`` or ``prov-o`` (Turtle); ``node-link``, the JSON that networkx
                loads; ``openlineage``, of a run alone: its events, a line of JSON each, for which nothing else counts.

        Raises:
            NotFound: The registry does not know it.
            InvalidInput: The depth is out of range, or there is no such format.
            ConfigurationError: What the format needs is not installed.
        """
        _known("format", format, get_args(Format))
        if format == "openlineage":
            to_json = library("openlineage.client.serde", "openlineage").Serde.to_json
            return "".join(f"{to_json(event)}\n" for event in self.openlineage(starting_id))
        if format == "node-link":
            return json.dumps(self.lineage(starting_id, way, depth, as_of=as_of, fresh=fresh).node_link(), indent=2)
        kind = cast("ProvFormat", format.removeprefix("prov-"))
        return self.prov(starting_id, way, depth, kind, as_of=as_of, fresh=fresh)


def _known(name: str, value: object, words: tuple[str, ...]) -> None:
    if value not in words:
        raise InvalidInput.of(name, [f"{name} must be one of {', '.join(words)}, not {value!r:.60}"])
