"""``diff``: in what two datasets, or two versions of objects, differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_registry.cli.opening import open_registry
from prefect_registry.cli.options import Json, RegistryName
from prefect_registry.cli.output import clean, say, size, write, write_json
from prefect_registry.errors import InvalidInput, InvalidState

if TYPE_CHECKING:
    from prefect_registry.datasets.reading import Dataset

_SIGNS = {"added": "+", "removed": "-", "changed": "~"}
_SHOWN = {"added": ["after"], "removed": ["before"], "changed": ["before", "after"]}
_OF_SIDE = ("class", "materializer", "hash", "size", "file_count")
Files = dict[str, tuple[int, str]]
"""Size and sha256 (empty if none was recorded), by path."""


def diff(before: str, after: str, /, *, registry: RegistryName = None, json: Json = False) -> None:
    """Compare two datasets: their files, their rows, and the columns of their Parquet files; or two versions of objects
    (name@version): their files, class, materializer and metadata.

    Files are compared by path, size and sha256, as recorded; nothing but a Parquet footer is read. The exit code
    is 0 whether they differ or not.

    Parameters
    ----------
    before
        A dataset, or a version of an object: name@2, name@champion, name@latest.
    after
        Another one of the same sort.
    """
    if "@" in before or "@" in after:
        _diff_objects(before, after, registry, json)
        return
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
    _write_files(files)
    if not differs:
        say(f"No difference in {files['same']:,} file(s).")
    if files["unknown"]:
        say(f"{files['unknown']:,} file(s) have the same size, and no sha256 was recorded to tell more.")


GROUP = "Data"
COMMANDS = {"diff": diff}


def _diff_objects(before: str, after: str, registry: str | None, json: bool) -> None:
    if "@" not in before or "@" not in after:
        problem = f"{before!r:.200} and {after!r:.200}: one is a version of an object (name@version), the other is not"
        raise InvalidInput.of("diff", [problem])
    found = open_registry(registry)
    one, other = found.info(before), found.info(after)
    files = _changes(*({f["path"]: (f["size"], f["sha256"]) for f in side["files"]} for side in (one, other)))
    facts = {name: (one[name], other[name]) for name in ("class", "materializer") if one[name] != other[name]}
    metadata, init = _named(one["metadata"], other["metadata"]), _named(one["init_params"], other["init_params"])
    differs = bool(facts) or any(part[way] for part in (files, metadata, init) for way in _SIGNS)
    if json:
        sides = {side: {"id": f"{i['name']}@{i['version']}", **{k: i[k] for k in _OF_SIDE}} for side, i in
                 (("before", one), ("after", other))}  # fmt: skip
        write_json(
            "object_diff/1", registry=found.url, **sides, differs=differs, files=files, metadata=metadata,
            init_params=init,
        )  # fmt: skip
        return
    for name, (old, new) in facts.items():
        write(f"{name:<13}{clean(old)} -> {clean(new)}")
    for noun, part in (("metadata", metadata), ("init", init)):
        for way, sign in _SIGNS.items():
            for item in part[way]:
                shown = [item[side] for side in _SHOWN[way]]
                write(f"{noun:<9}{sign} {clean(item['name'])}: {' -> '.join(clean(value) for value in shown)}")
    _write_files(files)
    if not differs:
        say(f"No difference in {files['same']:,} file(s).")


def _named(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Which entries were added, removed and changed."""
    ways: dict[str, list[dict[str, Any]]] = {"added": [], "removed": [], "changed": []}
    for name in [*before, *(n for n in after if n not in before)]:
        way = "added" if name not in before else "removed" if name not in after else "changed"
        if way != "changed" or before[name] != after[name]:
            ways[way].append({"name": name, "before": before.get(name), "after": after.get(name)})
    return ways


def _write_files(files: dict[str, Any]) -> None:
    for way, sign in _SIGNS.items():
        for file in files[way]:
            sizes = " -> ".join(size(s) for s in (file["before"], file["after"]) if s is not None)
            write(f"file   {sign} {clean(file['path'])} ({sizes})")


def _readable(dataset: Dataset) -> Dataset:
    if dataset.state == "PENDING":
        raise InvalidState(f"Dataset {dataset.id} is PENDING", why="It has no files yet",
                           todo="Compare it when it is committed", committed="no")  # fmt: skip
    return dataset


def _count(rows: int | None) -> str:
    return "unknown" if rows is None else f"{rows:,}"


def _files(one: Dataset, other: Dataset) -> dict[str, Any]:
    return _changes(*({f.path: (f.size, f.sha256) for f in side.files} for side in (one, other)))


def _changes(before: Files, after: Files) -> dict[str, Any]:
    ways: dict[str, Any] = {"added": [], "removed": [], "changed": [], "same": 0, "unknown": 0}
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old is None or new is None or _differ(old, new):
            way = "added" if old is None else "removed" if new is None else "changed"
            ways[way].append({"path": path, "before": old and old[0], "after": new and new[0]})
        else:
            ways["same" if old[1] and new[1] else "unknown"] += 1
    return ways


def _differ(old: tuple[int, str], new: tuple[int, str]) -> bool:
    return old[0] != new[0] or bool(old[1] and new[1] and old[1] != new[1])


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
