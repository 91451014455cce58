"""Every backend against the contract, on real servers."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from filesystems import LinkingFileSystem
from small_disk import mount, need_mounting

from prefect_registry.storage import Storage
from prefect_registry.storage.generic import GenericStorage
from prefect_registry.storage.local import LocalStorage
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.testing.contract import (
    AccessContract,
    BucketContract,
    CapacityContract,
    ServerContract,
    StorageContract,
)
from prefect_registry.testing.contracts.documents import DocumentContract
from prefect_registry.testing.proxies import Proxy
from prefect_registry.testing.servers import HOST, Server, free_ports

fsspec.register_implementation("linking", LinkingFileSystem, clobber=True)
NOBODY = 65534


class TestMemory(StorageContract):
    """Threads only: other processes do not see it."""

    race_processes, race_threads, race_keys = 0, 32, 400
    shared = False
    has_filesystem = False

    @pytest.fixture
    def storage(self) -> Storage:
        return MemoryStorage()


class TestLocal(StorageContract, CapacityContract):
    """A folder, and one that is full."""

    @pytest.fixture
    def storage(self, tmp_path_factory: pytest.TempPathFactory) -> Storage:
        return LocalStorage(tmp_path_factory.mktemp("store") / "root")

    @pytest.fixture
    def run_full(self, tmp_path: Path) -> Callable[[Callable[[Storage], str]], str]:
        """A process that may not write files larger than 64 KiB: the kernel refuses as it does when a disk is full."""

        def run(call: Callable[[Storage], str]) -> str:
            return in_process(_with_small_files, str(tmp_path / "root"), call)

        return run


class TestLocalOnAFullDisk(CapacityContract):
    """A folder on a disk of its own, of which nothing is left."""

    @pytest.fixture
    def run_full(self, tmp_path: Path) -> Callable[[Callable[[Storage], str]], str]:
        """A process in which the folder is a disk of 192 KiB."""
        need_mounting()

        def run(call: Callable[[Storage], str]) -> str:
            return in_process(_on_a_small_disk, str(tmp_path), call)

        return run


class TestLocalWithoutPermission(AccessContract):
    """A folder of somebody else's."""

    @pytest.fixture
    def denied(self, tmp_path: Path) -> Storage:
        root = tmp_path / "root"
        LocalStorage(root).put("key", b"x")
        return _AsNobody(root)

    def test_denied(self, denied: Storage, tmp_path: Path) -> None:
        """Without permission every call is ``AccessDenied``, at once, with what to do about it."""
        assert isinstance(denied, _AsNobody)
        assert in_process(_denied_everywhere, str(denied.url)) == "ok"


@pytest.mark.server
class TestSeaweedFS(StorageContract, AccessContract, ServerContract):
    """S3 that is atomic; contended creates are slow there, so few keys are raced for."""

    race_keys = 10  # and more at night: below

    @pytest.fixture
    def storage(self, seaweedfs: Server) -> Storage:
        return seaweedfs.storage()

    @pytest.fixture
    def denied(self, seaweedfs: Server) -> Storage:
        return seaweedfs.storage(secret="a wrong secret")

    @pytest.fixture
    def unreachable(self, seaweedfs: Server) -> Storage:
        return seaweedfs.through(f"http://{HOST}:{free_ports(1)[0]}").storage()


@pytest.mark.deep
@pytest.mark.server
class TestSeaweedFSAtNight(DocumentContract):
    """Creates alone, with races for more keys, each of which takes some seconds."""

    race_keys = 30

    @pytest.fixture
    def storage(self, seaweedfs: Server) -> Storage:
        return seaweedfs.storage()


@pytest.mark.server
class TestMoto(StorageContract, BucketContract, ServerContract):
    """S3 with AWS's own answers; it is known to race, so nothing is raced for."""

    race_keys, race_processes = 0, 0
    many = 1_100  # it is slow; listings of three pages are tried on the others

    @pytest.fixture
    def storage(self, moto: Server) -> Storage:
        return moto.storage()

    @pytest.fixture
    def without_bucket(self, moto: Server) -> Storage:
        return _other_bucket(moto)

    @pytest.fixture
    def unreachable(self, moto: Server) -> Storage:
        return moto.through(f"http://{HOST}:{free_ports(1)[0]}").storage()


