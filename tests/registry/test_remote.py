"""The registry on real servers: S3 (SeaweedFS), Google Cloud Storage (fake-gcs-server) and Azure (azurite)."""

from __future__ import annotations

import hashlib
import io
import pickle
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from registry_support import FAST, asset, doc, numbers, only, publish, refused, rows, rows_of, write

from prefect_registry import Registry
from prefect_registry.errors import Conflict, IntegrityError, InvalidInput, InvalidState, NotFound, RunAborted
from prefect_registry.testing.servers import Server

pytestmark = pytest.mark.server


def test_a_run_publishes_everything_or_nothing(remote: Registry) -> None:
    publish(remote, "k", 0)
    with remote.run("good") as run:
        for n in range(3):
            write(run, "k", n)
        remote.register_documents([doc("a"), doc("b")])
        remote.register_doctags([asset("a")])
        event = remote.emit_event("e", "s", {"x": 1})
        assert rows(remote, "k") == [0]
        assert rows_of(run.table("k")) == [0, 1, 2]
    with pytest.raises(ZeroDivisionError), remote.run("bad") as bad:
        write(bad, "k", 9)
        raise ZeroDivisionError
    assert rows(remote, "k") == [0, 1, 2]
    assert [d.id for d in remote.documents()] == ["a", "b"]
    assert remote.get_event(event).payload == {"x": 1}
    own = [r.state for r in remote.runs() if not r.implicit]  # documents have a run of their own, nested in it
    assert own == ["ABORTED", "COMMITTED", "COMMITTED"]
    with pytest.raises(RunAborted):
        remote.close_run(bad.id, True)
    report = remote.collect(dry_run=False)
    assert report.runs == [bad.id]
    assert rows(remote, "k") == [0, 1, 2]


def test_the_nine_operations_by_their_documented_names(remote: Registry) -> None:
    run = remote.insert_run("dense_embed", "Qwen3-Embedding-4B", "main", {"dim": 3584, "é": None})
    dataset = remote.begin_dataset("chunks", run)
    dropped = remote.begin_dataset("chunks", run)
    remote.commit_dataset(dataset, "s3://elsewhere/chunks", 17)
    remote.commit_dataset(dataset, "s3://elsewhere/chunks", 17)
    with refused(Conflict, remote):
        remote.commit_dataset(dataset, "s3://elsewhere/chunks", 18)
    remote.rollback_dataset(dropped)
    remote.register_documents([doc("urn:doc:1")])
    remote.register_doctags([asset("urn:doc:1")])
    remote.emit_event("e", dataset, {})
    remote.incident("i", dataset, "E", "m")
    remote.close_run(run, True, "ok")
    with refused(InvalidState, remote, committed="yes"):
        remote.rollback_dataset(dataset)
    assert remote.get_run(run).config == {"dim": 3584, "é": None}
    assert (remote.latest("chunks").rows, remote.latest("chunks").parquet_root) == (17, "s3://elsewhere/chunks")
    assert [remote.get_dataset(d).state for d in (dataset, dropped)] == ["READY", "ROLLED_BACK"]
    for unknown in ("nope", "ds_01j00000000000000000000000_0000000000000000"):
        with refused(NotFound, remote):
            remote.commit_dataset(unknown, "s3://x/y", 1)


def test_the_past_revert_and_snapshots(remote: Registry) -> None:
    publish(remote, "k", 1)
    before = remote.snapshot()
    time = datetime.now(tz=UTC)
    bad = publish(remote, "k", 2)
    remote.revert(remote.revert(bad).run_id)
    assert rows(remote, "k") == [2]
    remote.revert(bad)
    assert rows(remote, "k") == [1]
    assert rows_of(before.table("k")) == rows_of(remote.as_of(time).table("k")) == [1]


def test_other_programs_write_into_the_datasets_folder(remote: Registry) -> None:
    frame = pd.DataFrame({"m": [1, 1, 2], "n": [10, 11, 20]})
    with remote.run("p") as run, run.dataset("k") as ds:
        frame.to_parquet(f"{ds.root}/a.parquet", storage_options=ds.storage_options)
        pq.write_table(pa.table({"m": [3], "n": [30]}), f"{ds.root.partition('://')[2]}/b.parquet", filesystem=ds.fs)
        with ds.fs.open(f"{ds.root}/_SUCCESS", "wb") as file:
            file.write(b"x")
    found = remote.latest("k")
    assert ([f.path for f in found.files], found.rows) == (["a.parquet", "b.parquet"], 4)
    assert found.to_table().column("n").to_pylist() == [10, 11, 20, 30]
    for entry in found.files:
        with found.open(entry.path) as file:
            assert hashlib.sha256(file.read()).hexdigest() == entry.sha256
    with remote.run("p") as run:
        ds = run.dataset("k")
        with ds.fs.open(f"{ds.root}/_temporary/0/a.parquet", "wb") as file:
            file.write(b"half")
        with refused(InvalidInput, remote):
            remote.commit_dataset(ds.id, ds.root, 0)
        with ds.fs.open(f"{ds.root}/torn.parquet", "wb") as file:
            file.write(b"PAR1")
        ds.fs.rm_file(f"{ds.root}/_temporary/0/a.parquet")
        with refused(IntegrityError, remote):
            remote.commit_dataset(ds.id, ds.root, 0)


