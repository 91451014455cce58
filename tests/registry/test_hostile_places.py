"""A read-only folder, a full disk, a bucket that is not there, wrong credentials, a server that is down."""

from __future__ import annotations

import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest
from forked import in_child
from registry_support import FAST, assert_tells, doc, keys, numbers, publish, rows, write
from small_disk import need_mounting, on_a_small_disk

from prefect_registry import Registry
from prefect_registry.errors import (
    AccessDenied,
    NotFound,
    OutcomeUnknown,
    RegistryError,
    RunAborted,
    StorageError,
    StorageUnavailable,
)
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.faults import FaultyStorage, error_before, lost_answer
from prefect_registry.testing.servers import Server, free_ports

NOBODY = 65_534


def error_of(work: Callable[[], object]) -> RegistryError | None:
    """The error of the registry that ``work`` raises."""
    try:
        work()
    except RegistryError as error:
        return error
    return None


# -- a folder that may only be read ----------------------------------------------------------------------------------


@pytest.fixture
def readable_folder() -> Iterator[Path]:
    """A folder that everybody may reach."""
    folder = Path(tempfile.mkdtemp(prefix="registry-"))
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


def as_nobody(work: Callable[[], Any]) -> Any:
    """``work`` as a user whom file modes bind; root they do not."""

    def give_up_rights() -> Any:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        return work()

    return in_child(give_up_rights)


