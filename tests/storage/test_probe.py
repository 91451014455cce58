"""What the probe believes and what it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from filesystems import IgnoringFileSystem, LinkingFileSystem, LookingFirstFileSystem, UnwillingFileSystem
from fsspec.implementations.cached import SimpleCacheFileSystem
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from prefect_registry.errors import AccessDenied, UnsupportedStorage
from prefect_registry.registry import Registry
from prefect_registry.storage import Storage, Upload, open_storage
from prefect_registry.storage.generic import GenericStorage
from prefect_registry.storage.local import LocalStorage
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.probe import probe
from prefect_registry.storage.s3 import is_amazon
from prefect_registry.testing.faults import FaultyStorage, error_before, truncation
from prefect_registry.testing.proxies import Proxy
from prefect_registry.testing.servers import Server

NAMES = ["write", "create", "race", "overwrite", "list", "clock", "delete"]


def generic(filesystem: Any, root: Path) -> GenericStorage:
    return GenericStorage(f"other://{root}", filesystem=filesystem, root=str(root))


@pytest.fixture(params=["memory", "local", "generic"])
def good(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Storages that keep their word."""
    if request.param == "generic":
        return generic(LinkingFileSystem(auto_mkdir=True), tmp_path)
    return MemoryStorage() if request.param == "memory" else LocalStorage(tmp_path)


def test_a_good_storage_passes(good: Storage) -> None:
    """Every check is made and timed, and nothing is left behind."""
    report = probe(good)
    assert [check.name for check in report.checks] == NAMES
    assert report.ok
    assert all(check.detail and not check.mend and check.seconds >= 0 for check in report.checks)
    assert report.clock_offset is not None
    report.raise_unless_ok()
    assert list(good.list("")) == []


@pytest.mark.server
@pytest.mark.parametrize("name", ["seaweedfs", "moto", "fake_gcs"])
def test_servers_pass(request: pytest.FixtureRequest, name: str) -> None:
    """The real object stores pass."""
    server: Server = request.getfixturevalue(name)
    report = probe(server.storage())
    assert {check.name: check.detail for check in report.checks if not check.ok and check.name != "race"} == {}
    assert report.ok or name == "moto"  # known to race now and then


@pytest.mark.server
def test_a_server_that_ignores_the_condition(ignoring_server: Server) -> None:
    """A server that answers 200 to a conditional write of an existing object is found out."""
    report = probe(ignoring_server.storage())
    assert not report.ok
    assert [check.name for check in report.checks if not check.ok] == ["create", "race"]
    with pytest.raises(UnsupportedStorage, match=r"created a second time.*honours If-None-Match"):
        report.raise_unless_ok()


@pytest.mark.server
def test_rclone_is_refused(rclone: Server) -> None:
    """rclone's S3 server is found out by the probe, with a clear error, and left as it was."""
    storage = rclone.storage("probed")
    report = probe(storage)
    assert {"create", "race"} <= {check.name for check in report.checks if not check.ok}
    with pytest.raises(UnsupportedStorage, match=r"created a second time.*honours If-None-Match"):
        report.raise_unless_ok()
    # After several writes of one object at once, rclone may go on listing it when it is deleted.
    assert [info.key for info in storage.list("") if storage.info(info.key) is not None] == []


@pytest.mark.server
def test_a_registry_on_rclone_is_refused_before_its_first_write(rclone: Server) -> None:
    """Whoever never asked the probe is refused too: by every way to write, at a new store and at an old one."""
    raw = rclone.storage("refused")
    with pytest.raises(UnsupportedStorage, match="created a second time") as caught:
        Registry(raw.url, storage_options=rclone.storage_options)
    assert (caught.value.committed, caught.value.todo != "") == ("no", True)
    assert list(raw.list("")) == []
    made = Registry(raw)  # who passes a storage that is taken at its word
    before = [info.key for info in raw.list("")]
    other = Registry(raw.url, storage_options=rclone.storage_options)
    assert other.registry_id == made.registry_id
    for write in (
        lambda: other.insert_run("test"),
        lambda: other.storage.put("key", b"x"),
        lambda: other.storage.upload([Upload("key", b"x")]),
    ):
        with pytest.raises(UnsupportedStorage, match="created a second time"):
            write()
    assert [info.key for info in raw.list("")] == before
    assert next(check.name for check in other.check().checks if not check.ok) == "create"


