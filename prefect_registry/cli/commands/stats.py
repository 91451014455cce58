"""``stats``: what is stored, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from prefect_registry.cli.opening import open_registry
from prefect_registry.cli.options import Flag, Fresh, Json, RegistryName
from prefect_registry.cli.output import plain, say, size, write_json, write_table

if TYPE_CHECKING:
    from prefect_registry.catalog.results import Total

_NONE = {"datasets": 0, "rows": 0, "bytes": 0, "objects": 0}


def stats(
    *,
    quick: Annotated[Flag, Parameter(help="Leave out what collection would free: that lists all data.")] = False,
    fresh: Fresh = True,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Show, per kind, datasets, rows, bytes and objects: what is visible, and what there is in all states.

    At the end, what `gc --yes` would free.
    """
    found = open_registry(registry)
    everything = {total.kind: _sums(total) for total in found.catalog.totals(by="kind", fresh=fresh)}
    visible = {total.kind: _sums(total) for total in found.catalog.totals(by="kind", state="READY", fresh=False)}
    kinds = [{"kind": k, "visible": visible.get(k, _NONE), "all": everything[k]} for k in sorted(everything, key=str)]
    runs = {state: found.catalog.count("runs", state=state, fresh=False) for state in _RUN_STATES}
    freed = None if quick else plain(found.collect(dry_run=True))
    if json:
        would_free = freed and {name: freed[name] for name in ("objects", "bytes", "runs", "waiting")}
        write_json("stats/1", registry=found.url, runs=runs, kinds=kinds, collection=would_free)
        return
    columns = ("KIND", "VISIBLE", "ROWS", "SIZE", "OBJECTS", "ALL", "ALL SIZE", "ALL OBJECTS")
    write_table(columns, [_row(kind) for kind in kinds], columns[1:])
    say(", ".join(f"{count:,} run(s) {state}" for state, count in runs.items()) + ".")
    if freed is not None:
        say(f"gc would free {size(freed['bytes'])} in {freed['objects']:,} object(s).")


GROUP = "Housekeeping"
COMMANDS = {"stats": stats}

_RUN_STATES = ("RUNNING", "COMMITTED", "ABORTED")


def _sums(total: Total) -> dict[str, int]:
    return {"datasets": total.datasets, "rows": total.rows, "bytes": total.bytes, "objects": total.files}


def _row(kind: Mapping[str, Any]) -> tuple[object, ...]:
    seen, every = kind["visible"], kind["all"]
    return (
        kind["kind"], seen["datasets"], seen["rows"], size(seen["bytes"]), seen["objects"], every["datasets"],
        size(every["bytes"]), every["objects"],
    )  # fmt: skip
