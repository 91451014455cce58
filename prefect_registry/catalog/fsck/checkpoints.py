"""The checkpoints of the catalog: whether their manifests and tables are what other engines and new readers expect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from prefect_registry.catalog.checkpoints.manifests import CHECKPOINTS, TABLES
from prefect_registry.catalog.checkpoints.tables import schema_of
from prefect_registry.catalog.fsck.files import Verification
from prefect_registry.catalog.fsck.look import Checked, Damage, batches, tolerant
from prefect_registry.catalog.schema import INDEX_FORMAT
from prefect_registry.ledger import paths
from prefect_registry.records.checkpoints import Checkpoint, TableFile
from prefect_registry.storage.base import ObjectInfo
from prefect_registry.storage.transfer import stored_digest

_AT_A_TIME = 16


@dataclass(frozen=True)
class _Named:
    """A table file, the manifest that names it, and whether its columns are those of this version."""

    table: str
    file: TableFile
    manifest: ObjectInfo
    is_known: bool


def check_checkpoints(checked: Checked, registry_id: str, verification: Verification) -> None:
    """Look at every checkpoint. Tables are compared by size; their rows are counted, and their sha256 computed, as far
    as files are verified.
    """
    checked.stage("checkpoints")
    manifests = [i for i in checked.storage.list(CHECKPOINTS) if paths.gen_of_key(i.key) >= 0]
    named = {(n.file.key, n.file.size, n.file.sha256, n.file.rows): n
             for i in manifests for n in _named(checked, i, registry_id)}  # fmt: skip
    there = {i.key: i for i in checked.storage.list(TABLES)} if named else {}
    whole = []
    for each in named.values():
        why = _unlike(each.file, there)
        if why is None:
            whole.append(each)
        else:
            _tell(checked, each, why, there)
    if not verification.reads:
        return
    chosen = {each.file.key for each in verification.chosen(whole)}
    for some in batches(whole, _AT_A_TIME):
        calls = [partial(_unread, checked, each, each.file.key in chosen) for each in some]
        for each, why in zip(some, checked.store.together(calls), strict=True):
            if why is not None:
                _tell(checked, each, why, there)


def _named(checked: Checked, info: ObjectInfo, registry_id: str) -> Iterator[_Named]:
    """The tables of a manifest, if it is one; else it is told."""
    found = checked.document(info.key, Checkpoint)
    checked.count("checkpoints", "checkpoints")
    if isinstance(found, Damage):
        checked.tell("checkpoint-damaged", info.key, found.why, info)
    elif found is None:  # a newer one has collected it
        return
    elif found.registry_id != registry_id:
        checked.tell("checkpoint-of-another", info.key, f"It was written by {found.registry_id:.80}", info)
    elif found.generation != paths.gen_of_key(info.key):
        checked.tell("checkpoint-damaged", info.key, f"It says that it is checkpoint {found.generation}", info)
    else:
        for tables in [*(part.tables for part in found.parts), found.rest]:
            for table, file in tables.items():
                yield _Named(table, file, info, found.form == INDEX_FORMAT)


def _unlike(file: TableFile, there: Mapping[str, ObjectInfo]) -> str | None:
    """What the listing shows to be wrong with a table."""
    if file.key not in there:
        return "It is gone"
    if there[file.key].size != file.size:
        return f"It has {there[file.key].size:,} bytes, and the manifest says {file.size:,}"
    return None


def _unread(checked: Checked, each: _Named, whole: bool) -> str | None:
    """What reading a table shows to be wrong with it: its end always, and all of it on request."""
    found = tolerant(partial(_wrong, checked, each, whole))
    if isinstance(found, Damage):
        return f"It cannot be read: {found.why}"
    return found


def _wrong(checked: Checked, each: _Named, whole: bool) -> str | None:
    import pyarrow.parquet as pq

    file = each.file
    if whole:
        _, sha256 = stored_digest(checked.storage, file.key)
        if sha256 != file.sha256:
            return f"It has sha256 {sha256[:12]}…, and the manifest says {file.sha256[:12]}…"
    try:
        with checked.storage.open(file.key) as opened:
            footer = pq.ParquetFile(opened)
            rows, schema = footer.metadata.num_rows, footer.schema_arrow
    except OSError as error:  # what Parquet says of bytes that make no sense
        raise ValueError(str(error)) from error
    if rows != file.rows:
        return f"It has {rows:,} rows, and the manifest says {file.rows:,}"
    if each.is_known and not schema.equals(schema_of(each.table)):
        return f"It has other columns than the table {each.table}"
    return None


def _tell(checked: Checked, each: _Named, why: str, there: Mapping[str, ObjectInfo]) -> None:
    """Tell of a table, unless its checkpoint has been collected meanwhile."""
    if checked.exists(each.manifest.key):
        since = there.get(each.file.key, each.manifest)
        checked.tell("checkpoint-damaged", each.file.key, f"{why} ({each.manifest.key})", since)