@pytest.mark.server
class TestFakeGCS(StorageContract, BucketContract, AccessContract, ServerContract):
    """Google Cloud Storage."""

    part_bytes = 50 << 20  # more than one part

    @pytest.fixture
    def storage(self, fake_gcs: Server) -> Storage:
        return fake_gcs.storage()

    @pytest.fixture
    def without_bucket(self, fake_gcs: Server) -> Storage:
        return _other_bucket(fake_gcs)

    @pytest.fixture
    def denied(self, fake_gcs: Server, fake_gcs_proxy: Proxy) -> Storage:
        """The emulator believes everybody, so a proxy answers as Google does."""
        fake_gcs_proxy.fail_next("403", times=1000, which=lambda request: True)
        return fake_gcs.through(fake_gcs_proxy.endpoint).storage()

    @pytest.fixture
    def unreachable(self, fake_gcs: Server) -> Storage:
        return fake_gcs.through(f"http://{HOST}:{free_ports(1)[0]}").storage()


@pytest.mark.azure
@pytest.mark.server
class TestAzurite(StorageContract, BucketContract, AccessContract, ServerContract):
    """Azure Blob Storage."""

    race_keys = 50

    @pytest.fixture
    def storage(self, azurite: Server) -> Storage:
        return azurite.storage()

    @pytest.fixture
    def without_bucket(self, azurite: Server) -> Storage:
        return _other_bucket(azurite)

    @pytest.fixture
    def denied(self, azurite: Server) -> Storage:
        connection = azurite.storage_options["connection_string"]
        return azurite.storage(connection_string=connection.replace("AccountKey=Eby8", "AccountKey=AAAA"))

    @pytest.fixture
    def unreachable(self, azurite: Server) -> Storage:
        port = azurite.endpoint.rpartition(":")[2].partition("/")[0]
        connection = azurite.storage_options["connection_string"]
        return azurite.storage(connection_string=connection.replace(f":{port}/", f":{free_ports(1)[0]}/"))


class TestOtherFilesystem(StorageContract):
    """A filesystem that we know nothing of, after it has proved what it can do."""

    race_keys = 50

    @pytest.fixture
    def storage(self, tmp_path_factory: pytest.TempPathFactory) -> Storage:
        root = tmp_path_factory.mktemp("store") / "root"
        return GenericStorage(f"linking://{root}", filesystem=LinkingFileSystem(auto_mkdir=True), root=str(root))


def _other_bucket(server: Server) -> Storage:
    other = Server(server.kind, server.scheme, server.endpoint, "no-such-bucket", server.storage_options)
    return other.storage()


def in_process(function: Callable[..., None], *args: Any) -> str:
    """What ``function(answers, *args)`` puts into ``answers``, run in a process of its own."""
    context: Any = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=function, args=(answers, *args))
    process.start()
    try:
        return str(answers.get(timeout=60))
    finally:
        process.join(60)
        process.kill()


def _with_small_files(answers: Any, root: str, call: Callable[[Storage], str]) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, 64 << 10))
    answers.put(call(LocalStorage(root)))


def _on_a_small_disk(answers: Any, folder: str, call: Callable[[Storage], str]) -> None:
    assert mount(Path(folder), "192k")
    answers.put(call(LocalStorage(Path(folder) / "root")))


class _AsNobody(LocalStorage):
    """Only carries its folder to the process that gives its rights up."""


def _denied_everywhere(answers: Any, root: str) -> None:
    for path, _, _ in os.walk(root):
        os.chmod(path, 0o700)
    folder = Path(root).parent / "targets"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    if os.getuid() == 0:
        os.setuid(NOBODY)  # root may everything
    else:
        os.chmod(root, 0o000)
    try:
        AccessContract().test_denied(LocalStorage(root), folder)
        answers.put("ok")
    except BaseException as error:
        answers.put(repr(error))
        raise
