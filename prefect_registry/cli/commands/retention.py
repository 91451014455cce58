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
    from prefect_registry.datasets.releasing import ReleaseReport
    from prefect_registry.registry import Registry

Action = Literal["ls", "set", "rm", "preview", "release"]
_MEANING = {
    "current": "part of a table",
    "no_rule": "without a rule",
    "keep_last": "in one of the last states",
    "keep_days": "in a state of these days",
    "keep_used": "used by something visible",
    "reverted": "reverted, and can be restored",
    "external": "elsewhere",
    "archived": "archived",
    "unproved": "not proved to be hidden",
}


def retention(
    action: Action = "ls",
    kind: str | None = None,
    /,
    *,
    last: Annotated[int | None, Parameter(help="Keep this many states of the table, the present one included.")] = None,
    days: Annotated[float | None, Parameter(help="Keep what was in the table within this many days.")] = None,
    used: Annotated[bool, Parameter(negative="--unused-too", help="Keep what something visible was made from.")] = True,
    yes: Annotated[
        bool, Parameter(name=["--yes", "-y"], negative="", help="Release, instead of only telling.")
    ] = False,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Show, set or remove the rules that say what is kept; show what they let go, and release it.

    What a table shows is always kept, and without a rule for its kind everything is. Released datasets are DELETED for
    good; `gc --yes` then deletes their bytes.

    Parameters
    ----------
    action
        ls shows the rules, set and rm change the one for KIND, preview and release tell what would be released.
    kind
        For set and rm: a kind of datasets, or "*" for all those without a rule of their own.
    """
    found = open_registry(registry)
    if action in ("set", "rm") and kind is None:
        raise InvalidInput.of("kind", [f"retention {action} needs the kind, or '*' for all those without a rule"])
    if action in ("preview", "release"):
        _release(found, dry_run=action == "preview" or not yes, json=json)
        return
    if action == "set":
        found.set_retention(str(kind), keep_last=last, keep_days=days, keep_used=used)
    elif action == "rm":
        found.remove_retention(str(kind))
    rules = found.retention()
    if json:
        write_json("retention/1", registry=found.url, rules=plain(rules))
        return
    columns = ("KIND", "LAST", "DAYS", "USED")
    write_table(columns, [(r.kind, r.keep_last, r.keep_days, "yes" if r.keep_used else "no") for r in rules])
    if not rules:
        say("There are no rules, so everything is kept.")


GROUP = "Housekeeping"
COMMANDS: dict[str, Command] = {"retention": retention}


def _release(registry: Registry, dry_run: bool, json: bool) -> None:
    report: ReleaseReport = registry.release(dry_run=dry_run)
    if json:
        write_json("release/1", registry=registry.url, bytes=report.bytes, **plain(report))
        return
    rows = [(d.id, d.kind, size(d.bytes), d.why) for d in report.datasets]
    write_table(("DATASET", "KIND", "SIZE", "WHY"), rows, ("SIZE",))
    verb = "Would release" if dry_run else "Released"
    say(f"{verb} {len(rows):,} dataset(s), {size(report.bytes)}.")
    if report.kept:
        say("Kept: " + ", ".join(f"{count:,} {_MEANING.get(name, name)}" for name, count in report.kept.items()) + ".")
    if rows and dry_run:
        say("To release them for good: prefect-registry retention release --yes")
    elif rows:
        say("To delete their bytes: prefect-registry gc --yes")
