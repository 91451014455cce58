"""What fails, or is overtaken, while a registration is written: what is left, what is published, and what is told."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import Any

import pytest
from model_support import FAST, LARGE, URI, Later, assert_whole, client, elsewhere, published
from typing_extensions import override

from prefect_registry import Registry
from prefect_registry.errors import (
    AccessDenied,
    InvalidState,
    OutcomeUnknown,
    RegistryError,
    RevisionConflict,
    RunAborted,
    RunAlreadyClosed,
    StorageUnavailable,
)
from prefect_registry.ids import random_token
from prefect_registry.models.types import Artifact, DocArtifact, ModelArtifact, ModelVersion, RegisteredModel
from prefect_registry.models.writing import Batch
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.faults import Fault, FaultyStorage, error_before

NEVER = 1_000_000
MODEL = b"x" * LARGE


class Slow(FaultyStorage):
    """Faults, and creates of ``held`` keys that are answered by nothing, and arrive when they are let go."""

    held = ""
    late: list[Callable[[], None]]

    @override
    def create(self, key: str, data: bytes) -> None:
        if self.held and fnmatch.fnmatchcase(key, self.held):
            self.late.append(lambda: self.inner.create(key, data))
            raise StorageUnavailable("No answer", why="The request is on its way", todo="Wait")
        super().create(key, data)

    def let_go(self) -> None:
        """All arrive; only one of several that were sent for the same key is there then."""
        self.held = ""
        self.late[0]()


class Place:
    """A store that fails as it is told, with model ``old`` and its version 1, and somebody else on it to whom it does
    not.
    """

    def __init__(self) -> None:
        self.clock = Later()
        memory = MemoryStorage(f"taking-back-{random_token()}", clock=self.clock)
        self.other = client(self._on(memory), "other")
        self.other.register_model("old", URI, version="1")
        self.faulty = Slow(memory, clock=self.clock)
        self.faulty.late = []
        self.registry = self._on(self.faulty)
        self.models = client(self.registry)

    def _on(self, storage: Any) -> Registry:
        resolving = ResolvingStorage(storage, self.clock, timeout=2, attempts=1)
        return Registry(resolving, settings=FAST, clock=self.clock, heartbeats=False, use_cache=False)

    def fail(self, *faults: Fault) -> None:
        """From now on."""
        self.faulty.plan = list(faults)

    def meanwhile(self, call: Callable[[], object], key: str, where: Any = "after") -> None:
        """Somebody else does this when the key is created."""
        done: list[object] = []

        def action(_: FaultyStorage) -> None:
            if not done:
                done.append(None)
                elsewhere(call)

        self.faulty.plan.append(Fault(where, action, method="create", key=key))

    def published(self) -> Any:
        return elsewhere(lambda: published(self.other))


@pytest.fixture
def place() -> Place:
    return Place()


OLD = {"old": {"1": [("model-artifact", "old")]}}


def denied() -> Exception:
    """An error after which nothing is tried again."""
    return AccessDenied("The test refuses", why="A fault was planned", todo="Try again")


def lost(type_: str) -> Fault:
    """The answer to a create of the type is lost, and what became of it cannot be read at first."""
    key = f"cells/{type_}/*"

    def action(storage: FaultyStorage) -> None:
        storage.plan.append(error_before(denied, method="get", key=key))
        raise StorageUnavailable("No answer", why="A fault was planned", todo="Wait")

    return Fault("after", action, method="create", key=key)


# -- decided runs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("success", "error"), [(False, RunAborted), (True, RunAlreadyClosed)])
def test_an_automatic_number_in_a_decided_run_is_refused(place: Place, success: bool, error: type[Exception]) -> None:
    """As a named version is: what a decided run does not list is never visible."""
    run = place.registry.insert_run("work")
    place.registry.close_run(run, success)
    for version in (None, "2"):
        with pytest.raises(error) as caught:
            place.models.register("old", version=version, run_id=run)
        assert caught.value.committed == "no"  # type: ignore[attr-defined]
    assert place.published() == OLD


def test_an_automatic_number_in_a_run_that_somebody_aborts_meanwhile_is_refused(place: Place) -> None:
    """The run's decision is looked at beside the write of the version."""
    run = place.registry.insert_run("work")
    place.meanwhile(lambda: place.other.models.registry.close_run(run, False), "cells/model_version/*")
    with pytest.raises(RunAborted):
        place.models.register("old", run_id=run)
    assert place.published() == OLD


