"""Bad arguments of every operation: the right error, with its three sentences, and nothing written or lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from registry_support import FAST, assert_tells, asset, doc, keys, numbers, publish, refused, rows, write

from prefect_registry import Registry
from prefect_registry.errors import (
    FormatError,
    IntegrityError,
    InvalidInput,
    NoActiveRun,
    NotFound,
    RegistryError,
    RunAborted,
    RunAlreadyClosed,
)
from prefect_registry.ids import IdFactory, random_token

LOOP: dict[str, Any] = {}
LOOP["again"] = LOOP

# -- what names may be -----------------------------------------------------------------------------------------------

NO_NAMES: list[Any] = [
    "",
    "a\x00b",
    "a\nb",
    "a\tb",
    "\x7f",
    "\x85",
    "\ud800",
    "x" * 2_001,
    "x" * 3_000,
    None,
    5,
    b"x",
    ["x"],
    {},
]
ODD_NAMES = [
    "..",
    ".",
    "/",
    "../../etc/passwd",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "C:\\x",
    "CON",
    "nul.txt",
    "x" * 300,
    "é" * 300,
    "北京/数据",
    "بيانات",
    "данные",
    "🦆" * 100,
    "e\u0301",
    "é",
    "a",
    "A",
    " a",
    "a ",
    "a.",
    "%",
    "%2e%2e",
    "~",
    "$HOME",
    "*",
    "[1]",
    "?q=1#f",
    "x" * 2_000,
    "\u202egnp.exe",
]

NAMED: dict[str, Callable[[Registry, Any], object]] = {
    "insert_run purpose": lambda r, name: r.insert_run(name),
    "begin_dataset kind": lambda r, name: r.begin_dataset(name, RUNS[r.url]),
    "emit_event event_name": lambda r, name: r.emit_event(name, "s", {}),
    "emit_event subject_id": lambda r, name: r.emit_event("e", name, {}),
    "incident event": lambda r, name: r.incident(name, "s", "E", "m"),
    "incident subject_id": lambda r, name: r.incident("e", name, "E", "m"),
    "incident error_class": lambda r, name: r.incident("e", "s", name, "m"),
    "register_documents id": lambda r, name: r.register_documents([{"id": name}]),
    "register_doctags doc_id": lambda r, name: r.register_doctags(
        [{**asset("x").model_dump(), "doc_id": name}], allow_unknown_documents=True
    ),
    "get_document": lambda r, name: r.get_document(name),
    "get_doctags": lambda r, name: r.get_doctags(name),
    "table": lambda r, name: r.table(name),
    "latest": lambda r, name: r.latest(name),
}
OPTIONAL: dict[str, Callable[[Registry, Any], object]] = {
    "insert_run model_id": lambda r, name: r.insert_run("p", name),
    "insert_run revision": lambda r, name: r.insert_run("p", None, name),
    "insert_run flow_run": lambda r, name: r.insert_run("p", flow_run=name),
    "begin_dataset key": lambda r, name: r.begin_dataset("k", RUNS[r.url], key=name),
    "begin_dataset task_run": lambda r, name: r.begin_dataset("k", RUNS[r.url], task_run=name),
}
RUNS: dict[str, str] = {}


@pytest.fixture
def open_run(registry: Registry) -> str:
    """An open run, which the tables of operations use."""
    return RUNS.setdefault(registry.url, registry.insert_run("open"))


@pytest.mark.usefixtures("open_run")
@pytest.mark.parametrize("operation", [*NAMED, *OPTIONAL])
def test_what_cannot_be_a_name_is_refused(registry: Registry, operation: str) -> None:
    for name in NO_NAMES:
        if name is None and operation in OPTIONAL:
            continue
        with refused(InvalidInput, registry):
            {**NAMED, **OPTIONAL}[operation](registry, name)


def test_any_text_can_be_a_name_and_stays_inside_the_registry(local: Registry) -> None:
    before = {p for p in Path(local.url).parent.rglob("*") if not p.is_relative_to(local.url)}
    local.register_documents([doc(name, title=name) for name in ODD_NAMES])
    local.register_doctags([asset(name) for name in ODD_NAMES])
    for name in ODD_NAMES:
        with local.run(name, name, name, {name: name}, flow_run=name) as run:
            write(run, name, 1, key=name, tags={name: name})
            event = local.emit_event(name, name, {name: name})
        incident = local.incident(name, name, name, name)
        info = local.get_run(run.id)
        assert (info.purpose, info.model_id, info.revision, info.config) == (name, name, name, {name: name})
        assert (rows(local, name), local.latest(name).kind, local.latest(name).key) == ([1], name, name)
        assert local.latest(name).tags == {name: name}
        assert local.get_document(name).title == name
        assert local.get_doctags(name).doc_id == name
        assert local.get_event(event).subject_id == name
        assert local.get_incident(incident).error_class == name
    assert sorted(d.id for d in local.documents()) == sorted(ODD_NAMES)
    assert local.kinds() == sorted(ODD_NAMES)
    assert {p for p in Path(local.url).parent.rglob("*") if not p.is_relative_to(local.url)} == before


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.text(st.characters(codec=None, exclude_categories=[]), max_size=60), st.text(max_size=60))
def test_no_name_and_no_path_leads_outside_the_root(tmp_path: Path, name: str, path: str) -> None:
    """Whatever name and path are given, only files below the registry's folder come into being."""
    outer = tmp_path / random_token() / "outer"
    registry = Registry(outer / "registry", settings=FAST)
    try:
        registry.register_documents([{"id": name}])
        with registry.run("p") as run, run.dataset(name) as ds:
            with ds.open(path) as file:
                file.write(b"x")
            ds.set_rows(1)
        target = outer / "download"
        registry.latest(name).download_all(target)
        assert {p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file()} == {path}
    except InvalidInput as error:
        assert_tells(error)
    assert [p.name for p in outer.parent.iterdir()] == ["outer"]
    assert {p.name for p in outer.iterdir()} <= {"registry", "download"}
    shutil.rmtree(outer.parent)


