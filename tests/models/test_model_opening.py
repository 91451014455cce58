"""Where a client is opened: names, URLs, blocks, registries; hosts of S3 servers, with tokens and certificates."""

from __future__ import annotations

import datetime
import ipaddress
import logging
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from model_support import URI, opened

from prefect_registry import Registry
from prefect_registry.blocks import LocalRegistry
from prefect_registry.errors import AccessDenied, ConfigurationError, InvalidInput, StorageError
from prefect_registry.ids import random_token
from prefect_registry.models import opening
from prefect_registry.models.client import ModelRegistry
from prefect_registry.models.core import ModelRegistryAPIClient
from prefect_registry.models.exceptions import StoreError
from prefect_registry.models.opening import is_server, token_from
from prefect_registry.testing.proxies import Proxy
from prefect_registry.testing.servers import Server

TOKEN = "a-key:planted-secret"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No bucket and no token but what the test says."""
    for name in ("MODEL_REGISTRY_BUCKET", "KF_PIPELINES_SA_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(opening, "_KUBERNETES_TOKEN", tmp_path / "no-token")


def both(address: Any, port: Any = 443) -> list[ModelRegistry | ModelRegistryAPIClient]:
    """Every way to open a registry that is named by itself."""
    return [
        ModelRegistry(address, port),
        ModelRegistry(address, port, is_secure=False),
        ModelRegistryAPIClient(address),
        ModelRegistryAPIClient.secure_connection(address, port),
        ModelRegistryAPIClient.insecure_connection(address, port),
    ]


def test_registries_that_are_named_by_themselves(tmp_path: Path) -> None:
    """A URL, a folder, a block, an object; the port does not matter."""
    folder = tmp_path / "registry"
    memory = f"memory://models-{random_token()}"
    places: list[Any] = [memory, Registry(memory), f"file://{folder}", Path(folder), LocalRegistry(path=str(folder))]
    found = [{each.models.registry.registry_id for each in both(place)} for place in places]
    assert [len(ids) for ids in found] == [1] * len(places)
    assert found[0] == found[1] != found[2] == found[3] == found[4]
    assert {c.models.registry.registry_id for c in both(memory, 8080)} == found[0]


def test_a_token_that_is_not_needed_is_not_used_and_a_certificate_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """Neither is ever passed on or told; what would be trusted wrongly is an error."""
    memory = f"memory://models-{random_token()}"
    with caplog.at_level(logging.WARNING):
        client = ModelRegistry(memory, user_token=TOKEN)
    assert [r.name for r in caplog.records] == ["prefect_registry.models"]
    assert "planted-secret" not in f"{client!r}{caplog.text}"
    for call in (
        lambda: ModelRegistry(memory, custom_ca="ca.pem"),
        lambda: ModelRegistryAPIClient.secure_connection(memory, custom_ca="ca.pem"),
    ):
        with pytest.raises(ConfigurationError, match="certificate"):
            call()


@pytest.mark.parametrize(
    ("address", "port", "expected"),
    [
        ("prod", 443, False),
        ("data-registry-s3/prod", 443, False),
        ("s3://bucket/prefix", 8080, False),
        ("memory://x", "port", False),
        ("/var/data", 443, False),
        ("./registry", 443, False),
        ("~/registry.d", 443, False),
        ("/var/data.d/registry", 8080, False),
        ("../data.d", 443, False),
        ("minio.example.com", 443, True),
        ("minio.example.com/bucket", 443, True),
        ("localhost", 443, True),
        ("localhost/bucket", 443, True),
        ("minio:9000/bucket", 443, True),
        ("[::1]/bucket", 443, True),
        ("minio", 9000, True),
        ("https://minio/bucket", 443, True),
        ("http://minio/bucket", 443, True),
        (None, 443, False),
        (Path("minio.example.com"), 443, False),
    ],
)
def test_what_names_a_server(address: Any, port: Any, expected: bool) -> None:
    assert is_server(address, port) is expected


@pytest.mark.parametrize(
    ("address", "port", "said"),
    [
        ("http://minio.example.com/bucket", 443, "is not https"),
        ("minio.example.com", 443, "no bucket is named"),
        ("minio.example.com", "port", "'port' is not a number.*no bucket"),
        ("https://minio.example.com:x/bucket", 443, "is not a number"),
        ("http://minio.example.com:x", 443, "is not https.*is not a number.*no bucket"),
        ("https://key:planted-secret@minio.example.com", 443, "no bucket is named.*'https://minio.example.com'"),
        ("key:planted-secret@minio.example.com", 443, "no bucket is named.*'https://minio.example.com'"),
        ("http://key:1/2@planted-secret@minio.example.com/bucket", 443, "'http://minio.example.com/bucket' is not"),
        ("https://[::1/bucket", 443, "is no URL"),
    ],
)
def test_addresses_that_are_not_clear(address: str, port: Any, said: str) -> None:
    """Every problem is named, and what to write instead."""
    for call in (
        lambda: ModelRegistryAPIClient.secure_connection(address, port, user_token=TOKEN),
        lambda: ModelRegistry(address, port, user_token=TOKEN),
    ):
        with pytest.raises(ConfigurationError, match=said) as caught:
            call()
        assert "MODEL_REGISTRY_BUCKET" in caught.value.todo
        assert caught.value.committed == "no"
        assert "planted-secret" not in str(caught.value.as_dict())


@pytest.mark.parametrize("token", ["key", "key:", ":secret", "", ":"])
def test_tokens_of_another_form(token: str) -> None:
    """It is told what is missing, and never what was there."""
    with pytest.raises((ConfigurationError, StoreError), match=r"user_token|user token") as caught:
        ModelRegistryAPIClient.secure_connection("https://minio.example.com/b", user_token=token)
    assert "access_key:secret_key" in caught.value.todo
    with pytest.raises(ConfigurationError):
        ModelRegistryAPIClient.insecure_connection("http://minio.example.com/b", 80, user_token=token or ":")


def test_MR_30_a_secure_connection_to_a_server_needs_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for call in (
        lambda: ModelRegistry("https://minio.example.com/b"),
        lambda: ModelRegistry("minio.example.com/b", 9000),
        lambda: ModelRegistryAPIClient.secure_connection("https://minio.example.com/b"),
    ):
        with pytest.raises(StoreError, match="user token must be provided for secure connection") as caught:
            call()
        assert "block" in caught.value.todo


def test_where_tokens_come_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The argument, the variable that was named, the file of Kubeflow, that of Kubernetes; the first there is."""
    assert token_from(None, None) is None
    kubernetes, kubeflow = tmp_path / "kubernetes", tmp_path / "kubeflow"
    kubernetes.write_text("of:kubernetes\n")
    monkeypatch.setattr(opening, "_KUBERNETES_TOKEN", kubernetes)
    assert token_from(None, None) == "of:kubernetes"
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(kubeflow))
    assert token_from(None, None) == "of:kubernetes", "a file that is not there is none"
    kubeflow.write_text(" of:kubeflow ")
    assert token_from(None, None) == "of:kubeflow"
    monkeypatch.setenv("MY_TOKEN", "of:mine")
    assert token_from(None, "MY_TOKEN") == "of:mine"
    assert token_from("of:argument", "MY_TOKEN") == "of:argument"
    with pytest.raises(StoreError, match="NO_SUCH_TOKEN is not set") as caught:
        token_from(None, "NO_SUCH_TOKEN")
    assert caught.value.committed == "no"


