"""Files in other places than a folder: a bucket, a web server, memory."""

from __future__ import annotations

import errno
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from flow_support import KIND, ids, steps
from fsspec.implementations.local import LocalFileSystem

from flows.files.plan import make_plan, record_schema
from flows.files.reading import Reading
from flows.files.sources import Place
from flows.files.taking import Target, take
from prefect_registry import Registry
from prefect_registry.errors import AccessDenied, InvalidInput, NotFound, StorageUnavailable
from prefect_registry.testing.servers import Server


def tick(registry: Registry, url: str, options: dict[str, Any] | None = None) -> dict[str, str]:
    place = Place(url, options)
    with registry.run("ingest") as run:
        plan = make_plan(run.registry, place, KIND, Reading(), 0, run.id)
        outcomes = [take(run, place, s, before, Target(KIND), plan.reading) for s, before in plan.todo]
        record_schema(run, KIND, plan.schema, outcomes)
    return steps({o.url.rpartition("/")[2]: o for o in (*plan.done, *outcomes)})


@pytest.mark.server
def test_bucket(registry: Registry, seaweedfs: Server) -> None:
    """Objects are told by their etags: written again with the same content they are unchanged."""
    options = dict(seaweedfs.storage_options)
    fs, base = fsspec.core.url_to_fs(seaweedfs.url(), **options)
    fs.pipe_file(f"{base}/a.csv", b"id,n\n1,2\n")
    fs.pipe_file(f"{base}/b.csv", b"id,n\n2,4\n")
    url = f"s3://{base}/*.csv"
    assert tick(registry, url, options) == {"a.csv": "taken", "b.csv": "taken"}
    fs.pipe_file(f"{base}/a.csv", b"id,n\n1,2\n")
    fs.pipe_file(f"{base}/b.csv", b"id,n\n3,6\n")
    assert tick(registry, url, options) == {"a.csv": "unchanged", "b.csv": "taken"}
    assert ids(registry) == [1, 2, 3]


@pytest.mark.server
def test_bucket_that_refuses(seaweedfs: Server) -> None:
    """Wrong credentials and a missing bucket are told apart from an empty folder."""
    with pytest.raises((AccessDenied, StorageUnavailable)):
        Place(f"s3://{seaweedfs.bucket}/in/*.csv", {**seaweedfs.storage_options, "secret": "wrong"}).find()
    with pytest.raises(NotFound):
        Place("s3://no-such-bucket/in", dict(seaweedfs.storage_options)).find()


@pytest.fixture
def website(inbox: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(inbox)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_web(registry: Registry, inbox: Path, website: str) -> None:
    """A file on a web server is taken in once, and again when its size has changed."""
    (inbox / "a.csv").write_text("id,n\n1,2\n")
    assert tick(registry, f"{website}/a.csv") == {"a.csv": "taken"}
    assert tick(registry, f"{website}/a.csv") == {"a.csv": "unchanged"}
    (inbox / "a.csv").write_text("id,n\n2,4\n3,6\n")
    assert tick(registry, f"{website}/a.csv") == {"a.csv": "taken"}
    assert ids(registry) == [1, 2, 3]
    with pytest.raises(NotFound):
        tick(registry, f"{website}/z.csv")


def test_web_pages(registry: Registry, inbox: Path, website: str) -> None:
    """The files that a page links to are taken in by a glob, each once, although the page tells only their names."""
    (inbox / "a.csv").write_text("id,n\n1,2\n")
    (inbox / "b.csv").write_text("id,n\n2,4\n")
    (inbox / "other.txt").write_text("x")
    assert tick(registry, f"{website}/*.csv") == {"a.csv": "taken", "b.csv": "taken"}
    (inbox / "b.csv").write_text("id,n\n3,6\n4,8\n")
    assert tick(registry, f"{website}/*.csv") == {"a.csv": "unchanged", "b.csv": "taken"}
    assert ids(registry) == [1, 2, 3, 4]


def test_memory(registry: Registry) -> None:
    """Any filesystem that fsspec knows will do."""
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/places/a.jsonl", b'{"id":1,"n":2}\n')
    try:
        assert tick(registry, "memory://places/*.jsonl") == {"a.jsonl": "taken"}
        assert tick(registry, "memory://places/*.jsonl") == {"a.jsonl": "unchanged"}
    finally:
        fs.rm("/places", recursive=True)


@pytest.mark.parametrize("url", ["", "  ", "nonsense://bucket/a.csv"])
def test_no_place(url: str) -> None:
    """A URL that means nothing is refused with its reason."""
    with pytest.raises(InvalidInput):
        Place(url)


class Refusing(LocalFileSystem):  # type: ignore[misc]
    """A disk that lists its files and does not give them."""

    protocol = "refusing"
    cachable = False
    error: OSError

    def _open(self, *args: Any, **kwargs: Any) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), AccessDenied),
        (OSError(errno.EIO, "Input/output error"), StorageUnavailable),
    ],
)
def test_unreadable(
    registry: Registry, inbox: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, kind: type[Exception]
) -> None:
    """A file that cannot be read fails the run with an error that names it, and is taken for no bad file."""
    (inbox / "a.csv").write_text("id,n\n1,2\n")
    monkeypatch.setattr(Refusing, "error", error, raising=False)
    fsspec.register_implementation("refusing", Refusing, clobber=True)
    with pytest.raises(kind, match=r"a\.csv (may not|cannot) be read"):
        tick(registry, f"refusing://{inbox}/*")
    assert registry.kinds() == []
