"""Objects that a store copies by itself: what is checked, what it costs, and what happens when it cannot."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filesystems import LinkingFileSystem

from prefect_registry.errors import IntegrityError, InvalidInput, NotFound, StorageError, StorageUnavailable
from prefect_registry.storage import CopyOf, Storage, Upload
from prefect_registry.storage import s3 as s3_module
from prefect_registry.storage.generic import GenericStorage
from prefect_registry.storage.local import LocalStorage
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.contracts.copies import copy_of
from prefect_registry.testing.counting import CountingStorage
from prefect_registry.testing.faults import FaultyStorage, error_before, lost_answer
from prefect_registry.testing.proxies import Proxy, Request
from prefect_registry.testing.servers import Server

MIB = 1 << 20


class UncopyingFileSystem(LinkingFileSystem):
    """It cannot copy by itself, as many cannot."""

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        raise NotImplementedError


@pytest.fixture(params=["memory", "local", "generic"])
def hashing(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A store whose copies pass through this process, or through this machine."""
    root = tmp_path / "root"
    if request.param == "local":
        return LocalStorage(root)
    if request.param == "generic":
        return GenericStorage(f"linking://{root}", filesystem=UncopyingFileSystem(auto_mkdir=True), root=str(root))
    return MemoryStorage()


def test_damage_of_the_same_size_is_seen_where_the_bytes_pass_by(hashing: Storage) -> None:
    """A source with other bytes than its manifest's is an ``IntegrityError`` that names it."""
    hashing.put("old", b"damaged!")
    with pytest.raises(IntegrityError) as caught:
        hashing.upload([Upload("new", copy_of("old", b"original"))])
    assert caught.value.context["key"] == "old"
    (stored,) = hashing.upload([Upload("new", copy_of("old", b"damaged!"))])
    assert (stored.size, hashing.get("new")) == (8, b"damaged!")


def test_a_damaged_source_leaves_nothing_on_a_disk(tmp_path: Path) -> None:
    """Neither the new key nor a temporary file is left of a copy that was refused."""
    storage = LocalStorage(tmp_path / "root")
    storage.put("old", b"damaged!")
    with pytest.raises(IntegrityError):
        storage.upload([Upload("new", copy_of("old", b"original"))])
    left = [path.name for path in (tmp_path / "root").rglob("*") if path.is_file() and path.stat().st_size]
    assert left == ["old"]


@pytest.mark.parametrize("kernel", ["copies", "refuses", "stops", "has no such call"])
def test_a_copy_on_a_disk_is_a_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str) -> None:
    """However the operating system copies, writing into one of the two files leaves the other as it was."""
    once = iter([True])

    def stopping(source: int, target: int, count: int) -> int:
        if kernel == "refuses" or not next(once, False):
            raise OSError(errno.EXDEV, "cannot")
        return os.write(target, os.read(source, 3 * MIB))

    if kernel == "has no such call":
        monkeypatch.delattr(os, "copy_file_range")
    elif kernel != "copies":
        monkeypatch.setattr(os, "copy_file_range", stopping)
    data = os.urandom(9 * MIB + 1)
    storage = LocalStorage(tmp_path)
    storage.upload([Upload("old/file", data)])
    progress: list[int] = []
    storage.upload([Upload("new/file", copy_of("old/file", data))], progress.append)
    assert sum(progress) == len(data)
    assert (tmp_path / "new/file").stat().st_nlink == 1
    with open(tmp_path / "old/file", "r+b") as file:
        file.write(b"damage")
    assert storage.get("new/file") == data


