"""OpenLineage run events (https://openlineage.io/docs/spec/run-cycle), through the classes of ``openlineage-python``
(extra ``openlineage``). :mod:`prefect_registry.provenance.standards.emitting` sends them.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import UUID, uuid5

from prefect_registry import __version__, ids
from prefect_registry.credentials import without_user_info
from prefect_registry.provenance.graph import JSON
from prefect_registry.provenance.libraries import library
from prefect_registry.provenance.standards.openlineage_facts import (
    DatasetFacts,
    JobFacts,
    Outcome,
    RunFacts,
    check,
)

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

__all__ = ["DatasetFacts", "JobFacts", "Outcome", "RunFacts", "events_of", "uuid_of"]

LONGEST_VALUE, LONGEST_MESSAGE = 4_096, 65_536
"""Characters of a parameter's value, and of a message, a stack trace or a description; what is longer is cut."""
_OTHER_IDS = UUID("6f1dfb4e-3c7b-5a52-9d2c-0f7e1a8a4c11")
"""The name space of UUIDs that are derived from ids that are neither ours nor UUIDs."""


def uuid_of(run_id: str) -> UUID:
    """The UUID of a run, always the same one: of a run id of ours the UUIDv7 that it spells, of a UUID itself, of any
    other text one that is derived from it (version 5).
    """
    if ids.is_run_id(run_id):
        return UUID(int=ids.decode(run_id.partition("_")[2]))
    try:
        return UUID(run_id)
    except ValueError:
        return uuid5(_OTHER_IDS, run_id.encode("utf-8", "backslashreplace").decode())


def events_of(facts: RunFacts) -> list[RunEvent]:
    """START, and COMPLETE, ABORT or FAIL once the run has ended. The last event tells all that the first one does.

    Raises:
        InvalidInput: The facts are not such that an event can tell them; every problem is listed.
        ConfigurationError: ``openlineage-python`` is not installed.
    """
    check(facts)
    telling = _Telling(library("openlineage.client.event_v2", "openlineage"), _facets())
    events = [telling.event(facts, "START", facts.started_at)]
    if facts.outcome is not None and facts.ended_at is not None:
        events.append(telling.event(facts, facts.outcome, facts.ended_at))
    return events


def _facets() -> Any:
    return library("openlineage.client.facet_v2", "openlineage")


