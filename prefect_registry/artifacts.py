"""What a committed run leaves in Prefect's UI: tables of its datasets and objects, and a page that tells what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

import orjson
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate

from prefect_registry.datasets.reading import Dataset
from prefect_registry.objects.published import SavedObject
from prefect_registry.registry import Registry, Run

MOST_ROWS = 500
"""Rows of a table; the page says how many were left out."""
MOST_ON_PAGE = 100
"""Objects that the page lists."""


def leave(
    run: Run,
    name: str,
    purpose: str,
    datasets: list[Dataset],
    flow_run: str,
    objects: Sequence[SavedObject] = (),
) -> None:
    """Create the artifacts for a flow run; the keys are made of ``name`` alone, so that each has a history."""
    key = slug(name)
    left = [("markdown", "run", page(run, purpose, datasets, objects), f"What {purpose} published, and how to read it")]
    if objects:
        told = orjson.dumps(table_of_objects(objects)).decode()
        left.insert(0, ("table", "objects", told, f"Objects that {purpose} saved"))
    if datasets:
        left.insert(
            0, ("table", "datasets", orjson.dumps(table(datasets)).decode(), f"Datasets that {purpose} published")
        )
    with get_client(sync_client=True) as client:
        for kind, suffix, data, description in left:
            client.create_artifact(
                ArtifactCreate(
                    key=f"registry-{key}-{suffix}",
                    type=kind,
                    description=description,
                    data=data,
                    flow_run_id=UUID(flow_run),
                )
            )


def leave_page(key: str, text: str, description: str, flow_run: str) -> None:
    """Create one page of Markdown for a flow run."""
    with get_client(sync_client=True) as client:
        client.create_artifact(
            ArtifactCreate(
                key=f"registry-{slug(key)}", type="markdown", description=description, data=text,
                flow_run_id=UUID(flow_run),
            )
        )  # fmt: skip


def slug(text: str) -> str:
    """``text`` in the characters that Prefect allows in an artifact's key."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:80] or "run"


def table(datasets: list[Dataset]) -> list[dict[str, Any]]:
    """One row for each dataset."""
    return [
        {
            "kind": d.kind,
            "rows": d.rows,
            "size": readable(d.bytes),
            "files": len(d.files),
            "mode": d.mode,
            "partition": ", ".join(f"{k}={v}" for k, v in (d.partition or {}).items()),
            "dataset": d.id,
            "folder": d.root,
        }
        for d in sorted(datasets, key=lambda d: (d.kind, d.id))[:MOST_ROWS]
    ]


def table_of_objects(objects: Sequence[SavedObject]) -> list[dict[str, Any]]:
    """One row for each object."""
    return [
        {"object": o.name, "version": o.version, "class": o.class_, "size": readable(o.size), "files": o.file_count}
        for o in objects[:MOST_ROWS]
    ]


def page(run: Run, purpose: str, datasets: list[Dataset], objects: Sequence[SavedObject] = ()) -> str:
    """The page: what is visible now, by kind, and how to read, inspect and take it back."""
    imported, opened = opening(run.registry)
    lines = [
        f"## {_plain(purpose)}: published",
        "",
        f"Run `{run.id}` is **committed**: {_counted(datasets, objects)} became visible together in",
        f"`{run.registry.url}`.",
        "",
        *_kinds(datasets),
        *_objects(objects),
        *([f"The table artifact beside this one shows the first {MOST_ROWS} datasets.", ""]
          if len(datasets) > MOST_ROWS else []),
        "### Read it",
        "",
        "```python",
        imported,
        "",
        f"registry = {opened}",
        *([f"registry.table({datasets[0].kind!r}).to_table()     # what readers see now"] if datasets else []),
        *([f"registry.load({objects[0].id!r})     # the object"] if objects else []),
        f"registry.get_run({run.id!r})  # who made it, when, from what",
        f"registry.revert({run.id!r})   # take it back",
        "```",
    ]  # fmt: skip
    return "\n".join(lines)


def opening(registry: Registry) -> tuple[str, str]:
    """How a reader opens the same store in Python: what to import, and what to call."""
    if registry.reference is not None:  # whose credentials are in the block, and not in the URL
        return "from prefect_registry.resolve import resolve_registry", f"resolve_registry({registry.reference!r})"
    return "from prefect_registry import Registry", f"Registry({registry.url!r})"


_MODES = {
    "replace": "replaced the table",
    "append": "appended",
    "replace_partitions": "replaced partitions",
}


def _kinds(datasets: list[Dataset]) -> list[str]:
    if not datasets:
        return []
    rows = [_row(kind, list(group)) for kind, group in _by_kind(datasets)]
    return ["| kind | datasets | rows | size | how |", "|---|---:|---:|---:|---|", *rows, ""]


def _objects(objects: Sequence[SavedObject]) -> list[str]:
    if not objects:
        return []
    rows = [
        f"| {_plain(o.name)} | {_plain(o.version)} | {_plain(o.class_)} | {readable(o.size)} |"
        for o in objects[:MOST_ON_PAGE]
    ]
    more = len(objects) - len(rows)
    return ["| object | version | class | size |", "|---|---|---|---:|", *rows, "",
            *([f"And {more:,} more object(s).", ""] if more else [])]  # fmt: skip


def _row(kind: str, datasets: list[Dataset]) -> str:
    how = ", ".join(_MODES[mode] for mode in sorted({d.mode for d in datasets}))
    size = readable(sum(d.bytes for d in datasets))
    return f"| {_plain(kind)} | {len(datasets):,} | {_rows(datasets)} | {size} | {how} |"


def _by_kind(datasets: list[Dataset]) -> Iterable[tuple[str, Iterable[Dataset]]]:
    return groupby(sorted(datasets, key=lambda d: (d.kind, d.id)), key=lambda d: d.kind)


def _counted(datasets: list[Dataset], objects: Sequence[SavedObject]) -> str:
    told = []
    if datasets:
        noun = "dataset" if len(datasets) == 1 else "datasets"
        size = readable(sum(d.bytes for d in datasets))
        told.append(f"{len(datasets):,} {noun}, {_rows(datasets)} rows, {size}")
    if objects:
        noun = "object" if len(objects) == 1 else "objects"
        told.append(f"{len(objects):,} {noun}, {readable(sum(o.size for o in objects))}")
    return ", and ".join(told)


def _rows(datasets: list[Dataset]) -> str:
    counts = [d.rows for d in datasets]
    return "uncounted" if any(c is None for c in counts) else f"{sum(c or 0 for c in counts):,}"


def _plain(text: str) -> str:
    """``text`` inside Markdown: nothing in it is markup."""
    return re.sub(r"([\\`*_{}\[\]<>()#+\-.!|])", r"\\\1", text.replace("\n", " "))


def readable(size: int) -> str:
    """Bytes as people read them."""
    value = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"