def test_a_subprocess_writes_by_way_of_the_environment(seaweedfs: Server) -> None:
    """With nothing but AWS's usual variables."""
    registry = Registry(seaweedfs.url(), storage_options=seaweedfs.storage_options, settings=FAST)
    program = """
        import os
        import pyarrow as pa, pyarrow.parquet as pq, s3fs
        root = os.environ["PREFECT_REGISTRY_DATASET_ROOT"].removeprefix("s3://")
        pq.write_table(pa.table({"n": [1, 2]}), f"{root}/x.parquet", filesystem=s3fs.S3FileSystem())
    """
    with registry.run("p") as run, run.dataset("k") as ds:
        subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, env=ds.env())
    assert rows(registry, "k") == [1, 2]


def test_partitions_names_and_documents_of_every_script(remote: Registry) -> None:
    table = pa.table({"k": ["01", None, "a/b=c %é", "A", "a"], "n": list(range(5))})
    names = ["..", "a/b", "CON", "北京 数据", "x" * 300, "%2e", "A", "a"]
    with remote.run("p") as run:
        with run.dataset("partitioned") as ds:
            ds.write_table(table, partition_by="k")
        for n, name in enumerate(names):
            write(run, name, n)
        remote.register_documents([doc(name) for name in names])
    assert remote.table("partitioned").to_table().select(["k", "n"]).sort_by("n").equals(table)
    assert [rows(remote, name) for name in names] == [[n] for n in range(len(names))]
    assert sorted(d.id for d in remote.documents()) == sorted(names)


def test_large_files_come_back_and_damage_is_told(remote: Registry, tmp_path: Path) -> None:
    """Large enough for a multipart upload."""
    source = tmp_path / "large.bin"
    source.write_bytes(bytes(range(256)) * (9 << 12))
    with remote.run("p") as run, run.dataset("k") as ds:
        ds.upload(source)
        ds.set_rows(1)
    found = remote.latest("k")
    assert only(found.files).sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert found.download("large.bin", tmp_path / "back").read_bytes() == source.read_bytes()
    remote.storage.put(f"{found.prefix}large.bin", b"x")
    for read in (found.verify, lambda: found.download("large.bin", tmp_path / "again")):
        with pytest.raises(IntegrityError):
            read()
    remote.storage.delete_many([f"{found.prefix}large.bin"])
    for read in (found.verify, lambda: found.download("large.bin", tmp_path / "again")):
        with pytest.raises(IntegrityError):
            read()
    assert not (tmp_path / "again").exists()


def test_what_another_program_wrote_is_verified(remote: Registry) -> None:
    """Rows against footers, torn files, a job that has not finished; then each file is known by size and SHA-256."""

    def parquet(*values: int) -> bytes:
        sink = io.BytesIO()
        pq.write_table(numbers(*values), sink)
        return sink.getvalue()

    run = remote.insert_run("p")
    dataset = remote.begin_dataset("k", run)
    root, prefix = remote.get_dataset(dataset).root, remote.get_dataset(dataset).prefix
    for name, data in {"a.parquet": parquet(1, 2), "m=1/b.parquet": parquet(3), "_SUCCESS": b""}.items():
        remote.storage.put(f"{prefix}{name}", data)
    with refused(InvalidInput, remote):
        remote.commit_dataset(dataset, root, 4)
    remote.storage.put(f"{prefix}a.parquet", parquet(1, 2)[:-5])
    with refused(IntegrityError, remote):
        remote.commit_dataset(dataset, root, 3)
    remote.storage.put(f"{prefix}a.parquet", parquet(1, 2))
    remote.storage.put(f"{prefix}_temporary/0/c.parquet", parquet(4))
    with refused(InvalidInput, remote):
        remote.commit_dataset(dataset, root, 3)
    remote.storage.delete_many([f"{prefix}_temporary/0/c.parquet"])
    remote.commit_dataset(dataset, root, 3)
    remote.close_run(run, True)
    assert sorted(remote.table("k").to_table()["n"].to_pylist()) == [1, 2, 3]
    for file in remote.latest("k").files:
        data = remote.storage.get(f"{prefix}{file.path}")
        assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert [file.path for file in remote.latest("k").files] == ["a.parquet", "m=1/b.parquet"]


def test_threads_write_one_run_and_the_registry_pickles(remote: Registry) -> None:
    again = pickle.loads(pickle.dumps(remote))
    with remote.run("p") as run, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: write(again.attach(run.id), "k", n, mode="append"), range(24)))
    assert sorted(rows(again, "k")) == list(range(24))


def test_a_key_is_idempotent_and_a_nested_run_goes_with_its_parent(remote: Registry) -> None:
    with remote.run("p", publish="on_commit") as run:
        first = write(run, "k", 1, key="a")
        assert write(run, "k", 1, key="a") == first
    with pytest.raises(ZeroDivisionError), remote.run("outer") as outer:
        with remote.run("inner", parent=outer.id) as inner:
            write(inner, "k", 2)
        raise ZeroDivisionError
    assert rows(remote, "k") == [1]


async def test_the_twins_work_from_an_event_loop(remote: Registry) -> None:
    async with remote.arun("p") as run, run.adataset("k") as ds:
        await ds.awrite_table(numbers(1, 2))
    assert (await (await remote.atable("k")).ato_table()).num_rows == 2
    assert [r.state async for r in remote.aruns()] == ["COMMITTED"]


def test_health(remote: Registry) -> None:
    assert remote.check().ok
    assert remote.check_access() == {"general": True, "read": True, "write": True, "admin": True}