# -- ids -------------------------------------------------------------------------------------------------------------

NEW_RUN, NEW_DATASET, NEW_EVENT, NEW_INCIDENT = "", "", "", ""
UNKNOWN_IDS: list[Any] = [
    "nope",
    "",
    "../x",
    "run_",
    "x" * 3_000,
    "\ud800",
    "run_01j00000000000000000000000\n",
    None,
    5,
    b"x",
    ["x"],
]
BY_RUN: dict[str, Callable[[Registry, Any], object]] = {
    "begin_dataset": lambda r, i: r.begin_dataset("k", i),
    "close_run, success": lambda r, i: r.close_run(i, True),
    "close_run, failure": lambda r, i: r.close_run(i, False),
    "get_run": lambda r, i: r.get_run(i),
    "revert": lambda r, i: r.revert(i),
    "table": lambda r, i: r.table("k", run_id=i),
    "insert_run parent": lambda r, i: r.insert_run("p", parent=i),
    "insert_run parent, isolated": lambda r, i: r.insert_run("p", parent=i, isolated=True),
    "emit_event": lambda r, i: r.emit_event("e", "s", {}, run_id=i),
    "emit_event, immediate": lambda r, i: r.emit_event("e", "s", {}, run_id=i, immediate=True),
    "incident": lambda r, i: r.incident("e", "s", "E", "m", run_id=i),
    "register_documents, none": lambda r, i: r.register_documents([], run_id=i),
    "register_documents, one": lambda r, i: r.register_documents([doc("a")], run_id=i),
    "register_documents, two": lambda r, i: r.register_documents([doc("a"), doc("b")], run_id=i),
    "register_doctags": lambda r, i: r.register_doctags([asset("a")], run_id=i, allow_unknown_documents=True),
    "get_document": lambda r, i: r.get_document("a", run_id=i),
    "attached, dataset": lambda r, i: r.attach(i).dataset("k"),
    "attached, info": lambda r, i: r.attach(i).info(),
    "attached, adopt": lambda r, i: r.attach(i).adopt("/nothing", "k"),
}
BY_DATASET: dict[str, Callable[[Registry, Any], object]] = {
    "commit_dataset": lambda r, i: r.commit_dataset(i, "s3://x/y", 1),
    "rollback_dataset": lambda r, i: r.rollback_dataset(i),
    "get_dataset": lambda r, i: r.get_dataset(i),
}
BY_OTHER: dict[str, Callable[[Registry, Any], object]] = {
    "get_event": lambda r, i: r.get_event(i),
    "get_incident": lambda r, i: r.get_incident(i),
}
# Without a run these work outside any.
MAY_BE_NONE = {
    name for name in BY_RUN if name.startswith(("emit", "incident", "register", "table", "get_document", "insert"))
}


