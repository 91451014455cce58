"""Rows that repeat, in tables of any size.

Keys of up to 16 MiB are grouped in memory, which takes about ten times as much. More are hashed, 16 bytes of BLAKE2
each, into as many temporary files as it takes to hold about 250,000 in each, which are then looked at one by one: about
100 MiB of memory up to a thousand million rows, 16 bytes of disk and two microseconds a row. Different keys of one hash
are less likely than a disk that lies.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from prefect_registry.ingestion.scanning import scan

IN_MEMORY_BYTES = 16 << 20
_DIGEST_BYTES = 16
_DIGESTS_IN_A_FILE = 250_000
_MOST_FILES = 4_096
_BUFFERED_BYTES = 32 << 20
_ROWS = 65_536


class Duplicates(NamedTuple):
    """How many rows repeat an earlier one, and some of the keys that they share."""

    rows: int
    examples: list[tuple[Any, ...]]


def duplicates(
    dataset: pads.Dataset, columns: Sequence[str], most_examples: int, in_memory_bytes: int = IN_MEMORY_BYTES
) -> Duplicates:
    """The rows that have the same values in ``columns`` as another one."""
    held: list[pa.RecordBatch] = []
    size = 0
    batches = scan(dataset, columns, _ROWS)
    nested = any(pa.types.is_nested(dataset.schema.field(name).type) for name in columns)
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size > in_memory_bytes or nested:
            return _hashed(dataset, columns, most_examples)
    return _grouped(pa.Table.from_batches(held), most_examples) if held else Duplicates(0, [])


def _grouped(table: pa.Table, most_examples: int) -> Duplicates:
    for i, field in enumerate(table.schema):  # equal values group together only if they are the same bytes
        if isinstance(field.type, pa.DictionaryType):
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))
        elif pa.types.is_string_view(field.type) or pa.types.is_binary_view(field.type):
            plain = pa.large_string() if pa.types.is_string_view(field.type) else pa.large_binary()
            table = table.set_column(i, field.name, table.column(i).cast(plain))
        elif pa.types.is_floating(field.type):
            column: Any = table.column(i).cast(pa.float64())
            one = pc.if_else(pc.is_nan(column), pa.scalar(float("nan")), pc.add(column, 0.0))
            table = table.set_column(i, field.name, one)
    counted = table.rename_columns([f"c{i}" for i in range(table.num_columns)])
    groups = counted.group_by(counted.column_names, use_threads=False).aggregate([([], "count_all")])
    counts: Any = groups.column("count_all")
    repeated = groups.filter(pc.greater(counts, pa.scalar(1)))
    rows = (pc.sum(repeated.column("count_all")).as_py() or 0) - repeated.num_rows
    shown = repeated.select(counted.column_names).slice(0, most_examples)
    return Duplicates(rows, list(zip(*(_values(column) for column in shown.columns), strict=True)))


def _hashed(dataset: pads.Dataset, columns: Sequence[str], most_examples: int) -> Duplicates:
    count = max(1, min(_MOST_FILES, -(-dataset.count_rows() // _DIGESTS_IN_A_FILE)))
    with tempfile.TemporaryDirectory(prefix="registry-unique-") as folder:
        spill = _Spill(Path(folder), count)
        for digests in _digests(dataset, columns):
            spill.add(digest for digest, _ in digests)
        spill.flush()
        repeated, rows = set[bytes](), 0
        for found in spill.sorted_files():
            for before, digest in pairwise(found):
                if before == digest:
                    rows += 1
                    if len(repeated) < most_examples:
                        repeated.add(digest)
    examples: list[tuple[Any, ...]] = []
    if repeated:
        for digests in _digests(dataset, columns):
            for digest, key in digests:
                if digest in repeated:
                    repeated.remove(digest)
                    examples.append(key)
            if not repeated:
                break
    return Duplicates(rows, examples)


def _digests(dataset: pads.Dataset, columns: Sequence[str]) -> Iterator[Iterator[tuple[bytes, tuple[Any, ...]]]]:
    """The key of every row with its digest, batch by batch."""
    blake2b = hashlib.blake2b
    for batch in scan(dataset, columns, _ROWS):
        keys = zip(*(_values(column) for column in batch.columns), strict=True)
        yield ((blake2b(repr(key).encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest(), key)
               for key in keys)  # fmt: skip


def _values(column: Any) -> list[Any]:
    """Values of which equal ones have equal reprs. Times are counted, as Python's types are too coarse for some."""
    if isinstance(column.type, pa.DictionaryType):
        column = column.cast(column.type.value_type)
    if pa.types.is_temporal(column.type):
        return list(column.cast(pa.string()).to_pylist())
    values = column.to_pylist()
    return [v + 0.0 if v is not None else None for v in values] if pa.types.is_floating(column.type) else list(values)


class _Spill:
    """Digests on disk, each in the file that its first bytes name."""

    def __init__(self, folder: Path, count: int) -> None:
        self._paths = [folder / f"{i}" for i in range(count)]
        self._buffers: list[list[bytes]] = [[] for _ in range(count)]
        self._held = 0

    def add(self, digests: Iterable[bytes]) -> None:
        """Take some more."""
        count, buffers = len(self._paths), self._buffers
        for digest in digests:
            buffers[int.from_bytes(digest[:4], "big") % count].append(digest)
            self._held += 1
        if self._held * 64 > _BUFFERED_BYTES:  # what a bytes object and its place in a list take
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        for path, buffer in zip(self._paths, self._buffers, strict=True):
            if buffer:
                with open(path, "ab") as file:
                    file.write(b"".join(buffer))
                buffer.clear()
        self._held = 0

    def sorted_files(self) -> Iterator[list[bytes]]:
        """The digests of one file after the other, sorted."""
        for path in self._paths:
            if path.exists():
                data = path.read_bytes()
                yield sorted(data[i : i + _DIGEST_BYTES] for i in range(0, len(data), _DIGEST_BYTES))
