"""``reap`` and ``gc``: ending what nobody will finish, and deleting what a decision has made dead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from prefect_registry.cli.commands import Command
from prefect_registry.cli.opening import configured_api, open_registry
from prefect_registry.cli.options import Flag, Json, RegistryName
from prefect_registry.cli.output import plain, say, size, write, write_json

if TYPE_CHECKING:
    from prefect_registry.ledger.reaping import ReportedEnded
    from prefect_registry.registry import Registry


def reap(
    *,
    wait: Annotated[Flag, Parameter(help="Watch runs that seem dead until it is certain; half a lease.")] = False,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Roll back the runs that nobody will finish: their process is gone, or has been silent for longer than its lease.

    Without --wait that is certain only of processes of this machine. Where PREFECT_API_URL is set, Prefect is asked for
    flow runs that have ended.
    """
    found = open_registry(registry)
    ended = _reported_ended(found)
    report = found.reap(ended, wait=wait)
    if json:
        write_json("reap/1", registry=found.url, **plain(report))
        return
    for run_id in report.reaped:
        write(run_id)
    say(f"{len(report.reaped):,} rolled back, {len(report.suspects):,} seem dead, {len(report.alive):,} alive.")
    _say_damaged(report.damaged)
    if report.suspects:
        say("To be certain of those that seem dead: prefect-registry reap --wait")


def gc(
    *,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="Delete, instead of only telling.")] = False,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Delete the bytes that nobody can see any more, of runs that were rolled back, of datasets and objects that were
    dropped or released by retention. Only tells, without --yes.

    Nothing that is visible or may still become visible is touched, nor is any record.
    """
    found = open_registry(registry)
    report = found.collect(dry_run=not yes)
    if json:
        write_json("gc/1", registry=found.url, **plain(report))
        return
    for run_id in report.runs:
        write(run_id)
    verb = "Deleted" if yes else "Would delete"
    say(f"{verb} {size(report.bytes)} in {report.objects:,} object(s) of {len(report.runs):,} run(s).")
    if report.released:
        say(f"{report.released:,} of the datasets and objects were released by retention.")
    if report.waiting:
        say(
            f"{len(report.waiting):,} run(s) that were rolled back, or never began, may still be writing; another time."
        )
    _say_damaged(report.damaged)
    if report.objects and not yes:
        say("To delete them: prefect-registry gc --yes")


def _say_damaged(damaged: dict[str, str]) -> None:
    for run_id, what in damaged.items():
        say(f"{run_id} is damaged: {what}")
    if damaged:
        say("What is damaged was left alone. What to do about it: prefect-registry fsck")


GROUP = "Housekeeping"
COMMANDS: dict[str, Command] = {"reap": reap, "gc": gc}


def _reported_ended(registry: Registry) -> ReportedEnded | None:
    """Prefect's account of flow runs, if there is a server to ask: starting one for this would be too much."""
    if not configured_api():
        return None
    from prefect_registry.runs.reports import flow_run_has_ended

    return lambda run_id, flow_run: flow_run_has_ended(registry, run_id, flow_run)
