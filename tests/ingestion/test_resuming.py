"""Downloads that outlive their process: gone on with when the file is still the same, never trusted when it is not."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time as seconds
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_built_in_tasks import Place
from test_kills import managers
from web_support import QuickClock, Request, Server

from prefect_registry import Registry
from prefect_registry.errors import IntegrityError, StorageUnavailable
from prefect_registry.ingestion import Ingestion, Status
from prefect_registry.ingestion.http import Fetched, HttpRequest, Limits, NotModified, Validators, fetch
from prefect_registry.ingestion.http.problems import ChecksumMismatch, SourceUnavailable
from prefect_registry.ingestion.http.receiving import MARK_BYTES
from prefect_registry.ingestion.http.scratch import Part, Scratch, drop_scratch, scratch_of, sweep_scratch

ROWS = 60_000
FILE = b"n,day\n" + b"".join(b"%06d,2013-01-01\n" % n for n in range(ROWS))
OTHER = FILE.replace(b"2013-", b"2014-")
HALF = len(FILE) // 2
OLD = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.fixture
def place(registry: Registry, site: Server, tmp_path: Path, cache: Path) -> Place:
    return Place(registry, site, tmp_path)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This test's own cache folder; temporary files are beside it."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setenv("PREFECT_REGISTRY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def stored(cache: Path) -> dict[str, int]:
    """The files of downloads on this host, by name, with their sizes."""
    return {p.name: p.stat().st_size for p in (cache / "downloads").rglob("*") if p.is_file()}


def state(cache: Path) -> dict[str, Any]:
    """What is recorded of the one download that there is."""
    (file,) = (cache / "downloads").rglob("state.json")
    return dict(json.loads(file.read_bytes())["part"])


def left_in(scratch: Scratch) -> None:
    """A byte, and the record of it."""
    scratch.file.write_bytes(b"x")
    digest = hashlib.sha256(b"x").hexdigest()
    scratch.record("x", Part(url="x", received=1, sha256=digest, total=2, validators=Validators(etag='"1"')))


def flip(file: Path) -> None:
    """Damage one byte in the middle of what is recorded."""
    with open(file, "r+b") as handle:
        handle.seek(MARK_BYTES // 2)
        byte = handle.read(1)
        handle.seek(MARK_BYTES // 2)
        handle.write(bytes([byte[0] ^ 1]))


# -- a process that is killed ----------------------------------------------------------------------------------------


CASES = [("nothing", {"ETag": '"1"'}), ("nothing", {"Last_Modified": OLD}), ("another file", {"ETag": '"1"'}),
         ("damage", {"ETag": '"1"'})]  # fmt: skip


@pytest.mark.parametrize(("meanwhile", "validator"), CASES, ids=str)
def test_a_manager_that_is_killed_in_mid_download(
    site: Server, tmp_path: Path, cache: Path, meanwhile: str, validator: dict[str, str]
) -> None:
    """The next one asks for the rest, under If-Range; it starts anew when the file is another one, or what is stored is
    not what came. What is published is the file, and nothing is left on the host.
    """
    registry = Registry(tmp_path / "store", use_cache=False)
    place = Place(registry, site, tmp_path)
    place.ingestion = Ingestion(registry)
    let_go = threading.Event()

    def slow(request: Request) -> None:
        request.head(Content_Length=len(FILE), **validator)
        request.raw(FILE[:HALF])
        let_go.wait(60)

    site.pages["/f"] = slow
    place.define(publication={"retrieval_frequency": ""}, limits={"seconds": 60, "read_seconds": 60})
    place.ingestion.create_job("p")
    with managers(tmp_path / "store", 1) as (process,):
        deadline = seconds.monotonic() + 60
        while not any((cache / "downloads").rglob("state.json")):
            assert seconds.monotonic() < deadline
            seconds.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    let_go.set()
    there = state(cache)["received"]
    assert MARK_BYTES <= there <= HALF
    body, now = FILE, validator
    if meanwhile == "another file":
        body, now = OTHER, {"ETag": '"2"'}
    if meanwhile == "damage":
        flip(next((cache / "downloads").rglob("download")))
    site.pages["/f"] = lambda request: request.ranged(body, **now)
    while place.ingestion.jobs("p")[0].status != Status.COMPLETED:
        assert seconds.monotonic() < deadline + 60
        place.ingestion.tick()
    assert place.ingestion.jobs("p")[0].is_successful(), place.ingestion.jobs("p")[0].tasks
    sent = [(h.get("range"), h.get("if-range")) for _, h in site.requests]
    asked = (None, None) if meanwhile == "damage" else (f"bytes={there - 1}-", next(iter(validator.values())))
    assert sent == [(None, None), asked]
    assert registry.latest("n").tags["sha256"] == hashlib.sha256(body).hexdigest()
    assert [row["n"] for row in place.rows] == list(range(ROWS))
    assert {row["day"].year for row in place.rows} == {2014 if meanwhile == "another file" else 2013}
    assert stored(cache) == {}
    assert list((tmp_path / "temporary").iterdir()) == []


# -- one task, several times -----------------------------------------------------------------------------------------


def breaking(request: Request) -> None:
    request.ranged(FILE, HALF, ETag='"1"')


def test_a_failure_that_passes_keeps_what_came(place: Place, site: Server, cache: Path) -> None:
    """A task that is tried again goes on with the download; one that fails for good leaves nothing."""
    site.pages["/f"] = breaking
    place.define()
    place.ingestion.tick()
    assert (stored(cache)["download"], state(cache)["received"]) == (HALF, HALF)
    site.pages["/f"] = lambda request: request.whole(b"", 404)
    place.finish()
    assert place.ingestion.jobs("p")[0].is_unsuccessful()
    assert stored(cache) == {}


def test_what_was_downloaded_to_be_compared_is_not_downloaded_again(place: Place, site: Server, cache: Path) -> None:
    """The job of a source that has changed asks for its last byte, and so whether it is still the same."""
    site.pages["/f"] = lambda request: request.ranged(FILE, ETag='"1"')
    place.define()
    place.finish()
    site.pages["/f"] = lambda request: request.ranged(OTHER, ETag='"2"')
    del site.requests[:]
    assert place.finish().number == 2
    assert [h.get("range") for _, h in site.requests] == [None, f"bytes={len(OTHER) - 1}-"]
    assert place.registry.latest("n").tags["sha256"] == hashlib.sha256(OTHER).hexdigest()
    assert stored(cache) == {}


def test_jobs_that_end_elsewhere_leave_nothing(place: Place, site: Server, cache: Path) -> None:
    """A tick removes what is left of jobs that do not go on, and of no other."""
    registry, where = place.registry, (place.registry.registry_id, place.registry.url)
    site.pages["/f"] = breaking
    place.define()
    place.ingestion.tick()
    for task in ("p/2/1", "q/1/1"):
        with scratch_of(*where, task) as scratch:
            left_in(scratch)
            scratch.keep = True
    (next((cache / "downloads").iterdir()) / "whose maker was killed").mkdir()
    with scratch_of(*where, "r/1/1") as held:
        held.file.write_bytes(b"x")
        place.ingestion.tick()
        assert held.file.exists(), "somebody works in it"
        assert len(list(held.folder.parent.iterdir())) == 3
        assert len(list((cache / "downloads").rglob("download"))) == 3, "p/1 goes on, and p/2 is the next one"
    run = place.ingestion.jobs("p")[0]
    place.ingestion.pause("p", True)
    place.ingestion.delete_job(run.id)
    place.ingestion.tick()
    assert len(list((cache / "downloads").rglob("download"))) == 1
    assert registry.table("n").to_table().num_rows == 0


# -- one folder ------------------------------------------------------------------------------------------------------


class Folder:
    """Downloads of one task, each by a process of its own, so to say."""

    def __init__(self, site: Server) -> None:
        self.site = site

    def fetch(self, scratch: Scratch, known: Validators | None = None, **options: Any) -> Fetched | NotModified:
        given = {"url": f"{self.site.url}/f", "hosts": [self.site.host], "schemes": ["http"]}
        given |= {name: options.pop(name) for name in ("sha256", "headers") if name in options}
        limits = Limits.model_validate({"attempts": 1, "read_seconds": 2, **options})
        return fetch(HttpRequest.model_validate(given), scratch, limits, known, clock=QuickClock())

    def breaks_off(self, **headers: Any) -> None:
        """A download that ends after half of the file."""
        self.site.pages["/f"] = lambda request: request.ranged(FILE, HALF, **headers)
        with pytest.raises(SourceUnavailable), self.scratch() as scratch:
            self.fetch(scratch)

    def scratch(self) -> Any:
        return scratch_of("reg", "memory://x", "p/1/1")

    def got(self, body: bytes = FILE, **options: Any) -> Fetched:
        """The next one, which gets everything."""
        with self.scratch() as scratch:
            done = self.fetch(scratch, **options)
            assert isinstance(done, Fetched)
            assert scratch.file.read_bytes() == body
            assert done.sha256 == hashlib.sha256(body).hexdigest()
            assert done.size == len(body)
        return done

    @property
    def asked(self) -> list[str | None]:
        return [headers.get("range") for _, headers in self.site.requests]


@pytest.fixture
def folder(site: Server, cache: Path) -> Folder:
    return Folder(site)


def test_goes_on_where_another_process_has_ended(folder: Folder) -> None:
    """All but the last byte are there; the sha256 is that of the whole."""
    folder.breaks_off(ETag='"1"')
    folder.site.pages["/f"] = lambda request: request.ranged(FILE, ETag='"1"')
    done = folder.got(sha256=hashlib.sha256(FILE).hexdigest())
    assert (done.found, done.resumed, done.length_checked) == (HALF - 1, 1, True)
    assert folder.asked == [None, f"bytes={HALF - 1}-"]


def cut_short(folder: Path) -> None:
    os.truncate(folder / "download", HALF - 10)


def emptied(folder: Path) -> None:
    os.truncate(folder / "download", 0)


def flipped(folder: Path) -> None:
    flip(folder / "download")


def gone(folder: Path) -> None:
    (folder / "download").unlink()


def without_state(folder: Path) -> None:
    (folder / "state.json").unlink()


def half_a_state(folder: Path) -> None:
    os.truncate(folder / "state.json", 40)


def nonsense(folder: Path) -> None:
    (folder / "state.json").write_bytes(b'{"source": 1, "part": {"received": -1}}')


def recorded_too_much(folder: Path) -> None:
    text = (folder / "state.json").read_text()
    (folder / "state.json").write_text(text.replace(f'"received":{HALF}', f'"received":{HALF + 1}'))


@pytest.mark.parametrize(
    "damage", [cut_short, emptied, flipped, gone, without_state, half_a_state, nonsense, recorded_too_much]
)
def test_damage_is_seen(folder: Folder, cache: Path, damage: Callable[[Path], None]) -> None:
    """What is stored and is not what was recorded is never gone on with: the file is asked for whole."""
    folder.breaks_off(ETag='"1"')
    (where,) = [p.parent for p in (cache / "downloads").rglob("lock")]
    damage(where)
    folder.site.pages["/f"] = lambda request: request.ranged(FILE, ETag='"1"')
    assert folder.got().found == 0
    assert folder.asked == [None, None]


def test_bytes_behind_what_was_recorded_are_dropped(folder: Folder, cache: Path) -> None:
    """A process that was killed between writing and recording leaves more than it knew of."""
    folder.breaks_off(ETag='"1"')
    with open(next((cache / "downloads").rglob("download")), "ab") as file:
        file.write(b"not of this file")
    folder.site.pages["/f"] = lambda request: request.ranged(FILE, ETag='"1"')
    assert folder.got().found == HALF - 1


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"1"'}, {"ETag": '"1"', "Accept_Ranges": "none"}], ids=str)
def test_nothing_is_gone_on_with_without_a_strong_validator(
    folder: Folder, cache: Path, headers: dict[str, str]
) -> None:
    """What nobody can prove to be the same file is not kept, and asked for whole."""
    folder.breaks_off(**headers)
    assert stored(cache) == {}
    folder.site.pages["/f"] = lambda request: request.ranged(FILE, **headers)
    assert folder.got().found == 0
    assert folder.asked == [None, None]


def test_another_definition_is_another_source(folder: Folder) -> None:
    """What was stored for one request is not gone on with for another."""
    folder.breaks_off(ETag='"1"')
    folder.site.pages["/f"] = lambda request: request.ranged(FILE, ETag='"1"')
    assert folder.got(headers={"Accept": "text/csv"}).found == 0


def test_a_redirect_to_another_file_starts_anew(folder: Folder) -> None:
    """Validators are a URL's own: what has the same one behind another redirect may be another file."""
    for name, body in (("/jan", FILE), ("/feb", OTHER)):
        cut = HALF if name == "/jan" else None
        folder.site.pages[name] = lambda r, body=body, cut=cut: r.ranged(body, cut, Last_Modified=OLD)
    months = iter(["/jan", "/feb", "/feb"])
    folder.site.pages["/f"] = lambda r: r.head(302, Location=next(months), Content_Length=0)
    with pytest.raises(SourceUnavailable), folder.scratch() as scratch:
        folder.fetch(scratch)
    assert folder.got(OTHER, attempts=2).found == 0


