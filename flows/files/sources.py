"""The files that a URL or a glob names, and the marks by which a changed file is told from an unchanged one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, cast

import fsspec
from fsspec.utils import infer_compression

from flows.files.problems import HalfWritten
from prefect_registry.errors import AccessDenied, InvalidInput, NotFound, StorageUnavailable
from prefect_registry.storage.secrets import without_credentials

_CONTENT_MARKS = ("etag", "md5hash", "content-md5", "checksum", "generation")
_TIMES = ("lastmodified", "last_modified", "last-modified", "updated", "mtime", "modified", "created")
_WEB = ("http", "https")
_AT_ONCE = 16


@dataclass(frozen=True)
class Source:
    """A file as it was when it was looked at.

    Attributes:
        url: Names the file for ever; without credentials.
        path: What its filesystem calls it. May hold a signature.
        size: In bytes; None where the server does not say.
        version: An etag, a checksum or a time of modification; empty where there is none.
        modified: The time of modification in seconds since the epoch, if it is known.
    """

    url: str
    path: str
    size: int | None
    version: str
    modified: float | None = None

    @property
    def marks(self) -> dict[str, Any]:
        """What says that a file is the same as before."""
        return {"size": self.size, "version": self.version}

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.partition("?")[0].rstrip("/").rpartition("/")[2] or self.url


class Place:
    """Where the files of one URL or glob lie.

    Args:
        url: A URL or path of any fsspec filesystem: of a file, of a folder, or with ``*``, ``?`` and ``[…]``.
        options: What the filesystem needs: credentials, endpoint …
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        if not isinstance(url, str) or not url.strip():
            raise InvalidInput.of("source", ["source must be a URL, a path or a glob"])
        self.url = without_credentials(url.strip())
        try:
            self.fs, self._path = fsspec.core.url_to_fs(url.strip(), **(options or {}))
        except (ImportError, ValueError) as error:
            raise InvalidInput.of("source", [f"{self.url}: {error}"]) from error
        protocols = (self.fs.protocol,) if isinstance(self.fs.protocol, str) else self.fs.protocol
        self._is_web = any(p in _WEB for p in protocols)

    def find(self) -> list[Source]:
        """Every file there is now, sorted by URL. Names that start with ``.`` or ``_`` are passed over, as ever.

        Raises ``NotFound`` when the URL names a single file, or a folder, that does not exist.
        """
        self.fs.invalidate_cache()
        try:
            if any(c in self._path for c in ("*" if self._is_web else "*?[")):
                found = self.fs.glob(self._path, detail=True)
            else:
                found = self._below(self._path)
            infos = cast("dict[str, Any]", found).values()
            files = self._in_full([i for i in infos if i["type"] == "file"])
        except FileNotFoundError:
            raise NotFound(f"There is nothing at {self.url}", todo="Check the URL", committed="no") from None
        except PermissionError as error:
            raise AccessDenied(f"{self.url} may not be read", why=str(error), committed="no") from error
        except OSError as error:
            raise StorageUnavailable(f"{self.url} cannot be listed", why=str(error)[:300], committed="no") from error
        sources = map(self._source, files)
        return sorted((s for s in sources if not s.name.startswith((".", "_"))), key=lambda s: s.url)

    def _in_full(self, infos: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The infos with sizes and versions. A web page that lists files tells their names only: each is asked for."""
        bare = [i["name"] for i in infos if i.get("size") is None] if self._is_web else []
        if not bare:
            return infos
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            asked = [i for i in pool.map(self._info, bare) if i is not None]
        return [i for i in infos if i.get("size") is not None] + asked

    def _info(self, path: str) -> dict[str, Any] | None:
        try:
            return cast("dict[str, Any]", self.fs.info(path))
        except FileNotFoundError:
            return None

    def _below(self, path: str) -> dict[str, Any]:
        info = self.fs.info(path)
        if info["type"] == "file":
            return {info["name"]: info}
        return cast("dict[str, Any]", self.fs.find(path, detail=True))

    def _source(self, info: Mapping[str, Any]) -> Source:
        low = {key.lower(): value for key, value in info.items()}
        mark = next((f"{low[m]}".strip('"') for m in _CONTENT_MARKS if low.get(m)), "")
        changed = next((low[t] for t in _TIMES if low.get(t)), None)
        seconds = _seconds(changed)
        version = mark or (_iso(seconds) if seconds is not None else str(changed or ""))
        path = str(info["name"])
        url = without_credentials(path if self._is_web else self.fs.unstrip_protocol(path))
        return Source(url, path, info.get("size"), version, seconds)

    def look(self, source: Source) -> Source | None:
        """The file as it is now; None when it has gone."""
        self.fs.invalidate_cache()
        info = self._info(source.path)
        return self._source(info) if info is not None else None

    def open(self, source: Source, decompress: bool = True) -> IO[bytes]:
        """The content, decompressed by the ending of its name (``.gz``, ``.bz2``, ``.xz``, ``.zip``)."""
        compression = infer_compression(source.name) if decompress else None
        return cast("IO[bytes]", self.fs.open(source.path, "rb", compression=compression))

    def check_unchanged(self, source: Source) -> None:
        """Raise ``HalfWritten`` when the file is no longer the one that was listed."""
        now = self.look(source)
        if now is None:
            raise HalfWritten(f"{source.url} has gone", why="It was there a moment ago", file=source.url)
        if now.marks != source.marks:
            why = f"It had {source.size} bytes ({source.version}), and has {now.size} ({now.version}) now"
            raise HalfWritten(f"{source.url} is changing", why=why, file=source.url)


def settled(place: Place, sources: Iterable[Source], seconds: float) -> tuple[list[Source], list[Source]]:
    """Those that nobody is writing to, and those that somebody may be.

    Waits until the newest of them has been left alone for ``seconds``, at most that long, and looks again. Needed
    where a file is visible while it is written: on disks, not in object stores. Empty files are not settled.
    """
    files = list(sources)
    ages = [time.time() - s.modified for s in files if s.modified is not None]
    young = min(ages, default=seconds)
    if young >= seconds or not files:
        return [s for s in files if s.size != 0], [s for s in files if s.size == 0]
    recent = [s for s in files if s.modified is not None and time.time() - s.modified < seconds]
    time.sleep(min(seconds, seconds - young))
    again = {s.url: place.look(s) for s in recent}
    changing = [s for s in recent if (now := again[s.url]) is None or now.marks != s.marks]
    left = {s.url for s in changing} | {s.url for s in files if s.size == 0}
    return [s for s in files if s.url not in left], [s for s in files if s.url in left]


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    try:
        parsed = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
