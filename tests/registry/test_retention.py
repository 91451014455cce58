"""Retention: what is released and what is kept, that nothing can come back in part, and that bytes are gone at last."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from registry_support import FAST, Later, numbers, publish, refused, rows, write

from prefect_registry import Registry
from prefect_registry.catalog.retention import ReleaseReport
from prefect_registry.datasets import releasing
from prefect_registry.errors import Conflict, InvalidInput, InvalidState, NotFound
from prefect_registry.ids import random_token
from prefect_registry.records.datasets import Mode


@pytest.fixture
def clock() -> Later:
    return Later()


@pytest.fixture
def store(clock: Later) -> Registry:
    from prefect_registry.storage.memory import MemoryStorage

    storage = MemoryStorage(f"memory://retention-{random_token()}", clock=clock)
    return Registry(storage, settings=FAST, clock=clock, heartbeats=False, use_cache=False)


def ids(report: ReleaseReport) -> set[str]:
    return {d.id for d in report.datasets}


def made(registry: Registry, run_id: str) -> str:
    (dataset,) = registry.datasets(run_id=run_id)
    return dataset.id


def files_left(registry: Registry) -> set[str]:
    return {key.key.split("/")[3] for key in registry.storage.list("data/")}


# -- rules -----------------------------------------------------------------------------------------------------------


def test_rules_are_kept_in_the_store(store: Registry) -> None:
    assert store.retention() == []
    store.set_retention("orders", keep_last=3)
    store.set_retention("*", keep_days=7.5, keep_used=False)
    store.set_retention("orders", keep_last=2, keep_days=1)
    assert [(r.kind, r.keep_last, r.keep_days, r.keep_used) for r in store.retention()] == [
        ("*", None, 7.5, False),
        ("orders", 2, 1, True),
    ]
    store.remove_retention("*")
    assert [r.kind for r in store.retention()] == ["orders"]
    with refused(NotFound, store):
        store.remove_retention("*")


@pytest.mark.parametrize(
    "wrong",
    [{}, {"keep_last": 0}, {"keep_last": True}, {"keep_last": 1.5}, {"keep_days": 0}, {"keep_days": "7"},
     {"keep_last": 1, "keep_used": None}],
)  # fmt: skip
def test_a_rule_that_cannot_be_is_refused(store: Registry, wrong: dict[str, object]) -> None:
    with refused(InvalidInput, store):
        store.set_retention("orders", **wrong)  # type: ignore[arg-type]


# -- what is released ------------------------------------------------------------------------------------------------


def test_without_a_rule_nothing_is_released(store: Registry) -> None:
    for value in range(3):
        publish(store, "orders", value)
    report = store.release(dry_run=False)
    assert (report.datasets, report.run_id, report.kept) == ([], None, {"no_rule": 3})


def test_the_last_states_stay_readable_and_the_rest_goes(store: Registry) -> None:
    runs = [publish(store, "orders", value) for value in range(4)]
    store.set_retention("orders", keep_last=2)
    before = sum(info.size for info in store.storage.list("data/"))
    preview = store.release()
    assert preview.dry_run
    assert preview.run_id is None
    assert store.collect(dry_run=False).objects == 0
    report = store.release(dry_run=False)
    assert ids(report) == ids(preview) == {made(store, runs[0]), made(store, runs[1])}
    assert report.kept == {"current": 1, "keep_last": 1}
    assert {d.state for d in store.datasets(run_id=runs[0])} == {"DELETED"}
    assert store.collect().bytes == report.bytes > 0
    swept = store.collect(dry_run=False)
    assert (swept.bytes, swept.released) == (report.bytes, 2)
    assert sum(info.size for info in store.storage.list("data/")) == before - report.bytes
    assert files_left(store) == set(runs[2:])
    assert rows(store, "orders") == [3]
    assert store.collect(dry_run=False).objects == 0
    assert store.release(dry_run=False).datasets == []


def test_a_state_of_several_publications_is_kept_whole(store: Registry) -> None:
    publish(store, "orders", 1)
    publish(store, "orders", 2, mode="append")
    publish(store, "orders", 3)
    store.set_retention("orders", keep_last=2)
    assert store.release().datasets == []
    store.set_retention("orders", keep_last=1)
    assert len(store.release().datasets) == 2


def test_partitions(store: Registry) -> None:
    publish(store, "orders", 0)
    old = publish(store, "orders", 1, mode="replace_partitions", partition={"m": 1})
    publish(store, "orders", 2, mode="replace_partitions", partition={"m": 2})
    publish(store, "orders", 3, mode="replace_partitions", partition={"m": 1})
    store.set_retention("orders", keep_last=1)
    assert ids(store.release(dry_run=False)) == {made(store, old)}
    store.collect(dry_run=False)
    assert rows(store, "orders") == [0, 2, 3]


def test_days_count_from_when_it_was_last_in_the_table(store: Registry, clock: Later) -> None:
    old = publish(store, "orders", 1)
    clock.ahead = timedelta(days=30)
    publish(store, "orders", 2)
    store.set_retention("orders", keep_days=7)
    clock.ahead = timedelta(days=36)
    assert store.release().kept == {"current": 1, "keep_days": 1}
    clock.ahead = timedelta(days=38)
    assert ids(store.release(dry_run=False)) == {made(store, old)}


def test_what_was_reverted_is_kept_for_the_days_of_the_rule(store: Registry, clock: Later) -> None:
    publish(store, "orders", 1)
    bad = publish(store, "orders", 2)
    store.revert(bad)
    store.set_retention("orders", keep_last=1)
    clock.ahead = timedelta(days=300)
    assert store.release().kept == {"current": 1, "reverted": 1}
    store.set_retention("orders", keep_days=301)
    assert store.release().kept == {"current": 1, "keep_days": 1}
    store.set_retention("orders", keep_days=299)
    assert ids(store.release(dry_run=False)) == {made(store, bad)}
    store.collect(dry_run=False)
    assert rows(store, "orders") == [1]


def test_what_something_visible_was_made_from_is_kept(store: Registry) -> None:
    old = publish(store, "orders", 1)
    with store.run("derive") as run:
        store.table("orders").to_table()
        write(run, "report", 10)
    publish(store, "orders", 2)
    store.set_retention("orders", keep_last=1)
    assert store.release().kept == {"current": 1, "keep_used": 1, "no_rule": 1}
    store.set_retention("orders", keep_last=1, keep_used=False)
    assert ids(store.release()) == {made(store, old)}
    store.set_retention("orders", keep_last=1)
    store.revert(run.id)
    assert ids(store.release(dry_run=False)) == {made(store, old)}


def test_what_a_visible_document_was_made_from_is_kept(store: Registry) -> None:
    publish(store, "orders", 1)
    with store.run("derive") as run:
        store.table("orders").to_table()
        run.register_documents([{"id": "d", "title": "of orders"}])
    publish(store, "orders", 2)
    store.set_retention("orders", keep_last=1)
    assert store.release().kept == {"current": 1, "keep_used": 1}
    store.register_documents([{"id": "d", "title": "of nothing"}])
    assert len(store.release().datasets) == 1


def test_the_default_rule_is_for_kinds_without_one(store: Registry) -> None:
    for kind in ("a", "b"):
        publish(store, kind, 1)
        publish(store, kind, 2)
    store.set_retention("*", keep_last=1)
    store.set_retention("a", keep_last=2)
    assert {d.kind for d in store.release(dry_run=False).datasets} == {"b"}
    assert [r.kind for r in store.retention()] == ["*", "a"]


def test_what_lies_elsewhere_is_never_released(store: Registry) -> None:
    with store.run("reference") as run:
        found = store.begin_dataset("orders", run.id)
        store.commit_dataset(found, "s3://elsewhere/orders", 3)
    publish(store, "orders", 2)
    store.set_retention("orders", keep_last=1)
    assert store.release(dry_run=False).kept == {"current": 1, "external": 1}


# -- what is released does not come back -----------------------------------------------------------------------------


def test_what_was_released_still_hides_what_it_had_replaced(store: Registry) -> None:
    with store.run("keeps the oldest") as run:
        write(run, "orders", 1)
    with store.run("derive") as derive:
        store.table("orders").to_table()
        write(derive, "report", 1)
    publish(store, "orders", 2, partition={"m": 1})  # replaces the table, and is itself replaced by its partition
    publish(store, "orders", 3, mode="replace_partitions", partition={"m": 1})
    assert rows(store, "orders") == [3]
    store.set_retention("orders", keep_last=1)
    report = store.release(dry_run=False)
    assert (len(report.datasets), report.kept["keep_used"]) == (1, 1)
    assert rows(store, "orders") == [3]
    assert [int(r["n"]) for r in store.snapshot().table("orders").to_table().to_pylist()] == [3]
    assert store.latest("orders").to_table() == numbers(3)


def test_a_table_never_falls_back_on_what_was_released(store: Registry) -> None:
    publish(store, "orders", 1)
    publish(store, "orders", 2, mode="append")
    newest = publish(store, "orders", 3)
    store.set_retention("orders", keep_last=1)
    store.release(dry_run=False)
    with pytest.raises(InvalidState, match="released by retention") as caught:
        store.revert(newest)
    assert caught.value.committed == "no"
    assert rows(store, "orders") == [3]
    good = publish(store, "orders", 4)
    store.revert(newest)
    with pytest.raises(InvalidState, match="released by retention"):
        store.revert(good)
    assert rows(store, "orders") == [4]


def test_a_release_cannot_be_taken_back(store: Registry) -> None:
    publish(store, "orders", 1)
    publish(store, "orders", 2)
    store.set_retention("orders", keep_last=1)
    released = store.release(dry_run=False).run_id
    assert released is not None
    with pytest.raises(InvalidState, match="released by retention"):
        store.revert(released)
    with pytest.raises(InvalidState, match="released by retention"):
        store.revert(released)


def test_a_revert_whose_datasets_were_released_cannot_be_taken_back(store: Registry, clock: Later) -> None:
    publish(store, "orders", 1)
    bad = publish(store, "orders", 2)
    undone = store.revert(bad).run_id
    store.set_retention("orders", keep_days=1)
    clock.ahead = timedelta(days=2)
    store.release(dry_run=False)
    with pytest.raises(InvalidState, match="released by retention"):
        store.revert(undone)
    assert rows(store, "orders") == [1]


def test_a_run_whose_datasets_were_released_can_be_reverted_and_stays_released(store: Registry) -> None:
    publish(store, "orders", 0)
    old = publish(store, "orders", 1)
    store.set_retention("orders", keep_last=1)
    publish(store, "orders", 2)
    store.release(dry_run=False)
    undone = store.revert(old).run_id
    store.collect(dry_run=False)
    assert old not in files_left(store)
    with pytest.raises(InvalidState, match="released by retention"):
        store.revert(undone)


def test_a_revert_that_was_taken_back_hides_again_from_then_on(store: Registry, clock: Later) -> None:
    publish(store, "orders", 1)
    newer = publish(store, "orders", 2)
    clock.ahead = timedelta(days=10)
    undone = store.revert(newer).run_id
    clock.ahead = timedelta(days=20)
    store.revert(undone)
    store.set_retention("orders", keep_days=7)
    clock.ahead = timedelta(days=26)
    assert store.release().kept == {"current": 1, "keep_days": 1}


def months(registry: Registry, mode: Mode, *found: int, **options: Any) -> str:
    """Publish a dataset whose files lie in a folder for each month; returns the run's id."""
    with registry.run("months") as run, run.dataset("orders", mode=mode, **options) as ds:
        ds.write_table(pa.table({"m": found, "n": [m * 10 for m in found]}), partition_by=["m"])
    return run.id