def test_a_full_disk_is_no_reason_to_copy_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong while the operating system copies is told, not tried again in another way."""

    def full(source: int, target: int, count: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    storage = LocalStorage(tmp_path)
    storage.put("old", b"x")
    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(StorageError, match="full"):
        storage.upload([Upload("new", copy_of("old", b"x"))])
    assert storage.info("new") is None


def test_a_source_never_leads_out_of_the_store(tmp_path: Path) -> None:
    """The source of a copy is a key like any other."""
    (tmp_path / "outside").write_bytes(b"secret")
    storage = LocalStorage(tmp_path / "root")
    storage.put("dir/x", b"x")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    for key in ("../outside", "link", ".tmp/x"):
        with pytest.raises((InvalidInput, StorageError), match=r"legal key|symbolic link|temporary files"):
            storage.upload([Upload("new", copy_of(key, b"secret"))])
    with pytest.raises(NotFound):
        storage.upload([Upload("new", copy_of("dir", b""))])
    assert storage.info("new") is None


def test_copies_are_counted_and_spoiled_as_uploads() -> None:
    """A lost answer is made up for by copying again; what never works surfaces."""
    counting = CountingStorage(MemoryStorage())
    faulty = FaultyStorage(counting, lost_answer(method="upload", key="new/1"), error_before(key="new/2"))
    storage = ResolvingStorage(faulty, first_delay=0.001)
    storage.put("old", b"x")
    files = [Upload(f"new/{i}", copy_of("old", b"x")) for i in range(3)]
    with counting.measure() as m:
        stored = storage.upload(files)
    assert [s.key for s in stored] == [storage.get(s.key) and s.key for s in stored] == ["new/0", "new/1", "new/2"]
    assert dict(m.by_method)["upload"] >= 4
    faulty.plan.append(error_before(method="upload", times=1000))
    with pytest.raises(StorageUnavailable):
        storage.upload(files)


class Behind:
    """A bucket behind a proxy that tells the requests."""

    def __init__(self, server: Server, proxy: Proxy, **options: Any) -> None:
        self.proxy = proxy
        self.storage = server.through(proxy.endpoint).storage(**options)
        for i in range(40):
            self.storage.put(f"old/{i}", b"%d" % i)
        proxy.reset()

    def copy(self, count: int) -> list[str]:
        """The requests of that many copies."""
        self.proxy.reset()
        self.storage.upload([Upload(f"new/{i}", copy_of(f"old/{i}", b"%d" % i)) for i in range(count)])
        return sorted(method for method, _ in self.proxy.requests)


@pytest.fixture
def moto_proxy(moto: Server) -> Iterator[Proxy]:
    """A proxy before moto."""
    with Proxy(moto.endpoint).running() as proxy:
        yield proxy


@pytest.mark.server
def test_a_copy_is_one_request_on_s3(moto: Server, moto_proxy: Proxy) -> None:
    """S3 tells the sha256 of what it copied: nothing else is asked, and other bytes are noticed."""
    behind = Behind(moto, moto_proxy)
    assert behind.copy(1) == ["PUT"]
    assert behind.copy(40) == ["PUT"] * 40
    with pytest.raises(IntegrityError) as caught:
        behind.storage.upload([Upload("new", copy_of("old/10", b"11"))])
    assert caught.value.context["key"] == "old/10"


@pytest.mark.server
def test_a_server_that_tells_nothing_is_asked_for_sizes(seaweedfs: Server, seaweedfs_proxy: Proxy) -> None:
    """One look at a copy, or one page of a listing for up to a thousand."""
    behind = Behind(seaweedfs, seaweedfs_proxy)
    assert behind.copy(1) == ["HEAD", "PUT"]
    assert behind.copy(40) == ["GET"] + ["PUT"] * 40


@pytest.mark.server
def test_a_server_that_knows_no_checksums_is_asked_without(moto: Server, moto_proxy: Proxy) -> None:
    """A header that is refused is left away from then on."""
    behind = Behind(moto, moto_proxy)

    def asks_for_checksum(request: Request) -> bool:
        return bool(request.header("x-amz-checksum-algorithm"))

    moto_proxy.fail_next("501", times=1000, which=asks_for_checksum)
    (stored,) = behind.storage.upload([Upload("new", copy_of("old/7", b"7"))])
    assert (stored.size, behind.storage.get("new")) == (1, b"7")
    moto_proxy.fail_next("501", times=1000, which=asks_for_checksum)
    moto_proxy.requests.clear()
    behind.storage.upload([Upload("new", copy_of("old/8", b"8"))])
    assert [method for method, _ in moto_proxy.requests] == ["PUT", "HEAD"]


@pytest.mark.server
def test_lost_answers_to_copies(seaweedfs: Server, seaweedfs_proxy: Proxy) -> None:
    """A copy whose answer is lost is made again."""
    behind = Behind(seaweedfs, seaweedfs_proxy)
    storage = ResolvingStorage(behind.storage, first_delay=0.02)

    def is_copy(request: Request) -> bool:
        return bool(request.header("x-amz-copy-source"))

    for fault in ("reset", "500", "503 before"):
        seaweedfs_proxy.fail_next(fault, which=is_copy)  # type: ignore[arg-type]
        storage.upload([Upload(f"new/{i}", copy_of(f"old/{i}", b"%d" % i)) for i in range(4)])
        assert [storage.get(f"new/{i}") for i in range(4)] == [b"0", b"1", b"2", b"3"]
        storage.delete_many([f"new/{i}" for i in range(4)])


@pytest.mark.server
@pytest.mark.parametrize("kind", ["seaweedfs", "moto"])
def test_large_copies_in_parts(kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too large for one request is copied in parts, with the metadata that an upload has."""
    monkeypatch.setattr(s3_module, "LARGEST_COPY_BYTES", 12 * MIB)
    monkeypatch.setattr(s3_module, "COPY_PART_BYTES", 5 * MIB)
    server: Server = request.getfixturevalue(kind)
    storage = server.storage(s3_additional_kwargs={"Metadata": {"made-by": "test"}})
    data = os.urandom(12 * MIB + 1)
    (stored,) = storage.upload([Upload("old", data)])
    storage.upload([Upload("new", CopyOf("old", stored.size, stored.sha256))])
    assert storage.get("new") == data
    assert _metadata(storage, "new") == {"made-by": "test"}
    with pytest.raises(IntegrityError) as caught:
        storage.upload([Upload("other", CopyOf("old", stored.size + 1, stored.sha256))])
    assert caught.value.context["key"] == "old"
    with pytest.raises(NotFound) as missing:
        storage.upload([Upload("other", CopyOf("none", stored.size, stored.sha256))])
    assert missing.value.context["key"] == "none"


