"""What is said in the S3 form, as it goes over the wire: a proxy before a real server looks at every request."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from prefect_registry.blocks import S3Registry
from prefect_registry.errors import ConfigurationError, RegistryError
from prefect_registry.ids import random_token
from prefect_registry.registry import Registry
from prefect_registry.storage import Upload
from prefect_registry.testing.proxies import Proxy, Request
from prefect_registry.testing.servers import Server

pytestmark = pytest.mark.server
LARGE = bytes(20 << 20)  # more than one part


@contextmanager
def watched(server: Server, **options: Any) -> Iterator[tuple[Proxy, list[Request]]]:
    """A proxy, and every request that comes through it."""
    seen: list[Request] = []

    def note(request: Request) -> bool:
        seen.append(request)
        return False

    with Proxy(server.endpoint, **options).running() as proxy:
        proxy.fail_next("500", which=note)  # never: it only looks
        yield proxy, seen


def form(server: Server, proxy: Proxy, **fields: Any) -> S3Registry:
    """A form for a place of its own on the server, by way of the proxy."""
    base = {"bucket": server.bucket, "prefix": f"w-{random_token()[:8]}", "endpoint_url": proxy.endpoint}
    return S3Registry.model_validate({**base, "region": "us-east-1", "path_style": True, **fields})


KEYS = {"access_key_id": "FORMKEY", "secret_access_key": "secret"}


def publish(block: S3Registry) -> Registry:
    """Write and read in every way there is: conditional, plain, in parts, whole, listed."""
    registry = block.open()
    with registry.run("wire") as run, run.dataset("x") as ds, ds.open("large") as file:
        file.write(LARGE)
    registry.storage.put("plain", b"x")
    registry.storage.upload([Upload("small", b"x")])
    assert registry.latest("x").state == "READY"
    return registry


# -- whom to trust -----------------------------------------------------------------------------------------------------


def certificate(name: str, key: Any, issuer: str, issuer_key: Any, authority: bool) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    called = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, issuer)]
    builder = x509.CertificateBuilder().subject_name(called[0]).issuer_name(called[1]).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=2)).not_valid_after(
        now + datetime.timedelta(days=2)
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    if not authority:
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A company's own authority, and a server with a certificate of it."""
    folder = tmp_path_factory.mktemp("tls")
    ours, theirs = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    pem = serialization.Encoding.PEM
    root = certificate("Company Root", ours, "Company Root", ours, True)
    leaf = certificate("s3", theirs, "Company Root", ours, False)
    (folder / "ca.pem").write_bytes(root.public_bytes(pem))
    (folder / "server.pem").write_bytes(
        theirs.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + leaf.public_bytes(pem)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return folder / "ca.pem", context


def test_tls_with_a_company_s_own_authority(moto: Server, authority: tuple[Path, ssl.SSLContext]) -> None:
    """With its certificate the server is trusted, without it it is not, and with verification off nobody looks."""
    ca, context = authority
    with watched(moto, tls=context) as (proxy, seen):
        assert proxy.endpoint.startswith("https://")
        with pytest.raises(RegistryError, match="CERTIFICATE_VERIFY_FAILED") as caught:
            form(moto, proxy, **KEYS).open()
        assert caught.value.todo
        assert seen == []
        assert publish(form(moto, proxy, **KEYS, ca_bundle=str(ca))).kinds() == ["x"]
        assert publish(form(moto, proxy, **KEYS, verify_tls=False)).kinds() == ["x"]
        assert len(seen) > 20


# -- who one is --------------------------------------------------------------------------------------------------------


def test_a_session_token_is_sent_with_every_request(moto: Server) -> None:
    """Beside the key that it belongs to."""
    with watched(moto) as (proxy, seen):
        publish(form(moto, proxy, **KEYS, session_token="TEMPORARY"))
    assert {request.header("x-amz-security-token") for request in seen} == {"TEMPORARY"}
    assert all("Credential=FORMKEY/" in request.header("Authorization") for request in seen)


def test_a_profile_is_read_where_every_tool_of_aws_reads_it(
    moto: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key signs; a profile that is not there is told."""
    config = tmp_path / "config"
    config.write_text("[profile dev]\naws_access_key_id = PROFILEKEY\naws_secret_access_key = s\nregion = eu-west-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    with watched(moto) as (proxy, seen):
        publish(form(moto, proxy, profile="dev"))
        assert all("Credential=PROFILEKEY/" in request.header("Authorization") for request in seen)
        with pytest.raises(RegistryError, match="nobody"):
            form(moto, proxy, profile="nobody").open()


def test_an_anonymous_reader_signs_nothing(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although there are credentials in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with watched(moto) as (proxy, seen):
        ambient = form(moto, proxy)
        publish(ambient)
        assert all("Credential=ENVIRONMENT/" in request.header("Authorization") for request in seen)
        seen.clear()
        reader = ambient.model_copy(update={"anonymous": True})
        try:
            reader.open()
        except (RegistryError, ConfigurationError):
            assert seen  # moto has no public buckets: what counts is what it was sent
    assert seen
    assert {request.header("Authorization") for request in seen} == {""}


# -- what every write says ---------------------------------------------------------------------------------------------


def test_encryption_is_asked_for_with_every_object(moto: Server) -> None:
    """By the conditional create that decides a run, by plain writes, and by uploads in parts."""
    kms = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn:aws:kms:us-east-1:1:key/k"}
    with watched(moto) as (proxy, seen):
        publish(form(moto, proxy, **KEYS, storage_options={"s3_additional_kwargs": kms}))
    kinds = {
        "conditional": [r for r in seen if r.method == "PUT" and r.header("If-None-Match")],
        "plain": [r for r in seen if r.method == "PUT" and not r.header("If-None-Match") and "uploadId" not in r.path],
        "in parts": [r for r in seen if r.method == "POST" and r.path.endswith("?uploads")],
    }
    assert any(request.path.endswith("/end.json") for request in kinds["conditional"])
    for kind, requests in kinds.items():
        assert requests, kind
        for request in requests:
            assert request.header("x-amz-server-side-encryption") == "aws:kms", (kind, request.path)
            assert request.header("x-amz-server-side-encryption-aws-kms-key-id") == kms["SSEKMSKeyId"], kind


def test_the_requester_pays_for_every_request(moto: Server) -> None:
    """Reads, listings, conditional and plain writes, and every part."""
    with watched(moto) as (proxy, seen):
        publish(form(moto, proxy, **KEYS, storage_options={"requester_pays": True}))
    assert {request.method for request in seen} >= {"GET", "PUT", "POST"}
    assert [r.method + r.path for r in seen if r.header("x-amz-request-payer") != "requester"] == []
