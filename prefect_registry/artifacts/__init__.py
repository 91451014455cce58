"""What a committed run leaves in Prefect's UI: tables of its datasets and objects, and a page that tells what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

import orjson
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate

from prefect_registry.artifacts.texts import opening, plain, readable, slug
from prefect_registry.datasets.reading import Dataset
from prefect_registry.models.published import RegisteredVersion
from prefect_registry.objects.published import SavedObject
from prefect_registry.registry import Run

MOST_ROWS = 500
"""Rows of a table; the page says how many were left out."""
MOST_ON_PAGE = 100
"""Objects that the page lists, and versions of models."""

__all__ = ["leave", "leave_page", "opening", "page", "readable", "slug", "table", "table_of_objects"]


def leave(
    run: Run,
    name: str,
    purpose: str,
    datasets: list[Dataset],
    flow_run: str,
    objects: Sequence[SavedObject] = (),
    versions: Sequence[RegisteredVersion] = (),
    event_keys: Sequence[str] = (),
) -> None:
    """Create the artifacts for a flow run; the keys are made of ``name`` alone, so that each has a history."""
    key = slug(name)
    text = page(run, purpose, datasets, objects, versions, event_keys)
    left = [("markdown", "run", text, f"What {purpose} published, and how to read it")]
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


def page(
    run: Run,
    purpose: str,
    datasets: list[Dataset],
    objects: Sequence[SavedObject] = (),
    versions: Sequence[RegisteredVersion] = (),
    event_keys: Sequence[str] = (),
) -> str:
    """The page: what is visible now, by kind, what it was made from, and how to read, inspect and take it back."""
    from prefect_registry.artifacts.lineage import section  # what publishes nothing draws nothing

    imported, opened = opening(run.registry)
    lines = [
        f"## {plain(purpose)}: published",
        "",
        f"Run `{run.id}` is **committed**: {_counted(datasets, objects, versions)} became visible together in",
        f"`{run.registry.url}`.",
        "",
        *_kinds(datasets),
        *_objects(objects),
        *_versions(versions),
        *([f"The table artifact beside this one shows the first {MOST_ROWS} datasets.", ""]
          if len(datasets) > MOST_ROWS else []),
        *section(run, purpose, event_keys, datasets, objects, versions),
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
        f"| {plain(o.name)} | {plain(o.version)} | {plain(o.class_)} | {readable(o.size)} |"
        for o in objects[:MOST_ON_PAGE]
    ]
    more = len(objects) - len(rows)
    return ["| object | version | class | size |", "|---|---|---|---:|", *rows, "",
            *([f"And {more:,} more object(s).", ""] if more else [])]  # fmt: skip


def _versions(versions: Sequence[RegisteredVersion]) -> list[str]:
    if not versions:
        return []
    rows = [f"| {plain(v.model)} | {plain(v.version)} | {plain(v.by or '')} |" for v in versions[:MOST_ON_PAGE]]
    more = len(versions) - len(rows)
    return ["| model | version | by |", "|---|---|---|", *rows, "",
            *([f"And {more:,} more version(s) of models.", ""] if more else [])]  # fmt: skip


def _row(kind: str, datasets: list[Dataset]) -> str:
    how = ", ".join(_MODES[mode] for mode in sorted({d.mode for d in datasets}))
    size = readable(sum(d.bytes for d in datasets))
    return f"| {plain(kind)} | {len(datasets):,} | {_rows(datasets)} | {size} | {how} |"


def _by_kind(datasets: list[Dataset]) -> Iterable[tuple[str, Iterable[Dataset]]]:
    return groupby(sorted(datasets, key=lambda d: (d.kind, d.id)), key=lambda d: d.kind)


def _counted(
    datasets: list[Dataset], objects: Sequence[SavedObject], versions: Sequence[RegisteredVersion] = ()
) -> str:
    told = []
    if datasets:
        noun = "dataset" if len(datasets) == 1 else "datasets"
        size = readable(sum(d.bytes for d in datasets))
        rows = _rows(datasets)
        told.append(f"{len(datasets):,} {noun}, {rows} {'row' if rows == '1' else 'rows'}, {size}")
    if objects:
        noun = "object" if len(objects) == 1 else "objects"
        told.append(f"{len(objects):,} {noun}, {readable(sum(o.size for o in objects))}")
    if versions:
        told.append(f"{len(versions):,} version{'' if len(versions) == 1 else 's'} of models")
    return ", and ".join(told)


def _rows(datasets: list[Dataset]) -> str:
    counts = [d.rows for d in datasets]
    return "uncounted" if any(c is None for c in counts) else f"{sum(c or 0 for c in counts):,}"
