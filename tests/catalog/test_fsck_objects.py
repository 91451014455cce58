"""What fsck says of objects: damage by the object's name, and nothing of what is in order."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from prefect_registry import Registry
from prefect_registry.catalog.catalog import Catalog
from prefect_registry.clock import SystemClock
from prefect_registry.ledger import manifests, paths
from prefect_registry.objects.materializers.base import Materializer
from prefect_registry.objects.payload import Part, Payload, StoredPayload
from prefect_registry.records.cells import CellRef
from prefect_registry.records.types import ALIAS, OBJECT
from prefect_registry.storage.base import Storage
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.faults import FaultyStorage, SimulatedCrash, crash

LARGE = 20_000


class Later(SystemClock):
    """A clock that can be set forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Files(dict[str, bytes]):
    """Several files that are one object."""


class FilesForm(Materializer):
    """Saves :class:`Files` as they are."""

    name = "test.listed"

    def save(self, value: Any) -> Payload:
        return Payload([Part(path, data) for path, data in value.items()])

    def load(self, payload: StoredPayload) -> Files:
        return Files({path: payload.read(path) for path in payload.paths()})


def large(value: int) -> bytes:
    return bytes([value]) * LARGE


def tell(monkeypatch: pytest.MonkeyPatch) -> MemoryStorage:
    """Versions of all sorts: large, inline, in runs and out of any, overwritten, deleted, released and collected, with
    a list of files of their own; saves that failed; aliases.
    """
    clock = Later()
    storage = MemoryStorage(clock=clock)
    registry = Registry(storage, version_objects=True, mutable=True, clock=clock, heartbeats=False, use_cache=False)
    registry.register_materializer(Files, FilesForm)
    registry.save("gone@1", large(9))
    registry.delete("gone@1")
    registry.save("m@1", large(8))
    registry.save("m@1", large(1), on_conflict="overwrite")
    registry.set_retention(objects="*", keep_days=1)
    clock.ahead += timedelta(days=2)
    assert len(registry.release(dry_run=False).objects) == 2
    assert registry.collect(dry_run=False).released == 2
    registry.save("m@1", large(7), on_conflict="overwrite")
    with registry.run("work"):
        registry.save("m@2", large(2))
        registry.save("small", {"a": 1})
    registry.save("alone", [1, 2, 3])
    with monkeypatch.context() as patched:
        patched.setattr(manifests, "MOST_INLINE_FILES", 0)
        registry.save("listed", Files({"a": large(3), "deep/b": large(4)}))
    registry.save("deleted", large(5))
    registry.delete("deleted")
    registry.delete("small")
    registry.restore("small")
    with contextlib.suppress(ZeroDivisionError), registry.run("fails"):
        registry.save("never", large(6))
        raise ZeroDivisionError
    registry.set_alias("m", "champion", "1")
    registry.set_alias("m", "champion", "2")
    registry.set_alias("m", "removed", "1")
    registry.remove_alias("m", "removed")
    return storage


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> MemoryStorage:
    return tell(monkeypatch)


def again(storage: Storage) -> Registry:
    """As another process opens it."""
    return Registry(storage, heartbeats=False, use_cache=False)


def cell_key(name: str, gen: int = 0, type_: str = OBJECT) -> str:
    return paths.cell_key(CellRef.named(type_, name), gen)


def value_of(storage: Storage, key: str) -> dict[str, Any]:
    value = json.loads(storage.get(key))["value"]
    assert isinstance(value, dict)
    return value


def change(storage: Storage, key: str, **fields: Any) -> None:
    document = json.loads(storage.get(key))
    storage.put(key, json.dumps({**document, "value": {**document["value"], **fields}}).encode())


