"""What objects cost, in requests and in round trips one after the other, counted: the same on every machine."""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Callable
from itertools import product

import pytest

from prefect_registry import Registry
from prefect_registry.catalog.histories import newest_rows
from prefect_registry.errors import RegistryError
from prefect_registry.objects.errors import RegistryVersionConflict
from prefect_registry.records.types import OBJECT
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.remote import RemoteStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.counting import CountingStorage
from prefect_registry.testing.proxies import Proxy, Request
from prefect_registry.testing.servers import Server

LARGE = 200_000
Call = Callable[[], object]


class Bench:
    """Processes, as far as the code can tell, on one counted store."""

    def __init__(self, versions: bool = True, mutable: bool = False) -> None:
        self.counting = CountingStorage(MemoryStorage(), width=16)
        self._versions, self._mutable = versions, mutable
        self.registry = self.process()

    def process(self) -> Registry:
        """It has measured its clock and read the settings of objects: once per process, three calls and one."""
        registry = Registry(
            ResolvingStorage(self.counting),
            heartbeats=False,
            version_objects=self._versions,
            mutable=self._mutable,
            use_cache=False,
        )
        registry.ledger.store.know_time()
        registry.parts.objects.settings.fixed()
        return registry

    def cost(self, call: Call) -> tuple[int, int]:
        """Requests, and round trips."""
        with self.counting.measure() as found:
            call()
        return found.total, found.sequential


@pytest.fixture
def bench() -> Bench:
    return Bench()


def of_size(size: int) -> bytes:
    """A new content."""
    return os.urandom(size)


# -- saving ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 10, 16_000])
def test_saving_an_inline_object_is_two_requests_in_one_round_trip(bench: Bench, size: int) -> None:
    """Its record beside its touch. A number of its own costs a listing before."""
    unversioned = Bench(versions=False)
    assert unversioned.cost(lambda: unversioned.registry.save("o", of_size(size))) == (2, 1)
    assert bench.cost(lambda: bench.registry.save("o", of_size(size), version="2.1")) == (2, 1)
    for _ in range(3):
        assert bench.cost(lambda: bench.registry.save("o", of_size(size))) == (3, 2)


def test_saving_one_larger_file_is_five_requests_in_three_round_trips(bench: Bench) -> None:
    """Begin, record and its touch; data; decision. For a number, the data is sent beside the begin and the listing."""
    unversioned = Bench(versions=False)
    assert unversioned.cost(lambda: unversioned.registry.save("o", of_size(LARGE))) == (5, 3)
    for version in ("1", "7.2"):
        assert bench.cost(lambda v=version: bench.registry.save("o", of_size(LARGE), version=v)) == (5, 3)  # type: ignore
    for _ in range(3):
        assert bench.cost(lambda: bench.registry.save("o", of_size(LARGE))) == (6, 3)


def test_saving_in_a_run_is_two_round_trips_more_than_sending_the_data(bench: Bench) -> None:
    """Beside each write the run's decision is looked at; a version that was given is looked for before."""
    run = bench.registry.insert_run("r")
    assert bench.cost(lambda: bench.registry.save("o", of_size(10), version="1", run_id=run)) == (3, 1)
    assert bench.cost(lambda: bench.registry.save("o", of_size(10), run_id=run)) == (4, 2)
    assert bench.cost(lambda: bench.registry.save("o", of_size(LARGE), version="9", run_id=run)) == (7, 3)
    assert bench.cost(lambda: bench.registry.save("o", of_size(LARGE), run_id=run)) == (6, 2)
    assert bench.cost(lambda: bench.registry.close_run(run, True)) == (2, 2)


