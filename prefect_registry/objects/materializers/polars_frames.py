"""polars frames and series as IPC files."""

from __future__ import annotations

import io
from typing import Any

import polars as pl

from prefect_registry.objects.materializers import temporary
from prefect_registry.objects.materializers.builtin import SMALL_BYTES, BuiltIn, fact, lossy, refused
from prefect_registry.objects.payload import Part, Payload, StoredPayload

DATA = "frame.arrow"
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
        written = io.BytesIO()
        frame.clear().write_ipc(written, compat_level=_LEVEL)
        back = pl.read_ipc(written.getvalue()).schema
        if changed := [f"{n}: {d} as {back.get(n)}" for n, d in frame.schema.items() if back.get(n) != d]:
            raise refused(value, f"Columns would come back with another type: {'; '.join(changed)}")
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


def _holds_objects(dtype: Any) -> bool:
    if dtype == pl.Object:
        return True
    inner = [getattr(dtype, "inner", None), *(field.dtype for field in getattr(dtype, "fields", ()))]
    return any(_holds_objects(d) for d in inner if d is not None)