def test_a_read_only_folder_can_be_read_and_every_write_is_denied(readable_folder: Path) -> None:
    place = readable_folder / "registry"
    owner = Registry(place, settings=FAST)
    run = owner.attach(owner.insert_run("open"))
    write(run, "staged", 1)
    publish(owner, "k", 1, 2)
    owner.register_documents([doc("a"), doc("b")])
    for path in [place, *place.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    stored = keys(owner)

    def work() -> Any:
        registry = Registry(place, settings=FAST)
        seen = (rows(registry, "k"), sorted(d.id for d in registry.documents()), len(list(registry.runs())))
        errors = [
            error_of(call)
            for call in (
                lambda: registry.insert_run("p"),
                lambda: registry.begin_dataset("k", run.id),
                lambda: registry.close_run(run.id, True),
                lambda: registry.close_run(run.id, False),
                lambda: registry.rollback_dataset(run.datasets()[0].id),
                lambda: registry.register_documents([doc("c")]),
                lambda: registry.register_documents([doc("c"), doc("d")]),
                lambda: registry.emit_event("e", "s", {}),
                lambda: registry.incident("e", "s", "E", "m"),
                lambda: registry.revert(next(registry.runs(purpose="publish")).id),
                lambda: Registry(readable_folder / "registry" / "deeper"),
            )
        ]
        return seen, errors, registry.check_access(), registry.check().ok

    seen, errors, access, healthy = as_nobody(work)
    assert seen == ([1, 2], ["a", "b"], 3)
    *denied, none_there = errors
    for error in denied:
        assert isinstance(error, AccessDenied)
        assert error.committed == "no"
        assert_tells(error)
    assert isinstance(none_there, NotFound)
    assert "may not make one" in str(none_there)
    assert (access, healthy) == ({"general": True, "read": True, "write": False, "admin": False}, False)
    for path in [place, *place.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert keys(owner) == stored
    owner.close_run(run.id, True)
    assert rows(owner, "staged") == [1]


def test_what_may_not_be_read_is_denied_and_not_absent(readable_folder: Path) -> None:
    place = readable_folder / "registry"
    publish(Registry(place), "k", 1)
    (place / "registry.json").chmod(0)
    first = as_nobody(lambda: error_of(lambda: Registry(place)))
    (place / "registry.json").chmod(0o644)
    for path in (place / "data").rglob("*.parquet"):
        path.chmod(0)
    second = as_nobody(lambda: error_of(lambda: Registry(place).table("k").to_table()))
    (place / "runs").chmod(0)
    third = as_nobody(lambda: error_of(lambda: Registry(place).table("k")))
    for error in (first, second, third):
        assert isinstance(error, AccessDenied)
        assert_tells(error)


# -- a disk that is full ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("real", [True, False], ids=["disk", "limit"])
def test_a_full_disk_publishes_nothing_loses_nothing_and_goes_on_when_there_is_room(tmp_path: Path, real: bool) -> None:
    """On a disk that is really full, and under a limit, which is tried everywhere."""
    if real:
        need_mounting()
    disk = tmp_path / "disk"
    disk.mkdir()

    def work(fill_disk: Callable[[], None], free_disk: Callable[[], None]) -> Any:
        registry = Registry(disk / "registry", settings=FAST)
        publish(registry, "k", 1)
        staged = registry.attach(registry.insert_run("staged"))
        write(staged, "k", 2)
        half = staged.dataset("k")
        before = keys(registry)
        fill_disk()
        errors = [
            error_of(call)
            for call in (
                lambda: half.write_table(numbers(*range(1_000))),
                lambda: registry.insert_run("p"),
                lambda: registry.begin_dataset("k", staged.id),
                lambda: registry.register_documents([doc("a"), doc("b")]),
                lambda: registry.emit_event("e", "s", {}),
                lambda: registry.close_run(staged.id, True),
            )
        ]
        block = error_of(lambda: publish(registry, "k", 9))
        seen, after = rows(registry, "k"), keys(registry)
        free_disk()
        registry.close_run(staged.id, True)
        again = rows(registry, "k")
        publish(registry, "k", 3, mode="append")
        return (
            errors,
            block,
            seen,
            sorted(set(before) ^ set(after)),
            again,
            rows(registry, "k"),
            list(registry.documents()),
        )

    errors, block, seen, changed, again, last, documents = on_a_small_disk(disk, real, work)
    for error in [*errors, block]:
        assert isinstance(error, StorageError)
        assert "full" in str(error)
        assert error.committed == "no"
        assert_tells(error)
    assert (seen, again, last, documents) == ([1], [2], [2, 3], [])
    assert changed == []


# -- a bucket that is not there, wrong credentials, nobody at home ---------------------------------------------------


@pytest.mark.parametrize("server", ["seaweedfs", "moto", "fake_gcs"])
def test_a_bucket_that_is_not_there_is_no_missing_registry(request: pytest.FixtureRequest, server: str) -> None:
    there: Server = request.getfixturevalue(server)
    with pytest.raises(StorageError) as caught:
        Registry(f"{there.scheme}://no-such-bucket-here/prefix", storage_options=there.storage_options)
    assert not isinstance(caught.value, (StorageUnavailable, NotFound))
    assert "no-such-bucket-here" in str(caught.value)
    assert_tells(caught.value)


@pytest.mark.parametrize("wrong", [{"key": "nobody", "secret": "planted-secret"}, {"secret": "planted-secret"}])
def test_wrong_credentials_are_denied_and_never_shown(seaweedfs: Server, wrong: dict[str, str]) -> None:
    with pytest.raises(AccessDenied) as caught:
        Registry(seaweedfs.url(), storage_options={**seaweedfs.storage_options, **wrong})
    assert_tells(caught.value)
    assert "planted-secret" not in repr(caught.value) + "".join(traceback.format_exception(caught.value))


def test_a_server_that_is_down_is_unavailable(seaweedfs: Server) -> None:
    options = {**seaweedfs.storage_options, "endpoint_url": f"http://127.0.0.1:{free_ports(1)[0]}"}
    with pytest.raises(StorageUnavailable) as caught:
        Registry(seaweedfs.url(), storage_options=options)
    assert_tells(caught.value)


def test_there_is_no_registry_where_none_was_made(tmp_path: Path) -> None:
    for place in (tmp_path / "nothing", f"memory://{tmp_path}"):
        with pytest.raises(NotFound) as caught:
            Registry(place, create=False)
        assert_tells(caught.value)
    (tmp_path / "file").write_text("I am a file")
    for place in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(StorageError) as refused:
            Registry(place)
        assert_tells(refused.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


# -- a store that fails at the decision ------------------------------------------------------------------------------


def failing(*faults: Any) -> tuple[Registry, FaultyStorage]:
    """A registry in memory whose storage fails as planned, and gives up soon."""
    storage = FaultyStorage(MemoryStorage())
    registry = Registry(ResolvingStorage(storage, timeout=0.05, attempts=2, first_delay=0.01), settings=FAST)
    storage.plan.extend(faults)
    return registry, storage


def stage(registry: Registry) -> str:
    """A run with something to publish."""
    run = registry.attach(registry.insert_run("p"))
    write(run, "k", 1)
    return run.id


END: dict[str, Any] = {"method": "create", "key": "*/end.json"}
ALWAYS: dict[str, Any] = {**END, "times": 1_000_000}


def test_a_close_that_is_denied_published_nothing_and_can_be_repeated() -> None:
    registry, storage = failing()
    run = stage(registry)
    storage.plan.append(error_before(lambda: AccessDenied("no"), **ALWAYS))
    with pytest.raises(AccessDenied) as caught:
        registry.close_run(run, True)
    assert caught.value.committed == "no"
    assert rows(registry, "k") == []
    storage.plan.clear()
    registry.close_run(run, True)
    assert rows(registry, "k") == [1]


def test_a_close_whose_answer_is_lost_is_a_success_if_it_landed() -> None:
    registry, storage = failing()
    run = stage(registry)
    storage.plan.append(lost_answer(**END))
    registry.close_run(run, True)
    assert rows(registry, "k") == [1]


def test_a_close_that_never_got_through_is_aborted_or_unknown_and_never_a_success() -> None:
    registry, storage = failing()
    run = stage(registry)
    storage.plan.append(error_before(**ALWAYS))
    with pytest.raises(OutcomeUnknown) as caught:
        registry.close_run(run, True)
    assert caught.value.committed == "unknown"
    assert caught.value.context["run_id"] == run
    assert_tells(caught.value)
    assert rows(registry, "k") == []
    storage.plan.clear()
    registry.close_run(run, True)
    assert rows(registry, "k") == [1]


def test_a_store_that_cannot_be_read_after_the_decision_leaves_it_unknown() -> None:
    registry, storage = failing()
    run = stage(registry)
    storage.plan += [lost_answer(**END), error_before(method="get", key="*/end.json", times=1_000)]
    with pytest.raises(StorageError) as caught:
        registry.close_run(run, True)
    assert caught.value.committed == "unknown"
    storage.plan.clear()
    registry.close_run(run, True)
    assert rows(registry, "k") == [1]


@pytest.mark.parametrize("where", ["cells/flow_run/*", "*/nested/*"])
def test_a_run_that_could_not_be_begun_is_named(where: str) -> None:
    registry, storage = failing()
    outer = registry.insert_run("outer")
    storage.plan.append(error_before(key=where, times=1_000_000))
    with pytest.raises(StorageError) as caught:
        registry.insert_run("p", parent=outer, flow_run="fr")
    (begun,) = [r.id for r in Registry(storage.inner).runs() if r.id != outer]
    assert caught.value.context["run_id"] == begun
    assert begun in str(caught.value)


@pytest.mark.parametrize(("where", "key"), [("*/datasets/*", None), ("cells/dataset_key/*", "a")])
def test_a_dataset_that_could_not_be_begun_names_the_run_and_leaves_none_alive(where: str, key: str | None) -> None:
    """With ``publish="on_commit"`` it has one of its own, which nobody else knows of."""
    registry, storage = failing()
    run = registry.insert_run("p", publish="on_commit")
    storage.plan.append(error_before(method="create", key=where, times=1_000_000))
    with pytest.raises(StorageError) as caught:
        registry.begin_dataset("k", run, key=key)
    assert caught.value.context["run_id"] == run
    assert run in str(caught.value)
    assert list(registry.ledger.beats._due) == [run]
    storage.plan.clear()
    write(registry.attach(run), "k", 1, key=key)
    registry.close_run(run, True)
    assert rows(registry, "k") == [1]


def test_a_block_whose_commit_fails_does_not_leave_its_run_open() -> None:
    """Else its heartbeats would keep it alive, and others waiting for its cells, for as long as the process lives."""
    registry, storage = failing()
    with pytest.raises(StorageUnavailable) as caught, registry.run("p") as run:
        write(run, "k", 1)
        storage.plan.append(error_before(method="list", key=f"*{run.id}/", times=2))
    assert caught.value.committed == "no"
    assert registry.get_run(run.id).state == "ABORTED"
    with pytest.raises(RunAborted):
        registry.close_run(run.id, True)


def test_a_block_that_cannot_be_closed_at_all_tells_both_errors() -> None:
    registry, storage = failing()
    with pytest.raises(ZeroDivisionError) as caught, registry.run("p") as run:
        storage.plan.append(error_before(**ALWAYS))
        raise ZeroDivisionError
    assert any("will be aborted when its lease is over" in note for note in caught.value.__notes__)
    assert registry.get_run(run.id).state == "RUNNING"
    storage.plan.clear()
    registry.close_run(run.id, False)


def test_a_dataset_block_that_cannot_be_rolled_back_tells_both_errors() -> None:
    registry, storage = failing()
    run = registry.attach(registry.insert_run("p"))
    with pytest.raises(ZeroDivisionError) as caught, run.dataset("k"):
        storage.plan.append(error_before(method="create", times=1_000_000))
        raise ZeroDivisionError
    assert any("failed too" in note for note in caught.value.__notes__)
    storage.plan.clear()
    registry.close_run(run.id, True)
    assert registry.kinds() == []


def test_an_upload_that_fails_is_told_and_the_dataset_is_dropped() -> None:
    registry, storage = failing()
    with registry.run("p") as run:
        storage.plan.append(error_before(lambda: AccessDenied("no"), method="upload", times=1_000))
        with pytest.raises(AccessDenied) as caught, run.dataset("k") as ds:
            ds.write_table(pa.table({"n": [1]}))
        assert caught.value.committed == "no"
        assert registry.get_dataset(ds.id).state == "ROLLED_BACK"
