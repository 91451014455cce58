"""Tables of pyarrow, pandas and polars: exact types, order, labels and metadata."""

from __future__ import annotations

import uuid
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from folder_payload import stored, there_and_back

from prefect_registry.errors import ConfigurationError, InvalidInput
from prefect_registry.objects.materializers.registered import Materializers

WIDE = pa.table(
    {
        "i": pa.array([1, None], pa.int8()),
        "f": pa.array([float("nan"), None], pa.float16()),
        "s": pa.array(["a", "ü"], pa.large_string()),
        "v": pa.array(["a", None], pa.string_view()),
        "b": pa.array([b"x", None], pa.binary(1)),
        "t": pa.array([datetime(2020, 1, 1), None], pa.timestamp("us", "Europe/Berlin")),
        "d": pa.array([Decimal("1.10"), None], pa.decimal128(5, 2)),
        "l": pa.array([[1], None], pa.list_(pa.field("x", pa.int64(), nullable=False))),
        "st": pa.array([{"a": 1, "b": [None]}, None], pa.struct({"a": pa.int8(), "b": pa.list_(pa.string())})),
        "m": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        "di": pa.array(["p", None]).dictionary_encode(),
        "n": pa.nulls(2),
        "u": pa.array([uuid.UUID(int=1).bytes, None], pa.uuid()),
    }
).replace_schema_metadata({"k": "v"})


@pytest.mark.parametrize(
    "value",
    [
        WIDE,
        WIDE.slice(1, 1),
        WIDE.slice(0, 0),
        pa.table({}),
        WIDE.select([]),
        pa.table([[1], [2]], names=["same", "same"]),
        pa.table({"a": pa.chunked_array([[1], [], [2, 3]])}),
        WIDE.to_batches()[0],
        WIDE.slice(0, 0).combine_chunks(),
        pa.array([1, None, 3])[1:],
        pa.array([], pa.struct({"a": pa.int8()})),
        WIDE["di"],
        WIDE["u"].chunk(0),
        WIDE.schema,
        pa.schema([pa.field("a", pa.int8(), nullable=False, metadata={"f": "g"})]),
    ],
    ids=lambda v: type(v).__name__,
)
def test_arrow_comes_back(value: Any) -> None:
    """Tables, batches, arrays and schemas with all their metadata."""
    back = there_and_back(Materializers(), value)
    assert type(back) is type(value)
    if isinstance(value, pa.Schema):
        assert back.equals(value, check_metadata=True)
    elif hasattr(value, "schema"):
        assert back.schema.equals(value.schema, check_metadata=True)
        assert (back.num_rows, repr(back.to_pylist())) == (value.num_rows, repr(value.to_pylist()))
    else:
        assert back.type == value.type
        assert back.equals(value)


class Celsius(pa.ExtensionType):
    def __init__(self) -> None:
        super().__init__(pa.float64(), "tests.celsius")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: Any, serialized: bytes) -> Celsius:
        return cls()


def test_a_type_of_somebody_elses_is_not_silently_its_storage() -> None:
    """Where it is not registered, saving and loading say so."""
    table = pa.table({"t": pa.ExtensionArray.from_storage(Celsius(), pa.array([1.5]))})
    with pytest.raises(InvalidInput, match="schema would come back different"):
        stored(Materializers(), table)
    pa.register_extension_type(Celsius())
    try:
        assert there_and_back(Materializers(), table).equals(table)
        name, payload = stored(Materializers(), table)
    finally:
        pa.unregister_extension_type("tests.celsius")
    with pytest.raises(ConfigurationError, match=r"tests\.celsius, which Arrow does not know"):
        Materializers().named(name).load(payload)


def test_storage_of_an_unknown_type_comes_back_as_storage() -> None:
    """As Arrow has read it, of a file whose types are not registered here: it was storage when it was saved."""
    storage = pa.field("g", pa.float64(), metadata={"ARROW:extension:name": "geo.point"})
    table = pa.table([[1.5]], schema=pa.schema([storage]))
    for value in (table, ds.dataset(table)):
        for lazy in (False, True):
            name, payload = stored(Materializers(), value, lazy=lazy)
            back = Materializers().named(name).load(payload)
            assert back.schema.equals(table.schema, check_metadata=True)
            assert (back.to_table() if isinstance(back, ds.Dataset) else back).equals(table)


