"""Reverting runs that registered, changed and promoted models."""

from __future__ import annotations

import pytest

from prefect_registry import Registry
from prefect_registry.errors import NotFound
from prefect_registry.models.client import ModelRegistry
from prefect_registry.models.types import Metric


@pytest.fixture
def registry() -> Registry:
    return Registry("memory://", use_cache=False)


@pytest.fixture
def models(registry: Registry) -> ModelRegistry:
    return ModelRegistry(registry, author="me")


def test_a_reverted_registration_is_gone_and_can_come_back(registry: Registry, models: ModelRegistry) -> None:
    """Model, version, artifacts, aliases and the saved object go together, and come back together."""
    with registry.run("train") as run:
        models.register_model("digits", model={"weights": [1, 2]}, artifacts=[Metric("accuracy", value=0.9)],
                              aliases=["champion"], external_id="mlflow:1")  # fmt: skip
    reverted = registry.revert(run.id, reason="trained on the wrong table")
    assert models.get_registered_model("digits") is None
    assert list(models.get_registered_models()) == []
    assert not registry.has_object("models/digits/1")
    with pytest.raises(NotFound):
        models.load("digits", "champion")

    registry.revert(reverted.run_id)
    assert models.load("digits", "champion") == {"weights": [1, 2]}
    assert [v.name for v in models.get_model_versions("digits")] == ["1"]
    assert models.models.get_model_version_by_params(external_id="mlflow:1") is not None
    assert registry.fsck().ok


def test_what_a_reverted_model_was_can_still_be_read(registry: Registry, models: ModelRegistry) -> None:
    """``as_of`` holds for the model as for its versions and aliases."""
    with registry.run("train") as run:
        models.register_model("digits", "s3://bucket/1", version="1", aliases=["champion"])
    then = models.models.now()
    registry.revert(run.id)
    assert [v.name for v in models.get_model_versions("digits", as_of=then)] == ["1"]
    assert models.resolve("digits", "champion", as_of=then).name == "1"
    assert models.aliases("digits", as_of=then) == {"champion": "1"}
    with pytest.raises(NotFound):
        next(models.get_model_versions("digits"))


def test_a_reverted_registration_leaves_its_names_free(registry: Registry, models: ModelRegistry) -> None:
    """What is not registered any more can be registered again, under an id of its own."""
    with registry.run("train") as run:
        models.register_model("digits", "s3://bucket/1", version="1")
    before = models.get_registered_model("digits")
    registry.revert(run.id)
    models.register_model("digits", "s3://bucket/2", version="1")
    after = models.get_registered_model("digits")
    assert before is not None
    assert after is not None
    artifact = models.get_model_artifact("digits", "1")
    assert artifact is not None
    assert artifact.uri == "s3://bucket/2"


def test_a_reverted_promotion_points_where_it_did(registry: Registry, models: ModelRegistry) -> None:
    """An alias and a state go back to what they were before the run."""
    models.register_model("digits", "s3://bucket/1", version="1", aliases=["champion"])
    models.register_model("digits", "s3://bucket/2", version="2")
    with registry.run("promote") as run:
        models.set_alias("digits", "champion", "2")
        models.archive("digits", "1")
    assert models.aliases("digits") == {"champion": "2"}
    registry.revert(run.id)
    assert models.aliases("digits") == {"champion": "1"}
    assert [v.name for v in models.get_model_versions("digits")] == ["1", "2"]
    entries = models.history("digits", "1")
    assert [[c.field for c in entry.changes] for entry in entries] == [[], ["state"], ["state"]]
