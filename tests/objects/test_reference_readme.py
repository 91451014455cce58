"""The examples of the reference document of system 3, as they stand there but for the package's name."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs
from urllib.request import Request, urlopen

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from prefect_registry import Registry
from prefect_registry.objects import (
    BatchResult,
    GCPRegistryBackend,
    LocalRegistryBackend,
    Materializer,
    MinioRegistryBackend,
    OnConflict,
    Payload,
    RegistryObjectNotFound,
    RegistryVersionConflict,
    S3RegistryBackend,
    StoredPayload,
    VerifyLevel,
)
from prefect_registry.objects.payload import Part
from prefect_registry.testing.servers import Server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any registry yet."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


def test_quick_start(home: Path) -> None:
    """Save, load, check, describe and list, in a registry that is made by its name alone."""
    trained_model, dataset, config_dict = {"weights": [0.5]}, [1, 2, 3], {"lr": 0.1}
    registry = Registry()

    registry.save("my:model", trained_model)
    registry.save("my:data", dataset, version="1.0.0")

    model = registry.load("my:model")
    data = registry.load("my:data", version="1.0.0")

    registry["my:config"] = config_dict
    config = registry["my:config"]

    exists = registry.has_object("my:model", "1.0.0")
    info = registry.info("my:model", "1.0.0")

    assert (model, data, config) == (trained_model, dataset, config_dict)
    assert exists is True
    assert isinstance(info, dict)
    assert registry.list_objects() == ["my:config", "my:data", "my:model"]
    assert registry.list_versions("my:model") == ["1"]
    del registry["my:config"]
    assert "my:config" not in registry


def test_local_backend(home: Path) -> None:
    """A folder by its backend."""
    local_backend = LocalRegistryBackend(uri=str(home / "registry"))
    registry = Registry(backend=local_backend)
    registry.save("name", 1)
    assert Registry(home / "registry").load("name") == 1


@pytest.mark.server
def test_s3_backend(seaweedfs: Server) -> None:
    """An S3 server by its backend's arguments, under both names."""
    s3_backend = S3RegistryBackend(
        endpoint=seaweedfs.endpoint.partition("://")[2],
        access_key=seaweedfs.storage_options["key"],
        secret_key=seaweedfs.storage_options["secret"],
        bucket=seaweedfs.bucket,
        secure=False,
        prefix="reference-readme",
    )
    registry = Registry(backend=s3_backend)
    registry.save("name", 1)
    assert registry.load("name") == 1
    assert MinioRegistryBackend is S3RegistryBackend