@pytest.mark.server
def test_a_server_is_asked_once(seaweedfs: Server) -> None:
    """Three requests before the first write of a process to a server and bucket, and no more for further stores."""
    with Proxy(seaweedfs.endpoint).running() as proxy:  # on a port that this process has asked nothing on
        server = seaweedfs.through(proxy.endpoint)
        storage = open_storage(server.url(), server.storage_options)
        assert storage.info("key") is None  # who reads does not ask
        proxy.reset()
        storage.put("key", b"x")
        assert [method for method, _ in proxy.requests] == ["PUT", "PUT", "POST", "PUT"]
        assert proxy.seen == [200, 412]
        proxy.reset()
        storage.create("other", b"x")
        open_storage(server.url(), server.storage_options).create("key", b"x")
        assert [method for method, _ in proxy.requests] == ["PUT", "PUT"]
        assert [info.key for info in storage.list("")] == ["key", "other"]


@pytest.mark.server
def test_amazon_is_taken_at_its_word(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS documents the condition, in every region and partition: nothing is asked there."""
    hosts = ["s3.amazonaws.com", "s3.eu-central-1.amazonaws.com", "s3.cn-north-1.amazonaws.com.cn"]
    for host in [*hosts, "s3.dualstack.us-east-1.amazonaws.com", "s3.us-east-1.api.aws"]:
        assert is_amazon(f"https://{host}")
    for host in ["minio.example.com:9000", "amazonaws.com.example.com", "127.0.0.1:9000", "my-amazonaws.com"]:
        assert not is_amazon(f"https://{host}")
    monkeypatch.setattr("prefect_registry.storage.s3.is_amazon", lambda endpoint: True)
    with Proxy(moto.endpoint).running() as proxy:
        server = moto.through(proxy.endpoint)
        storage = open_storage(server.url(), server.storage_options)
        storage.create("key", b"x")
    assert [method for method, _ in proxy.requests] == ["PUT"]


def test_looking_first_is_found_out(tmp_path: Path) -> None:
    """A filesystem that looks and then writes is right when alone, and found out in the race."""
    report = probe(generic(LookingFirstFileSystem(auto_mkdir=True), tmp_path))
    assert [check.name for check in report.checks if not check.ok] == ["race"]


@pytest.mark.parametrize("kind", [LookingFirstFileSystem, IgnoringFileSystem, UnwillingFileSystem])
def test_nothing_is_written_before_the_proof(kind: type[LocalFileSystem], tmp_path: Path) -> None:
    """A filesystem that fails the probe is refused by every write, and left as it was."""
    storage = generic(kind(auto_mkdir=True), tmp_path)
    for call in (lambda: storage.create("key", b"x"), lambda: storage.put("key", b"x")):
        with pytest.raises(UnsupportedStorage, match="cannot hold a registry") as caught:
            call()
        assert caught.value.todo
    assert list(storage.list("")) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_known_liars_are_refused_untried(tmp_path: Path) -> None:
    """Caches, fsspec's memory and whatever inherits looking first are refused even for reading."""
    obstore = type("FsspecStore", (LinkingFileSystem,), {"__module__": "obstore.fsspec"})
    filesystems = [
        obstore(),
        LocalFileSystem(),
        MemoryFileSystem(),
        SimpleCacheFileSystem(fs=LinkingFileSystem(), cache_storage=str(tmp_path / "cache")),
        DirFileSystem(str(tmp_path), LocalFileSystem()),
    ]
    for filesystem in filesystems:
        with pytest.raises(UnsupportedStorage):
            generic(filesystem, tmp_path).get("key")


def test_the_proof_is_made_once(tmp_path: Path) -> None:
    """One process proves a storage once, and hands the proof on with the storage."""
    import copy

    storage = generic(LinkingFileSystem(auto_mkdir=True), tmp_path)
    assert not storage.proved
    storage.create("key", b"x")
    assert storage.proved
    assert copy.copy(storage).proved


def test_a_storage_error_ends_the_probe() -> None:
    """A refusal is reported once, as the error that it is, with its own mend."""
    storage = FaultyStorage(MemoryStorage(), error_before(lambda: AccessDenied("no", todo="Ask"), method="create"))
    report = probe(storage)
    assert [(check.name, check.ok, check.mend) for check in report.checks] == [("write", False, "Ask")]
    with pytest.raises(AccessDenied):
        report.raise_unless_ok()


def test_stale_reads_and_listings_are_found_out() -> None:
    """A store that answers from a cache fails where it matters."""
    assert not probe(FaultyStorage(MemoryStorage(), truncation(method="list", key="*list/"))).ok
    assert not probe(FaultyStorage(MemoryStorage(), truncation(method="get", key="*overwritten"))).ok