def test_a_filtered_dataset_is_what_its_filter_leaves(tmp_path: Path) -> None:
    """Of files, and several datasets together."""
    pq.write_table(pa.table({"x": [1, 2, 3]}), tmp_path / "f.parquet")
    files = ds.dataset(tmp_path / "f.parquet")
    for value in (files.filter(ds.field("x") > 1), ds.dataset([files, files]).filter(ds.field("x") > 1)):
        assert there_and_back(Materializers(), value).to_table().equals(value.to_table())


def test_a_lazy_table_reads_the_columns_that_are_used() -> None:
    """It comes as a dataset, of which one column of ten takes about a tenth of the bytes."""
    table = pa.table({f"c{n}": np.random.default_rng(n).random(100_000) for n in range(10)})
    name, payload = stored(Materializers(), table, lazy=True)
    back = Materializers().named(name).load(payload)
    assert isinstance(back, ds.Dataset)
    counted = Counting(payload)
    back = Materializers().named(name).load(counted)
    assert back.to_table(columns=["c3"]).equals(table.select(["c3"]))
    assert counted.bytes_read < payload.size("table.arrow") / 5
    assert back.to_table().equals(table)


def Counting(payload: Any) -> Any:
    """The payload, which counts the bytes that are read of its files."""

    class Counted(type(payload)):  # type: ignore[misc]
        bytes_read = 0

        def open(self, path: str) -> Any:
            file, outer = (self.folder / path).open("rb"), self

            class Reader:
                closed = property(lambda self: file.closed)
                seek, tell, close = file.seek, file.tell, file.close

                def read(self, size: int = -1) -> bytes:
                    data = file.read(size)
                    outer.bytes_read += len(data)
                    return data

            return Reader()

    return Counted(payload.folder, payload.init, lazy=True)


def test_datasets_come_back(tmp_path: Path) -> None:
    """Of files, with the columns that folders' names say, and in memory; lazily, and as files of one's own."""
    pq.write_to_dataset(pa.table({"y": [1, 1, 2], "x": ["a", "b", "c"]}), tmp_path / "d", partition_cols=["y"])
    for value in (ds.dataset(tmp_path / "d", partitioning="hive"), ds.dataset(WIDE)):
        for lazy in (False, True):
            name, payload = stored(Materializers(), value, lazy=lazy)
            back = Materializers().named(name).load(payload)
            assert back.schema.equals(value.schema, check_metadata=True)
            assert repr(back.to_table().to_pylist()) == repr(value.to_table().to_pylist())
    assert back.to_table(columns=["i"], filter=ds.field("i") == 1).num_rows == 1


# pandas ---------------------------------------------------------------------------------------------------------------

