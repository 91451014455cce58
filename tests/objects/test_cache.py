"""The cache of objects' files: right, bounded, shared, and never in the way."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cache_support import ID, ROOT, cached, content, entry, load, scratch_files, store
from forked import in_child
from small_disk import make_read_only, mount, need_mounting, on_a_small_disk

from prefect_registry.clock import SystemClock
from prefect_registry.errors import IntegrityError, InvalidInput, NotFound, StorageError, StorageUnavailable
from prefect_registry.objects import entries
from prefect_registry.objects.cache import ObjectCache
from prefect_registry.objects.stored import payload_of
from prefect_registry.objects.turns import turn_at
from prefect_registry.storage.base import Stored
from prefect_registry.storage.local import LocalStorage
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.transfer import stored_digest
from prefect_registry.testing.counting import CountingStorage
from prefect_registry.testing.faults import FaultyStorage, error_before

FILES = {f"part-{i}.bin": content(i) for i in range(6)}


@pytest.fixture
def counting() -> CountingStorage:
    return CountingStorage(MemoryStorage())


@pytest.fixture
def cache(counting: CountingStorage, tmp_path: Path) -> ObjectCache:
    return ObjectCache(counting, ID, folder=tmp_path / "cache")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# -- hits, misses, damage --------------------------------------------------------------------------------------------


def test_a_hit_asks_the_store_nothing(cache: ObjectCache, counting: CountingStorage) -> None:
    """The first load downloads each file once; later ones, each way to read, make no request."""
    items = store(counting, FILES)
    with counting.measure() as first:
        assert load(cache, items) == FILES
    assert dict(first.by_method) == {"download": len(FILES)}
    with counting.measure() as later:
        assert load(cache, items) == FILES
        assert {path: cache.read(item) for path, item in items.items()} == FILES
        for path, item in items.items():
            file = cache.open(item)
            assert file is not None
            with file:
                assert file.read() == FILES[path]
    assert later.total == 0
    assert scratch_files(cache) == []


def test_readers_and_other_processes_find_it(cache: ObjectCache, counting: CountingStorage) -> None:
    """A second cache of the same registry, and one in another process, read what the first fetched."""
    items = store(counting, FILES)
    load(cache, items)
    cold = ObjectCache(MemoryStorage(), ID, folder=cache.folder)
    assert load(cold, items) == FILES
    assert in_child(lambda: load(cold, items)) == FILES


@pytest.mark.parametrize("damage", [lambda data: data[:-1] + b"?", lambda data: data[:10], lambda data: b""])
def test_a_damaged_entry_is_replaced(
    cache: ObjectCache,
    counting: CountingStorage,
    damage: Callable[[bytes], bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Changed or truncated, it is noticed, fetched again, right from then on, and the log says so."""
    items = store(counting, FILES)
    load(cache, items)
    path = entry(cache, items["part-3.bin"])
    path.chmod(0o644)
    path.write_bytes(damage(FILES["part-3.bin"]))
    with counting.measure() as again:
        assert load(cache, items) == FILES
    assert again.keys == [("download", f"{ROOT}part-3.bin")]
    assert "damaged" in warnings(caplog)[0]
    assert cached(cache) == {item.sha256 for item in items.values()}
    for read in (cache.read, cache.open):
        path.chmod(0o644)
        path.write_bytes(damage(FILES["part-3.bin"]))
        assert read(items["part-3.bin"]) is None
        load(cache, items)


