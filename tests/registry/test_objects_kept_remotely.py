"""Housekeeping of objects on real servers: S3 (SeaweedFS) and Google Cloud Storage (fake-gcs-server)."""

from __future__ import annotations

from pathlib import Path

import pytest
from object_support import folders, large, refusing
from registry_support import FAST

from prefect_registry import Registry
from prefect_registry.errors import AccessDenied, InvalidState
from prefect_registry.storage.opening import open_storage
from prefect_registry.testing.servers import Server

pytestmark = pytest.mark.server


@pytest.mark.parametrize("kind", ["seaweedfs", "fake_gcs"])
def test_versions_are_released_collected_reverted_checked_and_copied(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The whole life of some versions, ending without a byte too many."""
    server: Server = request.getfixturevalue(kind)
    url, options = server.url(), server.storage_options
    store = Registry(url, storage_options=options, version_objects=True, settings=FAST, use_cache=False)
    for value in (1, 2, 3):
        store.save("m", large(value))
    other = Registry(refusing(open_storage(url, options), "m", "9"), settings=FAST, use_cache=False)
    with other.run("work") as run:
        with pytest.raises(AccessDenied):
            other.save("m@9", large(4))
        other.save("n", large(5))
        other.set_alias("m", "champion", "2")
    assert len(folders(store)) == 5
    assert store.collect(dry_run=False).objects == 1
    store.set_retention(objects="*", keep_last=1)
    assert [o.id for o in store.release(dry_run=False).objects] == ["m@1"]
    swept = store.collect(dry_run=False)
    assert (swept.objects, swept.released) == (1, 1)
    assert [f.kind for f in store.fsck(verify="all").findings if f.severity != "note"] == []
    report = store.copy_to(tmp_path / "copy")
    assert report.files == 3
    copy = Registry(tmp_path / "copy", create=False)
    assert (copy.load("m@champion"), copy.load("n")) == (large(2), large(5))
    back = store.revert(run.id)
    assert (store.aliases("m"), store.has_object("n")) == ({}, False)
    store.revert(back.run_id)
    assert (store.load("m@champion"), store.load("n")) == (large(2), large(5))
    with pytest.raises(InvalidState):
        store.restore("m@1")
