"""pyarrow datasets: one IPC file for each file that the dataset has."""

from __future__ import annotations

from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.dataset as ds

from prefect_registry.objects.materializers import ipc, temporary
from prefect_registry.objects.materializers.builtin import BuiltIn
from prefect_registry.objects.materializers.lazy_arrow import dataset_of
from prefect_registry.objects.payload import Part, Payload, StoredPayload

SCHEMA = "schema.arrow"


def handled() -> dict[type, type[BuiltIn]]:
    """Datasets of any kind: of files, in memory, or several together."""
    return {ds.Dataset: ArrowDatasetMaterializer}


class ArrowDatasetMaterializer(BuiltIn):
    """The rows and the schema of a dataset. It comes back as a dataset of files; columns that were folders' names are
    columns in the files.
    """

    name = "arrow.dataset"

    def save(self, value: Any) -> Payload:
        """A file for each fragment, written batch by batch."""
        schema = value.schema
        ipc.check_schema(value, schema)
        fragments = _fragments(value)
        parts = [_part(f"part-{n:05}.arrow", fragment, schema) for n, fragment in enumerate(fragments)]
        return Payload([Part(SCHEMA, schema.serialize().to_pybytes()), *parts], ipc.plain(schema))

    def load(self, payload: StoredPayload) -> Any:
        """A dataset of files in a temporary folder until the process ends; lazily, of what is read from the store."""
        schema = pa.ipc.read_schema(pa.py_buffer(payload.read(SCHEMA)))
        paths = [path for path in payload.paths() if path != SCHEMA]
        if payload.lazy:
            return dataset_of(payload, paths, schema)
        folder = payload.export(temporary.until_exit())
        ipc.check_extensions(schema, payload)
        return ds.dataset([str(folder / path) for path in paths], format="ipc", schema=schema)


def _fragments(value: Any) -> list[Any]:
    """The files of a dataset; the whole of one that has none, or is filtered, which Arrow does not split."""
    if isinstance(value, ds.FileSystemDataset):
        try:
            return list(value.get_fragments())
        except ValueError:
            pass
    return [value]


def _part(path: str, source: Any, schema: Any) -> Part:
    scanned = {} if isinstance(source, ds.Dataset) else {"schema": schema}

    def write(file: BinaryIO) -> None:
        if ipc.has_dictionaries(schema):  # a file has one dictionary for a column, which is known when all was read
            ipc.write(file, source.to_table(**scanned))
            return
        with ipc.writer(file, schema) as writer:
            for batch in source.to_batches(**scanned):
                writer.write_batch(batch)

    return Part(path, write)