COLUMNS: dict[str, Any] = {
    "ints": np.array([1, 2], "i1"),
    "unsigned": np.array([1, 2], "u8"),
    "big-endian": np.array([1, 2], ">i4"),
    "floats": [1.5, np.nan],
    "half": np.array([1.5, -0.0], "f2"),
    "bools": [True, False],
    "texts": ["a", None],
    "objects": pd.Series(["a", None], dtype=object),
    "surrogates": pd.Series(["\ud800", "b"], dtype=object),
    "values": pd.Series([(1, {2}), {"a": b"x"}], dtype=object),
    "nan and None": pd.Series([np.nan, None], dtype=object),
    "bools and None": pd.Series([True, None], dtype=object),
    "Int64": pd.array([1, None], dtype="Int64"),
    "Float32": pd.array([1.5, None], dtype="Float32"),
    "boolean": pd.array([True, None], dtype="boolean"),
    "string[python]": pd.array(["a", None], dtype="string[python]"),
    "string[pyarrow]": pd.array(["a", None], dtype="string[pyarrow]"),
    "int64[pyarrow]": pd.array([1, None], dtype="int64[pyarrow]"),
    "list[pyarrow]": pd.Series([[1], None], dtype=pd.ArrowDtype(pa.list_(pa.int8()))),
    "dates": pd.to_datetime(["2020-01-01", None]).as_unit("s"),
    "nanoseconds": pd.to_datetime([1, 2], unit="ns"),
    "zoned": pd.to_datetime(["2020-10-25 02:30", None]).tz_localize("Europe/Berlin", ambiguous=[True, True]),
    "fixed offset": pd.to_datetime(["2020-01-01T00:00+02:00"] * 2),
    "spans": pd.to_timedelta([1, None], unit="s"),
    "periods": pd.period_range("2020", periods=2, freq="M"),
    "intervals": pd.interval_range(0, 2, closed="left"),
    "categories": pd.Categorical(["b", None], categories=["b", "a", "unused"], ordered=True),
    "numbered categories": pd.Categorical([10, 20]),
    "dated categories": pd.Categorical(pd.to_datetime(["2020", "2021"])),
    "binned": pd.cut([1, 2, 3], 2),
    "dated bins": pd.cut(pd.date_range("2020", periods=3, freq="D"), 2),
    "categories of months": pd.Categorical(pd.period_range("2020", periods=2, freq="M"), ordered=True),
    "categories of nullable numbers": pd.Categorical(pd.array([2, None, 1], dtype="Int64")),
    "categories of texts": pd.Categorical(pd.array(["b", None, "a"], dtype="string")),
    "categories at intervals": pd.Categorical(pd.date_range("2020", periods=2, freq="D", tz="Europe/Berlin")),
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_columns_of_pandas_come_back(column: Any) -> None:
    """In a frame, as a series and as an index; dtype and all."""
    series = pd.Series(column, name="c")
    frame = pd.DataFrame({"c": series, "again": series})
    back = there_and_back(Materializers(), frame)
    pd.testing.assert_frame_equal(back, frame, check_exact=True, check_freq=True)
    assert [repr(d) for d in back.dtypes] == [repr(d) for d in frame.dtypes]
    assert [[type(v) for v in back[c]] for c in frame] == [[type(v) for v in frame[c]] for c in frame]
    pd.testing.assert_series_equal(there_and_back(Materializers(), series), series, check_exact=True)


@pytest.mark.parametrize("name", ["binned", "dated bins", "categories of months", "categories at intervals"])
def test_categories_of_any_kind_are_wherever_categories_can_be(name: str) -> None:
    """As an index, a level of one, the labels of groups, and in a container; frequency and type of categories too."""
    values = pd.Categorical(COLUMNS[name])
    index = pd.CategoricalIndex(values, name="c")
    grouped = pd.DataFrame({"x": range(len(index))}).groupby(values, observed=False).mean()
    levels = pd.MultiIndex.from_product([index, ["a", "b"]])
    for back in (there_and_back(Materializers(), index), there_and_back(Materializers(), {"i": [index]})["i"][0]):
        pd.testing.assert_index_equal(back, index, exact=True)
        pd.testing.assert_index_equal(back.categories, index.categories, exact=True)
        assert getattr(back.categories, "freq", None) == getattr(index.categories, "freq", None)
    pd.testing.assert_frame_equal(there_and_back(Materializers(), grouped), grouped)
    back = there_and_back(Materializers(), levels)
    pd.testing.assert_index_equal(back, levels, exact=True)
    assert [repr(level) for level in back.levels] == [repr(level) for level in levels.levels]


@pytest.mark.parametrize("name", [n for n, c in COLUMNS.items() if isinstance(c, pd.Categorical)])
def test_categories_are_there_without_rows(name: str) -> None:
    """What a filter leaves when nothing passes has the same dtype, in a series, a frame and an index."""
    frame = pd.DataFrame({"c": COLUMNS[name], "x": 1})[:0]
    back = there_and_back(Materializers(), frame)
    pd.testing.assert_frame_equal(back, frame)
    series = there_and_back(Materializers(), frame["c"])
    for other in (back["c"], series, there_and_back(Materializers(), pd.Index(frame["c"]))):
        assert repr(other.dtype) == repr(frame["c"].dtype)
        assert list(other.dtype.categories) == list(frame["c"].dtype.categories)


@pytest.mark.parametrize(
    "scalar",
    [
        pd.Timestamp("2020-10-25 00:30", tz="UTC").tz_convert("Europe/Berlin"),
        pd.Timestamp("2020-10-25 01:30", tz="UTC").tz_convert("Europe/Berlin"),
        pd.Timestamp(1, unit="ns"),
        pd.Timestamp("0001-01-01").as_unit("s"),
        pd.Timestamp("2020", tz="+05:30"),
        pd.Timedelta(5, unit="ms"),
        pd.Timedelta.min,
        pd.Period("2020-01", "W-TUE"),
        pd.Period("2020", freq="3D"),
        pd.NaT,
        pd.NA,
        np.int64(3),
        np.datetime64("2020", "M"),
    ],
    ids=repr,
)
def test_scalars_are_names_and_values_of_objects(scalar: Any) -> None:
    """The name of a row is what its index holds; a column of anything holds instants; so do ``attrs``."""
    series = pd.Series([scalar, "a", None], dtype=object, name=scalar)
    series.attrs = {"at": scalar}
    back = there_and_back(Materializers(), series)
    for one, other in ((back.name, scalar), (back[0], scalar), (back.attrs["at"], scalar)):
        assert (type(one), repr(one)) == (type(other), repr(other))
        assert getattr(one, "unit", None) == getattr(other, "unit", None)
    frame = pd.DataFrame({"x": [1, 2]}, index=[scalar, scalar])
    assert repr(there_and_back(Materializers(), frame.iloc[0]).name) == repr(frame.iloc[0].name)


def test_a_dictionary_of_a_type_that_a_file_does_not_keep_is_refused() -> None:
    """What Arrow would write and could not read again is never stored."""
    ids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"a" * 16], pa.binary(16)))
    column = pa.DictionaryArray.from_arrays(pa.array([0, 0], pa.int8()), ids)
    with pytest.raises(InvalidInput, match=r"'u' of dtype dictionary.*would change"):
        stored(Materializers(), pd.DataFrame({"u": pd.arrays.ArrowExtensionArray(pa.chunked_array([column]))}))


