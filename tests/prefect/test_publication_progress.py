"""How far a job is, as Prefect shows it: an artifact that moves while the job works, and holds nobody up."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_support import Server

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parents[1] / "ingestion"))
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from ingestion_support import Scene  # noqa: E402
from web_support import Request, serving  # noqa: E402

from flows.publications import publications  # noqa: E402
from prefect_registry.ingestion import Collection, Ingestion  # noqa: E402
from prefect_registry.publications import progress  # noqa: E402
from prefect_registry.publications.progress import JobProgress, ProgressArtifacts  # noqa: E402
from prefect_registry.registry import Registry  # noqa: E402

FILE = b"n\n" + b"1\n" * 500_000


def shown(server: Server, publication: str) -> list[dict[str, Any]]:
    """The artifacts of a publication's jobs, oldest first."""
    wanted = {"artifacts": {"key": {"any_": [f"publication-{publication}"]}}, "sort": "ID_DESC"}
    found = server.post("/artifacts/filter", wanted)
    return sorted(found, key=lambda artifact: str(artifact["created"]))


def ticked(store: Registry) -> None:
    publications(registry=store.url)


def test_a_download_moves_it(store: Registry, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It moves with the bytes, stays where the download has ended, and ends at 100 when the job is published."""
    monkeypatch.setattr(progress, "PAUSE_SECONDS", 0.1)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    seen: list[float] = []

    def slow(request: Request) -> None:
        """Each part is sent when the artifact shows the one before."""
        request.head(Content_Length=len(FILE))
        quarter = len(FILE) // 4
        for part in range(4):
            request.raw(FILE[part * quarter : (part + 1) * quarter])
            deadline = time.monotonic() + 60
            while part < 3:
                found = shown(server, "moving")
                if found and found[-1]["data"] > (seen[-1] if seen else 0):
                    seen.append(found[-1]["data"])
                    break
                assert time.monotonic() < deadline, found
                time.sleep(0.1)
        request.raw(FILE[4 * quarter :])

    with serving() as site:
        site.pages["/f"] = slow
        options = {"url": f"{site.url}/f", "hosts": [site.host], "schemes": ["http"], "kind": "n", "format": "csv"}
        export = {"type": "export", "options": {"kind": "n", "formats": ["csv"]}}
        plan = [{"type": "http", "options": {**options, "limits": {"attempts": 1}}}, export]
        ingestion = Ingestion(store)
        ingestion.put(Collection.model_validate({"id": "moving", "plan": plan}))
        ingestion.create_job("moving")
        ticked(store)
        assert (len(seen), min(seen) > 0, max(seen) < 50) == (3, True, True)
        assert [(a["type"], a["data"]) for a in shown(server, "moving")] == [("progress", 50.0)]
        for _ in range(2):
            ticked(store)
    assert ingestion.jobs("moving")[0].successful
    last = shown(server, "moving")[-1]
    assert (last["data"], last["description"]) == (100.0, "Job moving/1 is published")
    assert last["flow_run_id"] is not None


def test_a_job_that_fails(store: Registry, server: Server) -> None:
    """It says so, and never shows 100."""
    options = {"function": "prefect_support:no_such_function"}
    ingestion = Ingestion(store)
    ingestion.put(Collection.model_validate({"id": "failing", "plan": [{"type": "callable", "options": options}]}))
    ingestion.create_job("failing")
    ticked(store)
    assert ingestion.jobs("failing")[0].is_unsuccessful()
    (found,) = shown(server, "failing")
    assert found["data"] < 100
    assert found["description"] == "Job failing/1 has failed: nothing of it is published"


def test_much_is_told_seldom(store: Registry) -> None:
    """While one pass takes its time, all that comes meanwhile is one more: the newest."""
    scene, sent, busy, go_on = Scene(store), list[JobProgress](), threading.Event(), threading.Event()
    job = scene.process().job

    def send(told: JobProgress) -> None:
        sent.append(told)
        busy.set()
        assert go_on.wait(60)

    with ProgressArtifacts(send, pause=lambda ended: None) as tell:
        tell(job, 0.0)
        assert busy.wait(60)
        for n in range(1_001):
            tell(job, n / 1_000)
        go_on.set()
    assert [told.percent for told in sent] == [0.0, 100.0]


def test_no_one_is_told_twice_without_news(store: Registry) -> None:
    """Nothing is sent while nothing is new, and a manager that works on no job sends nothing."""
    sent: list[JobProgress] = []
    with ProgressArtifacts(sent.append):
        pass
    assert sent == []


def test_a_server_that_is_away_stops_no_job(store: Registry, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """The job goes on as if nothing were; a warning says what is not shown."""
    scene = Scene(store)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), ProgressArtifacts() as tell:
        ingestion = Ingestion(store, managers={"played": scene.stage.manager}, now=scene.time, progress=tell)
        for _ in range(2):
            ingestion.tick()
    assert scene.job.successful
    assert "is not shown in Prefect" in caplog.text


def test_what_is_told_of_may_raise(store: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever listens to progress stops no job."""

    def broken(job: object, done: float) -> None:
        raise ValueError("broken")

    scene = Scene(store)
    ingestion = Ingestion(store, managers={"played": scene.stage.manager}, now=scene.time, progress=broken)
    for _ in range(2):
        ingestion.tick()
    assert scene.job.successful
    assert "could not be told" in caplog.text
