"""One registry object per store, settings and process."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prefect_registry import Registry
from prefect_registry.blocks import LocalRegistry
from prefect_registry.errors import RegistryError
from prefect_registry.resolve import resolve_registry
from prefect_registry.resolve.opened import MOST_KEPT, forget, keep, known, open_shared


def test_the_same_store_and_settings_are_the_same_object(tmp_path: Path) -> None:
    """Whichever thread asks first, and however many ask at once."""
    url = str(tmp_path)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: open_shared(url), range(32)))
    assert all(registry is found[0] for registry in found)


def test_other_settings_are_another_object() -> None:
    """Even when they compare equal, as True and 1 do, and whatever their order."""
    url = "memory://opened"
    one = open_shared(url, {"a": 1, "b": {"c": [1, 2]}})
    assert open_shared(url, {"b": {"c": [1, 2]}, "a": 1}) is one
    assert open_shared(url, {"a": True, "b": {"c": [1, 2]}}) is not one
    assert open_shared(url, {"a": 1, "b": {"c": [2, 1]}}) is not one


def test_a_failure_is_not_remembered(tmp_path: Path) -> None:
    """What is mended works at the next call."""
    file = tmp_path / "registry"
    file.write_text("in the way")
    with pytest.raises(RegistryError):
        open_shared(str(file))
    file.unlink()
    assert open_shared(str(file)).registry_id


def test_a_registry_of_the_callers_own_is_known_by_its_url(tmp_path: Path) -> None:
    """Until it is forgotten with the folder it is in."""
    mine = keep(Registry(str(tmp_path / "a")))
    assert known(mine.url) is mine
    forget(str(tmp_path))
    assert known(mine.url) is None


def test_a_registry_knows_the_saved_block_that_it_was_opened_from(tmp_path: Path) -> None:
    """Also after a trip to another process; one that was opened by its URL knows none."""
    block = LocalRegistry(path=str(tmp_path / "a"))
    assert block.get_registry().reference is None
    block._block_document_name = "prod"
    registry = block.get_registry()
    assert registry.reference == "data-registry-local/prod"
    assert pickle.loads(pickle.dumps(registry)).reference == "data-registry-local/prod"
    assert resolve_registry(str(tmp_path / "b")).reference is None


def test_no_more_than_a_bounded_number_is_kept() -> None:
    """The one that was not used for longest goes first."""
    first = open_shared("memory://bounded-first")
    for number in range(MOST_KEPT):
        open_shared(f"memory://bounded-{number}")
    assert open_shared("memory://bounded-first") is not first
    assert open_shared(f"memory://bounded-{MOST_KEPT - 1}") is open_shared(f"memory://bounded-{MOST_KEPT - 1}")


def _in_child(url: str, parent: int, answer: multiprocessing.Queue[bool]) -> None:
    answer.put(id(open_shared(url)) != parent and open_shared(url) is open_shared(url))


def test_a_fork_opens_its_own(tmp_path: Path) -> None:
    """Clients and heartbeats of the parent are no good in a child."""
    context = multiprocessing.get_context("fork")
    registry = open_shared(str(tmp_path))
    answer = context.Queue()
    child = context.Process(target=_in_child, args=(str(tmp_path), id(registry), answer))
    child.start()
    assert answer.get(timeout=60)
    child.join()