def test_what_is_there_already_is_not_sent_again(bench: Bench) -> None:
    """By who has met the version it costs a look; by others an attempt to create its record, or in a run a look."""
    content = of_size(LARGE)
    bench.registry.save("o", content, version="1")
    assert bench.cost(lambda: bench.registry.save("o", content, version="1")) == (1, 1)
    for in_a_run in (False, True):
        other = bench.process()
        run = other.insert_run("r") if in_a_run else None
        with bench.counting.measure() as found:
            assert other.save("o", content, version="1", run_id=run) == "1"
        assert found.by_method["upload"] == 0
        assert found.total <= 9
        assert found.sequential <= 6
    with bench.counting.measure() as small:
        bench.registry.save("small", b"x", version="1")
        bench.registry.save("small", b"x", version="1")
    assert small.total <= 2 + 4


def test_what_would_be_sent_in_parts_is_looked_for_first(bench: Bench) -> None:
    """By a process that has never met the version: a look, and one at the decision behind it; nothing is sent."""
    data = of_size(RemoteStorage.part_bytes)
    bench.registry.save("x", data, version="1")
    newcomer = bench.process()
    assert bench.cost(lambda: newcomer.save("x", data, version="1")) == (3, 2)
    assert bench.cost(lambda: newcomer.save("x", data, version="2")) == (7, 4)


def test_overwriting_is_two_round_trips() -> None:
    """Listing, then the record beside its touch; with files, the run of its own around it."""
    bench = Bench(versions=False, mutable=True)
    bench.registry.save("o", b"1")
    assert bench.cost(lambda: bench.registry.save("o", b"2", on_conflict="overwrite")) == (3, 2)
    assert bench.cost(lambda: bench.registry.save("o", of_size(LARGE), on_conflict="overwrite")) == (6, 4)
    bench.registry.save("o", b"3", on_conflict="overwrite")
    assert bench.cost(lambda: bench.process().save("o", b"4", on_conflict="overwrite"))[1] - 5 <= 3
    other = bench.process()
    assert bench.cost(lambda: other.save("o", of_size(LARGE), on_conflict="overwrite")) == (8, 4)
    assert bench.cost(lambda: other.save("new", b"1", on_conflict="overwrite")) == (4, 2)


# -- loading ---------------------------------------------------------------------------------------------------------


def test_loading_a_known_version_is_one_round_trip_and_the_latest_two(bench: Bench) -> None:
    """A listing beside the record; the listing alone when this process has met it; the latest after a listing."""
    for n in range(3):
        bench.registry.save("o", n)
    reader = bench.process()
    assert bench.cost(lambda: reader.load("o@2")) == (2, 1)
    assert bench.cost(lambda: reader.load("o@2")) == (1, 1)
    assert bench.cost(lambda: reader.load("o")) == (2, 2)
    assert bench.cost(lambda: reader.load("o")) == (1, 1)
    bench.registry.set_alias("o", "best", "2")
    newcomer = bench.process()
    assert bench.cost(lambda: newcomer.load("o@best")) == (4, 2)
    assert bench.cost(lambda: newcomer.load("o@best")) == (2, 2)


def test_a_new_process_reads_the_settings_of_objects_beside_what_it_loads() -> None:
    """What it loads is in one round trip all the same; before its first save it reads them."""
    bench = Bench()
    bench.registry.save("o", 1)
    newcomer = Registry(ResolvingStorage(bench.counting), heartbeats=False, use_cache=False)
    assert bench.cost(lambda: newcomer.load("o@1")) == (3, 1)
    another = Registry(ResolvingStorage(bench.counting), heartbeats=False, use_cache=False)
    another.ledger.store.know_time()
    assert bench.cost(lambda: another.save("o", 2, version="7")) == (3, 2)


def test_loading_files_is_one_round_trip_more_and_one_for_a_new_decision(bench: Bench) -> None:
    """Listing beside record, the decision of its run (once for all that it has published), the data."""
    bench.registry.save("o", of_size(LARGE))
    reader = bench.process()
    assert bench.cost(lambda: reader.load("o@1")) == (4, 3)
    assert bench.cost(lambda: reader.load("o@1")) == (2, 2)


