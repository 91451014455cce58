"""What OpenLineage events tell of a run: values that whoever knows the run fills in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

from prefect_registry.errors import InvalidInput
from prefect_registry.provenance.graph import JSON

Outcome = Literal["COMPLETE", "ABORT", "FAIL"]
MOST_DATASETS, MOST_FIELDS, MOST_PARAMETERS = 10_000, 10_000, 1_000
"""Of a run on each side, of a dataset, and of a run (as parameters and as environment)."""


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """A dataset that a run read or wrote, named as https://openlineage.io/docs/spec/naming says.

    Args:
        namespace: Where it lies: ``s3://bucket``.
        name: What it is called there.
        version: Which one of that name.
        rows: How many; None: not known.
        bytes: The size of its files.
        files: How many there are.
        fields: Names and types of its columns, in order.
        uri: Where it is; credentials are left out of it.
        description: What people should know.
    """

    namespace: str
    name: str
    version: str = ""
    rows: int | None = None
    bytes: int | None = None
    files: int | None = None
    fields: Sequence[tuple[str, str]] = ()
    uri: str = ""
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class JobFacts:
    """A run of a job, as another run speaks of it.

    Args:
        run_id: A run id of ours, a UUID, or any other text, from which a UUID is derived.
        namespace: Of the job.
        name: Of the job.
    """

    run_id: str
    namespace: str
    name: str


@dataclass(frozen=True, kw_only=True)
class RunFacts(JobFacts):
    """A run.

    Args:
        started_at: When, with an offset.
        ended_at: When; None while it goes on.
        outcome: How it ended; None while it goes on.
        message: Why it failed or was aborted.
        stack_trace: Of the failure.
        nominal_start: For when it was scheduled.
        nominal_end: The end of the period it was scheduled for.
        parameters: Of the run, as JSON values. Secrets are masked by whoever fills this in.
        environment: Environment variables, of which the same holds.
        repository: Where its code is: an URL, or ``git@host:path``. Credentials are left out of it.
        commit: The revision of the code.
        path: Of the file in the repository.
        branch: Of the repository.
        engine: What runs it, and its version: ``("Prefect", "3.8.8")``.
        description: What the job does.
        parent: The run that began it.
        root: The outermost of those.
        inputs: What it read.
        outputs: What it published. Only a COMPLETE event tells them: what else a run wrote never becomes visible.
    """

    started_at: datetime
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    message: str = ""
    stack_trace: str = ""
    nominal_start: datetime | None = None
    nominal_end: datetime | None = None
    parameters: Mapping[str, JSON] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    repository: str = ""
    commit: str = ""
    path: str = ""
    branch: str = ""
    engine: tuple[str, str] | None = None
    description: str = ""
    parent: JobFacts | None = None
    root: JobFacts | None = None
    inputs: Sequence[DatasetFacts] = ()
    outputs: Sequence[DatasetFacts] = ()


def check(facts: RunFacts) -> None:
    """Refuse what no event could tell.

    Raises:
        InvalidInput: Every problem is listed.
    """
    problems = [*_of_jobs(facts), *_of_times(facts), *_of_sizes(facts)]
    for side in ("inputs", "outputs"):
        for i, dataset in enumerate(getattr(facts, side)[:MOST_DATASETS]):
            problems += [f"{side}[{i}].{problem}" for problem in _of_dataset(dataset)]
    if problems:
        raise InvalidInput.of("the facts of the run", problems)


def _of_jobs(facts: RunFacts) -> Iterator[str]:
    jobs: dict[str, JobFacts | None] = {"": facts, "parent.": facts.parent, "root.": facts.root}
    for where, job in jobs.items():
        for name in ("run_id", "namespace", "name"):
            if job is not None and not getattr(job, name):
                yield f"{where}{name} must be a text"


def _of_times(facts: RunFacts) -> Iterator[str]:
    for name in ("started_at", "ended_at", "nominal_start", "nominal_end"):
        time = getattr(facts, name)
        if time is not None and (not isinstance(time, datetime) or time.tzinfo is None):
            yield f"{name} must be a time with an offset, not {time!r:.60}"
            return
    if facts.ended_at is not None and facts.ended_at < facts.started_at:
        yield "ended_at is before started_at"
    if facts.nominal_end is not None and (facts.nominal_start is None or facts.nominal_end < facts.nominal_start):
        yield "nominal_end needs a nominal_start that is not after it"
    if facts.outcome is not None and facts.outcome not in get_args(Outcome):
        yield f"outcome must be one of {', '.join(get_args(Outcome))}, not {facts.outcome!r:.40}"
    if (facts.outcome is None) != (facts.ended_at is None):
        yield "outcome and ended_at are both given, or none of them"


def _of_sizes(facts: RunFacts) -> Iterator[str]:
    limits = {
        "inputs": MOST_DATASETS,
        "outputs": MOST_DATASETS,
        "parameters": MOST_PARAMETERS,
        "environment": MOST_PARAMETERS,
    }
    for name, most in limits.items():
        if len(getattr(facts, name)) > most:
            yield f"{name} are {len(getattr(facts, name)):,}; at most {most:,} are told"


def _of_dataset(dataset: DatasetFacts) -> Iterator[str]:
    for name in ("namespace", "name"):
        if not getattr(dataset, name):
            yield f"{name} must be a text"
    for name in ("rows", "bytes", "files"):
        value = getattr(dataset, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            yield f"{name} must be a whole number from 0, not {value!r:.40}"
    if len(dataset.fields) > MOST_FIELDS:
        yield f"fields are {len(dataset.fields):,}; at most {MOST_FIELDS:,} are told"
