"""The cache of objects on real servers, counted by a proxy before them: S3 (SeaweedFS) and GCS (fake-gcs-server)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from object_support import Files, FilesForm, large
from registry_support import FAST

from prefect_registry import Registry
from prefect_registry.objects.errors import RegistryObjectNotFound
from prefect_registry.testing.proxies import Proxy
from prefect_registry.testing.servers import Server

pytestmark = pytest.mark.server


def folder(value: int) -> Files:
    """Three files, two of which are others for each value."""
    return Files({"a.bin": large(50 + value), "deep/b.bin": large(100 + value), "same.bin": large(255)})


@dataclass(frozen=True)
class Place:
    """A registry on a server: ``writer`` is a machine without a cache, ``reader`` one whose cache is empty."""

    writer: Registry
    reader: Registry
    proxy: Proxy

    def fetched(self, call: Callable[[], Any]) -> list[str]:
        """The names of the files whose bytes a call of the reader has asked for."""
        self.proxy.requests.clear()
        call()
        gets = [unquote(path) for method, path in self.proxy.requests if method == "GET"]
        found = [path for path in gets if "/data/" in path and "list-type=2" not in path]
        if self.writer.url.startswith("gs:"):
            found = [path for path in found if "alt=media" in path]
        return sorted(path.partition("?")[0].rpartition("/")[2] for path in found)


@pytest.fixture(params=["seaweedfs", "fake_gcs"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A new registry with one object of one file and one of three."""
    monkeypatch.setenv("PREFECT_REGISTRY_CACHE", str(tmp_path / "cache"))
    server: Server = request.getfixturevalue(request.param)
    proxy: Proxy = request.getfixturevalue(f"{request.param}_proxy")
    url, through = server.url(), server.through(proxy.endpoint)
    options: dict[str, Any] = {"settings": FAST, "heartbeats": False}
    writer = Registry(
        url, storage_options=server.storage_options, use_cache=False, version_objects=True, mutable=True, **options
    )
    writer.register_materializer(Files, FilesForm)
    writer.save("m", large(1), version="1")
    writer.save("folder", folder(1), version="1")
    reader = Registry(url, storage_options=through.storage_options, **options)
    reader.register_materializer(Files, FilesForm)
    return Place(writer, reader, proxy)


def test_a_second_load_asks_for_no_file(place: Place) -> None:
    """Whatever is verified, however it is named; the first asked once for each."""
    assert len(place.fetched(lambda: place.reader.load("m"))) == 1
    assert place.fetched(lambda: place.reader.load("folder")) == ["a.bin", "b.bin", "same.bin"]
    place.writer.set_alias("m", "best", "1")
    found: list[Any] = []
    for name in ("m", "m@1", "m@best", "folder"):
        for verify in ("none", "integrity", "full"):
            assert place.fetched(lambda n=name, v=verify: found.append(place.reader.load(n, verify=v))) == []  # type: ignore[misc]
    assert found == [large(1)] * 9 + [folder(1)] * 3


@pytest.mark.parametrize("verify", ["full", "integrity", "none"])
def test_what_was_overwritten_elsewhere_is_read_anew(place: Place, verify: str) -> None:
    """Files are cached by their content, so nothing old is given; of a folder only what has changed is fetched."""
    assert (place.reader.load("m@1"), place.reader.load("folder@1")) == (large(1), folder(1))
    place.writer.save("m", large(2), version="1", on_conflict="overwrite")
    place.writer.save("folder", folder(2), version="1", on_conflict="overwrite")
    found: list[Any] = []
    assert len(place.fetched(lambda: found.append(place.reader.load("m@1", verify=verify)))) == 1
    assert place.fetched(lambda: found.append(place.reader.load("folder@1", verify=verify))) == ["a.bin", "b.bin"]
    assert found == [large(2), folder(2)]


def test_after_clear_cache_the_store_is_asked(place: Place) -> None:
    """Everything of this registry is gone from this machine."""
    place.reader.load(["m", "folder"])
    assert place.fetched(lambda: place.reader.load(["m", "folder"])) == []
    place.reader.clear_cache()
    cache = place.reader.parts.objects.reading.cache
    assert cache is not None
    assert cache.stats().entries == 0
    assert len(place.fetched(lambda: place.reader.load(["m", "folder"]))) == 4
    assert place.fetched(lambda: place.reader.load(["m", "folder"])) == []


def test_what_was_saved_here_is_loaded_without_asking(place: Place) -> None:
    """It is in the cache already."""
    place.reader.save("n", large(3))
    assert place.fetched(lambda: place.reader.load("n", verify="full")) == []


def test_deleting_drops_the_files(place: Place) -> None:
    """Those that it was made of: a restored version is fetched again, and nothing else has to be."""
    place.reader.load(["m", "folder"])
    cache = place.reader.parts.objects.reading.cache
    assert cache is not None
    assert cache.stats().entries == 4
    place.reader.delete("folder@1")
    assert cache.stats().entries == 1
    with pytest.raises(RegistryObjectNotFound):
        place.reader.load("folder@1")
    assert place.fetched(lambda: place.reader.load("m")) == []
    place.reader.restore("folder@1")
    assert place.fetched(lambda: place.reader.load("folder")) == ["a.bin", "b.bin", "same.bin"]
