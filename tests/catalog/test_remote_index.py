"""The index over real object stores, and with credentials that may only read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from catalog_support import World, asked, fresh, publish, walked

from prefect_registry import Registry
from prefect_registry.errors import AccessDenied
from prefect_registry.storage.base import Progress, Stored, Upload
from prefect_registry.storage.wrapper import WrapperStorage
from prefect_registry.testing.servers import Server


@pytest.mark.server
@pytest.mark.parametrize("server", ["seaweedfs", "fake_gcs"])
def test_the_index_follows_a_bucket(server: str, request: pytest.FixtureRequest) -> None:
    where: Server = request.getfixturevalue(server)
    url = where.url()
    writer = Registry(url, storage_options=where.storage_options)
    reader = Registry(url, storage_options=where.storage_options)
    publish(writer, "k", 1, 2, count=3)
    assert reader.catalog.totals(state="READY")[0].rows == 6
    run = writer.attach(writer.insert_run("open"))
    with run.dataset("k") as ds:
        ds.set_rows(0)
    assert asked(reader.catalog) == walked(writer)
    writer.close_run(run.id, True)
    writer.incident("late", run.id, "E", "m", run_id=run.id)
    assert asked(reader.catalog) == asked(fresh(reader)) == walked(writer)
    assert reader.table("k").rows == 0


class ReadOnly(WrapperStorage):
    """What a store says to credentials that may list and get, and no more."""

    def _refuse(self) -> AccessDenied:
        return AccessDenied("The store refuses", why="These credentials may only read", todo="Ask for more")

    def create(self, key: str, data: bytes) -> None:
        raise self._refuse()

    def put(self, key: str, data: bytes) -> None:
        raise self._refuse()

    def upload(self, files: Sequence[Upload], progress: Progress | None = None) -> list[Stored]:
        raise self._refuse()

    def delete_many(self, keys: Iterable[str]) -> None:
        raise self._refuse()


def test_reading_and_following_need_no_right_to_write() -> None:
    world = World()
    writer = world.process()
    publish(writer, "k", 1, 2)
    reader = world.process(ReadOnly(world.storage))
    assert reader.table("k").to_table().num_rows == 2
    world.clock.hours(3)
    publish(writer, "k", 3)
    for _ in range(2):
        assert asked(reader.catalog) == walked(writer)
    assert reader.table("k").rows == 3
    with pytest.raises(AccessDenied):
        reader.insert_run("no")
