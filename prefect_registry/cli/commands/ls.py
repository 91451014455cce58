"""``ls``: what there is, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from cyclopts import Parameter

from prefect_registry.cli.objects import list_objects
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
    labels,
    one_of,
)
from prefect_registry.cli.output import clean, say, size, write_json, write_table
from prefect_registry.errors import InvalidInput

if TYPE_CHECKING:
    from prefect_registry.catalog.catalog import Catalog
    from prefect_registry.catalog.results import Page, Total

Subject = Literal["datasets", "runs", "kinds", "events", "incidents", "documents", "doctags", "objects"]


def ls(
    what: Subject = "datasets",
    /,
    *,
    kind: Annotated[Several, Parameter(help="Only datasets of this kind; may be repeated.")] = None,
    state: States = None,
    run: Annotated[str | None, Parameter(help="Only what this run made.")] = None,
    purpose: Annotated[Several, Parameter(help="Only runs with this purpose; may be repeated.")] = None,
    tag: Annotated[Several, Parameter(help="Only datasets with this label, name=value; may be repeated.")] = None,
    since: Since = None,
    until: Until = None,
    text: Containing = None,
    order: Annotated[
        str | None, Parameter(allow_leading_hyphen=True, help="A field, with a minus before it for descending.")
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    as_of: AsOf = None,
    fresh: Fresh = True,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """List datasets, or runs, kinds, events, incidents, documents, doctags or objects. The newest come first.

    Datasets are listed in every state. --state READY shows what is visible; `ls kinds` sums that up per kind.
    `ls objects` goes by name, and shows the latest version of each.

    Parameters
    ----------
    what
        What to list.
    """
    window = Window.of(since, until, as_of, cursor if what != "objects" else None)  # theirs is a name
    filters = {
        "kind": kind,
        "state": one_of("--state", state, _states(what)),
        "run_id": run,
        "purpose": purpose,
        "tags": labels("--tag", tag),
        "since": window.moments["since"],
        "until": window.moments["until"],
    }
    filters = {name: value for name, value in filters.items() if value is not None}
    query = {"text": text, "as_of": window.moments["as_of"], "fresh": fresh}
    _check_words(what, filters, order, cursor)
    found = open_registry(registry)
    if what == "objects":
        if as_of is not None or not fresh:
            raise InvalidInput.of("ls", ["--as-of and --no-fresh do not go with objects"])
        say_more(list_objects(found, text, limit, cursor, json))
        return
    if what == "kinds":
        _kinds(found.catalog, found.url, filters | query, json)
        return
    paging: dict[str, Any] = {"limit": limit, "cursor": window.cursor, **({"order": order} if order else {})}
    page = _page(found.catalog, what, filters | query | paging)
    if json:
        write_json("ls/1", registry=found.url, of=what, items=page.to_dicts(), next=window.following(page.next))
        return
    columns, right = _COLUMNS[what]
    write_table(columns, [_row(what, item) for item in page], right)
    say_more(window.following(page.next))


GROUP = "Looking"
COMMANDS = {"ls": ls}

_COLUMNS: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "datasets": (("DATASET", "KIND", "STATE", "ROWS", "SIZE", "FILES", "BEGUN (UTC)"), ("ROWS", "SIZE", "FILES")),
    "runs": (("RUN", "PURPOSE", "STATE", "BEGUN (UTC)", "CLOSED (UTC)"), ()),
    "kinds": (("KIND", "DATASETS", "ROWS", "SIZE", "FILES"), ("DATASETS", "ROWS", "SIZE", "FILES")),
    "events": (("EVENT", "NAME", "SUBJECT", "TIME (UTC)"), ()),
    "incidents": (("INCIDENT", "NAME", "SUBJECT", "ERROR", "TIME (UTC)"), ()),
    "documents": (("DOCUMENT", "TITLE", "TIME (UTC)"), ()),
    "doctags": (("DOCUMENT", "MODEL", "TIME (UTC)"), ()),
}
_CELLS = {"documents": "document", "doctags": "doctags"}


def say_more(cursor: str | None) -> None:
    """How to see the next page, if there is one."""
    if cursor is not None:
        say(f"There are more: --cursor {cursor}")


def sums(total: Total) -> dict[str, Any]:
    """What there is of a kind."""
    return {name: getattr(total, name) for name in ("kind", "datasets", "rows", "bytes", "files")}


def _states(what: str) -> list[str]:
    from prefect_registry.catalog.results import RunState
    from prefect_registry.records.datasets import DatasetState

    return list(get_args(RunState if what == "runs" else DatasetState))


def _check_words(what: Subject, filters: dict[str, Any], order: str | None, cursor: str | None) -> None:
    allowed = {
        "datasets": {"kind", "state", "run_id", "tags", "since", "until"},
        "runs": {"state", "purpose", "since", "until"},
        "kinds": {"kind", "state", "run_id", "tags", "since", "until"},
        "events": {"run_id", "since", "until"},
        "incidents": {"run_id", "since", "until"},
        "objects": set(),
    }.get(what, {"run_id", "since", "until"})
    names = {"run_id": "--run", "tags": "--tag"}
    problems = [f"{names.get(n, '--' + n)} does not go with {what}" for n in filters if n not in allowed]
    if what == "objects" and order:
        problems.append("--order does not go with objects")
    if what == "kinds":
        problems += [f"{name} does not go with kinds" for name, v in (("--order", order), ("--cursor", cursor)) if v]
    if problems:
        raise InvalidInput.of("ls", problems, todo=f"Leave it out, or see: prefect-registry ls {what} --help")


def _page(catalog: Catalog, what: Subject, query: dict[str, Any]) -> Page[Any]:
    if what in _CELLS:
        return catalog.cells(_CELLS[what], **query)
    if what in ("events", "incidents"):
        query = {"order": "-created_at", **query}
    page: Page[Any] = getattr(catalog, what)(**query)
    return page


def _row(what: Subject, item: Any) -> tuple[object, ...]:
    if what == "datasets":
        return (item.id, item.kind, item.state, item.rows, size(item.bytes), item.file_count, item.created_at)
    if what == "runs":
        return (item.id, item.purpose, item.state, item.started_at, item.finished_at)
    if what == "events":
        return (item.id, item.event_name, item.subject_id, item.created_at)
    if what == "incidents":
        return (item.id, item.event, item.subject_id, item.error_class, item.created_at)
    shown = item.value.get("title") if what == "documents" else item.value.get("vlm_model")
    return (item.name, clean(shown), item.at)


def _kinds(catalog: Catalog, url: str, query: dict[str, Any], as_json: bool) -> None:
    totals = catalog.totals(by="kind", **{"state": "READY", **query})
    items = [sums(total) for total in totals]
    if as_json:
        write_json("ls/1", registry=url, of="kinds", items=items, next=None)
        return
    columns, right = _COLUMNS["kinds"]
    write_table(columns, [(i["kind"], i["datasets"], i["rows"], size(i["bytes"]), i["files"]) for i in items], right)
