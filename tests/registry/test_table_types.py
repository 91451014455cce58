"""The types of a table: of columns that folders spell, of files that differ, of what lies elsewhere."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefect_registry import Registry
from prefect_registry.errors import IntegrityError, InvalidInput


def publish_table(registry: Registry, table: pa.Table, mode: Any = "append", **options: Any) -> None:
    """One run that publishes the rows as kind ``k``."""
    partition = options.pop("partition", None)
    with registry.run("p") as run, run.dataset("k", mode=mode, partition=partition) as ds:
        ds.write_table(table, **options)


# -- partitions that folders spell -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "given"),
    [
        (7.0, 7.0),
        (7.0, 7),
        (1e-7, 1e-7),
        (7, 7.0),
        (datetime(2026, 7, 1), "2026-07-01T00:00:00"),
        (datetime(2026, 7, 1), "2026-07-01 00:00:00"),
        (datetime(2026, 7, 1), "2026-07-01"),
        (datetime(2026, 7, 1, 12, 30), "2026-07-01T12:30"),
        (date(2026, 7, 1), "2026-07-01"),
        (time(12, 30), "12:30:00"),
        (True, True),
        (None, None),
    ],
)
def test_a_partition_is_replaced_whichever_way_its_value_is_spelled(memory: Registry, written: Any, given: Any) -> None:
    """What was written by ``partition_by`` is hidden by the value, not by the text that Arrow made of it."""
    values = [written, written] if written is not None else pa.nulls(2, pa.float64())
    publish_table(memory, pa.table({"p": values, "v": [1, 2]}), partition_by="p")
    replacing = {"mode": "replace_partitions", "partition": {"p": given}, "partition_by": "p"}
    publish_table(memory, pa.table({"p": values, "v": [3, 4]}), **replacing)
    assert memory.table("k").to_table()["v"].to_pylist() == [3, 4]


def test_a_text_that_looks_like_a_number_is_not_one(memory: Registry) -> None:
    """``7`` and ``7.0`` are two partitions of a column of texts."""
    publish_table(memory, pa.table({"p": ["7", "7.0"], "v": [1, 2]}), partition_by="p")
    publish_table(memory, pa.table({"p": ["7"], "v": [3]}), "replace_partitions", partition={"p": "7"})
    assert memory.table("k").to_table()["v"].to_pylist() == [2, 3]


def test_a_table_without_rows_keeps_the_columns_that_folders_would_spell(memory: Registry) -> None:
    """Whoever selects the partition column of an empty table gets an empty column, and no error."""
    publish_table(memory, pa.table({"p": pa.array([], pa.int32()), "v": pa.array([], pa.int64())}), partition_by="p")
    assert memory.table("k").to_table(["p", "v"]).schema == pa.schema([("p", pa.int32()), ("v", pa.int64())])
    publish_table(memory, pa.table({"p": pa.array([7], pa.int32()), "v": [1]}), partition_by="p")
    assert memory.table("k").to_table(["p", "v"]).to_pylist() == [{"p": 7, "v": 1}]


# -- files that differ -----------------------------------------------------------------------------------------------


def test_a_column_that_older_files_lack_may_be_null_in_the_table(memory: Registry) -> None:
    """Parquet, for one, refuses rows with nulls whose schema says that there are none."""
    fields = [pa.field("v", pa.int64(), nullable=False), pa.field("new", pa.int64(), nullable=False)]
    publish_table(memory, pa.table({"v": [1]}, schema=pa.schema(fields[:1])))
    publish_table(memory, pa.table({"v": [2], "new": [3]}, schema=pa.schema(fields)))
    found = memory.table("k").to_table()
    assert [field.nullable for field in found.schema] == [False, True]
    publish_table(memory, found)
    assert memory.table("k").to_table()["new"].to_pylist() == [None, 3, None, 3]


@pytest.mark.parametrize(
    ("older", "newer"),
    [([2**60 + 1], [1.5]), ([1], [Decimal("1.10")]), ([datetime(9999, 1, 1)], pa.array([1], pa.timestamp("ns")))],
)
def test_values_that_no_common_type_holds_are_not_taken_for_damage(memory: Registry, older: Any, newer: Any) -> None:
    """Nobody is told to restore or revert files that are whole."""
    publish_table(memory, pa.table({"v": older}))
    publish_table(memory, pa.table({"v": newer}))
    with pytest.raises(InvalidInput, match="do not go together"):
        memory.table("k").to_table()
    assert [d.to_table().num_rows for d in memory.table("k").datasets()] == [1, 1]


def test_a_folder_that_spells_no_value_of_its_column_is_told(memory: Registry) -> None:
    """Another program has written a text where the column was an integer."""
    publish_table(memory, pa.table({"p": [7], "v": [1]}), partition_by="p")
    with memory.run("p") as run, run.dataset("k", mode="append") as ds:
        ds.write_table(pa.table({"v": [2]}), path="p=seven/a.parquet")
    with pytest.raises(InvalidInput, match="seven"):
        memory.table("k").to_table()


def test_a_damaged_file_is_still_damaged(local: Registry) -> None:
    """Without the check of its sha256, too."""
    publish_table(local, pa.table({"v": [1]}))
    path = Path(local.table("k").files()[0])
    path.write_bytes(path.read_bytes()[:-10] + bytes(10))
    with pytest.raises(IntegrityError):
        local.table("k").to_table(verify=False)


def test_a_partition_column_that_could_not_be_read_back_is_refused(memory: Registry) -> None:
    """A table of a type that Arrow writes into folders, and does not read from them, is never published."""
    with pytest.raises(InvalidInput, match="string_view"):
        publish_table(memory, pa.table({"p": pa.array(["a"], pa.string_view()), "v": [1]}), partition_by="p")


# -- what lies elsewhere ---------------------------------------------------------------------------------------------


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder of another program, with a folder for each month."""
    for month in (1, 2):
        (tmp_path / "foreign" / f"month={month}").mkdir(parents=True)
        pq.write_table(pa.table({"v": [month]}), tmp_path / "foreign" / f"month={month}" / "a.parquet")
    (tmp_path / "foreign" / "_SUCCESS").touch()
    return tmp_path / "foreign"


def test_the_files_of_a_table_are_also_those_that_it_refers_to(memory: Registry, foreign: Path) -> None:
    """Engines that are given the files read the same rows as ``to_table``."""
    with memory.run("p") as run:
        run.adopt(str(foreign), "k", how="reference")
        run.adopt(f"{foreign}/month=1/a.parquet", "one", how="reference")
    assert memory.table("k").files() == [f"{foreign}/month={month}/a.parquet" for month in (1, 2)]
    assert memory.table("one").files() == [f"{foreign}/month=1/a.parquet"]
    for file in foreign.rglob("*.parquet"):
        file.unlink()
    with pytest.raises(IntegrityError, match="no file"):
        memory.table("one").files()


def test_partitions_of_what_is_referred_to_are_replaced_too(memory: Registry, foreign: Path) -> None:
    """A partition that was published anew is not read a second time from where the old one lies."""
    with memory.run("p") as run:
        run.adopt(str(foreign), "k", how="reference")
    for month in (1, 2):
        rows = pa.table({"month": [month], "v": [10 * month]})
        publish_table(memory, rows, "replace_partitions", partition={"month": month}, partition_by="month")
        found = memory.table("k")
        assert found.to_table().sort_by("v")["v"].to_pylist() == [[2, 10], [10, 20]][month - 1]
        assert len(found.files()) == 2
        assert found.rows is None
