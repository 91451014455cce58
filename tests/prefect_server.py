"""One real Prefect server for the whole test process, whichever folder's tests ask for it first.

One, because Prefect keeps what it sends with, its events worker above all, for the life of a process: with a second
server, the events of its flow runs would go on to the first.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
from memory_folders import memory_folder

RARELY = {
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS": "60",
}
"""What a server looks for every few seconds, and no test waits for."""
BUILD = Path(__file__).parent.parent / ".build"


@contextmanager
def patient_database() -> Iterator[dict[str, str]]:
    """Settings of a server for a machine that is busy with other tests.

    Its database lies in memory, if the machine has such a folder, since it would wait for a disk that takes gigabytes
    from others. It is a copy of one that another server has made, which takes ten seconds and more. And it has
    ``:memory:`` in its name, which makes Prefect open it with one connection: with several, SQLite refuses to write in
    a transaction that began with reading before somebody else wrote, Prefect answers 503 at once, and sixteen flows
    that begin together meet that often enough to use up their clients' retries.
    """
    with tempfile.TemporaryDirectory(dir=memory_folder(1 << 30)) as folder:
        database = Path(folder) / ":memory:.db"
        shutil.copy(_made_database(), database)
        yield _settings(database) | {"PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false"}


def _settings(database: Path) -> dict[str, str]:
    return {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database}",
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
        "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
    }


def _made_database() -> Path:
    """The database of a server of this Prefect that has been started once; kept for all test processes of a clone."""
    from flows.demo.environment import prefect_server

    made = BUILD / f"prefect-{version('prefect')}.db"
    BUILD.mkdir(exist_ok=True)
    with open(made.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            with tempfile.TemporaryDirectory() as folder:
                first, whole = Path(folder) / "first.db", made.with_suffix(".part")
                with prefect_server(Path(folder), _settings(first)) as prefect:
                    prefect.wait()
                whole.unlink(missing_ok=True)
                with closing(sqlite3.connect(first)) as connection:  # with what is still in its log
                    connection.execute("VACUUM INTO ?", (str(whole),))
                whole.rename(made)
    return made


@pytest.fixture(scope="session")
def _database() -> Iterator[dict[str, str]]:
    with patient_database() as settings:
        yield settings


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory, _database: dict[str, str]) -> Iterator[str]:
    """The API URL of ``prefect server start`` on a free port, with a database of its own, which this process and its
    children use from here on.
    """
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_RESULTS_LOCAL_STORAGE_PATH,
        temporary_settings,
    )

    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    own = {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
        "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
        **RARELY,
        **_database,
    }
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with open(home / "server.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            _await_health(url, process)
            # What earlier tests sent to a server of their own is sent, and forgotten.
            EventsWorker.drain_all()
            APILogWorker.drain_all()
            changed = {
                PREFECT_API_URL: url,
                PREFECT_RESULTS_LOCAL_STORAGE_PATH: home / "results",
                # Prefect joins its heartbeat thread for a second at the end of every flow run.
                PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
            }
            with temporary_settings(changed), _for_every_thread():
                yield url
        finally:
            # What is still queued would be sent to a server that is gone, for a minute.
            EventsWorker.drain_all()
            APILogWorker.drain_all()
            process.terminate()
            process.wait(20)
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@contextmanager
def _for_every_thread() -> Iterator[None]:
    """Let threads that Prefect starts without a context use these settings too, and start no server of their own."""
    import prefect.context

    before = prefect.context.GLOBAL_SETTINGS_CONTEXT
    prefect.context.GLOBAL_SETTINGS_CONTEXT = prefect.context.SettingsContext.get()
    try:
        yield
    finally:
        prefect.context.GLOBAL_SETTINGS_CONTEXT = before


def _await_health(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the Prefect server ended while it was starting"
        try:
            if httpx.get(f"{url}/health", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise AssertionError("the Prefect server did not answer within two minutes")
