"""Registered models in flows: staged and published by the run's decision, never doubled, told of."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import prefect
import pytest
from prefect import flow, task
from prefect_support import Server, ended, seen
from process_support import until

import prefect_registry.tasks.model_reads
import prefect_registry.tasks.models
from prefect_registry import tasks
from prefect_registry.errors import AlreadyExists
from prefect_registry.models import UNSET, Metric, ModelRegistry, ModelVersion, RegisteredModel
from prefect_registry.registry import Registry
from prefect_registry.runs import current_run, registry_run

URI = "s3://models/digits.onnx"


def outside(call: Any) -> Any:
    """What ``call`` returns where no flow run is around it: in a thread with a context of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def registered(store: Registry) -> dict[str, list[str]]:
    """The versions of each model that a reader sees who opens the store anew."""
    models = ModelRegistry(seen(store).registry)
    return {m.name: [v.name for v in models.get_model_versions(m.name)] for m in models.get_registered_models()}


def test_a_registration_becomes_visible_with_the_run(store: Registry) -> None:
    """From the task and the client; before the decision nobody else sees it, the run itself does."""
    early: list[Any] = []

    @registry_run(store)
    @flow
    def train() -> Any:
        tasks.register_model("digits", model={"depth": 3}, aliases=["champion"])
        ModelRegistry(current_run().registry).register_model("letters", URI)
        early.append(outside(lambda: registered(store)))
        version = tasks.get_model_version("digits", "1")
        return version.name, tasks.load_model("digits", "champion")

    assert train() == ("1", {"depth": 3})
    assert early == [{}]
    assert registered(store) == {"digits": ["1"], "letters": ["1"]}
    assert ModelRegistry(seen(store).registry).load("digits", "champion") == {"depth": 3}
    [run] = seen(store).registry.runs()
    assert ModelRegistry(seen(store).registry).history("digits", "1")[0].run_id == run.id


def test_a_failed_flow_has_registered_nothing(store: Registry) -> None:
    """Neither model nor object, and an alias points where it did."""
    models = ModelRegistry(store)
    models.register_model("digits", URI, version="1", aliases=["champion"])

    @registry_run(store)
    @flow
    def train() -> None:
        tasks.register_model("digits", model=b"\0" * 20_000, version="2", aliases=["champion"])
        tasks.register_model("letters", URI)
        tasks.archive_model("digits", "1")
        raise ValueError("no")

    assert ended(train(return_state=True)).is_failed()
    assert registered(store) == {"digits": ["1"]}
    assert (models.aliases("digits"), seen(store).registry.list_objects()) == ({"champion": "1"}, [])
    models.register_model("digits", URI, version="2")


@pytest.mark.parametrize("version", ["1", None])
def test_a_retried_task_does_not_double_what_it_registered(store: Registry, version: str | None) -> None:
    """One version is visible, with one object, that of the attempt which succeeded."""
    attempts: list[str] = []

    @task(retries=1)
    def register() -> None:
        attempts.append("begun")
        tasks.register_model(
            "digits", model=bytes([len(attempts)]) * 20_000, version=version, aliases=["champion"],
            artifacts=[Metric("loss", value=1 / len(attempts))], external_id="mine", card="# Digits",
        )  # fmt: skip
        if len(attempts) == 1:
            raise ConnectionError("once")

    @registry_run(store)
    @flow
    def train() -> None:
        register()

    train()
    assert len(attempts) == 2
    [(name, [number])] = registered(store).items()
    assert (name, number) == ("digits", version or "2")  # a number is never given twice
    models = ModelRegistry(seen(store).registry)
    found = models.get_model_version("digits", number)
    assert found is not None
    assert sorted(a.name or "" for a in models.artifacts_of(found)) == ["digits", "loss", "model-card"]
    assert models.load("digits", "champion") == b"\2" * 20_000
    assert seen(store).registry.list_objects() == [f"models/digits/{number}"]
    assert len(seen(store).registry.list_versions(f"models/digits/{number}")) == 1
    assert len(models.history("digits", number)) == 1


