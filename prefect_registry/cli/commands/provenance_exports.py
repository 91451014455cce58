"""``provenance picture``, ``report`` and ``export``: lineage for people and for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from prefect_registry.cli.commands import Command
from prefect_registry.cli.options import AsOf, Fresh, Json, RegistryName, moment
from prefect_registry.cli.output import write_json
from prefect_registry.cli.provenance import Depth, Output, Wanted, open_provenance, write_file, write_text

if TYPE_CHECKING:
    from prefect_registry.provenance.service import Provenance

PictureFormat = Literal["mermaid", "dot", "svg"]
ExportFormat = Literal["prov-json", "prov-n", "prov-o", "openlineage", "node-link"]
_BY_SUFFIX: dict[str, PictureFormat] = {".mmd": "mermaid", ".dot": "dot", ".gv": "dot", ".svg": "svg"}


def picture(
    id: str,
    /,
    *,
    direction: Wanted = "both",
    depth: Depth = 5,
    format: Annotated[
        PictureFormat | None, Parameter(help="How to draw it. [default: by the name of the file, else mermaid]")
    ] = None,
    max_nodes: Annotated[int, Parameter(help="The most boxes, 3 to 1,000; the rest is summed up.")] = 60,
    output: Output = None,
    as_of: AsOf = None,
    fresh: Fresh = True,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Draw what lies around something: a Mermaid flowchart, Graphviz' dot, or an SVG that every browser shows.

    Parameters
    ----------
    id
        A run, a dataset, a version of an object (name@version), a model, an item.
    """
    found = format or _BY_SUFFIX.get(output.suffix.lower() if output is not None else "", "mermaid")
    provenance = open_provenance(registry)
    text = provenance.picture(
        id, direction, depth, found, as_of=moment("--as-of", as_of), fresh=fresh, max_nodes=max_nodes
    )
    _deliver("picture", provenance, id, found, text, output, json)


def report(
    id: str,
    /,
    *,
    depth: Annotated[int, Parameter(help="How many links upstream of each run count, 1 to 3.")] = 1,
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="The file; its name ends in .docx, .html or .md.")],
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Write the close-out report of a run or a study: what went in, what ran, what came out.

    Parameters
    ----------
    id
        A run, or a study.
    """
    from prefect_registry.provenance.reporting import check_report_name, write_report

    check_report_name(output)
    provenance = open_provenance(registry)
    made = provenance.report(id, depth)
    size = write_file(output, lambda path: write_report(made, path))
    if json:
        write_json(
            "provenance_report/1", registry=provenance.registry.url, id=id, file=str(output), bytes=size,
            inputs=[item.id for item in made.inputs], runs=[item.id for item in made.runs],
            outputs=[item.id for item in made.outputs],
        )  # fmt: skip


def export(
    id: str,
    /,
    *,
    format: Annotated[
        ExportFormat,
        Parameter(help="W3C PROV as PROV-JSON, PROV-N or PROV-O in Turtle; events of a run; JSON for networkx."),
    ] = "prov-json",
    direction: Wanted = "both",
    depth: Depth = 100,
    output: Output = None,
    as_of: AsOf = None,
    fresh: Fresh = True,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Write lineage in a form that other programs read.

    The formats of PROV need the extra `prov`, and `openlineage` the extra of that name: it writes a line of JSON for
    each event of the run, and neither direction nor depth mean anything to it.

    Parameters
    ----------
    id
        A run, a dataset, a version of an object (name@version), a model, an item. For openlineage, a run.
    """
    provenance, then = open_provenance(registry), moment("--as-of", as_of)
    text = provenance.export(id, format, direction, depth, as_of=then, fresh=fresh)
    _deliver("export", provenance, id, format, text, output, json)


GROUP = "Provenance"
COMMANDS: dict[str, Command] = {
    "provenance picture": picture,
    "provenance report": report,
    "provenance export": export,
}


def _deliver(
    command: str, provenance: Provenance, id_: str, format_: str, text: str, output: Path | None, as_json: bool
) -> None:
    """What was made: into its file, and with ``--json`` into the document if there is no file."""
    if output is not None or not as_json:
        write_text(text, output)
    if as_json:
        data: dict[str, Any] = {"id": id_, "format": format_, "file": str(output) if output is not None else None}
        data["text"] = text if output is None else None
        write_json(f"provenance_{command}/1", registry=provenance.registry.url, **data)
