"""A pyarrow dataset over the files of a payload: reads the ranges that a query needs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pyarrow.dataset as ds
import pyarrow.fs as fs

from prefect_registry.objects.materializers import ipc
from prefect_registry.objects.payload import StoredPayload
from prefect_registry.storage.arrow_files import arrow_file


def dataset_of(payload: StoredPayload, paths: Sequence[str], schema: Any = None) -> Any:
    """The IPC files as one dataset, in this order."""
    files = fs.PyFileSystem(PayloadFileSystem(payload))
    made = ds.dataset(list(paths), filesystem=files, format="ipc", schema=schema)
    ipc.check_extensions(made.schema, payload)
    return made


class PayloadFileSystem(fs.FileSystemHandler):
    """The files of a payload, read-only, as Arrow asks for them."""

    def __init__(self, payload: StoredPayload) -> None:
        self._payload = payload

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PayloadFileSystem) and other._payload is self._payload

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return id(self._payload)

    def get_type_name(self) -> str:
        """Its name in messages."""
        return "prefect-registry"

    def normalize_path(self, path: str) -> str:
        """Paths are as they are."""
        return path

    def get_file_info(self, paths: Sequence[str]) -> list[Any]:
        """Size of each file."""
        known = set(self._payload.paths())
        return [
            fs.FileInfo(path, fs.FileType.File, size=self._payload.size(path))
            if path in known
            else fs.FileInfo(path, fs.FileType.NotFound)
            for path in paths
        ]

    def get_file_info_selector(self, selector: Any) -> list[Any]:
        """All files."""
        return self.get_file_info(self._payload.paths())

    def open_input_file(self, path: str) -> Any:
        """A file of which parts are read."""
        return arrow_file(partial(self._payload.open, path))

    def open_input_stream(self, path: str) -> Any:
        """A file from its beginning."""
        return self.open_input_file(path)

    def _refused(self, *arguments: Any, **options: Any) -> Any:
        raise NotImplementedError("a stored object is never written to")

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = _refused
    move = copy_file = open_output_stream = open_append_stream = _refused