@pytest.mark.parametrize("version", [None, "2"])
def test_a_run_that_somebody_commits_with_all_that_was_written_has_published_it(
    place: Place, version: str | None
) -> None:
    """The call succeeds: what it returns is visible."""
    run = place.registry.insert_run("work")
    place.meanwhile(lambda: place.other.models.registry.close_run(run, True), "cells/model_version/*")
    made = place.models.register("old", version=version, run_id=run)
    assert made.version.name == "2"
    assert place.published()["old"]["2"] == []


@pytest.mark.parametrize("at", ["model_version", "model_artifact"])
def test_a_run_that_somebody_commits_with_a_part_of_it(place: Place, at: str) -> None:
    """The error says which part is published, and that it is; nothing outside the registry is undone."""
    run = place.registry.insert_run("work")
    place.meanwhile(lambda: place.other.models.registry.close_run(run, True), f"cells/{at}/*")
    undone: list[str] = []

    def upload(batch: Batch, number: str) -> list[Artifact]:
        batch.when_given_up(lambda: undone.append(number))
        return [ModelArtifact("old", uri="s3://new"), DocArtifact("notes")]

    with pytest.raises(RunAlreadyClosed, match=r"version '2' of model 'old'.* is published") as caught:
        place.models.register("old", version="2", upload=upload, run_id=run)
    assert caught.value.committed == "yes"
    assert "2" in place.published()["old"]
    assert undone == []
    assert "Nothing outside the registry was undone" in str(caught.value.__notes__)


# -- lost answers ----------------------------------------------------------------------------------------------------


def test_an_automatic_number_whose_answer_is_lost_is_taken_back(place: Place) -> None:
    """In a run that goes on: no version without its artifacts is published."""
    with place.registry.run("work"):
        place.fail(lost("model_version"))
        with pytest.raises(OutcomeUnknown) as caught:
            place.models.register_model("old", URI)
        assert caught.value.committed == "no"
        assert caught.value.todo == "Nothing of it is left in the run; try again"
    assert place.published() == OLD
    assert_whole(place.other.models.registry)


def test_a_write_that_may_still_arrive_leaves_the_bytes_and_is_taken_back_before_the_commit(place: Place) -> None:
    """Nothing outside the registry is undone while a record may point at it, and the run does not publish it."""
    undone: list[str] = []

    def upload(batch: Batch, number: str) -> list[Artifact]:
        batch.when_given_up(lambda: undone.append(number))
        return [ModelArtifact("old", uri="s3://new")]

    with place.registry.run("work"):
        place.faulty.held = "cells/model_artifact/*"
        with pytest.raises(OutcomeUnknown) as caught:
            place.models.register("old", version="2", upload=upload)
        assert caught.value.committed == "unknown"
        assert undone == []
        told = "\n".join(caught.value.__notes__)
        assert "could not be taken back: model-artifact 'old'" in told
        assert "Nothing outside the registry was undone" in told
        place.faulty.let_go()
    assert place.published() == OLD
    assert [a.uri for a in place.other.models.get_model_artifacts()] == [URI]
    assert_whole(place.other.models.registry)