def test_a_server_that_lies_about_being_the_same(folder: Folder) -> None:
    """What is put together and has not the checksum that it should have is asked for whole, once more."""
    folder.breaks_off(ETag='"1"')
    folder.site.pages["/f"] = lambda request: request.ranged(OTHER, ETag='"1"')
    done = folder.got(OTHER, sha256=hashlib.sha256(OTHER).hexdigest(), attempts=2)
    assert done.found == 0
    assert folder.asked == [None, f"bytes={HALF - 1}-", None]
    with pytest.raises(ChecksumMismatch):
        folder.got(OTHER, sha256=hashlib.sha256(FILE).hexdigest())


def test_two_at_once(folder: Folder, cache: Path) -> None:
    """The second works in a folder that nobody else sees, and disturbs nothing; the lock ends with its holder."""
    folder.site.pages["/f"] = lambda request: request.ranged(FILE, ETag='"1"')
    with folder.scratch() as first:
        first.file.write_bytes(b"mine")
        with folder.scratch() as second:
            assert second.folder != first.folder
            assert isinstance(folder.fetch(second), Fetched)
        drop_scratch("reg", "memory://x", "p/1/1")
        sweep_scratch("reg", "memory://x", lambda task: False)
        assert first.file.read_bytes() == b"mine"
        assert not second.folder.exists()
    assert stored(cache) == {}


