"""``models ls``, ``show``, ``compare`` and ``history``: registered models, their versions, what became of them."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from prefect_registry.cli.commands import Command
from prefect_registry.cli.commands.ls import say_more
from prefect_registry.cli.commands.show import write_fields
from prefect_registry.cli.models import (
    artifact_fields,
    model_fields,
    open_models,
    the_model,
    version_fields,
    write_artifacts,
)
from prefect_registry.cli.options import Cursor, Flag, Json, Limit, RegistryName
from prefect_registry.cli.output import plain, say, write, write_json, write_table
from prefect_registry.errors import InvalidInput, NotFound


def ls(
    model: str | None = None,
    /,
    *,
    filter: Annotated[
        str | None, Parameter(help="An expression, like \"name LIKE 'd%' AND properties.accuracy >= 0.9\".")
    ] = None,
    order: Annotated[
        str,
        Parameter(
            allow_leading_hyphen=True,
            help="A field, or properties.<key>, with a minus before it for descending.",
        ),
    ] = "-create_time",
    archived: Annotated[Flag, Parameter(help="Archived ones too.")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """List the registered models, or the versions of one. The newest come first.

    Parameters
    ----------
    model
        A registered model. Without it, all are listed.
    """
    from prefect_registry.models.converting import resource_of
    from prefect_registry.models.listing import Listing

    models = open_models(registry)
    parent = the_model(models, model) if model is not None else None
    found = models.models.registry
    records, following = Listing(found.ledger, found.catalog).page(
        "model" if parent is None else "model_version",
        parent=parent.id if parent is not None else None,
        limit=limit,
        order_by=order.removeprefix("-"),
        ascending=not order.startswith("-"),
        token=cursor,
        filter_query=filter,
        states=("LIVE", "ARCHIVED") if archived else None,
    )
    resources: list[Any] = [resource_of(record) for record in records]
    if parent is None:
        items = [model_fields(each) for each in resources]
    else:
        aliases = models.aliases(parent.name)
        items = [version_fields(each, parent.name, aliases) for each in resources]
    if json:
        write_json("models_ls/1", registry=found.url, model=model, items=items, next=following)
        return
    if parent is None:
        rows = [(i["name"], i["state"], i["owner"], i["created_at"], i["id"]) for i in items]
        write_table(("MODEL", "STATE", "OWNER", "REGISTERED (UTC)", "ID"), rows)
    else:
        columns = ("VERSION", "ALIASES", "STATE", "AUTHOR", "REGISTERED (UTC)", "ID")
        write_table(
            columns,
            [(i["name"], ", ".join(i["aliases"]), i["state"], i["author"], i["created_at"], i["id"]) for i in items],
        )
    say_more(following)


def show(
    model: str,
    version: str | None = None,
    /,
    *,
    card: Annotated[Flag, Parameter(help="Write the model card of the version, and nothing else.")] = False,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Show a registered model with its aliases, or one of its versions with its artifacts.

    Parameters
    ----------
    model
        A registered model.
    version
        A version, an alias, or latest. Without it, the model; with --card, the latest version.
    """
    models = open_models(registry)
    found = the_model(models, model)
    aliases = models.aliases(model)
    item, artifacts, text = model_fields(found), None, None
    if version is not None or card:
        resolved = models.resolve(model, version or "latest")
        made = models.artifacts_of(resolved)
        item, artifacts = version_fields(resolved, model, aliases), [artifact_fields(each) for each in made]
        text = next((a["fields"].get("text") for a in artifacts if _is_card(a)), None)
        if card and text is None:
            raise NotFound(f"Version {resolved.name!r:.250} of model {model!r:.250} has no model card", committed="no")
    if json:
        listed = [{"alias": alias, "version": name} for alias, name in aliases.items()]
        of = "model" if artifacts is None else "model_version"
        url = models.models.registry.url
        write_json("models_show/1", registry=url, of=of, item=item, aliases=listed, artifacts=artifacts, card=text)
    elif card:
        write(str(text))
    else:
        write_fields(plain(item))
        if artifacts:
            write("")
            write_artifacts(artifacts)
        elif artifacts is None and aliases:
            write("")
            write_table(("ALIAS", "VERSION"), list(aliases.items()))


