"""One column of pandas as one of Arrow, and back: the same dtype, the same values, each checked when it is saved."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from prefect_registry.errors import FormatError, InvalidInput
from prefect_registry.objects.materializers import ipc
from prefect_registry.objects.materializers.builtin import Context, damaged, refused
from prefect_registry.objects.materializers.decoding import Decoder
from prefect_registry.objects.materializers.encoding import Encoder, dumps

Facts = dict[str, Any]
_PLAIN_KINDS = "biufmM"


class Vectors:
    """Encodes and decodes columns; ``value`` is the frame, series or index that errors are about."""

    def __init__(self, context: Context, value: Any = None) -> None:
        self._context, self._value = context, value

    def encode(self, array: Any, label: object) -> tuple[Any, Facts]:
        """A column as an Arrow array, and the facts with which it comes back.

        Raises:
            InvalidInput: Its dtype or a value in it would change.
        """
        if type(array) is pd.arrays.NumpyExtensionArray:  # and not those of texts, which descend from it
            array = array.to_numpy()
        try:
            column, facts = self._encode(array)
            back = self.decode(ipc.there_and_back(column), json.loads(json.dumps(facts)))
        except InvalidInput:  # of the categories of this column
            raise
        except (
            pa.ArrowException,
            FormatError,
            NotImplementedError,
            TypeError,
            ValueError,
            AttributeError,
            LookupError,
        ) as error:
            raise self._refused(label, array, str(error)) from error
        if (why := _difference(array, back)) is not None:
            raise self._refused(label, array, why)
        return column, facts

    def decode(self, column: Any, facts: Facts) -> Any:
        """The column: a numpy array that can be written to, or an extension array."""
        kind = facts["kind"]
        if kind == "numpy":
            values = np.asarray(_whole(column).to_numpy(zero_copy_only=False)).astype(facts["dtype"], copy=False)
            return values if values.flags.writeable else values.copy()
        if kind == "texts":
            return np.array(_whole(column).to_pylist() or [], dtype=object)
        if kind == "values":
            return self._objects(column)
        if kind == "categorical":
            return self._categorical(_whole(column), facts)
        if kind == "arrow":
            return pd.arrays.ArrowExtensionArray(pa.chunked_array(column) if isinstance(column, pa.Array) else column)
        if kind == "string":
            nan = {"na_value": np.nan} if facts["nan"] else {}
            dtype: Any = pd.StringDtype(facts["storage"], **nan)
        elif kind == "zoned":
            zone = Decoder(self._context, None).decode(facts["zone"])
            dtype = pd.DatetimeTZDtype(facts["unit"], zone)
            instants = np.asarray(_whole(column).to_numpy(zero_copy_only=False)).astype(f"M8[{facts['unit']}]")
            return pd.DatetimeIndex(instants.copy()).tz_localize("UTC").tz_convert(zone).array
        elif kind == "extension":
            dtype = pd.api.types.pandas_dtype(facts["dtype"])
            column = _extended(column, dtype)
        else:
            raise damaged("pandas", f"A column has the kind {kind!r}")
        return dtype.__from_arrow__(column)

    # How each kind is written ----------------------------------------------------------------------------------------

    def _encode(self, array: Any) -> tuple[Any, Facts]:
        dtype = array.dtype
        if isinstance(dtype, np.dtype):
            return self._encode_numpy(np.asarray(array))
        if isinstance(dtype, pd.CategoricalDtype):
            return self._encode_categorical(array)
        if isinstance(dtype, pd.ArrowDtype):
            return pa.chunked_array(array.__arrow_array__()), {"kind": "arrow"}
        if isinstance(dtype, pd.StringDtype):
            facts = {"kind": "string", "storage": dtype.storage, "nan": dtype.na_value is np.nan}
            return pa.array(array, pa.large_string(), from_pandas=True), facts
        if isinstance(dtype, pd.DatetimeTZDtype):
            zone = Encoder(self._context).encode(dtype.tz)
            instants = np.asarray(array.tz_convert("UTC").tz_localize(None), dtype=f"M8[{dtype.unit}]")
            return pa.array(instants), {"kind": "zoned", "unit": dtype.unit, "zone": zone}
        if isinstance(dtype, pd.SparseDtype):
            raise ValueError("it is sparse, which Arrow is not")
        named = pd.api.types.pandas_dtype(str(dtype))
        if named != dtype or type(named) is not type(dtype):
            raise ValueError(f"its dtype {dtype!r} cannot be told by its name")
        return pa.array(array), {"kind": "extension", "dtype": str(dtype)}

    def _encode_numpy(self, values: Any) -> tuple[Any, Facts]:
        dtype = values.dtype
        if dtype.kind == "O":
            return self._encode_objects(values)
        if dtype.kind not in _PLAIN_KINDS or dtype.itemsize > 8:
            raise ValueError(f"Arrow has no type for {dtype}")
        native = values.astype(dtype.newbyteorder("="), copy=False)
        return pa.array(native, from_pandas=False), {"kind": "numpy", "dtype": dtype.str}

    def _encode_objects(self, values: Any) -> tuple[Any, Facts]:
        items = values.tolist()
        if all(v is None or (type(v) is str and (v.isascii() or _is_unicode(v))) for v in items):
            return pa.array(items, pa.large_string()), {"kind": "texts"}
        encoder = Encoder(self._context)
        try:
            texts = [dumps(encoder.encode(v)) for v in items]
        except InvalidInput as error:
            raise ValueError(f"{error.what}: {error.why}") from error
        if encoder.parts:
            raise ValueError("objects in it have files of their own, such as arrays")
        return pa.array(texts, pa.large_binary()), {"kind": "values"}

    def _objects(self, column: Any) -> Any:
        decoder = Decoder(self._context, None)
        values: Any = np.empty(len(column), dtype=object)
        for n, text in enumerate(_whole(column).to_pylist()):
            values[n] = decoder.decode(json.loads(text))
        return values

    def _encode_categorical(self, array: Any) -> tuple[Any, Facts]:
        categories, facts = self.encode(array.categories.array, "categories")
        if isinstance(categories, pa.ChunkedArray):
            categories = categories.combine_chunks()
        if isinstance(categories, pa.ExtensionArray):  # a file of IPC does not keep the type of a dictionary's values
            categories = categories.storage
        codes = pa.array(array.codes, mask=array.codes < 0)
        index = type(array.categories)
        facts = {
            "kind": "categorical",
            "ordered": bool(array.ordered),
            "categories": facts,
            "range": index is pd.RangeIndex,
        }
        if (freq := frequency(array.categories)) is not None:
            facts["freq"] = freq
        name = self._context and Encoder(self._context).encode(array.categories.name)
        return pa.DictionaryArray.from_arrays(codes, categories), {**facts, "name": name}

    def _categorical(self, column: Any, facts: Facts) -> Any:
        codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        values = self.decode(column.dictionary, facts["categories"])
        categories: Any = pd.Index(values, dtype=values.dtype, copy=False)
        if facts["range"] and len(categories):
            step = int(categories[1] - categories[0]) if len(categories) > 1 else 1
            start = int(categories[0])
            categories = pd.RangeIndex(start, start + step * len(categories), step)
        if facts.get("freq") is not None:
            categories = type(categories)(categories, freq=facts["freq"])
        categories.name = Decoder(self._context, None).decode(facts["name"])
        return pd.Categorical.from_codes(codes, categories, ordered=facts["ordered"])

    def _refused(self, label: object, array: Any, why: str) -> InvalidInput:
        where = f" {label!r}" if label is not None else ""
        return refused(
            self._value, f"The column{where} of dtype {array.dtype} would change: {why}", "Convert that column"
        )


def frequency(index: Any) -> str | None:
    """The frequency of an index of instants or spans, as a text that pandas makes the same of.

    Raises:
        ValueError: There is no such text, as of holidays.
    """
    if not isinstance(index, (pd.DatetimeIndex, pd.TimedeltaIndex)) or index.freq is None:
        return None
    text = index.freqstr
    try:
        back = pd.tseries.frequencies.to_offset(text)
    except ValueError:
        back = None
    if back != index.freq or type(back) is not type(index.freq):
        raise ValueError(f"its frequency {index.freq!r} cannot be told by a name")
    return str(text)


def _extended(column: Any, dtype: Any) -> Any:
    """The column of Arrow's type for a dtype: categories are stored as what that type is stored as."""
    if isinstance(column.type, pa.BaseExtensionType):
        return column
    known = pa.array(dtype.construct_array_type()._from_sequence([], dtype=dtype)).type
    return pa.ExtensionArray.from_storage(known, column) if isinstance(known, pa.BaseExtensionType) else column


def _whole(column: Any) -> Any:
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.unify_dictionaries().combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _is_unicode(text: str) -> bool:
    return not any(0xD800 <= ord(c) <= 0xDFFF for c in text)


def _difference(array: Any, back: Any) -> str | None:
    if back.dtype != array.dtype or type(back.dtype) is not type(array.dtype):
        return f"it would come back as {back.dtype}"
    if isinstance(array.dtype, pd.DatetimeTZDtype) and type(array.dtype.tz) is not type(back.dtype.tz):
        return f"its time zone would come back as {back.dtype.tz!r}"
    if isinstance(array.dtype, np.dtype):
        values = np.asarray(array)
        if values.dtype.kind == "O":
            return None  # value by value in a form that keeps each, or none at all
        equal = np.array_equal(values.view(f"V{values.dtype.itemsize}"), back.view(f"V{values.dtype.itemsize}"))
        return None if equal else "its values would come back different"
    try:
        if isinstance(array.dtype, pd.CategoricalDtype):
            pd.testing.assert_index_equal(array.categories, back.categories, exact=True, check_exact=True)
        pd.testing.assert_extension_array_equal(array, back, check_exact=True)
    except AssertionError as error:
        return str(error).splitlines()[0]
    return None
