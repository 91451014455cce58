"""Objects that are copied from one registry to another: byte by byte, with their versions, and no materializer runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest

from prefect_registry import Registry
from prefect_registry.errors import ConfigurationError, InvalidInput, StorageUnavailable
from prefect_registry.objects.errors import RegistryObjectNotFound, RegistryVersionConflict
from prefect_registry.objects.materializers.base import Materializer
from prefect_registry.objects.payload import Part, Payload, StoredPayload
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.faults import FaultyStorage, error_before

LARGE = b"x" * 20_000


class Own(dict[str, bytes]):
    """Several files, of a class that only its own registry knows."""


class OwnForm(Materializer):
    """Saves :class:`Own`; nothing here may load it."""

    name = "test.own"

    def save(self, value: Any) -> Payload:
        return Payload([Part(path, data) for path, data in value.items()], init={"count": len(value)})

    def load(self, payload: StoredPayload) -> NoReturn:
        raise AssertionError("a copy makes no object")


@pytest.fixture
def source(tmp_path: Path) -> Registry:
    """Objects of all kinds: small, of one file, of several files; with gaps, aliases, metadata and a deletion."""
    registry = Registry(tmp_path / "source", version_objects=True)
    registry.register_materializer(Own, OwnForm)
    registry.save("m", 1, version="1", metadata={"by": "me"})
    registry.save("m", LARGE, version="5.2")
    registry.save("m", "deleted", version="9")
    registry.delete("m@9")
    registry.save("own", Own({"a/b.bin": LARGE, "a/c.bin": b"c", "empty": b""}), metadata={"n": [1, None]})
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "deep" / "x.bin").write_bytes(LARGE)
    registry.save("folder", tmp_path / "folder")
    registry.set_alias("m", "champion", "1")
    return registry


@pytest.fixture
def target(tmp_path: Path) -> Registry:
    """An empty registry, which knows nothing of the source's classes."""
    return Registry(tmp_path / "target", version_objects=True)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two versions have the same content, form and metadata."""
    facts = ("class", "materializer", "hash", "size", "file_count", "files", "init_params", "metadata")
    return all(one[fact] == other[fact] for fact in facts)


def test_a_copy_keeps_number_content_and_metadata(source: Registry, target: Registry) -> None:
    """5.2 stays 5.2, whatever is there; the latest, a number and an alias name what is copied."""
    assert target.download(source, "m") == "5.2"
    assert target.download(source, "m@champion") == "1"
    assert target.list_versions("m") == ["1", "5.2"]
    assert (target.load("m"), target.load("m@1")) == (LARGE, 1)
    for name in ("m@1", "m@5.2"):
        assert same(target.info(name), source.info(name))
    assert target.aliases("m") == {}
    assert target.save("m", 2) == "6"


def test_what_the_target_has_no_materializer_for_is_copied(source: Registry, target: Registry, tmp_path: Path) -> None:
    """All its files, and nothing of it runs; who has the materializer loads it."""
    assert target.download(source, "own") == "1"
    assert target.download(source, "folder") == "1"
    assert same(target.info("own", "1"), source.info("own", "1"))
    assert [f["path"] for f in target.info("own", "1")["files"]] == ["a/b.bin", "a/c.bin", "empty"]
    with pytest.raises(ConfigurationError, match=r"test\.own"):
        target.load("own")
    loaded = target.load("folder", output_dir=tmp_path / "out")
    assert (loaded / "deep" / "x.bin").read_bytes() == LARGE


def test_a_copy_gets_the_name_and_version_that_are_asked_for(source: Registry, target: Registry) -> None:
    """In the name or beside it; without a version that which it has there."""
    assert target.download(source, "m", "5.2", target_name="k") == "5.2"
    assert target.download(source, "m@5.2", target_name="k@7") == "7"
    assert target.download(source, "m@5.2", target_name="k", target_version="v8.0") == "8"
    assert target.download(source, "m@5.2", target_name="k@9", target_version="9.0") == "9"
    assert target.download(source, "m", target_version="2") == "2"
    assert target.list_objects_and_versions() == {"k": ["5.2", "7", "8", "9"], "m": ["2"]}
    assert target.load("k@7") == LARGE


@pytest.mark.parametrize(
    ("name", "version"), [("k@7", "8"), ("k@latest", None), ("k@champion", None), ("", None), ("k", ""), ("k@", None)]
)
def test_what_a_copy_cannot_be_called_is_refused(source: Registry, target: Registry, name: str, version: Any) -> None:
    """Two versions, a word instead of a number, no name: nothing is copied."""
    with pytest.raises(InvalidInput) as caught:
        target.download(source, "m", target_name=name, target_version=version)
    assert caught.value.committed == "no"
    assert target.list_objects() == []


def test_what_the_target_has_stays(source: Registry, target: Registry) -> None:
    """The same content again is fine; other content or metadata is a conflict, unless it is skipped or overwritten."""
    target.save("m", "mine", version="5.2")
    with pytest.raises(RegistryVersionConflict):
        target.download(source, "m")
    assert target.download(source, "m", on_conflict="skip") == "5.2"
    assert target.load("m") == "mine"
    assert [target.download(source, "m@1") for _ in range(2)] == ["1", "1"]
    target.save("same", 1, version="1", metadata={"by": "you"})
    with pytest.raises(RegistryVersionConflict, match="metadata"):
        target.download(source, "m@1", target_name="same")
    with pytest.raises(InvalidInput, match="overwrite"):
        target.download(source, "m", on_conflict="overwrite")


def test_a_mutable_target_is_overwritten_on_demand(source: Registry, tmp_path: Path) -> None:
    """And has the source's metadata then."""
    target = Registry(tmp_path / "mutable", mutable=True)
    target.save("m", "mine", metadata={"by": "you"})
    with pytest.raises(RegistryVersionConflict):
        target.download(source, "m@1")
    assert target.download(source, "m@1", on_conflict="overwrite") == "1"
    assert same(target.info("m@1"), source.info("m@1"))


