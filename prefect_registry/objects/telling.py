"""What is told of objects: dicts for people and programs, names from the catalog's index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from prefect_registry.catalog.catalog import Catalog
from prefect_registry.catalog.histories import newest_rows
from prefect_registry.catalog.schema import moment
from prefect_registry.clock import iso
from prefect_registry.ledger.staged import staged_cells
from prefect_registry.objects.finding import Found, cell_name
from prefect_registry.objects.service import Objects
from prefect_registry.objects.versions import Version
from prefect_registry.records.cells import CellGeneration
from prefect_registry.records.objects import AliasValue
from prefect_registry.records.types import OBJECT


@dataclass(frozen=True)
class AliasMove:
    """One move of an alias: the version that it points at from then on (None: it was removed), when, by which run."""

    version: str | None
    at: datetime
    run_id: str | None
    reason: str | None


def move_of(generation: CellGeneration) -> AliasMove:
    """The move that a generation of an alias is."""
    value = AliasValue.model_validate(generation.value)
    return AliasMove(None if generation.deleted else value.version, generation.at, generation.tx, generation.reason)


def info_of(objects: Objects, found: Found, run_id: str | None) -> dict[str, Any]:
    """Everything that is recorded of a version."""
    value = found.value
    files = value.inline or objects.finding.files(found)
    aliases = objects.finding.aliases(found.name, run_id)
    return {
        **_facts(found.name, str(found.version), value.model_dump(by_alias=True)),
        "created_at": iso(found.written.at),
        "run_id": found.written.tx,
        "init_params": dict(value.init),
        "files": [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in files],
        "aliases": [alias for alias, version in aliases.items() if version == found.version],
    }


def _facts(name: str, version: str, value: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "version": version,
        "class": value.get("class", ""),
        "materializer": value.get("materializer", ""),
        "hash": value.get("digest", ""),
        "size": value.get("size", 0),
        "file_count": value.get("file_count", 0),
        "metadata": value.get("metadata", {}),
    }


def info_of_all(catalog: Catalog, objects: Objects, run_id: str | None) -> dict[str, dict[str, Any]]:
    """What the index knows of every version, by name and version."""
    found: dict[str, dict[Version, dict[str, Any]]] = {}
    for row in catalog.ask(lambda c: newest_rows(c, OBJECT)):
        name, version = _split(row["name"])
        if version is None:
            continue
        value = orjson.loads(row["value"]) if row["value"] else {}
        if "restores" in value or "materializer" not in value:
            exact = objects.finding.version(name, version, None)
            value = exact.value.model_dump(by_alias=True) if exact is not None else {}
        facts = _facts(name, str(version), value)
        found.setdefault(name, {})[version] = {**facts, "created_at": iso(moment(row["at"])), "run_id": row["tx"]}
    for name, version, visible in _staged(objects, run_id):
        if visible is not None:
            found.setdefault(name, {})[version] = info_of(objects, visible, run_id)
        else:
            found.get(name, {}).pop(version, None)
    return {name: {str(v): found[name][v] for v in sorted(found[name])} for name in sorted(found) if found[name]}


def numbers_of_all(catalog: Catalog, objects: Objects, run_id: str | None) -> dict[str, list[Version]]:
    """Every object and its visible versions, both sorted: by the index, and by what is staged in the run."""
    found: dict[str, set[Version]] = {}
    for row in catalog.ask(lambda c: newest_rows(c, OBJECT)):
        name, version = _split(row["name"])
        if version is not None:
            found.setdefault(name, set()).add(version)
    for name, version, visible in _staged(objects, run_id):
        (found.setdefault(name, set()).add if visible is not None else found.get(name, set()).discard)(version)
    return {name: sorted(found[name]) for name in sorted(found) if found[name]}


def _staged(objects: Objects, run_id: str | None) -> Iterator[tuple[str, Version, Found | None]]:
    """The versions that a run and those around and in it have touched, and what is visible of them inside the run."""
    for (_, cell), generation in staged_cells(objects.ledger, run_id, [OBJECT]).items():
        name, version = _split(cell)
        if version is not None:
            yield name, version, objects.finding.found(name, version, generation) if generation is not None else None


def _split(name: str) -> tuple[str, Version | None]:
    owner, _, number = name.rpartition("@")
    version = Version.of_key(number)
    return owner, version if version is not None and cell_name(owner, version) == name else None