@pytest.mark.parametrize("operation", [*BY_RUN, *BY_DATASET, *BY_OTHER])
def test_an_unknown_id_is_not_found_whatever_it_looks_like(registry: Registry, operation: str) -> None:
    ids = IdFactory()
    now = registry.ledger.store.clock.now()
    new_run = ids.typeid("run", now)
    new = (
        new_run
        if operation in BY_RUN
        else ids.inner({"get_event": "ev", "get_incident": "inc"}.get(operation, "ds"), new_run)
    )
    for unknown in [new, *UNKNOWN_IDS]:
        if unknown is None and operation in MAY_BE_NONE:
            continue
        with refused((NotFound, NoActiveRun) if unknown is None else NotFound, registry, committed="no"):
            {**BY_RUN, **BY_DATASET, **BY_OTHER}[operation](registry, unknown)


REFUSED_WHEN_CLOSED = [
    "begin_dataset",
    "emit_event",
    "register_documents, none",
    "register_documents, one",
    "register_documents, two",
    "register_doctags",
    "attached, dataset",
    "attached, adopt",
    "insert_run parent",
]


@pytest.mark.parametrize("operation", REFUSED_WHEN_CLOSED)
@pytest.mark.parametrize("success", [True, False])
def test_a_closed_run_takes_nothing_more_and_nothing_of_it_shows(
    registry: Registry, operation: str, success: bool
) -> None:
    run = registry.insert_run("p")
    registry.close_run(run, success)
    error = RunAlreadyClosed if success else RunAborted
    nested = operation == "insert_run parent"  # its begin has landed before it sees that its parent is decided
    with refused(error, *([] if nested else [registry]), committed="no"):
        BY_RUN[operation](registry, run)
    assert [list(registry.documents()), list(registry.doctags()), registry.kinds()] == [[], [], []]


@pytest.mark.parametrize("operation", REFUSED_WHEN_CLOSED)
def test_the_same_when_another_process_closed_it(local: Registry, operation: str) -> None:
    for success in (True, False):
        run = local.insert_run("p")
        Registry(local.url).close_run(run, success)
        with pytest.raises(RunAlreadyClosed if success else RunAborted) as caught:
            BY_RUN[operation](local, run)
        assert_tells(caught.value)
        assert caught.value.committed == "no"
    seen = Registry(local.url)
    assert [list(seen.documents()), list(seen.doctags()), seen.kinds()] == [[], [], []]
    assert [d for d in seen.datasets() if d.state != "ROLLED_BACK"] == []
    assert [e for e in seen.events() if e.event_name == "e"] == []


def test_incidents_and_immediate_events_are_recorded_also_after_the_end(registry: Registry) -> None:
    run = registry.insert_run("p")
    registry.close_run(run, False)
    registry.get_incident(registry.incident("e", "s", "E", "m", run_id=run))
    registry.get_event(registry.emit_event("e", "s", {}, run_id=run, immediate=True))


# -- other arguments -------------------------------------------------------------------------------------------------

