"""Arrow's IPC files: the exact schema, and only the columns that are read."""

from __future__ import annotations

from typing import Any, BinaryIO

import pyarrow as pa

from prefect_registry.errors import ConfigurationError
from prefect_registry.objects.materializers.builtin import SMALL_BYTES, damaged, refused
from prefect_registry.objects.payload import Part, StoredPayload

_EXTENSION = b"ARROW:extension:name"


def part(path: str, table: Any) -> Part:
    """A table as a file of IPC, compressed with lz4. Chunks that have dictionaries of their own get one for all."""
    return Part(path, lambda file: write(file, table))


def write(file: BinaryIO, table: Any) -> None:
    """Write a table or batch to a file."""
    try:
        with writer(file, table.schema) as out:
            _write(out, table)
    except pa.ArrowException as error:  # chunks with dictionaries that cannot be made one
        raise refused(table, str(error), "Pass table.combine_chunks(), or columns without dictionaries") from error


def _write(out: Any, table: Any) -> None:
    """Write a table; of one without rows the dictionaries, too, which Arrow leaves out with the last batch."""
    columns = table.columns if isinstance(table, pa.Table) else []
    if columns and not table.num_rows and has_dictionaries(table.schema) and all(c.num_chunks for c in columns):
        first: Any = [column.chunk(0) for column in columns]
        out.write_batch(pa.RecordBatch.from_arrays(first, schema=table.schema))
    else:
        out.write(table)


def writer(file: Any, schema: Any) -> Any:
    """What writes batches to a file of IPC."""
    compression: Any = "lz4" if pa.Codec.is_available("lz4") else None
    return pa.ipc.new_file(
        file, schema, options=pa.ipc.IpcWriteOptions(compression=compression, unify_dictionaries=True)
    )


def has_dictionaries(schema: Any) -> bool:
    """Whether a column is a dictionary, or may hold one."""
    return any(pa.types.is_dictionary(field.type) or field.type.num_fields for field in schema)


def there_and_back(column: Any) -> Any:
    """A column as it is read from a file of IPC.

    Raises:
        pyarrow.ArrowException: Arrow cannot write it.
        FormatError: It cannot be read again.
    """
    if pa.types.is_primitive(column.type):  # numbers, whose bytes are the file's; they may be many
        return column
    table, file = pa.Table.from_arrays([column], ["0"]), pa.BufferOutputStream()
    with pa.ipc.new_file(file, table.schema, options=pa.ipc.IpcWriteOptions(unify_dictionaries=True)) as out:
        _write(out, table)
    return _opened(file.getvalue(), "a column").column(0)


def check_schema(value: Any, schema: Any) -> None:
    """Refuse a schema that would come back different."""
    try:
        back = pa.ipc.read_schema(schema.serialize())
    except (pa.ArrowException, NotImplementedError) as error:  # Arrow has types that it cannot write
        raise refused(value, f"Its schema cannot be written: {error}") from error
    if not back.equals(schema, check_metadata=True):
        raise refused(value, f"Its schema would come back different: {back}")


def read(payload: StoredPayload, path: str) -> Any:
    """The whole table of a file."""
    source = pa.py_buffer(payload.read(path)) if payload.size(path) <= SMALL_BYTES else None
    table = _opened(source or pa.OSFile(str(payload.local(path)), "rb"), path)
    check_extensions(table.schema, payload)
    return table


def _opened(source: Any, path: str) -> Any:
    try:
        with pa.ipc.open_file(source) as reader:
            return reader.read_all()
    except (pa.ArrowException, OSError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise damaged("arrow", f"{path}: {error}") from error  # types of others are made by code of theirs


def plain(schema: Any) -> dict[str, Any]:
    """The fact that types were not known when this was saved: their storage is what was there, and comes back."""
    names = sorted({name for field in schema for name in _unknown(field)})
    return {"plain": names} if names else {}


def check_extensions(schema: Any, payload: StoredPayload) -> None:
    """Refuse storage in place of a type that is not registered here, if the type was there when it was saved.

    Raises:
        ConfigurationError: Arrow would give back what the type is stored as.
    """
    names = {name for field in schema for name in _unknown(field)}
    if unknown := sorted(names.difference(payload.init.get("plain", ()))):
        raise ConfigurationError(
            f"The table has columns of the types {', '.join(unknown)}, which Arrow does not know here",
            why="They would silently become what they are stored as",
            todo="Import the package that defines them, or call pyarrow.register_extension_type, and load again",
        )


def _unknown(field: Any) -> list[str]:
    found = []
    if field.metadata and _EXTENSION in field.metadata and not isinstance(field.type, pa.BaseExtensionType):
        found.append(field.metadata[_EXTENSION].decode("utf-8", "replace"))
    if field.type.num_fields and not isinstance(field.type, pa.BaseExtensionType):
        for i in range(field.type.num_fields):
            found.extend(_unknown(field.type.field(i)))
    return found
