"""What the demo runs on: a Prefect server of its own, a process that serves the deployments, a store, a block."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.demo.processes import Child, answers, child

HOST = "127.0.0.1"
BLOCK = "demo"
SERVER_SECONDS = 180.0
"""The first start makes the server's database, which takes ten seconds, or a minute on a busy machine."""


@dataclass(frozen=True)
class Prefect:
    """A running Prefect server."""

    url: str
    environment: Mapping[str, str]
    folder: Path
    process: Child

    def wait(self) -> None:
        """Wait until it answers. Raises ``DidNotStart``."""
        self.process.wait_until(lambda: answers(f"{self.url}/health"), SERVER_SECONDS)

    @property
    def ui(self) -> str:
        """The address of its UI."""
        return self.url.removesuffix("/api")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])


def clean_environment(folder: Path) -> dict[str, str]:
    """This process's environment without anybody's Prefect, cloud or registry settings; home and caches below
    ``folder``.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "AWS_", "REGISTRY_"))}
    return kept | {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_PROFILES_PATH": str(folder / "prefect" / "profiles.toml"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_LOGGING_COLORS": "false",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "TMPDIR": str(folder),
        "XDG_DATA_HOME": str(folder / "data"),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


@contextlib.contextmanager
def prefect_server(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Prefect]:
    """A Prefect server on a free port, with its database below ``folder`` unless its settings say something else. It is
    starting: see :meth:`Prefect.wait`.
    """
    port = free_port()
    url = f"http://{HOST}:{port}/api"
    environment = clean_environment(folder) | dict(settings or {})
    arguments = ["-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    with child("Prefect server", arguments, environment, folder) as process:
        yield Prefect(url, {**environment, "PREFECT_API_URL": url}, folder, process)


@contextlib.contextmanager
def served(prefect: Prefect) -> Iterator[Child]:
    """A process that serves the deployments ``flights/demo`` and ``maintenance/demo``."""
    ready = prefect.folder / f"served-{free_port()}"
    arguments = ["-m", "flows.demo.served", str(ready)]
    with child("Served deployments", arguments, prefect.environment, prefect.folder) as process:
        process.wait_until(ready.exists, SERVER_SECONDS)
        yield process


def adopt(prefect: Prefect) -> None:
    """Make this process use the server. Call it before anything imports prefect."""
    for name in [n for n in os.environ if n not in prefect.environment]:
        del os.environ[name]
    os.environ.update(prefect.environment)
