"""OpenLineage: the events of a run, held against the schemas of the client, and sent to files and endpoints."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema
import pytest
from openlineage.client.serde import Serde
from openlineage_endpoint import Endpoint, serving
from openlineage_schemas import validate
from pydantic import SecretStr

from prefect_registry import ids
from prefect_registry.errors import (
    AccessDenied,
    ConfigurationError,
    InvalidInput,
    RegistryError,
    StorageError,
    StorageUnavailable,
)
from prefect_registry.provenance.standards.emitting import emit
from prefect_registry.provenance.standards.openlineage import (
    DatasetFacts,
    JobFacts,
    RunFacts,
    events_of,
    url_of,
    uuid_of,
)

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
RUN_ID = ids.IdFactory(bytes).typeid("run", NOON)
HOSTILE = "\"}<script>\u202e\ud800\n'"
FULL = RunFacts(
    run_id=RUN_ID,
    namespace="prefect://flows",
    name="ingest",
    started_at=NOON,
    ended_at=NOON.astimezone(timezone(timedelta(hours=2))) + timedelta(minutes=1),
    outcome="COMPLETE",
    message="only told of failures",
    nominal_start=NOON,
    nominal_end=NOON + timedelta(days=1),
    parameters={"year": 2026, "names": ["a"], "text": "as it is", "none": None},
    environment={"PREFECT__FLOW": "x"},
    repository="https://ada:secret@example.org/repo.git",
    commit="0123abc",
    path="flows/ingest.py",
    branch="main",
    engine=("Prefect", "3.8.8"),
    description="Reads flights.",
    parent=JobFacts(run_id="flow-17", namespace="prefect://flows", name="outer"),
    root=JobFacts(run_id="0190f1e2-0000-7000-8000-000000000000", namespace="prefect://flows", name="outermost"),
    inputs=[DatasetFacts(namespace="s3://bucket", name="flights", version="3", rows=10, bytes=99, files=1)],
    outputs=[
        DatasetFacts(
            namespace="s3://bucket",
            name="delays",
            rows=0,
            fields=[("day", "date32"), ("delay", "")],
            uri="s3://key:secret@bucket/data/é",
            description="By day.",
        ),
        DatasetFacts(namespace="s3://bucket", name="log"),
    ],
)
FAILED = replace(FULL, outcome="FAIL", message="It broke", stack_trace="Traceback …")
BARE = RunFacts(run_id="r", namespace="n", name="j", started_at=NOON)
STRANGE = replace(
    FAILED,
    **dict.fromkeys(("run_id", "namespace", "name", "message", "commit", "path", "description"), HOSTILE),
    repository=HOSTILE,
    parameters={HOSTILE: HOSTILE},
    inputs=[DatasetFacts(namespace=HOSTILE, name=HOSTILE, version=HOSTILE, fields=[(HOSTILE, HOSTILE)], uri=HOSTILE)],
)
EXAMPLES = [FULL, FAILED, replace(FAILED, outcome="ABORT", parent=None), BARE, STRANGE]


def told(facts: RunFacts) -> list[dict[str, Any]]:
    """The events as JSON."""
    return [json.loads(Serde.to_json(event)) for event in events_of(facts)]


@pytest.mark.parametrize("facts", EXAMPLES)
def test_events_follow_the_schemas(facts: RunFacts) -> None:
    """Every event and every facet in it has the fields and forms that OpenLineage asks for."""
    for event in told(facts):
        validate(event)


def test_schemas_refuse() -> None:
    """What is missing, of another type or under another key is noticed: the check is one."""
    good = told(FULL)[-1]
    for change in (
        lambda event: event.pop("run"),
        lambda event: event.update(eventTime="noon"),
        lambda event: event["run"].update(runId=RUN_ID),
        lambda event: event["run"]["facets"]["nominalTime"].pop("nominalStartTime"),
        lambda event: event["outputs"][0]["outputFacets"]["outputStatistics"].update(rowCount="many"),
        lambda event: event["job"]["facets"].update(sql=event["job"]["facets"]["jobType"]),
    ):
        event = json.loads(json.dumps(good))
        change(event)
        with pytest.raises((jsonschema.ValidationError, AssertionError)):
            validate(event)


def test_what_the_events_tell() -> None:
    """START and COMPLETE of one run, with all facets; only the last one tells outputs."""
    start, complete = told(FULL)
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert (start["eventTime"], complete["eventTime"]) == ("2026-01-02T12:00:00.000000Z", "2026-01-02T12:01:00.000000Z")
    assert start["run"] == complete["run"]
    assert set(validate(complete)) == {
        "nominalTime", "parent", "processing_engine", "executionParameters", "environmentVariables", "jobType",
        "documentation", "sourceCodeLocation", "version", "inputStatistics", "dataSource", "schema", "outputStatistics",
    }  # fmt: skip
    assert start["outputs"] == []
    facets = complete["run"]["facets"]
    assert {each["key"]: each.get("value") for each in facets["executionParameters"]["parameters"]} == {
        "year": "2026",
        "names": '["a"]',
        "text": "as it is",
        "none": "null",
    }
    assert facets["parent"]["run"]["runId"] == str(uuid_of("flow-17"))
    assert facets["parent"]["root"]["job"]["name"] == "outermost"
    delays, log = complete["outputs"]
    assert delays["outputFacets"]["outputStatistics"]["rowCount"] == 0
    assert [(each["name"], each.get("type")) for each in delays["facets"]["schema"]["fields"]] == [
        ("day", "date32"),
        ("delay", None),
    ]
    assert (log["facets"], log["outputFacets"]) == ({}, {})
    assert "secret" not in json.dumps([start, complete])


def test_failures() -> None:
    """A run that failed or was aborted says why, and has no outputs; one that goes on has only started."""
    last = told(FAILED)[-1]
    assert (last["eventType"], last["outputs"]) == ("FAIL", [])
    assert last["run"]["facets"]["errorMessage"]["message"] == "It broke"
    assert "errorMessage" not in told(FULL)[-1]["run"]["facets"]
    assert told(replace(FAILED, outcome="ABORT"))[-1]["eventType"] == "ABORT"
    assert [event["eventType"] for event in told(BARE)] == ["START"]


def test_run_ids_are_uuids() -> None:
    """Our id is the UUIDv7 that it spells, a UUID is itself, and any other text has always the same one."""
    uuid = uuid_of(RUN_ID)
    assert uuid.version == 7
    assert (uuid.int >> 80) / 1000 == NOON.timestamp()
    assert f"run_{ids.encode(uuid.int, 26)}" == RUN_ID
    assert uuid_of(str(uuid)) == uuid
    assert uuid_of("flow-17") == uuid_of("flow-17") != uuid_of("flow-18")
    assert uuid_of("flow-17") == UUID("c29ee47a-1aef-5f1c-ae51-961732e86d2b")


@pytest.mark.parametrize(
    ("place", "url"),
    [
        ("git@github.com:org/repo.git", "https://github.com/org/repo.git"),
        ("https://user:token@host/x?token=y#z", "https://host/x"),
        ("ssh://git@host:22/x", "ssh://host:22/x"),
        ("https://user:to@ken/1@host/x", "https://host/x"),
        ("abfss://box@account.dfs.core.windows.net/a", "abfss://box@account.dfs.core.windows.net/a"),
        ("abfss://box:token@account.dfs.core.windows.net/a", "abfss://account.dfs.core.windows.net/a"),
        ("s3://bucket/é", "s3://bucket/%C3%A9"),
        ("file:///data/x", "file:///data/x"),
        ("/data/x", ""),
        ("", ""),
        ("http://[", ""),
        ("a b:c", ""),
    ],
)
def test_urls(place: str, url: str) -> None:
    """Places are told as URLs, without credentials; what is none is not told."""
    assert url_of(place) == url


def test_wrong_facts_are_told_in_full() -> None:
    """Every problem is listed."""
    wrong = replace(
        FULL,
        run_id="",
        started_at=NOON + timedelta(days=9),
        nominal_start=None,
        outcome="DONE",  # type: ignore[arg-type]
        parent=JobFacts(run_id="r", namespace="", name="j"),
        inputs=[DatasetFacts(namespace="n", name="", rows=-1, bytes=True)],
    )
    with pytest.raises(InvalidInput) as raised:
        events_of(wrong)
    assert [problem.partition(" ")[0] for problem in raised.value.problems] == [
        "run_id", "parent.namespace", "ended_at", "nominal_end", "outcome",
        "inputs[0].name", "inputs[0].rows", "inputs[0].bytes",
    ]  # fmt: skip
    for facts in (replace(BARE, started_at=datetime(2026, 1, 1)), replace(BARE, outcome="FAIL")):
        with pytest.raises(InvalidInput):
            events_of(facts)
    with pytest.raises(InvalidInput, match="at most 1,000"):
        events_of(replace(BARE, parameters=dict.fromkeys(map(str, range(1_001)))))


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed, the error names the extra."""
    monkeypatch.setitem(sys.modules, "openlineage.client.event_v2", None)
    with pytest.raises(ConfigurationError, match=r"prefect-registry\[openlineage\]"):
        events_of(BARE)


