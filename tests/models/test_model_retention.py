"""What registered versions refer to is kept, whatever a rule says; and lineage from raw data to models."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from model_support import LARGE, Later, assert_whole, client, opened

from prefect_registry import Registry
from prefect_registry.errors import RegistryError
from prefect_registry.ids import random_token
from prefect_registry.models.client import ModelRegistry
from prefect_registry.models.types import ArtifactState, DataSet, ModelArtifact
from prefect_registry.models.utils import dataset_uri, object_uri
from prefect_registry.storage.memory import MemoryStorage


@pytest.fixture
def clock() -> Later:
    return Later()


@pytest.fixture
def registry(clock: Later) -> Registry:
    return opened(MemoryStorage(f"memory://kept-{random_token()}", clock=clock), clock=clock, version_objects=True)


def publish(registry: Registry, value: int) -> str:
    """The id of a dataset that replaces the table."""
    with registry.run("load") as run, run.dataset("rows") as ds:
        ds.write_table(pa.table({"n": [value]}))
    return str(ds.id)


def net(value: int) -> bytes:
    return bytes([value]) * LARGE


def keep_house(registry: Registry) -> set[str]:
    """What a release and a collection give up: objects and datasets."""
    report = registry.release(dry_run=False)
    registry.collect(dry_run=False)
    return {str(o.id) for o in report.objects} | {str(d.id) for d in report.datasets}


@pytest.mark.parametrize("state", [*ArtifactState])
def test_what_a_version_refers_to_is_not_released(registry: Registry, clock: Later, state: ArtifactState) -> None:
    """Neither an object version nor a dataset; unless the artifact says itself that its files may go."""
    for value in (1, 2, 3):
        registry.save("net", net(value))
    datasets = [publish(registry, value) for value in (1, 2, 3)]
    models = client(registry)
    models.register_model(
        "HAL", object_uri("net", "1"), version="1", artifacts=[DataSet("train", uri=dataset_uri(datasets[0]))]
    )
    version = models.get_model_version("HAL", "1")
    assert version is not None
    for artifact in models.artifacts_of(version):
        models.update(artifact.model_copy(update={"state": state}))
    registry.set_retention(objects="*", keep_last=1, keep_used=False)
    registry.set_retention("*", keep_last=1, keep_used=False)
    clock.ahead += timedelta(days=1)
    gone = keep_house(registry)
    given_up = state in ("MARKED_FOR_DELETION", "DELETED", "ABANDONED")
    assert gone == {"net@2", datasets[1]} | ({"net@1", datasets[0]} if given_up else set())
    if given_up:
        with pytest.raises(RegistryError):
            models.load("HAL")
    else:
        assert models.load("HAL") == net(1)
        assert registry.get_dataset(datasets[0]).to_table().num_rows == 1
    assert_whole(registry)


def test_archived_versions_keep_theirs(registry: Registry, clock: Later) -> None:
    models = client(registry)
    for version in ("1", "2"):
        models.register_model("HAL", model=net(int(version)), version=version)
    models.archive("HAL", "1")
    models.archive("HAL")
    registry.set_retention(objects="*", keep_last=1, keep_days=0.001, keep_used=False)
    clock.ahead += timedelta(days=1)
    assert keep_house(registry) == set()
    assert [models.load("HAL", v) for v in ("1", "2")] == [net(1), net(2)]


def test_a_reference_that_is_moved_on_gives_up_what_it_was(registry: Registry, clock: Later) -> None:
    """An artifact that names another version of the object now keeps that one alone."""
    for value in (1, 2, 3):
        registry.save("net", net(value))
    models = client(registry)
    models.register_model("HAL", object_uri("net", "1"), version="1")
    artifact = models.get_model_artifact("HAL", "1")
    assert artifact is not None
    models.update(ModelArtifact(id=artifact.id, uri=object_uri("net", "2")))
    registry.set_retention(objects="*", keep_last=1, keep_used=False)
    clock.ahead += timedelta(days=1)
    assert keep_house(registry) == {"net@1"}
    assert models.load("HAL") == net(2)


def test_a_registration_that_was_rolled_back_keeps_nothing(registry: Registry, clock: Later) -> None:
    for value in (1, 2):
        registry.save("net", net(value))
    models = client(registry)
    with pytest.raises(ZeroDivisionError), registry.run("train"):
        models.register_model("HAL", object_uri("net", "1"), version="1")
        raise ZeroDivisionError
    registry.set_retention(objects="*", keep_last=1, keep_used=False)
    clock.ahead += timedelta(days=1)
    assert keep_house(registry) == {"net@1"}


def lineage(registry: Registry, start: str, direction: Any) -> set[tuple[str, str, str]]:
    found = getattr(registry.catalog, direction)(start)
    return {(str(e.source), str(e.relation), str(e.target)) for e in found}


def test_lineage_from_raw_data_to_models(registry: Registry) -> None:
    """From a dataset, by the run that read it, to the object, the artifact and the version, and back."""
    raw = publish(registry, 1)
    models: ModelRegistry = client(registry)
    with registry.run("train") as run:
        registry.get_dataset(raw).to_table()
        models.register_model("HAL", model=net(1), version="1", artifacts=[DataSet("train", uri=dataset_uri(raw))])
    version = models.get_model_version("HAL", "1")
    assert version is not None
    by_name = {a.name: str(a.id) for a in models.artifacts_of(version)}
    kept, v = "models/HAL/1@1", str(version.id)
    up = lineage(registry, v, "upstream")
    assert {
        (v, "specializationOf", str(version.registered_model_id)), (v, "hadMember", by_name["HAL"]),
        (v, "hadMember", by_name["train"]), (v, "wasGeneratedBy", run.id), (by_name["HAL"], "wasDerivedFrom", kept),
        (by_name["train"], "wasDerivedFrom", raw), (kept, "wasGeneratedBy", run.id),
    } <= up  # fmt: skip
    down = lineage(registry, raw, "downstream")
    assert {(by_name["train"], "wasDerivedFrom", raw), (v, "hadMember", by_name["train"])} <= down
    assert_whole(registry)


def test_lineage_that_is_said_more_than_once(registry: Registry) -> None:
    """An artifact that refers to the same again, and one that is linked to more versions: each edge is as old as the
    first word of it, in the index and for who checks it.
    """
    for value in (1, 2):
        registry.save("net", net(value))
    models = client(registry)
    made = models.register("HAL", object_uri("net", "1"), version="1")
    other = models.register("HAL", version="2").version
    artifact = made.artifacts[0]
    for version in ("2", "1", "2", "1"):
        models.update(ModelArtifact(id=artifact.id, uri=object_uri("net", version)))
    models.models.upsert_model_version_artifact(ModelArtifact(id=artifact.id), str(other.id))
    found = {(e.source, e.target) for e in registry.catalog.downstream("net@1")}
    assert found == {(artifact.id, "net@1"), (made.version.id, artifact.id), (other.id, artifact.id)}
    assert_whole(registry)
    assert_whole(opened(registry.storage))
