"""The files of a table as a text in the store, for engines that take such a list instead of a folder."""

from __future__ import annotations

from dataclasses import dataclass

from prefect_registry.datasets.tables import Table
from prefect_registry.errors import NotFound
from prefect_registry.names import key_of
from prefect_registry.storage.base import Storage


@dataclass(frozen=True)
class FileList:
    """A kind's list in the store: its URL, how many files it names, and whether it was written now, or was right."""

    kind: str
    url: str
    files: int
    written: bool


def list_key(kind: str) -> str:
    """Where the list lies: alone in its folder, which is what Hive, Athena and Trino take."""
    return f"catalog/files/{key_of(kind)}/files.txt"


def write_file_list(storage: Storage, table: Table) -> FileList:
    """Make the list of a kind say what its table is: a URL a line, like ``prefect-registry table KIND --files``.

    One object, replaced whole, and only if it differs: who reads it gets one published state or another. Two that
    write at the same time may leave the older of theirs, until the next one writes.
    """
    key = list_key(table.kind)
    urls = [url for dataset in table.datasets() for url in dataset.urls()]
    text = "".join(f"{url}\n" for url in urls).encode()
    try:
        differs = storage.get(key) != text
    except NotFound:
        differs = True
    if differs:
        storage.put(key, text)
    return FileList(table.kind, f"{storage.url.rstrip('/')}/{key}", len(urls), differs)
