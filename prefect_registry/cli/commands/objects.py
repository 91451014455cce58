"""``save``, ``load``, ``versions``, ``alias``, ``rm`` and ``restore``: versioned objects."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from prefect_registry.cli.commands import Command
from prefect_registry.cli.objects import bytes_of, given_path, object_fields, when_of
from prefect_registry.cli.opening import open_registry
from prefect_registry.cli.options import Flag, Json, RegistryName, Several, labels
from prefect_registry.cli.output import NOT_DONE, progress, say, size, write, write_json, write_table
from prefect_registry.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from prefect_registry.registry import Registry

Conflict = Literal["error", "skip", "overwrite"]
Reason = Annotated[str | None, Parameter(help="Recorded with it.")]


def save(
    name: str,
    path: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    value: Annotated[str | None, Parameter(help="Save this JSON value, instead of a file.")] = None,
    version: Annotated[str | None, Parameter(help="One to three numbers, like 2.1. [default: the next one]")] = None,
    on_conflict: Annotated[
        Conflict | None, Parameter(help="What to do when that version exists with other content. [default: error]")
    ] = None,
    metadata: Annotated[Several, Parameter(help="A fact to keep beside it, name=value; may be repeated.")] = None,
    alias: Annotated[str | None, Parameter(help="Point this alias at it, in the same moment.")] = None,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Save a file, a folder, standard input or a JSON value as an object.

    What a folder holds is stored file by file. The same content again is recognised, and keeps its version if one was
    named.

    Parameters
    ----------
    name
        The object's name, or name@version.
    path
        A file or folder, or - for the bytes on standard input.
    """
    if (path is None) == (value is None):
        raise InvalidInput.of("save", ["exactly one of PATH and --value is needed"])
    facts = labels("--metadata", metadata)
    obj: Any = _json("--value", value) if value is not None else _given(str(path))
    total = bytes_of(obj)
    found = open_registry(registry, create=True)
    with progress(f"Saving {name}", total) as bar:
        if alias is None:
            saved = found.save(name, obj, version=version, on_conflict=on_conflict, metadata=facts, progress=bar)
        else:
            with found.run(f"save {name}"[:250]) as run:
                saved = run.save(name, obj, version=version, on_conflict=on_conflict, metadata=facts, progress=bar)
                found.set_alias(name.partition("@")[0], alias, saved, run_id=run.id)
    name = name.partition("@")[0]
    if json:
        write_json("save/1", registry=found.url, name=name, version=saved, alias=alias)
        return
    write(f"{name}@{saved}")