def test_an_unknown_outcome_of_what_nobody_has_noted_leaves_the_bytes(place: Place) -> None:
    """Nothing outside the registry is undone, and the error still says that nobody knows."""
    undone: list[str] = []

    def upload(batch: Batch, number: str) -> list[Artifact]:
        batch.when_given_up(lambda: undone.append(number))
        with batch.noting():
            raise OutcomeUnknown("Another domain got no answer", committed="unknown")

    with place.registry.run("work"):
        with pytest.raises(OutcomeUnknown) as caught:
            place.models.register("old", version="2", upload=upload)
        assert caught.value.committed == "unknown"
        assert undone == []
    assert place.published() == OLD


def test_a_write_that_never_arrives_does_not_hold_its_run_up(place: Place) -> None:
    """The run is committed without it, and the same call succeeds in it before."""
    with place.registry.run("work"):
        place.faulty.held = "cells/model_artifact/*"
        with pytest.raises(OutcomeUnknown):
            place.models.register_model("old", URI, version="2")
        place.faulty.held = ""
        place.models.register_model("old", URI, version="2")
    assert place.published() == {"old": {v: [("model-artifact", "old")] for v in ("1", "2")}}
    assert_whole(place.other.models.registry)


# -- taking back that fails ------------------------------------------------------------------------------------------


def broken(batch: Batch, number: str) -> list[Artifact]:
    raise ValueError("no bytes")


def no_taking_back(times: int = NEVER) -> Fault:
    """Versions cannot be taken back."""
    return error_before(denied, method="create", key="cells/model_version/*1.json", times=times)


def test_all_is_taken_back_that_can_be_and_the_rest_before_the_commit(place: Place) -> None:
    """One failure does not keep the others; what is left is told, and gone once the store answers again."""
    with place.registry.run("work"):
        place.fail(no_taking_back(times=1))
        with pytest.raises(ValueError, match="no bytes") as caught:
            place.models.register("new", version="1", upload=broken)
        assert "could not be taken back: version '1' of model 'new'" in str(caught.value.__notes__)
        assert place.models.get_registered_model("new") is None
    assert place.published() == OLD
    assert_whole(place.other.models.registry)


def test_a_run_that_still_holds_what_failed_is_not_committed(place: Place) -> None:
    """Nor does it take another registration; nothing is published, and it can be closed once the store answers."""
    run = place.registry.insert_run("work")
    place.fail(no_taking_back())
    with pytest.raises(ValueError, match="no bytes"):
        place.models.register("old", version="2", upload=broken, run_id=run)
    for call in (
        lambda: place.registry.close_run(run, True),
        lambda: place.models.register("old", URI, version="2", run_id=run),
    ):
        with pytest.raises(InvalidState, match="still holds what a failed call staged") as caught:
            call()
        assert caught.value.committed == "no"
    assert place.published() == OLD
    place.fail()
    place.registry.close_run(run, True)
    assert place.published() == OLD


def test_a_run_that_still_holds_what_failed_can_be_rolled_back(place: Place) -> None:
    """Its block aborts it, and the error of that is the refusal."""
    with pytest.raises(InvalidState, match="still holds") as caught, place.registry.run("work"):
        place.fail(no_taking_back())
        with pytest.raises(ValueError, match="no bytes"):
            place.models.register("old", upload=broken)
    assert caught.value.committed == "no"
    assert place.published() == OLD


def test_a_change_that_is_tried_again_first_takes_back_what_it_left(place: Place) -> None:
    """It meets neither its own claim on the external id nor forgets it."""
    version = place.models.get_model_version("old", "1")
    assert version is not None
    changed = ModelVersion("1", id=version.id, description="theirs")
    with place.registry.run("work"):
        place.models.models.upsert_registered_model(RegisteredModel("mine"))
        place.fail(error_before(denied, method="create", key="cells/model_external_id/*1.json"))
        place.meanwhile(lambda: place.other.update(changed), "cells/model_version/*", "before")
        place.models.update(ModelVersion("1", id=version.id, external_id="e", author="x"))
    found = place.other.models.get_model_version_by_params(external_id="e")
    assert found is not None
    assert (found.description, found.author, found.id) == ("theirs", "x", version.id)
    assert_whole(place.other.models.registry)


