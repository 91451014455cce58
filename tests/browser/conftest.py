"""A real Prefect server with its two user interfaces, and Chromium to use them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from servers import seaweedfs

from prefect_registry.testing.servers import free_ports

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["seaweedfs"]

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]


@dataclass(frozen=True)
class Prefect:
    """A running Prefect server."""

    root: str
    environment: dict[str, str]

    @property
    def api(self) -> str:
        return f"{self.root}/api"

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program of Python that uses this server, as a worker would: in a process of its own."""
        return subprocess.run(
            [sys.executable, *command],
            env=self.environment,
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
            timeout=240,
        )


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory, _database: dict[str, str]) -> Iterator[Prefect]:
    """A Prefect server that knows our block types. (The one of `prefect_test_harness` serves no interface.)"""
    folder = tmp_path_factory.mktemp("prefect")
    (port,) = free_ports(1)
    root = f"http://127.0.0.1:{port}"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_API_URL": f"{root}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_API_URL": f"{root}/api",
        "DO_NOT_TRACK": "1",
    } | _database
    with open(folder / "log", "wb") as log:
        command = [sys.executable, "-m", "prefect", "server", "start"]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        server = Prefect(root, environment)
        _wait(f"{root}/api/health", process, folder / "log")
        registered = server.run("-m", "prefect", "block", "register", "-m", "prefect_registry.blocks")
        assert registered.returncode == 0, registered.stderr
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            assert process.poll() is None, log.read_text(errors="replace")[-2000:]
            assert time.monotonic() < deadline, log.read_text(errors="replace")[-2000:]
            time.sleep(0.3)


@pytest.fixture
def page(prefect: Prefect) -> Iterator[Page]:
    """A tab of headless Chromium. Only this machine is reached; our logos come from the package."""
    from playwright.sync_api import Route, sync_playwright

    def outside(route: Route) -> None:
        logo = ROOT / "prefect_registry" / "blocks" / "logos" / route.request.url.rpartition("/")[2]
        if "/logos/" in route.request.url and logo.exists():
            route.fulfill(path=logo)
        else:
            route.abort()

    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert program, "the browser tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        context = browser.new_context(viewport={"width": 1100, "height": 900})
        context.route(lambda url: not url.startswith(prefect.root), outside)
        context.set_default_timeout(60_000)
        yield context.new_page()
        browser.close()
