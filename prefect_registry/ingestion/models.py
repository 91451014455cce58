"""Publications, jobs and tasks: what their cells hold, as objects to work on (reference system 5)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_serializer, field_validator

from prefect_registry.errors import FormatError, NoActiveRun
from prefect_registry.ingestion import enums
from prefect_registry.ingestion.gates.definitions import CustomGate, Gate
from prefect_registry.ingestion.plans import MOST_TASKS, PlannedTask
from prefect_registry.records.base import Moment, first_problem

if TYPE_CHECKING:
    from prefect_registry.ingestion.service import Ingestion

LONGEST_NOTE_CHARACTERS = 4_000
MOST_NOTES = 1_000
"""Of one task: its job is one document."""


class Value(BaseModel):
    """What a cell holds. Fields that this version does not know are kept, so that newer writers lose nothing."""

    model_config = ConfigDict(extra="allow", validate_assignment=False)

    def as_value(self) -> dict[str, Any]:
        """As the cell has it: JSON, without what is empty."""
        return self.model_dump(mode="json", exclude_defaults=True)


class TaskNote(Value):
    """Something that a task has to say: how bad it is, what it is, and JSON that goes with it."""

    level: enums.Level = enums.Level.UNKNOWN
    note: str = ""
    data: dict[str, Any] = Field(default_factory=dict)


class Claim(Value):
    """Who is about to start a task: the run of that manager's tick, the key under which it starts, since when."""

    run: str
    key: str
    at: Moment


class Task(Value):
    """A step of a job.

    ``start`` and ``end`` are UTC. ``result`` FAILED while the task is not COMPLETED is a failure that is expected to
    pass, which ``note`` tells. Its manager is made from ``type`` and ``options``.

    Attributes:
        attempt: The run, nested in the job's, in which the present attempt stages what it makes.
        key: Names the present start: a start under the same key must not do anything twice.
        failures: How many failures in a row were expected to pass.
        restarts: How often it was started again because its time limit was over.
        not_before: When it is looked at again after such a failure.
    """

    Status: ClassVar[type[enums.Status]] = enums.Status
    Result: ClassVar[type[enums.Result]] = enums.Result
    Type: ClassVar[type[enums.TaskType]] = enums.TaskType

    id: str
    job: str
    start: Moment | None = None
    end: Moment | None = None
    status: enums.Status = enums.Status.PLANNED
    result: enums.Result | Literal[""] = ""
    note: str = ""
    type: str
    order: int
    created: Moment | None = None
    modified: Moment | None = None

    name: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    time_limit_seconds: float = 86_400.0
    max_attempts: int = 10
    backoff_seconds: float = 60.0
    final_output: bool | None = None
    notes: list[TaskNote] = Field(default_factory=list)
    claim: Claim | None = None
    attempt: str | None = None
    key: str = ""
    failures: int = 0
    restarts: int = 0
    not_before: Moment | None = None

    _scope: Scope | None = PrivateAttr(default=None)

    @property
    def scope(self) -> Scope:
        """The job and publication that it belongs to, and the registry."""
        if self._scope is None:
            raise NoActiveRun(f"Task {self.id} is not bound to a registry", todo="Take it from Ingestion.jobs()")
        return self._scope

    def bind(self, scope: Scope) -> Task:
        """Make it a task of ``scope.job``."""
        self._scope = scope
        return self

    def initiate(self, now: dt.datetime) -> None:
        """It is started."""
        self.start, self.end, self.status = now, None, enums.Status.RUNNING
        self.progress()

    def progress(self, result: enums.Result | Literal[""] = "", note: str = "") -> None:
        """Set or clear a failure that is expected to pass."""
        self.result, self.note = result, note[:LONGEST_NOTE_CHARACTERS]
        if not result:
            self.failures, self.not_before = 0, None

    def complete(self, result: enums.Result, now: dt.datetime, note: str = "") -> None:
        """It has ended."""
        self.end, self.status, self.claim, self.not_before = now, enums.Status.COMPLETED, None, None
        self.result, self.note = result, note[:LONGEST_NOTE_CHARACTERS]