NO_JSON_OBJECTS: list[Any] = [
    5,
    "x",
    [1],
    b"x",
    object(),
    {"x": float("nan")},
    {"x": float("-inf")},
    {"x": object()},
    {"x": 2**64},
    {"x": -(2**63) - 1},
    {"x": 10**400},
    {1: 2},
    {None: 1},
    {("a",): 1},
    {"x": "\ud800"},
    {"\udfff": 1},
    {"x": b"bytes"},
    {"x": {1, 2}},
    {"x": 1j},
    LOOP,
    {"x": "y" * (1 << 20)},
    {"x": list(range(300_000))},
]
deep: Any = {}
for _ in range(100):
    deep = {"deeper": deep}
NO_JSON_OBJECTS.append(deep)


@pytest.mark.usefixtures("open_run")
@pytest.mark.parametrize(
    "operation",
    {
        "insert_run config": lambda r, v: r.insert_run("p", config=v),
        "insert_run prefect": lambda r, v: r.insert_run("p", prefect=v),
        "insert_run nested": lambda r, v: r.insert_run("p", config=v, parent=RUNS[r.url], flow_run="f"),
        "emit_event payload": lambda r, v: r.emit_event("e", "s", v),
        "emit_event in a run": lambda r, v: r.emit_event("e", "s", v, run_id=RUNS[r.url]),
        "begin_dataset partition": lambda r, v: r.begin_dataset("k", RUNS[r.url], partition=v),
    }.items(),
    ids=lambda item: item[0],
)
def test_what_json_cannot_hold_is_refused(
    registry: Registry, operation: tuple[str, Callable[[Registry, Any], object]]
) -> None:
    for value in NO_JSON_OBJECTS:
        with refused(InvalidInput, registry):
            operation[1](registry, value)


WRONG: list[tuple[str, Callable[[Registry], object]]] = [
    ("publish", lambda r: r.insert_run("p", publish="later")),  # type: ignore[arg-type]
    ("publish", lambda r: r.insert_run("p", publish=None)),  # type: ignore[arg-type]
    ("lease", lambda r: r.insert_run("p", lease=0)),
    ("lease", lambda r: r.insert_run("p", lease=-1)),
    ("lease", lambda r: r.insert_run("p", lease=float("nan"))),
    ("lease", lambda r: r.insert_run("p", lease=10**9)),
    ("lease", lambda r: r.insert_run("p", lease="60")),  # type: ignore[arg-type]
    ("lease", lambda r: r.insert_run("p", lease=True)),
    ("success", lambda r: r.close_run(RUNS[r.url], "yes")),  # type: ignore[arg-type]
    ("success", lambda r: r.close_run(RUNS[r.url], 1)),  # type: ignore[arg-type]
    ("success", lambda r: r.close_run(RUNS[r.url], None)),  # type: ignore[arg-type]
    ("notes", lambda r: r.close_run(RUNS[r.url], True, 5)),  # type: ignore[arg-type]
    ("notes", lambda r: r.close_run(RUNS[r.url], True, "x" * 100_001)),
    ("failure", lambda r: r.close_run(RUNS[r.url], False, failure="x")),  # type: ignore[arg-type]
    ("mode", lambda r: r.begin_dataset("k", RUNS[r.url], mode="overwrite")),  # type: ignore[arg-type]
    ("partition", lambda r: r.begin_dataset("k", RUNS[r.url], mode="replace_partitions")),
    ("partition", lambda r: r.begin_dataset("k", RUNS[r.url], partition={})),
    ("tag", lambda r: r.begin_dataset("k", RUNS[r.url], tags={"a": 1})),  # type: ignore[dict-item]
    ("tag", lambda r: r.begin_dataset("k", RUNS[r.url], tags=5)),  # type: ignore[arg-type]
    ("tag", lambda r: r.begin_dataset("k", RUNS[r.url], tags={1: "a"})),  # type: ignore[dict-item]
    ("documents", lambda r: r.register_documents(None)),  # type: ignore[arg-type]
    ("documents", lambda r: r.register_documents(doc("a"))),  # type: ignore[arg-type]
    ("documents", lambda r: r.register_documents({"id": "a"})),  # type: ignore[dict-item]
    ("documents", lambda r: r.register_documents("ab")),  # type: ignore[arg-type]
    ("documents", lambda r: r.register_documents([None])),  # type: ignore[list-item]
    ("documents", lambda r: r.register_documents([5])),  # type: ignore[list-item]
    ("documents", lambda r: r.register_documents([asset("a")])),  # type: ignore[list-item]
    ("documents", lambda r: r.register_documents([{"id": "a", "authors": "me"}])),
    ("documents", lambda r: r.register_documents([{"id": "a", "title": "\ud800"}])),
    ("documents", lambda r: r.register_documents([doc("a", title="x" * (1 << 20))])),
    ("documents", lambda r: r.register_documents([doc("a").model_copy(update={"title": 5})])),
    ("documents", lambda r: r.register_documents([doc("a"), doc("b", title="x" * (1 << 20))])),
    ("doctags", lambda r: r.register_doctags([{**asset("a").model_dump(), "pages": -1}])),
    ("doctags", lambda r: r.register_doctags([{**asset("a").model_dump(), "pages": 1.5}])),
    ("doctags", lambda r: r.register_doctags([{**asset("a").model_dump(), "pages": 2**64}])),
    ("doctags", lambda r: r.register_doctags([{**asset("a").model_dump(), "avg_logprob": float("nan")}])),
    ("message", lambda r: r.incident("e", "s", "E", None)),  # type: ignore[arg-type]
    ("message", lambda r: r.incident("e", "s", "E", "x" * 1_000_000)),
    ("Run", lambda r: list(r.runs(colour="red"))),
    ("Run", lambda r: list(r.snapshot().runs(to_table="x"))),
    ("Dataset", lambda r: list(r.datasets(to_table="x"))),
    ("Doc", lambda r: list(r.documents(colour="red"))),
    ("Event", lambda r: list(r.events(colour="red"))),
    ("time", lambda r: r.as_of("yesterday")),  # type: ignore[arg-type]
    ("time", lambda r: r.as_of(datetime.max.replace(tzinfo=timezone(timedelta(hours=-9))))),
]


