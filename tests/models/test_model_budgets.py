"""What the model registry costs, in requests and in round trips one after the other, counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from model_support import LARGE, URI

from prefect_registry import Registry
from prefect_registry.models.client import ModelRegistry
from prefect_registry.models.types import DocArtifact, ModelArtifact, ModelVersion, RegisteredModel
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.counting import CountingStorage

Call = Callable[[], object]


class Bench:
    """Processes, as far as the code can tell, on one counted store."""

    def __init__(self) -> None:
        self.counting = CountingStorage(MemoryStorage(), width=16)
        self.models = self.process()

    def process(self) -> ModelRegistry:
        """It has measured its clock and read the settings of objects: once per process."""
        registry = Registry(ResolvingStorage(self.counting), heartbeats=False, use_cache=False)
        registry.ledger.store.know_time()
        registry.parts.objects.settings.fixed()
        return ModelRegistry(registry, author="me")

    def trips(self, call: Call) -> int:
        """Round trips, one after the other."""
        with self.counting.measure() as found:
            call()
        return found.sequential


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_an_upsert_without_external_id_is_one_round_trip(bench: Bench) -> None:
    """A model or an artifact by itself: the record beside its touch. A version reads its model before."""
    lists = bench.models.models
    assert bench.trips(lambda: lists.upsert_registered_model(RegisteredModel("HAL"))) == 1
    assert bench.trips(lambda: lists.upsert_model_artifact(DocArtifact("d"))) == 1
    model = lists.get_registered_model_by_params("HAL")
    assert model is not None
    assert bench.trips(lambda: lists.upsert_model_version(ModelVersion("1"), model.id)) == 2
    assert bench.trips(lambda: lists.upsert_registered_model(RegisteredModel("BOB", external_id="e"))) == 4


def test_gets_by_id_and_by_name_are_one_round_trip(bench: Bench) -> None:
    """A listing beside the record; a process that has not met the run's decision yet reads that too."""
    made = bench.models.register("HAL", URI, version="1", external_id="e", aliases=["champion"])
    model, version, artifact = str(made.model.id), str(made.version.id), str(made.artifacts[0].id)
    reader = bench.process()
    lists = reader.models
    assert bench.trips(lambda: lists.get_registered_model_by_params("HAL")) == 2, "the decision is new to it"
    for _ in range(2):
        for call in (
            lambda: lists.get_registered_model_by_id(model),
            lambda: lists.get_model_version_by_id(version),
            lambda: lists.get_model_artifact_by_id(artifact),
            lambda: lists.get_registered_model_by_params("HAL"),
            lambda: lists.get_model_version_by_params(model, "1"),
            lambda: lists.get_registered_model_by_params("absent"),
        ):
            assert bench.trips(call) == 1
    assert bench.trips(lambda: lists.get_model_version_by_params(external_id="e")) == 2
    assert bench.trips(lambda: reader.get_model_version("HAL", "1")) == 2
    assert bench.trips(lambda: reader.resolve("HAL", "champion")) == 4
    assert bench.trips(lambda: lists.get_model_artifact_by_params("HAL", version)) == 3


def test_registering_outside_any_run(bench: Bench) -> None:
    """Whether the model is there, begin, model, version with what claims its name, the rest at once, and the close (a
    listing, what was touched, the decision); one more for aliases, that are read before they are moved, and for a large
    model, that is looked for before it is sent.
    """
    models = bench.models
    assert bench.trips(lambda: models.register_model("HAL", URI, version="1")) == 7
    assert bench.trips(lambda: models.register_model("HAL", URI, version="2")) == 7
    assert bench.trips(lambda: models.register_model("HAL", URI, version="3", card="# x", external_id="e")) == 7
    assert bench.trips(lambda: models.register_model("HAL", URI, version="4", aliases=["a", "b", "c"])) == 8
    extra = [ModelArtifact(f"a{n}", uri=URI) for n in range(10)]
    assert bench.trips(lambda: models.register_model("HAL", URI, version="5", artifacts=extra)) == 7
    small, large = ({"version": v, "model": value} for v, value in (("6", {"w": 1}), ("7", b"x" * LARGE)))
    assert bench.trips(lambda: models.register_model("HAL", **small)) == 9  # type: ignore[arg-type]
    assert bench.trips(lambda: models.register_model("HAL", **large)) == 11  # type: ignore[arg-type]


def test_registering_in_a_run(bench: Bench) -> None:
    """No begin and no close of its own."""
    models = bench.models
    models.register_model("HAL", URI, version="1")
    with models.models.registry.run("train"):
        models.register_model("HAL", URI, version="2")
        assert bench.trips(lambda: models.register_model("HAL", URI, version="3")) == 4


def test_a_duplicate_is_known_before_anything_is_written(bench: Bench) -> None:
    models = bench.models
    models.register_model("HAL", model=b"x" * LARGE, version="1")
    other = bench.process()
    with bench.counting.measure() as found, pytest.raises(Exception, match="already exists"):
        other.register_model("HAL", model=b"y" * LARGE, version="1")
    assert set(found.by_method) <= {"list", "get"}
    assert found.sequential <= 3


def test_an_update_is_two_round_trips(bench: Bench) -> None:
    """Reading it, and the next record beside its touch."""
    models = bench.models
    made = models.register("HAL", URI, version="1")
    change = ModelVersion("1", id=made.version.id, description="new")
    assert bench.trips(lambda: models.update(change)) == 2
    assert bench.trips(lambda: models.update(change)) == 1, "nothing to change"


def test_costs_do_not_grow(bench: Bench) -> None:
    """The fiftieth version costs what the second did."""
    models = bench.models
    models.register_model("HAL", URI, version="0")
    costs = []
    for n in range(1, 50):
        with bench.counting.measure() as found:
            models.register_model("HAL", URI, version=str(n))
        costs.append((found.total, found.sequential))
    assert len(set(costs)) == 1
