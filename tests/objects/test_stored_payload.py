"""Payloads as readers get them: right bytes or an error that names the file, whatever they are read from."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cache_support import ID, cached, content, entry, scratch_files, store
from forked import in_child
from small_disk import need_mounting, on_a_small_disk

from prefect_registry.errors import IntegrityError, InvalidInput, NotFound, StorageError, StorageUnavailable
from prefect_registry.objects.cache import ObjectCache
from prefect_registry.objects.stored import FilesPayload, InlinePayload, LocalPayload, RemotePayload, payload_of
from prefect_registry.storage.base import Storage, Stored
from prefect_registry.storage.local import LocalStorage
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.storage.transfer import digest_of
from prefect_registry.testing.counting import CountingStorage
from prefect_registry.testing.faults import FaultyStorage, error_before
from prefect_registry.testing.servers import Server

FILES = {"a.txt": b"", "weights/0.bin": content(1, 700), "weights/1.bin": content(2, 70_000), "z": b"last"}

KINDS = ["inline", "local", "cached", "uncached"]


class Place:
    """A store with an object in it, and payloads of it of one kind."""

    def __init__(self, kind: str, folder: Path, files: Mapping[str, bytes] = FILES) -> None:
        self.kind, self.folder = kind, folder
        inner: Storage = LocalStorage(folder / "store") if kind == "local" else MemoryStorage()
        self.faulty = FaultyStorage(inner)
        self.storage = CountingStorage(self.faulty)
        self.items = store(inner, files)
        self.data = dict(files)
        self.cache = ObjectCache(self.storage, ID, folder=folder / "cache")

    def payload(self, **options: Any) -> FilesPayload:
        options = {"subject": "model@1.0.0", **options}
        if self.kind == "inline":
            files = {path: Stored("", item.size, item.sha256) for path, item in self.items.items()}
            return InlinePayload(files, self.data, root=self.folder / "scratch", **options)
        return payload_of(self.storage, self.items, cache=self.cache if self.kind == "cached" else None, **options)

    def damage(self, path: str, data: bytes) -> None:
        """Change a file where it is stored."""
        self.data[path] = data
        self.faulty.inner.put(self.items[path].key, data)

    def lose(self, path: str) -> None:
        self.faulty.inner.delete_many([self.items[path].key])


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, tmp_path)


@pytest.fixture(params=KINDS[1:])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Those whose files are in a store."""
    return Place(request.param, tmp_path)


@pytest.fixture(params=KINDS[2:])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, tmp_path)


def opened(payload: FilesPayload, path: str) -> bytes:
    with payload.open(path) as file:
        return file.read()


READS: dict[str, Callable[[FilesPayload, str], bytes]] = {
    "read": lambda payload, path: payload.read(path),
    "open": opened,
    "local": lambda payload, path: payload.local(path).read_bytes(),
}


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("verify", ["none", "integrity", "full"])
def test_every_way_to_read_gives_the_file(place: Place, verify: str, lazy: bool, tmp_path: Path) -> None:
    """Paths, sizes and bytes are those that were stored, by any way, at any level, cold and warm."""
    for _ in range(2):
        with place.payload(verify=verify, lazy=lazy, init={"dtype": "f4"}) as payload:
            assert payload.paths() == sorted(FILES)
            assert (payload.init, payload.lazy, payload.output_dir) == ({"dtype": "f4"}, lazy, None)
            for read in READS.values():
                assert {path: read(payload, path) for path in payload.paths()} == FILES
            assert [payload.size(path) for path in payload.paths()] == [len(FILES[p]) for p in payload.paths()]
            assert payload.export(tmp_path / "out") == tmp_path / "out"
            assert tree(tmp_path / "out") == FILES


def test_an_open_file_can_be_sought(place: Place) -> None:
    """Parts are read from any position, in an eager and in a lazy payload."""
    data = FILES["weights/1.bin"]
    for lazy in (False, True):
        with place.payload(lazy=lazy) as payload, payload.open("weights/1.bin") as file:
            assert (file.seek(60_000), file.read(10), file.tell()) == (60_000, data[60_000:60_010], 60_010)
            assert (file.seek(-5, os.SEEK_END), file.read()) == (69_995, data[-5:])
            file.seek(3)
            buffer = bytearray(7)
            assert (file.readinto(buffer), bytes(buffer)) == (7, data[3:10])  # type: ignore[attr-defined]


def test_which_payload_a_store_gets(tmp_path: Path) -> None:
    """A folder of this machine is read in place, also behind wrappers; anything else is remote."""
    local = ResolvingStorage(LocalStorage(tmp_path))
    assert isinstance(payload_of(local, {}, subject="s"), LocalPayload)
    assert isinstance(payload_of(MemoryStorage(), {}, subject="s"), RemotePayload)