def test_a_dataset_whose_folders_were_replaced_one_by_one(store: Registry, clock: Later) -> None:
    """It goes when nothing of it is left, and counts as hidden since then; it still ends the table."""
    oldest = publish(store, "orders", 1)
    with store.run("derive") as derive:
        store.table("orders").to_table()
        write(derive, "report", 1)
    year = months(store, "replace", 1, 2, 3)
    newer = []
    for month in (3, 1, 2):
        clock.ahead += timedelta(days=1)
        store.set_retention("orders", keep_days=0.5)
        assert made(store, year) not in ids(store.release())
        newer.append(months(store, "replace_partitions", month, partition={"m": month}))
    clock.ahead += timedelta(days=0.4)
    assert store.release().kept == {"current": 3, "keep_days": 1, "keep_used": 1, "no_rule": 1}
    clock.ahead += timedelta(days=0.2)
    assert ids(store.release(dry_run=False)) == {made(store, year)}
    store.collect(dry_run=False)
    assert files_left(store) >= {oldest, *newer}
    assert year not in files_left(store)
    for view in (store, store.snapshot()):
        found = view.table("orders").to_table()
        assert found.sort_by("n")["n"].to_pylist() == [10, 20, 30]
    with pytest.raises(InvalidState, match="released by retention"):
        store.revert(newer[1])
    again = months(store, "replace_partitions", 1, partition={"m": 1})
    store.revert(newer[1])
    with pytest.raises(InvalidState, match="released by retention"):
        store.revert(again)


