"""Versions of objects: their files, what lies in their records, and the aliases that point at them."""

from __future__ import annotations

import base64
import binascii
import hashlib

from prefect_registry.catalog.fsck.expected import owner_of_cell
from prefect_registry.catalog.fsck.folders import Folders, Made
from prefect_registry.catalog.fsck.look import Checked, Damage, batches, since_text, tolerant
from prefect_registry.catalog.fsck.runs import RunCheck
from prefect_registry.ledger import paths
from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.records.objects import PAYLOAD, AliasValue, ObjectValue
from prefect_registry.records.types import ALIAS, OBJECT
from prefect_registry.storage.base import ObjectInfo

# -- files -----------------------------------------------------------------------------------------------------------


class ObjectsCheck:
    """Looks at the files that the versions of one run have."""

    def __init__(self, run: RunCheck, folders: Folders) -> None:
        self.run, self.folders = run, folders

    def check(self) -> None:
        """Of what it publishes; of a run that is not decided, of all that it has written so far."""
        if self.run.is_unknown or self.run.standing.outcome == "aborted":
            return
        if self.run.members is not None:
            cells = [(CellRef(type_, key), gen) for type_, key, gen in self.run.members.cells]
        else:
            cells = self.run.listing.touched
        wanted = [(cell, gen) for cell, gen in cells if cell.type == OBJECT]
        for some in batches(wanted):
            keys = [paths.cell_key(cell, gen) for cell, gen in some]
            for key, found in zip(keys, self.run.checked.documents(keys, CellGeneration), strict=True):
                if isinstance(found, CellGeneration):
                    self._version(key, found)
                elif found is not None or self.run.members is not None:
                    self.folders.is_unsure = True  # what is wrong with it is told where cells are checked

    def _version(self, key: str, generation: CellGeneration) -> None:
        if generation.tx != self.run.run_id:
            return  # of somebody who was first
        value = tolerant(lambda: ObjectValue.model_validate(generation.value))
        if not isinstance(value, ObjectValue):
            self.folders.is_unsure = True
            return
        if not value.payload:
            return
        named_by = self.run.ended or self.run.info(paths.touch_key(self.run.run_id, *paths.cell_of_key(key)))
        suffix = value.payload[-16:]
        own = f"pl_{self.run.run_id[4:]}_{suffix}", paths.dataset_prefix(self.run.run_id, suffix)
        if (value.payload, value.root) != own:
            what = f"It says that its files are those of {value.payload:.80} in {value.root:.200}"
            self.run.looked.tell("manifest-contradicted", key, what, named_by)
            self.folders.is_unsure = True
            return
        begin = self.run.begin
        if self.run.members is None and (begin is None or begin.implicit):
            self.folders.take(suffix)  # a save of its own, whose bytes may come behind this (decision 0027)
            return
        of = f" of object {generation.name!r:.200}"
        counts = (value.file_count, value.size)
        made = Made(key, of, suffix, value.files, value.manifest, counts, PAYLOAD, value.payload)
        self.folders.check(made, self.folders.take(suffix), named_by)


# -- records ---------------------------------------------------------------------------------------------------------


def look_at_object(checked: Checked, info: ObjectInfo, generation: CellGeneration) -> None:
    """A visible generation of a version: what lies in it, and that it is there."""
    values = (generation.name, generation.gen, generation.deleted)
    checked.scratch.run(
        "INSERT INTO versions VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET gen = excluded.gen,"
        " deleted = excluded.deleted WHERE excluded.gen >= versions.gen",
        values,
    )
    value = tolerant(lambda: ObjectValue.model_validate(generation.value))
    if not isinstance(value, ObjectValue):
        why = value.why if isinstance(value, Damage) else "it is empty"
        checked.tell("document-damaged", info.key, f"What it says of its object cannot be read: {why}", info)
        return
    if f"{value.object}@{value.version}" != generation.name:
        says = f"{value.object}@{value.version}"
        checked.tell("wrong-id", info.key, f"It says that it is {says!r:.200} of {generation.name!r:.200}", info)
    if not generation.deleted and value.restores is None and not value.payload:
        _look_at_inline(checked, info, generation, value)


def _look_at_inline(checked: Checked, info: ObjectInfo, generation: CellGeneration, value: ObjectValue) -> None:
    of = f"of object {generation.name!r:.200}"
    total = sum(f.size for f in value.inline)
    if (value.file_count, value.size) != (len(value.inline), total):
        says = f"{value.file_count:,} files with {value.size:,} bytes"
        what = f"It says {says}; in it lie {len(value.inline):,} with {total:,}"
        checked.tell("manifest-contradicted", info.key, what, info)
    for file in value.inline:
        try:
            data = base64.b64decode(file.data, validate=True)
        except (binascii.Error, ValueError) as error:
            checked.tell("file-changed", info.key, f"{file.path!r:.200} {of} is no base64: {error}", info)
            continue
        if (len(data), hashlib.sha256(data).hexdigest()) != (file.size, file.sha256):
            what = f"{file.path!r:.200} {of} lies in it with {len(data):,} bytes that are not those of its sha256"
            checked.tell("file-changed", info.key, what, info)


# -- aliases ---------------------------------------------------------------------------------------------------------


def look_at_alias(checked: Checked, info: ObjectInfo, generation: CellGeneration) -> None:
    """A visible generation of an alias: where it points."""
    value = tolerant(lambda: AliasValue.model_validate(generation.value))
    if not isinstance(value, AliasValue):
        why = value.why if isinstance(value, Damage) else "it is empty"
        checked.tell("document-damaged", info.key, f"Where it points cannot be read: {why}", info)
        return
    target = None if generation.deleted else f"{value.object}@{value.version}"
    checked.scratch.run(
        "INSERT INTO aliases VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET gen = excluded.gen,"
        " target = excluded.target, key = excluded.key, since = excluded.since WHERE excluded.gen >= aliases.gen",
        (generation.name, generation.gen, target, info.key, since_text(info)),
    )


def check_aliases(checked: Checked) -> None:
    """Aliases that point at nothing, now that all cells were looked at."""
    sql = (
        "SELECT a.*, v.id IS NULL AS missing FROM aliases a LEFT JOIN versions v ON v.id = a.target"
        " WHERE a.target IS NOT NULL AND (v.id IS NULL OR v.deleted)"
    )
    for row in checked.scratch.rows(sql).fetchall():
        owner = owner_of_cell(*CellRef.named(OBJECT, row["target"]))
        if checked.scratch.has("skipped", "owner = ?", owner):
            continue  # its version cannot be read
        alias, version = checked.latest(ALIAS, row["name"]), checked.latest(OBJECT, row["target"])
        moved = alias is not None and (alias.deleted or alias.gen != row["gen"])
        if moved or (version is not None and not version.deleted):
            continue  # it was being moved while the cells were listed
        purged = version is not None and version.value.get("purged") is True
        how = "is not there" if row["missing"] else "was released by retention" if purged else "is deleted"
        what = f"{row['name']!r:.200} points at {row['target']!r:.200}, which {how}"
        checked.tell("alias-of-nothing", row["key"], what, row["since"])
