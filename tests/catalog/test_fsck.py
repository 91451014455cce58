"""``fsck`` finds nothing in a registry that is whole, and every damage that is planted in it."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from catalog_support import World, publish
from fsck_support import DOCUMENT, FLOW_CELL, LONG, LaterClock, Place, Story, copied, publish_many, tell
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_registry import Registry
from prefect_registry.catalog.catalog import Catalog
from prefect_registry.errors import InvalidInput, StorageUnavailable
from prefect_registry.ledger import paths
from prefect_registry.ledger.holder import this_process
from prefect_registry.names import key_of
from prefect_registry.records.cells import CellRef
from prefect_registry.records.runs import Members, MembersDocument
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.counting import CountingStorage
from prefect_registry.testing.faults import FaultyStorage, error_before

T = TypeVar("T")
NOBODY = "run_01m7ynq0c5ehtv0xn62hksg1x9"
"""A run that no store of these tests has."""


def only(items: Iterable[T]) -> T:
    """The one item there is."""
    (item,) = items
    return item


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Registry, Story]]:
    found = {}
    for kind, where in (("folder", tmp_path_factory.mktemp("store")), ("memory", MemoryStorage())):
        registry = Registry(where, heartbeats=False)
        found[kind] = (registry, tell(registry))
    return found


@pytest.fixture(params=["folder", "memory"])
def place(request: pytest.FixtureRequest, originals: dict[str, tuple[Registry, Story]], tmp_path: Path) -> Place:
    """A copy of the history in a folder or in memory."""
    return copied(request.param, *originals[request.param], tmp_path / "copy")


@pytest.fixture
def memory(originals: dict[str, tuple[Registry, Story]], tmp_path: Path) -> Place:
    """A copy of the history in memory."""
    return copied("memory", *originals["memory"], tmp_path / "copy")


@pytest.fixture
def folder(originals: dict[str, tuple[Registry, Story]], tmp_path: Path) -> Place:
    """A copy of the history in a folder."""
    return copied("folder", *originals["folder"], tmp_path / "copy")


def test_a_registry_that_is_whole_has_no_finding_but_notes(place: Place) -> None:
    before = place.everything()
    report = place.registry.fsck(verify="all")
    assert report.of("error", "warning") == []
    assert report.ok
    assert [f.kind for f in report.findings] == ["bytes-waiting"]
    assert report.looked_at["verified"] >= 4
    assert report.looked_at["runs"] == sum(key.endswith("/begin.json") for key in before)
    assert place.everything() == before


def test_a_copy_is_whole_too(tmp_path: Path) -> None:
    registry = Registry(MemoryStorage(), heartbeats=False)
    with registry.run("outer") as run:
        run.register_documents([{"id": "urn:doc:one"}, {"id": "urn:doc:two"}])
        with registry.run("inner", parent=run.id) as inner, inner.dataset("k") as ds, ds.open("a.txt", "w") as file:
            file.write("a")
    running = registry.attach(registry.insert_run("running"))
    running.register_documents([{"id": "urn:doc:one", "title": "not yet"}])
    with registry.run("inside", parent=running.id):
        pass
    registry.copy_to(tmp_path / "copy")
    report = Registry(tmp_path / "copy", heartbeats=False).fsck(verify="all")
    assert report.findings == ()
    assert report.looked_at["verified"] == 1


# -- every damage is found -------------------------------------------------------------------------------------------

Expected = tuple[str, str, str]
Damage = Callable[[Place], Expected]
DAMAGES: dict[str, Damage] = {}


def damage(function: Damage) -> Damage:
    """A damage that is planted; returns kind, key and severity of what must be found."""
    DAMAGES[function.__name__] = function
    return function


@damage
def a_file_is_missing(place: Place) -> Expected:
    place.remove(place.story.inner_file)
    return "file-missing", place.story.inner_file, "error"


@damage
def a_byte_of_a_file_is_another(place: Place) -> Expected:
    place.flip(place.story.inner_file)
    return "file-changed", place.story.inner_file, "error"


@damage
def a_file_is_cut_off(place: Place) -> Expected:
    place.truncate(place.story.inner_file)
    return "file-changed", place.story.inner_file, "error"


@damage
def a_dataset_says_another_number_of_files(place: Place) -> Expected:
    key = place.story.dataset_key(place.story.orders)
    place.change(key, file_count=7)
    return "manifest-contradicted", key, "error"


@damage
def a_manifest_leads_out_of_its_folder(place: Place) -> Expected:
    key = place.story.dataset_key(place.story.orders)
    files = json.loads(place.storage.get(key))["files"]
    place.change(key, files=[{**files[0], "path": "../../begin.json"}, *files[1:]])
    return "manifest-contradicted", key, "error"


# -- documents


def documents_of(story: Story) -> dict[str, str]:
    """One of every kind of document."""
    return {
        "begin": paths.begin_key(story.nightly),
        "decision": paths.end_key(story.nightly),
        "dataset": story.dataset_key(story.orders),
        "begun dataset": story.dataset_key(story.orders, 0),
        "event": paths.event_key(story.nightly, "e" + story.event[-16:]),
        "incident": paths.event_key(story.nightly, "i" + story.incident[-16:]),
        "cell": paths.cell_key(DOCUMENT, 0),
        "cell of no run": paths.cell_key(FLOW_CELL, 0),
        "registry": paths.REGISTRY,
    }


def of_every_kind(name: str, plant: Callable[[Place, str], str]) -> None:
    """The same damage to every kind of document."""
    for kind in documents_of(Story(*["run_01m7ynq0c5ehtv0xn62hksg1x9"] * 12)):

        def planted(place: Place, kind: str = kind) -> Expected:
            key = documents_of(place.story)[kind]
            return plant(place, key), key, "error"

        DAMAGES[f"{kind}_{name}"] = planted


def cut_off(place: Place, key: str) -> str:
    place.truncate(key)
    return "document-damaged"


def emptied(place: Place, key: str) -> str:
    place.storage.put(key, b"")
    return "document-damaged"


def of_another_schema(place: Place, key: str) -> str:
    place.change(key, schema="something/1")
    return "document-damaged"


of_every_kind("is_cut_off", cut_off)
of_every_kind("is_empty", emptied)
of_every_kind("is_of_another_schema", of_another_schema)


@damage
def a_begin_is_missing(place: Place) -> Expected:
    key = paths.begin_key(place.story.nightly)
    place.remove(key)
    return "document-missing", key, "error"


@damage
def a_dataset_that_is_published_is_missing(place: Place) -> Expected:
    key = place.story.dataset_key(place.story.orders)
    place.remove(key)
    return "document-missing", key, "error"


@damage
def an_event_that_is_published_is_missing(place: Place) -> Expected:
    key = paths.event_key(place.story.nightly, "e" + place.story.event[-16:])
    place.remove(key)
    return "document-missing", key, "error"


@damage
def the_registry_document_is_missing(place: Place) -> Expected:
    place.remove(paths.REGISTRY)
    return "document-missing", paths.REGISTRY, "error"


@damage
def the_registry_document_names_another_registry(place: Place) -> Expected:
    place.change(paths.REGISTRY, registry_id="reg_other")
    return "wrong-id", paths.REGISTRY, "error"


@damage
def the_registry_is_of_a_newer_format(place: Place) -> Expected:
    place.change(paths.REGISTRY, format=2)
    return "document-damaged", paths.REGISTRY, "error"


@damage
def a_heartbeat_is_cut_off(place: Place) -> Expected:
    key = paths.heartbeat_key(place.story.nightly)
    place.storage.put(key, b'{"schema": "heartb')
    return "document-damaged", key, "warning"


# -- documents that say another id than their key


@damage
def a_begin_of_another_run(place: Place) -> Expected:
    key = paths.begin_key(place.story.nightly)
    place.copy(paths.begin_key(place.story.failed), key)
    return "wrong-id", key, "error"


@damage
def a_decision_of_another_run(place: Place) -> Expected:
    key = paths.end_key(place.story.nightly)
    place.copy(paths.end_key(place.story.failed), key)
    return "wrong-id", key, "error"


@damage
def a_dataset_of_another_run(place: Place) -> Expected:
    key = place.story.dataset_key(place.story.orders)
    place.copy(place.story.dataset_key(place.story.external), key)
    return "wrong-id", key, "error"


@damage
def an_event_of_another_run(place: Place) -> Expected:
    key = paths.event_key(place.story.nightly, "e" + place.story.event[-16:])
    place.change(key, event_id=place.story.incident)
    return "wrong-id", key, "error"


@damage
def a_cell_of_another_name(place: Place) -> Expected:
    key = paths.cell_key(DOCUMENT, 0)
    place.change(key, name="urn:doc:three")
    return "wrong-id", key, "error"


@damage
def a_generation_with_another_number(place: Place) -> Expected:
    key = paths.cell_key(DOCUMENT, 1)
    place.change(key, gen=0)
    return "wrong-id", key, "error"


@damage
def a_begin_whose_parent_is_not_around_it(place: Place) -> Expected:
    key = paths.begin_key(place.story.inner)
    place.change(key, parent=place.story.failed)
    return "wrong-id", key, "error"


# -- decisions


@damage
def a_decision_lists_a_dataset_that_is_not_there(place: Place) -> Expected:
    members = json.loads(place.storage.get(paths.end_key(place.story.nightly)))["members"]
    members["datasets"]["0000000000000000"] = 1
    place.change(paths.end_key(place.story.nightly), members=members)
    return "document-missing", paths.dataset_key(place.story.nightly, "0" * 16, 1), "error"


@damage
def a_decision_lists_a_generation_that_is_not_there(place: Place) -> Expected:
    members = json.loads(place.storage.get(paths.end_key(place.story.nightly)))["members"]
    members["cells"].append([*DOCUMENT, 9])
    place.change(paths.end_key(place.story.nightly), members=members)
    return "generation-missing", paths.cell_key(DOCUMENT, 9), "error"


@damage
def a_decision_lists_a_generation_of_another_run(place: Place) -> Expected:
    members = json.loads(place.storage.get(paths.end_key(place.story.inner)))["members"]
    members["cells"].append([*DOCUMENT, 0])
    place.change(paths.end_key(place.story.inner), members=members)
    return "decision-contradicted", paths.end_key(place.story.inner), "error"


@damage
def an_aborted_decision_lists_members(place: Place) -> Expected:
    key = paths.end_key(place.story.failed)
    place.change(key, members={"events": ["e" + "0" * 16]})
    return "decision-contradicted", key, "error"


@damage
def a_decision_says_success_and_aborted(place: Place) -> Expected:
    key = paths.end_key(place.story.failed)
    place.change(key, success=True)
    return "decision-contradicted", key, "error"


# -- cells


@damage
def a_generation_is_missing_below_others(place: Place) -> Expected:
    key = paths.cell_key(FLOW_CELL, 0)
    place.remove(key)
    return "generation-missing", key, "error"


@damage
def a_generation_that_a_decision_lists_is_missing(place: Place) -> Expected:
    cell = CellRef("doctags", key_of("urn:doc:two"))
    place.remove(paths.cell_key(cell, 0))
    return "generation-missing", paths.cell_key(cell, 0), "error"


@damage
def a_touch_without_its_generation(place: Place) -> Expected:
    key = paths.touch_key(place.story.nightly, CellRef("document", "nobody"), 0)
    place.storage.put(key, b"")
    return "touch-without-generation", key, "note"


@damage
def a_generation_of_a_run_without_its_touch(place: Place) -> Expected:
    cell = CellRef("doctags", key_of("urn:doc:two"))
    place.remove(paths.touch_key(run_of_cell(place, cell), cell, 0))
    return "generation-without-touch", paths.cell_key(cell, 0), "warning"


@damage
def a_generation_of_a_run_that_goes_on_without_its_touch(place: Place) -> Expected:
    run = place.registry.insert_run("goes on")
    key = paths.cell_key(DOCUMENT, 2)
    place.copy(paths.cell_key(DOCUMENT, 1), key, gen=2, base=1, tx=run)
    return "generation-without-touch", key, "note"


@damage
def a_generation_of_no_run_without_its_touch(place: Place) -> Expected:
    key = paths.cell_key(DOCUMENT, 2)
    place.copy(paths.cell_key(DOCUMENT, 1), key, gen=2, base=1, tx=None)
    return "generation-without-touch", key, "error"


def run_of_cell(place: Place, cell: CellRef) -> str:
    """The run that wrote the first generation of a cell."""
    return str(json.loads(place.storage.get(paths.cell_key(cell, 0)))["tx"])


@damage
def a_late_generation(place: Place) -> Expected:
    run, key = place.story.nightly, paths.cell_key(DOCUMENT, 2)
    place.copy(paths.cell_key(DOCUMENT, 1), key, gen=2, base=1, tx=run)
    place.storage.put(paths.touch_key(run, DOCUMENT, 2), b"")
    return "late-member", key, "note"


@damage
def a_generation_of_a_run_that_is_not_there(place: Place) -> Expected:
    key = paths.cell_key(DOCUMENT, 2)
    place.copy(paths.cell_key(DOCUMENT, 1), key, gen=2, base=1, tx=NOBODY)
    return "unknown-run", key, "warning"


# -- late members, and runs


@damage
def a_late_dataset(place: Place) -> Expected:
    suffix = "0" * 16
    key = paths.dataset_key(place.story.nightly, suffix, 1)
    for gen in (0, 1):
        source = place.story.dataset_key(place.story.orders, gen)
        late = f"ds_{place.story.nightly[4:]}_{suffix}"
        place.copy(source, paths.dataset_key(place.story.nightly, suffix, gen), dataset_id=late)
    return "late-member", key, "note"


@damage
def a_late_step_of_a_dataset(place: Place) -> Expected:
    key = place.story.dataset_key(place.story.orders, 2)
    place.copy(place.story.dataset_key(place.story.orders), key, gen=2, step="rolled_back")
    return "late-member", key, "note"


@damage
def a_late_event(place: Place) -> Expected:
    key = paths.event_key(place.story.nightly, "e" + "0" * 16)
    source = paths.event_key(place.story.nightly, "e" + place.story.event[-16:])
    place.copy(source, key, event_id=f"ev_{place.story.nightly[4:]}_{'0' * 16}")
    return "late-member", key, "note"


@damage
def a_folder_of_a_save_that_failed(place: Place) -> Expected:
    prefix = paths.data_prefix(place.story.nightly)
    place.storage.put(f"{prefix}{'0' * 16}/a.txt", b"never named")
    return "bytes-waiting", prefix, "note"


@damage
def bytes_of_a_run_that_is_not_there(place: Place) -> Expected:
    place.storage.put(f"{paths.data_prefix(NOBODY)}{'0' * 16}/a.txt", b"lost")
    return "unknown-run", paths.data_prefix(NOBODY), "warning"


@damage
def an_inner_run_that_is_listed_and_aborted(place: Place) -> Expected:
    key = paths.end_key(place.story.inner)
    members = {"datasets": {}, "events": [], "cells": [], "runs": []}
    place.change(key, outcome="aborted", success=False, members=members)
    return "nested-contradicted", key, "error"


@damage
def an_inner_run_that_is_listed_and_has_no_decision(place: Place) -> Expected:
    key = paths.end_key(place.story.inner)
    place.remove(key)
    return "nested-contradicted", key, "error"


@damage
def an_inner_run_that_was_dropped_and_says_committed(place: Place) -> Expected:
    key = paths.end_key(place.story.handled)
    place.change(key, outcome="committed", success=True)
    return "nested-contradicted", key, "error"


@damage
def a_run_whose_process_is_gone(place: Place) -> Expected:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        holder = pool.apply(this_process)
    place.change(paths.begin_key(place.story.attempt), holder=holder.model_dump())
    place.remove(paths.end_key(place.story.attempt))
    return "run-not-reaped", paths.begin_key(place.story.attempt), "warning"


# -- what is not of the format


def foreign(name: str, key: Callable[[Place], str], severity: str = "warning") -> None:
    """A file that is not of the format."""

    def planted(place: Place) -> Expected:
        place.storage.put(key(place), b"foreign")
        return "foreign-file", key(place), severity

    DAMAGES[f"a_foreign_file_{name}"] = planted


foreign("in_the_root", lambda place: "README.txt")
foreign("in_the_root_with_a_name_that_sorts_first", lambda place: ".DS_Store")
foreign("in_a_tree_of_its_own", lambda place: "backup/runs/begin.json")
foreign("below_runs", lambda place: "runs/notes.txt")
foreign("in_a_run", lambda place: paths.run_prefix(place.story.nightly) + "notes.txt")
foreign("among_the_datasets_of_a_run", lambda place: paths.run_prefix(place.story.nightly) + "datasets/x.json")
foreign("that_is_a_run_in_the_wrong_hour", lambda place: f"runs/2020-01-01/00/{place.story.nightly}/begin.json")
foreign("below_data", lambda place: "data/notes.txt")
foreign("in_a_data_folder", lambda place: paths.data_prefix(place.story.nightly) + "notes.txt")
foreign("in_a_folder_of_no_name_of_ours", lambda place: f"{paths.data_prefix(place.story.nightly)}backup/a.txt")
foreign("in_the_folder_of_a_dataset", lambda place: place.story.folder(place.story.orders) + "extra.parquet")
foreign("in_a_dataset_that_Hadoop_leaves", lambda place: place.story.folder(place.story.orders) + "_SUCCESS", "note")
foreign("below_cells", lambda place: "cells/document/notes.txt")
foreign("in_a_cell", lambda place: paths.cell_prefix(DOCUMENT) + "0000000000.json.tmp")


# -- checkpoints


def checkpoint(place: Place) -> tuple[str, dict[str, Any]]:
    """The key of the manifest, and what it says."""
    key = max(i.key for i in place.storage.list("catalog/checkpoints/"))
    return key, json.loads(place.storage.get(key))


def table_of_checkpoint(place: Place) -> str:
    """The key of a table that has rows."""
    _, manifest = checkpoint(place)
    files = [f for part in [*(p["tables"] for p in manifest["parts"]), manifest["rest"]] for f in part.values()]
    return str(max(files, key=lambda f: f["rows"])["key"])


@damage
def a_table_of_a_checkpoint_is_missing(place: Place) -> Expected:
    key = table_of_checkpoint(place)
    place.remove(key)
    return "checkpoint-damaged", key, "error"


@damage
def a_table_of_a_checkpoint_is_cut_off(place: Place) -> Expected:
    key = table_of_checkpoint(place)
    place.truncate(key)
    return "checkpoint-damaged", key, "error"


@damage
def a_byte_of_a_table_of_a_checkpoint_is_another(place: Place) -> Expected:
    key = table_of_checkpoint(place)
    data = bytearray(place.storage.get(key))
    data[len(data) // 3] ^= 1
    place.storage.put(key, bytes(data))
    return "checkpoint-damaged", key, "error"


@damage
def a_checkpoint_says_another_number_of_rows(place: Place) -> Expected:
    key, manifest = checkpoint(place)
    manifest["rest"]["runs"]["rows"] += 1
    place.change(key, rest=manifest["rest"])
    return "checkpoint-damaged", manifest["rest"]["runs"]["key"], "error"


@damage
def a_checkpoint_says_another_number(place: Place) -> Expected:
    key, _ = checkpoint(place)
    place.change(key, generation=7)
    return "checkpoint-damaged", key, "error"


@damage
def a_checkpoint_is_cut_off(place: Place) -> Expected:
    key, _ = checkpoint(place)
    place.truncate(key)
    return "checkpoint-damaged", key, "error"


@damage
def a_checkpoint_of_another_registry(place: Place) -> Expected:
    key, _ = checkpoint(place)
    place.change(key, registry_id="reg_another")
    return "checkpoint-of-another", key, "warning"


def check(place: Place, name: str) -> None:
    place.registry.fsck(verify="none")  # what this process has read before does not hide what happens later
    kind, key, severity = DAMAGES[name](place)
    before = place.everything()
    report = place.registry.fsck(verify="all")
    found = [f for f in report.findings if (f.kind, f.key) == (kind, key)]
    assert [f.severity for f in found] == [severity], report
    assert found[0].since is not None or key == paths.REGISTRY
    assert report.ok == (not report.of("error"))
    assert place.everything() == before


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damage_is_found_at_its_key_and_nothing_is_written(name: str, memory: Place) -> None:
    """With its severity and the store's timestamp; whatever else is damaged by it, ``fsck`` never raises."""
    check(memory, name)