def test_what_a_failed_attempt_changed_is_as_it_was(store: Registry) -> None:
    """Aliases, states, cards and descriptions; what the run registered before stays."""
    models = ModelRegistry(store, author="ann")
    models.register_model("digits", URI, version="1", aliases=["champion"], card="# One")
    before = models.get_model_version("digits", "1")
    assert before is not None

    @task
    def change() -> None:
        tasks.set_model_alias("digits", "champion", "2")
        tasks.set_model_alias("digits", "new", "1")
        tasks.archive_model("digits")
        tasks.set_model_card("digits", "1", "# Other")
        tasks.update_model(before.model_copy(update={"description": "other"}))
        raise ValueError("no")

    @registry_run(store)
    @flow
    def train() -> None:
        tasks.register_model("digits", URI, version="2")
        assert change(return_state=True).is_failed()

    train()
    assert registered(store) == {"digits": ["1", "2"]}
    models = ModelRegistry(seen(store).registry)
    assert (models.aliases("digits"), models.card("digits", "1")) == ({"champion": "1"}, "# One")
    assert models.get_model_version("digits", "1") == before


def test_without_the_decorator_tasks_publish_at_once(store: Registry) -> None:
    """Each registration is a decision of its own, and stays although the flow fails."""

    @flow
    def train() -> None:
        tasks.register_model("digits", URI, registry=store)
        raise ValueError("no")

    assert ended(train(return_state=True)).is_failed()
    assert registered(store) == {"digits": ["1"]}


def test_every_operation_is_a_task(store: Registry, tmp_path: Path) -> None:
    """With the method's own name for what it takes; ``author`` is who did it, ``run_id`` the run that it belongs to."""
    run = store.insert_run("by hand")
    about: dict[str, Any] = {"registry": store, "run_id": run}
    did = {**about, "author": "bea", "reason": "to see"}

    @flow
    def work() -> list[Any]:
        model = tasks.upsert_registered_model(RegisteredModel("digits", owner="ann"), **did)
        version = tasks.upsert_model_version(ModelVersion("1"), model.id, **did)
        tasks.upsert_model_artifact(Metric("loss", value=0.5), version.id, **did)
        tasks.register_model("digits", URI, version="2", author="cem", **about)
        tasks.set_model_alias("digits", "champion", "1", **did)
        was = tasks.set_model_alias("digits", "champion", "2", **did)
        tasks.remove_model_alias("digits", "champion", **did)
        tasks.archive_model("digits", "1", **did)
        tasks.restore_model("digits", "1", **did)
        tasks.update_model(version.model_copy(update={"description": "first"}), **did)
        tasks.set_model_card("digits", "2", "# Two", **did)
        with pytest.raises(ValueError, match="upload_params"):
            tasks.upload_artifact_and_register_model("digits", tmp_path, version="3", **about)
        return [
            was,
            tasks.get_registered_model("digits", **about).owner,
            tasks.get_model_version("digits", "2", **about).author,
            tasks.get_model_artifact("digits", "2", **about).uri,
            [(d.field, d.before, d.after) for d in tasks.compare_models("digits", "1", "2", **about).differences][:2],
            [entry.by for entry in tasks.model_history("digits", "1", **about)],
            tasks.get_registered_model("digits", registry=store),
        ]

    assert work() == [
        "1", "ann", "cem", URI, [("author", None, "cem"), ("description", "first", None)], ["bea"] * 4, None,
    ]  # fmt: skip
    store.close_run(run, True)
    assert registered(store) == {"digits": ["1", "2"]}


def test_the_tasks_can_be_pickled_by_value() -> None:
    """For process pools, Dask and Ray: their bodies refer to nothing that cannot be pickled."""
    modules = (prefect_registry.tasks.models, prefect_registry.tasks.model_reads)
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        found = [t for module in modules for t in vars(module).values() if isinstance(t, prefect.Task)]
        copies = [cloudpickle.loads(cloudpickle.dumps(t)) for t in found]
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
    assert len(found) == 18
    assert {t.name for t in copies} == {t.name for t in found} <= set(tasks.__all__)
    copy = next(t for t in copies if t.name == "register_model")
    assert copy.fn.__kwdefaults__["model"] is UNSET


# -- what is told ----------------------------------------------------------------------------------------------------


def events_about(server: Server, name: str, count: int) -> list[dict[str, Any]]:
    """The events about a model, once ``count`` of them have arrived, by their names."""
    wanted = {"any_resource": {"id": [f"prefect-registry.model.{name}"]}, "order": "ASC"}

    def found() -> list[dict[str, Any]]:
        events = server.post("/events/filter", {"filter": wanted, "limit": 50})["events"]
        return list(events) if len(events) >= count else []

    return sorted(until(found, f"{count} events about {name}"), key=lambda e: str(e["event"]))


def labels(event: dict[str, Any]) -> dict[str, str]:
    return {k: v for k, v in event["resource"].items() if k.startswith("prefect-registry.")}


