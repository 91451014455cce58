"""Ingest files into a table: any URL or glob that fsspec knows, CSV, JSON lines or Parquet.

Run it as often as you like, on a schedule or by hand, several at once: each file is taken in once for each content
that it has, and what one run publishes becomes visible together or not at all. Where there is nothing to take, no run
of the registry is begun: an idle schedule leaves nothing in the store.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast

from prefect import flow, get_run_logger, task, unmapped
from prefect.blocks.system import Secret
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import wait
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from flows.files.claims import Seen
from flows.files.idle import answered_by, hand_over, handed_over, has_run
from flows.files.plan import Plan, make_plan, record_schema
from flows.files.problems import BadFile
from flows.files.reading import Format, Reading
from flows.files.sources import Place, Source
from flows.files.taking import Outcome, Target, counted, take
from flows.files.types import parse_types
from prefect_registry.errors import ConfigurationError, InvalidInput, StorageUnavailable
from prefect_registry.resolve import resolve_registry
from prefect_registry.runs import current_run, registry_run

FILES_AT_ONCE = 4
"""Each takes some 300 MB of memory while it is read, however large it is."""

_MOST_NAMED = 20


def nothing_new(
    source: str, kind: str, registry: str, settle_seconds: float, options_block: str, **asked: Any
) -> dict[str, Any] | None:
    """What the flow run returns when there is nothing to take; else None, and the plan is handed over.

    A flow run that has a run already, of its own or around it, is left to that. So is whatever fails here: the run
    that is begun then tries again, and records the failure.
    """
    hand_over(None)
    try:
        store = resolve_registry(registry or None)
        if has_run(store):
            return None
        plan = make_plan(store, Place(source, _options(options_block)), kind, _reading(**asked), settle_seconds)
        if not plan.todo:
            get_run_logger().info("There is nothing to take from %s: no run was begun", source)
            return _told(kind, list(plan.done))
        hand_over(plan)
    except Exception as error:  # not Prefect's timeout, which is a CancelledError here
        get_run_logger().debug("Looking before a run is begun failed: %s", error)
    return None


@answered_by(nothing_new)
@registry_run("{registry}")
@flow(name="ingest", task_runner=cast(Any, ThreadPoolTaskRunner(max_workers=FILES_AT_ONCE)))
def ingest(
    source: str,
    kind: str,
    registry: str = "",
    format: Format = "by name",
    columns: dict[str, str] = {},  # noqa: B006 - Prefect shows it as a form, and nobody changes it
    partition_by: list[str] = [],  # noqa: B006
    changed_files: Literal["append", "replace"] = "append",
    bad_files: Literal["fail", "leave out"] = "fail",
    delimiter: str = "",
    null_values: list[str] = ["", "NA", "NULL", "null"],  # noqa: B006
    encoding: str = "utf-8",
    settle_seconds: Annotated[float, Field(ge=0, le=600)] = 2.0,
    options_block: str = "",
) -> dict[str, Any]:
    """Take new and changed files into a table, all of them or none.

    Args:
        source: URL, path or glob of the files, such as s3://bucket/in/*.csv.gz or /data/in/2013-*.parquet.
        kind: The table that the rows go to.
        registry: Name of a registry block, or URL of a registry. Empty for the default one.
        format: Told by each file's name (.csv, .tsv, .jsonl, .parquet, also with .gz, .bz2, .xz), or one for all.
        columns: Types of columns by name, such as {"price": "decimal(12, 2)", "day": "date"}. Others are found out.
        partition_by: Columns whose values become folders of the table's files.
        changed_files: Whether the rows of a file that was taken in before, and has changed, join or replace those rows.
        bad_files: Whether a bad row fails the run, which then publishes nothing, or its file is left out.
        delimiter: What separates the values of CSV files. Empty for a comma, and a tab in .tsv files.
        null_values: What CSV files write for "no value".
        encoding: Of CSV files.
        settle_seconds: How long nobody may have written to a file. 0 for stores where files appear whole.
        options_block: Name of a Prefect Secret block with options of the source's filesystem, as a JSON object.
    """
    target = Target(kind, tuple(partition_by), changed_files == "replace", bad_files == "leave out")
    place = Place(source, _options(options_block))
    reading = _reading(format, columns, delimiter, null_values, encoding)
    plan = handed_over() or look(place, kind, reading, settle_seconds)
    futures = take_file.map(
        [s for s, _ in plan.todo],
        before=[b for _, b in plan.todo],
        place=unmapped(place),
        target=unmapped(target),
        reading=unmapped(plan.reading),
    )
    wait(futures)
    outcomes = _checked([f.result(raise_on_failure=False) for f in futures])
    record_schema(current_run(), kind, plan.schema, outcomes)
    return _told(kind, [*plan.done, *outcomes])


@task(task_run_name="look at {kind}", retries=2, retry_delay_seconds=[1, 5])
def look(place: Place, kind: str, reading: Reading, settle_seconds: float) -> Plan:
    """List the files and find out which are new."""
    run = current_run()
    return make_plan(run.registry, place, kind, reading, settle_seconds, run.id)


def _is_worth_retrying(task: Any, task_run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.result(raise_on_failure=False), (StorageUnavailable, OSError))


@task(
    task_run_name="take {source.name}",
    retries=2,
    retry_delay_seconds=[1, 10],
    retry_condition_fn=_is_worth_retrying,
)
def take_file(source: Source, before: Seen, place: Place, target: Target, reading: Reading) -> Outcome:
    """Read one file and stage its rows."""
    outcome = take(current_run(), place, source, before, target, reading)
    log = get_run_logger()
    if outcome.step == "taken":
        log.info("Took %s: %s rows", outcome.url, f"{outcome.rows:,}")
    else:
        log.warning("%s: %s (%s)", outcome.url, outcome.step, outcome.why)
    return outcome


def _reading(
    format: Format, columns: dict[str, str], delimiter: str, null_values: list[str], encoding: str, **_others: Any
) -> Reading:
    return Reading(format, parse_types(columns), delimiter, tuple(null_values), encoding)


def _options(block: str) -> dict[str, Any]:
    """The options of the source's filesystem, from a Secret block that holds a JSON object."""
    if not block:
        return {}
    value = cast(Any, Secret).load(block, _sync=True).get()
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, dict):
        raise ConfigurationError(
            f"The Secret block {block!r} does not hold a JSON object", todo='Save it like {"key": "…", "secret": "…"}'
        )
    return value


