"""What operations of provenance take and answer."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, ConfigDict, Field

from prefect_registry.provenance.records.base import MOST_RECORDS, Id, ProvenanceModel
from prefect_registry.provenance.records.runs import ModelRunRecord


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


class Status(ProvenanceModel):
    """Whether it worked, and what there is to say."""

    success: bool
    details: str


class StatusResponse(ProvenanceModel):
    """What most operations answer."""

    status: Status


class HealthCheckResponse(ProvenanceModel):
    """That the registry answers."""

    message: str = "Health check successful."


class RegisterModelRunResponse(StatusResponse):
    """``session_id`` is what ``get_session`` takes."""

    session_id: Id | None = None


class RegisterBatchModelRunRequest(ProvenanceModel):
    """Model runs to be registered: at least one, up to 100,000."""

    records: Annotated[list[ModelRunRecord], Field(min_length=1, max_length=MOST_RECORDS)]


class RegisterBatchModelRunResponse(StatusResponse):
    """``session_id`` is what ``get_session`` takes."""

    session_id: Id | None = None


class UpdateModelRunResponse(ProvenanceModel):
    """``session_id`` is what ``get_session`` takes."""

    session_id: Id


PostUpdateModelRunResponse = UpdateModelRunResponse
"""The reference document's name."""


class PostDeleteGraphResponse(ProvenanceModel):
    """What was, or with ``trial_mode`` would be, done to lineage: an action each."""

    diff: list[dict[str, Any]]


class LineageResponse(StatusResponse):
    """``graph`` is networkx's node-link form; ``record_count`` counts its nodes."""

    record_count: int | None = None
    graph: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.status.details}>"

    def _repr_html_(self) -> str:
        from prefect_registry.provenance.notebooks import response_html

        return response_html(self.status.details, self.graph)


class Node(ProvenanceModel):
    """A node of lineage, with whatever else is known of it."""

    model_config = ConfigDict(extra="allow")

    id: Id
    item_category: str
    item_subtype: str


class GraphProperty(ProvenanceModel):
    """A relation; several between one pair are a list, unless the graph is a multigraph."""

    model_config = ConfigDict(extra="allow")

    type: str | list[str]
    source: Id
    target: Id


class CustomGraph(ProvenanceModel):
    """A node-link graph. Links may be called ``edges``, and be missing."""

    directed: bool
    multigraph: bool
    graph: dict[str, Any] = Field(default_factory=dict)
    nodes: list[Node] = Field(default_factory=list)
    links: list[GraphProperty] = Field(default_factory=list, validation_alias=AliasChoices("links", "edges"))


class CustomLineageResponse(StatusResponse):
    """A :class:`LineageResponse` whose graph is typed."""

    record_count: int | None = None
    graph: CustomGraph | None = None


class ConvertModelRunsResponse(StatusResponse):
    """``existing_records`` are ids of jobs: rows that were registered before."""

    new_records: list[ModelRunRecord] | None = None
    existing_records: list[str] | None = None
    warnings: list[str] | None = None


class GenerateReportRequest(ProvenanceModel):
    """A report of a study or a model run. ``depth`` counts steps upstream of each run."""

    id: Id
    item_subtype: Annotated[Literal["STUDY", "MODEL_RUN"], BeforeValidator(_plain)]
    depth: int = Field(ge=1, le=3)
