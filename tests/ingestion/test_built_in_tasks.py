"""Downloads, gates and exports as parts of a job: published together, or nothing of them."""

from __future__ import annotations

import gzip
import io
import signal
import threading
import time as seconds
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingestion_support import Time
from test_kills import managers
from web_support import Request, Server, serving

from prefect_registry import Registry
from prefect_registry.ingestion import (
    Collection,
    Export,
    Ingestion,
    Job,
    RecoverableError,
    Result,
    Status,
    Task,
    TaskManager,
    TaskStatus,
)

CSV = b"n,day\n1,2013-01-01\n2,2014-01-01\n3,\n"


class Place:
    """A publication ``p`` of what the site serves at ``/f``."""

    def __init__(self, registry: Registry, site: Server, tmp_path: Path) -> None:
        self.registry, self.site, self.time, self.folder = registry, site, Time(), tmp_path
        self.ingestion = Ingestion(registry, now=self.time, managers={"looks": self._looks})
        self.body, self.headers = CSV, {"ETag": '"1"'}
        self.looks: Callable[[TaskManager], None] = lambda manager: None

        @site.page("/f")
        def _(request: Request) -> None:
            if request.headers.get("If-None-Match") == self.headers.get("ETag", "none"):
                request.whole(b"", 304)
            else:
                request.whole(self.body, **self.headers)

    def _looks(self, task: Task) -> TaskManager:
        return Looks(task, self)

    def options(self, **options: Any) -> dict[str, Any]:
        given = {"url": f"{self.site.url}/f", "hosts": [self.site.host], "schemes": ["http"], "kind": "n"}
        limits = {"attempts": 1, "read_seconds": 2, "seconds": 5}
        return {**given, "format": "csv", "limits": limits, **options}

    def define(self, *more: dict[str, Any], publication: dict[str, Any] | None = None, **options: Any) -> None:
        plan = [{"type": "http", "options": self.options(**options), "max_attempts": 2}, *more]
        values = {"id": "p", "retrieval_frequency": "MONTHLY", "plan": plan, **(publication or {})}
        self.ingestion.put(Collection.model_validate(values))

    def finish(self) -> Job:
        """One more job, as far as it goes; afterwards a month has passed."""
        for _ in range(5):
            self.ingestion.tick()
            self.time.pass_(hours=2)
        self.time.pass_(days=30)
        return self.ingestion.jobs("p")[0]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.registry.table("n").to_table().to_pylist()


class Looks(TaskManager):
    """Looks at the job while it works."""

    remote, final_output = False, True

    def __init__(self, task: Task, place: Place) -> None:
        super().__init__(task)
        self.place = place

    def run(self) -> None:
        self.place.looks(self)

    def get_status(self) -> tuple[Status, str | None]:
        return Status.COMPLETED, None

    def wipe(self) -> None:
        pass


@pytest.fixture
def place(registry: Registry, site: Server, tmp_path: Path) -> Place:
    return Place(registry, site, tmp_path)


def failed(place: Place, job: Job) -> str:
    """The note of the job's failure: nothing of it is visible, and there is an incident."""
    assert (job.status, job.is_unsuccessful()) == (Status.COMPLETED, True)
    task = next(t for t in job.tasks if t.result == Result.FAILED)
    told = [i for i in place.registry.incidents() if i.subject_id == job.id]
    assert len(told) == 1
    assert task.note[:100] in told[0].message
    assert place.ingestion.publication("p").active_job != job.id
    return task.note


# -- downloads -------------------------------------------------------------------------------------------------------


def test_a_download_is_published(place: Place) -> None:
    """Its rows are the table; the job has their number, and what tells whether the source changes."""
    place.define()
    job = place.finish()
    assert job.is_successful(), job.tasks
    assert place.rows == [
        {"n": 1, "day": date(2013, 1, 1)},
        {"n": 2, "day": date(2014, 1, 1)},
        {"n": 3, "day": None},
    ]
    assert job.context["rows"] == 3
    assert job.context["sources"]["http"]["etag"] == '"1"'
    assert place.registry.latest("n").tags["source"] == f"{place.site.url}/f"


