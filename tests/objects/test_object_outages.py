"""A store that is down, denies access, or may only be read: never "not found" (issue 5)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from prefect_registry import Registry
from prefect_registry.errors import AccessDenied, InvalidInput, OutcomeUnknown, StorageError, StorageUnavailable
from prefect_registry.objects.errors import RegistryObjectNotFound
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.faults import FaultyStorage, error_before
from prefect_registry.testing.proxies import Proxy
from prefect_registry.testing.servers import Server

LARGE = "x" * 20_000
NOBODY = 65_534
Use = Callable[[Registry], object]
READS: dict[str, Use] = {
    "load": lambda r: r.load("m"),
    "load a version": lambda r: r.load("m@1"),
    "load an alias": lambda r: r.load("m@best"),
    "load files": lambda r: r.load("large"),
    "load nothing": lambda r: r.load("nothing"),
    "item": lambda r: r["m"],
    "get": lambda r: r.get("m", "default"),
    "has": lambda r: r.has_object("m"),
    "has not": lambda r: r.has_object("nothing@3"),
    "in": lambda r: "m" in r,
    "resolve": lambda r: r.resolve("m"),
    "info": lambda r: r.info("m@1"),
    "infos": lambda r: r.info(),
    "list": lambda r: r.list_objects(),
    "length": len,
    "versions": lambda r: r.list_versions("m"),
    "aliases": lambda r: r.aliases("m"),
    "pop": lambda r: r.pop("m", None),
    "setdefault": lambda r: r.setdefault("m", 1),
}
WRITES: dict[str, Use] = {
    "save": lambda r: r.save("m", 2),
    "save files": lambda r: r.save("m", LARGE),
    "item": lambda r: r.__setitem__("m", 3),
    "delete": lambda r: r.delete("m"),
    "delete a version": lambda r: r.delete("m@1"),
    "restore": lambda r: r.restore("gone"),
    "alias": lambda r: r.set_alias("m", "best", "2"),
}
FAILURES: dict[str, tuple[Callable[[], Exception], type[StorageError]]] = {
    "down": (lambda: StorageUnavailable("The store does not answer"), StorageUnavailable),
    "denied": (lambda: AccessDenied("The store denies access"), AccessDenied),
}


def fill(registry: Registry) -> Registry:
    """Some objects."""
    for n in range(2):
        registry.save("m", n)
    registry.save("large", LARGE)
    registry.save("gone", 1)
    registry.delete("gone")
    registry.set_alias("m", "best", "1")
    return registry


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("name", [*READS, *(f"write: {name}" for name in WRITES)])
def test_what_cannot_be_reached_is_never_absent(name: str, failure: str, warm: bool) -> None:
    """Of every operation the error is that of the store, whatever this process has met before."""
    memory = MemoryStorage()
    fill(Registry(memory, heartbeats=False, version_objects=True, use_cache=False))
    storage = FaultyStorage(memory)
    registry = Registry(ResolvingStorage(storage, attempts=2, timeout=0.1, first_delay=0.001), heartbeats=False,
                        use_cache=False)  # fmt: skip
    if warm:
        assert (registry.load("m@1"), registry.load("large"), registry.list_objects()) == (0, LARGE, ["large", "m"])
    error, expected = FAILURES[failure]
    storage.plan.append(error_before(error, times=100_000))
    use = READS[name] if name in READS else WRITES[name.removeprefix("write: ")]
    with pytest.raises((expected, OutcomeUnknown) if name.startswith("write") else expected) as caught:
        use(registry)
    assert not isinstance(caught.value, KeyError)
    if name.startswith("write"):
        assert caught.value.committed == "no"
    storage.plan.clear()
    assert registry.load("m") == 1
    assert registry.list_versions("m") == ["1", "2"]


@pytest.mark.parametrize("failure", FAILURES)
def test_each_item_of_a_batch_tells_that_the_store_cannot_be_reached(failure: str) -> None:
    """A batch raises nothing, and calls nothing absent."""
    memory = MemoryStorage()
    fill(Registry(memory, heartbeats=False, version_objects=True, use_cache=False))
    error, expected = FAILURES[failure]
    storage = FaultyStorage(memory)
    registry = Registry(ResolvingStorage(storage, attempts=1), heartbeats=False, use_cache=False)
    storage.plan.append(error_before(error, times=100_000))
    found = registry.load(["m", "nothing"])
    assert [type(e) for e in found.exceptions.values()] == [expected] * 2
    assert [e["kind"] for e in found.errors.values()] == [expected.kind] * 2


@pytest.mark.server
def test_a_server_that_goes_down_under_an_open_registry(seaweedfs: Server, seaweedfs_proxy: Proxy) -> None:
    """Real clients, no connection: reads and writes say that the store is unavailable."""
    storage = seaweedfs.through(seaweedfs_proxy.endpoint).storage()
    storage = ResolvingStorage(storage, attempts=2, timeout=1, first_delay=0.01)
    registry = fill(Registry(storage, heartbeats=False, version_objects=True, use_cache=False))
    seaweedfs_proxy.fail_next("reset before", times=10_000, which=lambda request: True)
    for use in (READS["load"], READS["load nothing"], READS["has"], READS["list"], WRITES["save"], WRITES["delete"]):
        with pytest.raises(StorageUnavailable) as caught:
            use(registry)
        assert not isinstance(caught.value, KeyError)


@pytest.mark.server
def test_a_server_that_denies_access_under_an_open_registry(seaweedfs: Server, seaweedfs_proxy: Proxy) -> None:
    """As when a key is revoked."""
    storage = ResolvingStorage(seaweedfs.through(seaweedfs_proxy.endpoint).storage(), attempts=2, timeout=1)
    registry = fill(Registry(storage, heartbeats=False, version_objects=True, use_cache=False))
    seaweedfs_proxy.fail_next("403", times=10_000, which=lambda request: True)
    for use in (READS["load"], READS["load nothing"], READS["has"], READS["list"], WRITES["save"], WRITES["delete"]):
        with pytest.raises(AccessDenied):
            use(registry)


@pytest.mark.server
@pytest.mark.parametrize("filled", [True, False])
def test_who_may_only_read_a_bucket_can_use_what_is_there(
    seaweedfs: Server, seaweedfs_proxy: Proxy, filled: bool
) -> None:
    """Also when nobody has ever saved an object, and its settings are not there."""
    url = seaweedfs.url()
    owner = Registry(url, storage_options=seaweedfs.storage_options, version_objects=True)
    if filled:
        fill(owner)
    seaweedfs_proxy.fail_next("403", times=10_000, which=lambda request: request.method not in ("GET", "HEAD"))
    options = dict(seaweedfs.through(seaweedfs_proxy.endpoint).storage_options)
    check_reader(Registry(url, storage_options=options), filled)


@pytest.mark.parametrize("filled", [True, False])
def test_who_may_only_read_a_folder_can_use_what_is_there(
    tmp_path_factory: pytest.TempPathFactory, filled: bool
) -> None:
    """As a user whom file modes bind."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        place = Path(folder) / "registry"
        owner = Registry(place, version_objects=True)
        if filled:
            fill(owner)
        for path in [place, *place.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                if os.getuid() == 0:
                    os.setgroups([])
                    os.setgid(NOBODY)
                    os.setuid(NOBODY)
                check_reader(Registry(place), filled)
                code = 0
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def check_reader(registry: Registry, filled: bool) -> None:
    """Everything that reads works, everything that writes is denied, and says that nothing was committed."""
    if filled:
        assert (registry.load("m"), registry.load("m@best"), registry.load("large")) == (1, 0, LARGE)
        assert registry.list_versions("m") == ["1", "2"]
        assert registry.info("m@1")["version"] == "1"
    assert registry.list_objects() == (["large", "m"] if filled else [])
    assert registry.has_object("m") == filled
    assert not registry.has_object("nothing")
    with pytest.raises(RegistryObjectNotFound):
        registry.load("nothing")
    writes = [WRITES["save"], WRITES["save files"]]
    writes += [WRITES["delete"], WRITES["alias"], WRITES["restore"]] if filled else []
    for use in writes:
        with pytest.raises(AccessDenied) as caught:
            use(registry)
        assert caught.value.committed == "no"


def test_other_settings_are_noticed_by_readers_too(tmp_path: Path) -> None:
    """Reading needs no settings, and says so when other ones were asked for."""
    fill(Registry(tmp_path / "r", version_objects=True))
    with pytest.raises(InvalidInput, match="version_objects"):
        Registry(tmp_path / "r", version_objects=False).load("m")