def test_a_token_that_cannot_be_read_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It names the file, and opens nothing without credentials instead."""
    monkeypatch.setattr(opening, "_KUBERNETES_TOKEN", tmp_path / ("token" * 100))
    with pytest.raises(StoreError, match=r"token of the service account.*cannot be read") as caught:
        token_from(None, None)
    assert "File name too long" in str(caught.value)
    assert caught.value.committed == "no"


def test_a_token_that_is_no_text_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of which nothing is shown."""
    (tmp_path / "token").write_bytes(b"planted\xff")
    monkeypatch.setattr(opening, "_KUBERNETES_TOKEN", tmp_path / "token")
    with pytest.raises(StoreError, match="it is no text") as caught:
        token_from(None, None)
    assert "planted" not in str(caught.value.as_dict())


@pytest.mark.parametrize(
    ("given", "port", "endpoint"),
    [
        ("https://[::1]:9000/bucket", 443, "https://[::1]:9000"),
        ("[fe80::1]/bucket", 9000, "https://[fe80::1]:9000"),
        ("https://[::1]/bucket", 443, "https://[::1]"),
        ("https://minio:9000/bucket", 443, "https://minio:9000"),
    ],
)
def test_the_endpoint_of_a_server(given: str, port: int, endpoint: str) -> None:
    """An IPv6 address keeps its brackets: without them its last part is taken for a port."""
    assert opening._endpoint(given, port, True) == (endpoint, "bucket")


def test_other_arguments() -> None:
    """A runner that is none, and the level of the log."""
    registry = opened()
    with pytest.raises(InvalidInput, match="async_runner"):
        ModelRegistry(registry, async_runner="run")  # type: ignore[arg-type]
    ModelRegistry(registry, async_runner=lambda coroutine: None, log_level=logging.ERROR)
    assert logging.getLogger("prefect_registry.models").level == logging.ERROR
    ModelRegistry(registry)
    assert logging.getLogger("prefect_registry.models").level == logging.WARNING
    assert ModelRegistry(registry).models.by
    assert ModelRegistry(registry, author="ann").models.by == "ann"