@pytest.mark.usefixtures("open_run")
@pytest.mark.parametrize(("said", "operation"), WRONG)
def test_any_other_wrong_argument_is_named(
    registry: Registry, said: str, operation: Callable[[Registry], object]
) -> None:
    with refused(InvalidInput, registry) as caught:
        operation(registry)
    assert said.lower() in str(caught.value).lower()


@pytest.mark.parametrize(
    "place", [5, b"/tmp/x", ["x"], "", "  ", "s3://", "nosuch://x/y", "file://host/x", "s3://key:secret@b/x"]
)
def test_what_is_no_place_for_a_registry_is_refused(place: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        Registry(place)
    assert_tells(caught.value)
    assert "secret" not in str(caught.value)


def test_every_problem_is_listed_at_once(registry: Registry) -> None:
    with refused(InvalidInput, registry) as caught:
        registry.insert_run("", "\n", 5, {"x": object(), 1: 2}, publish="x", lease=-1)  # type: ignore[arg-type, dict-item]
    error = caught.value
    assert isinstance(error, InvalidInput)
    assert len(error.problems) == 7


def test_texts_of_failures_are_recorded_whatever_is_in_them(registry: Registry) -> None:
    """An undecodable file name in an error message must not keep a run from being closed."""
    error = OSError(f"cannot read {os.fsdecode(b'caf' + bytes([0xE9]))}" + "x" * 600_000)
    with pytest.raises(OSError, match="cannot read") as caught, registry.run("p") as run, run.dataset("k") as ds:
        raise error
    assert caught.value is error
    assert not hasattr(error, "__notes__")
    assert registry.get_run(run.id).state == "ABORTED"
    assert registry.get_dataset(ds.id).state == "ROLLED_BACK"
    assert [i.message[:20] for i in registry.incidents()] == ["cannot read caf\\udce9"[:20]]
    noted = registry.insert_run("p")
    registry.close_run(noted, True, "\ud800")
    assert registry.get_run(noted).notes == "\\ud800"


def test_values_that_only_look_like_json_values_come_back_as_plain_ones(registry: Registry) -> None:
    import enum

    import numpy as np

    class Mode(str, enum.Enum):  # noqa: UP042
        FAST = "fast"

    class Level(enum.IntEnum):
        LOW = 1

    config = {"loss": np.float64(0.5), "mode": Mode.FAST, Mode.FAST: (Level.LOW, True)}
    found = registry.get_run(registry.insert_run("p", config=config)).config
    assert found == {"loss": 0.5, "mode": "fast", "fast": [1, True]}
    for value in (np.int64(3), np.bool_(True), np.array([1])):
        with refused(InvalidInput, registry):
            registry.insert_run("p", config={"x": value})


def test_what_a_read_returns_can_be_changed_without_changing_later_reads(registry: Registry) -> None:
    run_id = registry.insert_run("p", config={"a": {"b": [1]}}, prefect={"flow_name": "f"})
    run = registry.attach(run_id)
    dataset = write(run, "k", 1, tags={"t": "1"}, partition={"m": 7})
    event = registry.emit_event("e", "s", {"a": [1]}, run_id=run_id, immediate=True)
    for _ in range(2):
        info, found, told = run.info(), registry.get_dataset(dataset), registry.get_event(event)
        values: list[Any] = [info.config, info.prefect, found.tags, found.partition, told.payload]
        assert values == [{"a": {"b": [1]}}, {"flow_name": "f"}, {"t": "1"}, {"m": 7}, {"a": [1]}]
        values[0]["a"]["b"].append(2)
        values[4]["a"].clear()
        for value in values:
            value["more"] = 1


# -- a store that somebody has tampered with -------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["../../x", "/etc/passwd", "a/../../x", "a\\..\\x", "", ".", "a//b"])
def test_a_manifest_that_leads_outside_is_refused(local: Registry, tmp_path: Path, path: str) -> None:
    publish(local, "k", 1)
    (generation,) = list(Path(local.url).rglob("0000000001.json"))
    document = orjson.loads(generation.read_bytes())
    document["files"][0]["path"] = path
    generation.write_bytes(orjson.dumps(document))
    again = Registry(local.url)
    for read in (
        lambda: again.table("k"),
        lambda: list(again.datasets()),
        lambda: again.get_dataset(document["dataset_id"]),
    ):
        with pytest.raises(IntegrityError) as caught:
            read()
        assert_tells(caught.value)
    assert {p.name for p in tmp_path.iterdir()} == {"registry"}


def test_a_generation_that_claims_another_run_is_refused(local: Registry) -> None:
    publish(local, "k", 1)
    publish(local, "other", 2)
    first, second = list(Path(local.url).rglob("0000000001.json"))
    first.write_bytes(second.read_bytes())
    again = Registry(local.url)
    with pytest.raises(IntegrityError):
        list(again.datasets())


@pytest.mark.parametrize("junk", [".DS_Store", "Thumbs.db", "0000000001.json.tmp", "x/y/z", "9999999999.jsonx"])
def test_what_other_programs_leave_in_the_store_troubles_nobody(local: Registry, junk: str) -> None:
    with local.run("p") as run:
        write(run, "k", 1)
        with local.run("inner", parent=run.id) as inner:
            local.register_documents([doc("a")], run_id=inner.id)
        local.emit_event("e", "s", {})
        folders = [
            p for p in Path(local.url).rglob("*") if p.is_dir() and ".tmp" not in p.parts and "data" not in p.parts
        ]
        for folder in folders:
            target = folder / junk
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"junk")
    again = Registry(local.url)
    again.register_documents([doc("a", title="new"), doc("b")])
    publish(again, "k", 2, mode="append")
    assert rows(again, "k") == [1, 2]
    assert [d.title for d in again.documents()] == ["new", ""]
    assert len(list(again.events(derived=False))) == 1
    assert {r.state for r in again.runs()} == {"COMMITTED"}
    assert again.reap().reaped == []
    again.collect(dry_run=False)
    assert rows(Registry(local.url), "k") == [1, 2]


