"""Models, versions and artifacts inside runs: staged, seen there alone, taken back, rolled back, published at once."""

from __future__ import annotations

from typing import Any

import pytest
from model_support import LARGE, URI, assert_whole, client, elsewhere, opened, published

from prefect_registry import Registry
from prefect_registry.errors import InvalidState, NotFound, RunAborted, UndecidedConflict
from prefect_registry.models.client import ModelRegistry
from prefect_registry.models.core import ModelRegistryAPIClient
from prefect_registry.models.exceptions import DuplicateError, ModelNotFound
from prefect_registry.models.types import (
    DataSet,
    DocArtifact,
    ListOptions,
    ModelArtifact,
    ModelVersion,
    RegisteredModel,
)
from prefect_registry.models.utils import dataset_uri, object_uri

MODEL = b"x" * LARGE


def outside(models: ModelRegistry) -> ModelRegistry:
    """Another process, which is in no run."""
    return client(opened(models.models.registry.url), "other")


def test_staged_is_seen_inside_and_nowhere_else(registry: Registry, models: ModelRegistry) -> None:
    """By every get, list, alias, card and load; after the commit everybody sees the same."""
    other = outside(models)
    lists = models.models

    def seen(by: ModelRegistry) -> Any:
        at = by.models
        version = at.get_model_version_by_params(external_id="e")
        if version is None:
            return None
        return (
            by.get_registered_model("HAL"), version, at.get_model_version_by_id(str(version.id)),
            by.get_model_version("HAL", "1"), by.resolve("HAL", "champion"), by.resolve("HAL"), by.aliases("HAL"),
            by.card("HAL"), by.load("HAL"), by.artifacts_of(version), at.get_artifacts(), published(by),
            at.get_model_artifact_by_params("model-card", version.id), by.history("HAL", "1"),
            [m.version for m in by.alias_history("HAL", "champion")],
        )  # fmt: skip

    with registry.run("train") as run:
        models.register_model("HAL", model=MODEL, version="1", external_id="e", card="# x", aliases=["champion"])
        inside = seen(models)
        assert inside is not None
        for by in (other, models):
            assert elsewhere(lambda by=by: seen(by)) is None  # type: ignore[misc]
            assert elsewhere(lambda by=by: (published(by), by.get_registered_model("HAL"))) == ({}, None)  # type: ignore
            with pytest.raises(NotFound):
                elsewhere(lambda by=by: by.load("HAL"))  # type: ignore[misc]
        assert elsewhere(registry.list_objects) == []
        models.set_alias("HAL", "shadow", "1")
        models.remove_alias("HAL", "shadow")
        assert lists.get_registered_models(ListOptions(limit=1), run_id=run.id) == lists.get_registered_models()
    assert seen(other) == inside
    assert seen(client(registry)) == inside
    assert_whole(registry)


def test_a_run_that_fails_leaves_nothing(registry: Registry, models: ModelRegistry) -> None:
    """New models, versions, changes of older ones, aliases, external ids: all as before, and free again."""
    models.register_model("old", URI, version="1", external_id="e", aliases=["champion"])
    before = [
        models.get_model_version("old", "1"),
        published(models),
        models.aliases("old"),
        models.history("old", "1"),
    ]
    with pytest.raises(ZeroDivisionError), registry.run("train"):
        models.register_model("HAL", model=MODEL, version="1", external_id="n")
        models.register_model("old", URI, version="2", aliases=["champion"])
        models.update(ModelVersion("1", id=before[0].id, external_id="f", description="new"))  # type: ignore[union-attr]
        models.archive("old")
        assert models.resolve("old", "champion").name == "2"
        raise ZeroDivisionError
    for by in (models, outside(models)):
        after = [by.get_model_version("old", "1"), published(by), by.aliases("old"), by.history("old", "1")]
        assert after == before
    registry.collect(dry_run=False)
    assert list(registry.storage.list("data/")) == []
    models.register_model("HAL", model=MODEL, version="1", external_id="n")
    models.register_model("old", URI, version="2", external_id="f")
    assert_whole(registry)


