"""A copy of a registry has its objects: what is visible, and what can be taken back; or it cannot be opened."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from object_support import Files, FilesForm, clock, folders, large, mutable, payload_of, storage
from registry_support import FAST, Later, assert_tells, publish, rows

from prefect_registry import Registry
from prefect_registry.errors import IntegrityError, InvalidState, NotFound
from prefect_registry.ledger import manifests

__all__ = ["clock", "mutable", "storage"]  # fixtures


def files(count: int) -> Files:
    """So many files that are too large for a record."""
    return Files({f"deep/{n}.bin": large(n) for n in range(count)})


def test_objects_of_a_copy_load_equal(
    mutable: Registry, clock: Later, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions, aliases, folders with a list of files of their own, what was deleted and what was overwritten; of what
    was released, only that it was there.
    """
    mutable.register_materializer(Files, FilesForm)
    publish(mutable, "orders", 1)
    mutable.save("gone@1", large(9))
    mutable.delete("gone@1")
    with monkeypatch.context() as patched:
        patched.setattr(manifests, "MOST_INLINE_FILES", 0)
        mutable.save("listed@1", files(1))
        mutable.delete("listed@1")
        clock.ahead += timedelta(days=9)
        mutable.set_retention(objects="*", keep_days=1)
        assert len(mutable.release(dry_run=False).objects) == 2
        mutable.save("folder", files(3))
    mutable.save("small", {"a": [1, 2.5]})
    mutable.save("m@1", large(1), metadata={"by": "me"})
    with mutable.run("work") as work:
        mutable.save("m@1", large(2), on_conflict="overwrite")
    mutable.save("m@2", large(3))
    mutable.delete("m@2")
    mutable.set_alias("m", "champion", "1")
    staged = mutable.insert_run("staged")
    mutable.save("staged", large(4), run_id=staged)
    dropped = payload_of(mutable, "gone@1")

    report = mutable.copy_to(tmp_path / "copy")
    assert report.files == 1 + 4 + 3 + 1  # a table; the folder and its list; m three times; a list of released files
    assert report.unfinished == [staged]
    copy = Registry(tmp_path / "copy", create=False, settings=FAST, heartbeats=False)
    assert copy.list_objects_and_versions() == {"folder": ["1"], "m": ["1"], "small": ["1"]}
    assert (copy.load("m@champion"), copy.load("small"), rows(copy, "orders")) == (large(2), {"a": [1, 2.5]}, [1])
    copy.register_materializer(Files, FilesForm)
    assert copy.load("folder") == files(3)
    for name in ("m@1", "folder@1", "small@1"):
        assert copy.info(name) == mutable.info(name)
    assert dropped not in folders(copy)
    assert dropped in folders(mutable)
    assert copy.collect().objects == 0
    copy.restore("m@2")
    assert copy.load("m@2") == large(3)
    copy.revert(work.id)
    assert copy.load("m@1") == large(1)
    with pytest.raises(InvalidState):
        copy.restore("gone@1")


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_object_ends_the_copy_before_anybody_can_open_it(tmp_path: Path, damage: str) -> None:
    """The error names the file."""
    source = Registry(tmp_path / "source", settings=FAST)
    source.save("m", large(1))
    file = next(Path(source.url).glob("data/**/data"))
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="cannot be copied") as refused:
        source.copy_to(tmp_path / "copy")
    assert_tells(refused.value)
    assert "/data" in refused.value.what
    with pytest.raises(NotFound):
        Registry(tmp_path / "copy", create=False)
