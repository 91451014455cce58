"""The acceptance cases of reference system 1 (KG-01 to KG-34), as DESIGN.md and SEEDS.md decide them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from registry_support import FAST, asset, doc, keys, numbers, only, publish, refused, rows, write

from prefect_registry import Registry
from prefect_registry.errors import (
    Conflict,
    InvalidInput,
    InvalidState,
    NotFound,
    RunAborted,
    RunAlreadyClosed,
)
from prefect_registry.records import Doc
from prefect_registry.testing.servers import Server

UNKNOWN_RUN = "run_01j00000000000000000000000"
UNKNOWN_DATASET = "ds_01j00000000000000000000000_0000000000000000"


def begin(registry: Registry, kind: str = "chunks", **options: Any) -> tuple[str, str, str]:
    """A run, a dataset of it, and the dataset's folder."""
    run = registry.insert_run("test", **options)
    dataset = registry.begin_dataset(kind, run)
    return run, dataset, registry.get_dataset(dataset).root


# -- runs ------------------------------------------------------------------------------------------------------------


def test_kg_01_a_new_run_is_running_and_keeps_what_it_was_given(registry: Registry) -> None:
    before = datetime.now(tz=UTC)
    first = registry.insert_run("dense_embed", "Qwen3-Embedding-4B", "main", {"dim": 3584})
    second = registry.insert_run("dense_embed", "Qwen3-Embedding-4B", "main", {"dim": 3584})
    assert first != second
    run = registry.get_run(first)
    assert (run.status, run.state, run.finished_at, run.success) == ("RUNNING", "RUNNING", None, None)
    assert (run.purpose, run.model_id, run.revision, run.config) == (
        "dense_embed",
        "Qwen3-Embedding-4B",
        "main",
        {"dim": 3584},
    )
    assert run.started_at.tzinfo is UTC
    assert before - timedelta(seconds=1) <= run.started_at <= datetime.now(tz=UTC)


def test_kg_02_model_revision_and_config_may_be_absent(registry: Registry) -> None:
    run = registry.get_run(registry.insert_run("p", model_id=None, revision=None, config={}))
    assert (run.model_id, run.revision, run.config) == (None, None, {})
    assert registry.get_run(registry.insert_run("p", None, None, None)).config == {}


@pytest.mark.parametrize("config", [{"x": object()}, {"x": {1, 2}}, {"x": b"bytes"}, {"x": datetime.now(tz=UTC)}])
def test_kg_03_a_config_that_json_cannot_hold_is_refused_before_anything_is_written(
    registry: Registry, config: Any
) -> None:
    with refused(InvalidInput, registry) as caught:
        registry.insert_run("p", None, None, config)
    assert "config.x" in str(caught.value)


def test_kg_04_a_config_comes_back_equal(registry: Registry) -> None:
    config = {
        "nested": [[1, [2.5, None]], {"deep": {"er": [True, False]}}],
        "unicode": "žluťoučký 北京 😀",
        "empty": ["", [], {}],
        "largest": 2**64 - 1,
        "smallest": -(2**63),
        "float": 0.1 + 0.2,
        "": "an empty key",
    }
    run_id = registry.insert_run("p", config=config)
    assert registry.get_run(run_id).config == config
    if "://" not in registry.url:
        assert Registry(registry.url).get_run(run_id).config == config


# -- begin and commit ------------------------------------------------------------------------------------------------


def test_kg_05_a_begun_dataset_is_pending_and_seen_by_no_reader(registry: Registry) -> None:
    run, dataset, _ = begin(registry)
    assert dataset != registry.begin_dataset("chunks", run)
    found = registry.get_dataset(dataset)
    assert (found.state, found.parquet_root, found.run_id, found.kind) == ("PENDING", "", run, "chunks")
    assert len(registry.table("chunks")) == 0
    with pytest.raises(NotFound):
        registry.latest("chunks")
    assert list(registry.datasets(kind="chunks", state="READY")) == []
    assert len(list(registry.datasets(kind="chunks", state="PENDING"))) == 2