@pytest.mark.parametrize("headers", [{"ETag": '"1"'}, {}], ids=["by ETag", "by checksum"])
def test_unchanged(place: Place, headers: dict[str, str]) -> None:
    """No new job is made, and the publication counts as checked; when the source changes there is one."""
    place.headers = headers
    place.define()
    first = place.finish()
    assert place.finish().id == first.id
    checked = place.ingestion.publication("p").last_checked
    assert checked is not None
    assert checked > first.end
    place.body, place.headers = b"n,day\n4,2015-01-01\n", {"ETag": '"2"'} if headers else {}
    assert place.finish().number == 2
    assert [row["n"] for row in place.rows] == [4]


def test_another_definition_is_a_change(place: Place) -> None:
    """The same file read in another way is retrieved again."""
    place.define()
    place.finish()
    place.define(columns={"n": "string"})
    assert place.finish().number == 2
    assert [row["n"] for row in place.rows] == ["1", "2", "3"]


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name if "/" in name else name.replace("_", "."), content)
    return out.getvalue()


def parquet(**columns: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("body", "options"),
    [
        (gzip.compress(CSV), {}),
        (zipped(a_csv=b"n,day\n1,\n2,\n", b_csv=b"n,day\n3,\n", read_me=b"x"), {"members": "*.csv"}),
        (zipped(**{"a_csv": CSV, "__MACOSX/._a.csv": b"\0\5\x16\7"}), {"members": "*.csv"}),
        (b'{"n": 1, "day": "x"}\n{"n": 2}\n\n{"n": 3}', {"format": "jsonl"}),
        (parquet(n=[1, 2, 3], day=[None, None, None]), {"format": "parquet"}),
        (b"n;day\n1;\xe9\n2;-\n3;\n", {"delimiter": ";", "encoding": "latin-1", "null_values": ["-"]}),
    ],
    ids=["gzip", "zip", "zip of macOS", "JSON lines", "Parquet", "another CSV"],
)
def test_formats(place: Place, body: bytes, options: dict[str, Any]) -> None:
    """CSV, JSON lines and Parquet are read, as they are or packed."""
    place.body = body
    place.define(**options)
    job = place.finish()
    assert job.is_successful(), [t.note for t in job.tasks]
    assert [row["n"] for row in place.rows] == [1, 2, 3]


def test_a_file_without_rows(place: Place) -> None:
    """It has columns, and is published: whether that may be is a matter of gates."""
    place.body = b"n,day\n"
    place.define()
    assert place.finish().is_successful()
    assert place.registry.table("n").to_table().column_names == ["n", "day"]


