"""Objects as commands name and show them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_registry.cli.output import size, write_json, write_table
from prefect_registry.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from prefect_registry.objects.finding import Found
    from prefect_registry.registry import Registry

FIELDS = ("name", "version", "class", "materializer", "hash", "size", "file_count", "metadata", "created_at", "run_id")

_ID = re.compile(r"[a-z]+_[0-9a-z]{26}(_[0-9a-z]{16})?")


def find_object(registry: Registry, wanted: str) -> Found | None:
    """The version that ``name``, ``name@2.1``, ``name@champion`` or ``name@latest`` means; None for none."""
    from prefect_registry.objects.versions import Wanted

    try:
        parsed = Wanted.of(wanted)
    except InvalidInput:
        return None  # then it is the name of something else
    return registry.parts.objects.find(parsed, None)


def id_of(registry: Registry, wanted: str, *prefixes: str) -> str:
    """The prefix of those that ``wanted`` has as an id; empty when it is no id. What is none but looks like one, as
    ``run_metrics`` does, is the kind or the object of that name, if there is one.
    """
    prefix = next((each for each in prefixes if wanted.startswith(each)), "")
    if not prefix or _ID.fullmatch(wanted):
        return prefix
    is_name = is_kind(registry, wanted) or find_object(registry, wanted) is not None
    return "" if is_name else prefix


def is_kind(registry: Registry, name: str) -> bool:
    """Whether there ever was a dataset of that kind."""
    return bool(registry.catalog.count("datasets", kind=name))


def nothing_of(registry: Registry, wanted: str) -> NotFound:
    """The error for a name that is neither an object's nor a kind's. It says what there is of an object."""
    if "@" in wanted:
        from prefect_registry.objects.versions import Wanted

        try:
            return registry.parts.objects.finding.missing(Wanted.of(wanted), None)
        except InvalidInput as error:
            return NotFound(f"There is no {wanted!r:.100}", why=error.why, todo=error.todo, committed="no")
    return NotFound(
        f"There is no kind and no object {wanted!r:.100}, and it is no id",
        todo="Check the spelling: prefect-registry ls kinds, prefect-registry ls objects",
        committed="no",
    )


def object_fields(info: dict[str, Any]) -> dict[str, Any]:
    """A version, as ``Registry.info`` tells of it, without its files."""
    return {name: info[name] for name in FIELDS} | {
        "init_params": info.get("init_params", {}), "aliases": info.get("aliases", []),
    }  # fmt: skip


def object_files(info: dict[str, Any]) -> list[dict[str, Any]]:
    """The files of a version, with the fields that files of datasets have."""
    return [{"path": f["path"], "size": f["size"], "rows": None, "sha256": f["sha256"]} for f in info["files"]]


def list_objects(
    registry: Registry, text: str | None, limit: int, cursor: str | None, as_json: bool
) -> str | None:  # fmt: skip
    """Write a page of the objects, by name; returns where the next one begins."""
    from prefect_registry.catalog.queries import MOST_PER_PAGE

    if not 1 <= limit <= MOST_PER_PAGE:
        raise InvalidInput.of("limit", [f"limit must be from 1 to {MOST_PER_PAGE:,}, not {limit!r:.40}"])
    found = registry.info()
    names = [n for n in found if (cursor is None or n > cursor) and (text is None or text.lower() in n.lower())]
    items = []
    for name in names[:limit]:
        last = list(found[name].values())[-1]
        items.append({
            "name": name, "versions": len(found[name]), "latest": last["version"], "class": last["class"],
            "size": sum(each["size"] for each in found[name].values()), "created_at": last["created_at"],
        })  # fmt: skip
    following = names[limit - 1] if len(names) > limit else None
    if as_json:
        write_json("ls/1", registry=registry.url, of="objects", items=items, next=following)
        return None
    rows = [(i["name"], i["versions"], i["latest"], i["class"], size(i["size"]), when_of(i)) for i in items]
    write_table(("OBJECT", "VERSIONS", "LATEST", "CLASS", "SIZE", "SAVED (UTC)"), rows, ("VERSIONS", "SIZE"))
    return following


def when_of(info: dict[str, Any]) -> str:
    """When it was saved, for people."""
    return str(info["created_at"])[:19].replace("T", " ")


def given_path(command: str, path: str) -> Path:
    """A file or folder of this machine. Raises ``InvalidInput`` when nothing is there."""
    if not os.path.lexists(path):
        raise InvalidInput.of(command, [f"there is no file or folder {path!r:.200}"])
    return Path(path)


def bytes_of(obj: Any) -> int:
    """How many bytes there are to save, for the bar alone."""
    if isinstance(obj, bytes):
        return len(obj)
    if not isinstance(obj, Path):
        return 0
    files = (os.path.join(top, file) for top, _, names in os.walk(obj) for file in names) if obj.is_dir() else [obj]
    return sum(os.lstat(file).st_size for file in files)
