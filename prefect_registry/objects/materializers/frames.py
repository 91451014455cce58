"""pandas frames, series and indexes: columns as Arrow, all else that makes them what they are as facts beside."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from prefect_registry.errors import InvalidInput
from prefect_registry.objects.materializers import ipc, scalars
from prefect_registry.objects.materializers.builtin import BuiltIn, damaged, fact, lossy, refused
from prefect_registry.objects.materializers.decoding import Decoder
from prefect_registry.objects.materializers.encoding import Encoder
from prefect_registry.objects.materializers.vectors import Vectors, frequency
from prefect_registry.objects.payload import Part, Payload, StoredPayload

FACTS = "facts.json"
_INDEXES = (
    pd.Index,
    pd.RangeIndex,
    pd.DatetimeIndex,
    pd.TimedeltaIndex,
    pd.PeriodIndex,
    pd.CategoricalIndex,
    pd.IntervalIndex,
    pd.MultiIndex,
)
_SCALARS = (pd.Timestamp, pd.Timedelta, pd.Period, pd.Interval, type(pd.NaT), type(pd.NA))


def handled() -> dict[type, type[BuiltIn]]:
    """Types of pandas."""
    return dict.fromkeys((pd.DataFrame, pd.Series, pd.Index, *_SCALARS), PandasMaterializer)


class PandasMaterializer(BuiltIn):
    """Frames, series and indexes: exact dtypes, labels of any kind, frequencies, ``attrs`` and flags; and scalars."""

    name = "pandas"

    def refuses(self, value: Any) -> str | None:
        """Subclasses, such as those of geopandas."""
        return lossy(value, (pd.DataFrame, pd.Series, *_INDEXES, *_SCALARS))

    def save(self, value: Any) -> Payload:
        """``facts.json``, and one file of IPC for each set of columns of one length.

        Raises:
            InvalidInput: A column or an index would change.
        """
        writing = _Writing(self, value)
        if isinstance(value, _SCALARS):
            facts = writing.scalar(value)
        elif isinstance(value, pd.Index):
            facts = {"kind": "index", "index": writing.index(value, "index")}
            writing.check(value, facts["index"])
        else:
            facts = writing.frame(value)
        writing.parts.append(Part(FACTS, json.dumps(facts, allow_nan=False).encode()))
        return Payload(writing.parts, {"kind": facts["kind"]})

    def inline(self, value: Any) -> Any:
        """A moment, a span, a period, or what is missing; an interval has files of its own."""
        return scalars.encode(self.context, value)

    def of_inline(self, tree: Any) -> Any:
        """The scalar."""
        return scalars.decode(self.context, tree)

    def load(self, payload: StoredPayload) -> Any:
        """The frame, series or index."""
        kind = fact(payload, self.name, "kind", str)
        facts = json.loads(payload.read(FACTS))
        tables = {path.removesuffix(".arrow"): ipc.read(payload, path) for path in payload.paths() if path != FACTS}
        if "interval" in facts:
            return pd.Interval(*self._value(facts["interval"]))
        if kind == "scalar":
            return pd.NA if facts["index"] is None else self._index(facts["index"], tables)[0]
        if kind == "index":
            return self._index(facts["index"], tables)
        if kind not in ("frame", "series"):
            raise damaged(self.name, f"Its kind is {kind!r}")
        index = self._index(facts["index"], tables)
        arrays = self._columns(tables["data"], facts["data"])
        columns = {n: pd.Series(a, index=index, dtype=a.dtype, copy=False) for n, a in enumerate(arrays)}
        made: Any = pd.DataFrame(columns, index=index, copy=False)
        if kind == "series":
            made = made[0]
            made.name = self._value(facts["name"])
        else:
            made.columns = self._index(facts["columns"], tables)
        made.attrs = self._value(facts["attrs"])
        return made if facts["duplicates"] else made.set_flags(allows_duplicate_labels=False)

    def _index(self, facts: dict[str, Any], tables: dict[str, Any]) -> Any:
        kind, names = facts["type"], [self._value(name) for name in facts["names"]]
        if kind == "RangeIndex":
            start, stop, step = facts["range"]
            return pd.RangeIndex(start, stop, step, name=names[0])
        if kind == "MultiIndex":
            levels = [self._index(level, tables) for level in facts["levels"]]
            codes = self._columns(tables[facts["at"]], facts["codes"])
            return pd.MultiIndex(levels, codes, names=names, verify_integrity=False)
        (array,) = self._columns(tables[facts["at"]], [facts["values"]])
        makers: dict[str, Any] = {cls.__name__: cls for cls in _INDEXES}
        if facts.get("freq") is not None:
            return makers[kind](array, freq=facts["freq"], name=names[0])
        dtype = array.dtype if kind == "Index" else None
        return makers[kind](array, dtype=dtype, name=names[0])

    def _columns(self, table: Any, facts: list[Any]) -> list[Any]:
        vectors = Vectors(self.context)
        return [vectors.decode(table.column(n), column) for n, column in enumerate(facts)]

    def _value(self, tree: Any) -> Any:
        return Decoder(self.context, None).decode(tree)


class _Writing:
    """One object on its way into files."""

    def __init__(self, materializer: PandasMaterializer, value: Any) -> None:
        self._materializer, self._value = materializer, value
        self._vectors = Vectors(materializer.context, value)
        self.tables: dict[str, Any] = {}
        self.parts: list[Part] = []

    def frame(self, value: Any) -> dict[str, Any]:
        """The facts of a frame or series, whose columns go into tables."""
        facts: dict[str, Any] = {"kind": "frame" if isinstance(value, pd.DataFrame) else "series"}
        facts["index"] = self.index(value.index, "index")
        if isinstance(value, pd.DataFrame):
            facts["columns"] = self.index(value.columns, "columns")
            columns = [(value.columns[n], value.iloc[:, n].array) for n in range(value.shape[1])]
        else:
            facts["name"] = self._tree(value.name, "Its name")
            columns = [(value.name, value.array)]
        facts["data"] = self._table("data", columns)
        facts["attrs"] = self._tree(value.attrs, "Its attrs")
        facts["duplicates"] = value.flags.allows_duplicate_labels
        for name in ("index", "columns"):
            if name in facts:
                self.check(getattr(value, name), facts[name])
        return facts

    def scalar(self, value: Any) -> dict[str, Any]:
        """The facts of a scalar, which lies in an index of its own."""
        if value is pd.NA:
            return {"kind": "scalar", "index": None}
        if isinstance(value, pd.Interval) and {type(value.left), type(value.right)} <= {int, float}:
            return {"kind": "scalar", "interval": self._tree([value.left, value.right, value.closed], "It")}
        index: Any = pd.Index([value])
        if isinstance(value, (pd.Timestamp, pd.Timedelta)):
            index = index.as_unit(value.unit)
        facts = self.index(index, "index")
        self.check(index, facts)
        if not scalars.same(value, back := self._materializer._index(facts, self.tables)[0]):
            raise refused(self._value, f"It would come back as {back!r}")
        return {"kind": "scalar", "index": facts}

    def index(self, index: Any, at: str) -> dict[str, Any]:
        """The facts of an index."""
        facts: dict[str, Any] = {"type": type(index).__name__, "names": [self._tree(n, "A name") for n in index.names]}
        if isinstance(index, pd.RangeIndex):
            return {**facts, "range": [index.start, index.stop, index.step]}
        if isinstance(index, pd.MultiIndex):
            levels = [self.index(level, f"{at}-{n}") for n, level in enumerate(index.levels)]
            codes = self._table(at, [(None, np.asarray(code)) for code in index.codes])
            return {**facts, "at": at, "levels": levels, "codes": codes}
        if type(index) not in _INDEXES:
            raise refused(self._value, f"It has an index of {type(index).__name__}, which would not come back")
        try:
            freq = frequency(index)
        except ValueError as error:
            raise refused(self._value, f"An index would change: {error}", "Set index.freq = None") from error
        if freq is not None:
            facts["freq"] = freq
        (values,) = self._table(at, [(index.name, index.array)])
        return {**facts, "at": at, "values": values}

    def check(self, index: Any, facts: dict[str, Any]) -> None:
        """Refuse an index that would come back different, or not at all."""
        try:
            back = self._materializer._index(facts, self.tables)
            pd.testing.assert_index_equal(index, back, exact=True, check_exact=True)
            if getattr(index, "freq", None) != getattr(back, "freq", None):
                raise AssertionError(f"its frequency {index.freq} would come back as {back.freq}")
        except (AssertionError, ValueError, TypeError) as error:  # values that its frequency would not make, too
            raise refused(self._value, f"An index would change: {error}") from error

    def _table(self, name: str, columns: list[tuple[Any, Any]]) -> list[Any]:
        coded = [self._vectors.encode(array, label) for label, array in columns]
        fields = [pa.field(str(n), column.type) for n, (column, _) in enumerate(coded)]
        table = pa.Table.from_arrays([column for column, _ in coded], schema=pa.schema(fields))
        self.tables[name] = table
        self.parts.append(ipc.part(f"{name}.arrow", table))
        return [facts for _, facts in coded]

    def _tree(self, value: Any, what: str) -> Any:
        encoder = Encoder(self._materializer.context)
        try:
            tree = encoder.encode(value)
        except InvalidInput as error:
            raise refused(self._value, f"{what} cannot be kept: {error}") from error
        if encoder.parts:
            raise refused(self._value, f"{what} holds objects that have files of their own, such as arrays")
        return tree