@pytest.mark.parametrize(
    ("error", "stays"),
    [(StorageUnavailable("x"), True), (KeyboardInterrupt(), True), (IntegrityError("x"), False), (ValueError(), False)],
    ids=lambda v: type(v).__name__,
)
def test_what_stays(folder: Folder, cache: Path, error: BaseException, stays: bool) -> None:
    """What came stays for a failure that is expected to pass, and for a process that ends; unpacked members never."""
    with pytest.raises(type(error)), folder.scratch() as scratch:
        left_in(scratch)
        (scratch.folder / "unpacked").mkdir()
        (scratch.folder / "unpacked" / "a").write_bytes(b"x")
        raise error
    assert sorted(stored(cache)) == (["download", "lock", "state.json"] if stays else [])
    assert not list((cache / "downloads").rglob("unpacked"))
    drop_scratch("reg", "memory://x", "p/1/1")
    assert stored(cache) == {}


def test_a_cache_folder_that_cannot_be_written(folder: Folder, cache: Path, tmp_path: Path) -> None:
    """The download works all the same, and is not kept."""
    cache.write_bytes(b"a file")
    folder.site.pages["/f"] = lambda request: request.ranged(FILE, ETag='"1"')
    assert folder.got().found == 0
    assert list((tmp_path / "temporary").iterdir()) == []


def test_unchanged_leaves_nothing(folder: Folder, cache: Path) -> None:
    """A file that is what is known, by checksum, is dropped."""
    folder.site.pages["/f"] = lambda request: request.ranged(FILE, ETag='"2"')
    with folder.scratch() as scratch:
        assert isinstance(folder.fetch(scratch, Validators(sha256=hashlib.sha256(FILE).hexdigest())), NotModified)
        assert scratch.file.stat().st_size == 0
    assert stored(cache) == {}