def load(name: str, /, *, registry: RegistryName = None, json: Json = False) -> None:
    """Write a saved value as JSON to stdout.

    For values that JSON can say: numbers, texts, lists and mappings of them. Of all others `get` fetches the files.

    Parameters
    ----------
    name
        An object: name, name@2.1, name@champion or name@latest.
    """
    import json as encoder

    from prefect_registry.records.base import json_problems

    found = open_registry(registry)
    exact = found.resolve(name)
    value = found.load(exact)
    problem = next(json_problems(value, exact), None)
    if problem is not None:
        raise InvalidInput.of("load", [problem], todo=f"Fetch its files: prefect-registry get {exact}")
    if json:
        owner, _, version = exact.rpartition("@")
        write_json("load/1", registry=found.url, name=owner, version=version, value=value)
        return
    everything = (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"
    write(encoder.dumps(value, indent=2, ensure_ascii=not everything))


def versions(name: str, /, *, registry: RegistryName = None, json: Json = False) -> None:
    """List the versions of an object, ascending, with the aliases that point at them.

    Parameters
    ----------
    name
        An object.
    """
    found = open_registry(registry)
    infos = _infos(found, _without_version("versions", name))
    if json:
        write_json("versions/1", registry=found.url, name=name, versions=[object_fields(info) for info in infos])
        return
    rows = [
        (i["version"], ", ".join(i["aliases"]), i["class"], size(i["size"]), when_of(i), i["run_id"]) for i in infos
    ]
    write_table(("VERSION", "ALIASES", "CLASS", "SIZE", "SAVED (UTC)", "RUN"), rows, ("SIZE",))


def alias(
    name: str,
    alias: str | None = None,
    version: str | None = None,
    /,
    *,
    remove: Annotated[Flag, Parameter(help="Remove the alias; its history stays.")] = False,
    history: Annotated[Flag, Parameter(help="Every move of the alias, oldest first.")] = False,
    reason: Reason = None,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Show the aliases of an object; point one at a version, or remove it.

    Parameters
    ----------
    name
        An object.
    alias
        An alias, such as champion. Without it, all are shown.
    version
        The version to point it at: 2.1, latest, or another alias.
    """
    name = _without_version("alias", name)
    if (remove or history or version is not None) and alias is None:
        raise InvalidInput.of("alias", ["the alias is missing"])
    if remove + history + (version is not None) > 1:
        raise InvalidInput.of("alias", ["only one of VERSION, --remove and --history can be given"])
    found = open_registry(registry)
    before: str | None = None
    if alias is not None and remove:
        before = found.aliases(name).get(alias)
        found.remove_alias(name, alias, reason=reason)
    elif alias is not None and version is not None:
        before = found.set_alias(name, alias, version, reason=reason)
    moves = found.alias_history(name, alias) if alias is not None and history else None
    shown = {a: v for a, v in found.aliases(name).items() if alias is None or a == alias}
    if alias is not None and not shown and not remove and not moves:
        raise NotFound(f"Object {name!r:.100} has no alias {alias!r:.100}", committed="no")
    if json:
        listed = [{"alias": a, "version": v} for a, v in shown.items()]
        write_json("alias/1", registry=found.url, name=name, aliases=listed, before=before, history=moves)
    elif moves is not None:
        columns = ("VERSION", "TIME (UTC)", "RUN", "REASON")
        write_table(columns, [(m.version or "(removed)", m.at, m.run_id, m.reason) for m in moves])
    else:
        write_table(("ALIAS", "VERSION"), list(shown.items()))


def rm(
    name: str,
    /,
    *,
    reason: Reason = None,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="Delete, instead of only telling.")] = False,
    registry: RegistryName = None,
    json: Json = False,
) -> int:
    """Tell which versions of an object would be deleted; with --yes, delete them.

    `restore` takes it back, until retention releases their bytes.

    Parameters
    ----------
    name
        name@2.1 for one version; name alone for all of them.
    """
    found = open_registry(registry)
    infos = [found.info(name)] if "@" in name else _infos(found, name)
    ids = [f"{info['name']}@{info['version']}" for info in infos]
    if "@" in name:  # what an alias, or latest, means now: it may mean another one in a moment
        name = ids[0]
    if yes:
        found.delete(name, reason=reason)
    if json:
        write_json("rm/1", registry=found.url, dry_run=not yes, versions=ids)
        return 0
    for each in ids:
        write(each)
    total = sum(info["size"] for info in infos)
    say(f"{'Deleted' if yes else 'Would delete'} {len(ids):,} version(s), {size(total)}.")
    pointed = [f"{info['name']}@{alias}" for info in infos for alias in info["aliases"]]
    if pointed:
        say(f"Aliases that {'now point' if yes else 'would point'} at nothing: {', '.join(pointed)}")
    command = f"restore {name}" if yes else f"rm {name} --yes"
    say(f"{'To take it back' if yes else 'To do it'}: prefect-registry {command}")
    return 0


def restore(name: str, /, *, registry: RegistryName = None, json: Json = False) -> int:
    """Take the deletion of a version back, or of all versions of an object.

    Parameters
    ----------
    name
        name@2.1 for one version; name alone for all that are deleted.
    """
    found = open_registry(registry)
    restored = found.restore(name)
    if json:
        write_json("restore/1", registry=found.url, versions=restored)
    for each in restored if not json else []:
        write(each)
    if not restored and not json:
        say("Nothing of it is deleted.")
    return 0 if restored else NOT_DONE


GROUP = "Objects"
COMMANDS: dict[str, Command] = {
    "save": save,
    "load": load,
    "versions": versions,
    "alias": alias,
    "rm": rm,
    "restore": restore,
}


def _infos(registry: Registry, name: str) -> list[dict[str, Any]]:
    return list(registry.info(name).values())


def _without_version(command: str, name: str) -> str:
    if "@" in name:
        raise InvalidInput.of(command, [f"the name of an object is needed, without a version: {name!r:.100}"])
    return name


def _json(option: str, text: str) -> Any:
    import json as decoder

    try:
        return decoder.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput.of(option, [f"it is not JSON: {error}"], todo="A text is written '\"like this\"'") from error


def _given(path: str) -> Path | bytes:
    return sys.stdin.buffer.read() if path == "-" else given_path("save", path)
