"""``diff``: in what two datasets differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_registry.cli.opening import open_registry
from prefect_registry.cli.options import Json, RegistryName
from prefect_registry.cli.output import clean, say, size, write, write_json
from prefect_registry.errors import InvalidState

if TYPE_CHECKING:
    from prefect_registry.datasets.reading import Dataset
    from prefect_registry.records.datasets import FileEntry

_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def diff(before: str, after: str, /, *, registry: RegistryName = None, json: Json = False) -> None:
    """Compare two datasets: their files, their rows, and the columns of their Parquet files.

    Files are compared by path, size and sha256, as recorded; nothing but a Parquet footer is read. The exit code
    is 0 whether they differ or not.

    Parameters
    ----------
    before
        A dataset.
    after
        Another dataset.
    """
    found = open_registry(registry)
    one, other = _readable(found.get_dataset(before)), _readable(found.get_dataset(after))
    files, columns = _files(one, other), _columns(one, other)
    differs = any(files[way] for way in _SIGNS) or any(columns[way] for way in _SIGNS) or one.rows != other.rows
    if json:
        sides = {side: {"id": d.id, "kind": d.kind, "rows": d.rows, "bytes": d.bytes} for side, d in
                 (("before", one), ("after", other))}  # fmt: skip
        write_json("diff/1", registry=found.url, **sides, differs=differs, files=files, columns=columns)
        return
    if one.rows != other.rows:
        write(f"rows     {_count(one.rows)} -> {_count(other.rows)}")
    for way, sign in _SIGNS.items():
        for column in columns[way]:
            types = " -> ".join(t for t in (column["before"], column["after"]) if t is not None)
            write(f"column {sign} {clean(column['name'])}: {types}")
    for way, sign in _SIGNS.items():
        for file in files[way]:
            sizes = " -> ".join(size(s) for s in (file["before"], file["after"]) if s is not None)
            write(f"file   {sign} {clean(file['path'])} ({sizes})")
    if not differs:
        say(f"No difference in {files['same']:,} file(s).")
    if files["unknown"]:
        say(f"{files['unknown']:,} file(s) have the same size, and no sha256 was recorded to tell more.")


GROUP = "Data"
COMMANDS = {"diff": diff}


def _readable(dataset: Dataset) -> Dataset:
    if dataset.state == "PENDING":
        raise InvalidState(f"Dataset {dataset.id} is PENDING", why="It has no files yet",
                           todo="Compare it when it is committed", committed="no")  # fmt: skip
    return dataset


def _count(rows: int | None) -> str:
    return "unknown" if rows is None else f"{rows:,}"


def _files(one: Dataset, other: Dataset) -> dict[str, Any]:
    before, after = {f.path: f for f in one.files}, {f.path: f for f in other.files}
    ways: dict[str, Any] = {"added": [], "removed": [], "changed": [], "same": 0, "unknown": 0}
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old is None or new is None or _differ(old, new):
            way = "added" if old is None else "removed" if new is None else "changed"
            ways[way].append({"path": path, "before": old and old.size, "after": new and new.size})
        else:
            ways["same" if old.sha256 and new.sha256 else "unknown"] += 1
    return ways


def _differ(old: FileEntry, new: FileEntry) -> bool:
    return old.size != new.size or bool(old.sha256 and new.sha256 and old.sha256 != new.sha256)


def _columns(one: Dataset, other: Dataset) -> dict[str, list[dict[str, Any]]]:
    before, after = _schema(one), _schema(other)
    ways: dict[str, list[dict[str, Any]]] = {"added": [], "removed": [], "changed": []}
    for name in [*before, *(n for n in after if n not in before)]:
        old, new = before.get(name), after.get(name)
        if old != new:
            way = "added" if old is None else "removed" if new is None else "changed"
            ways[way].append({"name": name, "before": old, "after": new})
    return ways


def _schema(dataset: Dataset) -> dict[str, str]:
    """Column names and types; none for a dataset without Parquet files, or whose bytes are gone by now."""
    if dataset.state == "ROLLED_BACK" or not any(f.path.endswith(".parquet") for f in dataset.files):
        return {}
    return {field.name: str(field.type) for field in dataset.dataset().schema}
