"""Objects copied inside the store: an upload whose bytes are not sent."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

import pytest

from prefect_registry.errors import IntegrityError, NotFound
from prefect_registry.storage.base import CopyOf, Storage, Upload
from prefect_registry.testing.contracts.settings import ContractSettings

STRANGE = ("plain", "a b+c", "50%", "%2F%41", "ünïcode-\N{SNOWMAN}", "?versionId=1#x&y=z", "d-e/f.g", "~'()!*")


def copy_of(key: str, data: bytes) -> CopyOf:
    """What a manifest says of ``data`` under ``key``."""
    return CopyOf(key, len(data), hashlib.sha256(data).hexdigest())


def _stored(storage: Storage, prefix: str) -> dict[str, bytes]:
    return {info.key: storage.get(info.key) for info in storage.list(prefix)}


class CopyContract(ContractSettings):
    """Uploads of :class:`CopyOf`."""

    def test_copies(self, storage: Storage) -> None:
        """A copy has the bytes of its source, if any, and stays when the source is replaced or gone."""
        contents = {"large": os.urandom(1 << 20), "small": b"abc", "empty": b""}
        storage.upload([Upload(f"old/{name}", data) for name, data in contents.items()])
        progress: list[int] = []
        copies = [Upload(f"new/{name}", copy_of(f"old/{name}", data)) for name, data in contents.items()]
        stored = storage.upload(copies, progress.append)
        assert [(s.key, s.size, s.sha256) for s in stored] == _expected({f"new/{n}": d for n, d in contents.items()})
        assert sum(progress) == sum(len(data) for data in contents.values())
        storage.put("old/small", b"other")
        storage.delete_many(["old/large", "old/empty"])
        assert _stored(storage, "new/") == {f"new/{name}": data for name, data in contents.items()}

    def test_copies_under_strange_names(self, storage: Storage) -> None:
        """What stands for something else in addresses and headers stands for itself in both keys."""
        for i, name in enumerate(STRANGE):
            storage.put(f"from {name}/{name}", b"%d" % i)
        sources = [copy_of(f"from {name}/{name}", b"%d" % i) for i, name in enumerate(STRANGE)]
        storage.upload([Upload(f"to/{name}", source) for name, source in zip(STRANGE, sources, strict=True)])
        assert _stored(storage, "to/") == {f"to/{name}": b"%d" % i for i, name in enumerate(STRANGE)}

    def test_many_copies_among_other_uploads(self, storage: Storage) -> None:
        """Copies and files that are sent go in one call, several at once, and replace what is there."""
        storage.upload([Upload(f"v1/{i:03}", b"%d" % i) for i in range(60)])
        storage.put("v2/000", b"replaced")
        storage.put("v2/007-between", b"another writer's")
        wanted = {f"v2/{i:03}": b"%d" % i if i % 3 else b"changed %d" % i for i in range(60)}
        files = [
            Upload(key, copy_of(f"v1/{key[3:]}", data) if int(key[3:]) % 3 else data) for key, data in wanted.items()
        ]
        stored = storage.upload(files)
        assert [(s.key, s.size, s.sha256) for s in stored] == _expected(wanted)
        assert _stored(storage, "v2/") == {**wanted, "v2/007-between": b"another writer's"}

    def test_a_missing_source_is_not_found(self, storage: Storage) -> None:
        """A copy of nothing is ``NotFound`` of the source, and nothing appears."""
        storage.put("old/there", b"x")
        with pytest.raises(NotFound) as caught:
            storage.upload([Upload("new/missing", copy_of("old/missing", b"x"))])
        assert caught.value.context["key"] == "old/missing"
        with pytest.raises(NotFound) as caught:
            storage.upload([Upload(f"new/{name}", copy_of(f"old/{name}", b"x")) for name in ("there", "missing")])
        assert caught.value.context["key"] == "old/missing"
        assert storage.info("new/missing") is None

    @pytest.mark.parametrize("together", [1, 5])
    def test_a_source_of_another_size_is_damaged(self, storage: Storage, together: int) -> None:
        """A source that has become shorter or longer is an ``IntegrityError`` that names it, alone and among others."""
        for name in ("good", "short", "long"):
            storage.put(f"old/{name}", {"good": b"1234", "short": b"123", "long": b"12345"}[name])
        good = [Upload(f"new/good-{i}", copy_of("old/good", b"1234")) for i in range(together - 1)]
        for name in ("short", "long"):
            with pytest.raises(IntegrityError) as caught:
                storage.upload([*good, Upload(f"new/{name}", copy_of(f"old/{name}", b"1234"))])
            assert caught.value.context["key"] == f"old/{name}"


def _expected(contents: Mapping[str, bytes]) -> list[tuple[str, int, str]]:
    return [(key, len(data), hashlib.sha256(data).hexdigest()) for key, data in contents.items()]