def test_kg_06_beginning_in_an_unknown_run_is_not_found_and_writes_nothing(registry: Registry) -> None:
    for unknown in (UNKNOWN_RUN, "nope", "d1b7a7f4-9f0e-4b7e-8f43-5a2c3d1e0f99"):
        with refused(NotFound, registry):
            registry.begin_dataset("chunks", unknown)


@pytest.mark.parametrize(("success", "error"), [(True, RunAlreadyClosed), (False, RunAborted)])
def test_kg_07_beginning_in_a_closed_run_is_an_invalid_state(
    registry: Registry, success: bool, error: type[InvalidState]
) -> None:
    run = registry.insert_run("p")
    registry.close_run(run, success)
    with refused(error, registry, committed="no"):
        registry.begin_dataset("chunks", run)


def test_kg_08_a_committed_dataset_has_root_rows_and_one_event(registry: Registry) -> None:
    run, dataset, _ = begin(registry)
    registry.commit_dataset(dataset, "s3://elsewhere/chunks", 17)
    assert registry.get_dataset(dataset).state == "STAGED"
    registry.close_run(run, True)
    found = registry.get_dataset(dataset)
    assert (found.state, found.parquet_root, found.rows, found.external) == ("READY", "s3://elsewhere/chunks", 17, True)
    assert found.committed_at is not None
    assert found.committed_at >= found.created_at
    event = only(list(registry.events(event_name="DatasetCommitted")))
    assert (event.subject_id, event.payload) == (dataset, {"rows": 17, "root": "s3://elsewhere/chunks"})


def test_kg_08_the_same_for_files_in_the_datasets_own_folder(registry: Registry) -> None:
    with registry.run("p") as run:
        ds = run.dataset("chunks")
        ds.write_table(numbers(*range(17)))
        registry.commit_dataset(ds.id, ds.location, 17)
    found = registry.latest("chunks")
    assert (found.id, found.rows, found.external, found.parquet_root) == (ds.id, 17, False, ds.location)


def test_kg_09_committing_an_unknown_dataset_is_not_found(registry: Registry) -> None:
    for unknown in (UNKNOWN_DATASET, "nope", ""):
        with refused(NotFound, registry):
            registry.commit_dataset(unknown, "s3://x/y", 1)


def test_kg_10_committing_the_same_again_is_no_second_event(registry: Registry) -> None:
    run, dataset, _ = begin(registry)
    for _ in range(2):
        registry.commit_dataset(dataset, "s3://x/y", 1)
    registry.close_run(run, True)
    registry.commit_dataset(dataset, "s3://x/y", 1)
    assert len(list(registry.events(event_name="DatasetCommitted"))) == 1


@pytest.mark.parametrize(("root", "count"), [("s3://x/other", 1), ("s3://x/y", 2)])
def test_kg_11_committing_something_else_is_a_conflict(registry: Registry, root: str, count: int) -> None:
    run, dataset, _ = begin(registry)
    registry.commit_dataset(dataset, "s3://x/y", 1)
    with refused(Conflict, registry):
        registry.commit_dataset(dataset, root, count)
    registry.close_run(run, True)
    with refused(RunAlreadyClosed, registry):
        registry.commit_dataset(dataset, root, count)
    assert (registry.get_dataset(dataset).root, registry.get_dataset(dataset).rows) == ("s3://x/y", 1)


@pytest.mark.parametrize("count", [-1, -(2**63), 2**63, 1.0, "1", True, None])
def test_kg_12_rows_that_are_no_count_are_refused(registry: Registry, count: Any) -> None:
    _, dataset, _ = begin(registry)
    with refused(ValueError, registry):
        registry.commit_dataset(dataset, "s3://x/y", count)
    registry.commit_dataset(dataset, "s3://x/y", 0)


