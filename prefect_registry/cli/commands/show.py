"""``show``: one thing, by its id or the name of a kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect_registry.cli.opening import open_registry
from prefect_registry.cli.options import Json, RegistryName
from prefect_registry.cli.output import clean, plain, size, write, write_json, write_table
from prefect_registry.errors import NotFound

if TYPE_CHECKING:
    from datetime import datetime

    from prefect_registry.datasets.reading import Dataset
    from prefect_registry.datasets.tables import Table
    from prefect_registry.registry import Registry


def show(id_or_kind: str, /, *, registry: RegistryName = None, json: Json = False) -> None:
    """Show all that is known of a run, dataset, event or incident, or what readers see of a kind.

    Parameters
    ----------
    id_or_kind
        An id (run_…, ds_…, ev_…, inc_…), or the name of a kind.
    """
    found = open_registry(registry)
    of, item = _looked_up(found, id_or_kind)
    if json:
        write_json("show/1", registry=found.url, of=of, item=item)
        return
    listed = {name: item.pop(name) for name in ("datasets", "files") if isinstance(item.get(name), list)}
    write_fields(item)
    for name, rows in listed.items():
        write(f"\n{name}: {len(rows):,}")
        if rows:
            columns = list(rows[0])
            write_table(columns, [[row[c] for c in columns] for row in rows], ("rows", "bytes", "size"))


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


def _looked_up(registry: Registry, wanted: str) -> tuple[str, dict[str, Any]]:
    if wanted.startswith("run_"):
        return "run", _run(registry, wanted)
    if wanted.startswith("ds_"):
        return "dataset", dataset_fields(registry.get_dataset(wanted))
    if wanted.startswith("ev_"):
        return "event", plain(registry.get_event(wanted))
    if wanted.startswith("inc_"):
        return "incident", plain(registry.get_incident(wanted))
    return "table", table_fields(known_table(registry, wanted))


def _run(registry: Registry, run_id: str) -> dict[str, Any]:
    info = plain(registry.get_run(run_id))
    catalog = registry.catalog
    made = [
        *catalog.datasets(run_id=run_id, limit=_MOST),
        *catalog.datasets(parent_run=run_id, limit=_MOST, max_age=60),
    ]
    columns = ("id", "kind", "state", "rows", "bytes")
    datasets = {d.id: {c: getattr(d, c) for c in columns} for d in sorted(made, key=lambda d: d.id)}
    return {**info, "datasets": list(datasets.values())}


def dataset_fields(dataset: Dataset) -> dict[str, Any]:
    """A dataset with its files, as JSON values."""
    hidden = ("files", "store", "usage", "partitioning")
    item = {name: plain(value) for name, value in vars(dataset).items() if name not in hidden}
    files = [{"path": f.path, "size": f.size, "rows": f.rows, "sha256": f.sha256} for f in dataset.files]
    return {**item, "files": files}


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
    """A table with the datasets that make it up, as JSON values."""
    columns = ("id", "run_id", "mode", "rows", "bytes")
    datasets = [{c: getattr(d, c) for c in columns} for d in table.datasets()]
    files = sum(len(d.files) for d in table.datasets())
    return {"kind": table.kind, "rows": table.rows, "bytes": table.bytes, "file_count": files, "datasets": datasets}
