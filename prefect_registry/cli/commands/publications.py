"""``publications``: what is retrieved on a schedule, and how its jobs stand."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from prefect_registry.cli.commands import Command
from prefect_registry.cli.opening import open_registry
from prefect_registry.cli.options import Flag, Json, RegistryName
from prefect_registry.cli.output import clean, plain, say, when, write, write_json, write_table
from prefect_registry.errors import InvalidInput, InvalidState, NotFound, RecoverableError

if TYPE_CHECKING:
    from prefect_registry.ingestion import Collection, Ingestion, Job
    from prefect_registry.ingestion.defining import Difference
    from prefect_registry.ingestion.periods import Period

Action = Literal["ls", "show", "history", "apply", "run", "pause", "resume", "remove", "tick", "schema"]
_OF_ONE = ("show", "history", "run", "pause", "resume", "remove")
_CHANGES = ("create", "update", "remove")
_MOST_STEPS = 1_000


def publications(
    action: Action = "ls",
    target: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    yes: Annotated[
        bool, Parameter(name=["--yes", "-y"], negative="", help="For apply and remove: do it, instead of only telling.")
    ] = False,
    remove_absent: Annotated[
        Flag, Parameter(help="For apply: also remove the publications that are not in the file.")
    ] = False,
    period: Annotated[
        str | None,
        Parameter(
            name="--for", help="For run: a period of the past, 2013-01-31, 2013-01 or 2013, or 2013-01..2013-12."
        ),
    ] = None,
    dry_run: Annotated[Flag, Parameter(help="For tick: only tell what would be done.")] = False,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Define publications, look at them and their jobs, and go on with them by hand.

    A publication is retrieved again and again by jobs; readers see one complete job. Usually the flow `publications`
    does the work on a schedule, and this is for looking and for trying out.

    Parameters
    ----------
    action
        ls shows all, show and history one with its last or all jobs; apply tells what a file would change, and changes
        it with --yes; run makes a job now, or with --for one for each period, and goes on with it as far as it gets;
        pause and resume; remove tells which jobs go with a publication, and removes it with --yes, while what it has
        published stays; tick does what the flow does; schema writes the JSON schema of the file.
    target
        The id of a publication; for apply a file, publications.yaml by default, or - for standard input.
    """
    given = {"--yes": yes, "--remove-absent": remove_absent, "--for": period is not None, "--dry-run": dry_run}
    _check_words(action, target, [name for name, is_given in given.items() if is_given])
    if action == "schema":
        _schema()
        return
    from prefect_registry.ingestion import Ingestion
    from prefect_registry.ingestion.defining import Difference

    found = Ingestion(open_registry(registry, create=action == "apply" and yes))
    if action in _OF_ONE and target is None:
        raise InvalidInput.of("publication", [f"publications {action} needs the id of a publication"])
    id = str(target)
    shown: list[Collection] = []
    jobs: list[Job] = []
    plan: list[Difference] = []
    if action == "ls":
        shown = list(found.publications())
    elif action == "apply":
        plan = _apply(found, target or "publications.yaml", yes, remove_absent)
    elif action == "remove":
        jobs = _remove(found, id, yes)
        plan = [Difference(id, "remove")]
    elif action == "history" and (past := found.past_jobs(id)) and id not in {p.id for p in found.publications()}:
        say(clean(f"{id} was removed; these are its jobs as they were."))
        jobs = past
    elif action == "tick":
        jobs = _tick(found, dry_run)
    else:
        if action in ("pause", "resume"):
            found.pause(id, action == "pause")
        elif action == "run":
            _run(found, id, period)
        shown = [found.publication(id)]
        jobs = found.jobs(id)[: None if action == "history" else 1]
    if json:
        write_json(
            "publications/1",
            registry=found.registry.url,
            action=action,
            publications=[_publication(p) for p in shown],
            jobs=[_job(j) for j in jobs],
            plan=plain(plan),
        )
        return
    _write(shown, jobs, plan)
    if plan and not yes and any(d.action in _CHANGES for d in plan):
        options = " --remove-absent" if remove_absent else ""
        name = target or "publications.yaml"
        say(f"To do it: prefect-registry publications {action} {name}{options} --yes")


GROUP = "Publications"
COMMANDS: dict[str, Command] = {"publications": publications}

_GOES_WITH: dict[Action, tuple[str, ...]] = {
    "apply": ("--yes", "--remove-absent"),
    "remove": ("--yes",),
    "run": ("--for",),
    "tick": ("--dry-run",),
}


def _check_words(action: Action, target: str | None, given: list[str]) -> None:
    """Refuse what would be ignored: ``tick one`` goes on with all, ``run one --dry-run`` runs."""
    problems = [f"{name} does not go with {action}" for name in given if name not in _GOES_WITH.get(action, ())]
    if target is not None and action in ("ls", "tick", "schema"):
        problems.append(f"{action} is of all publications, and takes no id: {target!r:.80}")
    if problems:
        raise InvalidInput.of(f"publications {action}", problems, todo="Leave it out")


def _schema() -> None:
    import orjson

    from prefect_registry.ingestion.definitions import json_schema
    from prefect_registry.ingestion.managers import task_types

    write(orjson.dumps(json_schema(task_types()), option=orjson.OPT_INDENT_2).decode())


