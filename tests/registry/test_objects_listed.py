"""What listing the names of many objects asks of the store when time goes by."""

from __future__ import annotations

from datetime import timedelta

from registry_support import FAST, Later

from prefect_registry import Registry
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.counting import CountingStorage


def test_names_of_hours_gone_by_come_from_the_index() -> None:
    """However many there are, only the hours that it may still be are listed, each by one request."""
    clock = Later()
    counting = CountingStorage(MemoryStorage(clock=clock))
    registry = Registry(ResolvingStorage(counting), settings=FAST, clock=clock, heartbeats=False, use_cache=False)
    saved = [f"o{n:05}" for n in range(1_100)]
    assert registry.save(saved, 1).all_succeeded
    assert registry.list_objects() == saved
    for name in ("p", "q"):
        clock.ahead += timedelta(days=1)
        registry.save(name, 1)
        saved.append(name)
        assert registry.list_objects() == saved
    with counting.measure() as found:
        assert registry.list_objects() == saved
    assert found.by_method == {"list": 1}
    assert found.keys[0][1].startswith("runs/")