@pytest.mark.server
def test_a_key_of_the_customers_own_is_sent_for_both(moto: Server, moto_proxy: Proxy) -> None:
    """With SSE-C a copy says how to read the source as well as how to write."""
    extra = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    storage = moto.through(moto_proxy.endpoint).storage(s3_additional_kwargs=extra)
    storage.put("old", b"x")
    seen: list[Request] = []

    def note(request: Request) -> bool:
        seen.append(request)
        return False

    moto_proxy.fail_next("501", which=note)
    storage.upload([Upload("new", copy_of("old", b"x"))])
    (copy,) = [request for request in seen if request.header("x-amz-copy-source")]
    for prefix in ("x-amz-server-side-encryption", "x-amz-copy-source-server-side-encryption"):
        names = [f"{prefix}-customer-{name}" for name in ("algorithm", "key", "key-MD5")]
        assert all(copy.header(name) for name in names)


@pytest.mark.server
def test_options_of_uploads_apply_to_copies(moto: Server) -> None:
    """Metadata, tags and encryption come from the storage options of now, not from the source."""
    old = moto.storage(s3_additional_kwargs={"Metadata": {"made-by": "before"}, "Tagging": "a=1"})
    old.put("old", b"x")
    extra = {"Metadata": {"made-by": "now"}, "Tagging": "b=2", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "k"}
    new = type(old)(old.url, {**old.storage_options(), "s3_additional_kwargs": extra})
    for key, source in (("sent", b"x"), ("copied", copy_of("old", b"x"))):
        new.upload([Upload(key, source)])
        client: Any = new.client()
        head = client.call_s3("head_object", Bucket=new.bucket, Key=new._name(key))
        tags = client.call_s3("get_object_tagging", Bucket=new.bucket, Key=new._name(key))["TagSet"]
        assert (head["Metadata"], head["ServerSideEncryption"]) == ({"made-by": "now"}, "aws:kms")
        assert head["SSEKMSKeyId"].endswith("k")
        assert tags == [{"Key": "b", "Value": "2"}]


def _metadata(storage: Any, key: str) -> dict[str, str]:
    found: dict[str, str] = storage.client().call_s3("head_object", Bucket=storage.bucket, Key=storage._name(key))[
        "Metadata"
    ]
    return found