class Job(Value):
    """One retrieval of a publication: its tasks, and what they found out.

    ``context`` is for task managers; ``coverage`` counts the rows by JSON path. ``archived`` means that temporary data
    are deleted. ``id`` is the publication's, a slash, and the job's number.

    Attributes:
        run: The registry run whose decision publishes the job; None until it starts.
        tasks: In the order in which they are done.
    """

    Status: ClassVar[type[enums.Status]] = enums.Status

    id: str
    collection: str
    start: Moment | None = None
    end: Moment | None = None
    status: enums.Status = enums.Status.PLANNED
    context: dict[str, Any] = Field(default_factory=dict)
    archived: bool = False
    keep_all_data: bool = False
    coverage: dict[str, int] = Field(default_factory=dict)
    tenders_count: int = 0
    tenderers_count: int = 0
    tenders_items_count: int = 0
    parties_count: int = 0
    awards_count: int = 0
    awards_items_count: int = 0
    awards_suppliers_count: int = 0
    contracts_count: int = 0
    contracts_items_count: int = 0
    contracts_transactions_count: int = 0
    documents_count: int = 0
    plannings_count: int = 0
    milestones_count: int = 0
    amendments_count: int = 0
    date_from: dt.date | None = None
    date_to: dt.date | None = None
    ocid_prefix: str = ""
    license: str = ""
    publication_policy: str = ""
    created: Moment | None = None
    modified: Moment | None = None

    tasks: list[Task] = Field(default_factory=list)
    run: str | None = None
    flow_run: str = ""

    _gen: int | None = PrivateAttr(default=None)
    _ingestion: Ingestion | None = PrivateAttr(default=None)

    @property
    def gen(self) -> int | None:
        """The generation of its cell that this was read from; None when it is not stored yet."""
        return self._gen

    @property
    def ingestion(self) -> Ingestion:
        """The service of the registry that it was read from."""
        if self._ingestion is None:
            raise NoActiveRun(f"Job {self.id} is not bound to a registry", todo="Take it from Ingestion.jobs()")
        return self._ingestion

    @property
    def number(self) -> int:
        """1 for a publication's first job, and so on; never used again."""
        return int(self.id.rpartition("/")[2])

    @property
    def successful(self) -> bool:
        """Whether it has ended and no task failed."""
        return self.status == enums.Status.COMPLETED and not self.is_unsuccessful()

    def is_successful(self) -> bool:
        """Whether every task ended well."""
        return all(t.status == enums.Status.COMPLETED and t.result == enums.Result.OK for t in self.tasks)

    def is_unsuccessful(self) -> bool:
        """Whether a task ended badly."""
        return any(t.status == enums.Status.COMPLETED and t.result == enums.Result.FAILED for t in self.tasks)

    def initiate(self, now: dt.datetime) -> None:
        """It is started."""
        self.start, self.status = now, enums.Status.RUNNING

    def complete(self, now: dt.datetime) -> None:
        """It has ended."""
        self.end, self.status = now, enums.Status.COMPLETED

    def metric(self, name: str) -> float:
        """A number that is known of the job: one of its counts, a path of its coverage, or a number in its context
        (``rows``). 0 if there is none.
        """
        found = self.coverage.get(name, self.context.get(name, getattr(self, name, 0)))
        return found if isinstance(found, (int, float)) and not isinstance(found, bool) else 0


