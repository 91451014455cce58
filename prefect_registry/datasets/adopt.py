"""Taking in what another program wrote (DESIGN.md 8)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Literal

from prefect_registry.datasets.service import Datasets
from prefect_registry.datasets.writing import DatasetWriter
from prefect_registry.errors import (
    AccessDenied,
    IntegrityError,
    InvalidInput,
    NotFound,
    RegistryError,
    StorageUnavailable,
)
from prefect_registry.records.datasets import DatasetGeneration
from prefect_registry.storage.base import Progress
from prefect_registry.storage.secrets import Scrubber

How = Literal["copy", "reference"]
_NO_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "DefaultCredentialsError",
    "ClientAuthenticationError",
}
"""Errors of the clients of object stores that are of no common class."""


def adopt(
    datasets: Datasets,
    begun: DatasetGeneration,
    url: str,
    how: How,
    rows: int | None,
    storage_options: dict[str, Any] | None,
    progress: Progress | None,
) -> None:
    """Stage the files under ``url`` as a begun dataset: copied into it, or named by their URL and never touched."""
    if how not in ("copy", "reference"):
        raise InvalidInput.of("how", [f"how must be 'copy' or 'reference', not {how!r}"])
    shown = Scrubber(storage_options or {})
    fs, base, files = _source(url, storage_options, shown)
    if how == "reference":
        with _reading(url, shown):
            counted = _count(fs, files) if rows is None else rows
        datasets.commit(begun.dataset_id, _lasting(url), counted)
        return
    with DatasetWriter(datasets, begun) as writer:
        if rows is not None:
            writer.set_rows(rows)
        for path in files:
            name = path[len(base) :].lstrip("/") or path.rpartition("/")[2]
            with _reading(url, shown):
                opened = fs.open(path, "rb")
            with opened as source, writer.open(name) as target:
                while chunk := _next(source, url, shown):
                    target.write(chunk)
                    if progress is not None:
                        progress(len(chunk))


def _next(source: Any, url: str, shown: Scrubber) -> bytes:
    with _reading(url, shown):
        return bytes(source.read(4 << 20))


@contextlib.contextmanager
def _reading(url: str, shown: Scrubber) -> Iterator[None]:
    """What filesystems of any make raise, as errors of this package: nothing is published yet."""
    url = shown(url)
    try:
        yield
    except RegistryError:
        raise
    except PermissionError as error:
        raise AccessDenied(f"{url} may not be read", why=type(error).__name__, committed="no") from None
    except Exception as error:
        why = f"{type(error).__name__}: {shown(' '.join(str(error).split()))[:200]}"
        if type(error).__name__ in _NO_CREDENTIALS:
            raise AccessDenied(f"{url} may not be read", why=why, committed="no") from None  # it may hold the URL
        if type(error).__module__.partition(".")[0] == "pyarrow":
            todo = "Write it again, or say how many rows there are"
            raise IntegrityError(f"{url} has a damaged file", why=why, todo=todo, committed="no") from None
        raise StorageUnavailable(f"{url} cannot be read", why=why, committed="no") from None


def _lasting(url: str) -> str:
    """The URL, or the absolute path: a relative one means something else in every process."""
    return url if "://" in url else os.path.abspath(os.path.expanduser(url))


def _source(url: str, storage_options: dict[str, Any] | None, shown: Scrubber) -> tuple[Any, str, list[str]]:
    """The filesystem, the base path, and every member file under a URL that names a file or a folder."""
    import fsspec

    if not isinstance(url, str) or not url:
        raise InvalidInput.of("url", ["url must be a non-empty URL or path"])
    with _reading(url, shown):
        fs, base = fsspec.core.url_to_fs(url, **(storage_options or {}))
        found = fs.find(base, detail=True)
    from prefect_registry.datasets.manifest import is_member, refuse_unfinished

    inside = {f[len(base) :].lstrip("/"): f for f in sorted(found)}
    refuse_unfinished(shown(url.rstrip("/")) + "/", inside)
    files = [f for name, f in inside.items() if is_member(name)] or [f for f in inside.values() if f == base]
    if not files:
        raise NotFound(f"There is no file at {shown(url)}", todo="Check the URL", committed="no")
    with _reading(url, shown):  # a link is followed; what is at its end has to be a file, too
        odd = next((f for f in files if found[f].get("type", "file") != "file" and not fs.isfile(f)), None)
    if odd is not None:
        raise InvalidInput.of(
            "url", [f"{shown(odd)} is no file: a pipe, a device, or a link to a folder or to nothing"]
        )
    return fs, base, files


def _count(fs: Any, files: list[str]) -> int | None:
    """Rows by the Parquet footers, or None when some file is not Parquet."""
    import pyarrow.parquet as pq

    if not all(f.endswith(".parquet") for f in files):
        return None
    total = 0
    for path in files:
        with fs.open(path, "rb") as file:
            total += pq.ParquetFile(file).metadata.num_rows
    return total