def test_a_path_that_the_object_does_not_have(place: Place) -> None:
    """It is ``NotFound`` and names the object, and what it has instead."""
    payload = place.payload()
    for ask in (*READS.values(), lambda p, path: p.size(path)):
        with pytest.raises(NotFound, match=r"model@1\.0\.0 has no file 'b'.*a\.txt"):
            ask(payload, "b")


def test_local_files_keep_their_endings_and_go_with_the_reader(place: Place) -> None:
    """Libraries look at the ending of a name. After closing nothing is left, and what is open stays readable."""
    payload = place.payload()
    local = payload.local("weights/0.bin")
    assert local.suffix == ".bin"
    file = payload.open("weights/1.bin")
    payload.close()
    if place.kind != "local":
        assert not local.exists()
    with file:
        assert file.read() == FILES["weights/1.bin"]
    assert payload.read("z") == b"last"
    again = payload.local("z")
    assert again.read_bytes() == b"last"
    del payload
    gc.collect()
    assert again.exists() is (place.kind == "local")
    assert scratch_files(place.cache) == []


def test_a_forked_child_reads_without_taking_anything_away(place: Place) -> None:
    """The child has local files of its own; those of the parent stay."""
    payload = place.payload()
    local = payload.local("weights/1.bin")

    def child() -> bytes:
        data = payload.local("weights/1.bin").read_bytes()
        payload.close()
        return data

    assert in_child(child) == FILES["weights/1.bin"]
    assert local.read_bytes() == FILES["weights/1.bin"]
    payload.close()


def test_eager_reads_come_in_one_download_and_lazy_ones_as_they_are_used(remote: Place) -> None:
    """All files at once, several in parallel; or only that file, or only parts of it."""
    with remote.storage.measure() as eager, remote.payload() as payload:
        assert payload.read("weights/0.bin") == FILES["weights/0.bin"]
        assert payload.local("z").read_bytes() == b"last"
    assert (dict(eager.by_method), eager.sequential) == ({"download": 4}, 1)
    remote.cache.clear()
    with remote.storage.measure() as lazy, remote.payload(lazy=True) as payload:
        with payload.open("weights/1.bin") as file:
            file.seek(5)
            assert file.read(3) == FILES["weights/1.bin"][5:8]
        payload.local("z")
    assert lazy.keys == [("open", remote.items["weights/1.bin"].key), ("download", remote.items["z"].key)]


def test_a_second_load_asks_the_store_nothing(tmp_path: Path) -> None:
    """By way of the cache every reader, and an export, is served without a request; ``full`` costs one look."""
    place = Place("cached", tmp_path)
    place.payload().export(tmp_path / "first")
    assert cached(place.cache) == {item.sha256 for item in place.items.values()}
    with place.storage.measure() as later:
        for read in READS.values():
            with place.payload() as payload:
                assert {path: read(payload, path) for path in payload.paths()} == FILES
        place.payload().export(tmp_path / "second")
    assert (later.total, tree(tmp_path / "second")) == (0, FILES)
    (tmp_path / "second" / "z").write_bytes(b"the user's own")
    with place.storage.measure() as full, place.payload(verify="full") as payload:
        assert {path: payload.read(path) for path in payload.paths()} == FILES
    assert full.sequential == 1


def test_progress_sums_to_the_size(stored: Place, tmp_path: Path) -> None:
    """Of an export, cold and warm, and of files that are fetched to be read."""
    size, told, lock = sum(map(len, FILES.values())), [0], threading.Lock()

    def progress(count: int) -> None:
        with lock:
            told[0] += count

    for i in (1, 2):
        stored.payload(progress=progress).export(tmp_path / f"out{i}")
        assert told[0] == i * size
    if stored.kind != "local":
        stored.cache.clear()
        with stored.payload(progress=progress) as payload:
            payload.local("z")
        assert told[0] == 3 * size


# -- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [content(1, 699) + b"?", b"short", b""], ids=["changed", "short", "empty"])
def test_damage_names_the_file(place: Place, data: bytes, tmp_path: Path) -> None:
    """Changed and truncated files are ``IntegrityError``, by any way to read; ``none`` hands them out."""
    place.damage("weights/0.bin", data)
    for read in (*READS.values(), lambda p, _: p.export(tmp_path / "out")):
        with pytest.raises(IntegrityError, match=r"weights/0\.bin of model@1\.0\.0 is damaged"):
            read(place.payload(), "weights/0.bin")
        with pytest.raises(IntegrityError):
            read(place.payload(verify="full"), "weights/0.bin")
    assert not (tmp_path / "out").exists()
    for read in READS.values():
        assert read(place.payload(verify="none"), "weights/0.bin") == data
    assert tree(place.payload(verify="none").export(tmp_path / "none")) == {**FILES, "weights/0.bin": data}


