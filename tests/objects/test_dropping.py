"""What a part of a run wrote is taken back, in whatever order, and however it is interleaved with what stays."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from prefect_registry.errors import InvalidInput, RunAlreadyClosed
from prefect_registry.ledger import observers
from prefect_registry.ledger.dropping import Staged, drop
from prefect_registry.records.cells import CellGeneration
from prefect_registry.records.documents import Doc
from prefect_registry.records.types import DOCUMENT
from prefect_registry.registry import Registry
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.testing.counting import CountingStorage


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[CellGeneration]:
    """What is written in runs from now on."""
    found: list[CellGeneration] = []
    monkeypatch.setattr(observers, "_cell_written", [lambda url, generation: found.append(generation)])
    return found


@pytest.mark.parametrize("before", ["object", "tombstone", "nothing"])
def test_every_order_leaves_what_was_not_dropped(tmp_path: Path, written: list[CellGeneration], before: str) -> None:
    """Each subset of three writes is dropped in each order: the last one that stays shows, or what was before."""
    for number, (chosen, order) in enumerate(
        (set(subset), order)
        for size in range(4)
        for subset in itertools.combinations(range(3), size)
        for order in itertools.permutations(subset)
    ):
        store = Registry(tmp_path / str(number), mutable=True)
        if before != "nothing":
            store.save("x", "before")
        if before == "tombstone":
            store.delete("x")
        with store.run("work") as run:
            del written[:]
            for n in range(3):
                run.save("x", n, on_conflict="overwrite")
            staged = [found for generation in written if (found := Staged.of(generation)) is not None]
            for n in order:
                assert drop(store.ledger, Staged.parse(str(staged[n])), "no")
                assert not drop(store.ledger, staged[n], "no")
        left = [n for n in range(3) if n not in chosen]
        reader = Registry(store.url)
        shown = reader.load("x") if reader.has_object("x") else None
        assert shown == (left[-1] if left else "before" if before == "object" else None), (chosen, order)
        if not left and before == "tombstone":
            assert reader.restore("x") == ["x@1"]
            assert reader.load("x") == "before"


def test_a_decided_run_keeps_what_it_has(tmp_path: Path, written: list[CellGeneration]) -> None:
    """What is published is never taken back, and what names no write is refused."""
    store = Registry(tmp_path / "store")
    with store.run("work") as run:
        run.save("x", 1)
    staged = next(found for generation in written if (found := Staged.of(generation)) is not None)
    with pytest.raises(RunAlreadyClosed):
        drop(store.ledger, staged, "no")
    assert store.load("x") == 1
    with pytest.raises(InvalidInput):
        Staged.parse("run_/object/../../x")


def test_what_is_aborted_need_not_be_taken_back(written: list[CellGeneration]) -> None:
    """As a list of documents of which one could not be written: its run inside the other has seen to that."""
    counting = CountingStorage(MemoryStorage(), width=16)
    store = Registry(counting, heartbeats=False)
    with store.run("work") as run:
        with pytest.raises(KeyError), store.ledger.implicit_run("many", run.id) as inner:
            for name in "ab":
                store.ledger.cells.write(DOCUMENT, name, Doc(id=name).model_dump(mode="json"), run_id=inner)
            raise KeyError
        staged = [found for generation in written if (found := Staged.of(generation)) is not None]
        with counting.measure() as cost:
            assert [drop(store.ledger, each, "no") for each in staged] == [False, False]
        assert cost.total == 0
        run.register_documents([Doc(id=name, title="kept") for name in "bc"])
    assert {doc.id: doc.title for doc in store.documents()} == {"b": "kept", "c": "kept"}


def test_of_many_documents_each_is_taken_back(written: list[CellGeneration]) -> None:
    """They are written in a run inside the other one, which is committed by then."""
    store = Registry(MemoryStorage(), heartbeats=False)
    store.register_documents([Doc(id="a", title="before")])
    with store.run("work") as run:
        run.register_documents([Doc(id=name, title="staged") for name in "abc"])
        staged = {g.name: found for g in written if (found := Staged.of(g)) is not None}
        assert [drop(store.ledger, staged[name], "no") for name in "aba"] == [True, True, False]
    assert {doc.id: doc.title for doc in store.documents()} == {"a": "before", "c": "staged"}


def test_a_number_that_another_write_took_is_left_alone(tmp_path: Path, written: list[CellGeneration]) -> None:
    """A write that came too late has no generation of its own to drop."""
    store = Registry(tmp_path / "store")
    with store.run("work") as run:
        run.save("x", 1)
        found = Staged.of(written[-1])
        assert found is not None
        assert not drop(store.ledger, Staged(run.id, found.key, "another"), "no")
        assert not drop(store.ledger, Staged(run.id, found.key.replace("0000000000", "0000000007"), "another"), "no")
    assert store.load("x") == 1
