"""`prefect-registry doctor`, on stores that work and on stores that do not."""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from prefect_registry.blocks import LocalRegistry, S3Registry
from prefect_registry.cli.checks import PINS
from prefect_registry.registry import Registry
from prefect_registry.storage.base import ObjectInfo
from prefect_registry.storage.local import LocalStorage
from prefect_registry.storage.wrapper import WrapperStorage
from prefect_registry.testing.servers import Server

ROOT = Path(__file__).parent.parent.parent
pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect_server")]
Command = Callable[..., Any]


def status(said: Any) -> dict[str, str]:
    return {check["name"]: check["status"] for check in said.data["checks"]}


def test_a_folder_that_works(command: Command, tmp_path: Path) -> None:
    """Everything that DESIGN.md asks of a store was tried, and nothing is left behind."""
    said = command("doctor", str(tmp_path / "registry"), "--json")
    assert said.code == 0
    assert said.data["schema"] == "prefect-registry/doctor/1"
    assert said.data["ok"] is True
    assert set(status(said).values()) == {"ok"}
    assert status(said).keys() >= {
        "prefect", "fastapi", "sqlalchemy", "prefect api", "settings", "registry", "connection, write",
        "conditional create", "one winner of eight", "list after write", "clock offset", "delete", "contents",
    }  # fmt: skip
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and ".tmp" not in path.parts]


def test_a_person_reads_a_table(command: Command, tmp_path: Path) -> None:
    """On stdout; the verdict is talk."""
    said = command("doctor", str(tmp_path))
    assert said.code == 0
    assert "conditional create" in said.out
    assert "checks passed" in said.err