def test_a_missing_file_is_damage_or_what_became_of_the_version(stored: Place, tmp_path: Path) -> None:
    """Never "not found" by itself: the record is read again, and says that it was deleted, or nothing."""
    stored.lose("weights/0.bin")
    deleted = NotFound("model@1.0.0 was deleted")
    for lazy in (False, True):
        for read in (*READS.values(), lambda p, _: p.export(tmp_path / "out")):
            with pytest.raises(IntegrityError, match=r"weights/0\.bin of model@1\.0\.0 is damaged: it is missing"):
                read(stored.payload(lazy=lazy), "weights/0.bin")
            with pytest.raises(NotFound) as caught:
                read(stored.payload(lazy=lazy, gone=lambda: deleted), "weights/0.bin")
            assert caught.value is deleted
    assert not (tmp_path / "out").exists()


def test_full_tells_what_the_cache_would_hide(tmp_path: Path) -> None:
    """A cached object whose file the store has lost loads, but not with ``full``."""
    place = Place("cached", tmp_path)
    place.payload().export(tmp_path / "out")
    place.lose("z")
    for read in READS.values():
        assert read(place.payload(), "z") == b"last"
        for lazy in (False, True):
            with pytest.raises(IntegrityError, match=r"^z of"):
                read(place.payload(verify="full", lazy=lazy), "z")


def test_a_damaged_cache_is_repaired_by_every_reader(tmp_path: Path) -> None:
    """What the cache has wrong is never handed out."""
    place = Place("cached", tmp_path)
    reads = {**READS, "export": lambda p, path: (p.export(tmp_path / "out") / path).read_bytes()}
    for read in reads.values():
        place.payload().export(tmp_path / "out")
        damaged = entry(place.cache, place.items["weights/1.bin"])
        damaged.chmod(0o644)
        damaged.write_bytes(content(3, 70_000))
        assert read(place.payload(), "weights/1.bin") == FILES["weights/1.bin"]
        cached(place.cache)


def test_an_unreachable_store_is_told_as_that(stored: Place, tmp_path: Path) -> None:
    """Not as damage, and never as "not found", also when parts are read."""
    stored.faulty.plan.append(error_before(times=1_000))
    for lazy in (False, True):
        for read in (*READS.values(), lambda p, _: p.export(tmp_path / "out")):
            with pytest.raises(StorageUnavailable):
                read(stored.payload(lazy=lazy), "z")
    assert not (tmp_path / "out").exists()


@pytest.mark.server
def test_a_version_that_is_purged_while_it_is_read(tmp_path: Path, fake_gcs: Server) -> None:
    """A reader of parts over the network is told what became of it in the middle of its file."""
    storage = fake_gcs.storage()
    items = store(storage, {"large": content(7, 2 << 20)})
    deleted = NotFound("model@1.0.0 was deleted")
    payload = payload_of(storage, items, subject="model@1.0.0", lazy=True, gone=lambda: deleted)
    with payload.open("large") as file:
        assert file.read(10) == content(7, 2 << 20)[:10]
        storage.delete_many([items["large"].key])
        file.seek(1 << 20)
        with pytest.raises(NotFound) as caught:
            file.read(10)
    assert caught.value is deleted


@pytest.mark.server
def test_over_the_network(tmp_path: Path, seaweedfs: Server) -> None:
    """Files of one range and of several, through the cache of a real object store, cold and warm."""
    storage = CountingStorage(seaweedfs.storage())
    files = {"small": content(1), "large": content(2, 20 << 20)}
    items = store(storage, files)
    cache = ObjectCache(storage, ID, folder=tmp_path / "cache")
    for requests in (2, 0):
        with storage.measure() as measure, payload_of(storage, items, cache=cache, subject="s") as payload:
            assert {path: payload.local(path).read_bytes() for path in files} == files
        assert measure.total == requests
    storage.delete_many([item.key for item in items.values()])


# -- exports ---------------------------------------------------------------------------------------------------------


def test_a_folder_that_was_there_keeps_what_it_had(place: Place, tmp_path: Path) -> None:
    """Files of other names stay, those of the same name are replaced, and a failure changes nothing at all."""
    out = tmp_path / "out"
    (out / "weights").mkdir(parents=True)
    before = {"mine": b"mine", "weights/0.bin": b"old", "weights/mine": b"mine"}
    for path, data in before.items():
        (out / path).write_bytes(data)
    place.damage("weights/1.bin", b"damaged")
    with pytest.raises(IntegrityError):
        place.payload().export(out)
    assert tree(out) == before
    place.damage("weights/1.bin", FILES["weights/1.bin"])
    place.payload().export(out)
    assert tree(out) == {**before, **FILES}


