"""polars frames and series as IPC files."""

from __future__ import annotations

import io
from typing import Any

import polars as pl

from prefect_registry.objects.materializers import temporary
from prefect_registry.objects.materializers.builtin import SMALL_BYTES, BuiltIn, fact, lossy, refused
from prefect_registry.objects.payload import Part, Payload, StoredPayload

DATA = "frame.arrow"
_WHOLE_BYTES, _SAMPLE_ROWS = 16 << 20, 100
_LEVEL = pl.CompatLevel.oldest()
"""With texts as every reader of IPC files knows them: pyarrow cannot filter string views."""


def handled() -> dict[type, type[BuiltIn]]:
    """Types of polars."""
    return dict.fromkeys((pl.DataFrame, pl.Series, pl.LazyFrame), PolarsMaterializer)


class PolarsMaterializer(BuiltIn):
    """Frames and series with the exact types.

    Loaded lazily, a frame comes as a ``LazyFrame`` that reads only the columns that are used.
    """

    name = "polars"

    def refuses(self, value: Any) -> str | None:
        """Subclasses, lazy frames and columns of Python objects."""
        if isinstance(value, pl.LazyFrame):
            return "a LazyFrame is a query and not its result: save frame.collect()"
        if why := lossy(value, (pl.DataFrame, pl.Series)):
            return why
        frame = value if isinstance(value, pl.DataFrame) else value.to_frame()
        objects = [name for name, dtype in frame.schema.items() if _holds_objects(dtype)]
        return f"the columns {', '.join(objects)} hold Python objects" if objects else None

    def save(self, value: Any) -> Payload:
        """One file.

        Raises:
            InvalidInput: A type would come back as another.
        """
        if why := self.refuses(value):
            raise refused(value, why)
        series = isinstance(value, pl.Series)
        frame = value.to_frame() if series else value
        if why := _problem(frame.clear()) or _problem(_sample(frame)):
            raise refused(value, why)
        if not frame.width and frame.height:
            raise refused(value, "It has rows without columns, which would be lost")
        part = Part(DATA, lambda file: frame.write_ipc(file, compression="lz4", compat_level=_LEVEL))
        return Payload([part], {"kind": "series" if series else "frame"})

    def load(self, payload: StoredPayload) -> Any:
        """The frame or series."""
        kind = fact(payload, self.name, "kind", str)
        if payload.lazy and kind == "frame":
            from prefect_registry.objects.materializers.lazy_arrow import (
                dataset_of,
            )  # needs pyarrow, which polars does not

            try:
                return pl.scan_pyarrow_dataset(dataset_of(payload, [DATA]))
            except NotImplementedError:  # pyarrow does not know 128-bit integers
                return pl.scan_ipc(payload.export(temporary.until_exit()) / DATA)
        small = payload.size(DATA) <= SMALL_BYTES
        frame = pl.read_ipc(payload.read(DATA) if small else payload.local(DATA))
        return frame.to_series() if kind == "series" else frame


def _sample(frame: Any) -> Any:
    """The frame if it is small, else its first and last rows: what types a file cannot hold shows in a few."""
    if frame.estimated_size() <= _WHOLE_BYTES or frame.height <= 2 * _SAMPLE_ROWS:
        return frame
    return pl.concat([frame.head(_SAMPLE_ROWS), frame.tail(_SAMPLE_ROWS)])


def _problem(frame: Any) -> str | None:
    """Why a frame would not come back from its file, found out by reading one."""
    written = io.BytesIO()
    try:
        frame.write_ipc(written, compat_level=_LEVEL)
        back = pl.read_ipc(written.getvalue())
    except pl.exceptions.PolarsError as error:
        return f"polars cannot read again what it writes of it: {error}"
    if changed := [f"{n}: {d} as {back.schema.get(n)}" for n, d in frame.schema.items() if back.schema.get(n) != d]:
        return f"Columns would come back with another type: {'; '.join(changed)}"
    changed = [n for n in frame.columns if not back[n].equals(frame[n], null_equal=True)]
    return f"The values of the columns {', '.join(changed)} would change" if changed else None


def _holds_objects(dtype: Any) -> bool:
    if dtype == pl.Object:
        return True
    inner = [getattr(dtype, "inner", None), *(field.dtype for field in getattr(dtype, "fields", ()))]
    return any(_holds_objects(d) for d in inner if d is not None)
