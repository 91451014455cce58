"""A registry with a rich history, made once and copied for every test that damages it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from prefect_registry import Registry
from prefect_registry.clock import SystemClock
from prefect_registry.ledger import paths
from prefect_registry.ledger.runs import flow_run_cell
from prefect_registry.names import key_of
from prefect_registry.records.cells import CellRef
from prefect_registry.storage.base import Storage
from prefect_registry.storage.memory import MemoryStorage

FLOW_RUN = "00000000-0000-0000-0000-000000000007"
LONG = "/".join(["x" * 200] * 3)


@dataclass
class Story:
    """What is in the history: ids, by what they are there for."""

    nightly: str
    orders: str
    event: str
    incident: str
    inner: str
    inner_file: str
    failed: str
    reverted: str
    revert: str
    external: str
    attempt: str
    handled: str

    def run_of(self, id_: str) -> str:
        """The run that an id was made in."""
        return f"run_{id_.split('_')[1]}"

    def dataset_key(self, dataset_id: str, gen: int = 1) -> str:
        """The document of a dataset."""
        return paths.dataset_key(self.run_of(dataset_id), dataset_id[-16:], gen)

    def folder(self, dataset_id: str) -> str:
        """The folder of its bytes."""
        return paths.dataset_prefix(self.run_of(dataset_id), dataset_id[-16:])


DOCUMENT = CellRef("document", key_of("urn:doc:one"))
FLOW_CELL = flow_run_cell(FLOW_RUN)


def tell(registry: Registry) -> Story:
    """Runs that are committed, failed, nested, reverted, released and collected; documents and events, a dataset that
    lies elsewhere, a checkpoint.
    """
    with registry.run("nightly", config={"a": 1}) as run:
        with run.dataset("orders", tags={"team": "sales"}) as orders:
            orders.write_table(pa.table({"month": [1, 1, 2], "n": [1, 2, 3]}), partition_by="month")
        run.register_documents([{"id": "urn:doc:one", "title": "One"}, {"id": "urn:doc:two"}])
        run.register_doctags(
            [{"doc_id": "urn:doc:two", "doctags_uri": "x", "pages": 3, "vlm_model": "m", "vlm_revision": "1"}]
        )
        event = run.emit_event("Ingested", "orders", {"rows": 3})
        incident = registry.incident("slow", "orders", "Slow", "it took long", run_id=run.id)
        with registry.run("inner", parent=run.id) as inner, inner.dataset("inner") as ds, ds.open("a.txt", "w") as file:
            file.write("inner")
        inner_file = f"{paths.dataset_prefix(inner.id, ds.id[-16:])}a.txt"
        with contextlib.suppress(ZeroDivisionError), registry.run("handled", parent=run.id) as handled:
            with handled.dataset("inner") as ds, ds.open("b.txt", "w") as file:
                file.write("never seen")
            raise ZeroDivisionError
        left_out = run.dataset("pending")
        left_out.open("c.txt", "w").close()
    registry.emit_event("Outside", "orders", {})
    registry.incident("outside", "orders", "Outside", "of any run")
    registry.register_documents([{"id": "urn:doc:one", "title": "One, corrected"}])
    with registry.run("reads") as reads, reads.dataset("report") as ds:
        registry.table("orders").to_table()
        ds.set_rows(0)
    with contextlib.suppress(ZeroDivisionError), registry.run("fails") as failed:
        with failed.dataset("orders") as ds:
            ds.write_table(pa.table({"month": [9], "n": [9]}))
        failed.register_documents([{"id": "urn:doc:two", "title": "never"}])
        raise ZeroDivisionError
    with registry.run("bad") as bad, bad.dataset("orders", mode="append") as ds:
        ds.write_table(pa.table({"month": [13], "n": [99]}))
    revert = registry.revert(bad.id, "a month too many")
    with registry.run("external") as elsewhere:
        external = registry.begin_dataset("external", elsewhere.id)
        registry.commit_dataset(external, "s3://somebody-elses/bucket", 10)
    for n in (1, 2):
        with registry.run("released") as released, released.dataset("versions") as ds:
            ds.write_table(pa.table({"n": [n]}))
    registry.set_retention("versions", keep_last=1)
    registry.release(dry_run=False)
    registry.collect(dry_run=False)
    with contextlib.suppress(ZeroDivisionError), registry.run("waits for collection") as waiting:
        with waiting.dataset("orders") as ds:
            ds.write_table(pa.table({"month": [9], "n": [9]}))
        raise ZeroDivisionError
    registry.checkpoint(unsealed=True)
    attempt = registry.begin_attempt("attempt", flow_run=FLOW_RUN).begin.run_id
    registry.begin_attempt("attempt", flow_run=FLOW_RUN)
    return Story(
        nightly=orders.run_id,
        orders=orders.id,
        event=event,
        incident=incident,
        inner=inner.id,
        inner_file=inner_file,
        failed=failed.id,
        reverted=bad.id,
        revert=revert.run_id,
        external=external,
        attempt=attempt,
        handled=handled.id,
    )


def many_files(folder: Path) -> Path:
    """So many long names that their list does not fit a document."""
    deep = folder / LONG
    deep.mkdir(parents=True)
    for i in range(950):
        (deep / f"{i:04d}.bin").write_bytes(b"x")
    return folder


class LaterClock(SystemClock):
    """A clock that is ahead: by it, whoever is silent has been so for long."""

    def __init__(self, hours: float) -> None:
        self._ahead = timedelta(hours=hours)

    def now(self) -> datetime:
        """UTC, later."""
        return datetime.now(tz=UTC) + self._ahead


class Place:
    """A copy of the history that a test may damage."""

    def __init__(self, storage: Storage, opened: Callable[..., Registry], story: Story) -> None:
        self.storage, self.story = storage, story
        self._opened = opened
        self.registry = self.open()

    def open(self, **options: Any) -> Registry:
        """The registry as another process opens it: it has read nothing yet."""
        return self._opened(heartbeats=False, **options)

    # -- damage --------------------------------------------------------------------------------------------------

    def remove(self, key: str) -> None:
        """An object is gone."""
        assert self.storage.info(key) is not None
        self.storage.delete_many([key])

    def truncate(self, key: str) -> None:
        """Only the first half of an object is left."""
        data = self.storage.get(key)
        self.storage.put(key, data[: len(data) // 2])

    def flip(self, key: str) -> None:
        """One bit of the last byte is another."""
        data = self.storage.get(key)
        self.storage.put(key, data[:-1] + bytes([data[-1] ^ 1]))

    def change(self, key: str, /, **fields: Any) -> None:
        """A document says something else."""
        self.storage.put(key, json.dumps({**json.loads(self.storage.get(key)), **fields}).encode())

    def copy(self, source: str, target: str, /, **fields: Any) -> None:
        """A document lies where another belongs."""
        self.storage.put(target, self.storage.get(source))
        if fields:
            self.change(target, **fields)

    def everything(self) -> dict[str, bytes]:
        """Every object with its bytes."""
        return {info.key: self.storage.get(info.key) for info in self.storage.list("")}


def publish_many(registry: Registry, files: Path) -> str:
    """A dataset whose list of files has an object of its own; returns its id."""
    with registry.run("large") as run, run.dataset("large") as large:
        large.upload(many_files(files))
    return large.id


def copied(kind: str, original: Registry, story: Story, folder: Path) -> Place:
    """A copy of a registry, of the same kind."""
    if kind == "folder":
        shutil.copytree(original.url, folder)
        registry = Registry(folder, heartbeats=False)
        return Place(registry.storage, lambda **options: Registry(folder, **options), story)
    storage = MemoryStorage()
    storage._objects.update({i.key: (original.storage.get(i.key), i.modified) for i in original.storage.list("")})
    return Place(storage, lambda **options: Registry(storage, **options), story)
