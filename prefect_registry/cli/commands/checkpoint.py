"""``checkpoint``: the catalog as Parquet tables in the store, for readers without an index and for other engines."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from prefect_registry.cli.commands import Command
from prefect_registry.cli.opening import open_registry
from prefect_registry.cli.options import Flag, Json, RegistryName
from prefect_registry.cli.output import plain, say, size, write, write_json


def checkpoint(
    *,
    full: Annotated[Flag, Parameter(help="Write every table anew, and refer to none of an older checkpoint.")] = False,
    unsealed: Annotated[Flag, Parameter(help="Put in also what is newer than the newest sealed hour.")] = False,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Write the state of the catalog as Parquet tables into the store, and delete old ones.

    A reader without an index then need not walk the journal, and DuckDB, Spark and others can read the tables. Prints
    the key of the manifest that names them. Any number of processes may do so at the same time.
    """
    found = open_registry(registry)
    report = found.checkpoint(full=full, unsealed=unsealed)
    if json:
        write_json("checkpoint/1", registry=found.url, **plain(report))
        return
    if report.manifest is not None:
        write(report.manifest)
    if not report.written:
        say(f"Not written: {report.reason}.")
        return
    rows = ", ".join(f"{count:,} {table}" for table, count in report.rows.items())
    say(f"Up to {report.sealed.replace('/', ' ')}:59 UTC: {rows}.")
    say(f"{size(report.bytes_written)} written, {report.parts_kept:,} part(s) kept, {report.collected:,} old object(s) "
        "deleted.")  # fmt: skip


GROUP = "Housekeeping"
COMMANDS: dict[str, Command] = {"checkpoint": checkpoint}