def test_objects_that_are_whole_have_no_finding_but_notes(storage: MemoryStorage) -> None:
    """Inside an undecided run, too, and while a save there has uploaded and not told yet."""
    registry = again(storage)
    run = registry.insert_run("work")
    registry.save("staged", large(10), run_id=run)
    storage.put(f"{paths.data_prefix(run)}{'0' * 16}/data", b"on its way")
    report = again(storage).fsck(verify="all")
    assert {f.kind for f in report.findings} <= {"bytes-waiting", "touch-without-generation"}, report
    assert report.looked_at["verified"] == 6  # m three times, a list and its two files, what was deleted


# -- files -----------------------------------------------------------------------------------------------------------


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    ("damage", "kind"),
    [(None, "file-missing"), (lambda d: d[: len(d) // 2], "file-changed"), (flipped, "file-changed")],
    ids=["missing", "truncated", "flipped"],
)
@pytest.mark.parametrize("name", ["m@2", "listed@1", "deleted@1"])
def test_a_damaged_file_is_told_with_its_object(
    storage: MemoryStorage, name: str, damage: Callable[[bytes], bytes] | None, kind: str
) -> None:
    """Of what is visible, and of what can be restored."""
    root = value_of(storage, cell_key(name))["root"]
    key = next(o.key for o in storage.list(root) if "_manifest-" not in o.key)
    data = storage.get(key)
    storage.delete_many([key])
    if damage is not None:
        storage.put(key, damage(data))
    report = again(storage).fsck(verify="all")
    (found,) = report.of("error", "warning")
    assert (found.kind, found.key, found.severity) == (kind, key, "error")
    assert repr(name) in found.what


def test_a_missing_list_of_files_is_told(storage: MemoryStorage) -> None:
    """Who knows which files the object had: none of them is called foreign, or waits to be deleted."""
    key = value_of(storage, cell_key("listed@1"))["manifest"]["key"]
    storage.delete_many([key])
    report = again(storage).fsck(verify="all")
    assert [(f.kind, f.key) for f in report.of("error", "warning")] == [("document-missing", key)]


def test_a_file_too_many_is_told(storage: MemoryStorage) -> None:
    """In the folder of an object."""
    key = value_of(storage, cell_key("m@2"))["root"] + "extra.txt"
    storage.put(key, b"somebody's")
    (found,) = again(storage).fsck().of("error", "warning")
    assert (found.kind, found.key) == ("foreign-file", key)
    assert "'m@2'" in found.what


@pytest.mark.parametrize(
    "fields",
    [{"size": 1}, {"file_count": 2}, {"root": "data/else/"}, {"files": [{"path": "../x", "size": 1, "sha256": ""}]}],
)  # fmt: skip
def test_a_record_that_contradicts_its_files_is_told(storage: MemoryStorage, fields: dict[str, Any]) -> None:
    """Whatever it says; and nothing is said to wait for the collector because of it."""
    key = cell_key("m@2")
    change(storage, key, **fields)
    found = again(storage).fsck(verify="none").findings
    assert ("manifest-contradicted", key) in [(f.kind, f.key) for f in found]
    run = value_of(storage, key)["payload"][3:29]
    assert not [f for f in found if f.kind == "bytes-waiting" and run in f.key]


# -- records ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ({"data": base64.b64encode(b"[1,2,4]").decode()}, "file-changed"),
        ({"data": "not base64"}, "file-changed"),
        ({"sha256": "0" * 64}, "file-changed"),
        ({"size": 1}, "manifest-contradicted"),
        ({"data": None}, "document-damaged"),
    ],
)
def test_what_lies_in_a_record_is_checked(storage: MemoryStorage, file: dict[str, Any], kind: str) -> None:
    """Against its own sha256, without reading anything else."""
    key = cell_key("alone@1")
    (inline,) = value_of(storage, key)["inline"]
    change(storage, key, inline=[{**inline, **file}])
    found = again(storage).fsck(verify="none").of("error")
    assert (kind, key) in [(f.kind, f.key) for f in found]


def test_a_version_in_the_place_of_another_is_told(storage: MemoryStorage) -> None:
    """Its value must be of the version that its key says."""
    change(storage, cell_key("alone@1"), version="2")
    assert ("wrong-id", cell_key("alone@1")) in [(f.kind, f.key) for f in again(storage).fsck().findings]