@pytest.mark.parametrize(
    "freq",
    [
        pd.offsets.CustomBusinessDay(holidays=["2020-01-01"]),
        pd.offsets.Easter(),
        pd.DateOffset(months=1, days=2),
        pd.offsets.BusinessHour(start="10:00"),
    ],
    ids=repr,
)
def test_a_frequency_without_a_name_is_refused(freq: Any) -> None:
    """Of an index and of categories; the error says which frequency, and that it may be removed."""
    index = pd.date_range("2020", periods=3, freq=freq)
    with pytest.raises(InvalidInput, match=r"frequency .* cannot be told by a name.*index.freq = None"):
        stored(Materializers(), pd.Series(range(3), index=index))
    with pytest.raises(InvalidInput, match=r"frequency .* cannot be told by a name"):
        stored(Materializers(), pd.Categorical(index).categories)
    with pytest.raises(InvalidInput, match=r"frequency .* cannot be told by a name"):
        stored(Materializers(), pd.Series(pd.Categorical(index)))


DAYS = pd.date_range("2020", periods=3, freq="D", name="day")
INDEXES: dict[str, Any] = {
    "range": pd.RangeIndex(5, 11, 3, name="r"),
    "texts": pd.Index(["a", None], name=("x", 1)),
    "objects": pd.Index([1, "a", (1, 2)], dtype=object, tupleize_cols=False),
    "days": DAYS,
    "hours in a zone": pd.date_range("2020-10-25", periods=30, freq="2h", tz="Europe/Berlin"),
    "business days": pd.bdate_range("2020", periods=3),
    "no frequency": DAYS[[0, 2, 1]],
    "spans": pd.timedelta_range("1h", periods=3),
    "periods": pd.period_range("2020", periods=2, freq="Q"),
    "categories": pd.CategoricalIndex(["a", "b", "a"], categories=["b", "a"], ordered=True),
    "intervals": pd.IntervalIndex.from_breaks([0.0, 1.5, 2]),
    "levels": pd.MultiIndex.from_product([["a", "b"], DAYS], names=["l", None])[:4],
    "levels with gaps": pd.MultiIndex.from_arrays([[1, None, 1], ["x", "y", None]]),
    "empty": pd.Index([], dtype="float32"),
}