def compare(
    model: str,
    first: str,
    second: str,
    /,
    *,
    with_model: Annotated[str | None, Parameter(help="The model that SECOND is a version of.")] = None,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Compare two versions: fields, properties, metrics, parameters, and where their artifacts are.

    The exit code is 0 whether they differ or not.

    Parameters
    ----------
    model
        A registered model.
    first
        A version, an alias, or latest.
    second
        Another one.
    """
    models = open_models(registry)
    found = models.compare(model, first, second, second_name=with_model)
    names = ((model, found.first.name), (with_model or model, found.second.name))
    if json:
        sides = [{"model": owner, "version": name} for owner, name in names]
        write_json(
            "models_compare/1", registry=models.models.registry.url, first=sides[0], second=sides[1],
            differs=bool(found), differences=found.to_dicts(),
        )  # fmt: skip
        return
    if not found:
        say("No difference.")
        return
    heads = [f"{owner} {name}" if with_model is not None else name for owner, name in names]
    write_table(("FIELD", *heads), [(d.field, _told(d.before), _told(d.after)) for d in found.differences])


def history(
    model: str,
    version: str | None = None,
    /,
    *,
    alias: Annotated[str | None, Parameter(help="Instead: every move of this alias.")] = None,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Show every change of a version, or without one of the model, oldest first: what, when, by whom, why.

    Parameters
    ----------
    model
        A registered model.
    version
        A version, an alias, or latest.
    """
    if version is not None and alias is not None:
        raise InvalidInput.of("history", ["only one of VERSION and --alias can be given"])
    models = open_models(registry)
    the_model(models, model)
    moves = models.alias_history(model, alias) if alias is not None else None
    if moves is not None and not moves:
        raise NotFound(f"Model {model!r:.250} never had an alias {alias!r:.250}", committed="no")
    changes = models.history(model, version) if moves is None else []
    if json:
        entries = [
            {"at": e.at, "by": e.by, "run_id": e.run_id, "reason": e.reason,
             "changes": [{"name": d.field, "before": d.before, "after": d.after} for d in e.changes]}
            for e in changes
        ]  # fmt: skip
        url = models.models.registry.url
        write_json(
            "models_history/1", registry=url, model=model, version=version, alias=alias, changes=entries, moves=moves
        )
    elif moves is not None:
        rows = [(m.at, m.version if m.version is not None else "(removed)", m.by, m.reason, m.run_id) for m in moves]
        write_table(("TIME (UTC)", "VERSION", "BY", "REASON", "RUN"), rows)
    else:
        told = [(e.at, _changes(e.changes), e.by, e.reason, e.run_id) for e in changes]
        write_table(("TIME (UTC)", "CHANGED", "BY", "REASON", "RUN"), told)


GROUP = "Models"
PARENTS = {"models": "Register models and their versions, look at them, and move their aliases."}
COMMANDS: dict[str, Command] = {
    "models ls": ls,
    "models show": show,
    "models compare": compare,
    "models history": history,
}


def _is_card(artifact: dict[str, Any]) -> bool:
    from prefect_registry.models.cards import CARD

    return bool(artifact["type"] == "doc-artifact" and artifact["name"] == CARD)


def _told(value: object) -> str:
    """A value in a table: the beginning of a long text, on one line."""
    if value is None:
        return ""
    text = " ".join(str(value).split())
    return text if len(text) <= 100 else f"{text[:100]}…"


def _changes(changes: Any) -> str:
    return "; ".join(f"{c.field}: {_told(c.before)} -> {_told(c.after)}" for c in changes) or "registered"