@pytest.mark.parametrize("folder", ["2026-01-01/07/backup_OLD", "2026-01-01/07/run_X", "old/07/{run}"])
def test_the_collector_passes_over_what_is_no_runs_folder(local: Registry, folder: str) -> None:
    run = local.attach(local.insert_run("p"))
    write(run, "k", 1)
    local.close_run(run.id, False)
    foreign = Path(local.url) / "data" / folder.format(run=run.id) / "x"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"somebody else's")
    assert local.collect(dry_run=False).runs == [run.id]
    assert foreign.exists()


def test_a_damaged_or_a_newer_document_is_told_and_not_taken_for_absent(local: Registry) -> None:
    publish(local, "k", 1)
    local.register_documents([doc("a")])
    for pattern, data, error in (
        ("end.json", b"{", FormatError),
        ("begin.json", b"", FormatError),
        ("0000000000.json", b'{"schema": "cell/2", "write_id": "w"}', FormatError),
        ("registry.json", b'{"schema": "registry/9"}', FormatError),
    ):
        files = list(Path(local.url).rglob(pattern))
        kept = {file: file.read_bytes() for file in files}
        for file in files:
            file.write_bytes(data)
        with pytest.raises(error) as caught:
            again = Registry(local.url)
            again.table("k")
            again.get_document("a")
        assert_tells(caught.value)
        for file, was in kept.items():
            file.write_bytes(was)
    assert rows(Registry(local.url), "k") == [1]