def test_a_call_that_fails_half_way_is_taken_back_and_the_run_goes_on(
    registry: Registry, models: ModelRegistry
) -> None:
    """Nothing of it is seen in the run, nothing is published, no history tells of it, and its names are free."""
    lists = models.models
    lists.upsert_model_artifact(DocArtifact("d", external_id="taken"))
    models.register_model("old", URI, version="1", external_id="e", aliases=["champion"])
    version = models.get_model_version("old", "1")
    assert version is not None
    with registry.run("train"):
        before = published(models)
        for name in ("HAL", "old"):
            with pytest.raises(DuplicateError, match="taken"):
                models.register_model(
                    name, model=MODEL, version="2", external_id="n", aliases=["champion"], card="# x",
                    artifacts=[DocArtifact("x", external_id="taken")],
                )  # fmt: skip
            assert published(models) == before
            assert models.resolve("old", "champion").name == "1"
            assert lists.get_model_version_by_params(external_id="n") is None
        lists.upsert_registered_model(RegisteredModel("another", external_id="busy"))
        with pytest.raises(DuplicateError, match="busy"):
            models.update(version.model_copy(update={"external_id": "busy", "description": "wrong"}))
        assert models.get_model_version("old", "1") == version
        assert lists.get_model_version_by_params(external_id="e") == version
        models.update(version.model_copy(update={"description": "right"}), reason="again")
        made = models.register("HAL", model=MODEL, version="2", external_id="n", aliases=["champion"], card="# x")
        assert len(models.artifacts_of(made.version)) == 2
    for by in (models, outside(models)):
        assert published(by)["HAL"] == {"2": [("doc-artifact", "model-card"), ("model-artifact", "HAL")]}
        assert published(by)["old"] == {"1": [("model-artifact", "old")]}
        assert [(e.reason, [c.field for c in e.changes]) for e in by.history("old", "1")] == [
            (None, []), ("again", ["description"]),
        ]  # fmt: skip
        assert len(by.history("HAL", "2")) == 1
        assert [m.version for m in by.alias_history("old", "champion")] == ["1"]
        assert [m.version for m in by.alias_history("HAL", "champion")] == ["2"]
        assert by.load("HAL") == MODEL
    models.update(ModelVersion("1", id=version.id, description="later"))
    assert [e.resource.description for e in models.history("old", "1")] == [None, "right", "later"]
    found = lists.get_model_version_by_id(str(version.id))
    assert "drops" not in str(found.model_dump())
    assert_whole(registry)


def test_two_runs_that_register_versions_of_one_new_model(registry: Registry, models: ModelRegistry) -> None:
    """The second cannot know whose the model will be: it is told which run holds it, and nothing of its call stays.
    When the first is published, it can register its version; when it fails, the model is its own.
    """
    for success in (True, False):
        name = f"HAL {success}"
        first, second = registry.insert_run("first"), registry.insert_run("second")
        models.register_model(name, URI, version="1", run_id=first, owner="first")
        with pytest.raises(UndecidedConflict, match=f"model '{name}' is held by run {first}"):
            models.register_model(name, URI, version="2", run_id=second, owner="second")
        assert models.models.get_registered_models(run_id=second, filter_query=f"name = '{name}'") == []
        registry.close_run(first, success)
        models.register_model(name, URI, version="2", run_id=second, owner="second")
        registry.close_run(second, True)
        model = models.get_registered_model(name)
        assert model is not None
        assert model.owner == ("first" if success else "second")
        assert sorted(published(models)[name]) == (["1", "2"] if success else ["2"])
    assert_whole(registry)


def test_two_runs_on_one_version_and_on_one_external_id(registry: Registry, models: ModelRegistry) -> None:
    """Whoever is second gets an error, and a duplicate once the first is published."""
    models.models.upsert_registered_model(RegisteredModel("HAL"))
    first, second = registry.insert_run("first"), registry.insert_run("second")
    models.register_model("HAL", URI, version="1", external_id="e", run_id=first)
    for version, external in (("1", None), ("2", "e")):
        with pytest.raises(UndecidedConflict):
            models.register_model("HAL", URI, version=version, external_id=external, run_id=second)
    registry.close_run(first, True)
    for version, external in (("1", None), ("2", "e")):
        with pytest.raises(DuplicateError):
            models.register_model("HAL", URI, version=version, external_id=external, run_id=second)
    models.register_model("HAL", URI, version="2", run_id=second)
    registry.close_run(second, True)
    assert sorted(published(models)["HAL"]) == ["1", "2"]


def test_numbers_are_not_waited_for(registry: Registry, models: ModelRegistry) -> None:
    """Who wants any number does not wait for another run's: each gets its own."""
    models.models.upsert_registered_model(RegisteredModel("HAL"))
    runs = [registry.insert_run("work") for _ in range(3)]
    names = [models.register("HAL", URI, run_id=run).version.name for run in runs]
    assert names == ["1", "2", "3"]
    for run, success in zip(runs, (True, False, True), strict=True):
        registry.close_run(run, success)
    assert sorted(published(models)["HAL"]) == ["1", "3"]