class Collection(Value):
    """A publication: data of one source, retrieved again and again, of which readers see one complete job.

    Attributes:
        source_id: Which source it is, for its task managers.
        retrieval_frequency: How often; empty or NEVER for by hand.
        active_job: The id of the job that readers see.
        last_retrieved: The day (UTC) on which that job's first task ended.
        last_checked: When its source was last found unchanged: then there was no job.
        frozen: Whether it is left alone.
        no_data_rationale: Why there are no data; shown instead of them.
        settings_bundle: A named set of settings, for its task managers.
        plan: What its jobs do.
        gates: What the rows of a job must be like before they are published, by kind.
        prune_metric: By which number old jobs are compared with the new one; see :meth:`Job.metric`.
        keep_all_data: Whether its jobs keep what their temporary tasks made.
    """

    Region: ClassVar[type[enums.Region]] = enums.Region
    RetrievalFrequency: ClassVar[type[enums.RetrievalFrequency]] = enums.RetrievalFrequency
    UpdateFrequency: ClassVar[type[enums.UpdateFrequency]] = enums.UpdateFrequency

    id: str
    title: str = ""
    description: str = ""
    description_long: str = ""
    country: str = ""
    country_flag: str = ""
    region: enums.Region | Literal[""] = ""
    additional_data: str = ""
    language: str = ""
    update_frequency: enums.UpdateFrequency = enums.UpdateFrequency.UNKNOWN
    summary: str = ""
    last_reviewed: dt.date | None = None
    license_custom: str = ""
    publication_policy: str = ""
    source_url: str = ""
    source_id: str = ""
    retrieval_frequency: enums.RetrievalFrequency | Literal[""] = ""
    active_job: str | None = None
    last_retrieved: dt.date | None = None
    frozen: bool = False
    no_data_rationale: str = ""
    public: bool = False
    settings_bundle: str = ""
    created: Moment | None = None
    modified: Moment | None = None
    date_from: dt.date | None = None
    date_to: dt.date | None = None
    ocid_prefix: str = ""

    last_checked: Moment | None = None
    plan: Annotated[list[PlannedTask], Field(max_length=MOST_TASKS)] = Field(default_factory=list)
    gates: dict[str, list[Gate]] = Field(default_factory=dict)
    prune_metric: str = "rows"
    keep_all_data: bool = False

    _gen: int | None = PrivateAttr(default=None)
    _ingestion: Ingestion | None = PrivateAttr(default=None)

    @field_validator("gates")
    @classmethod
    def _gates_are_stored(cls, gates: dict[str, list[Gate]]) -> dict[str, list[Gate]]:
        if any(
            isinstance(g, CustomGate) and not isinstance(g.function, str) for found in gates.values() for g in found
        ):
            raise ValueError("a custom gate of a publication names its function: package.module:name")
        return gates

    @field_serializer("gates")
    def _gates_as_values(self, gates: dict[str, list[Gate]]) -> dict[str, Any]:
        """As YAML has them: ``gate`` tells which one each is, so it is never left out."""
        return {
            kind: [{"gate": g.gate, **g.model_dump(mode="json", by_alias=True, exclude_defaults=True)} for g in of_kind]
            for kind, of_kind in gates.items()
        }

    @property
    def gen(self) -> int | None:
        """The generation of its cell that this was read from; None when it is not stored yet."""
        return self._gen

    @property
    def visible(self) -> bool:
        """Whether the public sees it: it is public, and has data or a reason for having none."""
        return self.public and bool(self.active_job or self.no_data_rationale)

    @property
    def ingestion(self) -> Ingestion:
        """The service of the registry that it was read from."""
        if self._ingestion is None:
            raise NoActiveRun(
                f"Publication {self.id} is not bound to a registry", todo="Take it from Ingestion.publications()"
            )
        return self._ingestion

    def is_out_of_date(self) -> bool:
        """Whether it is due: not frozen, with a frequency other than never, without an incomplete job, and never
        scheduled or last scheduled longer ago than the frequency says; than a week, when the last job failed.
        """
        return self.ingestion.is_out_of_date(self)


Publication = Collection

STATE = frozenset({"active_job", "last_retrieved", "last_checked", "created", "modified"})
"""Fields of a publication that jobs write, and definitions do not."""


class Scope:
    """What a task belongs to: its job, its publication, and the service of the registry."""

    def __init__(self, ingestion: Ingestion, collection: Collection, job: Job) -> None:
        self.ingestion, self.collection, self.job = ingestion, collection, job

    @cached_property
    def previous(self) -> Job | None:
        """The publication's active job."""
        active = self.collection.active_job
        return self.ingestion.get_job(active) if active is not None else None


def bound(value: Mapping[str, Any], gen: int | None, ingestion: Ingestion) -> Collection:
    """A publication from its cell. Raises ``FormatError`` when it is none that this version knows."""
    try:
        collection = Collection.model_validate(value)
    except ValidationError as error:
        raise FormatError(
            f"Publication {value.get('id')!r:.200} cannot be read",
            why=first_problem(error),
            todo="Upgrade prefect-registry if a newer version wrote it, or apply its definition once more",
        ) from error
    collection._gen, collection._ingestion = gen, ingestion
    return collection
