"""What commit_dataset makes of what lies in a dataset's folder, whoever wrote it (issue point "verifies")."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from registry_support import numbers, only, publish, refused, rows, write

from prefect_registry import Registry
from prefect_registry.datasets.writing import DatasetWriter
from prefect_registry.errors import (
    AlreadyExists,
    Conflict,
    IntegrityError,
    InvalidInput,
    InvalidState,
    RegistryError,
    RunAborted,
)
from prefect_registry.storage import Upload

TABLE = pa.table({"m": [1, 1, 2], "n": [10, 11, 20]})


def begun(registry: Registry) -> tuple[str, str, Path]:
    """A run, a dataset of it, and its folder on the disk, which exists."""
    run = registry.insert_run("p")
    dataset = registry.begin_dataset("k", run)
    folder = Path(registry.get_dataset(dataset).root)
    folder.mkdir(parents=True)
    return run, dataset, folder


# -- who writes ------------------------------------------------------------------------------------------------------

WRITERS: dict[str, Callable[[DatasetWriter], object]] = {
    "pandas": lambda ds: pd.DataFrame(TABLE.to_pydict()).to_parquet(
        f"{ds.root}/x.parquet", storage_options=ds.storage_options or None
    ),
    "pandas, partitioned": lambda ds: pd.DataFrame(TABLE.to_pydict()).to_parquet(ds.root, partition_cols=["m"]),
    "polars": lambda ds: pl.DataFrame(TABLE).write_parquet(f"{ds.root}/x.parquet", mkdir=True),
    "polars, partitioned": lambda ds: pl.DataFrame(TABLE).lazy().sink_parquet(pl.PartitionBy(ds.root, key="m")),
    "pyarrow": lambda ds: pads.write_dataset(
        TABLE, ds.root, format="parquet", partitioning=["m"], partitioning_flavor="hive"
    ),
    "fsspec": lambda ds: pq.write_table(TABLE, f"{ds.root}/x.parquet", filesystem=ds.fs),
    "our own": lambda ds: ds.write_table(TABLE, partition_by="m"),
    "our own, polars": lambda ds: ds.write_table(pl.DataFrame(TABLE)),
    "our own, pandas": lambda ds: ds.write_table(pd.DataFrame(TABLE.to_pydict())),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_what_any_library_wrote_is_verified_and_read_back(local: Registry, writer: str) -> None:
    with local.run("p") as run, run.dataset("k") as ds:
        WRITERS[writer](ds)
    found = local.latest("k")
    assert found.rows == 3
    for file in found.files:
        data = (Path(found.root) / file.path).read_bytes()
        assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert file.rows
    read = found.to_table().select(["m", "n"])
    assert sorted(zip(*read.to_pydict().values(), strict=True)) == [(1, 10), (1, 11), (2, 20)]


def test_a_subprocess_writes_by_way_of_the_environment(local: Registry) -> None:
    program = """
        import os, pathlib
        import pyarrow as pa, pyarrow.parquet as pq
        folder = pathlib.Path(os.environ["PREFECT_REGISTRY_DATASET_ROOT"])
        pq.write_table(pa.table({"n": [1, 2]}), folder / "x.parquet")
        ids = [os.environ[f"PREFECT_REGISTRY_{noun}_ID"] for noun in ("DATASET", "RUN")]
        (folder / "ids.txt").write_text("".join(ids))
    """
    with local.run("p") as run, run.dataset("k") as ds:
        subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, env=ds.env())
        ds.set_rows(2)
    assert rows(local, "k") == [1, 2]
    with local.latest("k").open("ids.txt") as file:
        assert file.read().decode() == ds.id + run.id


# -- what is there ---------------------------------------------------------------------------------------------------


def test_marks_and_hidden_files_are_no_members(local: Registry) -> None:
    run, dataset, folder = begun(local)
    pq.write_table(numbers(1), folder / "a.parquet")
    for name in ("_SUCCESS", "_metadata", ".a.parquet.crc", ".hidden", "_delta/log.parquet", "m=1/_x.parquet"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"whatever")
    local.commit_dataset(dataset, str(folder), 1)
    local.close_run(run, True)
    assert [f.path for f in local.latest("k").files] == ["a.parquet"]
    assert rows(local, "k") == [1]


def test_a_temporary_folder_left_over_refuses_the_commit(local: Registry) -> None:
    _, dataset, folder = begun(local)
    (folder / "_temporary" / "0").mkdir(parents=True)
    pq.write_table(numbers(1), folder / "_temporary" / "0" / "a.parquet")
    with refused(InvalidInput, local):
        local.commit_dataset(dataset, str(folder), 0)
    (folder / "_temporary" / "0" / "a.parquet").rename(folder / "a.parquet")
    local.commit_dataset(dataset, str(folder), 1)


@pytest.mark.parametrize("verify", ["full", "size"])
@pytest.mark.parametrize("damage", ["cut", "empty", "no Parquet", "middle"])
def test_a_torn_parquet_file_refuses_the_commit(local: Registry, verify: str, damage: str) -> None:
    _, dataset, folder = begun(local)
    pq.write_table(numbers(*range(10_000)), folder / "a.parquet")
    data = (folder / "a.parquet").read_bytes()
    torn = {"cut": data[:-20], "empty": b"", "no Parquet": b"n\n1\n", "middle": data[: len(data) // 2] + data[-8:]}[
        damage
    ]
    (folder / "a.parquet").write_bytes(torn)
    with refused(IntegrityError, local):
        local.commit_dataset(dataset, str(folder), 10_000, verify=verify)
    (folder / "a.parquet").write_bytes(data)
    local.commit_dataset(dataset, str(folder), 10_000, verify=verify)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_rows_that_the_footers_contradict_refuse_the_commit(local: Registry, count: int) -> None:
    _, dataset, folder = begun(local)
    pq.write_table(numbers(1, 2), folder / "a.parquet")
    pq.write_table(numbers(3), folder / "b.parquet")
    with refused(InvalidInput, local) as caught:
        local.commit_dataset(dataset, str(folder), count)
    assert "have 3" in str(caught.value)
    local.commit_dataset(dataset, str(folder), 3)


def test_rows_without_any_file_refuse_the_commit_and_none_is_fine(registry: Registry) -> None:
    run = registry.insert_run("p")
    dataset = registry.begin_dataset("k", run)
    root = registry.get_dataset(dataset).root
    with refused(InvalidInput, registry):
        registry.commit_dataset(dataset, root, 1)
    registry.commit_dataset(dataset, root, 0)


@pytest.mark.parametrize(
    "names",
    [
        ("a.csv", "A.csv"),
        ("m=a/x.csv", "m=A/x.csv"),
        ("stra\u00dfe.csv", "STRASSE.csv"),
        ("\u00e9.csv", "e\u0301.csv"),
    ],
)
def test_files_that_differ_only_in_case_refuse_the_commit(local: Registry, names: tuple[str, str]) -> None:
    _, dataset, folder = begun(local)
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    with refused(InvalidInput, local) as caught:
        local.commit_dataset(dataset, str(folder), 1)
    assert "differ only in case" in str(caught.value)


def test_a_file_that_is_also_a_folder_refuses_the_commit(memory: Registry) -> None:
    """On a disk that cannot be; in a bucket it can."""
    with memory.run("p") as run, pytest.raises(InvalidInput, match="is a folder of"), run.dataset("k") as ds:
        for name in ("a", "A/b"):
            with ds.open(name) as file:
                file.write(b"x")


def test_symbolic_links_refuse_the_commit(local: Registry, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (tmp_path / "folder").mkdir()
    for name, target in (("link.txt", secret), ("link", tmp_path / "folder"), ("broken", tmp_path / "nothing")):
        _, dataset, folder = begun(local)
        (folder / name).symlink_to(target)
        with refused(InvalidInput, local) as caught:
            local.commit_dataset(dataset, str(folder), 0)
        assert "symbolic link" in str(caught.value)
    _, dataset, folder = begun(local)
    (folder / "_link").symlink_to(secret)
    local.commit_dataset(dataset, str(folder), 0)


def test_a_folder_that_is_a_link_is_not_the_datasets_own(local: Registry, tmp_path: Path) -> None:
    run = local.insert_run("p")
    dataset = local.begin_dataset("k", run)
    folder = Path(local.get_dataset(dataset).root)
    folder.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with refused(InvalidInput, local):
        local.commit_dataset(dataset, str(folder), 0)


def test_a_file_deleted_between_write_and_commit_refuses_the_commit(local: Registry) -> None:
    with local.run("p") as run:
        ds = run.dataset("k")
        ds.write_table(numbers(1))
        (only(list(Path(ds.root).iterdir()))).unlink()
        with refused(IntegrityError, local):
            ds.commit()
        ds.rollback()


def test_a_file_that_changes_while_it_is_read_refuses_the_commit(local: Registry) -> None:
    """A file that vanishes, or grows, between the listing and the reading is never staged as it was listed."""
    _, dataset, folder = begun(local)
    for i in range(300):
        (folder / f"{i}.bin").write_bytes(b"x" * 50_000)
    stop = threading.Event()

    def disturb() -> None:
        for i in range(299, -1, -1):
            if stop.is_set():
                return
            (folder / f"{i}.bin").unlink() if i % 2 else (folder / f"{i}.bin").write_bytes(b"y" * 60_000)

    disturber = threading.Thread(target=disturb)
    disturber.start()
    with contextlib.suppress(IntegrityError):
        local.commit_dataset(dataset, str(folder), 1)
    stop.set()
    disturber.join()
    if local.get_dataset(dataset).state == "STAGED":
        for file in local.get_dataset(dataset).files:
            assert file.size in (50_000, 60_000)


@pytest.mark.parametrize("count", [2_000, 2_001, 5_000])
def test_thousands_of_files_have_a_manifest_of_their_own(memory: Registry, count: int) -> None:
    with memory.run("p") as run:
        ds = run.dataset("k")
        for i in range(count):
            memory.storage.put(f"{ds._prefix}{i:05}.bin", b"%d" % i)
        memory.commit_dataset(ds.id, ds.location, 0)
        memory.commit_dataset(ds.id, ds.location, 0)
        memory.storage.put(f"{ds._prefix}00000.bin", b"X")
        with pytest.raises(Conflict):
            memory.commit_dataset(ds.id, ds.location, 0)
        memory.storage.put(f"{ds._prefix}00000.bin", b"0")
    found = memory.latest("k")
    assert [f.path for f in found.files] == [f"{i:05}.bin" for i in range(count)]
    found.verify()
    stored = [o for o in memory.storage.list("data/") if "_manifest-" in o.key]
    assert bool(stored) == (count > 2_000)
    for manifest in stored:
        memory.storage.put(manifest.key, memory.storage.get(manifest.key).replace(b"00001.bin", b"00001.bix"))
        with pytest.raises(IntegrityError):
            memory.latest("k")


def test_files_of_long_names_have_a_manifest_of_their_own_too(memory: Registry) -> None:
    with memory.run("p") as run, run.dataset("k") as ds:
        for i in range(1_500):
            memory.storage.put(f"{ds._prefix}{'x' * 200}/{'y' * 200}/{'z' * 200}/{i:05}", b"x")
        assert ds.root
        ds.set_rows(1)
    assert len(memory.latest("k").files) == 1_500


# -- which root ------------------------------------------------------------------------------------------------------


def test_the_datasets_folder_is_known_by_every_spelling(local: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = Path(local.url).parent
    (parent / "link").symlink_to(local.url)
    monkeypatch.chdir(parent)
    spellings: list[Callable[[Path], str]] = [
        str,
        lambda p: f"{p}/",
        lambda p: f"file://{p}",
        lambda p: f"local://{p}",
        lambda p: str(p).replace("/data/", "/data/../data//./"),
        lambda p: str(p.relative_to(parent)),
        lambda p: str(p).replace(local.url, f"{parent}/link"),
    ]
    for spell in spellings:
        _, dataset, folder = begun(local)
        pq.write_table(numbers(1), folder / "a.parquet")
        local.commit_dataset(dataset, spell(folder), 1)
        assert not local.get_dataset(dataset).external


def test_other_folders_of_the_registry_are_refused(registry: Registry) -> None:
    run = registry.insert_run("p")
    dataset, other = registry.begin_dataset("k", run), registry.begin_dataset("k", run)
    own, foreign = registry.get_dataset(dataset).root, registry.get_dataset(other).root
    for root in (foreign, registry.url, f"{registry.url}/data", f"{own}/deeper", own[:-1], f"{registry.url}/cells"):
        with refused(InvalidInput, registry):
            registry.commit_dataset(dataset, root, 0)


@pytest.mark.parametrize(
    "root",
    [
        "",
        "  ",
        "a\nb",
        "a\x00b",
        "\ud800",
        "x" * 5_000,
        None,
        5,
        b"x",
        "s3://key:secret@bucket/x",
        "https://h/x?sig=abcdef",
    ],
)
def test_a_root_that_no_record_may_hold_is_refused(registry: Registry, root: Any) -> None:
    dataset = registry.begin_dataset("k", registry.insert_run("p"))
    with refused(InvalidInput, registry) as caught:
        registry.commit_dataset(dataset, root, 0)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "root", ["/data/sp=3/x", "s3://bucket/a b/\u00e9", "hdfs://user@host/x", "relative/path", "C:\\x"]
)
def test_a_root_elsewhere_is_recorded_as_it_was_given(registry: Registry, root: str) -> None:
    run = registry.insert_run("p")
    dataset = registry.begin_dataset("k", run)
    registry.commit_dataset(dataset, root, 5)
    registry.close_run(run, True)
    assert (registry.latest("k").parquet_root, registry.latest("k").rows) == (root, 5)


def test_files_that_were_written_are_not_forgotten_for_a_root_elsewhere(registry: Registry) -> None:
    with registry.run("p") as run:
        ds = run.dataset("k")
        ds.write_table(numbers(1))
        with refused(InvalidInput, registry):
            registry.commit_dataset(ds.id, "s3://typo/x", 1)
        ds.commit()


def test_verifying_sizes_only_hashes_nothing_and_may_be_repeated(local: Registry) -> None:
    _, dataset, folder = begun(local)
    pq.write_table(numbers(1), folder / "a.parquet")
    for verify in ("size", "size", "full"):
        local.commit_dataset(dataset, str(folder), 1, verify=verify)
    assert only(local.get_dataset(dataset).files).sha256 == ""
    pq.write_table(numbers(1, 2), folder / "a.parquet")
    with refused(Conflict, local):
        local.commit_dataset(dataset, str(folder), 2, verify="size")
    with refused(InvalidInput, local):
        local.commit_dataset(dataset, str(folder), 2, verify="none")


# -- the writer ------------------------------------------------------------------------------------------------------


def test_part_names_are_never_used_twice(registry: Registry) -> None:
    with registry.run("p") as run, run.dataset("k") as ds:
        ds.write_table(numbers(0), path="part-00001.parquet")
        writers = [threading.Thread(target=ds.write_table, args=(numbers(n),)) for n in range(1, 50)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
    assert sorted(rows(registry, "k")) == list(range(50))


def test_half_a_file_is_no_file(registry: Registry) -> None:
    with registry.run("p") as run, run.dataset("k") as ds:
        for mode in ("wb", "w"):
            with pytest.raises(ZeroDivisionError), ds.open(f"{mode}.txt", mode) as file:
                file.write(b"half" if mode == "wb" else "half")
                raise ZeroDivisionError
        with ds.open("whole.txt", "x", newline="\r\n") as file:
            file.write("é\n")
        with pytest.raises(AlreadyExists):
            ds.open("whole.txt", "x")
        ds.set_rows(1)
    with registry.latest("k").open("whole.txt") as file:
        assert file.read() == "é\r\n".encode()
    assert [f.path for f in registry.latest("k").files] == ["whole.txt"]


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_a_file_that_nobody_closed_refuses_the_commit(registry: Registry, mode: str) -> None:
    with registry.run("p") as run:
        with pytest.raises(InvalidState, match="never closed"), run.dataset("k") as ds:
            ds.open("a.txt", mode).write(b"x" if mode == "wb" else "x")
        assert registry.get_dataset(ds.id).state == "ROLLED_BACK"


@pytest.mark.parametrize("end", [DatasetWriter.commit, DatasetWriter.rollback])
def test_nothing_can_be_written_after_the_end(
    registry: Registry, tmp_path: Path, end: Callable[[DatasetWriter], None]
) -> None:
    (tmp_path / "f").write_text("x")
    with registry.run("p") as run:
        ds = run.dataset("k")
        ds.set_rows(0)
        end(ds)
        with refused(InvalidState, registry):
            ds.write_table(numbers(1))
        with refused(InvalidState, registry):
            ds.open("a")
        with refused(InvalidState, registry):
            ds.upload(tmp_path / "f")


def test_uploading_a_folder_takes_what_another_program_would_read(registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "spark"
    (folder / "m=1").mkdir(parents=True)
    pq.write_table(numbers(1), folder / "m=1" / "a.parquet")
    (folder / "_SUCCESS").touch()
    (folder / ".a.crc").touch()
    (folder / "link").symlink_to(tmp_path)
    with registry.run("p") as run, run.dataset("k") as ds:
        assert ds.upload(folder) == ["m=1/a.parquet"]
        assert ds.upload(str(folder / "m=1" / "a.parquet"), "other.parquet") == ["other.parquet"]
        (folder / "m=1" / "torn.parquet").write_bytes(b"PAR1")
        with refused(InvalidInput, registry):
            ds.upload(folder)
        for wrong in (tmp_path / "nothing", 5, None):
            with refused(InvalidInput, registry):
                ds.upload(wrong)  # type: ignore[arg-type]
    assert rows(registry, "k") == [1, 1]
    targets = registry.latest("k").download_all(tmp_path / "back" / "deep")
    assert [t.relative_to(tmp_path / "back" / "deep").as_posix() for t in targets] == ["m=1/a.parquet", "other.parquet"]


@pytest.mark.parametrize(
    "path",
    ["", "../x", "/x", "a//b", "a\\b", "a\x00", "a\nb", "_x", ".x", "a/_b", "a/.b", "..", "a" * 256, 5, "\ud800"],
)
def test_a_path_that_no_dataset_can_have_is_refused(registry: Registry, path: Any, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with registry.run("p") as run, run.dataset("k") as ds:
        with refused(InvalidInput, registry):
            ds.open(path)
        with refused(InvalidInput, registry):
            ds.upload(tmp_path / "f", path or "/")
        with refused(InvalidInput, registry):
            ds.write_table(numbers(1), path=f"{path}/.parquet")
        ds.set_rows(0)


# -- partitions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["01", None, "a/b=c %é\\x", "", "A", "a", ".", ".."]),
        pa.array([1, None, -3], pa.int8()),
        pa.array([2**63, None, 0], pa.uint64()),
        pa.array([True, None, False]),
        pa.array([0, None, -1], pa.date32()),
        pa.array([0, None, 10**15], pa.timestamp("us")),
        pa.array([1.5, None, -0.0, 0.0, 1e300]),
        pa.array(["x", None, "y"], pa.large_string()),
    ],
    ids=lambda values: str(values.type),
)
def test_partition_columns_come_back_as_they_were(registry: Registry, values: pa.Array[Any]) -> None:
    """Null, Unicode, slashes, leading zeros, and values that differ only in case."""
    table = pa.table({"k": values, "n": list(range(len(values)))})
    with registry.run("p") as run, run.dataset("k") as ds:
        ds.write_table(table, partition_by="k")
    read = registry.table("k").to_table().select(["k", "n"]).sort_by("n")
    assert read.equals(table)
    assert registry.latest("k").rows == len(values)


def test_partitions_by_several_columns_keep_every_row_in_its_order(registry: Registry) -> None:
    count = 5_000
    table = pa.table({"a": [i % 7 for i in range(count)], "b": [f"b{i % 11}" for i in range(count)], "n": range(count)})
    with registry.run("p") as run, run.dataset("k") as ds:
        ds.write_table(table.slice(0, 3_000), partition_by=["a", "b"])
        ds.write_table(table.slice(3_000), partition_by=["a", "b"])
    found = registry.latest("k")
    assert len(found.files) == 154
    read = found.to_table()
    assert read.sort_by("n").select(["a", "b", "n"]).equals(table)
    for path in [f.path for f in found.files][:5]:
        with found.open(path) as file:
            inside = [int(row["n"]) for row in pq.read_table(file).to_pylist()]
        assert inside == sorted(inside)


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        (pa.table({"k": [None, "__HIVE_DEFAULT_PARTITION__"]}), ["k"]),
        (pa.table({"k": pa.array([b"\xff"])}), ["k"]),
        (pa.table({"k": [[1]]}), ["k"]),
        (pa.table({"k": pa.array([1], pa.timestamp("us", "UTC"))}), ["k"]),
        (pa.table({"a=b": [1]}), ["a=b"]),
        (pa.table({"a/b": [1]}), ["a/b"]),
        (pa.table({"_a": [1]}), ["_a"]),
        (pa.table({"k": ["x" * 1_000]}), ["k"]),
        (pa.table({"k": [1]}), ["nope"]),
        (pa.table({"k": [1]}), []),
        (pa.table({"k": [1]}), ["k", "k"]),
    ],
    ids=repr,
)
def test_what_no_folder_can_spell_is_refused_and_nothing_is_written(
    registry: Registry, table: pa.Table, columns: list[str]
) -> None:
    table = table.append_column("n", pa.array(range(table.num_rows)))
    with registry.run("p") as run, run.dataset("k") as ds:
        with refused(InvalidInput, registry):
            ds.write_table(table, partition_by=columns)
        ds.set_rows(0)


def test_partition_types_must_agree_within_a_dataset_and_widen_between_datasets(registry: Registry) -> None:
    narrow = pa.table({"k": pa.array([1], pa.int32()), "n": [1]})
    wide = pa.table({"k": [2**40], "n": [2]})
    with registry.run("p") as run:
        with run.dataset("t") as ds:
            ds.write_table(narrow, partition_by="k")
            with refused(InvalidInput, registry):
                ds.write_table(wide, partition_by="k")
        with run.dataset("t") as ds:
            ds.write_table(wide, partition_by="k")
    assert registry.table("t").to_table().sort_by("n").to_pydict() == {"n": [1, 2], "k": [1, 2**40]}


def test_partitions_of_others_are_integers_only_if_all_are(local: Registry) -> None:
    for kind, values in {"int": ("1", "22"), "text": ("01", "2"), "mixed": ("1", "x")}.items():
        with local.run("p") as run, run.dataset(kind) as ds:
            for value in values:
                (Path(ds.root) / f"k={value}").mkdir(parents=True)
                pq.write_table(numbers(1), Path(ds.root) / f"k={value}" / "a.parquet")
    read = {kind: local.table(kind).to_table().column("k").to_pylist() for kind in ("int", "text", "mixed")}
    assert read == {"int": [1, 22], "text": ["01", "2"], "mixed": ["1", "x"]}


@pytest.mark.parametrize(
    "table", [5, None, "x", [1], {"a": [1]}, pa.table([pa.array([1])] * 2, names=["a", "a"])], ids=repr
)
def test_what_is_no_table_is_refused(registry: Registry, table: Any) -> None:
    with registry.run("p") as run, run.dataset("k") as ds:
        with refused(InvalidInput, registry):
            ds.write_table(table)
        with refused(InvalidInput, registry):
            ds.write_table(numbers(1), path="x.csv")
        with refused(InvalidInput, registry):
            ds.write_table(numbers(1), compression="no such codec")
        ds.set_rows(0)


# -- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("publish_when", ["on_close", "on_commit"])
def test_the_same_key_is_the_same_dataset_and_what_is_staged_is_never_touched(
    registry: Registry, publish_when: Any
) -> None:
    with registry.run("p", publish=publish_when) as run:
        first = write(run, "k", 1, 2, key="a")
        assert write(run, "k", 1, 2, key="a") == first
        with pytest.raises(Conflict), run.dataset("k", key="a") as ds:
            ds.write_table(numbers(9, 9))
        with pytest.raises(ZeroDivisionError), run.dataset("k", key="a") as ds:
            raise ZeroDivisionError
        with run.dataset("k", key="a") as ds:
            assert ds.staged is not None
            with refused(InvalidState, registry):
                ds.env()
        assert write(run, "k", 3, key="b") != first
        for other in ({"mode": "replace_partitions", "partition": {"m": 1}}, {"partition": {"m": 1}}):
            with refused(AlreadyExists, registry):
                run.dataset("k", key="a", **other)
        with refused(AlreadyExists, registry):
            run.dataset("other kind", key="a")
    assert rows(registry, "k") == [1, 2, 3]
    registry.table("k").to_table()


@pytest.mark.parametrize("publish_when", ["on_close", "on_commit"])
def test_a_key_whose_dataset_was_rolled_back_begins_afresh(registry: Registry, publish_when: Any) -> None:
    with registry.run("p", publish=publish_when) as run:
        ids = []
        for n in range(3):
            with pytest.raises(ZeroDivisionError), run.dataset("k", key="a") as ds:
                ids.append(ds.id)
                ds.write_table(numbers(n))
                raise ZeroDivisionError
        ids.append(write(run, "k", 3, key="a"))
    assert len(set(ids)) == 4
    assert rows(registry, "k") == [3]


def test_a_key_holds_in_every_attempt_of_a_flow_run_that_publishes_on_commit(registry: Registry) -> None:
    for attempt in range(3):
        with (
            pytest.raises(ZeroDivisionError),
            registry.run("p", publish="on_commit", flow_run="3f1c8a52-0000-4000-8000-000000000000") as run,
        ):
            for n in range(attempt + 1):
                write(run, "k", n, key=f"month {n}")
            raise ZeroDivisionError
    assert rows(registry, "k") == [0, 1, 2]


@pytest.mark.parametrize("publish_when", ["on_close", "on_commit"])
def test_one_key_written_by_many_threads_at_once_is_one_dataset(registry: Registry, publish_when: Any) -> None:
    run = registry.attach(registry.insert_run("p", publish=publish_when))
    found: list[str | RegistryError] = []

    def work() -> None:
        try:
            found.append(write(run, "k", 1, 2, key="a"))
        except RegistryError as error:
            found.append(error)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = {each for each in found if isinstance(each, str)}
    refused_ones = [each for each in found if isinstance(each, RegistryError)]
    assert (len(found), len(ids)) == (16, 1)
    assert all(isinstance(e, InvalidState) and e.committed == "no" for e in refused_ones), refused_ones
    registry.close_run(run.id, True)
    assert rows(registry, "k") == [1, 2]


@pytest.mark.parametrize("publish_when", ["on_close", "on_commit"])
def test_the_newest_writer_has_the_key_and_an_older_one_cannot_touch_what_it_publishes(
    registry: Registry, publish_when: Any
) -> None:
    run = registry.attach(registry.insert_run("p", publish=publish_when))
    lost = run.dataset("k", key="a")  # its worker is cut off, and works on
    with lost.open("left-over.parquet", "wb") as file:
        pq.write_table(numbers(7), file)
    published = write(run, "k", 1, 2, key="a")
    lost.write_table(numbers(9))
    with pytest.raises(InvalidState, match=r"begun again|aborted") as caught:
        lost.commit()
    assert caught.value.committed == "no"
    registry.close_run(run.id, True)
    lost._put([Upload(lost._prefix + "part-00000.parquet", b"late")], [("part-00000.parquet", None)])
    assert rows(registry, "k") == [1, 2]
    registry.get_dataset(published).verify()


def test_a_dataset_of_an_aborted_run_whose_bytes_are_collected_says_that_the_run_was_aborted(
    registry: Registry,
) -> None:
    run = registry.attach(registry.insert_run("p"))
    dataset = write(run, "k", 1)
    root = registry.get_dataset(dataset).root
    registry.close_run(run.id, False)
    registry.collect(dry_run=False)
    with refused(RunAborted, registry):
        registry.commit_dataset(dataset, root, 1)


def test_a_dataset_that_nobody_wrote_to_is_refused_instead_of_emptying_the_table(registry: Registry) -> None:
    publish(registry, "k", 1)
    for touch in (lambda ds: None, lambda ds: ds.root):
        expected = pytest.raises(InvalidInput, match="Nothing was written")
        with expected as caught, registry.run("p") as run, run.dataset("k") as ds:
            touch(ds)
        assert caught.value.committed == "no"
        assert rows(registry, "k") == [1]
    run = registry.attach(registry.insert_run("p"))
    empty = registry.begin_dataset("k", run.id)
    registry.commit_dataset(empty, registry.get_dataset(empty).root, 0)
    registry.close_run(run.id, True)
    assert rows(registry, "k") == []
