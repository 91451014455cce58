"""A secret of a saved block appears in nothing that a flow leaves: store, log, state, events, artifacts."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import fsspec
import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from prefect import flow
from prefect.client.schemas.objects import State
from publishing import Report, run_flow
from test_block_documents import AWS_FIELDS, foreign
from test_block_secrets import PLANTED, secret_fields, settings

from prefect_registry import registry_run
from prefect_registry.blocks import AzureRegistry, FsspecRegistry, GCSRegistry, S3Registry
from prefect_registry.ids import random_token
from prefect_registry.storage import Storage
from prefect_registry.testing.servers import Server

sys.path.insert(0, str(Path(__file__).parents[1] / "storage"))
from filesystems import LinkingFileSystem

pytestmark = pytest.mark.prefect
TOKEN = "ya29." + PLANTED


class LockedFileSystem(LinkingFileSystem):
    """A third party's filesystem that takes a password."""

    protocol = ("locked",)

    def __init__(self, *args: Any, password: str = "", **kwargs: Any) -> None:
        assert password == PLANTED
        super().__init__(*args, auto_mkdir=True, **kwargs)


class Case:
    """A block that is filled in, the secrets in it, and its store by another way."""

    def __init__(self, block: Any, secrets: list[str], storage: Storage) -> None:
        self.block, self.secrets, self.storage = block, secrets, storage

    def publish(self, reference: str) -> Report:
        """A flow run that commits and one that fails, in this process."""
        report = Report()
        for fail in (False, True):
            report.add(run_flow(reference, fail))
        report.read(self.block)
        return report

    def stored(self) -> bytes:
        """All that is in the store."""
        return b"".join(self.storage.get(info.key) for info in self.storage.list(""))


@contextmanager
def token_server() -> Iterator[str]:
    """Gives an access token for whatever it is sent, as Google does for the signature of a service account."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            asked.append(1)

        def log_message(self, *args: Any) -> None:
            """Nothing."""

    asked: list[int] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/token"
    finally:
        server.shutdown()
        server.server_close()
        assert asked  # else the key was not used at all


@pytest.fixture
def s3_case(moto: Server) -> Case:
    """moto believes every signature, so that all three fields can hold what is planted."""
    prefix = f"s-{random_token()[:8]}"
    secrets = [PLANTED + "key", PLANTED + "secret", PLANTED + "token"]
    block = S3Registry(
        bucket=moto.bucket, prefix=prefix, endpoint_url=moto.endpoint, region="us-east-1", path_style=True,
        access_key_id=secrets[0], secret_access_key=secrets[1], session_token=secrets[2],
    )  # fmt: skip
    return Case(block, secrets, moto.storage(prefix))


@pytest.fixture
def aws_block_case(moto: Server) -> Case:
    """Another block, of prefect-aws, holds the secrets, and a role that is assumed with them."""
    prefix = f"s-{random_token()[:8]}"
    secrets = [PLANTED + "secret", PLANTED + "token"]
    reference = foreign(
        "AWS Credentials", AWS_FIELDS, aws_access_key_id="AK", aws_secret_access_key=secrets[0],
        aws_session_token=secrets[1], region_name="us-east-1", aws_client_parameters={"endpoint_url": moto.endpoint},
        assume_role_arn="arn:aws:iam::123456789012:role/registry",
    )  # fmt: skip
    block = S3Registry(
        bucket=moto.bucket, prefix=prefix, path_style=True, credentials_block=reference, sts_endpoint_url=moto.endpoint
    )
    return Case(block, secrets, moto.storage(prefix))


@pytest.fixture
def gcs_case(fake_gcs: Server) -> Iterator[Case]:
    """A real key of a service account, whose token an own server gives."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    lines = key.decode().splitlines()
    prefix = f"s-{random_token()[:8]}"
    with token_server() as token_uri:
        info = {"type": "service_account", "client_email": "a@b", "token_uri": token_uri, "project_id": "registry"}
        block = GCSRegistry(
            bucket=fake_gcs.bucket, prefix=prefix, endpoint_url=fake_gcs.endpoint, project="registry",
            service_account_info=json.dumps({**info, "private_key_id": PLANTED, "private_key": key.decode()}),
        )  # fmt: skip
        yield Case(block, [PLANTED, TOKEN, *lines[1:-1]], fake_gcs.storage(prefix))


@pytest.fixture
def fsspec_case(tmp_path: Path) -> Case:
    """Any other filesystem gets its secrets as JSON."""
    fsspec.register_implementation("locked", LockedFileSystem, clobber=True)
    root = tmp_path / "store"
    block = FsspecRegistry(url=f"locked://{root}", secret_options=json.dumps({"password": PLANTED}))
    from prefect_registry.storage.local import LocalStorage

    return Case(block, [PLANTED], LocalStorage(root))


