"""``retention``: what is kept though no table shows it any more, and giving up the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from prefect_registry.cli.commands import Command
from prefect_registry.cli.opening import open_registry
from prefect_registry.cli.options import Json, RegistryName
from prefect_registry.cli.output import plain, say, size, write_json, write_table
from prefect_registry.errors import InvalidInput

if TYPE_CHECKING:
    from prefect_registry.catalog.retention import ReleaseReport
    from prefect_registry.registry import Registry

Action = Literal["ls", "set", "rm", "preview", "release"]
_MEANING = {
    "current": "part of a table",
    "no_rule": "without a rule",
    "keep_last": "in one of the last states",
    "keep_days": "in a state of these days",
    "alias": "used by what an alias points at",
    "keep_used": "used by something visible",
    "reverted": "reverted, and can be restored",
    "external": "elsewhere",
    "archived": "archived",
    "unproved": "not proved to be hidden",
}
_OF_OBJECTS = {
    **_MEANING,
    "current": "not deleted",
    "keep_last": "of the last versions",
    "keep_days": "of these days",
    "alias": "wanted by an alias",
    "deleted": "deleted, and can be restored",
    "overwritten": "overwritten, and can come back",
    "inline": "in their records, which stay",
    "unproved": "being written, or not as the index says",
}


def retention(
    action: Action = "ls",
    kind: str | None = None,
    /,
    *,
    objects: Annotated[str | None, Parameter(help='Instead of a kind: the name of an object, or "*".')] = None,
    last: Annotated[
        int | None, Parameter(help="Keep this many states of the table, the present one included; versions of objects.")
    ] = None,
    days: Annotated[
        float | None, Parameter(help="Keep what was in the table, or was saved or deleted, within this many days.")
    ] = None,
    used: Annotated[bool, Parameter(negative="--unused-too", help="Keep what something visible was made from.")] = True,
    yes: Annotated[
        bool, Parameter(name=["--yes", "-y"], negative="", help="Release, instead of only telling.")
    ] = False,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Show, set or remove the rules that say what is kept; show what they let go, and release it.

    What a table shows is always kept, what an alias points at too, and without a rule everything is. What was released
    is DELETED for good; `gc --yes` then deletes its bytes.

    Parameters
    ----------
    action
        ls shows the rules, set and rm change the one for KIND, preview and release tell what would be released.
    kind
        For set and rm: a kind of datasets, or "*" for all those without a rule of their own.
    """
    given = {
        "KIND": kind is not None,
        "--objects": objects is not None,
        "--last": last is not None,
        "--days": days is not None,
        "--unused-too": not used,
        "--yes": yes,
    }
    _check_words(action, [name for name, is_given in given.items() if is_given])
    found = open_registry(registry)
    if action in ("set", "rm") and kind is None and objects is None:
        problem = f"retention {action} needs the kind, or --objects NAME, or '*' for all those without a rule"
        raise InvalidInput.of("kind", [problem])
    if action in ("preview", "release"):
        _release(found, dry_run=action == "preview" or not yes, json=json)
        return
    if action == "set":
        found.set_retention(kind, objects=objects, keep_last=last, keep_days=days, keep_used=used)
    elif action == "rm":
        found.remove_retention(kind, objects=objects)
    rules = found.retention()
    if json:
        write_json("retention/1", registry=found.url, rules=plain(rules))
        return
    of_kinds, of_objects = [r for r in rules if r.objects is None], [r for r in rules if r.objects is not None]
    for noun, some in (("KIND", of_kinds), ("OBJECT", of_objects)):
        if some:
            lines = [(r.name, r.keep_last, r.keep_days, "yes" if r.keep_used else "no") for r in some]
            write_table((noun, "LAST", "DAYS", "USED"), lines)
    if not rules:
        say("There are no rules, so everything is kept.")


GROUP = "Housekeeping"
COMMANDS: dict[str, Command] = {"retention": retention}

_GOES_WITH: dict[Action, tuple[str, ...]] = {
    "set": ("KIND", "--objects", "--last", "--days", "--unused-too"),
    "rm": ("KIND", "--objects"),
    "release": ("--yes",),
}


def _check_words(action: Action, given: list[str]) -> None:
    """Refuse what would be ignored: ``release flights --yes`` releases of every kind, and that is for good."""
    problems = [f"{name} does not go with {action}" for name in given if name not in _GOES_WITH.get(action, ())]
    if problems:
        todo = "Leave it out"
        if action in ("preview", "release"):
            todo = f"Leave it out: {action} is of all kinds and objects, by the rules that `retention ls` shows"
        raise InvalidInput.of(f"retention {action}", problems, todo=todo)


def _release(registry: Registry, dry_run: bool, json: bool) -> None:
    report: ReleaseReport = registry.release(dry_run=dry_run)
    if json:
        write_json("release/1", registry=registry.url, bytes=report.bytes, **plain(report))
        return
    rows = [(d.id, d.kind, size(d.bytes), d.why) for d in report.datasets]
    if rows or not report.objects:
        write_table(("DATASET", "KIND", "SIZE", "WHY"), rows, ("SIZE",))
    objects = [(o.id, "all" if o.generation is None else o.generation, size(o.bytes), o.why) for o in report.objects]
    if objects:
        write_table(("OBJECT", "GENERATION", "SIZE", "WHY"), objects, ("SIZE",))
    verb = "Would release" if dry_run else "Released"
    also = f", {len(objects):,} version(s) or older state(s) of objects" if objects else ""
    say(f"{verb} {len(rows):,} dataset(s){also}, {size(report.bytes)}.")
    _say_kept("Kept", report.kept, _MEANING)
    _say_kept("Kept of objects", report.kept_objects, _OF_OBJECTS)
    if (rows or objects) and dry_run:
        say("To release them for good: prefect-registry retention release --yes")
    elif rows or objects:
        say("To delete their bytes: prefect-registry gc --yes")


def _say_kept(what: str, kept: dict[str, int], meaning: dict[str, str]) -> None:
    if kept:
        say(f"{what}: " + ", ".join(f"{count:,} {meaning.get(name, name)}" for name, count in kept.items()) + ".")
