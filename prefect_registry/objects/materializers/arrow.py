"""pyarrow tables, batches, arrays and schemas as IPC files."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from prefect_registry.objects.materializers import ipc
from prefect_registry.objects.materializers.builtin import BuiltIn, damaged, fact, lossy
from prefect_registry.objects.payload import Part, Payload, StoredPayload

TABLE, SCHEMA = "table.arrow", "schema.arrow"


def handled() -> dict[type, type[BuiltIn]]:
    """Types of pyarrow."""
    return dict.fromkeys((pa.Table, pa.RecordBatch, pa.Array, pa.ChunkedArray, pa.Schema), ArrowMaterializer)


class ArrowMaterializer(BuiltIn):
    """Tables, batches, arrays and schemas, with the exact types, metadata and order. Chunks may be others.

    Loaded lazily, a table comes as a ``pyarrow.dataset.Dataset`` that reads only the columns that are used.
    """

    name = "arrow"

    def refuses(self, value: Any) -> str | None:
        """Subclasses of tables and batches."""
        return None if isinstance(value, (pa.Array, pa.Schema)) else lossy(value, _KINDS)

    def save(self, value: Any) -> Payload:
        """One file.

        Raises:
            InvalidInput: Its schema would come back different.
        """
        if isinstance(value, pa.Schema):
            ipc.check_schema(value, value)
            return Payload([Part(SCHEMA, value.serialize().to_pybytes())], {"kind": "schema"})
        table, kind = _as_table(value), "array" if isinstance(value, pa.Array) else _KINDS[type(value)]
        ipc.check_schema(value, table.schema)
        facts = {"kind": kind, **ipc.plain(table.schema)}
        if not table.num_columns:
            facts["rows"] = len(value)
        return Payload([ipc.part(TABLE, table)], facts)

    def load(self, payload: StoredPayload) -> Any:
        """The same, in chunks that may be others."""
        kind = fact(payload, self.name, "kind", str)
        if kind == "schema":
            return pa.ipc.read_schema(pa.py_buffer(payload.read(SCHEMA)))
        if payload.lazy and kind == "table":
            from prefect_registry.objects.materializers.lazy_arrow import dataset_of

            return dataset_of(payload, [TABLE])
        table = ipc.read(payload, TABLE)
        if kind == "table":
            return table
        if kind == "record_batch":
            batches = table.combine_chunks().to_batches()
            return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
        if kind not in ("array", "chunked_array"):
            raise damaged(self.name, f"Its kind is {kind!r}")
        column = table.column(0)
        if kind == "chunked_array":
            return column
        chunks = column.chunks
        return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks) if chunks else pa.array([], column.type)


def _as_table(value: Any) -> Any:
    if isinstance(value, (pa.Array, pa.ChunkedArray)):
        schema = pa.schema([pa.field("", value.type)])
        return pa.Table.from_arrays([value], schema=schema)
    return value


_KINDS = {pa.Table: "table", pa.RecordBatch: "record_batch", pa.ChunkedArray: "chunked_array"}
