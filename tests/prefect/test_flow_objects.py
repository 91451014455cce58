"""Objects in flows: staged and published by the run's decision, never doubled, pinned, told of."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import pytest
from prefect import flow, task
from prefect.cache_policies import INPUTS, TASK_SOURCE
from prefect.states import Failed
from prefect_support import Server, ended, seen, stage
from process_support import until

from prefect_registry import tasks
from prefect_registry.errors import StorageUnavailable
from prefect_registry.ledger import observers
from prefect_registry.ledger.dropping import Staged
from prefect_registry.objects import RegistryObjectNotFound
from prefect_registry.registry import Registry
from prefect_registry.runs import attempts, current, current_run, registry_run

T = TypeVar("T")


@pytest.fixture
def versioned(tmp_path: Path, server: Server) -> Registry:
    """An empty registry that keeps versions."""
    return Registry(tmp_path / "versioned", version_objects=True)


@task
def keep(name: str, value: Any) -> str:
    """Save in the current run."""
    return current_run().save(name, value)


def outside(call: Callable[[], T]) -> T:
    """What ``call`` returns where no flow run is around it: in a thread with a context of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


class Once:
    """Raises at the first call."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == 1:
            raise ConnectionError("once")


def test_saves_become_visible_with_the_run(versioned: Registry) -> None:
    """From body, task and subflow; before the decision nobody else sees them, the run itself does."""
    early: list[Any] = []

    @flow
    def inner() -> None:
        tasks.save_object("inner", b"\0" * 20_000)

    @registry_run(versioned)
    @flow
    def train() -> Any:
        keep("model", {"depth": 3})
        inner()
        tasks.set_alias("model", "champion")
        early.extend(outside(seen(versioned).registry.list_objects))
        return tasks.load_object("model@champion")

    assert train() == {"depth": 3}
    assert early == []
    reader = seen(versioned).registry
    assert (reader.load("model@champion"), reader.load("inner")) == ({"depth": 3}, b"\0" * 20_000)
    assert seen(versioned).states() == ["COMMITTED"]


def test_a_failed_flow_has_saved_nothing(versioned: Registry) -> None:
    """And the number that it took is never used again."""

    @registry_run(versioned)
    @flow
    def train() -> None:
        keep("model", 1)
        raise ValueError("no")

    assert ended(train(return_state=True)).is_failed()
    assert seen(versioned).registry.list_objects() == []
    assert not versioned.has_object("model")
    assert versioned.save("model", 2) == "2"


def test_without_the_decorator_tasks_publish_at_once(versioned: Registry) -> None:
    """Each save is its own, and stays although the flow fails."""

    @flow
    def train() -> None:
        tasks.save_object("model", 1, registry=versioned.url)
        tasks.set_alias("model", "champion", registry=versioned.url)
        raise ValueError("no")

    assert ended(train(return_state=True)).is_failed()
    assert seen(versioned).registry.load("model@champion") == 1


@pytest.mark.parametrize("version", [None, "2.1"])
@pytest.mark.parametrize("size", [1, 20_000])
def test_a_retried_task_does_not_double_what_it_saved(versioned: Registry, version: str | None, size: int) -> None:
    """One version is visible, that of the attempt which succeeded, although the first saved something else."""
    fail = Once()

    @task(retries=1)
    def save() -> str:
        number = current_run().save("model", bytes([fail.calls]) * size, version=version)
        fail()
        return number

    @registry_run(versioned)
    @flow
    def train() -> Any:
        return save()

    number = train()
    reader = seen(versioned).registry
    assert (fail.calls, number) == (2, version or "2")
    assert reader.list_objects_and_versions() == {"model": [number]}
    assert reader.load("model") == b"\1" * size
    assert reader.restore("model", number) == []


def test_what_a_failed_attempt_changed_is_as_it_was(tmp_path: Path, server: Server) -> None:
    """Objects that were overwritten, deleted, new, restored, with one version or several; an alias that was moved
    twice. What another task has written over it stays. Nothing of the attempt can be restored afterwards."""
    store = Registry(tmp_path / "store", mutable=True, version_objects=True)
    for name in ("over", "gone", "back", "theirs"):
        store.save(name, "before", version="1")
    store.save("over", "other", version="2")
    for name, number in product(("all gone", "all back"), "12"):
        store.save(name, "before", version=number)
    store.delete("back", "1")
    store.delete("all back")
    store.set_alias("over", "a", "1")

    over = threading.Barrier(2, timeout=60)

    @task
    def change() -> None:
        run = current_run()
        run.save("over", "failed", version="1", on_conflict="overwrite")
        run.save("over", "again", version="1", on_conflict="overwrite")
        run.save("new", "failed")
        run.registry.delete("gone", run_id=run.id)
        run.registry.restore("back", run_id=run.id)
        run.registry.delete("all gone", run_id=run.id)
        run.registry.restore("all back", run_id=run.id)
        run.registry.set_alias("over", "a", "2", run_id=run.id)
        run.registry.set_alias("over", "a", "1", run_id=run.id)
        run.registry.set_alias("over", "b", "2", run_id=run.id)
        run.save("theirs", "failed", version="1", on_conflict="overwrite")
        over.wait()
        over.wait()
        raise ValueError("no")

    @task
    def neighbour() -> None:
        over.wait()
        current_run().save("theirs", "neighbour", version="1", on_conflict="overwrite")
        over.wait()

    @registry_run(store)
    @flow
    def train() -> dict[str, Any]:
        futures = [change.submit(), neighbour.submit()]
        assert [f.wait() or f.state.is_failed() for f in futures] == [True, False]
        run = current_run()
        return {name: run.load(name) for name in ("over@1", "gone", "all gone@1", "theirs")}

    inside = train()
    reader = seen(store).registry
    assert inside == {"over@1": "before", "gone": "before", "all gone@1": "before", "theirs": "neighbour"}
    assert {name: reader.load(name) for name in inside} == inside
    assert (reader.has_object("back"), reader.has_object("new"), reader.aliases("over")) == (False, False, {"a": "1"})
    assert reader.list_objects() == ["all gone", "gone", "over", "theirs"]
    assert reader.list_versions("all gone") == ["1", "2"]
    with pytest.raises(RegistryObjectNotFound):
        reader.restore("new")
    assert reader.restore("back") == ["back@1"]
    assert reader.load("back") == "before"
    assert reader.restore("all back") == ["all back@1", "all back@2"]


@pytest.mark.parametrize("size", [1, 20_000])
def test_a_save_does_not_rest_on_a_task_that_fails_later(versioned: Registry, size: int) -> None:
    """Two tasks save the same content under the same version: it stays when only the first of them fails."""

    saved, failing = threading.Event(), threading.Event()

    @task
    def first() -> None:
        current_run().save("model", b"x" * size, version="1")
        saved.set()
        assert failing.wait(60)
        raise ValueError("no")

    @task
    def again() -> None:
        current_run().save("model", b"x" * size, version="1")

    @registry_run(versioned)
    @flow
    def train() -> None:
        held = first.submit()
        assert saved.wait(60)
        again()
        failing.set()
        held.wait()
        assert held.state.is_failed()

    train()
    assert seen(versioned).registry.load("model@1") == b"x" * size


def test_what_cannot_be_dropped_keeps_the_run_from_publishing(
    versioned: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store does not answer when a failed attempt's save is to be dropped: the flow fails."""

    def unreachable(*arguments: Any) -> bool:
        raise StorageUnavailable("the store does not answer")

    @task
    def save() -> None:
        current_run().save("model", 1)
        monkeypatch.setattr(attempts, "drop", unreachable)
        raise ValueError("no")

    @registry_run(versioned)
    @flow
    def train() -> None:
        save(return_state=True)

    state = ended(train(return_state=True))
    assert state.is_failed()
    assert "still holds" in str(state.message)
    assert seen(versioned).registry.list_objects() == []