def test_looking_whether_there_is_an_object_is_one_round_trip(bench: Bench) -> None:
    """Whether it is there or not."""
    bench.registry.save("o", 1)
    reader = bench.process()
    assert bench.cost(lambda: reader.has_object("o@1")) == (2, 1)
    assert bench.cost(lambda: reader.has_object("o@1")) == (1, 1)
    assert bench.cost(lambda: reader.has_object("nothing@1")) == (2, 1)
    assert bench.cost(lambda: reader.has_object("nothing")) == (1, 1)


# -- the rest --------------------------------------------------------------------------------------------------------


def test_moving_an_alias_deleting_and_restoring_are_two_round_trips(bench: Bench) -> None:
    """A look, and what is written if nothing has changed since."""
    r = bench.registry
    for n in range(2):
        r.save("o", n)
    assert bench.cost(lambda: r.set_alias("o", "best", "1")) == (5, 2)
    assert bench.cost(lambda: r.set_alias("o", "best", "2")) == (4, 2)
    assert bench.cost(lambda: r.remove_alias("o", "best")) == (3, 2)
    assert bench.cost(lambda: r.delete("o@1")) == (3, 2)
    assert bench.cost(lambda: r.restore("o@1")) == (3, 2)
    other = bench.process()
    assert bench.cost(lambda: other.delete("o@2")) == (4, 2)


def test_listing_objects_is_answered_by_the_index(bench: Bench) -> None:
    """However many there are: one listing of the open hour, which is the sync, and nothing else."""
    for n in range(30):
        bench.registry.save(f"o{n:02}", n)
    bench.registry.list_objects()
    assert bench.cost(bench.registry.list_objects) == (1, 1)
    assert bench.cost(bench.registry.list_objects_and_versions) == (1, 1)
    assert bench.cost(lambda: bench.registry.info()) == (1, 1)
    assert bench.cost(lambda: bench.registry.list_versions("o00")) == (1, 1)
    found = bench.cost(lambda: bench.registry.catalog.ask(lambda c: newest_rows(c, OBJECT), fresh=False))
    assert found == (0, 0), "after the sync nothing is asked"


