"""Every way to identify oneself to Azure, in a flow's own process, over TLS: no secret is left anywhere."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import publishing
import pytest
from authority import Authority, authority, make_certificate
from publishing import Report
from test_block_secrets import PLANTED
from test_secrets_in_flows import Api, Case, forms, hunt, until

from prefect_registry.blocks import AzureRegistry
from prefect_registry.ids import random_token
from prefect_registry.testing import servers
from prefect_registry.testing.servers import Server

pytestmark = [pytest.mark.prefect, pytest.mark.azure, pytest.mark.server]
REPOSITORY = Path(__file__).parents[2]
TENANT, CLIENT = str(uuid.uuid4()), str(uuid.uuid4())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls") / "certificate.pem")


@pytest.fixture(scope="module")
def azurite_tls(certificate: Path) -> Iterator[Server]:
    """Azure's emulator as Azure is: over TLS, with tokens of service principals."""
    with servers.azurite(REPOSITORY / ".build" / "azurite", certificate=certificate) as server:
        yield server


@pytest.fixture
def login(certificate: Path) -> Iterator[Authority]:
    """What gives tokens to the service principal with the planted secret."""
    with authority(certificate, TENANT, CLIENT, PLANTED) as server:
        yield server


def credential(field: str, server: Server, right: bool) -> tuple[dict[str, str], list[str]]:
    """A block's fields with a credential that is good or not, and what of it must not be seen."""
    key = server.extra["account_key"] if right else base64.b64encode(PLANTED.encode()).decode()
    if field == "garbled_key":
        return {"account_key": PLANTED}, [PLANTED]
    if field == "account_key":
        return {field: key}, [key]
    if field == "sas_token":
        token = shared_access(server.extra["account_name"], key)
        return {field: token}, [token, parse_qs(token)["sig"][0]]
    secret = PLANTED if right else f"not-{PLANTED}"
    return {"tenant_id": TENANT, "client_id": CLIENT, "client_secret": secret}, [secret]


def shared_access(account: str, key: str) -> str:
    """A SAS token that allows what the form asks for, and no more."""
    from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

    allowed = AccountSasPermissions(read=True, write=True, create=True, list=True, delete=True)
    until = datetime.now(UTC) + timedelta(hours=1)
    kinds = ResourceTypes(container=True, object=True)
    return str(generate_account_sas(account, key, kinds, allowed, until, protocol="https"))


class CaseOverTls(Case):
    """A block whose flows run in a process that trusts the emulator's certificate, and logs in at the authority."""

    def __init__(self, server: Server, certificate: Path, login: Authority, folder: Path) -> None:
        self.server, self.certificate, self.folder = server, certificate, folder
        self.environment = {"SSL_CERT_FILE": str(certificate), "AZURE_AUTHORITY_HOST": login.url}
        self.prefix = f"s-{random_token()[:8]}"

    def fill(self, field: str, right: bool) -> None:
        """Give the block a credential, which is good or not."""
        fields, self.secrets = credential(field, self.server, right)
        host = self.server.endpoint.partition("://")[2]
        self.block = AzureRegistry(
            container=self.server.bucket, prefix=self.prefix, account_name=self.server.extra["account_name"],
            storage_options={"account_host": host}, **fields,
        )  # fmt: skip

    def run(self, reference: str, *wanted: str) -> Report:
        """Run the flow for each of ``wanted``; what was printed and logged is told too."""
        report = self.folder / "report.json"
        done = subprocess.run(
            [sys.executable, publishing.__file__, reference, str(report), *wanted],
            env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        found = Report(**json.loads(report.read_text()))
        found.told += done.stdout
        return found

    def publish(self, reference: str) -> Report:
        report = self.run(reference, "commit", "fail")
        assert "Request URL: " in report.told  # so what Azure's clients log is looked through too
        return report

    def stored(self) -> bytes:
        from azure.storage.blob import ContainerClient

        connection = self.server.storage_options["connection_string"]
        with ContainerClient.from_connection_string(
            connection, self.server.bucket, connection_verify=str(self.certificate)
        ) as container:
            names = list(container.list_blob_names(name_starts_with=self.prefix))
            return b"".join(container.download_blob(name).readall() for name in names)


@pytest.fixture
def case(azurite_tls: Server, certificate: Path, login: Authority, tmp_path: Path) -> CaseOverTls:
    return CaseOverTls(azurite_tls, certificate, login, tmp_path)


@pytest.mark.parametrize("field", ["account_key", "sas_token", "client_secret"])
def test_a_flow_on_azure_leaves_no_secret(
    field: str, case: CaseOverTls, login: Authority, prefect_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A flow that commits and one that fails; neither the secret nor the token that it buys is seen."""
    case.fill(field, right=True)
    case.secrets += [login.token, *login.token.split(".")[1:]]
    hunt(case, prefect_server, caplog)
    assert set(login.asked) == ({PLANTED} if field == "client_secret" else set())


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("account_key", "InvalidAuthenticationInfo"),
        ("garbled_key", "AzureSigningError"),
        ("sas_token", "AuthorizationFailure"),
        ("client_secret", "AADSTS7000215"),
    ],
)
def test_a_flow_that_azure_refuses_says_so_and_tells_no_secret(
    field: str, reason: str, case: CaseOverTls, login: Authority, prefect_server: str
) -> None:
    """Its state and log say that access was denied, by which block, and why, in Azure's words."""
    case.fill(field, right=False)
    name = f"s-{random_token()[:8]}"
    case.block.save(name)
    report = case.run(f"{case.block.get_block_type_slug()}/{name}", "commit")
    assert report.failed == [True]
    seen = Api(prefect_server, report.ids[0])
    until(lambda: any(name in line["message"] for line in seen.logs()), "the failure")
    everything = seen.everything()
    for said in (report.told, everything):
        assert "AccessDenied" in said
        assert reason in said
        assert name in said
    assert set(login.asked) == (set(case.secrets) if field == "client_secret" else set())
    for secret in case.secrets:
        for form in forms(secret):
            assert form not in report.told + everything
