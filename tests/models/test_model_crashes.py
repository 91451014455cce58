"""Registering and updating, killed at every storage call and with every answer lost: all or nothing, and a retry that
says what is true.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from model_support import FAST, LARGE, Later, assert_whole, client, published

from prefect_registry import Registry
from prefect_registry.errors import RegistryError, StorageUnavailable
from prefect_registry.ids import random_token
from prefect_registry.models.client import ModelRegistry
from prefect_registry.models.exceptions import DuplicateError
from prefect_registry.models.types import DocArtifact, ModelVersion
from prefect_registry.storage.base import Storage
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.faults import Fault, FaultyStorage, SimulatedCrash, crash, error_before, lost_answer

Work = Callable[[ModelRegistry], object]
MODEL = b"x" * LARGE


def opened(storage: Storage, clock: Later, attempts: int = 1) -> Registry:
    resolving = ResolvingStorage(storage, clock, timeout=2, attempts=attempts)
    return Registry(resolving, settings=FAST, clock=clock, heartbeats=False, use_cache=False)


def prepared(clock: Later) -> MemoryStorage:
    """A model with one version that has an external id, a card and an alias."""
    storage = MemoryStorage(f"crashes-{random_token()}", clock=clock)
    client(opened(storage, clock)).register_model(
        "old", "s3://x", version="1", external_id="e", card="# old", aliases=["champion"]
    )
    return storage


def copy_of(storage: MemoryStorage, clock: Later) -> MemoryStorage:
    other = MemoryStorage(f"crashes-{random_token()}", clock=clock)
    other._objects.update(storage._objects)
    return other


def register_new(models: ModelRegistry) -> None:
    models.register_model("new", model=MODEL, version="1", external_id="n", card="# new", aliases=["champion", "a"])


def register_next(models: ModelRegistry) -> None:
    models.register_model("old", model={"w": 1}, version="2", card="# two", aliases=["champion"])


def register_in_a_run(models: ModelRegistry) -> None:
    with models.models.registry.run("work"):
        register_new(models)


def change_external_id(models: ModelRegistry) -> None:
    version = models.get_model_version("old", "1")
    assert version is not None
    models.update(ModelVersion("1", id=version.id, external_id="f", description="changed"))


def upsert_plain(models: ModelRegistry) -> None:
    models.models.upsert_model_artifact(DocArtifact("alone", external_id="alone"))


WORKS: list[Work] = [register_new, register_next, register_in_a_run, change_external_id, upsert_plain]


def see(registry: Registry) -> Any:
    """Everything that readers see: lists, gets by every name, aliases, cards, and what can be loaded."""
    models = client(registry)
    found: dict[str, Any] = {"lists": published(models)}
    for external in ("e", "f", "n"):
        version = models.models.get_model_version_by_params(external_id=external)
        found[f"external {external}"] = None if version is None else (version.name, version.description)
    for name, versions in found["lists"].items():
        found[f"aliases {name}"] = models.aliases(name)
        for version in versions:
            found[f"card {name} {version}"] = models.card(name, version)
            with contextlib.suppress(RegistryError):
                found[f"load {name} {version}"] = models.load(name, version)
            at = models.get_model_version(name, version)
            assert at is not None
            assert sorted(str(a.name) for a in models.artifacts_of(at)) == sorted(str(n) for _, n in versions[version])
    alone = models.models.get_model_artifact_by_params(external_id="alone")
    found["alone"] = alone is not None
    found["objects"] = registry.list_objects_and_versions()
    found["artifacts"] = sorted(str(a.name) for a in models.models.get_artifacts())
    return found


def wait_for_the_lease(registry: Registry, clock: Later) -> None:
    """Somebody watches a silent run for long enough."""
    for _ in range(2):
        registry.reap()
        clock.ahead += timedelta(seconds=2 * FAST.lease_seconds)


def keep_house(registry: Registry, clock: Later) -> None:
    """Collecting, until nothing is left to do."""
    for _ in range(2):
        registry.collect(dry_run=False)
        clock.ahead += timedelta(seconds=2 * FAST.lease_seconds)
    registry.collect(dry_run=False)


def retry(registry: Registry, work: Work, before: Any, after: Any) -> None:
    """The same call again: it does its work, or says "duplicate" and all of it is there already."""
    there = see(registry)
    try:
        work(client(registry))
    except DuplicateError:
        assert there == after
    else:
        assert there == before or work is change_external_id
    assert see(registry) == after


@pytest.fixture
def clock() -> Later:
    return Later()


@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize(
    "where", [pytest.param("before", marks=pytest.mark.deep), "after"]
)  # before one call is after the one before it
def test_MR_33_killed_at_every_storage_call(work: Work, where: Any, clock: Later) -> None:
    """Another process sees all of it or nothing; the same call again succeeds, or says "duplicate" if all is visible;
    nothing is damaged, and no byte is left of what was rolled back.
    """
    template = prepared(clock)
    complete = copy_of(template, clock)
    work(client(opened(complete, clock)))
    before, after = see(opened(template, clock)), see(opened(complete, clock))
    data = sum(1 for _ in complete.list("data/"))
    seen = []
    for n in itertools.count(1):
        storage = copy_of(template, clock)
        faulty = FaultyStorage(storage)
        models = client(opened(faulty, clock))
        # What only reads has done nothing after which dying is another thing than dying before the next call.
        faulty.plan.append(crash(where, at=n, method="create" if where == "after" else ""))
        with contextlib.suppress(SimulatedCrash):
            work(models)
        later = opened(storage, clock)
        wait_for_the_lease(later, clock)
        there = see(later)
        assert there in (before, after), n
        seen.append(there == after)
        if n % 3 == 0:  # before the retry, which also ends what was undecided
            keep_house(later, clock)
            assert see(later) == there
        retry(later, work, before, after)
        keep_house(later, clock)
        assert sum(1 for _ in storage.list("data/")) == data, n
        if n % 7 == 0:
            assert see(later) == after
            assert_whole(later)
        if not faulty.crashed:
            break
    assert seen == sorted(seen), "there is one moment of decision"
    assert set(seen) == {False, True}
    assert n > 4


@pytest.mark.parametrize("work", [register_new, change_external_id, upsert_plain])
@pytest.mark.parametrize("method", ["create", "put"])
def test_lost_answers(work: Work, method: str, clock: Later) -> None:
    """An answer that is lost is looked up: the call succeeds, whichever it was."""
    template = prepared(clock)
    complete = copy_of(template, clock)
    work(client(opened(complete, clock)))
    after = see(opened(complete, clock))
    for n in range(1, 100):
        storage = copy_of(template, clock)
        faulty = FaultyStorage(storage, clock=clock)
        models = client(opened(faulty, clock, attempts=3))
        faulty.plan.append(lost_answer(method=method, at=n))
        calls = len(faulty.calls)
        work(models)
        done = sum(1 for m, _ in faulty.calls[calls:] if m == method)
        assert see(opened(storage, clock)) == after, n
        if done < n:
            break
    assert n > 1


def goes_away(n: int, where: Any) -> Fault:
    """The n-th create is the last call that the store gets, or the first that it does not get."""

    def action(storage: FaultyStorage) -> None:
        storage.plan.append(error_before(times=1_000_000))
        raise StorageUnavailable("The store is gone", why="A fault was planned", todo="Try again")

    return Fault(where, action, method="create", at=n)


@pytest.mark.parametrize("work", [register_new, change_external_id, upsert_plain])
@pytest.mark.parametrize(
    "where", [pytest.param("before", marks=pytest.mark.deep), "after"]
)  # before one call is after the one before it
def test_a_store_that_goes_away_while_it_is_written(work: Work, where: Any, clock: Later) -> None:
    """From the n-th write on nothing answers any more. What the caller is told is true: "no" means that nothing is
    there, and once the store is back and the lease over, the same call succeeds or says "duplicate".
    """
    template = prepared(clock)
    complete = copy_of(template, clock)
    work(client(opened(complete, clock)))
    before, after = see(opened(template, clock)), see(opened(complete, clock))
    for n in range(1, 100):
        storage = copy_of(template, clock)
        faulty = FaultyStorage(storage, clock=clock)
        models = client(opened(faulty, clock, attempts=2))
        faulty.plan.append(goes_away(n, where))
        try:
            work(models)
        except RegistryError as error:
            told = error.committed
        else:
            told = "yes"
        reader = opened(storage, clock)
        there = see(reader)
        assert there in (before, after), n
        assert told != "no" or there == before, n
        assert told != "yes" or there == after, n
        wait_for_the_lease(reader, clock)
        retry(reader, work, before, after)
        if told == "yes":
            break
    assert n > 1
    assert_whole(reader)


@pytest.mark.parametrize("method", ["create", "put"])
def test_a_registration_that_fails_in_a_run_is_taken_back(method: str, clock: Later) -> None:
    """Whichever write fails for good, even if it has arrived: the run goes on without it, the same call succeeds in the
    run then, and the run publishes exactly that.
    """
    template = prepared(clock)
    complete = copy_of(template, clock)
    register_new(client(opened(complete, clock)))
    after = see(opened(complete, clock))
    failed = 0
    for n, fault in itertools.product(range(1, 14), (lost_answer, error_before)):
        storage = copy_of(template, clock)
        faulty = FaultyStorage(storage, clock=clock)
        registry = opened(faulty, clock, attempts=1)
        models = client(registry)
        run = registry.insert_run("work")
        plan = fault(method=method, key="cells/*" if method == "create" else "*/touch/*", at=n)
        # What was written cannot be looked up either at first, so that nobody knows.
        blind = error_before(method="get", key="cells/*", times=1)
        faulty.plan += [plan, blind]
        arguments: dict[str, Any] = {"version": "1", "external_id": "n", "card": "# new", "aliases": ["champion", "a"]}
        try:
            models.register_model("new", model=MODEL, run_id=run, **arguments)
        except RegistryError:
            failed += 1
            faulty.plan.clear()
            assert models.models.get_registered_models(run_id=run)[0].name == "old"
            assert len(models.models.get_registered_models(run_id=run)) == 1, (n, fault)
            assert models.models.get_registered_model_by_params("new", run_id=run) is None
            assert models.models.get_model_version_by_params(external_id="n", run_id=run) is None
            models.register_model("new", model=MODEL, run_id=run, **arguments)
        faulty.plan.clear()
        registry.close_run(run, True)
        reader = opened(storage, clock)
        assert see(reader) == after, (n, fault)
        assert [len(client(reader).history("new", v)) for v in (None, "1")] == [1, 1]
    assert failed > 5
    assert_whole(reader)