@pytest.mark.parametrize("index", INDEXES.values(), ids=INDEXES)
def test_indexes_of_pandas_come_back(index: Any) -> None:
    """On their own, as rows and as columns, with names and frequency."""
    frame = pd.DataFrame(np.zeros((len(index), len(index))), index=index, columns=index)
    whole = there_and_back(Materializers(), frame)
    for back in (there_and_back(Materializers(), index), whole.index, whole.columns):
        pd.testing.assert_index_equal(back, index, exact=True, check_exact=True)
        assert getattr(back, "freq", None) == getattr(index, "freq", None)
        assert back.names == index.names
        if isinstance(index, pd.MultiIndex):
            assert [list(level) for level in back.levels] == [list(level) for level in index.levels]
    pd.testing.assert_frame_equal(whole, frame)


def test_frames_keep_what_is_not_in_columns() -> None:
    """Labels that are equal, attrs, flags, no columns, no rows; and what comes back can be changed."""
    frame = pd.DataFrame([[1, 2.0]], columns=["a", "a"])
    frame.attrs = {"source": ("x", 1)}
    back = there_and_back(Materializers(), frame)
    pd.testing.assert_frame_equal(back, frame)
    assert back.attrs == frame.attrs
    strict = pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False)
    assert not there_and_back(Materializers(), strict).flags.allows_duplicate_labels
    for empty in (pd.DataFrame(), pd.DataFrame(index=[3, 4]), pd.DataFrame({"a": []})):
        pd.testing.assert_frame_equal(there_and_back(Materializers(), empty), empty)
    back = there_and_back(Materializers(), pd.DataFrame({"a": [1, 2], "b": [1.5, 2.5]}))
    back.loc[0, "a"] = 5
    back["b"] *= 2
    assert back.to_dict("list") == {"a": [5, 2], "b": [3.0, 5.0]}


@pytest.mark.parametrize(
    "scalar",
    [
        pd.Timestamp("2020-07-25 02:30", tz="Europe/Berlin"),
        pd.Timestamp("2020").as_unit("s"),
        pd.Timestamp(1, unit="ns"),
        pd.Timedelta(5, unit="ms"),
        pd.Period("2020-01", "M"),
        pd.Interval(1.5, 2, closed="both"),
        pd.Interval(1, 2.5),
        pd.Interval(1, 2, closed="neither"),
        pd.Interval(np.int64(1), np.int64(2)),
        pd.Interval(pd.Timestamp("2020", tz="Europe/Berlin"), pd.Timestamp("2021", tz="Europe/Berlin")),
        pd.NaT,
        pd.NA,
    ],
    ids=repr,
)
def test_scalars_of_pandas_come_back(scalar: Any) -> None:
    """On their own and in containers; an instant is no datetime of Python, and has its unit."""
    for back in (there_and_back(Materializers(), scalar), there_and_back(Materializers(), {"at": scalar})["at"]):
        assert type(back) is type(scalar)
        assert back is scalar or back == scalar
        assert getattr(back, "unit", None) == getattr(scalar, "unit", None)
        if isinstance(scalar, pd.Interval):
            assert (type(back.left), type(back.right)) == (type(scalar.left), type(scalar.right))


class Geo(pd.DataFrame):
    pass


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])}), "'a' of dtype Sparse.*is sparse"),
        (pd.DataFrame({"z": [1j]}), "'z' of dtype complex128.*no type"),
        (pd.DataFrame({"o": [object()]}), "'o' of dtype object.*object"),
        (pd.DataFrame({"o": [np.arange(2), None]}), "'o' of dtype object.*files of their own"),
        (pd.Series([pd.Interval(0, 1), 1], dtype=object), "dtype object.*files of their own"),
        (pd.Interval(1, np.float32(2)), "would come back as Interval"),
        (pd.Interval(pd.Timestamp("2020").as_unit("s"), pd.Timestamp("2021").as_unit("ns")), "come back"),
        (Geo({"a": [1]}), "Geo would come back as pandas"),
        (pd.DataFrame({"a": [1]}, index=[object()]), "dtype object would change"),
    ],
)
def test_what_pandas_would_lose_is_refused(value: Any, why: str) -> None:
    """The column is named, with the reason."""
    with pytest.raises(InvalidInput, match=why):
        stored(Materializers(), value)