@pytest.mark.parametrize("way", ["fetch", "read", "open", "copy", "clear", "clear one", "limit"])
def test_a_folder_in_place_of_an_entry_is_removed(
    cache: ObjectCache, counting: CountingStorage, tmp_path: Path, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    """Like a damaged file: whoever reads it fetches the file again, clearing and the limit take it away."""
    items = store(counting, FILES)
    load(cache, items)
    item = items["part-3.bin"]
    path = entry(cache, item)
    path.unlink()
    (path / "deep").mkdir(parents=True)
    (path / "deep" / "file").write_bytes(b"x")
    if way == "clear":
        assert cache.clear() == len(FILES)
    elif way == "clear one":
        assert cache.clear([item.sha256]) == 1
    elif way == "limit":
        entries.evict(cache.folder, 0)
        assert cache.stats().entries == 0
    else:
        if way == "fetch":
            with counting.measure() as again:
                assert load(cache, items) == FILES
            assert again.keys == [("download", item.key)]
        elif way == "copy":
            assert not cache.copy(item, tmp_path / "copy")
        else:
            assert getattr(cache, way)(item) is None
        assert "damaged" in warnings(caplog)[0]
        assert len(warnings(caplog)) == 1
    assert not path.is_dir()
    assert load(cache, items) == FILES
    with counting.measure() as hit:
        assert load(cache, items) == FILES
    assert hit.total == 0


def test_none_trusts_what_has_the_right_size(cache: ObjectCache, counting: CountingStorage) -> None:
    """Without verification a changed entry is handed out, and a truncated one is not."""
    items = store(counting, {"a": b"right", "b": b"whole"})
    load(cache, items)
    for name, data in (("a", b"wrong"), ("b", b"hal")):
        entry(cache, items[name]).chmod(0o644)
        entry(cache, items[name]).write_bytes(data)
    assert load(cache, items, "none") == {"a": b"wrong", "b": b"whole"}
    assert load(cache, items) == {"a": b"right", "b": b"whole"}


def test_full_finds_out_that_the_store_has_lost_a_file(cache: ObjectCache, counting: CountingStorage) -> None:
    """It costs one listing, or a look at each of few files; what is gone or has another size is an error."""
    items = store(counting, FILES)
    few = {path: items[path] for path in list(items)[:2]}
    load(cache, items)
    with counting.measure() as listed:
        assert load(cache, items, "full") == FILES
    with counting.measure() as looked:
        load(cache, few, "full")
    assert (dict(listed.by_method), dict(looked.by_method)) == ({"list": 1}, {"info": 2})
    counting.inner.put(items["part-1.bin"].key, b"other")
    for some in (items, few):
        with pytest.raises(IntegrityError, match=r"part-1\.bin"):
            load(cache, some, "full")
    counting.inner.delete_many([items["part-1.bin"].key])
    for some in (items, few):
        with pytest.raises(NotFound, match=r"part-1\.bin"):
            load(cache, some, "full")
    assert load(cache, items) == FILES


def test_what_is_damaged_in_the_store_is_never_cached(cache: ObjectCache, counting: CountingStorage) -> None:
    """It is an error, or, where the caller trusts everything, handed out as it is and not kept."""
    items = store(counting, {"a": b"right", "b": b"fine"})
    counting.inner.put(items["a"].key, b"wrong")
    with pytest.raises(IntegrityError, match="/a'"):
        load(cache, items)
    assert load(cache, items, "none") == {"a": b"wrong", "b": b"fine"}
    assert cached(cache) == set()
    assert scratch_files(cache) == []


def test_an_unreachable_store_is_told_as_that(tmp_path: Path) -> None:
    """What is cached loads without the store; what is not raises ``StorageUnavailable``."""
    faulty = FaultyStorage(MemoryStorage())
    cache = ObjectCache(faulty, ID, folder=tmp_path)
    items = store(faulty, FILES)
    load(cache, {"part-0.bin": items["part-0.bin"]})
    faulty.plan.append(error_before(times=100))
    assert load(cache, {"part-0.bin": items["part-0.bin"]}) == {"part-0.bin": FILES["part-0.bin"]}
    with pytest.raises(StorageUnavailable):
        load(cache, items)
    with pytest.raises(StorageUnavailable):
        load(cache, {"part-0.bin": items["part-0.bin"]}, "full")


def test_bad_arguments_are_refused(cache: ObjectCache) -> None:
    """An unknown level, and a record whose sha256 is a path, are errors and touch nothing."""
    with pytest.raises(InvalidInput, match="integrity"):
        cache.fetch([], "everything")
    for sha256 in ("../../x", "", "A" * 64, "0" * 63):
        with pytest.raises(IntegrityError, match="not a sha256"):
            cache.fetch([Stored("k", 1, sha256)])
        with pytest.raises(IntegrityError):
            cache.clear([sha256])


def test_it_says_what_it_is(cache: ObjectCache) -> None:
    """The text of a cache names the store, the folder and the limit."""
    assert repr(cache) == f"<ObjectCache of {cache.storage.url} in {cache.folder}, at most 10 GiB>"


# -- saving ----------------------------------------------------------------------------------------------------------


def test_what_was_saved_is_found(cache: ObjectCache, counting: CountingStorage, tmp_path: Path) -> None:
    """Files and bytes that were just stored are hits; the user's file stays the user's."""
    items = store(counting, FILES)
    mine, ours = tmp_path / "mine", tmp_path / "ours"
    mine.write_bytes(FILES["part-0.bin"])
    ours.write_bytes(FILES["part-1.bin"])
    cache.add([(items["part-0.bin"], mine), (items["part-2.bin"], FILES["part-2.bin"])])
    cache.add([(items["part-1.bin"], ours)], own=True)
    assert (mine.stat().st_nlink, ours.stat().st_nlink) == (1, 2)
    mine.write_bytes(b"changed later")
    with counting.measure() as later:
        assert load(cache, {path: items[path] for path in list(items)[:3]}) == dict(list(FILES.items())[:3])
    assert later.total == 0


def test_what_changed_since_it_was_stored_is_not_kept(
    cache: ObjectCache, counting: CountingStorage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that changed, or vanished, is left out, and the save goes on without a word above debug."""
    items = store(counting, FILES)
    (tmp_path / "mine").write_bytes(b"changed meanwhile")
    cache.add([(items["part-0.bin"], tmp_path / "mine")])
    cache.add([(items["part-1.bin"], tmp_path / "nowhere")])
    assert (cached(cache), scratch_files(cache), warnings(caplog)) == (set(), [], [])


# -- the limit -------------------------------------------------------------------------------------------------------


def used_at(cache: ObjectCache, item: Stored, second: int) -> None:
    os.utime(entry(cache, item), (second, second))


def test_the_least_recently_used_goes_first(counting: CountingStorage, tmp_path: Path) -> None:
    """With room for ten, an eleventh removes what was not used for longest, down to 90 %; a hit counts as use."""
    cache = ObjectCache(counting, ID, folder=tmp_path, limit_bytes=10_000)
    items = list(store(counting, {str(i): content(i) for i in range(11)}).values())
    for i, item in enumerate(items[:10]):
        cache.add([(item, content(i))])
        used_at(cache, item, 1_000 + i)
    assert cache.stats().bytes == 10_000
    assert cache.read(items[0]) == content(0)
    cache.fetch([items[10]]).release()
    assert cached(cache) == {items[i].sha256 for i in (0, *range(3, 11))}
    assert (cache.stats().entries, cache.stats().bytes, cache.stats().limit_bytes) == (9, 9_000, 10_000)


def test_many_small_files_are_bounded_too(tmp_path: Path) -> None:
    """However small they are, there are no more entries than a pass over them should meet."""
    cache = ObjectCache(MemoryStorage(), ID, folder=tmp_path)
    for i, item in enumerate(store(cache.storage, {str(i): content(i, 40) for i in range(20)}).values()):
        cache.add([(item, content(i, 40))])
    assert entries.evict(tmp_path, 1 << 30, most_entries=20) == 800
    assert entries.evict(tmp_path, 1 << 30, most_entries=10) == 9 * 40


def test_what_is_in_use_stays(counting: CountingStorage, tmp_path: Path) -> None:
    """A cache that is too small for what readers hold keeps it, and shrinks when they are done."""
    cache = ObjectCache(counting, ID, folder=tmp_path, limit_bytes=2_500)
    items = list(store(counting, {str(i): content(i) for i in range(8)}).values())
    held = [cache.fetch([item]) for item in items[:5]]
    assert cache.stats().bytes == 5_000
    for scratch, item in zip(held, items, strict=False):
        assert scratch.files[item.key].read_bytes() == content(items.index(item))
        scratch.release()
    cache.fetch([items[5]]).release()
    assert cache.stats().bytes <= 2_500


def test_the_last_reader_to_close_keeps_to_the_limit(counting: CountingStorage, tmp_path: Path) -> None:
    """What could not go because it was held goes then, also when nothing more is added."""
    cache = ObjectCache(counting, ID, folder=tmp_path, limit_bytes=2_500)
    items = store(counting, {str(i): content(i) for i in range(5)})
    payloads = [payload_of(counting, {"f": item}, cache=cache, subject="s") for item in items.values()]
    for i, payload in enumerate(payloads):
        assert payload.local("f").read_bytes() == content(i)
    assert cache.stats().bytes == 5_000
    for payload in payloads:
        payload.close()
    assert cache.stats().bytes <= 2_500


def test_what_is_larger_than_the_cache_is_loaded_past_it(counting: CountingStorage, tmp_path: Path) -> None:
    """Nothing is evicted for it, and its local file goes with the reader."""
    cache = ObjectCache(counting, ID, folder=tmp_path / "cache", limit_bytes=2_000)
    items = store(counting, {"small": content(1), "large": content(2, 5_000)})
    load(cache, {"small": items["small"]})
    scratch = cache.fetch([items["large"]])
    path = scratch.files[items["large"].key]
    assert path.read_bytes() == content(2, 5_000)
    scratch.release()
    assert not path.exists()
    assert cached(cache) == {items["small"].sha256}


def test_clearing_takes_nothing_from_readers(cache: ObjectCache, counting: CountingStorage) -> None:
    """All, or some contents, are removed and counted; who holds one goes on reading."""
    items = store(counting, FILES)
    scratch = cache.fetch(list(items.values()))
    file = cache.open(items["part-0.bin"])
    assert cache.clear([items["part-0.bin"].sha256, "0" * 64]) == 1
    assert cache.stats().entries == 5
    assert cache.clear() == 5
    assert cache.clear() == 0
    assert {path: scratch.files[item.key].read_bytes() for path, item in items.items()} == FILES
    assert file is not None
    with file:
        assert file.read() == FILES["part-0.bin"]
    scratch.release()
    with counting.measure() as again:
        assert load(cache, items) == FILES
    assert again.total == len(FILES)


def test_registries_share_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two registries that have the same URL at two endpoints, and the same keys, each have their own."""
    monkeypatch.setenv("PREFECT_REGISTRY_CACHE", str(tmp_path))
    here, there = CountingStorage(MemoryStorage()), CountingStorage(MemoryStorage())
    a, b = ObjectCache(here, "reg_a"), ObjectCache(there, "reg_b")
    assert a.folder == tmp_path / "objects" / "reg_a"
    of_a, of_b = store(here, {"m": b"from-A"}), store(there, {"m": b"from-B"})
    assert (of_a["m"].key, load(a, of_a), load(b, of_b)) == (of_b["m"].key, {"m": b"from-A"}, {"m": b"from-B"})
    same = store(there, {"n": b"from-A"})
    with there.measure() as fetched:
        load(b, same)
    assert fetched.total == 1


# -- together --------------------------------------------------------------------------------------------------------


def test_sixteen_threads_download_a_hot_object_once(cache: ObjectCache, counting: CountingStorage) -> None:
    """All get the same, and those who come while it is fetched wait for it."""
    items = store(counting, FILES)
    barrier = threading.Barrier(16)

    def one(_: int) -> dict[str, bytes]:
        barrier.wait(30)
        return load(cache, items)

    with counting.measure() as all_of_them, ThreadPoolExecutor(16) as pool:
        assert list(pool.map(one, range(16))) == [FILES] * 16
    assert all_of_them.total == len(FILES)
    assert scratch_files(cache) == []


class FastClock(SystemClock):
    """Waiting takes no time."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def test_nobody_waits_for_ever(counting: CountingStorage, tmp_path: Path) -> None:
    """When the one who fetches the same is stopped, the others fetch it themselves after a while."""
    clock = FastClock()
    cache = ObjectCache(counting, ID, folder=tmp_path, clock=clock)
    items = store(counting, {"a": b"a"})
    folder = entry(cache, items["a"]).parent
    folder.mkdir(parents=True)
    with turn_at(folder / ".lock", 0, SystemClock()) as held:
        assert held
        assert load(cache, items) == {"a": b"a"}
    assert 10 <= clock.seconds <= 11
    assert cached(cache) == {items["a"].sha256}


def in_processes(work: Callable[[int], None], count: int) -> list[Any]:
    context: Any = multiprocessing.get_context("fork")

    def child(number: int) -> None:  # what a test before this one has loaded may fail at the end of a fork
        try:
            work(number)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    children = [context.Process(target=child, args=(i,)) for i in range(count)]
    for child in children:
        child.start()
    return children


def test_processes_fill_a_tiny_cache_while_another_clears_it(tmp_path: Path) -> None:
    """Four that load the same files, in a cache that holds a third of them, each get every file right every time."""
    storage = LocalStorage(tmp_path / "store")
    contents = {str(i): content(i, 20_000) for i in range(12)}
    items = store(storage, contents)
    done = tmp_path / "done"

    def work(number: int) -> None:
        cache = ObjectCache(storage, ID, folder=tmp_path / "cache", limit_bytes=80_000)
        if number == 4:
            while not done.exists():
                cache.clear()
        for i in range(15 if number < 4 else 0):
            some = {path: items[path] for path in contents if (int(path) + i + number) % 3}
            if any(data != contents[path] for path, data in load(cache, some).items()):
                os._exit(3)
            data = cache.read(items[str(i % 12)])
            if data not in (None, contents[str(i % 12)]):
                os._exit(4)

    children = in_processes(work, 5)
    for child in children[:4]:
        child.join(120)
    done.touch()
    children[4].join(60)
    assert [child.exitcode for child in children] == [0] * 5
    cache = ObjectCache(storage, ID, folder=tmp_path / "cache", limit_bytes=80_000)
    assert load(cache, items) == contents
    cached(cache)
    assert cache.stats().bytes <= 80_000


def test_a_killed_process_leaves_no_half_file(tmp_path: Path) -> None:
    """SIGKILL while it fills the cache, 12 times: every entry is whole, and what it left aside is swept."""
    storage = LocalStorage(tmp_path / "store")
    contents = {str(i): content(i, 300_000) for i in range(10)}
    items = store(storage, contents)
    cache = ObjectCache(storage, ID, folder=tmp_path / "cache")
    left_behind = 0

    def work(_: int) -> None:
        while True:
            cache.clear()
            cache.fetch(list(items.values())).release()

    for i in range(12):
        (child,) = in_processes(work, 1)
        deadline = time.monotonic() + 30
        while not scratch_files(cache) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.003 * i)
        os.kill(child.pid, signal.SIGKILL)
        child.join(60)
        left_behind += bool(scratch_files(cache))
        cached(cache)
        assert in_child(lambda: load(cache, items)) == contents
        assert scratch_files(cache) == []
    assert left_behind


def test_a_forked_child_takes_nothing_from_its_parent(cache: ObjectCache, counting: CountingStorage) -> None:
    """A child can use the cache it inherited, and what the parent holds stays when the child ends."""
    items = store(counting, FILES)
    held = cache.fetch(list(items.values()))

    def child() -> dict[str, bytes]:
        held.release()
        return load(cache, items)

    assert in_child(child) == FILES
    assert {path: held.files[item.key].read_bytes() for path, item in items.items()} == FILES
    held.release()
    assert scratch_files(cache) == []


# -- a cache that cannot be used -------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made_never_fails_a_load(
    counting: CountingStorage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything comes from the store each time, nothing is left, and the log says so once."""
    (tmp_path / "file").touch()
    cache = ObjectCache(counting, ID, folder=tmp_path / "file" / "cache")
    items = store(counting, FILES)
    for _ in range(3):
        assert load(cache, items) == FILES
    cache.add([(items["part-0.bin"], FILES["part-0.bin"])])
    assert (cache.clear(), cache.stats().entries) == (0, 0)
    assert len(warnings(caplog)) == 1
    assert "is not used" in warnings(caplog)[0]


@pytest.mark.parametrize("real", [True, False], ids=["disk", "limit"])
def test_a_full_disk_never_fails_a_load(tmp_path: Path, real: bool) -> None:
    """Where the cache's disk is full, files come from the store; when there is room again, it is used again."""
    if real:
        need_mounting()
    disk = tmp_path / "disk"
    disk.mkdir()

    def work(fill: Callable[[], None], free: Callable[[], None]) -> Any:
        counting = CountingStorage(MemoryStorage())
        cache = ObjectCache(counting, ID, folder=disk / "cache")
        items = store(counting, FILES)
        first = load(cache, {"part-0.bin": items["part-0.bin"]})
        fill()
        if real:
            full = load(cache, items)
        else:  # the limit is on every disk of the process, so only memory is left
            cache.add([(items["part-1.bin"], FILES["part-1.bin"])])
            with counting.measure() as asked, payload_of(counting, items, cache=cache, subject="s") as payload:
                full = {path: payload.read(path) for path in items}
                assert asked.by_method["get"] == len(items) - 1
                assert asked.by_method["download"] <= 2 * len(items)  # tried once in each of two places
                with payload.open("part-5.bin") as file:
                    assert file.read() == FILES["part-5.bin"]
                with pytest.raises(StorageError, match="could not be written"):
                    payload.local("part-5.bin")
        free()
        again = load(cache, items)
        return first, full, again, cache.stats().entries, scratch_files(cache)

    first, full, again, kept, left = on_a_small_disk(disk, real, work, "32m")
    assert (first, full, again) == ({"part-0.bin": FILES["part-0.bin"]}, FILES, FILES)
    assert (kept, left) == (len(FILES), [])


def test_a_disk_that_is_only_read_serves_what_it_has(tmp_path: Path) -> None:
    """A cache that was made with the machine's image answers without a request, and what it lacks comes each time."""
    need_mounting()
    disk = tmp_path / "disk"
    disk.mkdir()

    def child() -> Any:
        assert mount(disk, "32m")
        counting = CountingStorage(MemoryStorage())
        items = store(counting, FILES)
        some = {path: items[path] for path in list(items)[:3]}
        in_child(lambda: load(ObjectCache(counting, ID, folder=disk / "cache"), some))
        make_read_only(disk)
        cache = ObjectCache(counting, ID, folder=disk / "cache")
        with counting.measure() as hits:
            right = load(cache, some) == {path: FILES[path] for path in some}
        return right, hits.total, load(cache, items) == FILES, cache.stats().entries

    assert in_child(child) == (True, 0, True, 3)


def test_without_links_files_are_copied(
    cache: ObjectCache, counting: CountingStorage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a filesystem that has no hard links the cache works, and readers keep what was removed."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    items = store(counting, FILES)
    assert load(cache, items) == FILES
    with counting.measure() as later:
        scratch = cache.fetch(list(items.values()))
    assert later.total == 0
    cache.clear()
    assert {path: scratch.files[item.key].read_bytes() for path, item in items.items()} == FILES
    scratch.release()
    assert (scratch_files(cache), warnings(caplog)) == ([], [])


# -- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mib", [192, pytest.param(512, marks=pytest.mark.deep)])
def test_large_files_pass_through_bounded_memory(tmp_path: Path, mib: int) -> None:
    """Fetching a file of 192 MiB, or 512, and having it from the cache, adds less than 100 MiB to the process."""
    storage = LocalStorage(tmp_path / "store")
    (tmp_path / "store").mkdir()
    with open(tmp_path / "store" / "large", "wb") as file:
        file.truncate(mib << 20)
    item = Stored("large", *stored_digest(storage, "large"))

    def peak() -> int:
        return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) << 10

    def child() -> int:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = peak()
        cache = ObjectCache(storage, ID, folder=tmp_path / "cache")
        for _ in range(2):
            cache.fetch([item]).release()
        assert cache.stats().bytes == mib << 20
        return peak() - before

    assert in_child(child) < 100 << 20
