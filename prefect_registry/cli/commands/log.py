"""``log``: what happened, run by run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from prefect_registry.cli.commands.ls import say_more, sums
from prefect_registry.cli.opening import open_registry
from prefect_registry.cli.options import (
    AsOf,
    Containing,
    Cursor,
    Fresh,
    Json,
    Limit,
    RegistryName,
    Several,
    Since,
    States,
    Until,
    Window,
    one_of,
)
from prefect_registry.cli.output import clean, size, when, write_json, write_shape

if TYPE_CHECKING:
    from rich.text import Text

    from prefect_registry.catalog.results import RunInfo, Total


def log(
    *,
    purpose: Annotated[Several, Parameter(help="Only runs with this purpose; may be repeated.")] = None,
    state: States = None,
    since: Since = None,
    until: Until = None,
    text: Containing = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    as_of: AsOf = None,
    fresh: Fresh = True,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Show runs, newest first: what each was for, how it ended, and what it made."""
    found = open_registry(registry)
    window = Window.of(since, until, as_of, cursor)
    page = found.catalog.runs(
        purpose=purpose,
        state=one_of("--state", state, ("RUNNING", "COMMITTED", "ABORTED")),
        text=text,
        limit=limit,
        cursor=window.cursor,
        fresh=fresh,
        **window.moments,
    )
    made = {run.id: found.catalog.totals(run_id=run.id, as_of=window.moments["as_of"], fresh=False) for run in page}
    if json:
        items = [{"run": run, "made": [sums(total) for total in made[run.id]]} for run in page]
        write_json("log/1", registry=found.url, items=items, next=window.following(page.next))
        return
    for run in page:
        write_shape(_lines(run, made[run.id]))
    say_more(window.following(page.next))


GROUP = "Looking"
COMMANDS = {"log": log}

STYLES = {"COMMITTED": "green", "ABORTED": "red", "RUNNING": "yellow"}


def _lines(run: RunInfo, made: Iterable[Total]) -> Text:
    from rich.text import Text

    text = Text()
    text.append(f"{run.state:<9}", STYLES.get(run.state, ""))
    text.append(f" {run.id}  {clean(run.purpose)}\n")
    took = f", {(run.finished_at - run.started_at).total_seconds():,.1f} s" if run.finished_at is not None else ""
    text.append(f"          {when(run.started_at)} UTC{took}\n", "dim")
    for total in made:
        text.append(f"          {clean(total.kind)}: {total.datasets:,} dataset(s), {total.rows:,} rows, "
                    f"{size(total.bytes)}\n")  # fmt: skip
    if run.failure is not None:
        text.append(f"          {clean(run.failure.cls)} ({run.failure.kind}): {clean(_first(run.failure.message))}\n")
    if run.notes:
        text.append(f"          {clean(_first(run.notes))}\n")
    return text


def _first(text: str) -> str:
    return text.strip().partition("\n")[0]