# -- roll back -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("staged", [False, True])
def test_kg_13_rolling_back_leaves_a_tombstone_and_one_event(registry: Registry, staged: bool) -> None:
    with registry.run("p") as run:
        ds = run.dataset("chunks")
        ds.write_table(numbers(1))
        if staged:
            ds.commit()
        registry.rollback_dataset(ds.id)
        registry.rollback_dataset(ds.id)
        assert registry.get_dataset(ds.id).state == "ROLLED_BACK"
    found = registry.get_dataset(ds.id)
    assert found.state == "ROLLED_BACK"
    assert registry.table("chunks").datasets() == []
    event = only(list(registry.events(subject_id=ds.id)))
    assert (event.event_name, event.payload) == ("DatasetRolledBack", {})
    assert any(key.startswith("data/") for key in keys(registry))
    registry.collect(dry_run=False)
    assert not any(key.startswith("data/") for key in keys(registry))
    assert registry.get_dataset(ds.id).state == "ROLLED_BACK"


def test_kg_14_rolling_back_an_unknown_dataset_is_not_found(registry: Registry) -> None:
    for unknown in (UNKNOWN_DATASET, "nope"):
        with refused(NotFound, registry):
            registry.rollback_dataset(unknown)


def test_kg_15_rolling_back_a_ready_dataset_is_refused_and_it_stays_readable(registry: Registry) -> None:
    publish(registry, "chunks", 1, 2)
    dataset = registry.latest("chunks")
    with refused(InvalidState, registry, committed="yes"):
        registry.rollback_dataset(dataset.id)
    assert rows(registry, "chunks") == [1, 2]


def test_kg_16_committing_after_a_rollback_is_an_invalid_state(registry: Registry) -> None:
    _, dataset, _ = begin(registry)
    registry.rollback_dataset(dataset)
    with refused(InvalidState, registry):
        registry.commit_dataset(dataset, "s3://x/y", 1)


# -- failure ---------------------------------------------------------------------------------------------------------


def test_kg_19_an_exception_closes_the_run_rolls_back_and_records_an_incident(registry: Registry) -> None:
    error = RuntimeError("boom")
    with pytest.raises(RuntimeError) as caught, registry.run("p") as run:
        ds = run.dataset("chunks")
        raise error
    assert caught.value is error
    assert not hasattr(error, "__notes__")
    info = registry.get_run(run.id)
    assert (info.state, info.success) == ("ABORTED", False)
    assert info.failure is not None
    assert (info.failure.cls, info.failure.message, info.failure.kind) == ("RuntimeError", "boom", "error")
    assert registry.get_dataset(ds.id).state == "ROLLED_BACK"
    incident = only(list(registry.incidents(subject_id=run.id)))
    assert (incident.error_class, incident.message) == ("RuntimeError", "boom")


def test_kg_21_after_a_failure_nothing_is_kept_on_close_and_what_was_committed_is_kept_on_commit(
    registry: Registry,
) -> None:
    made: list[str] = []
    for publish_when in ("on_close", "on_commit"):
        with pytest.raises(RuntimeError), registry.run("p", publish=publish_when) as run:
            made.append(write(run, publish_when, 1))
            run.dataset(publish_when)
            raise RuntimeError
    assert [registry.get_dataset(ds).state for ds in made] == ["ROLLED_BACK", "READY"]
    assert (rows(registry, "on_close"), rows(registry, "on_commit")) == ([], [1])