IN_A_FOLDER = [
    "a_file_is_missing",
    "a_byte_of_a_file_is_another",
    "decision_is_cut_off",
    "a_touch_without_its_generation",
    "a_generation_of_no_run_without_its_touch",
    "a_late_dataset",
    "a_foreign_file_in_the_root",
    "a_foreign_file_in_the_folder_of_a_dataset",
    "a_generation_is_missing_below_others",
    "an_inner_run_that_is_listed_and_aborted",
]


@pytest.mark.parametrize("name", IN_A_FOLDER)
def test_a_damage_is_found_in_a_folder_too(name: str, folder: Place) -> None:
    check(folder, name)


# -- manifests and members in objects of their own -------------------------------------------------------------------


def test_a_manifest_in_an_object_of_its_own_is_checked_with_its_files(tmp_path: Path) -> None:
    registry = Registry("memory://" + tmp_path.name, heartbeats=False)
    dataset = registry.get_dataset(publish_many(registry, tmp_path / "files"))
    files = {i.key: registry.storage.get(i.key) for i in registry.storage.list(dataset.prefix)}
    manifest = only(key for key in files if key.startswith(f"{dataset.prefix}_manifest-"))
    assert len(files) > 900
    assert registry.fsck().findings == ()
    gone = f"{dataset.prefix}{LONG}/0007.bin"
    registry.storage.delete_many([gone])
    assert [(f.kind, f.key) for f in registry.fsck().findings] == [("file-missing", gone)]
    registry.storage.put(gone, files[gone])
    registry.storage.put(manifest, files[manifest][:-1])
    assert [(f.kind, f.key) for f in registry.fsck().findings] == [("document-damaged", manifest)]
    registry.storage.delete_many([manifest])
    assert [(f.kind, f.key) for f in registry.fsck().findings] == [("document-missing", manifest)]


