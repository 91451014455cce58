"""Provenance as commands name and show it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from prefect_registry.cli.opening import open_registry
from prefect_registry.cli.output import clean, say, write, write_table
from prefect_registry.errors import AccessDenied, InvalidInput, StorageUnavailable

if TYPE_CHECKING:
    from datetime import datetime

    from prefect_registry.provenance.graph import Graph, Node
    from prefect_registry.provenance.service import Provenance

Depth = Annotated[int, Parameter(help="How many links to go, 1 to 100.")]
Way = Literal["upstream", "downstream", "both"]
Wanted = Annotated[Way, Parameter(name="--direction", help="What it came from, what came from it, or both.")]
Output = Annotated[
    Path | None, Parameter(name=["--output", "-o"], help="Write it into this file. [default: standard output]")
]
LARGEST_FILE_BYTES = 64 << 20


def open_provenance(wanted: str | None, *, create: bool = False) -> Provenance:
    """The provenance in the registry that the command line means."""
    from prefect_registry.provenance.service import Provenance

    return Provenance(open_registry(wanted, create=create))


# -- as JSON ---------------------------------------------------------------------------------------------------------


def node_fields(node: Node) -> dict[str, Any]:
    """A thing that lineage speaks of."""
    return {
        "id": node.id, "category": str(node.category), "type": str(node.subtype), "name": node.label,
        "attributes": dict(node.attributes),
    }  # fmt: skip


def graph_nodes(graph: Graph) -> list[dict[str, Any]]:
    """The nodes of a graph."""
    return [node_fields(node) for node in graph.nodes]


def pairs(differences: Mapping[str, tuple[Any, Any]]) -> list[dict[str, Any]]:
    """``{name: (first, second)}`` as a list."""
    return [{"name": name, "first": first, "second": second} for name, (first, second) in differences.items()]


# -- for people ------------------------------------------------------------------------------------------------------


def named(graph: Graph, id_: str) -> str:
    """An id with what people call it: ``flights (ds_…)``."""
    label = graph.node(id_).label if id_ in graph else ""
    return on_one_line(f"{label} ({id_})" if label and label != id_ else id_)


def labels_of(provenance: Provenance, ids: Iterable[str], as_of: datetime | None) -> dict[str, str]:
    """What people call some things, now or as of then, as far as the index knows them."""
    from prefect_registry.catalog.queries import moment_of
    from prefect_registry.provenance.facts import nodes_of

    wanted, then = list(ids), moment_of("as_of", as_of)
    found = provenance.registry.catalog.ask(lambda connection: nodes_of(connection, wanted, then), fresh=False)
    return {id_: node.label for id_, node in found.items()}


def on_one_line(text: object) -> str:
    """``text`` without line breaks and control characters."""
    return clean(" ".join(clean(text).split()))


def write_things(things: Iterable[tuple[str, str, str]]) -> None:
    """Things as a table: what each is, its id, and what people call it."""
    write_table(("WHAT", "ID", "NAME"), list(things))


# -- files -----------------------------------------------------------------------------------------------------------


def given_bytes(command: str, path: str) -> bytes:
    """The content of a file, or with ``-`` of standard input.

    Raises:
        InvalidInput: It cannot be read, or is larger than 64 MiB.
    """
    try:
        if path == "-":
            found = sys.stdin.buffer.read(LARGEST_FILE_BYTES + 1)
        else:
            with open(path, "rb") as file:
                found = file.read(LARGEST_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidInput.of(command, [f"{path!r:.200} cannot be read: {why}"]) from error
    if len(found) > LARGEST_FILE_BYTES:
        raise InvalidInput.of(command, [f"{path!r:.200} is larger than {LARGEST_FILE_BYTES >> 20} MiB"])
    return found


def given_json(command: str, path: str) -> Any:
    """The JSON in a file, or with ``-`` on standard input.

    Raises:
        InvalidInput: It cannot be read, or is none.
    """
    import json

    try:
        return json.loads(given_bytes(command, path))
    except (ValueError, RecursionError) as error:
        raise InvalidInput.of(command, [f"{path!r:.200} is no JSON: {error!s:.200}"]) from error


def write_text(text: str, output: Path | None) -> None:
    """Text into a file, or to standard output."""
    if output is None:
        # A pipe gets it as it is; on a terminal, names in it have no effect.
        write(clean(text.replace("\r\n", "\n").expandtabs()) if sys.stdout.isatty() else text)
    else:
        write_file(output, lambda path: path.write_text(text, "utf-8", newline=""))


def write_file(target: Path, make: Callable[[Path], object]) -> int:
    """A file that is there whole, or as it was before; returns its size.

    Args:
        target: It; what is there is replaced.
        make: Writes it, to another path.

    Raises:
        InvalidInput: There is no such folder, or ``target`` is one.
        AccessDenied: It may not be written.
        StorageUnavailable: It cannot be written.
    """
    what = f"{str(target)!r:.200} cannot be written"
    if target.is_dir() or not target.parent.is_dir():
        raise InvalidInput.of("--output", [f"{what}: {'it is a folder' if target.is_dir() else 'no such folder'}"])
    beside = None
    try:
        number, name = tempfile.mkstemp(prefix=".prefect-registry-", suffix=target.suffix, dir=target.parent)
        os.close(number)
        beside = Path(name)
        make(beside)
        beside.chmod(0o666 & ~_umask())
        count = beside.stat().st_size
        os.replace(beside, target)
    except PermissionError as error:
        raise AccessDenied(what, why=str(error.strerror), committed="no") from error
    except OSError as error:
        raise StorageUnavailable(what, why=str(error.strerror or error), committed="no") from error
    finally:
        if beside is not None:
            with suppress(OSError):
                beside.unlink()
    say(f"Wrote {target}.")
    return count


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
