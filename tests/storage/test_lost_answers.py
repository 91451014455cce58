"""Lost answers for real: a proxy before a real server loses them, and the client libraries do what they do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from prefect_registry.errors import AlreadyExists
from prefect_registry.storage import Upload, parts
from prefect_registry.storage.remote import RemoteStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.storage.s3 import S3Storage
from prefect_registry.testing.proxies import FAULTS_AFTER_SUCCESS, FAULTS_BEFORE, Fault, Proxy, Request
from prefect_registry.testing.servers import Server

pytestmark = pytest.mark.server


class Behind:
    """A storage behind a proxy."""

    def __init__(self, server: Server, proxy: Proxy) -> None:
        raw = server.through(proxy.endpoint).storage()
        assert isinstance(raw, RemoteStorage)
        raw.read_seconds = 1.0
        self.proxy, self.storage = proxy, ResolvingStorage(raw, first_delay=0.02)
        self.storage.put("warm", b"x")
        proxy.reset()

    def be_patient(self) -> None:
        """Wait longer for answers, with a new client."""
        assert isinstance(self.storage.inner, RemoteStorage)
        patient = type(self.storage.inner)(self.storage.url, self.storage.storage_options())
        self.storage = ResolvingStorage(patient)

    def writes(self, fault: Fault | None = None) -> list[str]:
        """The requests that one create becomes: aiohttp repeats a PUT, and no POST, when a connection breaks."""
        if isinstance(self.storage.inner, S3Storage):
            return ["PUT", "PUT"] if fault in ("reset", "reset before") else ["PUT"]
        return ["POST"]

    def methods(self) -> list[str]:
        """The requests since the last look."""
        seen = [method for method, _ in self.proxy.requests]
        self.proxy.reset()
        return seen


@pytest.fixture(params=["seaweedfs", "fake_gcs"])
def behind(request: pytest.FixtureRequest) -> Iterator[Behind]:
    """S3 and Google Cloud Storage, each behind a proxy."""
    return Behind(request.getfixturevalue(request.param), request.getfixturevalue(f"{request.param}_proxy"))


@pytest.mark.parametrize("fault", FAULTS_AFTER_SUCCESS)
def test_the_winner_learns_that_it_won(behind: Behind, fault: Fault) -> None:
    """An answer lost after success is no conflict, and costs one reading back: one round trip, and no other request."""
    behind.storage.create("unspoiled", b"ours")
    assert behind.methods() == behind.writes()
    behind.proxy.fail_next(fault)
    behind.storage.create("key", b"ours")
    assert behind.proxy.seen[0] == 200
    assert behind.methods() == [*behind.writes(fault), "GET"]
    assert behind.storage.get("key") == b"ours"


@pytest.mark.parametrize("fault", FAULTS_AFTER_SUCCESS + FAULTS_BEFORE)
def test_the_loser_learns_that_it_lost(behind: Behind, fault: Fault) -> None:
    """An answer lost in a conflict is a conflict, shows the winner's bytes, and costs no more than one that arrived."""
    behind.storage.create("key", b"theirs")
    behind.proxy.reset()
    with pytest.raises(AlreadyExists):
        behind.storage.create("key", b"ours")
    assert behind.methods() == [*behind.writes(), "GET"]
    behind.proxy.fail_next(fault)
    with pytest.raises(AlreadyExists) as caught:
        behind.storage.create("key", b"ours")
    assert caught.value.existing == b"theirs"
    assert behind.methods() == [*behind.writes(fault), "GET"]


@pytest.mark.parametrize("fault", FAULTS_BEFORE)
def test_what_never_arrived_is_sent_again(behind: Behind, fault: Fault) -> None:
    """A request that did not reach the store is repeated until it does."""
    behind.proxy.fail_next(fault, times=4)
    behind.storage.create("key", b"ours")
    assert behind.proxy.seen == [200]
    assert behind.storage.get("key") == b"ours"


@pytest.mark.parametrize("fault", FAULTS_BEFORE)
def test_a_repetition_costs_the_look_before_it(behind: Behind, fault: Fault) -> None:
    """One request that did not arrive is looked for, and sent again; or repeated by aiohttp."""
    assert behind.storage.info("warm") is not None  # that the bucket is there is asked once
    behind.proxy.reset()
    behind.proxy.fail_next(fault)
    behind.storage.create("key", b"ours")
    repeated = behind.writes(fault)
    again = [] if len(repeated) == 2 else ["GET", *behind.writes()]
    assert behind.methods() == [*repeated, *again]


def test_every_answer_lost_twice(behind: Behind) -> None:
    """Losing the answer to the reading back as well changes nothing but the time."""
    for i, fault in enumerate(("reset", "500", "503")):
        behind.proxy.fail_next(fault, times=2, which=lambda request: True)
        behind.storage.create(f"key/{i}", b"ours")
    assert [info.key for info in behind.storage.list("key/")] == ["key/0", "key/1", "key/2"]


def test_lost_parts_do_not_cost_the_file(behind: Behind) -> None:
    """A large upload survives lost answers to its parts without starting over."""
    behind.be_patient()
    data = bytes(range(256)) * (160 << 10)  # 40 MiB

    def is_part(request: Request) -> bool:
        return request.method in ("PUT", "POST") and len(request.body) > 1 << 20

    behind.proxy.fail_next("503", times=2, which=is_part)
    (stored,) = behind.storage.upload([Upload("large", data)])
    assert stored.size == len(data)
    sent = sum(1 for method, _ in behind.proxy.requests if method in ("PUT", "POST"))
    with behind.storage.open("large") as file:
        file.seek(30 << 20)
        assert file.read(1000) == data[30 << 20 : (30 << 20) + 1000]
    assert sent <= 10 + 2 + 2


@pytest.mark.parametrize("fault", ["503", "reset before"])
def test_a_lost_range_does_not_cost_an_open_file(behind: Behind, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are read in ranges of open files: one answer that is lost is asked for again."""
    monkeypatch.setattr(parts, "RETRY_SECONDS", 0.01)
    data = bytes(range(256)) * 16
    behind.storage.put("file", data)
    with behind.storage.open("file") as file:
        behind.proxy.fail_next(fault, which=lambda request: request.method == "GET")
        assert file.read() == data
