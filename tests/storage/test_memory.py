"""The store in memory, where it differs from those that have servers."""

from __future__ import annotations

import gc

from prefect_registry.storage.memory import MemoryStorage


def test_listing_while_others_write() -> None:
    """A listing goes on whatever is written meanwhile, also where Python collects garbage and lets others run."""
    storage = MemoryStorage()
    for number in range(3):
        storage.put(f"listed/{number}", b"")
    written = 0

    def write(phase: str, info: object) -> None:
        nonlocal written
        written += 1
        storage.put(f"others/{written}", b"")

    before = gc.get_threshold()
    gc.callbacks.append(write)
    gc.set_threshold(1)
    try:
        found = [[o.key for o in storage.list("listed/")] for _ in range(100)]
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(write)
    assert written > 0
    assert found == [["listed/0", "listed/1", "listed/2"]] * 100