def test_nested_runs(registry: Registry, models: ModelRegistry) -> None:
    """A child sees and builds on what its parent staged; the parent sees what a child that succeeded staged; all of it
    is published by the parent, and nothing of a child that failed.
    """
    other = outside(models)
    with registry.run("parent") as parent:
        models.register_model("HAL", URI, version="1", aliases=["champion"])
        with registry.run("child", parent=parent.id):
            models.register_model("HAL", model=MODEL, version="2", aliases=["champion"])
            assert sorted(published(models)["HAL"]) == ["1", "2"]
        assert models.resolve("HAL", "champion").name == "2"
        assert models.load("HAL", "2") == MODEL
        with pytest.raises(ZeroDivisionError), registry.run("failing child", parent=parent.id):
            models.register_model("HAL", URI, version="3", aliases=["champion"])
            raise ZeroDivisionError
        assert sorted(published(models)["HAL"]) == ["1", "2"]
        assert models.aliases("HAL") == {"champion": "2"}
        assert elsewhere(lambda: published(other)) == {}
    assert sorted(published(other)["HAL"]) == ["1", "2"]
    assert other.resolve("HAL", "champion").name == "2"
    assert_whole(registry)


def test_a_decided_run_takes_nothing_more(registry: Registry, models: ModelRegistry) -> None:
    run = registry.insert_run("work")
    models.register_model("HAL", URI, version="1", run_id=run)
    registry.close_run(run, False)
    for call in (
        lambda: models.register_model("HAL", URI, version="2", run_id=run),
        lambda: models.models.upsert_registered_model(RegisteredModel("x"), run_id=run),
    ):
        with pytest.raises((RunAborted, InvalidState)):
            call()
    assert published(models) == {}


def test_references_to_what_a_run_staged(registry: Registry, models: ModelRegistry) -> None:
    """An artifact may refer to an object or dataset of the same run; to another run's only once it is published."""
    import pyarrow as pa

    with registry.run("train") as run:
        registry.save("net", {"w": 1}, run_id=run.id)
        with run.dataset("rows") as ds:
            ds.write_table(pa.table({"n": [1, 2]}))
        uris = {"object": object_uri("net", "1"), "dataset": dataset_uri(ds.id)}
        with registry.run("other", isolated=True) as stranger:
            for uri in uris.values():
                with pytest.raises(NotFound):
                    models.register_model("HAL", uri, version="1", run_id=stranger.id)
            assert models.models.get_registered_models(run_id=stranger.id) == []
        models.register_model(
            "HAL", uris["object"], version="1", artifacts=[DataSet("train", uri=uris["dataset"])], run_id=run.id
        )
        assert models.load("HAL") == {"w": 1}
    assert models.load("HAL") == {"w": 1}
    with pytest.raises(ZeroDivisionError), registry.run("failing") as run:
        with run.dataset("rows") as lost:
            lost.write_table(pa.table({"n": [1]}))
        raise ZeroDivisionError
    for uri in (dataset_uri(lost.id), object_uri("net", "2"), object_uri("no", "1")):
        with pytest.raises(NotFound):
            models.models.upsert_model_artifact(ModelArtifact("a", uri=uri))
    assert [a.name for a in models.models.get_artifacts()] == ["HAL", "train"]


async def test_the_core_client_in_a_run(registry: Registry) -> None:
    """Calls of coroutines belong to the run around them, as synchronous ones do."""
    core = ModelRegistryAPIClient(registry)
    async with registry.arun("train"):
        model = await core.upsert_registered_model(RegisteredModel("HAL"))
        assert await core.get_registered_models() == [model]
        assert elsewhere(lambda: published(client(registry))) == {}
    assert await core.get_registered_models() == [model]


def test_versions_of_a_model_that_a_run_has_staged_are_listed_for_that_run(
    registry: Registry, models: ModelRegistry
) -> None:
    """``run_id`` holds for the model as for its versions."""
    run = registry.insert_run("train")
    models.register_model("HAL", URI, version="1", run_id=run)
    assert [v.name for v in models.get_model_versions("HAL", run_id=run)] == ["1"]
    with pytest.raises(ModelNotFound, match="HAL"):
        next(models.get_model_versions("HAL"))


def test_a_list_is_read_when_it_is_iterated(registry: Registry, models: ModelRegistry) -> None:
    """Making a pager asks nothing: what is registered before its first page is on it."""
    pagers = models.get_registered_models(), models.get_model_versions("HAL")
    models.register_model("HAL", URI, version="1")
    assert [[found.name for found in pager] for pager in pagers] == [["HAL"], ["1"]]