def test_what_another_worker_could_not_drop_is_learnt_from_its_task(
    versioned: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the name of the object is: the state of the task says which write it was."""
    written: list[Any] = []
    monkeypatch.setattr(observers, "_cell_written", [lambda url, generation: written.append(generation)])
    with versioned.run("work") as run:
        run.save("ä b/c.d", 1, version="2.1")
        run.registry.set_alias("ä b/c.d", "x y", run_id=run.id)
        left = [str(Staged.of(generation)) for generation in written if generation.tx == run.id]
        attempts.learn_spoiled(versioned.url, run.id, [Failed(message=attempts._told(left[::-1]))])
        assert list(current.spoiled[run.id]) == left[::-1]
        assert attempts.drop_spoiled(run.id)
    assert run.id not in current.spoiled
    assert (versioned.list_objects(), versioned.aliases("ä b/c.d")) == ([], {})


def test_a_cached_task_that_saves_is_run_again(versioned: Registry) -> None:
    """Its result is not reused in a later flow run, which would else miss the object."""

    @task(cache_policy=INPUTS + TASK_SOURCE, persist_result=True)
    def save(mark: str) -> str:
        return current_run().save("model", mark)

    @registry_run(versioned)
    @flow
    def train(mark: str) -> Any:
        return save(mark)

    mark = uuid.uuid4().hex
    assert [train(mark), train(mark)] == ["1", "2"]
    assert versioned.list_versions("model") == ["1", "2"]


def test_a_pinned_version_survives_the_retry_of_the_flow(versioned: Registry) -> None:
    """Although a newer one was saved in between; without the pin the retry reads that."""
    versioned.save("model", "old")
    read: list[Any] = []
    fail = Once()

    @registry_run(versioned)
    @flow(retries=1)
    def score() -> None:
        read.append((tasks.load_object("model", pin=True), tasks.load_object("model")))
        outside(partial(versioned.save, "model", "new"))
        fail()

    score()
    assert read == [("old", "old"), ("old", "new")]


def test_asynchronous_flows_save_and_load(versioned: Registry) -> None:
    """With the twins of the run's methods; the save of a task that failed is dropped."""
    fail = Once()

    @task(retries=1)
    async def keep_async() -> str:
        number = await current_run().asave("model", fail.calls)
        fail()
        return number

    @registry_run(versioned)
    @flow
    async def train() -> Any:
        await keep_async()
        return await current_run().aload("model")

    assert asyncio.run(train()) == 1
    assert versioned.list_versions("model") == ["2"]


def events_about(server: Server, name: str, count: int) -> list[dict[str, Any]]:
    """The events about an object, once ``count`` of them have arrived."""
    wanted = {"any_resource": {"id": [f"prefect-registry.object.{name}"]}, "order": "ASC"}

    def found() -> list[dict[str, Any]]:
        events = server.post("/events/filter", {"filter": wanted, "limit": 50})["events"]
        return list(events) if len(events) >= count else []

    return until(found, f"{count} events about {name}")


def test_a_run_tells_of_its_objects(versioned: Registry, server: Server) -> None:
    """One event for each object and moved alias, with what a trigger needs; a line of the log, a table, a page."""
    name = f"m-{uuid.uuid4().hex[:8]}"

    @registry_run(versioned)
    @flow
    def train() -> str:
        run = current_run()
        run.save(name, {"depth": 3})
        run.save(f"{name}/weights", b"\0" * 20_000)
        run.registry.set_alias(name, "champion", run_id=run.id)
        return run.id

    state = ended(train(return_state=True))
    run_id, flow_run = state.result(), str(state.state_details.flow_run_id)
    saved, moved = sorted(events_about(server, name, 2), key=lambda e: e["event"], reverse=True)
    told = {"run_id": run_id, "url": versioned.url, "registry": versioned.url, "name": name, "version": "1"}
    assert saved["event"] == "prefect-registry.object.saved"
    assert saved["payload"] == {**told, "class": "builtins:dict", "size": versioned.info(name, "1")["size"]}
    assert {r["prefect.resource.role"] for r in saved["related"]} >= {"flow-run", "registry-run"}
    assert moved["event"] == "prefect-registry.alias.moved"
    assert moved["payload"] == {**told, "alias": "champion"}
    assert moved["resource"]["prefect-registry.alias"] == "champion"
    line = f"2 object(s) visible now: {name}@1, {name}/weights@1; 20.0 kB"
    [said] = until(lambda: [m for m in server.messages(flow_run) if line in m], "the line")
    assert f"Aliases moved: {name}@champion -> 1. Look: Registry({versioned.url!r}).load('{name}@1')" in said
    table, page = sorted(server.artifacts(flow_run), key=lambda a: a["type"], reverse=True)
    assert (table["key"], page["key"]) == ("registry-train-objects", "registry-train-run")
    assert [(row["object"], row["version"]) for row in json.loads(table["data"])] == [
        (name, "1"), (f"{name}/weights", "1"),
    ]  # fmt: skip
    assert f"registry.load('{name}@1')" in page["data"]


def test_many_objects_share_an_event_for_each_prefix(versioned: Registry, server: Server) -> None:
    """More than a hundred in one run. What was saved with a dataset is counted beside it."""
    name = f"m-{uuid.uuid4().hex[:8]}"

    @registry_run(versioned)
    @flow
    def train() -> str:
        stage("numbers")
        current_run().registry.save([f"{name}/{n}" for n in range(101)], b"x", run_id=current_run().id)
        return current_run().id

    state = ended(train(return_state=True))
    [told] = [e["payload"] for e in events_about(server, f"{name}%2F", 1)]
    assert (told["prefix"], told["objects"], told["size"], told["name"]) == (name, 101, 101, None)
    [line] = until(
        lambda: [m for m in server.messages(str(state.state_details.flow_run_id)) if "committed:" in m], "the line"
    )
    assert "1 dataset(s), 101 object(s) visible now: numbers, " in line
    of_run = next(e for e in server.events(state.result()) if e["event"].endswith(".run.committed"))
    assert (of_run["payload"]["datasets"], of_run["payload"]["objects"]) == (1, 101)


def test_saves_outside_a_run_are_told_of_in_flows(tmp_path: Path, server: Server) -> None:
    """Small ones, larger ones and aliases; outside any flow there is nobody to tell."""
    name = f"m-{uuid.uuid4().hex[:8]}"
    store = Registry(tmp_path / "store")
    store.save(f"{name}-before", 1)

    @flow
    def train() -> None:
        tasks.save_object(name, b"\0" * 20_000, registry=store)
        tasks.save_object(name, b"\0" * 20_000, registry=store)
        tasks.set_alias(name, "champion", registry=store)

    train()
    saved, moved = sorted(events_about(server, name, 2), key=lambda e: e["event"], reverse=True)
    assert (saved["payload"]["size"], saved["payload"]["version"], saved["payload"]["url"]) == (20_000, "1", store.url)
    assert saved["payload"]["run_id"] == store.info(name, "1")["run_id"]
    assert (moved["payload"]["alias"], moved["payload"]["run_id"]) == ("champion", None)