def test_what_is_not_there_cannot_be_copied(source: Registry, target: Registry) -> None:
    """A deleted version, too."""
    for name in ("nothing", "m@9", "m@7", "m@nobody"):
        with pytest.raises(RegistryObjectNotFound):
            target.download(source, name)
    assert target.list_objects() == []


def test_a_registry_is_updated_from_another_one(source: Registry, target: Registry) -> None:
    """Every visible version, under its number; again it changes nothing; aliases stay where they are."""
    target.save("other", 7)
    there = source.list_objects_and_versions()
    for _ in range(2):
        target.update(source)
        assert target.list_objects_and_versions() == {**there, "other": ["1"]}
        for name in ("m@1", "m@5.2", "own@1", "folder@1"):
            assert same(target.info(name), source.info(name))
    assert (target.aliases("m"), source.aliases("m")) == ({}, {"champion": "1"})
    target.update(source, extra=8)
    assert target.load("extra") == 8


def test_an_update_belongs_to_the_run_around_it(source: Registry, target: Registry) -> None:
    """All of it is published, or none."""
    with pytest.raises(ZeroDivisionError), target.run("fails"):
        target.update(source)
        assert target.load("m") == LARGE
        raise ZeroDivisionError
    assert target.list_objects() == []
    with target.run("works"):
        target.update(source)
    assert target.list_objects_and_versions() == source.list_objects_and_versions()


def test_a_source_that_loses_a_file_in_the_middle_leaves_nothing(target: Registry) -> None:
    """What cannot be read is no version of the target."""
    memory = MemoryStorage()
    Registry(memory, heartbeats=False, version_objects=True, use_cache=False).save("m", LARGE)
    storage = FaultyStorage(memory, error_before(method="download", times=10_000))
    source = Registry(ResolvingStorage(storage, attempts=1, timeout=0.1), heartbeats=False, use_cache=False)
    with pytest.raises(StorageUnavailable) as caught:
        target.download(source, "m")
    assert caught.value.committed == "no"
    assert target.list_objects() == []


async def test_the_asynchronous_twins_copy_too(source: Registry, target: Registry) -> None:
    """From the same source of truth."""
    assert await target.adownload(source, "m@1", target_name="k@3") == "3"
    await target.aupdate(source)
    assert (await target.alist_versions("m"), await target.alist_versions("k")) == (["1", "5.2"], ["3"])
