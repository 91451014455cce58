"""A store that holds a checkpoint of very many datasets, made without running a single flow."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from prefect_registry import Registry
from prefect_registry.catalog.checkpoints.manifests import manifest_key, table_key
from prefect_registry.catalog.checkpoints.ranges import REST
from prefect_registry.catalog.checkpoints.tables import ROWS_PER_GROUP, key_of, schema_of
from prefect_registry.catalog.schema import INDEX_FORMAT, micros
from prefect_registry.ids import ALPHABET
from prefect_registry.ledger import paths
from prefect_registry.records.checkpoints import Checkpoint, Part, TableFile
from prefect_registry.storage.base import Upload

DATASETS_PER_RUN = 4
USED_PER_RUN = 8
RUNS_PER_PROJECT = 20_000
"""Every run has come from others of its project only: a closure of 100,000 nodes."""
HOURS = 2_000
PARTS = 10
KINDS = 50
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)

_LETTERS = np.frombuffer(ALPHABET.encode(), np.uint8)
Texts = npt.NDArray[np.bytes_]


@dataclass(frozen=True)
class Generated:
    """What the store holds: counts, ids from which to start, and the size of its Parquet files in bytes."""

    url: str
    datasets: int
    edges: int
    runs: int
    bytes: int
    end_of_project: str
    some: list[str]


class Generator:
    """Writes ``runs`` runs of four datasets each, three edges per dataset, straight into a store in a folder."""

    def __init__(self, folder: Path, runs: int) -> None:
        self.registry = Registry(folder)
        self.runs = runs
        self.random = np.random.default_rng(20_260_101)
        self.began = np.sort(self.random.integers(0, HOURS * 3_600_000_000, runs)) + micros(BEGIN)
        tails = self._ids(self.began // 1_000)
        self.run_ids = np.char.add(b"run_", tails)
        suffixes = _text(self.random.integers(0, 32, (runs * DATASETS_PER_RUN, 16)))
        of_run = np.repeat(tails, DATASETS_PER_RUN)
        self.dataset_ids = np.char.add(np.char.add(np.char.add(b"ds_", of_run), b"_"), suffixes)

    def _ids(self, millis: npt.NDArray[np.int64]) -> Texts:
        """26 characters: the time, and 16 random ones, of which the first has the version of a UUIDv7."""
        digits = np.empty((len(millis), 26), np.int64)
        for place in range(10):
            digits[:, place] = millis >> 5 * (9 - place) & 31
        digits[:, 10:] = self.random.integers(0, 32, (len(millis), 16))
        digits[:, 10] = self.random.integers(14, 16, len(millis))
        return _text(digits)

    def write(self) -> Generated:
        """Write everything."""
        hours = [paths.hour_of(BEGIN + timedelta(hours=h)) for h in range(HOURS)]
        bounds = [HOURS * i // PARTS for i in range(PARTS + 1)]
        parts, size, edges = [], 0, 0
        for number, (first, behind) in enumerate(pairwise(bounds)):
            low, high = (int(np.searchsorted(self.began, micros(BEGIN + timedelta(hours=h)))) for h in (first, behind))
            tables = {name: table for name, table in self._tables(low, high) if table.num_rows}
            name = f"{0:010d}-{number:016d}"
            stored = self._store(name, tables)
            size += sum(file.size for file in stored.values())
            edges += tables["edges"].num_rows
            after = hours[first - 1] if first else ""
            parts.append(Part(name=name, after=after, through=hours[behind - 1], tables=stored))
        rest = self._store(f"{0:010d}-{'r' * 16}", {table: schema_of(table).empty_table() for table in REST})
        end = BEGIN + timedelta(hours=HOURS)
        checkpoint = Checkpoint(
            write_id="generated", registry_id=self.registry.registry_id, generation=0, created_at=end,
            form=INDEX_FORMAT, sealed=hours[-1], newest=end,
            parts=parts, rest=rest,
        )  # fmt: skip
        self.registry.storage.create(manifest_key(0), checkpoint.encode())
        last = self._projects - 1
        some = self.random.choice(self.dataset_ids, 300, replace=False)
        return Generated(
            self.registry.url, len(self.dataset_ids), edges, self.runs, size,
            self.dataset_ids[(self.runs - self._projects + last) * DATASETS_PER_RUN].decode(),
            [id_.decode() for id_ in some],
        )  # fmt: skip

    def _store(self, name: str, tables: dict[str, pa.Table]) -> dict[str, TableFile]:
        found = {}
        with tempfile.TemporaryDirectory() as folder:
            for table, rows in tables.items():
                file = Path(folder) / table
                ordered = rows.sort_by([(column, "ascending") for column in key_of(table)])
                pq.write_table(ordered, file, compression="zstd", row_group_size=ROWS_PER_GROUP)
                (stored,) = self.registry.storage.upload([Upload(table_key(name, table), file)])
                found[table] = TableFile(key=stored.key, size=stored.size, sha256=stored.sha256, rows=rows.num_rows)
        return found

    @property
    def _projects(self) -> int:
        return max(1, self.runs // RUNS_PER_PROJECT)

    # -- rows ----------------------------------------------------------------------------------------------------

    def _tables(self, low: int, high: int) -> Iterator[tuple[str, pa.Table]]:
        """The rows of the runs from ``low`` up to ``high``."""
        runs = np.arange(low, high)
        began, run_ids = self.began[low:high], self.run_ids[low:high]
        sources, used = self._used(runs)
        yield "runs", _table("runs", high - low, {
            "id": run_ids, "purpose": np.char.add(b"nightly ", (runs % 40).astype("S")), "revision": b"3f2c9aa",
            "config": b'{"region":"eu-central-1","year":2026,"limit":1000}', "started_at": began,
            "publish": b"on_close", "isolated": False, "implicit": False, "lease_seconds": 900.0,
            "flow_run": np.char.replace(run_ids, b"run_", b"0192f3a0-"), "finished_at": began + 60_000_000,
            "prefect": b'{"flow":"nightly","deployment":"prod","work_pool":"kubernetes"}', "outcome": b"committed",
            "state": b"COMMITTED", "settled_at": began + 60_000_000, "publication": run_ids, "rank": 2,
        })  # fmt: skip
        each = np.arange(low * DATASETS_PER_RUN, high * DATASETS_PER_RUN)
        ids, of_run = self.dataset_ids[each], np.repeat(run_ids, DATASETS_PER_RUN)
        at = np.repeat(began, DATASETS_PER_RUN)
        state = np.where(each % 1_000 == 0, b"ARCHIVED", np.where(each % 100 == 1, b"DELETED", b"READY"))
        yield "datasets", _table("datasets", len(each), {
            "id": ids, "run_id": of_run, "kind": np.char.add(b"kind-", (each * each % KINDS).astype("S")), "gen": 1,
            "step": b"staged", "mode": b"append", "own_run": False, "created_at": at + 1_000_000,
            "staged_at": at + 30_000_000, "root": np.char.add(b"data/2026-01-01/00/", of_run), "external": False,
            "rows": each % 100_000, "bytes": each % 100_000 * 37, "file_count": 1 + each % 3,
            "tags": b'{"team":"weather","source":"api"}', "member": True, "ended_at": at + 60_000_000,
            "outcome": b"committed", "settled_at": at + 60_000_000, "publication": of_run, "state": state,
            "rank": 1_000,
        })  # fmt: skip
        read = np.split(used, np.flatnonzero(np.diff(sources)) + 1) if len(used) else []
        readers = np.unique(sources)
        yield "events", _table("events", len(readers), {
            "id": np.char.add(np.char.replace(self.run_ids[readers], b"run_", b"ev_"), b"_0000000000000000"),
            "record": b"usage", "name": b"Used", "subject_id": self.run_ids[readers], "run_id": self.run_ids[readers],
            "payload": np.array([b'{"datasets":["' + b'","'.join(self.dataset_ids[u]) + b'"]}' for u in read] or [b""]),
            "created_at": self.began[readers] + 60_000_000, "visible_at": self.began[readers] + 60_000_000,
        })  # fmt: skip
        yield "edges", _table("edges", len(each) + len(used), {
            "source": np.concatenate([ids, self.run_ids[sources]]),
            "relation": np.repeat(np.array([b"wasGeneratedBy", b"used"]), [len(each), len(used)]),
            "target": np.concatenate([of_run, self.dataset_ids[used]]),
            "asserted_by": np.concatenate([of_run, self.run_ids[sources]]),
            "at": np.concatenate([at, self.began[sources]]) + 60_000_000,
        })  # fmt: skip

    def _used(self, runs: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Which run used which dataset. A project is a tree: each run used all of two older ones. The older half used
        some of what is older still.
        """
        projects = self._projects
        place = (self.runs - 1 - runs) // projects  # from the project's newest run on
        length = self.runs // projects
        sources, used = [], []
        for child in (2 * place + 1, 2 * place + 2):
            inside = child < length
            older = runs[inside] - (child - place)[inside] * projects
            inside_too = older >= 0
            for k in range(DATASETS_PER_RUN):
                sources.append(runs[inside][inside_too])
                used.append(older[inside_too] * DATASETS_PER_RUN + k)
        leaves = runs[(2 * place + 1 >= length) & (runs >= projects)]
        for _ in range(USED_PER_RUN):
            back = 1 + self.random.integers(0, np.minimum(leaves // projects, 2_000))
            sources.append(leaves)
            chosen = self.random.integers(0, DATASETS_PER_RUN, len(leaves))
            used.append((leaves - back * projects) * DATASETS_PER_RUN + chosen)
        both = np.unique(np.stack([np.concatenate(sources), np.concatenate(used)]), axis=1)
        return both[0], both[1]


def _text(digits: npt.NDArray[np.int64]) -> Texts:
    letters = np.ascontiguousarray(_LETTERS[digits])
    return letters.view(f"S{digits.shape[1]}").ravel()


def _table(name: str, rows: int, given: dict[str, object]) -> pa.Table:
    """Columns as given, or one value for all rows; the others are null."""
    columns = []
    for field in schema_of(name):
        value = given.get(field.name)
        if isinstance(value, np.ndarray):
            plain = pa.array(value[:rows], pa.binary() if value.dtype.kind == "S" else pa.int64())
            columns.append(plain.cast(field.type))
        else:
            text = value.decode() if isinstance(value, bytes) else value
            columns.append(pa.nulls(rows, field.type) if text is None else pa.repeat(pa.scalar(text, field.type), rows))
    return pa.table(columns, schema=schema_of(name))