def test_a_run_tells_of_its_models(store: Registry, server: Server) -> None:
    """An event for each version, moved alias and state, with what a trigger needs; a line of the log, a page."""
    name = f"m-{uuid.uuid4().hex[:8]}"
    ModelRegistry(store, author="ann").register_model(name, URI, version="old", aliases=["champion"])

    @registry_run(store)
    @flow
    def train() -> None:
        tasks.register_model(name, URI, version="3", author="bea", aliases=["champion"])
        tasks.archive_model(name, "old", author="bea")

    flow_run = str(ended(train(return_state=True)).state_details.flow_run_id)
    found = ModelRegistry(seen(store).registry).get_model_version(name, "3")
    run_id, version_id = next(seen(store).registry.runs(purpose="train")).id, found.id if found else None
    moved, archived, made = events_about(server, name, 3)
    told = {"model": name, "by": "bea", "run_id": run_id, "url": store.url, "registry": store.url}
    assert made["event"] == "prefect-registry.model.registered"
    assert made["payload"] == {**told, "version": "3", "version_id": version_id}
    assert labels(made) == {"prefect-registry.version": "3"}
    assert {r["prefect.resource.role"] for r in made["related"]} >= {"flow-run", "registry-run"}
    assert moved["event"] == "prefect-registry.model.alias-moved"
    assert moved["payload"] == {
        **told, "version": "3", "version_id": version_id, "alias": "champion", "previous": "old",
    }  # fmt: skip
    assert labels(moved) == {"prefect-registry.version": "3", "prefect-registry.alias": "champion"}
    assert archived["event"] == "prefect-registry.model.archived"
    assert (archived["payload"]["version"], labels(archived)) == ("old", {"prefect-registry.version": "old"})
    of_run = next(e for e in server.events(run_id) if e["event"].endswith(".run.committed"))
    assert (of_run["payload"]["models"], of_run["payload"]["objects"]) == (1, 0)
    line = f"1 version(s) of models visible now: model {name} version 3; "
    [said] = until(lambda: [m for m in server.messages(flow_run) if line in m], "the line")
    assert f"Aliases moved: model {name} champion -> 3. Archived: model {name} version old." in said
    pages = {a["key"]: a["data"] for a in server.artifacts(flow_run)}
    assert sorted(pages) == [f"registry-model-{name}", "registry-train-run"]
    assert pages[f"registry-model-{name}"].startswith(f"## {name.replace('-', chr(92) + '-')}: version 3\n")
    assert f"| {name.replace('-', chr(92) + '-')} | 3 | bea |" in pages["registry-train-run"]


def test_what_is_registered_outside_a_run_is_told_of_in_flows(store: Registry, server: Server) -> None:
    """At once, with its page; outside any flow there is nobody to tell, and what was refused is no news."""
    name = f"m-{uuid.uuid4().hex[:8]}"
    ModelRegistry(store).register_model(name, URI, version="before")

    @flow
    def train() -> str:
        tasks.register_model(name, URI, version="1", registry=store)
        tasks.set_model_alias(name, "champion", "1", registry=store)
        tasks.restore_model(name, registry=store)
        tasks.archive_model(name, registry=store)
        with pytest.raises(AlreadyExists):
            tasks.register_model(name, URI, version="1", registry=store)
        return name

    state = ended(train(return_state=True))
    moved, archived, made = events_about(server, name, 3)
    assert (made["payload"]["version"], made["payload"]["url"]) == ("1", store.url)
    assert made["payload"]["run_id"] == ModelRegistry(store).history(name, "1")[0].run_id
    assert (moved["payload"]["alias"], moved["payload"]["run_id"]) == ("champion", None)
    assert (archived["event"], archived["payload"]["version"]) == ("prefect-registry.model.archived", None)
    [page] = server.artifacts(str(state.state_details.flow_run_id))
    assert page["key"] == f"registry-model-{name}"


def test_many_versions_share_an_event_for_each_model(store: Registry, server: Server) -> None:
    """More than a hundred in one run."""
    name = f"m-{uuid.uuid4().hex[:8]}"

    @registry_run(store)
    @flow
    def sweep() -> None:
        models = ModelRegistry(current_run().registry).models
        parent = models.upsert_registered_model(RegisteredModel(name))
        for number in range(101):
            models.upsert_model_version(ModelVersion(str(number)), parent.id)

    sweep()
    [told] = [e["payload"] for e in events_about(server, name, 1)]
    assert (told["model"], told["versions"], told["version"]) == (name, 101, None)
