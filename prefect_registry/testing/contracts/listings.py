"""Listings: complete, in order; and deleting exactly."""

from __future__ import annotations

import itertools
import threading
from datetime import UTC, datetime, timedelta

import pytest

from prefect_registry.errors import (
    InvalidInput,
)
from prefect_registry.storage.base import (
    Storage,
)
from prefect_registry.testing.contracts.settings import ContractSettings


class ListingContract(ContractSettings):
    """Listing and deleting."""

    def test_list_order(self, storage: Storage) -> None:
        """A listing ascends by the bytes of the keys, also where folders would sort otherwise."""
        names = ["model/1", "model-2/1", "model.x", "model%20/1", "models/1", "model!/a/b", "Model/1", "ä/1", "z"]
        for name in names:
            storage.put(f"p/{name}", b"x")
        expected = sorted(f"p/{name}" for name in names)
        assert [info.key for info in storage.list("p/")] == expected
        assert [info.key for info in storage.list("")] == expected
        for i, key in enumerate(expected):
            assert [info.key for info in storage.list("p/", key)] == expected[i + 1 :]
        assert [info.key for info in storage.list("p/model/")] == ["p/model/1"]

    def test_list_nothing(self, storage: Storage) -> None:
        """Nothing below a prefix is an empty listing, and a prefix must end in a slash."""
        assert list(storage.list("")) == []
        storage.put("a/b", b"x")
        assert list(storage.list("b/")) == []
        assert list(storage.list("a/b/")) == []
        assert list(storage.list("a/", "a/b")) == []
        assert [info.key for info in storage.list("a/", "a/")] == ["a/b"]
        for prefix in ("a", "/", "../", "a//"):
            with pytest.raises(InvalidInput):
                list(storage.list(prefix))

    def test_names(self, storage: Storage) -> None:
        """The names directly below a prefix, each once; folders have a slash."""
        keys = ["a/1/x", "a/1/y", "a/10/x", "a/2/x/y/z", "a/3", "a/ä/1", "a-1", "ab/1"]
        for key in keys:
            storage.put(key, b"x")
        assert sorted(storage.names("a/")) == ["1/", "10/", "2/", "3", "ä/"]
        assert sorted(storage.names("a/2/")) == ["x/"]
        assert sorted(storage.names("a/2/x/y/")) == ["z"]
        assert sorted(storage.names("")) == ["a-1", "a/", "ab/"]
        assert sorted(storage.names("missing/")) == []
        with pytest.raises(InvalidInput):
            sorted(storage.names("a"))

    def test_list_tells_size_and_time(self, storage: Storage) -> None:
        """Listings and ``info`` agree about size and store time, and the time is about now, in UTC."""
        storage.put("x/a", b"12345")
        (listed,) = storage.list("x/")
        info = storage.info("x/a")
        assert info is not None
        assert (listed.key, listed.size) == (info.key, info.size) == ("x/a", 5)
        assert abs(listed.modified - info.modified) <= timedelta(seconds=1)
        assert listed.modified.utcoffset() == timedelta(0)
        assert abs(listed.modified - datetime.now(UTC)) < timedelta(minutes=2)

    def test_list_and_delete_many(self, storage: Storage) -> None:
        """More objects than several pages hold are all listed, in order, and all deleted."""
        keys = [f"many/{i:05}" for i in range(self.many)]
        storage.concurrently([lambda key=key: storage.put(key, b"x") for key in keys])  # type: ignore[misc]
        storage.put("manz", b"x")
        assert [info.key for info in storage.list("many/")] == keys
        assert [info.key for info in storage.list("many/", keys[1034])] == keys[1035:]
        assert [info.key for info in itertools.islice(storage.list("many/"), 10)] == keys[:10]
        storage.delete_many(iter(keys))
        assert [info.key for info in storage.list("")] == ["manz"]

    def test_list_is_a_state_that_existed(self, storage: Storage) -> None:
        """While objects are created in order, a listing has all that were there when it began, and no gaps."""
        done = threading.Event()
        created = 0

        def create() -> None:
            nonlocal created
            for i in range(100):
                storage.create(f"cell/{i:010}", b"x")
                created = i + 1
            done.set()

        writer = threading.Thread(target=create)
        writer.start()
        wrong = []
        while not done.is_set():
            least = created
            shown = [info.key for info in storage.list("cell/")]
            if len(shown) < least or shown != [f"cell/{i:010}" for i in range(len(shown))]:
                wrong.append((least, shown))
        writer.join()
        assert wrong == []

    def test_delete_is_exact(self, storage: Storage) -> None:
        """Only the named objects go: patterns are plain names, missing ones are fine, folders are nothing."""
        kept = ["a1", "a/b", "b/c", "ab"]
        for key in [*kept, "a[1]", "a*"]:
            storage.put(key, b"x")
        storage.delete_many(["a[1]", "a*", "never was", "b", "?b"])
        storage.delete_many([])
        assert [info.key for info in storage.list("")] == sorted(kept)
        storage.delete_many(["b/c"])
        storage.put("b/c", b"again")
        assert storage.get("b/c") == b"again"