def test_members_in_objects_of_their_own_are_checked(memory: Place) -> None:
    """As a decision has them whose members do not fit it; parts that nobody refers to are what a crash leaves."""
    run = memory.story.nightly
    decision = json.loads(memory.storage.get(paths.end_key(run)))
    part = MembersDocument(write_id="0" * 16, run_id=run, members=Members.model_validate(decision["members"]))
    data, key = part.encode(), paths.members_key(run, part.write_id)
    memory.storage.put(key, data)
    assert [(f.kind, f.severity) for f in memory.registry.fsck().findings if f.key == key] == [("left-over", "note")]
    reference = {"key": key, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    memory.change(paths.end_key(run), members={}, more_members=[reference])
    assert memory.open().fsck().of("error", "warning") == []
    memory.flip(key)
    assert [(f.kind, f.key) for f in memory.registry.fsck().of("error")] == [("document-damaged", key)]
    memory.remove(key)
    assert ("document-missing", key) in [(f.kind, f.key) for f in memory.registry.fsck().of("error")]


@pytest.mark.parametrize(("seconds", "severity"), [(0, "note"), (60, "warning")])
def test_an_inner_run_that_committed_long_before_must_be_listed(seconds: float, severity: str) -> None:
    """Only one that is decided while the run around it closes is left out by design."""
    world = World()
    registry = world.process()
    outer = registry.insert_run("outer")
    inner = registry.insert_run("inner", parent=outer)
    registry.close_run(inner, True)
    world.clock.sleep(seconds)
    registry.close_run(outer, True)
    assert registry.fsck().findings == ()
    key = paths.end_key(outer)
    decision = json.loads(world.storage.get(key))
    decision["members"]["runs"] = []
    world.storage.put(key, json.dumps(decision).encode())
    found = [(f.kind, f.key, f.severity) for f in world.process().fsck().findings]
    assert found == [("nested-contradicted", paths.end_key(inner), severity)]


# -- leases ----------------------------------------------------------------------------------------------------------


def test_a_run_whose_lease_is_over_and_that_nobody_has_reaped_is_found(place: Place) -> None:
    """Once it is rolled back, it is not. One that is alive is none."""
    run = place.registry.insert_run("forgotten", lease=3600)
    key = paths.begin_key(run)
    late = place.open(clock=LaterClock(hours=2))
    assert not [f for f in place.registry.fsck().findings if f.key == key]
    assert [(f.kind, f.severity) for f in late.fsck().findings if f.key == key] == [("run-not-reaped", "warning")]
    place.registry.close_run(run, False)
    assert not [f for f in late.fsck().findings if f.key == key]


# -- checkpoints -----------------------------------------------------------------------------------------------------


def test_the_rows_of_a_checkpoint_are_counted_unless_nothing_is_verified(memory: Place) -> None:
    a_checkpoint_says_another_number_of_rows(memory)
    assert memory.registry.fsck(verify="none").ok
    found = only(memory.registry.fsck(sample=0).of("error"))
    assert "rows, and the manifest says" in found.what


def test_a_damaged_checkpoint_is_gone_after_two_new_ones(place: Place) -> None:
    """As the finding says; the check itself writes none."""
    a_table_of_a_checkpoint_is_missing(place)
    assert not place.registry.fsck(repair=True).ok
    for _ in range(2):
        assert place.registry.checkpoint(full=True, unsealed=True).written
    report = place.registry.fsck(verify="all")
    assert report.ok
    assert report.looked_at["checkpoints"] == 2


# -- the index -------------------------------------------------------------------------------------------------------

TAMPERED = {
    "a_row_says_something_else": ("UPDATE runs SET purpose = 'other' WHERE id = :run", "runs/{run}"),
    "a_row_is_missing": ("DELETE FROM datasets WHERE id = :dataset", "datasets/{dataset}"),
    "a_row_is_of_nothing": ("INSERT INTO events (id, run_id) VALUES ('ev_nobody', :run)", "events/ev_nobody"),
    "a_state_is_another": ("UPDATE datasets SET state = 'DELETED' WHERE id = :dataset", "datasets/{dataset}"),
    "a_cell_is_missing": ("DELETE FROM cells WHERE type = 'document' AND gen = 1", "cells/document/{document}/1"),
    "an_edge_is_missing": ("DELETE FROM edges WHERE source = :dataset", "edges/{dataset}/wasGeneratedBy/{run}/{run}"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_an_index_that_differs_is_found_and_repaired_and_the_store_is_left_as_it_was(name: str, place: Place) -> None:
    sql, where = TAMPERED[name]
    story, catalog = place.story, place.registry.catalog
    ids = {"run": story.nightly, "dataset": story.orders, "document": DOCUMENT.key}
    catalog.refresh()
    rows = index_rows(catalog)
    with catalog._database.writing() as connection:
        connection.execute(sql, ids)
    tampered, before = index_rows(catalog), place.everything()
    found = place.registry.fsck().of("error")
    assert [(f.kind, f.key, f.repaired) for f in found] == [("index-differs", "index:" + where.format(**ids), False)]
    assert index_rows(catalog) == tampered
    report = place.registry.fsck(repair=True)
    assert [(f.key, f.repaired) for f in report.of("error")] == [(found[0].key, True)]
    assert report.ok
    assert report.index_repaired
    assert index_rows(catalog) == rows
    assert place.registry.fsck(repair=True).of("error") == []
    assert place.everything() == before


def index_rows(catalog: Catalog) -> dict[str, list[tuple[object, ...]]]:
    """Everything that the index answers from."""
    tables = ("runs", "datasets", "events", "cells", "edges")
    return {table: [tuple(row) for row in catalog._database.rows(f"SELECT * FROM {table}")] for table in tables}


def test_what_landed_too_late_for_the_index_is_no_difference() -> None:
    """An hour that is sealed is not listed again; what lands there for a run that is decided is dead."""
    world = World()
    registry = world.process()
    run = publish(registry, "k", 1)
    for _ in range(3):
        world.clock.hours(2)
        publish(registry, "later", 1)
        registry.catalog.refresh()
    late = f"ds_{run[4:]}_{'0' * 16}"
    (dataset,) = registry.datasets(run_id=run)
    for gen in (0, 1):
        found = json.loads(world.storage.get(paths.dataset_key(run, dataset.id[-16:], gen)))
        data = json.dumps({**found, "dataset_id": late}).encode()
        world.storage.put(paths.dataset_key(run, "0" * 16, gen), data)
    assert {f.kind for f in registry.fsck().findings} == {"late-member"}


def test_a_file_that_is_no_index_is_replaced_by_one_that_is_right(folder: Place) -> None:
    catalog = folder.registry.catalog
    catalog.refresh()
    assert catalog._database.file is not None
    catalog.close()
    catalog._database.file.write_bytes(b"this is no database" * 1000)
    assert folder.registry.fsck().of("error") == []
    assert folder.registry.catalog.count("runs", purpose="nightly") == 1


def test_an_index_that_cannot_be_built_from_a_damaged_store_is_told_and_the_old_one_is_kept(memory: Place) -> None:
    """The rows of what is damaged are not compared: the old index may know more than the store does now."""
    catalog = memory.registry.catalog
    catalog.refresh()
    key = memory.story.dataset_key(memory.story.orders)
    memory.truncate(key)
    assert [(f.kind, f.key) for f in memory.registry.fsck(repair=True).of("error")] == [("document-damaged", key)]
    assert catalog.count("datasets", kind="orders", state="READY") == 1
    rows = index_rows(catalog)
    with catalog._database.writing() as connection:
        connection.execute("UPDATE runs SET purpose = 'other' WHERE purpose = 'reads'")
    report = memory.registry.fsck(repair=True)
    assert {f.kind for f in report.of("error")} == {"document-damaged", "index-differs", "index-stuck"}
    assert not report.index_repaired
    assert index_rows(catalog)["datasets"] == rows["datasets"]


def test_an_index_that_has_to_read_what_is_damaged_is_told_not_raised(memory: Place) -> None:
    memory.storage.delete_many([i.key for i in memory.storage.list("catalog/")])
    memory.truncate(memory.story.dataset_key(memory.story.orders))
    found = memory.open().fsck().of("error")
    assert {f.kind for f in found} == {"document-damaged", "index-stuck"}


# -- how it looks ----------------------------------------------------------------------------------------------------


def test_sha256_is_computed_of_all_files_or_of_some_or_of_none(memory: Place) -> None:
    count = memory.registry.fsck(verify="all").looked_at["verified"]
    assert count >= 4
    memory.flip(memory.story.inner_file)
    for options, verified in (
        ({"verify": "none"}, 0),
        ({"sample": 0}, 0),
        ({"sample": 2}, 2),
        ({"sample": count}, count),
        ({"sample": 1.0}, count),
        ({"verify": "all", "sample": 0}, count),
    ):
        report = memory.registry.fsck(**options)  # type: ignore[arg-type]
        assert report.looked_at.get("verified", 0) == verified
        assert report.ok or verified == count or options == {"sample": 2}
        assert not (report.ok and verified == count)


@pytest.mark.parametrize("options", [{"verify": "some"}, {"sample": -1}, {"sample": 1.5}, {"sample": True}])
def test_a_wrong_option_is_refused(options: dict[str, Any], memory: Place) -> None:
    with pytest.raises(InvalidInput):
        memory.registry.fsck(**options)


def test_a_store_that_does_not_answer_is_no_damage(memory: Place) -> None:
    """An error says so: nothing is known of what is stored."""
    storage = FaultyStorage(memory.storage)
    registry = Registry(ResolvingStorage(storage, timeout=0.01, attempts=1), heartbeats=False)
    storage.plan.append(error_before(times=10_000))
    with pytest.raises(StorageUnavailable):
        registry.fsck()


def test_its_progress_is_told(memory: Place) -> None:
    told: list[tuple[str, int]] = []
    memory.registry.fsck(progress=lambda stage, count: told.append((stage, count)))
    assert list(dict.fromkeys(stage for stage, _ in told)) == ["journal", "cells", "files", "checkpoints", "index"]


def test_what_is_written_while_it_looks_is_no_damage(memory: Place) -> None:
    writer = memory.open()
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            with writer.run("meanwhile") as run:
                with run.dataset("meanwhile") as ds, ds.open("a.txt", "w") as file:
                    file.write("meanwhile")
                run.register_documents([{"id": f"urn:doc:{run.id}"}, {"id": "urn:doc:same"}])
                with writer.run("inner", parent=run.id) as inner:
                    inner.emit_event("Meanwhile", run.id)
            writer.begin_attempt("attempt", flow_run="00000000-0000-0000-0000-000000000008")
            ended.wait(0.005)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        reports = [memory.registry.fsck(verify="all") for _ in range(3)]
    finally:
        ended.set()
        thread.join()
    assert [report.of("error", "warning") for report in reports] == [[], [], []]


async def test_it_has_an_asynchronous_twin(memory: Place) -> None:
    assert (await memory.registry.afsck()).ok


def test_a_report_tells_everything_as_text_html_and_json(memory: Place) -> None:
    memory.storage.put("<script>.txt", b"x")
    report = memory.registry.fsck()
    found = only(f for f in report.findings if f.kind == "foreign-file")
    assert "warning: foreign-file: <script>.txt" in repr(report)
    assert "&lt;script&gt;.txt" in report._repr_html_()
    data = json.loads(json.dumps(report.as_dict()))
    assert data["totals"] == {"warning": 1, "note": len(report.of("note"))}
    listed = only(f for f in data["findings"] if f["kind"] == "foreign-file")
    assert listed["todo"] == found.todo
    assert listed["meaning"] == found.meaning
    assert listed["since"].endswith("Z")


def test_it_costs_one_request_for_each_document_and_two_listings_of_the_runs() -> None:
    counting = CountingStorage(MemoryStorage())
    registry = Registry(ResolvingStorage(counting), heartbeats=False)
    for _ in range(30):
        with registry.run("k") as run:
            run.emit_event("E", "k", {})
            for _ in range(3):
                with run.dataset("k", mode="append") as ds, ds.open("a.txt", "w") as file:
                    file.write("a")
    registry.catalog.refresh()
    documents = sum(i.key.endswith(".json") for i in registry.storage.list(""))
    with counting.measure() as measure:
        assert registry.fsck(verify="none").findings == ()
    assert measure.by_method["get"] <= documents
    assert measure.by_method["list"] <= 14


def test_a_report_does_not_grow_with_the_damage() -> None:
    """It keeps the first thousand of a kind, and counts them all."""
    registry = Registry(MemoryStorage(), heartbeats=False)
    for i in range(1_200):
        registry.storage.put(f"data/{i:04d}.txt", b"x")
    report = registry.fsck()
    assert len(report.findings) == 1_000
    assert report.totals == {"warning": 1_200}
    assert report.left_out == 200


VALUES = [None, -1, 2**60, "", "x", "run_x", [], [[1]], {}, {"x": [None]}, True, "9999-12-31T23:59:59.999999Z"]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_a_document_says_it_is_told_and_not_raised(data: st.DataObject, memory: Place) -> None:
    """Any field of any document may hold anything."""
    place = copied("memory", memory.registry, memory.story, Path())
    keys = [i.key for i in place.storage.list("") if i.key.endswith(".json")]
    for key in data.draw(st.lists(st.sampled_from(keys), min_size=1, max_size=6, unique=True)):
        fields = json.loads(place.storage.get(key))
        field = data.draw(st.sampled_from(sorted(fields)))
        place.change(key, **{field: data.draw(st.sampled_from(VALUES))})
    place.registry.fsck(verify="none", repair=True)
