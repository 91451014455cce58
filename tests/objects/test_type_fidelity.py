"""Arrays and tables of any type: equal in value and type after they were saved and loaded, or refused by save."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from folder_payload import stored
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn
from hypothesis.extra import pandas as hp
from polars.testing.parametric import dataframes

from prefect_registry.errors import InvalidInput
from prefect_registry.objects.materializers.registered import Materializers

DTYPES = st.one_of(
    hn.scalar_dtypes(),
    hn.byte_string_dtypes(),
    hn.unicode_string_dtypes(),
    hn.array_dtypes(allow_subarrays=True),
    hn.nested_dtypes(max_leaves=4),
)
SHAPES = hn.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)


def back_or_refused(value: Any) -> Any:
    """What comes back, or ``None`` when saving has refused it; every other error is one."""
    materializers = Materializers()
    with tempfile.TemporaryDirectory() as folder, np.errstate(over="ignore"):
        try:
            name, payload = stored(materializers, value, folder=Path(folder) / "o")
        except InvalidInput:
            return None
        return materializers.named(name).load(payload)


@st.composite
def _arrays(draw: Any) -> Any:
    """Arrays of any memory layout, and their scalars."""
    array = draw(hn.arrays(draw(DTYPES), draw(SHAPES)))
    change = draw(st.sampled_from(["none", "reversed", "transposed", "scalar", "masked"]))
    if change == "masked":
        with np.errstate(over="ignore"):  # numpy's own fill values do not fit all of its own types
            return np.ma.array(array, mask=draw(hn.arrays(bool, array.shape)))
    if change == "scalar" and array.size:
        return array.flat[0]
    return {"reversed": array[..., ::-1] if array.ndim else array, "transposed": array.T}.get(change, array)


@settings(max_examples=60)
@given(_arrays())
def test_arrays_of_numpy_are_the_same_or_refused(value: Any) -> None:
    """Every dtype that numpy has, nested ones too: class, dtype, shape, bytes and mask."""
    back = back_or_refused(value)
    if back is None:
        return
    assert type(back) is type(value)
    if isinstance(value, (np.ndarray, np.generic)):
        assert (back.dtype, repr(back.dtype), back.shape) == (value.dtype, repr(value.dtype), value.shape)
        assert np.asarray(back).tobytes() == np.asarray(value).tobytes()
    if isinstance(value, np.ma.MaskedArray):
        assert np.ma.getmaskarray(back).tobytes() == np.ma.getmaskarray(value).tobytes()


COLUMN_DTYPES = st.one_of(
    hn.boolean_dtypes(),
    hn.integer_dtypes(endianness="="),
    hn.unsigned_integer_dtypes(endianness="="),
    hn.floating_dtypes(endianness="=", sizes=(32, 64)),
    hn.datetime64_dtypes(max_period="s", min_period="ns", endianness="="),
    hn.timedelta64_dtypes(max_period="s", min_period="ns", endianness="="),
)
OBJECTS = st.one_of(st.none(), st.text(max_size=3), st.integers(), st.floats(), st.booleans(), st.binary(max_size=2))
CHANGES: dict[str, Any] = {
    **{
        name: lambda series, name=name: series.astype(name)
        for name in (
            *("Int8", "UInt64", "Float32", "boolean", "string", "category", "timedelta64[s]", "datetime64[ms, UTC]"),
            *("datetime64[ns, Europe/Berlin]", "int16[pyarrow]", "Sparse[int]"),
        )
    },
    "none": lambda series: series,
    "binned": lambda series: pd.Series(pd.cut(series, 2)),
    "intervals": lambda series: pd.Series(pd.IntervalIndex.from_breaks(series.sort_values())),
    "periods": lambda series: series.dt.to_period("D"),
    "categories of Int64": lambda series: series.astype("Int64").astype("category"),
    "categories of periods": lambda series: series.dt.to_period("D").astype("category"),
    "index": lambda series: pd.Series(range(len(series)), index=pd.Index(series)),
}


@st.composite
def _series(draw: Any) -> Any:
    """Columns of numpy's types, of objects of Python's, and of those that pandas has beside."""
    plain = hp.series(dtype=draw(COLUMN_DTYPES), index=hp.range_indexes(max_size=4))
    made = draw(st.one_of(plain, st.lists(OBJECTS, max_size=4).map(lambda v: pd.Series(v, dtype=object))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return CHANGES[draw(st.sampled_from(list(CHANGES)))](made)
        except (AttributeError, TypeError, ValueError, ArithmeticError, NotImplementedError):
            return made  # pandas has no such form of these values


@settings(max_examples=100)
@given(_series())
def test_columns_of_pandas_are_the_same_or_refused(value: Any) -> None:
    """Values, each with its class, dtype and index; of categories also those that are not used."""
    back = back_or_refused(value)
    if back is None:
        return
    pd.testing.assert_series_equal(back, value, check_exact=True, check_index_type="exact", check_freq=True)
    assert (repr(back.dtype), repr(back.index.dtype)) == (repr(value.dtype), repr(value.index.dtype))
    for one, other in ((back, value), (back.index, value.index)):
        if other.dtype == object:  # pandas cannot write all instants that its other types can hold
            assert [(type(v), repr(v)) for v in one] == [(type(v), repr(v)) for v in other]


@settings(max_examples=30)
@given(dataframes(max_cols=4, max_size=6, allow_chunks=True))
def test_frames_of_polars_are_the_same_or_refused(value: Any) -> None:
    """Every type that polars has, nested ones too, with nulls."""
    back = back_or_refused(value)
    if back is not None:
        assert (type(back), back.schema) == (pl.DataFrame, value.schema)
        assert back.equals(value, null_equal=True)