def test_a_document_of_a_newer_writer_is_read_and_a_broken_one_is_a_format_error(local: Registry) -> None:
    local.register_documents([doc("a", title="t")])
    (generation,) = Path(local.url).rglob("0000000000.json")
    document = orjson.loads(generation.read_bytes())
    document["value"]["from_the_future"] = [1]
    generation.write_bytes(orjson.dumps(document))
    assert Registry(local.url).get_document("a").title == "t"
    document["value"]["title"] = 5
    generation.write_bytes(orjson.dumps(document))
    for read in (lambda r: r.get_document("a"), lambda r: list(r.documents())):
        with pytest.raises(FormatError):
            read(Registry(local.url))


@pytest.mark.parametrize("damage", ["changed", "cut", "deleted"])
def test_a_damaged_file_is_an_integrity_error_however_it_is_read(local: Registry, tmp_path: Path, damage: str) -> None:
    with local.run("p") as run, run.dataset("k") as ds:
        ds.write_table(numbers(*range(1_000)))
    dataset = local.latest("k")
    (file,) = Path(dataset.root).iterdir()
    data = bytearray(file.read_bytes())
    if damage == "deleted":
        file.unlink()
    else:
        data[len(data) // 2] ^= 0xFF
        file.write_bytes(data if damage == "changed" else data[:-10])
    reads: list[Callable[[], object]] = [
        dataset.verify,
        dataset.to_table,
        lambda: local.table("k").to_table(),
        lambda: dataset.download(file.name, tmp_path / "x"),
        lambda: dataset.download_all(tmp_path / "y"),
    ]
    if damage != "changed":
        reads += [lambda: dataset.to_table(verify=False), lambda: local.table("k").to_table(verify=False)]
    if damage == "deleted":
        reads.append(lambda: dataset.open(file.name))
    for read in reads:
        with pytest.raises(IntegrityError) as caught:
            read()
        assert_tells(caught.value)
    assert not any(p.is_file() for p in tmp_path.glob("[xy]*"))


def test_errors_reach_another_process_as_they_are(local: Registry) -> None:
    program = """
        import pickle, sys
        from prefect_registry import Registry
        try:
            Registry(sys.argv[1]).get_run("run_01j00000000000000000000000")
        except Exception as error:
            sys.stdout.buffer.write(pickle.dumps(error))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program), local.url], check=True, capture_output=True)
    import pickle

    error = pickle.loads(done.stdout)
    assert isinstance(error, NotFound)
    assert isinstance(error, RegistryError)
    assert_tells(error)
    assert keys(local) == ["registry.json"]
