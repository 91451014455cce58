"""``events`` and ``incidents``: what was told, newest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from prefect_registry.cli.commands.ls import say_more
from prefect_registry.cli.opening import open_registry
from prefect_registry.cli.options import (
    AsOf,
    Containing,
    Cursor,
    Json,
    Limit,
    RegistryName,
    Several,
    Since,
    Until,
    Window,
)
from prefect_registry.cli.output import plain, write_json, write_table

Name = Annotated[Several, Parameter(help="Only those of this name; may be repeated.")]
Subject = Annotated[str | None, Parameter(help="Only those about this id.")]
RunOf = Annotated[str | None, Parameter(help="Only those of this run.")]


def events(
    *,
    name: Name = None,
    subject: Subject = None,
    run: RunOf = None,
    since: Since = None,
    until: Until = None,
    text: Containing = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    as_of: AsOf = None,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Show the events that runs and others have emitted. Those of a run that was rolled back are not among them."""
    query = {"event_name": name, "subject_id": subject, "run_id": run, "text": text, "limit": limit}
    window = Window.of(since, until, as_of, cursor)
    row = lambda e: (e.created_at, e.event_name, e.subject_id, _compact(e.payload), e.id)  # noqa: E731
    _show("events", query, window, registry, json, ("TIME (UTC)", "NAME", "SUBJECT", "PAYLOAD", "EVENT"), row)


def incidents(
    *,
    name: Name = None,
    subject: Subject = None,
    run: RunOf = None,
    error: Annotated[Several, Parameter(help="Only those with this class of error; may be repeated.")] = None,
    since: Since = None,
    until: Until = None,
    text: Containing = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    as_of: AsOf = None,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Show what went wrong, also in runs that were rolled back."""
    query = {"event": name, "error_class": error, "subject_id": subject, "run_id": run, "text": text, "limit": limit}
    window = Window.of(since, until, as_of, cursor)
    row = lambda i: (i.created_at, i.event, i.subject_id, i.error_class, i.message.partition("\n")[0], i.id)  # noqa: E731
    columns = ("TIME (UTC)", "NAME", "SUBJECT", "ERROR", "MESSAGE", "INCIDENT")
    _show("incidents", query, window, registry, json, columns, row)


GROUP = "Looking"
COMMANDS = {"events": events, "incidents": incidents}


def _show(
    what: str,
    query: dict[str, Any],
    window: Window,
    wanted: str | None,
    as_json: bool,
    columns: Sequence[str],
    row: Callable[[Any], Sequence[object]],
) -> None:
    registry = open_registry(wanted)
    page = getattr(registry.catalog, what)(order="-created_at", cursor=window.cursor, **window.moments, **query)
    if as_json:
        write_json(f"{what}/1", registry=registry.url, items=page.to_dicts(), next=window.following(page.next))
        return
    write_table(columns, [row(item) for item in page])
    say_more(window.following(page.next))


def _compact(payload: Any) -> str:
    import json

    return json.dumps(plain(payload), separators=(",", ":")) if payload else ""