def test_attrs_that_cannot_be_kept_are_refused() -> None:
    """They are part of the frame."""
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"x": object()}
    with pytest.raises(InvalidInput, match="Its attrs cannot be kept"):
        stored(Materializers(), frame)


# polars ---------------------------------------------------------------------------------------------------------------

POLARS = pl.DataFrame(
    {
        "i": pl.Series([1, None], dtype=pl.Int8),
        "big": pl.Series([2**100, None], dtype=pl.Int128),
        "f": [float("nan"), None],
        "s": ["a", None],
        "b": [b"x", None],
        "d": [date(2020, 1, 1), None],
        "t": [time(1, 2), None],
        "at": pl.Series([datetime(2020, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")), None]),
        "span": [timedelta(seconds=1), None],
        "dec": pl.Series([Decimal("1.10"), None], dtype=pl.Decimal(10, 2)),
        "l": [[1, None], None],
        "arr": pl.Series([[1, 2], None], dtype=pl.Array(pl.Int8, 2)),
        "st": [{"a": 1, "b": ["x"]}, None],
        "cat": pl.Series(["q", None], dtype=pl.Categorical),
        "en": pl.Series(["y", None], dtype=pl.Enum(["x", "y"])),
        "null": [None, None],
    }
)


@pytest.mark.parametrize("value", [POLARS, POLARS.clear(), pl.DataFrame(), *POLARS.get_columns(), pl.Series([1])])
def test_polars_comes_back(value: Any) -> None:
    """Frames and series with the same types."""
    back = there_and_back(Materializers(), value)
    assert type(back) is type(value)
    assert back.equals(value)
    if isinstance(value, pl.Series):
        assert (back.name, back.dtype) == (value.name, value.dtype)
    else:
        assert back.schema == value.schema


def test_a_lazy_frame_of_polars_is_a_query() -> None:
    """It reads the columns that are used, with the types of the frame."""
    for frame in (
        POLARS.drop("big", "t", "arr"),
        POLARS,
    ):  # pyarrow knows the types of the first, and not of the second
        name, payload = stored(Materializers(), frame, lazy=True)
        back = Materializers().named(name).load(payload)
        assert isinstance(back, pl.LazyFrame)
        assert back.collect_schema() == frame.schema
        picked = back.filter(pl.col("s") == "a").select("en", "cat", "i").collect()
        assert picked.equals(frame.select("en", "cat", "i")[:1])


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (POLARS.lazy(), r"a query.*collect\(\)"),
        (pl.DataFrame({"o": pl.Series([object()], dtype=pl.Object)}), "columns o hold Python objects"),
        (pl.Series("o", [object()], dtype=pl.Object), "columns o hold Python objects"),
    ],
)
def test_what_polars_would_lose_is_refused(value: Any, why: str) -> None:
    """With what to do instead."""
    with pytest.raises(InvalidInput, match=f"(?i){why}"):
        stored(Materializers(), value)


@pytest.mark.parametrize(
    "dtype", [pl.Array(pl.Int8, 0), pl.List(pl.Array(pl.Int8, 0)), pl.Struct({"a": pl.Array(pl.Int8, 0)})], ids=repr
)
def test_what_polars_cannot_read_again_is_refused(dtype: Any) -> None:
    """Found out by reading the bytes of some rows, also of a table too large to read as a whole."""
    value = {"a": []} if isinstance(dtype, pl.Struct) else [[]] if isinstance(dtype, pl.List) else []
    for values in ([value], [None] * 500 + [value]):
        series = pl.Series("a", values, dtype=dtype)
        wide = pl.DataFrame([series, pl.Series("b", [b"x" * (1 << 16)] * len(values))])
        for refused in (series, wide):
            with pytest.raises(InvalidInput, match="Polars cannot read again"):
                stored(Materializers(), refused)


def test_tables_lie_in_containers() -> None:
    """Of all three libraries, in one."""
    value = {"a": pa.table({"x": [1]}), "p": [pd.DataFrame({"x": [1]})], "q": (pl.DataFrame({"x": [1]}),)}
    back = there_and_back(Materializers(), value)
    assert back["a"].equals(value["a"])
    pd.testing.assert_frame_equal(back["p"][0], value["p"][0])
    assert back["q"][0].equals(value["q"][0])