def test_secrets_come_from_the_environment(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They are sent, and stored nowhere; without them the job fails and says what is missing."""
    store = Registry(tmp_path / "store")
    place.registry, place.ingestion = store, Ingestion(store, now=place.time)
    place.define(headers={"Authorization": {"env": "SITE_TOKEN", "prefix": "Bearer "}})
    assert "SITE_TOKEN" in failed(place, place.finish())
    monkeypatch.setenv("SITE_TOKEN", "hush-hush")
    assert place.finish().is_successful()
    assert place.site.requests[-1][1]["authorization"] == "Bearer hush-hush"
    files = [p for p in (tmp_path / "store").rglob("*") if p.is_file()]
    assert files
    assert not any(b"hush-hush" in p.read_bytes() for p in files)


def test_what_passes_is_tried_again(place: Place) -> None:
    """A server that is down makes the task wait, and fails it only when it stays down."""
    down = [True]
    answers = place.site.pages["/f"]
    place.site.pages["/f"] = lambda request: request.whole(b"", 503) if down[0] else answers(request)
    place.define()
    place.ingestion.tick()
    job = place.ingestion.jobs("p")[0]
    assert (job.status, job.tasks[0].result) == (Status.PLANNED, Result.FAILED)
    down[0] = False
    assert place.finish().is_successful()
    down[0] = True
    assert "answers 503" in failed(place, place.finish())


def test_a_manager_that_is_killed_while_it_downloads(
    site: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is visible; the next manager downloads the file anew, and publishes it once."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    registry = Registry(tmp_path / "store", use_cache=False)
    place = Place(registry, site, tmp_path)
    place.ingestion = Ingestion(registry)
    whole, halfway = site.pages["/f"], threading.Event()

    def slow(request: Request) -> None:
        request.head(Content_Length=len(CSV))
        request.raw(CSV[:10])
        halfway.set()
        seconds.sleep(20)

    site.pages["/f"] = slow
    place.define(publication={"retrieval_frequency": ""}, limits={"seconds": 60})
    place.ingestion.create_job("p")
    with managers(tmp_path / "store", 1) as (process,):
        assert halfway.wait(60)
        site.pages["/f"] = whole
        process.send_signal(signal.SIGKILL)
    assert len(registry.table("n")) == 0
    deadline = seconds.monotonic() + 60
    while place.ingestion.jobs("p")[0].status != Status.COMPLETED:
        assert seconds.monotonic() < deadline
        place.ingestion.tick()
    assert place.ingestion.jobs("p")[0].is_successful()
    assert [row["n"] for row in place.rows] == [1, 2, 3]
    assert len(site.requests) == 2


def test_filling_in_the_past(place: Place) -> None:
    """Publications by hand, one for each period, replace their own part of a table, in any order and again."""
    for month in ("01", "02"):
        place.site.pages[f"/2013-{month}"] = lambda r: r.whole(b"n,of\n" + r.path[-2:].encode() * 2 + b"1,x\n")
        where = {"mode": "replace_partitions", "partition": {"period": f"2013-{month}"}}
        plan = [{"type": "http", "options": place.options(url=f"{place.site.url}/2013-{month}", **where)}]
        values = {"id": f"p-{month}", "retrieval_frequency": "NEVER", "plan": plan}
        place.ingestion.put(Collection.model_validate(values))
    for month in ("02", "01", "02"):
        assert place.ingestion.create_job(f"p-{month}") is not None
        for _ in range(2):
            place.ingestion.tick()
    assert sorted(row["n"] for row in place.rows) == [1011, 2021]
    assert place.ingestion.publication("p-02").active_job == "p-02/2"


# -- bad input -------------------------------------------------------------------------------------------------------


def endless(request: Request) -> None:
    request.head()
    end = seconds.monotonic() + 10
    while seconds.monotonic() < end:
        request.raw(b"1,2013-01-01\n" * 10_000)


def elsewhere(request: Request) -> None:
    request.head(302, Location="http://example.org/f", Content_Length=0)


def too_long(request: Request) -> None:
    request.head(Content_Length=3)
    request.raw(b"n\n1\n2\n")


@pytest.mark.parametrize(
    ("page", "options", "why"),
    [
        (elsewhere, {}, "redirects to where it may not lead"),
        (endless, {"limits": {"attempts": 1, "size": 3_000_000}}, "larger than the 3,000,000 bytes"),
        (endless, {"limits": {"attempts": 1, "seconds": 0.5}}, "not downloaded within 0.5 seconds"),
        (too_long, {}, "sends more than"),
        (lambda r: r.whole(gzip.compress(b"0" * (20 << 20))), {}, "was stopped after"),
        (lambda r: r.whole(zipped(a_csv=b"0" * (20 << 20))), {}, "was stopped after"),
        (lambda r: r.whole(CSV), {"sha256": "0" * 64}, "not the file that was expected"),
        (lambda r: r.whole(b"", 404), {}, "answers 404"),
        (lambda r: r.whole(b""), {}, "cannot be read as csv"),
        (lambda r: r.whole(b"<html>\n<p>a,b</p>\n"), {}, "cannot be read as csv"),
        (lambda r: r.whole(b"n\n1\n" + b"2\n" * 5_000_000 + b"x\n"), {}, "cannot be read as csv"),
        (lambda r: r.whole(b'{"n": 1}\n{"n": '), {"format": "jsonl"}, "cannot be read as jsonl"),
        (lambda r: r.whole(b"PAR1 and no more"), {"format": "parquet"}, "cannot be read as parquet"),
        (lambda r: r.whole(zipped(a_csv=CSV)), {"members": "*.txt"}, "has no member like"),
        (lambda r: r.whole(zipped(a_csv=CSV, b_csv=b"n\nx\n")), {}, "has files that do not go together"),
        (lambda r: r.whole(CSV), {"columns": {"n": "number"}}, "unknown type"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_bad_sources(place: Place, page: Callable[[Request], None], options: dict[str, Any], why: str) -> None:
    """The job fails with the reason and an incident; nothing is published, and what was published stays."""
    good = place.site.pages["/f"]
    place.define()
    assert place.finish().is_successful()
    before = place.rows
    place.site.pages["/f"] = page
    place.define(**options)
    assert why in failed(place, place.finish())
    assert place.rows == before
    place.site.pages["/f"] = good
    place.body, place.headers = CSV + b"4,\n", {"ETag": '"2"'}
    place.define()
    assert place.finish().is_successful()


@pytest.mark.parametrize(
    "options",
    [{"hosts": ["example.org"]}, {"hosts": []}, {"schemes": ["https"]}, {"schemes": ["file"]}, {"format": "xlsx"},
     {"url": "http://me:pass@127.0.0.1/"}, {"headers": {"X": {}}}, {"headers": {"X": "secret"}}, {"nonsense": 1}],
    ids=str,
)  # fmt: skip
def test_bad_options(place: Place, options: dict[str, Any]) -> None:
    """What may not be asked is not asked, and the job says so."""
    place.define(**options)
    assert "options" in failed(place, place.finish())
    assert place.site.requests == []


# -- gates -----------------------------------------------------------------------------------------------------------


def test_gates_judge_a_job_before_it_is_published(place: Place) -> None:
    """A job that a gate refuses has failed, with an incident, and every reason is a note of its last task."""
    gates = [{"gate": "rows", "min_ratio": 0.9}, {"gate": "schema"}, {"gate": "unique", "columns": ["n"]}]
    place.define(publication={"gates": {"n": gates}})
    assert place.finish().is_successful()
    before = place.rows
    place.body, place.headers = b"n\n1\n1\n", {"ETag": '"2"'}
    job = place.finish()
    assert "3 quality gate(s)" in failed(place, job)
    assert [n.note.split(":")[1].strip() for n in job.tasks[-1].notes] == ["rows", "schema", "unique"]
    assert [n.level for n in job.tasks[-1].notes] == ["ERROR"] * 3
    assert place.rows == before
    assert {d.state for d in place.registry.datasets(kind="n")} == {"READY", "ROLLED_BACK"}
    place.body, place.headers = CSV + b"4,\n", {"ETag": '"3"'}
    assert place.finish().is_successful()


class Killed(BaseException):
    """The process ends here."""


def test_a_manager_that_dies_while_it_refuses(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal stands, and the next manager records it with its reason."""
    place.define(publication={"gates": {"n": [{"gate": "rows", "max": 2}]}})
    place.ingestion.tick()

    def dies(*args: Any, **kwargs: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(place.ingestion.shelf, "save_job", dies)
        place.ingestion.tick()
    assert place.ingestion.jobs("p")[0].status == Status.RUNNING
    note = failed(place, place.finish())
    assert "at most 2 rows" in note
    assert len(place.registry.table("n")) == 0


def test_a_gate_that_cannot_tell_now(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job waits, and goes on with the next tick at which it can tell."""
    place.define(publication={"gates": {"n": [{"gate": "custom", "function": f"{__name__}:asks_elsewhere"}]}})
    monkeypatch.setattr(f"{__name__}.ANSWERS", [RecoverableError("the reference data cannot be reached"), True])
    place.ingestion.tick()
    report = place.ingestion.tick()
    assert "cannot be reached" in report.errors["p/1"]
    assert place.ingestion.jobs("p")[0].status == Status.RUNNING
    assert place.finish().is_successful()


ANSWERS: list[Any] = []


def asks_elsewhere(staged: Any, published: Any) -> bool:
    """A gate that needs something that may be away."""
    answer = ANSWERS.pop(0)
    if isinstance(answer, Exception):
        raise answer
    return bool(answer)


def test_gates_of_a_kind_that_no_task_stages(place: Place) -> None:
    """They fail: what is not there cannot be good."""
    place.define(publication={"gates": {"m": [{"gate": "rows", "max": 10}]}})
    assert "nothing that the job has staged" in failed(place, place.finish())


def test_gates_are_stored(place: Place) -> None:
    """A definition comes back as it was, so that the same one changes nothing; functions are named, not given."""
    gates = [
        {"gate": "range", "column": "day", "min": "2013-01-01"},
        {"gate": "custom", "function": "os.path:exists", "options": {"a": 1}},
        {"gate": "schema", "except": ["day"]},
    ]
    values = {"id": "q", "gates": {"n": gates}}
    place.ingestion.put(Collection.model_validate(values))
    assert place.ingestion.publication("q").model_dump()["gates"] == {"n": gates}
    assert [d.action for d in place.ingestion.compare([Collection.model_validate(values)])] == ["unchanged"]
    with pytest.raises(ValueError, match="names its function"):
        Collection.model_validate({"id": "q", "gates": {"n": [{"gate": "custom", "function": print}]}})


# -- exports ---------------------------------------------------------------------------------------------------------


def test_an_export_is_visible_with_its_job(place: Place) -> None:
    """Its sizes are those of the reference system; its state is RUNNING until the job is published."""
    place.define({"type": "export", "options": {"kind": "n", "date_field": "day"}}, {"type": "looks"})
    states: list[tuple[TaskStatus, Any]] = []
    place.looks = lambda manager: states.append((Export(manager.job).status, Export(manager.job).files["csv"]))
    job = place.finish()
    assert job.is_successful(), [t.note for t in job.tasks]
    assert states == [(TaskStatus.RUNNING, {"full": False, "undated": False, "by_year": []})]
    found = Export(job)
    assert found.status is TaskStatus.COMPLETED
    sizes = {f.path: f.size for f in place.registry.latest("n-export").files}
    for form in ("csv", "jsonl"):
        assert found.files[form] == {
            "full": sizes[f"full.{form}.gz"],
            "undated": sizes[f"undated.{form}.gz"],
            "by_year": [{"year": y, "size": sizes[f"{y}.{form}.gz"]} for y in (2013, 2014)],
        }
    with place.registry.latest("n-export").open("2013.csv.gz") as file:
        assert gzip.decompress(file.read()) == b'"n","day"\n1,"2013-01-01"\n'
    assert Export(place.ingestion.publication("p"), "n").files == found.files
    assert Export(job, "other").status is TaskStatus.WAITING
    assert Export(job, basename="full.parquet").status is TaskStatus.COMPLETED
    assert job.context["rows"] == 3, "what an export repeats does not count"


def test_an_export_of_a_failed_job(place: Place) -> None:
    """It is not visible, and that of the job before stays."""
    gates = {"n": [{"gate": "rows", "min": 2}]}
    plan = {"type": "export", "options": {"kind": "n", "formats": ["csv"]}}
    place.define(plan, publication={"gates": gates})
    first = place.finish()
    place.body, place.headers = b"n,day\n1,\n", {"ETag": '"2"'}
    second = place.finish()
    failed(place, second)
    assert (Export(second).status, Export(first).status) == (TaskStatus.WAITING, TaskStatus.COMPLETED)
    assert Export(place.ingestion.publication("p")).files == Export(first).files
    with place.registry.latest("n-export").open("full.csv.gz") as file:
        assert gzip.decompress(file.read()).count(b"\n") == 4


def test_exports_of_what_there_is_not(place: Place) -> None:
    """A publication without a job has none; a text is no publication."""
    place.define()
    assert Export(place.ingestion.publication("p")).status is TaskStatus.WAITING
    with pytest.raises(ValueError, match="job or a publication"):
        Export("p")


def test_another_server_is_not_asked(place: Place) -> None:
    """A redirect to a host that is not in the list is not followed, though it is on this machine too."""
    with serving() as other:
        place.site.pages["/f"] = lambda request: request.head(301, Location=f"{other.url}/f", Content_Length=0)
        place.define()
        assert "not in the list of hosts" in failed(place, place.finish())
        assert other.requests == []