@pytest.mark.parametrize("names", [900, 1_900])
def test_listing_many_names_is_a_page_per_thousand(names: int) -> None:
    """Of the open hour, by who has saved them; who has not reads each record once, all of them in one round trip."""
    bench = Bench()
    saved = sorted(f"o{n:05}" for n in range(names))
    assert bench.registry.save(saved, 1, version="1").all_succeeded
    pages = -(-names // 1_000)
    for listing in (bench.registry.list_objects, bench.registry.list_objects_and_versions):
        listing()
        with bench.counting.measure() as found:
            assert list(listing()) == saved
        assert (found.by_method, found.sequential) == ({"list": pages}, pages)
    reader = bench.process()
    with bench.counting.measure() as found:
        assert reader.list_objects() == saved
    assert found.by_method == {"list": pages + 1, "get": names}, "one listing of checkpoints"
    assert found.sequential == pages + 2
    assert bench.cost(lambda: reader.list_objects("o0000")) == (pages, pages)


def test_listing_the_versions_of_an_object_is_a_page_per_thousand(bench: Bench) -> None:
    """One listing, and a record for each version that this process has not met."""
    for n in range(1, 6):
        bench.registry.save("o", n)
    reader = bench.process()
    assert bench.cost(lambda: reader.list_versions("o")) == (1 + 5, 2)
    assert bench.cost(lambda: reader.list_versions("o")) == (1, 1)


# -- the same, as requests of S3 -------------------------------------------------------------------------------------


@pytest.fixture
def counted(seaweedfs: Server, seaweedfs_proxy: Proxy) -> tuple[Registry, Callable[[Call], list[str]]]:
    """A registry on S3, and what of each call a proxy before the server has seen."""
    server = seaweedfs.through(seaweedfs_proxy.endpoint)
    registry = Registry(
        server.url(), storage_options=server.storage_options, heartbeats=False, version_objects=True, use_cache=False
    )
    registry.save("warm", of_size(LARGE))

    def requests(call: Call) -> list[str]:
        seaweedfs_proxy.requests.clear()
        call()
        return sorted(method if "list-type=2" not in path else "LIST" for method, path in seaweedfs_proxy.requests)

    return registry, requests


@pytest.mark.server
def test_the_same_requests_reach_s3(counted: tuple[Registry, Callable[[Call], list[str]]], seaweedfs: Server) -> None:
    """No client library adds any."""
    registry, requests = counted
    assert requests(lambda: registry.save("o", b"x", version="1")) == ["PUT"] * 2
    assert requests(lambda: registry.save("o", b"y")) == ["LIST", "PUT", "PUT"]
    assert requests(lambda: registry.save("f", of_size(LARGE), version="1")) == ["PUT"] * 5
    assert requests(lambda: registry.save("f", of_size(LARGE))) == ["LIST", *["PUT"] * 5]
    assert requests(lambda: registry.load("o@1")) == ["LIST"]
    assert requests(lambda: registry.load("f@1")) == ["GET", "LIST"]
    assert requests(lambda: registry.has_object("nothing@1")) == ["GET", "LIST"]
    assert requests(lambda: registry.set_alias("o", "best", "1")) == ["GET", "LIST", "LIST", "PUT", "PUT"]
    assert requests(lambda: registry.delete("o@1")) == ["LIST", "PUT", "PUT"]


@pytest.mark.server
def test_what_s3_has_already_is_not_sent_by_a_newcomer(
    counted: tuple[Registry, Callable[[Call], list[str]]], seaweedfs_proxy: Proxy
) -> None:
    """A process that has never met the version: no request goes where bytes of files lie. Other content is refused."""
    registry, _ = counted
    content = of_size(LARGE)
    registry.save("f", content, version="1")
    for in_a_run, same in product((False, True), repeat=2):
        newcomer = pickle.loads(pickle.dumps(registry))
        run = newcomer.insert_run("r") if in_a_run else None
        seaweedfs_proxy.requests.clear()
        with contextlib.nullcontext() if same else pytest.raises(RegistryVersionConflict):
            assert newcomer.save("f", content if same else of_size(LARGE), version="1", run_id=run) == "1"
        assert len(seaweedfs_proxy.requests) >= 3
        assert [path for _, path in seaweedfs_proxy.requests if "/data/" in path] == []


@pytest.mark.server
@pytest.mark.parametrize("how", ["saved", "loaded"])
def test_what_this_process_has_saved_or_loaded_is_not_sent_again_under_the_next_number(
    counted: tuple[Registry, Callable[[Call], list[str]]], seaweedfs_proxy: Proxy, how: str
) -> None:
    """It is copied inside the store; other content costs nothing more; what is gone is sent."""
    registry, requests = counted
    content, sent = of_size(LARGE), list[int]()

    def is_long(request: Request) -> bool:
        sent.append(len(request.body))
        return False

    registry.save("f", content)
    if how == "loaded":
        registry = pickle.loads(pickle.dumps(registry))
        assert registry.load("f") == content
    seaweedfs_proxy.fail_next("503 before", which=is_long)
    assert registry.save("f", content) == "2"
    assert 0 < max(sent) < 4_000
    assert requests(lambda: registry.save("f", of_size(LARGE))) == ["LIST", *["PUT"] * 5]
    assert max(sent) >= LARGE

    registry.save("gone", content)
    registry.storage.delete_many([info.key for info in registry.storage.list("data/")])
    assert registry.save("gone", content) == "2"
    assert registry.load("gone@2") == content


def test_a_wrong_name_costs_nothing(bench: Bench) -> None:
    """It is refused before anything is asked."""

    def wrong() -> None:
        with pytest.raises(RegistryError):
            bench.registry.save("a@b@c", 1)

    assert bench.cost(wrong) == (0, 0)
