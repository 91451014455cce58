"""``show``: one thing, by its id, the name of a kind, or that of an object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect_registry.cli.models import looked_up, type_of_id, write_artifacts
from prefect_registry.cli.objects import find_object, id_of, is_kind, nothing_of, object_fields, object_files
from prefect_registry.cli.opening import open_registry
from prefect_registry.cli.options import Json, RegistryName
from prefect_registry.cli.output import clean, plain, size, write, write_json, write_table
from prefect_registry.errors import IntegrityError, NotFound

if TYPE_CHECKING:
    from datetime import datetime

    from prefect_registry.catalog.results import DatasetInfo, RunInfo
    from prefect_registry.datasets.reading import Dataset
    from prefect_registry.datasets.tables import Table
    from prefect_registry.objects.finding import Found
    from prefect_registry.records.datasets import FileEntry
    from prefect_registry.registry import Registry


def show(id_or_name: str, /, *, registry: RegistryName = None, json: Json = False) -> None:
    """Show all that is known of a run, dataset, event, incident, object or registered model, or what readers see of a
    kind.

    Parameters
    ----------
    id_or_name
        An id (run_…, ds_…, ev_…, inc_…, model_…, mv_…, art_…); the name of a kind; or an object: name@2.1,
        name@champion, name@latest. Without a version, the kind of that name, or else the object's latest version.
    """
    found = open_registry(registry)
    shown = _looked_up(found, id_or_name)
    if json:
        write_json("show/1", registry=found.url, **shown)
        return
    write_fields(shown["item"])
    for name in ("datasets", "files"):
        rows = shown[name]
        if rows is not None:
            write(f"\n{name}: {len(rows):,}")
        if rows:
            columns = list(rows[0])
            write_table(columns, [[row[c] for c in columns] for row in rows], ("rows", "bytes", "size"))
    if shown["artifacts"]:
        write("")
        write_artifacts(shown["artifacts"])


GROUP = "Looking"
COMMANDS = {"show": show}

_MOST = 10_000


def write_fields(item: Mapping[str, Any]) -> None:
    """Names and values, one a line; what is nested has dots in its name, what is empty is left out."""
    pairs = [(name, value) for name, value in _flat(item) if value not in (None, "", {}, [])]
    widest = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        write(f"{name:<{widest}}  {clean(value)}")


def _flat(item: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in item.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{before}{name}.")
        elif name == "bytes" and isinstance(value, int):
            found.append((f"{before}{name}", f"{value:,} ({size(value)})" if value >= 1024 else f"{value:,}"))
        elif isinstance(value, bool) or not isinstance(value, int):
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            found.append((f"{before}{name}", shown))
        else:
            found.append((f"{before}{name}", f"{value:,}"))
    return found


def _looked_up(registry: Registry, wanted: str) -> dict[str, Any]:
    """What it is of, the item, and the datasets, files or artifacts that belong to it, if such a thing has any."""
    datasets = files = artifacts = None
    prefix = id_of(registry, wanted, "run_", "ds_", "ev_", "inc_")
    if prefix == "run_":
        run = registry.get_run(wanted)
        of, item, datasets = "run", plain(run), _made(registry, run)
    elif prefix == "ds_":
        dataset = registry.get_dataset(wanted)
        known = registry.catalog.datasets(id=wanted)
        if not known:
            raise IntegrityError(
                f"The index of this machine does not know dataset {wanted}, which the store has",
                why="The index is damaged",
                todo="Build it anew: prefect-registry fsck --repair",
            )
        of, item, files = "dataset", plain(known[0]), [file_fields(f) for f in dataset.files]
    elif prefix == "ev_":
        of, item = "event", plain(registry.get_event(wanted))
    elif prefix == "inc_":
        of, item = "incident", plain(registry.get_incident(wanted))
    elif (registered := type_of_id(wanted)) is not None:
        found = looked_up(registry, registered, wanted)
        of, item, artifacts = registered, plain(found["item"]), found["artifacts"]
    elif (version := _object_of(registry, wanted)) is not None:
        info = registry.info(version.id)
        of, item, files = "object", object_fields(info), object_files(info)
    else:
        table = known_table(registry, wanted)
        of, item, datasets = "table", table_fields(table), [dataset_fields(d) for d in table.datasets()]
    return {"of": of, "item": item, "datasets": datasets, "files": files, "artifacts": artifacts}


def _object_of(registry: Registry, wanted: str) -> Found | None:
    """The object that a name means; None for a kind."""
    if "@" not in wanted and is_kind(registry, wanted):
        return None
    found = find_object(registry, wanted)
    if found is None and not is_kind(registry, wanted):
        raise nothing_of(registry, wanted)
    return found


def _made(registry: Registry, run: RunInfo) -> list[dict[str, Any]]:
    """The datasets of a run; also those that had runs of their own, because they were published by themselves."""
    found: dict[str, DatasetInfo] = {}
    for by in ("run_id", "parent_run") if run.publish == "on_commit" else ("run_id",):
        query: dict[str, Any] = {by: run.id, "order": "id", "limit": _MOST}
        cursor = None
        while page := registry.catalog.datasets(cursor=cursor, **query):
            found |= {d.id: d for d in page}
            cursor = page.next
            if cursor is None:
                break
    return [dataset_fields(found[id]) for id in sorted(found)]


def dataset_fields(dataset: Dataset | DatasetInfo) -> dict[str, Any]:
    """A dataset in one line."""
    return {name: getattr(dataset, name) for name in ("id", "kind", "run_id", "state", "mode", "rows", "bytes")}


def file_fields(file: FileEntry) -> dict[str, Any]:
    """A file of a dataset, as its manifest has it."""
    return {"path": file.path, "size": file.size, "rows": file.rows, "sha256": file.sha256 or None}


def known_table(registry: Registry, kind: str, as_of: datetime | None = None) -> Table:
    """The table of a kind. ``NotFound`` if there never was a dataset of it, so that a wrong spelling is no answer."""
    table = registry.table(kind) if as_of is None else registry.as_of(as_of).table(kind)
    if not table and not registry.catalog.count("datasets", kind=kind):
        raise NotFound(
            f"There is no kind {kind!r:.100}, and it is no id",
            todo="Check the spelling: prefect-registry ls kinds",
            committed="no",
        )
    return table


def table_fields(table: Table) -> dict[str, Any]:
    """A table and what it sums up to."""
    files = sum(len(d.files) for d in table.datasets())
    return {"kind": table.kind, "rows": table.rows, "bytes": table.bytes, "file_count": files}