class _Telling:
    """Events of one run.

    Args:
        events: The module ``openlineage.client.event_v2``.
        facets: The module ``openlineage.client.facet_v2``.
    """

    def __init__(self, events: Any, facets: Any) -> None:
        self.events, self.facets = events, facets
        self.producer = {"producer": f"urn:prefect-registry:{__version__}"}

    def event(self, facts: RunFacts, state: str, time: datetime) -> RunEvent:
        outputs = facts.outputs if state == "COMPLETE" else ()
        event: RunEvent = self.events.RunEvent(
            eventType=self.events.RunState(state),
            eventTime=_time(time),
            run=self.events.Run(str(uuid_of(facts.run_id)), self._run_facets(facts, state)),
            job=self.events.Job(facts.namespace, facts.name, self._job_facets(facts)),
            inputs=[self._input(dataset) for dataset in facts.inputs],
            outputs=[self._output(dataset) for dataset in outputs],
            **self.producer,
        )
        return event

    # -- the run and its job ---------------------------------------------------------------------------------------

    def _run_facets(self, facts: RunFacts, state: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if facts.nominal_start is not None:
            end = _time(facts.nominal_end) if facts.nominal_end is not None else None
            make = self.facets.nominal_time_run.NominalTimeRunFacet
            found["nominalTime"] = make(_time(facts.nominal_start), end, **self.producer)
        if facts.parent is not None:
            found["parent"] = self._parent(facts.parent, facts.root)
        if facts.engine is not None:
            name, version = facts.engine
            make = self.facets.processing_engine_run.ProcessingEngineRunFacet
            found["processing_engine"] = make(version, name, __version__, **self.producer)
        if facts.parameters:
            found["executionParameters"] = self._parameters(facts)
        if facts.environment:
            variable = self.facets.environment_variables_run.EnvironmentVariable
            variables = [variable(name, _cut(value, LONGEST_VALUE)) for name, value in facts.environment.items()]
            make = self.facets.environment_variables_run.EnvironmentVariablesRunFacet
            found["environmentVariables"] = make(variables, **self.producer)
        if state in ("FAIL", "ABORT") and (facts.message or facts.stack_trace):
            message, trace = _cut(facts.message), _cut(facts.stack_trace) or None
            make = self.facets.error_message_run.ErrorMessageRunFacet
            found["errorMessage"] = make(message, "PYTHON", trace, **self.producer)
        return found

    def _parent(self, parent: JobFacts, root: JobFacts | None) -> Any:
        of = self.facets.parent_run
        outermost = root or parent
        return of.ParentRunFacet(
            run=of.Run(str(uuid_of(parent.run_id))),
            job=of.Job(parent.namespace, parent.name),
            root=of.Root(of.RootRun(str(uuid_of(outermost.run_id))), of.RootJob(outermost.namespace, outermost.name)),
            **self.producer,
        )

    def _parameters(self, facts: RunFacts) -> Any:
        of = self.facets.execution_parameters_run
        told = [of.ExecutionParameter(key, value=_value(value)) for key, value in facts.parameters.items()]
        return of.ExecutionParametersRunFacet(told, **self.producer)

    def _job_facets(self, facts: RunFacts) -> dict[str, Any]:
        make = self.facets.job_type_job.JobTypeJobFacet
        found: dict[str, Any] = {"jobType": make("BATCH", "PREFECT", "FLOW", **self.producer)}
        if facts.description:
            make = self.facets.documentation_job.DocumentationJobFacet
            found["documentation"] = make(_cut(facts.description), **self.producer)
        url = url_of(facts.repository)
        if url:
            found["sourceCodeLocation"] = self.facets.source_code_location_job.SourceCodeLocationJobFacet(
                type="git",
                url=url,
                repoUrl=url,
                path=facts.path or None,
                version=facts.commit or None,
                branch=facts.branch or None,
                **self.producer,
            )
        return found

    # -- datasets --------------------------------------------------------------------------------------------------

    def _input(self, dataset: DatasetFacts) -> Any:
        make = self.facets.input_statistics_input_dataset.InputStatisticsInputDatasetFacet
        found = {"inputStatistics": self._statistics(make, dataset)} if _counted(dataset) else {}
        facets = self._dataset_facets(dataset)
        return self.events.InputDataset(dataset.namespace, dataset.name, found, facets=facets)

    def _output(self, dataset: DatasetFacts) -> Any:
        make = self.facets.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet
        found = {"outputStatistics": self._statistics(make, dataset)} if _counted(dataset) else {}
        facets = self._dataset_facets(dataset)
        return self.events.OutputDataset(dataset.namespace, dataset.name, found, facets=facets)

    def _statistics(self, make: Any, dataset: DatasetFacts) -> Any:
        return make(dataset.rows, dataset.bytes, dataset.files, **self.producer)

    def _dataset_facets(self, dataset: DatasetFacts) -> dict[str, Any]:
        found: dict[str, Any] = {}
        uri = url_of(dataset.uri)
        if uri:
            make = self.facets.datasource_dataset.DatasourceDatasetFacet
            found["dataSource"] = make(dataset.namespace, uri, **self.producer)
        if dataset.version:
            make = self.facets.dataset_version_dataset.DatasetVersionDatasetFacet
            found["version"] = make(dataset.version, **self.producer)
        if dataset.fields:
            of = self.facets.schema_dataset
            columns = [
                of.SchemaDatasetFacetFields(name, type=type_ or None, ordinal_position=i)
                for i, (name, type_) in enumerate(dataset.fields, 1)
            ]
            found["schema"] = of.SchemaDatasetFacet(columns, **self.producer)
        if dataset.description:
            make = self.facets.documentation_dataset.DocumentationDatasetFacet
            found["documentation"] = make(_cut(dataset.description), **self.producer)
        return found


def url_of(place: str) -> str:
    """``place`` as an URL without credentials, of Azure's with the container; empty where it is none.
    ``git@host:path`` is ``https://host/path``.
    """
    place = without_user_info(place)
    scp = re.fullmatch(r"(?:[\w.-]+@)([\w.-]+):(?!//)(\S+)", place)
    if scp:
        return f"https://{scp[1]}/{scp[2]}"
    try:
        parts = urlsplit(place)
    except ValueError:
        return ""
    if not parts.scheme or not (parts.netloc or parts.path) or re.search(r"[\s<>\"\\^`{|}\x00-\x1f]", place):
        return ""
    url = urlunsplit(parts._replace(query="", fragment=""))
    return quote(url, safe=":/?#[]@!$&'()*+,;=%~")


def _counted(dataset: DatasetFacts) -> bool:
    return any(count is not None for count in (dataset.rows, dataset.bytes, dataset.files))


def _time(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _value(value: JSON) -> str:
    return _cut(value if isinstance(value, str) else json.dumps(value, default=str), LONGEST_VALUE)


def _cut(text: str, longest: int = LONGEST_MESSAGE) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