def _checked(results: Sequence[Any]) -> list[Outcome]:
    """The outcomes, or one error that lists every bad file; any other error before that."""
    errors = [r for r in results if isinstance(r, BaseException)]
    others = [e for e in errors if not isinstance(e, BadFile)]
    if others:
        raise others[0]
    if errors:
        problems = [p for e in errors if isinstance(e, BadFile) for p in e.problems]
        todo = 'Mend them, or name the columns\' types in `columns`; bad_files="leave out" takes in the others'
        raise InvalidInput.of(f"{len(errors)} of {len(results)} new file(s)", problems, todo)
    return list(results)


def _told(kind: str, outcomes: list[Outcome]) -> dict[str, Any]:
    """What the flow run returns and logs."""
    counts = counted(outcomes)
    rows = sum(o.rows for o in outcomes)
    get_run_logger().info(
        "%s: %s; %s new rows", kind, ", ".join(f"{n} {step}" for step, n in counts.items()) or "no files", f"{rows:,}"
    )
    named = [o for o in outcomes if o.step not in ("unchanged", "taken")]
    for outcome in (o for o in named if o.step == "left"):
        get_run_logger().warning("%s is left for the next time: %s", outcome.url, outcome.why)
    return {
        "kind": kind,
        "files": dict(counts),
        "rows": rows,
        "not_taken": {o.url: f"{o.step}: {o.why}"[:300] for o in named[:_MOST_NAMED]},
    }