# -- files -------------------------------------------------------------------------------------------------------------


def test_files(tmp_path: Path) -> None:
    """Events are lines of JSON; those of later runs are added."""
    path = tmp_path / "events.ndjson"
    emit(events_of(FULL), path)
    emit(events_of(STRANGE), str(path))
    lines = path.read_text("utf-8").splitlines()
    assert [json.loads(line)["eventType"] for line in lines] == ["START", "COMPLETE", "START", "FAIL"]
    assert [json.loads(line) for line in lines[:2]] == told(FULL)


def test_impossible_files(tmp_path: Path) -> None:
    """Folders, missing folders and other schemes are refused; a full disk is not our caller's mistake."""
    for place in (tmp_path, tmp_path / "no" / "file", "ftp://host/x", "", "a\0b"):
        with pytest.raises(InvalidInput):
            emit(events_of(BARE), place)
    with pytest.raises(StorageUnavailable, match="No space left"):
        emit(events_of(BARE), "/dev/full")


# -- endpoints ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving() as server:
        yield server


def test_endpoints(endpoint: Endpoint) -> None:
    """An endpoint gets each event in order, with the token, at OpenLineage's own path or the one that is given."""
    emit(events_of(FULL), endpoint.url, token=SecretStr("hush"))
    emit(events_of(BARE), f"{endpoint.url}/other?x=1")
    assert [(path, token) for path, token, _ in endpoint.taken] == [
        ("/api/v1/lineage", "Bearer hush"),
        ("/api/v1/lineage", "Bearer hush"),
        ("/other?x=1", None),
    ]
    assert [event for *_, event in endpoint.taken[:2]] == told(FULL)
    for *_, event in endpoint.taken:
        validate(event)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AccessDenied),
        (403, AccessDenied),
        (307, StorageError),
        (422, StorageError),
        (429, StorageUnavailable),
        (503, StorageUnavailable),
    ],
)
def test_answers(endpoint: Endpoint, status: int, kind: type[RegistryError]) -> None:
    """Each refusal is our error, says how far it came, and never shows the token or follows a redirection."""
    endpoint.statuses = [201, status]
    place = endpoint.url.replace("http://", "http://ada:hush@")
    with pytest.raises(kind) as raised:
        emit(events_of(FULL), place, token=SecretStr("hush"))
    assert type(raised.value) is kind
    assert raised.value.context["sent"] == 1
    assert "hush" not in f"{raised.value!r} {raised.value.context}"
    assert str(status) in str(raised.value)
    assert len(endpoint.taken) == 2


def test_nobody_there(endpoint: Endpoint) -> None:
    """No server, no answer in time, and no URL at all."""
    port = endpoint.server_port
    with pytest.raises(StorageUnavailable) as raised:
        emit(events_of(BARE), "http://127.0.0.1:9/")
    assert raised.value.context["sent"] == 0
    endpoint.shutdown()
    with pytest.raises(StorageUnavailable, match="Timeout"):
        emit(events_of(BARE), f"http://127.0.0.1:{port}", timeout_seconds=0.05)
    for place in ("http://", "http://[::", "http://host:port"):
        with pytest.raises((InvalidInput, StorageUnavailable)):
            emit(events_of(BARE), place)
    for token in ("é", "a\nb", "", " x"):
        with pytest.raises(InvalidInput) as refused:
            emit(events_of(BARE), endpoint.url, token=SecretStr(token))
        assert not token.strip() or token not in str(refused.value)