@pytest.fixture
def google(fake_gcs: Server, tmp_path: Path) -> Iterator[Path]:
    """Google with the bucket of the example, as far as it can be had here; the key file of a service account.

    The key is a real one, and its address for tokens a server here that gives one to who signs with it.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    grants: list[str] = []

    class Tokens(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            signed, _, signature = body["assertion"][0].rpartition(".")
            key.public_key().verify(_decoded(signature), signed.encode(), PKCS1v15(), SHA256())
            grants.append(json.loads(_decoded(signed.split(".")[1]))["iss"])
            answer = json.dumps({"access_token": "granted", "expires_in": 3600, "token_type": "Bearer"}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: object) -> None:
            pass

    made = Request(
        f"{fake_gcs.endpoint}/storage/v1/b?project=my-project",
        json.dumps({"name": "my-registry-bucket"}).encode(),
        {"Content-Type": "application/json"},
    )
    urlopen(made, timeout=10).close()
    with ThreadingHTTPServer(("127.0.0.1", 0), Tokens) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        path = tmp_path / "service-account.json"
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        path.write_text(
            json.dumps(
                {
                    "type": "service_account",
                    "project_id": "my-project",
                    "private_key_id": "1",
                    "private_key": pem,
                    "client_email": "registry@my-project.iam.gserviceaccount.com",
                    "token_uri": f"http://127.0.0.1:{server.server_port}/token",
                }
            )
        )
        yield path
        server.shutdown()
    assert set(grants) == {"registry@my-project.iam.gserviceaccount.com"}


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.server
def test_gcp_backend(home: Path, google: Path, fake_gcs: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket by its URI, project, name and key file, with which the client gets a token; a cache is before it."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", fake_gcs.endpoint)
    gcp_backend = GCPRegistryBackend(
        uri="gs://my-registry-bucket",
        project_id="my-project",
        bucket_name="my-registry-bucket",
        credentials_path=str(google),
    )
    assert gcp_backend.url == "gs://my-registry-bucket"
    registry = Registry(backend=gcp_backend, use_cache=True)
    trained_model = {"weights": b"w" * 100_000}
    registry.save("my:model", trained_model)
    registry.save("my:data", [1, 2, 3], version="1.0.0")
    for level in ("none", "integrity", "full"):
        assert registry.load("my:model", verify=level) == trained_model
    registry.clear_cache()
    another = Registry(backend=gcp_backend, use_cache=False)
    assert another.load("my:model") == trained_model
    assert another.load("my:data", version="1.0.0") == [1, 2, 3]
    assert another.list_objects() == ["my:data", "my:model"]
    with pytest.raises(RegistryVersionConflict):
        another.save("my:data", [4], version="1.0.0")
    del registry["my:data"]
    assert "my:data" not in another
    kept = urlopen(f"{fake_gcs.endpoint}/storage/v1/b/my-registry-bucket/o?prefix=cells/object/", timeout=10)
    with kept:
        assert "my%3Amodel" in kept.read().decode()


def test_a_gcp_uri_in_another_bucket_is_refused() -> None:
    """Both are named."""
    with pytest.raises(ValueError, match="'gs://a' is not in the bucket 'b'"):
        GCPRegistryBackend(uri="gs://a", bucket_name="b")


def test_caching(home: Path) -> None:
    """The three levels of verification, and emptying the cache."""
    registry = Registry(use_cache=True)
    registry.save("my:model", 1)
    for level in ("none", "integrity", "full"):
        assert registry.load("my:model", verify=level) == 1
        assert VerifyLevel(level) == level
    registry.clear_cache()


def test_version_management(home: Path) -> None:
    """Numbers that count up, and one that is given; the latest is the highest."""
    registry = Registry(home / "versions", version_objects=True)
    v1, v2, v3 = "one", "two", "three"
    assert registry.save("model", v1) == "1"
    assert registry.save("model", v2) == "2"
    assert registry.save("model", v3, version="2.1") == "2.1"
    assert registry.load("model", version="2.1") == v3
    assert registry.load("model", version="latest") == v3
    assert registry.save("model", "four") == "3"


def test_conflict_handling(home: Path) -> None:
    """Saving over something: told, left, or replaced."""
    registry, obj = Registry(home / "immutable"), {"a": 1}
    registry.save("model", {"a": 0}, version="1.0.0")
    with pytest.raises(RegistryVersionConflict):
        registry.save("model", obj, version="1.0.0")
    assert registry.save("model", obj, version="1.0.0", on_conflict="skip") == "1"
    with pytest.raises(ValueError, match="overwrite"):
        registry.save("model", obj, version="1.0.0", on_conflict="overwrite")

    registry = Registry(home / "mutable", mutable=True)
    registry.save("model", {"a": 0}, version="1.0.0")
    registry.save("model", obj, version="1.0.0", on_conflict="overwrite")
    assert registry.load("model") == obj
    registry.save("model", {"a": 2}, version="1.0.0", on_conflict=OnConflict.OVERWRITE)
    assert registry.save("model", {"a": 3}, version="1.0.0", on_conflict=OnConflict.SKIP) == "1"
    assert registry.load("model", verify=VerifyLevel.FULL) == {"a": 2}


class MyClass:
    def __init__(self, value: int) -> None:
        self.value = value


class MyMaterializer(Materializer):
    name = "tests.my_class"

    def save(self, value: Any) -> Payload:
        return Payload([Part("value.txt", str(value.value).encode())])

    def load(self, payload: StoredPayload) -> Any:
        return MyClass(int(payload.read("value.txt")))


@pytest.fixture
def my_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module of the example, as the reader would have it."""
    module = types.ModuleType("my_module")
    for name, cls in (("MyClass", MyClass), ("MyMaterializer", MyMaterializer)):
        setattr(module, name, cls)
        monkeypatch.setattr(cls, "__module__", "my_module")
    monkeypatch.setitem(sys.modules, "my_module", module)


@pytest.mark.usefixtures("my_module")
def test_custom_materializers(home: Path) -> None:
    """By dotted names, and by a class with the call."""
    registry, my_object = Registry(), MyClass(7)
    registry.register_materializer("my_module.MyClass", "my_module.MyMaterializer")
    registry.save("custom:registered", my_object)
    registry.save("custom:obj", my_object, materializer=MyMaterializer)
    assert registry.load("custom:obj", materializer=MyMaterializer).value == 7
    assert registry.load("custom:registered").value == 7


def test_metadata_and_information(home: Path) -> None:
    """Of one version, of one object, of all."""
    registry = Registry()
    registry.save("my:model", 1, metadata={"accuracy": 0.9})
    assert registry.info("my:model", "1.0.0")["metadata"] == {"accuracy": 0.9}
    assert registry.info("my:model")["1"]["name"] == "my:model"
    assert registry.info()["my:model"]["1"]["metadata"] == {"accuracy": 0.9}


def test_error_handling(home: Path) -> None:
    """What is not there is told by the reference's own exception."""
    registry = Registry()
    with pytest.raises(RegistryObjectNotFound, match="nonexistent:model"):
        registry.load("nonexistent:model")


def test_batch_operations(home: Path) -> None:
    """Lists of names, objects and versions."""
    registry, obj_a, obj_b = Registry(), 1, 2
    result = registry.save(["model:a", "model:b"], [obj_a, obj_b], version=["1.0.0", "1.0.0"])
    assert result.results == ["1", "1"]
    assert result.errors == {}
    assert result.succeeded == [("model:a", "1.0.0"), ("model:b", "1.0.0")]
    assert result.failed == []
    assert isinstance(result, BatchResult)
    result = registry.load(["model:a", "model:b"], version=["1.0.0", "1.0.0"])
    assert result.results == [obj_a, obj_b]


def test_debug_logging(home: Path) -> None:
    """With the level that the document sets, each operation is told."""
    code = (
        "import logging\n"
        "logging.basicConfig(level=logging.DEBUG)\n"
        "from prefect_registry import Registry\n"
        "registry = Registry()\n"
        "registry.save('my:model', [1])\n"
        "registry.load('my:model')\n"
        "registry.delete('my:model')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    told = [line for line in done.stderr.splitlines() if line.startswith("DEBUG:prefect_registry:")]
    assert [line.split(":")[2] for line in told] == ["Saved", "Loading", "Deleted"]
    assert all("my:model@1" in line for line in told)