def test_a_failure_while_files_are_moved_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was replaced already is back, and what was new is gone."""
    place, out, rename = Place("inline", tmp_path), tmp_path / "out", os.rename
    out.mkdir()
    (out / "a.txt").write_bytes(b"old")
    (out / "weights").mkdir()
    failed = []

    def fail_at_the_last(source: Path, target: Path) -> None:
        if target == out / "z" and not failed:
            failed.append(target)
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_at_the_last)
    with pytest.raises(StorageError, match="could not be written"):
        place.payload().export(out)
    assert (tree(out), len(failed)) == ({"a.txt": b"old"}, 1)
    place.payload().export(out)
    assert tree(out) == FILES


def test_folders_above_go_when_an_export_fails(place: Place, tmp_path: Path) -> None:
    """Nothing is left of a path that was made for it."""
    place.damage("z", b"????")
    with pytest.raises(IntegrityError):
        place.payload().export(tmp_path / "a" / "b" / "c")
    assert not (tmp_path / "a").exists()
    place.damage("z", FILES["z"])
    assert tree(place.payload().export(tmp_path / "a" / "b" / "c")) == FILES


def test_nothing_is_written_through_a_link(place: Place, tmp_path: Path) -> None:
    """A link or file where a folder goes, and a folder where a file goes, are refused; a link to a file is replaced."""
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    elsewhere.mkdir()
    out.mkdir()
    (out / "weights").symlink_to(elsewhere)
    with pytest.raises(InvalidInput, match="in the way"):
        place.payload().export(out)
    (out / "weights").unlink()
    (out / "weights").write_bytes(b"a file")
    with pytest.raises(InvalidInput, match="in the way"):
        place.payload().export(out)
    (out / "weights").unlink()
    (out / "z").mkdir()
    with pytest.raises(InvalidInput, match="in the way"):
        place.payload().export(out)
    (out / "z").rmdir()
    (out / "z").symlink_to(elsewhere / "secret")
    place.payload().export(out)
    assert (tree(out), tree(elsewhere), (out / "z").is_symlink()) == (FILES, {}, False)
    with pytest.raises(InvalidInput, match="not a folder"):
        place.payload().export(out / "a.txt")


@pytest.mark.parametrize("path", ["../outside", "/tmp/outside", "a/../../outside", "a//b", ".", "a\\b", ""])
def test_a_record_cannot_lead_out_of_the_folder(tmp_path: Path, path: str) -> None:
    """A path that no object can have means that somebody changed the record."""
    item = Stored("data/x", 1, digest_of(b"x"))
    payload = InlinePayload({path: item}, {path: b"x"}, root=tmp_path / "scratch", subject="s")
    with pytest.raises(IntegrityError, match="cannot be written to a folder"):
        payload.export(tmp_path / "out")
    assert payload.local(path).read_bytes() == b"x"
    assert payload.local(path).is_relative_to(tmp_path / "scratch" / ".tmp")
    payload.close()
    assert list(tmp_path.rglob("*outside*")) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("real", [True, False], ids=["disk", "limit"])
def test_an_export_to_a_full_disk_leaves_nothing(tmp_path: Path, kind: str, real: bool) -> None:
    """It is ``StorageError`` that names the folder; what was there stays, and with room again it works."""
    if real:
        need_mounting()
    disk = tmp_path / "disk"
    disk.mkdir()
    files = {**FILES, **{f"more/{i}": content(i, 900_000) for i in range(6)}}

    def work(fill: Callable[[], None], free: Callable[[], None]) -> Any:
        place = Place(kind, tmp_path / "elsewhere", files)
        if kind == "cached":
            with place.payload() as payload:
                payload.local("z")
        (disk / "old").mkdir()
        (disk / "old" / "z").write_bytes(b"old")
        if real:
            (disk / "filler").write_bytes(b"x" * (4 << 20))  # half of the disk: some files fit
        else:
            fill()
        errors = []
        for out in (disk / "old", disk / "new" / "one"):
            try:
                place.payload().export(out)
            except StorageError as error:
                errors.append((type(error) is StorageError, str(disk) in str(error)))
        left = {path: data for path, data in tree(disk).items() if path != "filler"}
        folders = sorted(path.name for path in disk.iterdir() if path.is_dir())
        free()
        return errors, left, folders, tree(place.payload().export(disk / "new" / "one")) == files

    errors, left, folders, again = on_a_small_disk(disk, real, work, "8m")
    assert (errors, left, folders, again) == ([(True, True)] * 2, {"old/z": b"old"}, ["old"], True)
