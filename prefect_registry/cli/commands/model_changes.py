"""``models register``, ``promote`` and ``archive``: what changes registered models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from prefect_registry.cli.commands import Command
from prefect_registry.cli.models import (
    artifact_fields,
    model_fields,
    open_models,
    properties,
    the_model,
    version_fields,
)
from prefect_registry.cli.objects import bytes_of, given_path
from prefect_registry.cli.options import Flag, Json, RegistryName, Several
from prefect_registry.cli.output import clean, progress, say, write, write_json
from prefect_registry.errors import InvalidInput

Reason = Annotated[str | None, Parameter(help="Recorded with it.")]


def register(
    model: str,
    uri: str | None = None,
    /,
    *,
    path: Annotated[
        str | None, Parameter(help="Save this file or folder in the registry, instead of naming a URI.")
    ] = None,
    version: Annotated[str | None, Parameter(help="Up to 250 characters. [default: the next number]")] = None,
    format: Annotated[str | None, Parameter(help="Name of the model's format, such as onnx.")] = None,
    format_version: Annotated[str | None, Parameter(help="Version of that.")] = None,
    property: Annotated[
        Several,
        Parameter(
            help="A custom property of the version, name=value; may be repeated. Numbers, true and false are that, "
            "anything else is text; name='\"1\"' is a text too."
        ),
    ] = None,
    author: Annotated[str | None, Parameter(help="Who made it. [default: your login name]")] = None,
    description: Annotated[str | None, Parameter(help="Of the version.")] = None,
    card: Annotated[str | None, Parameter(help="A file with the model card, in Markdown.")] = None,
    alias: Annotated[Several, Parameter(help="Point this alias at it, in the same moment; may be repeated.")] = None,
    reason: Reason = None,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Register a version of a model, and the model if there is none of that name, by one decision.

    Parameters
    ----------
    model
        The model's name.
    uri
        Where its files are: any URI; registry://object/name@version is an object of this registry.
    """
    if (uri is None) == (path is None):
        raise InvalidInput.of("register", ["exactly one of URI and --path is needed"])
    about: dict[str, Any] = {
        "version": version,
        "author": author,
        "description": description,
        "metadata": properties("--property", property),
        "card": Path(card) if card is not None else None,
        "aliases": alias or (),
        "about": {"model_format_name": format, "model_format_version": format_version},
        "reason": reason,
    }
    files = given_path("register", path) if path is not None else None
    models = open_models(registry, create=True)
    if files is None:
        made = models.register(model, uri, **about)
    else:
        with progress(f"Saving {model}", bytes_of(files)) as bar:
            made = models.register(model, model=files, progress=bar, **about)
    named = dict.fromkeys(alias or (), made.version.name)
    if json:
        write_json(
            "models_register/1",
            registry=models.models.registry.url,
            model=model_fields(made.model),
            version=version_fields(made.version, model, named),
            artifacts=[artifact_fields(each) for each in made.artifacts],
        )
        return
    write(made.version.name)
    say(f"Registered version {made.version.name!r:.250} of model {model!r:.250}: {made.version.id}")


def promote(
    model: str,
    version: str,
    /,
    *,
    to: Annotated[str, Parameter(help="The alias, such as champion.")],
    reason: Reason = None,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Point an alias of a model at a version, in one step, and tell where it pointed before.

    Parameters
    ----------
    model
        A registered model.
    version
        A version, another alias, or latest.
    """
    models = open_models(registry)
    target = models.resolve(model, version).name
    before = models.set_alias(model, to, target, reason=reason)
    if json:
        url = models.models.registry.url
        write_json("models_promote/1", registry=url, model=model, alias=to, version=target, before=before)
        return
    write(clean(f"{to}: {before if before is not None else '(nothing)'} -> {target}"))
    if before == target:
        say("It pointed there already; nothing was changed.")


def archive(
    model: str,
    version: str | None = None,
    /,
    *,
    undo: Annotated[Flag, Parameter(help="Take the archiving back.")] = False,
    reason: Reason = None,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Archive a version, or without one the model: lists leave it out, and it can still be shown and loaded.

    Parameters
    ----------
    model
        A registered model.
    version
        A version, an alias, or latest.
    """
    models = open_models(registry)
    the_model(models, model)
    done: Any = (models.restore if undo else models.archive)(model, version, reason=reason)
    aliases = models.aliases(model)
    item = model_fields(done) if version is None else version_fields(done, model, aliases)
    if json:
        of = "model" if version is None else "model_version"
        write_json("models_archive/1", registry=models.models.registry.url, of=of, item=item)
        return
    write(clean(f"{item['state']}  {item['id']}"))
    if not undo and item.get("aliases"):
        say(f"Aliases that still point at it: {', '.join(item['aliases'])}")


GROUP = "Models"
COMMANDS: dict[str, Command] = {"models register": register, "models promote": promote, "models archive": archive}
