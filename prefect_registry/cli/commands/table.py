"""``table``: what readers see of a kind, for programs that read files."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from prefect_registry.cli.commands.show import dataset_fields, known_table, table_fields
from prefect_registry.cli.opening import open_registry
from prefect_registry.cli.options import AsOf, Flag, Json, RegistryName, moment
from prefect_registry.cli.output import say, size, write, write_json, write_table


def table(
    kind: str,
    /,
    *,
    files: Annotated[Flag, Parameter(help="Write the URL of every file, one a line.")] = False,
    as_of: AsOf = None,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Show the datasets that make up the published table of a kind, oldest first, or their files.

    The files are one whole published state: give them to DuckDB, Spark or whatever else reads Parquet.

    Parameters
    ----------
    kind
        The name of the kind.
    """
    found = open_registry(registry)
    published = known_table(found, kind, moment("--as-of", as_of))
    fields = table_fields(published)
    if json:
        datasets = [dataset_fields(d) for d in published.datasets()]
        write_json("table/1", registry=found.url, table=fields, datasets=datasets, files=published.files())
    elif files:
        for url in published.files():
            write(url)
    else:
        write_table(
            ("DATASET", "RUN", "MODE", "ROWS", "SIZE"),
            [(d.id, d.run_id, d.mode, d.rows, size(d.bytes)) for d in published.datasets()],
            ("ROWS", "SIZE"),
        )
        rows = "an unknown number of" if published.rows is None else f"{published.rows:,}"
        say(f"{kind}: {rows} rows, {size(published.bytes)} in {fields['file_count']:,} file(s).")


GROUP = "Data"
COMMANDS = {"table": table}