def test_kg_22_a_killed_process_is_reaped_at_once_and_one_that_lives_is_left_alone(local: Registry) -> None:
    program = """
        import os, signal, sys
        import pyarrow as pa
        from prefect_registry import Registry
        registry = Registry(sys.argv[1])
        run = registry.attach(registry.insert_run("killed"))
        ds = run.dataset("chunks")
        ds.write_table(pa.table({"n": [1]}))
        print(run.id, ds.id, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    alive = local.insert_run("alive")
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), local.url], check=False, capture_output=True, text=True
    )
    run_id, dataset_id = killed.stdout.split()
    assert local.get_dataset(dataset_id).state == "PENDING"
    report = local.reap()
    assert (report.reaped, report.alive) == ([run_id], [alive])
    assert (local.get_run(run_id).state, local.get_dataset(dataset_id).state) == ("ABORTED", "ROLLED_BACK")
    assert local.get_run(alive).state == "RUNNING"
    assert local.collect(dry_run=False).runs == [run_id]
    assert not any(key.startswith("data/") for key in keys(local))


# -- close -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("notes", "told"), [("ok", "ok"), (None, "")])
def test_kg_24_closing_keeps_success_and_notes_and_is_one_event(
    registry: Registry, notes: str | None, told: str
) -> None:
    run = registry.insert_run("p")
    registry.close_run(run, True, notes)
    registry.close_run(run, success=True, notes=notes)
    info = registry.get_run(run)
    assert info.finished_at is not None
    assert info.finished_at >= info.started_at
    assert (info.state, info.success, info.notes) == ("COMMITTED", True, notes)
    event = only(list(registry.events(event_name="RunClosed")))
    assert (event.subject_id, event.payload) == (run, {"success": True, "notes": told})


def test_kg_25_closing_without_success_is_an_event_too_and_closing_otherwise_is_refused(registry: Registry) -> None:
    lost, won = registry.insert_run("p"), registry.insert_run("p")
    registry.close_run(lost, False, notes="bad")
    registry.close_run(lost, False)
    registry.close_run(won, True)
    with refused(RunAborted, registry):
        registry.close_run(lost, True)
    with refused(RunAlreadyClosed, registry, committed="yes"):
        registry.close_run(won, False)
    for unknown in (UNKNOWN_RUN, "nope"):
        for success in (True, False):
            with refused(NotFound, registry):
                registry.close_run(unknown, success)
    event = only(list(registry.events(subject_id=lost)))
    assert (event.event_name, event.payload) == ("RunClosed", {"success": False, "notes": "bad"})


def test_kg_26_a_pending_dataset_is_left_out_and_the_decision_says_so(registry: Registry) -> None:
    with registry.run("p") as run:
        pending = registry.begin_dataset("chunks")
        staged = write(run, "chunks", 1)
    assert registry.get_run(run.id).left_out == (pending,)
    assert registry.get_dataset(pending).state == "ROLLED_BACK"
    assert [d.id for d in registry.table("chunks").datasets()] == [staged]


# -- documents -------------------------------------------------------------------------------------------------------


def test_kg_28_a_document_has_the_documented_defaults_and_no_other_fields(registry: Registry) -> None:
    with pytest.raises(ValidationError):
        Doc(id="d", colour="red")  # type: ignore[call-arg]
    with refused(InvalidInput, registry):
        registry.register_documents([{"id": "d", "colour": "red"}])
    registry.register_documents([doc("urn:doc:1")])
    found = registry.get_document("urn:doc:1")
    assert (found.language, found.source, found.title, found.authors, found.content_hash) == (
        "en",
        "unknown",
        "",
        [],
        None,
    )


@pytest.mark.parametrize("k", range(3))
def test_kg_29_one_bad_document_among_many_and_nothing_is_written(registry: Registry, k: int) -> None:
    docs: list[Any] = [doc(f"urn:doc:{i}") for i in range(3)]
    docs[k] = {"id": f"urn:doc:{k}", "title": 5}
    with refused(InvalidInput, registry) as caught:
        registry.register_documents(docs)
    assert f"[{k}].title" in str(caught.value)
    assert list(registry.documents()) == []


def test_kg_30_a_document_twice_in_one_call_is_refused(registry: Registry) -> None:
    with refused(InvalidInput, registry) as caught:
        registry.register_documents([doc("a"), doc("b"), doc("a", title="other")])
    assert "[2]" in str(caught.value)
    assert "[0]" in str(caught.value)


def test_kg_31_doctags_need_their_document_unless_the_caller_says_otherwise(registry: Registry) -> None:
    with refused(NotFound, registry):
        registry.register_doctags([asset("unknown")])
    registry.register_doctags([asset("unknown")], allow_unknown_documents=True)
    assert registry.get_doctags("unknown").pages == 3
    registry.register_documents([doc("known")])
    registry.register_doctags([asset("known", pages=1)])
    registry.register_doctags([asset("known", pages=2)])
    assert registry.get_doctags("known").pages == 2
    assert len(list(registry.doctags())) == 2


# -- events ----------------------------------------------------------------------------------------------------------


def test_kg_32_events_come_back_in_order_and_none_of_two_writers_is_lost(registry: Registry) -> None:
    payload = {"nested": [1, None, {"x": "é"}]}
    event_id = registry.emit_event("Indexed", "chunk-1", payload)
    found = registry.get_event(event_id)
    assert (found.event_name, found.subject_id, found.payload) == ("Indexed", "chunk-1", payload)
    assert abs(found.created_at - datetime.now(tz=UTC)) < timedelta(seconds=30)

    def emit(name: str) -> None:
        for i in range(50):
            registry.emit_event(name, f"{i:02}", {})

    writers = [threading.Thread(target=emit, args=(name,)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    for name in ("a", "b"):
        assert [e.subject_id for e in registry.events(event_name=name)] == [f"{i:02}" for i in range(50)]
    times = [e.created_at for e in registry.events()]
    assert times == sorted(times)
    assert len({e.id for e in registry.events()}) == 101


def test_kg_33_an_incident_is_found_by_its_subject_and_its_message_is_whole(registry: Registry) -> None:
    message = "x" * 100_000 + "é" * 100_000
    incident_id = registry.incident("parse", "urn:doc:1", "ValueError", message)
    registry.incident("parse", "urn:doc:2", "ValueError", "other")
    found = only(list(registry.incidents(subject_id="urn:doc:1")))
    assert found == registry.get_incident(incident_id)
    assert (found.event, found.error_class, found.message) == ("parse", "ValueError", message)


def test_kg_33_secrets_of_the_storage_are_in_no_record(seaweedfs: Server) -> None:
    secret = str(seaweedfs.storage_options["secret"])
    registry = Registry(seaweedfs.url(), storage_options=seaweedfs.storage_options, settings=FAST)
    with pytest.raises(RuntimeError), registry.run("p", config={"url": registry.url}) as run:
        write(run, "k", 1)
        raise RuntimeError("failed")
    stored = [registry.storage.get(key) for key in keys(registry)]
    assert stored
    assert not any(secret.encode() in data for data in stored)
    assert secret not in f"{registry!r} {run!r} {registry.get_run(run.id)!r} {list(registry.datasets())!r}"


def test_kg_34_initialising_twice_keeps_the_registry(tmp_path: Path) -> None:
    first = Registry(tmp_path)
    publish(first, "k", 1)
    second = Registry(tmp_path)
    assert second.registry_id == first.registry_id
    assert rows(second, "k") == [1]


# -- the flow of reference system 1 ----------------------------------------------------------------------------------


def test_the_fixture_pipeline_of_reference_system_1(registry: Registry) -> None:
    dense = registry.insert_run("dense_embed", "Qwen3-Embedding-4B", "main", {"dim": 3584})
    splade = registry.insert_run(
        purpose="splade_encode", model_id="SPLADE-v3-distilbert", revision="main", config={"topk": 256}
    )
    for kind, run in (("chunks", dense), ("dense", dense), ("sparse", splade)):
        registry.commit_dataset(
            dataset_id=registry.begin_dataset(kind=kind, run_id=run), parquet_root=f"/data/{kind}", rows=1
        )
    registry.register_documents(docs=[doc("urn:doc:fixture", title="Fixture")])
    registry.register_doctags(assets=[asset("urn:doc:fixture")])
    registry.emit_event(event_name="PipelineRun", subject_id=dense, payload={"stage": "all"})
    registry.incident(event="slow", subject_id=splade, error_class="Timeout", message="5 s")
    registry.close_run(dense, True)
    registry.close_run(run_id=splade, success=True, notes=None)
    assert [registry.latest(kind).parquet_root for kind in ("chunks", "dense", "sparse")] == [
        "/data/chunks",
        "/data/dense",
        "/data/sparse",
    ]
