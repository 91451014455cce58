"""Writing checkpoints: any number of attempts at a time, one winner per generation (DESIGN.md 6)."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from prefect_registry.catalog.checkpoints.manifests import (
    KEPT,
    TABLES,
    generation_of_name,
    generations,
    manifest_key,
    read_checkpoint,
    registry_id,
    table_key,
)
from prefect_registry.catalog.checkpoints.parts import equal_parts, forget_parts, keep_parts, note_parts
from prefect_registry.catalog.checkpoints.planning import Span, plan
from prefect_registry.catalog.checkpoints.ranges import REST, SETTLED, Range, stamp_after
from prefect_registry.catalog.checkpoints.tables import save, save_empty
from prefect_registry.catalog.database import Database
from prefect_registry.catalog.schema import INDEX_FORMAT, moment
from prefect_registry.catalog.sync import Sync
from prefect_registry.errors import AccessDenied, AlreadyExists, FormatError, NotFound
from prefect_registry.ledger.store import Store
from prefect_registry.notebook import shown
from prefect_registry.records.checkpoints import Checkpoint, Part, TableFile
from prefect_registry.storage.base import Upload

log = logging.getLogger("prefect_registry")

MOST_PLANS = 5


@dataclass(frozen=True)
class CheckpointReport:
    """What came of writing a checkpoint.

    Attributes:
        written: Whether this call wrote the checkpoint ``generation``; if not, ``reason`` says why.
        generation: The newest checkpoint that this call knows of; None when there is none.
        manifest: The key of its manifest, which names the tables.
        sealed: The newest hour that it holds (``2026-11-21/07``, UTC); empty for none.
        rows: Rows per table.
        parts_written, parts_kept: Ranges of hours that were written, and those whose files an older one has.
        bytes_written: The size of the Parquet files that were written.
        collected: Objects of old checkpoints that were deleted.
    """

    written: bool
    generation: int | None
    sealed: str
    reason: str = ""
    rows: Mapping[str, int] = field(default_factory=dict)
    parts_written: int = 0
    parts_kept: int = 0
    bytes_written: int = 0
    collected: int = 0
    manifest: str | None = None

    _repr_html_ = shown


@dataclass(frozen=True)
class _Piece:
    """Files on this machine that will be one part, or the rest (no hours)."""

    name: str
    span: Span | None
    files: Mapping[str, tuple[Path, int]]


class Checkpoints:
    """Writes and collects the checkpoints of one store."""

    def __init__(self, store: Store, database: Database, sync: Sync) -> None:
        self._store = store
        self._database = database
        self._sync = sync

    def write(self, full: bool = False, unsealed: bool = False) -> CheckpointReport:
        """Write the next checkpoint, if there is anything new to put in, and collect old ones.

        Args:
            full: Write every table anew, and refer to none of an older checkpoint.
            unsealed: Also put in what is newer than the newest sealed hour, so that other engines see it. The next
                checkpoint writes it again; readers of this library look at the journal for it all the same.
        """
        return self._database.mended(lambda: self._write(full, unsealed))

    def _write(self, full: bool, unsealed: bool) -> CheckpointReport:
        there = generations(self._store)
        newest = self._read(there[-1]) if there else None
        self._sync.run()
        self._sync.run()  # what the first listing showed seals hours for the second
        report = self._attempt(there[-1] if there else None, newest, full, unsealed)
        manifest = manifest_key(report.generation) if report.generation is not None else None
        return replace(report, collected=self._collect(), manifest=manifest)

    def _attempt(self, before: int | None, newest: Checkpoint | None, full: bool, unsealed: bool) -> CheckpointReport:
        generation = before + 1 if before is not None else 0
        sizes = {o.key: o.size for o in self._store.storage.list(TABLES)} if newest is not None else {}
        for _ in range(MOST_PLANS):
            sealed, spans = self._planned(newest, sizes, full)
            why = _why_not(newest, sealed, spans, full, unsealed)
            if why:
                return CheckpointReport(False, before, newest.sealed if newest is not None else "", why)
            with tempfile.TemporaryDirectory() as folder:
                names = {span: self._name(generation) for span in spans if span.part is None}
                pieces = self._saved(Path(folder), generation, sealed, spans, names, unsealed)
                if pieces is not None:
                    return self._publish(before, generation, sealed, spans, pieces)
        return CheckpointReport(False, before, sealed, "the past kept changing; try again")

    def _name(self, generation: int) -> str:
        """Tables name the generation they are for: once it is there without them, nobody will ever refer to them."""
        return f"{generation:010d}-{self._store.ids.write_id()}"

    # -- what goes in --------------------------------------------------------------------------------------------

    def _planned(self, newest: Checkpoint | None, sizes: Mapping[str, int], full: bool) -> tuple[str, list[Span]]:
        with self._database.reading() as connection:
            row = connection.execute("SELECT value FROM state WHERE name = 'sealed'").fetchone()
            sealed = str(row["value"]) if row is not None else ""
            return sealed, plan(connection, newest, sealed, sizes, full)

    def _saved(
        self, folder: Path, generation: int, sealed: str, spans: Sequence[Span], names: Mapping[Span, str], all_: bool
    ) -> list[_Piece] | None:
        """The tables of one state of the index, as files; None if a part that was to be kept is no longer right."""
        with self._database.writing() as connection:  # first, so that a change in between strikes them off again
            note_parts(connection, [Part(name=n, after=s.after, through=s.through) for s, n in names.items()])
        with self._database.reading() as connection:
            equal = equal_parts(connection)
            if any(span.part is not None and (span.part.name, span.range) not in equal for span in spans):
                return None
            found = []
            for span, name in names.items():
                files = {}
                for table, condition in SETTLED.items():
                    file = folder / f"{name}-{table}"
                    rows = save(connection, table, condition, span.range.values, file)
                    if rows:
                        files[table] = (file, rows)
                found.append(_Piece(name, span, files))
            name, files = self._name(generation), {}
            values = {**Range("", stamp_after(sealed)).values, "all": all_}
            for table, condition in REST.items():
                file = folder / f"{name}-{table}"
                rows = save(connection, table, condition, values, file)
                if not rows:
                    save_empty(table, file)
                files[table] = (file, rows)
            return [*found, _Piece(name, None, files)]

    def _publish(
        self, before: int | None, generation: int, sealed: str, spans: Sequence[Span], pieces: Sequence[_Piece]
    ) -> CheckpointReport:
        uploads = [Upload(table_key(p.name, table), path) for p in pieces for table, (path, _) in p.files.items()]
        stored = {each.key: each for each in self._store.storage.upload(uploads)}
        written: dict[Span | None, tuple[str, dict[str, TableFile]]] = {}
        for piece in pieces:
            tables = {}
            for table, (_, rows) in piece.files.items():
                each = stored[table_key(piece.name, table)]
                tables[table] = TableFile(key=each.key, size=each.size, sha256=each.sha256, rows=rows)
            written[piece.span] = (piece.name, tables)
        parts = []
        for span in spans:
            if span.part is not None:
                parts.append(span.part)
            else:
                name, tables = written[span]
                parts.append(Part(name=name, after=span.after, through=span.through, tables=tables))
        checkpoint = Checkpoint(
            write_id=self._store.ids.write_id(), registry_id=registry_id(self._store), generation=generation,
            previous=before, created_at=self._store.clock.now(), form=INDEX_FORMAT, sealed=sealed,
            newest=self._newest(), parts=parts, rest=written[None][1],
        )  # fmt: skip
        key = manifest_key(generation)
        try:
            self._store.storage.create(key, checkpoint.encode())
        except AlreadyExists:
            with self._database.writing() as connection:
                forget_parts(connection, [p.name for p in pieces])
            return CheckpointReport(False, generation, sealed, "another process wrote it at the same time")
        with self._database.writing() as connection:
            keep_parts(connection, [p.name for p in parts])
        files = checkpoint.files()
        counts = {t: sum(f.rows for f in files if f.key.endswith(f"/{t}.parquet")) for t in SETTLED}
        kept = sum(span.part is not None for span in spans)
        return CheckpointReport(
            True, generation, sealed, "", counts, len(spans) - kept, kept, sum(each.size for each in stored.values())
        )

    def _newest(self) -> datetime:
        row = self._database.rows("SELECT value FROM state WHERE name = 'newest'")
        return moment(row[0]["value"])

    def _read(self, generation: int) -> Checkpoint | None:
        try:
            found = read_checkpoint(self._store, generation)
        except NotFound:
            return None
        except FormatError as error:
            log.warning("Checkpoint %d cannot be read (%s): the next one is written in full.", generation, error)
            return None
        return found if found.registry_id == registry_id(self._store) else None

    # -- collecting ----------------------------------------------------------------------------------------------

    def _collect(self) -> int:
        """Delete all but the newest checkpoints, and tables that these do not name and nobody can name any more."""
        there = generations(self._store)
        kept = there[-KEPT:]
        try:
            named = {file.key for generation in kept for file in read_checkpoint(self._store, generation).files()}
        except (NotFound, FormatError):
            return 0  # a newer one has collected already, or it is not known what that one names
        dead = [
            o.key
            for o in self._store.storage.list(TABLES)
            if o.key not in named and 0 <= generation_of_name(o.key.split("/")[2]) <= max(kept, default=-1)
        ]
        old = [manifest_key(generation) for generation in there[:-KEPT]]
        try:
            for keys in (old, dead):  # manifests first: without its tables one would be of no use
                if keys:
                    self._store.storage.delete_many(keys)
        except AccessDenied as error:
            log.warning("Old checkpoints stay, as these credentials may not delete below catalog/: %s", error)
            return 0
        return len(old) + len(dead)


def _why_not(newest: Checkpoint | None, sealed: str, spans: Sequence[Span], full: bool, unsealed: bool) -> str:
    if newest is not None and sealed < newest.sealed:
        return "the newest checkpoint holds later hours than this machine has seen sealed"
    if unsealed or full:
        return ""
    if not sealed:
        return "no hour of the journal is sealed yet"
    same = newest is not None and newest.sealed == sealed and newest.form == INDEX_FORMAT
    return "nothing has changed since the newest checkpoint" if same and all(s.part for s in spans) else ""
