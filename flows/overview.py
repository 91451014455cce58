"""A page about a table, as readers see it now: what a trigger on a publication is good for.

``prefect.yaml`` runs it whenever a dataset is committed (``prefect-registry.dataset.committed``). It only reads.
"""

from __future__ import annotations

from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from prefect_registry.artifacts import readable
from prefect_registry.datasets.tables import Table
from prefect_registry.errors import InvalidInput
from prefect_registry.names import key_of
from prefect_registry.resolve import resolve_registry

_MOST_ROWS = 5_000_000
"""Values of larger tables are not counted: a page should cost seconds."""


@flow(name="overview")
def overview(kind: str, registry: str = "") -> str:
    """Leave an artifact that shows a table: its size, where it came from, its columns.

    Args:
        kind: The table.
        registry: Name of a registry block, or URL of a registry. Empty for the default one.
    """
    table = resolve_registry(registry or None).table(kind)
    page = page_about(table)
    leave = cast(Any, create_markdown_artifact)
    leave(page, key=_artifact_key(kind), description=f"What readers see of {kind} now", _sync=True)
    get_run_logger().info("%r: see the artifact %s", table, _artifact_key(kind))
    return page


def page_about(table: Table) -> str:
    """The table as Markdown."""
    rows = "unknown" if table.rows is None else f"{table.rows:,}"
    lines = [f"# {table.kind}", "", f"{rows} rows in {len(table)} dataset(s), {readable(table.bytes)}", ""]
    newest = list(reversed(table.datasets()))[:10]
    lines += ["## Newest datasets", "", "| dataset | rows | run | came from |", "|---|---:|---|---|"]
    lines += [f"| {d.id} | {d.rows} | {d.run_id} | {_cell(d.tags.get('source', ''))} |" for d in newest]
    try:
        lines += ["", "## Columns", "", *_columns(table)]
    except InvalidInput as error:  # files that are no Parquet, schemas that do not go together
        lines += ["", f"Its rows cannot be shown: {error}"]
    return "\n".join(lines)


def _columns(table: Table) -> list[str]:
    if table.rows is None or table.rows > _MOST_ROWS:
        return [f"- {field.name}: {field.type}" for field in table.dataset().schema]
    rows = ["| column | type | nulls | least | greatest |", "|---|---|---:|---|---|"]
    for field in table.dataset().schema:
        values = table.dataset().to_table(columns=[field.name])[field.name]
        least, greatest = _range(values)
        rows.append(f"| {_cell(field.name)} | {field.type} | {values.null_count:,} | {least} | {greatest} |")
    return rows


def _range(values: Any) -> tuple[str, str]:
    try:
        found: Any = pc.min_max(values).as_py()
    except pa.ArrowException:  # lists, maps, structs
        return "", ""
    return _cell(found["min"]), _cell(found["max"])


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return (text if len(text) <= 60 else f"{text[:59]}…").replace("|", "\\|").replace("\n", " ")


def _artifact_key(kind: str) -> str:
    """Artifacts are named by lower-case letters, digits and dashes."""
    return "overview-" + "".join(c if c.isascii() and c.isalnum() else "-" for c in key_of(kind).lower())