def _apply(found: Ingestion, file: str, yes: bool, remove_absent: bool) -> list[Difference]:
    from prefect_registry.ingestion.definitions import load_definitions
    from prefect_registry.ingestion.managers import task_types

    try:
        text = sys.stdin.buffer.read() if file == "-" else Path(file).expanduser().read_bytes()
    except OSError as error:
        raise NotFound(f"The file {file} cannot be read", why=str(error), todo="Name the file") from error
    definitions = load_definitions(text, file, task_types())
    plan = found.compare(definitions, remove_absent=remove_absent)
    if yes:
        changing = {d.id for d in plan if d.action in ("create", "update")}
        for each in definitions:
            if each.id in changing:
                found.put(each)
        for each_id in (d.id for d in plan if d.action == "remove"):
            _remove(found, each_id, yes)
    return plan


def _remove(found: Ingestion, id: str, yes: bool) -> list[Job]:
    """Remove a publication, or only look. Returns the jobs that go with it, as they were."""
    report = found.remove(id, dry_run=not yes)
    if report.errors:
        raise RecoverableError(
            f"Publication {id} is removed, and {len(report.errors)} of its jobs stay for now",
            why="; ".join(report.errors.values())[:1_000],
            todo=f"Again: prefect-registry publications remove {id} --yes",
        )
    return [job for job in found.past_jobs(id) if job.id in report.deleted]


def _run(found: Ingestion, id: str, period: str | None) -> None:
    """Make a job, unless one is due or incomplete, and go on until nothing more happens at once; with a period, one for
    each, as long as they succeed.
    """
    if period is not None:
        _run_for(found, id, period)
        return
    if not found.publication(id).is_out_of_date() and all(j.end is not None for j in found.jobs(id)):
        found.create_job(id)
    _go_on(found, id)


def _run_for(found: Ingestion, id: str, text: str) -> None:
    from prefect_registry.ingestion.periods import periods_of

    periods = periods_of(text)
    for i, period in enumerate(periods):
        job = found.create_job(id, period.text)
        if job is None:
            raise InvalidState(
                f"Publication {id} has a job that is not complete",
                todo=f"Wait for it, and then: prefect-registry publications run {id} --for {_rest(periods, i)}",
                committed="no",
            )
        _go_on(found, id)
        now = found.get_job(job.id)
        if now is not None and not now.successful:
            what = "has failed" if now.end is not None else "goes on with the next ticks"
            say(clean(f"Job {job.id}, for {period.text}, {what}."))
            if i + 1 < len(periods):
                say(f"After it: prefect-registry publications run {id} --for {_rest(periods, i + 1)}")
            return


def _rest(periods: Sequence[Period], start: int) -> str:
    first, last = periods[start].text, periods[-1].text
    return first if first == last else f"{first}..{last}"


def _go_on(found: Ingestion, id: str) -> None:
    for _ in range(_MOST_STEPS):
        report = found.process(found.publication(id))
        if not report.changes:
            return


def _tick(found: Ingestion, dry_run: bool) -> list[Job]:
    report = found.tick(dry_run=dry_run)
    for subject, error in report.errors.items():
        say(clean(f"{subject}: {error}"))
    ids = dict.fromkeys([*report.created, *(c.job for c in report.changes)])
    verb = "Would make" if dry_run else "Made"
    say(f"{verb} {len(report.created):,} job(s); {len(report.changes):,} change(s) of state.")
    return [job for job in map(found.get_job, ids) if job is not None]


def _write(shown: list[Collection], jobs: list[Job], plan: list[Difference]) -> None:
    if shown:
        columns = ("PUBLICATION", "FREQUENCY", "ACTIVE JOB", "RETRIEVED", "STATE", "TITLE")
        rows = [
            (p.id, p.retrieval_frequency or "by hand", p.active_job, p.last_retrieved, _state(p), p.title)
            for p in shown
        ]  # fmt: skip
        write_table(columns, rows)
    for job in jobs:
        write(f"{clean(job.id)}: {_result(job)}, begun {when(job.start)}, ended {when(job.end)}")
        for task in job.tasks:
            note = f": {task.note}" if task.note else ""
            write(clean(f"  {task.order}. {task.name or task.type}: {task.status} {task.result}".rstrip() + note))
            for each in task.notes:
                write(clean(f"     {each.level}: {each.note}"))
    if plan:
        write_table(("PUBLICATION", "ACTION", "FIELDS"), [(d.id, d.action, ", ".join(d.fields)) for d in plan])
    if not (shown or jobs or plan):
        say("There is nothing to show.")


def _state(p: Collection) -> str:
    return "paused" if p.frozen else "visible" if p.visible else "hidden"


def _result(job: Job) -> str:
    if job.end is None:
        return str(job.status)
    return "COMPLETED" if job.successful else "FAILED"


def _publication(p: Collection) -> dict[str, Any]:
    return {
        "id": p.id,
        "title": p.title,
        "retrieval_frequency": p.retrieval_frequency or None,
        "active_job": p.active_job,
        "last_retrieved": str(p.last_retrieved) if p.last_retrieved is not None else None,
        "last_checked": plain(p.last_checked),
        "frozen": p.frozen,
        "public": p.public,
        "visible": p.visible,
        "tasks": [t.label for t in p.plan],
    }


def _job(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "status": str(job.status),
        "successful": job.successful if job.end is not None else None,
        "start": plain(job.start),
        "end": plain(job.end),
        "run_id": job.run,
        "archived": job.archived,
        "context": job.context,
        "tasks": [
            {
                "order": t.order,
                "name": t.name or t.type,
                "type": t.type,
                "status": str(t.status),
                "result": str(t.result) or None,
                "note": t.note,
                "start": plain(t.start),
                "end": plain(t.end),
                "notes": [{"level": str(n.level), "note": n.note, "data": n.data} for n in t.notes],
            }
            for t in job.tasks
        ],
    }
