"""Documents of a run: begin, heartbeat, decision (DESIGN.md 3, 4)."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import AfterValidator, Field

from prefect_registry.records.base import Document, Moment, Record, printable

Publish = Literal["on_close", "on_commit", "never"]
Outcome = Literal["committed", "aborted"]
FailureKind = Literal["error", "cancelled", "crashed", "reaped"]
LONGEST_MESSAGE_CHARACTERS = 4_000


class Holder(Record):
    """The process that owns a run: enough to prove, on the same host and boot, that it is gone (DESIGN.md P7)."""

    host: str
    boot: str
    pid: int
    process_start: str


_environments: OrderedDict[bytes, dict[str, Any]] = OrderedDict()
_MOST_ENVIRONMENTS = 64


def _shared(environment: dict[str, Any]) -> dict[str, Any]:
    """An equal environment that was read before: readers keep thousands of runs, most of which have the same one."""
    key = orjson.dumps(environment)
    found = _environments.setdefault(key, environment)
    if len(_environments) > _MOST_ENVIRONMENTS:
        with contextlib.suppress(KeyError):  # another thread does the same
            _environments.popitem(last=False)
    return found


class Begin(Document):
    """``begin.json``: what insert_run recorded. ``ancestors`` is the chain of runs around it, outermost first.

    ``code``, ``environment`` and ``worker`` tell of the program that began it (``prefect_registry.capture``); they are
    empty in runs that a single call opened for itself. The index leaves them out.
    """

    SCHEMA: ClassVar[str] = "run/1"

    run_id: str
    purpose: str
    model_id: str | None = None
    revision: str | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    created_at: Moment
    lease_seconds: float
    publish: Publish = "on_close"
    implicit: bool = False
    parent: str | None = None
    isolated: bool = False
    ancestors: list[str] = Field(default_factory=list)
    flow_run: str | None = None
    prefect: dict[str, Any] = Field(default_factory=dict)
    code: dict[str, Any] = Field(default_factory=dict)
    environment: Annotated[dict[str, Any], AfterValidator(_shared)] = Field(default_factory=dict)
    worker: dict[str, Any] = Field(default_factory=dict)
    holder: Holder


class Heartbeat(Document):
    """``heartbeat.json``: the only document that is overwritten, by its owner alone."""

    SCHEMA: ClassVar[str] = "heartbeat/1"

    run_id: str
    beat: int
    at: Moment
    holder: Holder


class Failure(Record):
    """Why a run was aborted. ``cls`` is the class of the exception."""

    cls: str = Field(alias="class")
    message: str = ""
    kind: FailureKind = "error"


def failure(cls: str, message: str = "", kind: FailureKind = "error") -> Failure:
    """A failure of the exception class named ``cls``; at most 4,000 characters of the message are kept."""
    return Failure.model_validate(
        {"class": printable(cls, 200), "message": printable(message, LONGEST_MESSAGE_CHARACTERS), "kind": kind}
    )


def not_published() -> Failure:
    """Why a run with ``publish="never"`` ends aborted."""
    return failure("NotPublished", 'publish="never"', "cancelled")


class Members(Record):
    """What a committed run publishes: nothing that is not listed here is ever visible (DESIGN.md P3).

    ``datasets`` maps a dataset's suffix to its highest generation; ``cells`` holds ``[type, key, generation]``.
    ``built_on`` publishes nothing: it tells the runs around a nested run which staged generations of theirs its own
    were computed from (``[run, type, key, generation]``), so that they keep them.
    """

    datasets: dict[str, int] = Field(default_factory=dict)
    events: list[str] = Field(default_factory=list)
    cells: list[tuple[str, str, int]] = Field(default_factory=list)
    runs: list[str] = Field(default_factory=list)
    built_on: list[tuple[str, str, str, int]] = Field(default_factory=list)


class MembersDocument(Document):
    """``members-<write_id>.json``: a part of the members, when they are too many for ``end.json``."""

    SCHEMA: ClassVar[str] = "members/1"

    run_id: str
    members: Members


class Reference(Record):
    """An object that belongs to a document: its key, size in bytes and hexadecimal sha256."""

    key: str
    size: int
    sha256: str


class LeftOut(Record):
    """What was found in a run and is not published: datasets still PENDING, and nested runs that did not commit."""

    pending: list[str] = Field(default_factory=list)
    runs: list[str] = Field(default_factory=list)


class Decision(Document):
    """``end.json``: committed or aborted. The first writer wins, and nothing ever changes it (DESIGN.md P6).

    ``result`` is the flow's return value when it is JSON of at most 16 KiB (``has_result``), for P14. ``code`` has
    what of the begin's ``code`` was not known yet when the run began.
    """

    SCHEMA: ClassVar[str] = "decision/1"

    run_id: str
    outcome: Outcome
    success: bool
    notes: str | None = None
    failure: Failure | None = None
    closed_at: Moment
    closed_by: Holder
    ancestors: list[str] = Field(default_factory=list)
    members: Members = Field(default_factory=Members)
    more_members: list[Reference] = Field(default_factory=list)
    left_out: LeftOut = Field(default_factory=LeftOut)
    has_result: bool = False
    result: Any = None
    code: dict[str, Any] = Field(default_factory=dict)

    @property
    def committed(self) -> bool:
        """Whether it publishes, the runs around it aside."""
        return self.outcome == "committed"