# -- aliases ---------------------------------------------------------------------------------------------------------


def test_an_alias_that_points_at_nothing_is_a_warning(storage: MemoryStorage) -> None:
    """Deleted, released, never there; not one that has been moved or removed since."""
    registry = again(storage)
    registry.delete("m@2")
    (found,) = registry.fsck().of("warning", "error")
    assert (found.kind, found.key) == ("alias-of-nothing", cell_key("m@champion", 1, ALIAS))
    assert "'m@2', which is deleted" in found.what
    registry.restore("m@2")
    assert registry.fsck().of("warning", "error") == []
    change(storage, cell_key("m@champion", 1, ALIAS), version="77")
    found = again(storage).fsck().of("warning")[0]
    assert "'m@77', which is not there" in found.what


def test_an_alias_of_a_version_that_cannot_be_read_is_not_told_twice(storage: MemoryStorage) -> None:
    """The version is what is damaged."""
    storage.put(cell_key("m@2"), b"{")
    kinds = {f.kind for f in again(storage).fsck().of("error", "warning")}
    assert "document-damaged" in kinds
    assert "alias-of-nothing" not in kinds


# -- the index -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "where"),
    [
        ("DELETE FROM cells WHERE type = 'object' AND name = 'm@2'", "index:cells/object/m/2/0"),
        ("UPDATE cells SET value = '{}' WHERE type = 'alias' AND gen = 1 AND name LIKE '%champion'",
         "index:cells/alias/m/champion/1"),
        ("", "index:cells/payload/{name}/0"),
        ("DELETE FROM edges WHERE source = 'm@2'", "index:edges/m@2/wasGeneratedBy/{run}/{run}"),
        ("INSERT INTO edges VALUES ('m@2', 'wasGeneratedBy', 'run_other', 'run_other', 0, NULL)",
         "index:edges/m@2/wasGeneratedBy/run_other/run_other"),
    ],
)  # fmt: skip
def test_an_index_that_differs_in_objects_is_repaired(storage: MemoryStorage, sql: str, where: str) -> None:
    """Rows of versions, aliases and releases, and edges of lineage."""
    registry = again(storage)
    catalog: Catalog = registry.catalog
    catalog.refresh()
    run = f"run_{value_of(storage, cell_key('m@2'))['payload'][3:29]}"
    name = ""
    if not sql:
        name = catalog._database.rows("SELECT name FROM cells WHERE type = 'payload' ORDER BY name")[0]["name"]
        sql = f"DELETE FROM cells WHERE type = 'payload' AND name = '{name}'"
    with catalog._database.writing() as connection:
        connection.execute(sql)
    found = registry.fsck().of("error")
    assert [(f.kind, f.key) for f in found] == [("index-differs", where.format(run=run, name=name))]
    report = registry.fsck(repair=True)
    assert report.ok
    assert report.index_repaired
    assert registry.fsck().of("error") == []
    assert registry.list_versions("m") == ["1", "2"]
    assert registry.list_objects_and_versions()["m"] == ["1", "2"]


def test_a_save_that_has_sent_its_record_and_not_yet_its_bytes_is_no_damage() -> None:
    """Whether it goes on or has died there: nobody can load it, and its number is held until its run is decided."""
    store = MemoryStorage()
    dying = FaultyStorage(store, crash(method="upload"))
    saver = Registry(ResolvingStorage(dying), heartbeats=False, version_objects=True, use_cache=False)
    with pytest.raises(SimulatedCrash):
        saver.save("o", large(1), version="1")
    registry = Registry(store, heartbeats=False, version_objects=True, use_cache=False)
    assert list(store.list(f"{paths.CELLS}object/o/1/")), "its record is there"
    assert not registry.has_object("o@1")
    assert registry.fsck(verify="all").of("error", "warning") == []
    assert registry.save("o", large(2)) == "2"
