"""Events that their writer takes back while their run goes on: they never happened (DESIGN.md 8)."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_registry import Registry
from prefect_registry.errors import InvalidState
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.testing.counting import CountingStorage


@pytest.fixture
def registry() -> Registry:
    return Registry(MemoryStorage(), heartbeats=False)


def told(registry: Registry) -> list[str]:
    return sorted(event.event_name for event in registry.events() if event.event_name != "RunClosed")


def test_a_dropped_event_is_no_member_of_its_run(registry: Registry, tmp_path: Path) -> None:
    """However often it is dropped: for the index, for whoever asks by its id, for fsck and in a copy."""
    run_id = registry.insert_run("p")
    kept, dropped = (registry.emit_event(name, "s", run_id=run_id) for name in ("kept", "dropped"))
    for _ in range(2):
        registry.ledger.events.drop(dropped)
    registry.close_run(run_id, True)
    for reader in (registry, registry.copy_to(tmp_path / "copy") and Registry(tmp_path / "copy", create=False)):
        assert told(reader) == ["kept"]
        assert [event.event_name for event in reader.ledger.events.visible()].count("dropped") == 0
        assert reader.ledger.events.get(kept, "ev") is not None
        assert reader.ledger.events.get(dropped, "ev") is None
        assert reader.fsck(verify="all").of("error", "warning") == []


def test_an_event_of_a_decided_run_is_not_dropped(registry: Registry) -> None:
    """It was published, or is gone."""
    for success in (True, False):
        run_id = registry.insert_run("p")
        event = registry.emit_event("e", "s", run_id=run_id)
        registry.close_run(run_id, success)
        with pytest.raises(InvalidState):
            registry.ledger.events.drop(event)
    assert told(registry) == ["e"]
    assert registry.fsck(verify="all").of("error", "warning") == []


def test_dropping_an_event_is_one_round_trip() -> None:
    """Its marker, beside the look at the run's decision. Who drops none pays nothing."""
    counting = CountingStorage(MemoryStorage())
    registry = Registry(counting, heartbeats=False)
    run_id = registry.insert_run("p")
    event = registry.emit_event("e", "s", run_id=run_id)
    with counting.measure() as found:
        registry.ledger.events.drop(event)
    assert (found.total, found.sequential) == (2, 1)