# -- servers ---------------------------------------------------------------------------------------------------------


def address(server: Server) -> tuple[str, str, str]:
    """Host, port and token of a server."""
    host, port = server.endpoint.partition("://")[2].split(":")
    return host, port, f"{server.storage_options['key']}:{server.storage_options['secret']}"


def works(client: ModelRegistry) -> str:
    """Register and load; the id of the registry."""
    client.register_model("HAL", model={"w": 1}, version=random_token()[:8])
    assert client.load("HAL") == {"w": 1}
    return client.models.registry.registry_id


@pytest.mark.server
def test_host_and_port_of_an_s3_server(seaweedfs: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket from the path or from MODEL_REGISTRY_BUCKET, with a folder in it; the port from the address first."""
    host, port, token = address(seaweedfs)
    place = f"{seaweedfs.bucket}/models-{random_token()[:8]}"
    insecure: dict[str, Any] = {"is_secure": False, "user_token": token}
    ids = [works(ModelRegistry(f"{host}/{place}", port, **insecure))]
    monkeypatch.setenv("MODEL_REGISTRY_BUCKET", f"/{place}/")
    monkeypatch.setenv("MY_TOKEN", token)
    ids += [
        works(ModelRegistry(host, int(port), **insecure)),
        ModelRegistry(f"http://{host}:{port}", 1, **insecure).models.registry.registry_id,
        ModelRegistry(host, port, is_secure=False, user_token_envvar="MY_TOKEN").models.registry.registry_id,
        ModelRegistryAPIClient.insecure_connection(host, port, token).models.registry.registry_id,
        works(ModelRegistry(f"http://{host}:{port}/{place}", 1, **insecure)),
    ]  # fmt: skip
    assert len(set(ids)) == 1
    assert Registry(f"s3://{place}", storage_options=seaweedfs.storage_options).registry_id == ids[0]
    key = token.partition(":")[0]
    with pytest.raises(AccessDenied) as caught:
        ModelRegistry(host, port, is_secure=False, user_token=f"{key}:planted-secret")
    assert "planted-secret" not in str(caught.value.as_dict())


@pytest.fixture
def tls(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """An authority of our own, and a server's context with a certificate of it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "our own")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    host = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = builder.add_extension(x509.SubjectAlternativeName([host]), critical=False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    ca, both_ = tmp_path / "ca.pem", tmp_path / "server.pem"
    ca.write_bytes(made.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    both_.write_bytes(private + made.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both_)
    return ca, context


@pytest.fixture
def secure(seaweedfs: Server, tls: tuple[Path, ssl.SSLContext]) -> Iterator[Server]:
    with Proxy(seaweedfs.endpoint, tls=tls[1]).running() as proxy:
        yield seaweedfs.through(proxy.endpoint)


@pytest.mark.server
def test_a_secure_connection_with_a_certificate_of_ones_own(
    secure: Server, tls: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By ``custom_ca``, or the variable that ``custom_ca_envvar`` names; without it the server is not trusted, and an
    insecure connection does not ask.
    """
    host, port, token = address(secure)
    place = f"{secure.bucket}/models-{random_token()[:8]}"
    monkeypatch.setenv("MY_CA", str(tls[0]))
    monkeypatch.setenv("MODEL_REGISTRY_BUCKET", place)
    ca = str(tls[0])
    clients = [
        ModelRegistry(host, port, user_token=token, custom_ca=ca),
        ModelRegistry(f"https://{host}:{port}/{place}", user_token=token, custom_ca_envvar="MY_CA"),
        ModelRegistryAPIClient.secure_connection(host, port, user_token=token, custom_ca=ca),
        ModelRegistry(f"https://{host}:{port}", is_secure=False, user_token=token),
    ]
    assert {client.models.registry.registry_id for client in clients} == {works(clients[0])}  # type: ignore[arg-type]
    with pytest.raises(StorageError, match="SSL"):
        ModelRegistry(host, port, user_token=token)
    with pytest.raises(ConfigurationError, match="NO_SUCH_CA is not set"):
        ModelRegistry(host, port, user_token=token, custom_ca_envvar="NO_SUCH_CA")


def test_a_registry_is_used_by_its_models(tmp_path: Path) -> None:
    """The same store for everything: what the client registers, the registry has."""
    registry = Registry(tmp_path)
    ModelRegistry(str(tmp_path), author="me").register_model("HAL", URI, version="1")
    assert [m.name for m in ModelRegistry(registry).get_registered_models()] == ["HAL"]