# -- objects ---------------------------------------------------------------------------------------------------------


def test_an_object_that_cannot_be_read_back_is_taken_back(place: Place) -> None:
    """What was saved for a version that failed is not published without it."""

    def gone(storage: FaultyStorage) -> None:
        storage.plan.append(error_before(denied, method="list", key="cells/object/*"))

    with place.registry.run("work"):
        place.fail(Fault("after", gone, method="create", key="cells/object/*"))
        with pytest.raises(AccessDenied) as caught:
            place.models.register_model("old", model={"w": 1}, version="2")
        assert caught.value.committed == "no"
    assert place.published() == OLD
    assert elsewhere(place.other.models.registry.list_objects) == []
    assert_whole(place.other.models.registry)


@pytest.mark.parametrize("model", [{"w": 1}, MODEL])
def test_an_object_whose_answer_is_lost_is_taken_back(place: Place, model: Any) -> None:
    """Nobody knows whether it was saved; the run publishes nothing of it."""
    with place.registry.run("work"):
        place.fail(lost("object"))
        with pytest.raises(OutcomeUnknown):
            place.models.register_model("old", model=model, version="2")
    assert place.published() == OLD
    assert elsewhere(place.other.models.registry.list_objects) == []


# -- aliases ---------------------------------------------------------------------------------------------------------


def test_two_that_create_one_alias(place: Place) -> None:
    """The second is told that it changed meanwhile, as of one that was there: an alias is no duplicate."""
    place.other.register_model("old", URI, version="2")
    place.meanwhile(lambda: place.other.set_alias("old", "champion", "2"), "cells/model_alias/*", "before")
    with pytest.raises(RevisionConflict, match=r"^alias 'champion' changed meanwhile") as caught:
        place.models.set_alias("old", "champion", "1")
    assert caught.value.committed == "no"
    assert place.other.aliases("old") == {"champion": "2"}


@pytest.mark.parametrize("before", [None, "1"])
@pytest.mark.parametrize("in_run", [False, True])
def test_an_alias_that_moves_while_a_version_is_registered(place: Place, before: str | None, in_run: bool) -> None:
    """It points at the new version; nothing is uploaded again, and the history has both moves."""
    place.other.register_model("old", URI, version="2")
    if before is not None:
        place.other.set_alias("old", "champion", before)
    place.meanwhile(lambda: place.other.set_alias("old", "champion", "2"), "cells/model_alias/*", "before")
    uploads: list[str] = []

    def upload(batch: Batch, number: str) -> list[Artifact]:
        uploads.append(number)
        return [ModelArtifact("old", uri="s3://new")]

    run = place.registry.insert_run("work") if in_run else None
    place.models.register("old", version="3", upload=upload, aliases=["champion"], run_id=run)
    if run is not None:
        place.registry.close_run(run, True)
    assert uploads == ["3"]
    assert place.other.aliases("old") == {"champion": "3"}
    moves = [move.version for move in place.other.alias_history("old", "champion")]
    assert moves == [*([before] if before is not None else []), "2", "3"]
    assert_whole(place.other.models.registry)


# -- what errors tell ------------------------------------------------------------------------------------------------


async def test_every_error_of_the_store_tells_that_nothing_was_published(place: Place) -> None:
    """Also of ``register``, as of those that are made of it; in a run, too."""
    for run in (None, place.registry.insert_run("work")):
        for method, key in (("list", "cells/model/*"), ("create", "cells/model_artifact/*")):
            place.fail(error_before(denied, method=method, key=key, times=NEVER))
            with pytest.raises(RegistryError) as caught:
                place.models.register("old", URI, version="2", run_id=run)
            assert caught.value.committed == "no"
            with pytest.raises(RegistryError) as caught:
                await place.models.aregister("old", URI, version="2", run_id=run)
            assert caught.value.committed == "no"
            place.fail()
    assert place.published() == OLD