def test_overlapping_releases_and_reverts_conflict(store: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was computed from a state that is no more is not done: a rule, or a revert, that came between."""
    publish(store, "orders", 1)
    newest = publish(store, "orders", 2)
    store.set_retention("*", keep_last=1)
    plan = releasing._Release.plan

    def meanwhile(what: Callable[[], object]) -> None:
        def planned(self: Any) -> Any:
            found = plan(self)
            what()
            return found

        monkeypatch.setattr(releasing._Release, "plan", planned)
        with pytest.raises(Conflict) as caught:
            store.release(dry_run=False)
        assert caught.value.committed == "no"
        monkeypatch.undo()

    meanwhile(lambda: store.set_retention("orders", keep_last=5))
    store.remove_retention("orders")
    meanwhile(lambda: store.set_retention("*", keep_last=2))
    store.set_retention("*", keep_last=1)
    meanwhile(lambda: store.revert(newest))
    assert rows(store, "orders") == [1]
    assert [r.id for r in store.runs(state="RUNNING")] == []


# -- readers ---------------------------------------------------------------------------------------------------------


def test_who_holds_an_old_table_is_told_that_it_is_deleted(store: Registry) -> None:
    publish(store, "orders", 1)
    old, snapshot = store.table("orders"), store.snapshot()
    (dataset,) = old.datasets()
    publish(store, "orders", 2)
    before = datetime.now(UTC)
    store.set_retention("orders", keep_last=1)
    store.release(dry_run=False)
    assert old.to_table() == numbers(1)  # released, and not collected yet
    store.collect(dry_run=False)
    for read in (
        old.to_table,
        dataset.verify,
        lambda: old.to_table(verify=False),
        lambda: dataset.open(dataset.files[0].path).read(),
        lambda: store.get_dataset(dataset.id).to_table(),
        lambda: snapshot.table("orders").to_table(),
        lambda: store.as_of(before).table("orders").datasets()[0].to_table(verify=False),
    ):
        try:
            found = read()
        except InvalidState as error:
            assert "deleted" in str(error).lower()  # noqa: PT017
        else:
            assert found == numbers(2)