@pytest.mark.parametrize("place", ["works", "/proc/no/such"])
def test_the_table_can_be_read_at_80_characters(
    place: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it is piped: no line is longer, each check is in one line, and only what has no spaces is broken."""
    monkeypatch.setenv("COLUMNS", "80")
    where = str(tmp_path) if place == "works" else place
    checks = command("doctor", where, "--json").data["checks"]
    lines = command("doctor", where).out.splitlines()
    assert max(len(line) for line in lines) <= 80
    words = " ".join(" ".join(lines).split())
    for check in checks:
        assert any(line.split(maxsplit=1)[1].startswith(check["name"]) for line in lines), check["name"]
        for text in (check["detail"], check["mend"]):
            timeless = [word for word in text.split() if not any(c.isdigit() for c in word)]  # it was run twice
            assert all(word in words for word in timeless if len(word) <= 40)
    assert len(lines) <= 3 * len(checks)


def test_the_help_says_what_is_written(command: Command) -> None:
    """Whoever points it at a store of others wants to know before."""
    assert "below .probe/ and deletes them again" in " ".join(command("doctor", "--help").out.split())


def test_the_registry_of_a_block_is_named_with_what_said_so(command: Command, tmp_path: Path, name: str) -> None:
    """By name, as a flow would name it, or by none."""
    LocalRegistry(path=str(tmp_path)).save(name)
    (found,) = [c for c in command("doctor", name, "--json").data["checks"] if c["name"] == "registry"]
    assert f"block data-registry-local/{name}" in found["detail"]


def test_an_override_is_pointed_out(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It wins over everything, and is easily forgotten in a shell."""
    monkeypatch.setenv("PREFECT_REGISTRY_OVERRIDE", str(tmp_path))
    said = command("doctor", "prod", "--json")
    assert said.code == 0
    assert status(said)["settings"] == "warning"


def test_a_registry_that_is_there_is_recognised(command: Command, tmp_path: Path) -> None:
    """And one of a newer release is refused."""
    from prefect_registry import Registry

    found = Registry(str(tmp_path))
    said = command("doctor", str(tmp_path), "--json")
    assert found.registry_id in said.out
    (tmp_path / "registry.json").write_text('{"schema": "store/1", "write_id": "w", "format": 99}')
    said = command("doctor", str(tmp_path), "--json")
    assert said.code == 7
    assert status(said)["contents"] == "failed"


def test_a_name_that_nobody_saved(command: Command) -> None:
    """Exit code of a configuration error, and the mend."""
    said = command("doctor", "nobody", "--json")
    assert said.code == 10
    (found,) = [c for c in said.data["checks"] if c["status"] == "failed"]
    assert "prefect-registry init" in found["mend"]


def test_a_folder_that_cannot_be_written(command: Command) -> None:
    """Exit code of a storage error."""
    said = command("doctor", "/proc/no/such", "--json")
    assert said.code == 8
    assert status(said)["connection, write"] == "failed"


@pytest.mark.server
def test_a_server_that_ignores_the_condition(command: Command, rclone: Server, name: str) -> None:
    """The conditional create fails, and the mend names stores that honour it."""
    block(rclone).save(name)
    said = command("doctor", name, "--json")
    failed = {check["name"]: check for check in said.data["checks"] if check["status"] == "failed"}
    assert said.code == 1
    # After several writes of one object at once, rclone may go on listing it when it is deleted.
    assert failed.keys() - {"delete"} == {"conditional create", "one winner of eight"}
    assert "created a second time" in failed["conditional create"]["detail"]
    assert "honours If-None-Match" in failed["conditional create"]["mend"]


LIBC = ctypes.CDLL(None)


def obey_permissions() -> None:
    """Take from root what lets it write where nobody may: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""
    for capability in (1, 2):
        LIBC.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def test_a_folder_that_may_only_be_read(tmp_path: Path, prefect_server: str) -> None:
    """Permissions: the write is denied, and the mend says what to allow."""
    place = tmp_path / "registry"
    Registry(place)
    for path in [place, *place.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    done = subprocess.run(
        [sys.executable, "-m", "prefect_registry", "doctor", str(place), "--json"],
        env={**os.environ, "PREFECT_API_URL": prefect_server},
        preexec_fn=obey_permissions,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 8, done.stderr
    (failed,) = [check for check in json.loads(done.stdout)["checks"] if check["status"] == "failed"]
    assert (failed["name"], failed["kind"]) == ("connection, write", "access_denied")
    assert "Permission denied" in failed["detail"]
    assert failed["mend"]


class Stale(WrapperStorage):
    """A store whose listings are those of a cache: what is new is not shown."""

    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        found = [*self.inner.list(prefix, start_after)]
        return iter(found[: len(found) // 2])


class Elsewhen(WrapperStorage):
    """A store whose clock is an hour behind."""

    def info(self, key: str) -> ObjectInfo | None:
        found = self.inner.info(key)
        return found and replace(found, modified=found.modified - timedelta(hours=1))


def test_listings_from_a_cache_and_a_clock_that_is_wrong(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """List after write fails with its mend; an offset is told in seconds, and is no failure: times are the store's."""
    for cls, name, state, detail, mend in (
        (Stale, "list after write", "failed", "a listing showed 4 of 8 new objects", "consistent"),
        (Elsewhen, "clock offset", "ok", "the store's clock is 3600 s behind this machine's", ""),
    ):
        with monkeypatch.context() as patch:
            opened = cls(LocalStorage(tmp_path / cls.__name__))
            patch.setattr("prefect_registry.storage.opening.open_storage", lambda *args, opened=opened: opened)
            said = command("doctor", str(tmp_path / cls.__name__), "--json")
        (found,) = [check for check in said.data["checks"] if check["name"] == name]
        assert (found["status"], said.code) == (state, 1 if state == "failed" else 0)
        assert detail in found["detail"]
        assert mend in found["mend"]


@pytest.mark.parametrize(
    ("package", "found", "state", "mend"),
    [
        ("fastapi", "0.155.2", "warning", "prefect-registry[server]"),
        ("sqlalchemy", "2.1.0", "warning", "prefect-registry[server]"),
        ("prefect", "4.0.1", "failed", "prefect>=3.8,<4"),
    ],
)
def test_versions_that_do_not_go_together(
    package: str, found: str, state: str, mend: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that is too new is pointed out with the command that mends it."""
    real = importlib.metadata.version
    monkeypatch.setattr("prefect_registry.cli.checks.version", lambda name: found if name == package else real(name))
    said = command("doctor", str(tmp_path), "--json")
    (check,) = [check for check in said.data["checks"] if check["name"] == package]
    assert (check["status"], said.code) == (state, 1 if state == "failed" else 0)
    assert found in check["detail"]
    assert mend in check["mend"]


def test_an_api_that_does_not_answer(command: Command, tmp_path: Path) -> None:
    """The store is tried nevertheless, for a URL needs no API."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}):
        said = command("doctor", str(tmp_path), "--json")
    assert said.code == 1
    assert status(said)["prefect api"] == "failed"
    assert status(said)["delete"] == "ok"


def test_the_pins_are_those_of_the_extra() -> None:
    """What doctor warns of is what `prefect-registry[server]` prevents."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["server"] == [f"{pin.package}<{'.'.join(map(str, pin.below))}" for pin in PINS]


def block(server: Server, **changes: str) -> S3Registry:
    settings = {
        "bucket": server.bucket,
        "prefix": "doctor",
        "endpoint_url": server.endpoint,
        "region": "us-east-1",
        "path_style": True,
        "access_key_id": server.storage_options["key"],
        "secret_access_key": server.storage_options["secret"],
    }
    return S3Registry(**{**settings, **changes})


@pytest.mark.server
def test_s3_that_works(command: Command, seaweedfs: Server, name: str) -> None:
    """A real server that honours the condition."""
    block(seaweedfs).save(name)
    said = command("doctor", name, "--json")
    assert said.code == 0, said.out
    assert set(status(said).values()) == {"ok"}


@pytest.mark.server
@pytest.mark.parametrize(
    ("changes", "kind", "told"),
    [
        ({"secret_access_key": "pLaNtEd+wrong"}, "access_denied", "SignatureDoesNotMatch"),
        ({"access_key_id": "nobody"}, "access_denied", "InvalidAccessKeyId"),
        ({"endpoint_url": "http://127.0.0.1:9"}, "storage_unavailable", "127.0.0.1:9"),
    ],
)
def test_s3_that_does_not(
    changes: dict[str, str], kind: str, told: str, command: Command, seaweedfs: Server, name: str
) -> None:
    """Each trouble by its own name, and no secret in what is shown."""
    block(seaweedfs, **changes).save(name)
    said = command("doctor", name, "--json")
    (failed,) = [check for check in said.data["checks"] if check["status"] == "failed"]
    assert said.code == 8
    assert failed["kind"] == kind
    assert told in failed["detail"]
    assert failed["mend"]
    assert "pLaNtEd" not in said.out + said.err


@pytest.mark.server
def test_s3_without_the_bucket(command: Command, moto: Server, name: str) -> None:
    """It is not the same as a bucket without a registry. (SeaweedFS makes a bucket that is missing.)"""
    block(moto, bucket="no-such-bucket").save(name)
    said = command("doctor", name, "--json")
    (failed,) = [check for check in said.data["checks"] if check["status"] == "failed"]
    assert (said.code, failed["kind"]) == (8, "storage_error")
    assert "no-such-bucket" in failed["detail"]