@pytest.fixture
def azure_case(azurite: Server) -> Case:
    """The key of the emulator is the planted one."""
    prefix = f"s-{random_token()[:8]}"
    connection = azurite.storage_options["connection_string"]
    key = connection.partition("AccountKey=")[2].partition(";")[0]
    block = AzureRegistry(container=azurite.bucket, prefix=prefix, connection_string=connection)
    return Case(block, [key], azurite.storage(prefix))


class Api:
    """The server's own account of a flow run."""

    def __init__(self, url: str, flow_run_id: str) -> None:
        self.url, self.id = url, flow_run_id

    def post(self, path: str, body: dict[str, Any]) -> Any:
        response = httpx.post(f"{self.url}{path}", json=body, timeout=60)
        response.raise_for_status()
        return response.json()

    def logs(self) -> list[dict[str, Any]]:
        return list(self.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [self.id]}}, "limit": 200}))

    def events(self) -> list[dict[str, Any]]:
        wanted = {"related": {"id": [f"prefect.flow-run.{self.id}"]}}
        return list(self.post("/events/filter", {"filter": wanted, "limit": 50})["events"])

    def everything(self) -> str:
        """All that the server tells of the flow run: itself, its tasks, states, logs, events and artifacts."""
        runs = {"flow_runs": {"id": {"any_": [self.id]}}}
        found = [self.logs(), self.events()]
        found += [self.post(f"/{what}/filter", runs) for what in ("flow_runs", "task_runs", "artifacts")]
        found.append(httpx.get(f"{self.url}/flow_run_states/?flow_run_id={self.id}", timeout=60).json())
        return json.dumps(found)


def until(found: Callable[[], bool], what: str) -> None:
    """Wait for what is sent in the background."""
    deadline = time.monotonic() + 60
    while not found():
        assert time.monotonic() < deadline, f"{what} did not arrive"
        time.sleep(0.1)


def forms(secret: str) -> set[str]:
    """A secret as it is, in JSON, and in an address."""
    return {secret, json.dumps(secret)[1:-1], quote(secret, safe=""), quote_plus(secret)}


def hunt(case: Case, api: str, caplog: pytest.LogCaptureFixture) -> None:
    name = f"s-{random_token()[:8]}"
    case.block.save(name)
    reference = f"{case.block.get_block_type_slug()}/{name}"
    caplog.set_level(logging.INFO)  # clients of other packages print the access key's id when they are debugged
    caplog.set_level(logging.DEBUG, logger="prefect_registry")
    report = case.publish(reference)
    told = report.told
    assert report.failed == [False, True], told
    for flow_run, word in zip(report.ids, ("committed", "rolled back"), strict=True):
        seen = Api(api, flow_run)
        until(lambda seen=seen: any("run." in e["event"] for e in seen.events()), "the event")
        until(lambda seen=seen, word=word: any(word in line["message"] for line in seen.logs()), word)
        told += seen.everything()
    assert report.runs == ["ABORTED", "COMMITTED"]
    stored = case.stored()
    assert b"secrets" in stored  # the purpose: so the whole store was read
    assert reference in told
    told += caplog.text
    for secret in case.secrets:
        for form in forms(secret):
            assert form.encode() not in stored
            assert form not in told


@pytest.mark.server
@pytest.mark.parametrize("kind", ["s3", "aws_block", "gcs", "fsspec"])
def test_a_flow_leaves_no_secret(
    kind: str,
    request: pytest.FixtureRequest,
    prefect_server: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A flow that commits and one that fails, on a saved block whose every secret field is used to reach the store."""
    hunt(request.getfixturevalue(f"{kind}_case"), prefect_server, caplog)


@pytest.mark.azure
@pytest.mark.server
def test_a_flow_on_azure_leaves_no_secret(
    azure_case: Case, prefect_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The same with the connection string of Azure's emulator."""
    hunt(azure_case, prefect_server, caplog)


# Azure's library tries a service principal for 17 seconds: test_block_secrets does it once.
@pytest.mark.parametrize(("cls", "field"), [each for each in secret_fields() if each[1] != "client_secret"])
def test_a_flow_whose_store_cannot_be_opened_tells_no_secret(
    cls: Any, field: str, prefect_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its failure is in the log and the state, with the block's name, and without what is typed into the block."""
    name = f"s-{random_token()[:8]}"
    block = cls(**settings(cls, field))
    block.save(name)

    @registry_run(f"{block.get_block_type_slug()}/{name}")
    @flow
    def nowhere() -> None:
        """Never begins."""

    caplog.set_level(logging.INFO)
    state = nowhere(return_state=True)
    assert isinstance(state, State)
    assert state.is_failed() or state.is_crashed()
    seen = Api(prefect_server, str(state.state_details.flow_run_id))
    until(lambda: any(name in line["message"] for line in seen.logs()), "the failure")
    told = seen.everything() + repr(state) + repr(state.data)
    assert name in told
    assert PLANTED not in told + caplog.text
