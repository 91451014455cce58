"""What may be asked of a dataset: its arguments, its rows, and the root that it is committed with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import unquote

from prefect_registry.errors import InvalidInput
from prefect_registry.names import name_problems
from prefect_registry.records.base import json_object_problems
from prefect_registry.storage.secrets import holds_credentials, without_credentials

MODES = ("replace", "append", "replace_partitions")
LONGEST_URL_CHARACTERS = 4_000
_ALIASES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfs": "az", "abfss": "az"}


def check_arguments(kind: object, mode: object, partition: object, key: object, tags: object, task_run: object) -> None:
    """Refuse what no dataset can be begun with; one error lists every problem."""
    problems = list(name_problems(kind, "kind"))
    if mode is not None and mode not in MODES:
        problems.append(f"mode must be one of {', '.join(MODES)}, not {mode!r:.80}")
    if partition is not None and not (isinstance(partition, Mapping) and partition):
        problems.append("partition must be a non-empty mapping of column to value")
    elif partition is not None:
        problems += json_object_problems(partition, "partition")
    if mode == "replace_partitions" and partition is None:
        problems.append("mode 'replace_partitions' needs partition=, such as {'month': 7}")
    for noun, name in (("key", key), ("task_run", task_run)):
        problems += name_problems(name, noun) if name is not None else []
    problems += tag_problems(tags)
    if problems:
        raise InvalidInput.of("the dataset", problems)


def tag_problems(tags: object) -> list[str]:
    """Why ``tags`` cannot be the labels of a dataset."""
    if tags is None:
        return []
    if not isinstance(tags, Mapping):
        return [f"tags must be a mapping of str to str, not {type(tags).__name__}"]
    problems = [f"the tag {k!r:.80} is {type(v).__name__}, not str" for k, v in tags.items() if not isinstance(v, str)]
    return problems + json_object_problems(tags, "tags")


def check_rows_argument(rows: object) -> None:
    """Refuse what cannot be a number of rows. None is one that nobody gave."""
    if rows is None:
        return
    if isinstance(rows, bool) or not isinstance(rows, int):
        raise InvalidInput.of("rows", [f"rows must be an integer, not {type(rows).__name__}"])
    if not 0 <= rows < 2**63:
        raise InvalidInput.of("rows", [f"rows must be 0 or more and fit 63 bits, not {rows}"])


def is_own_folder(root: object, store_url: str, prefix: str) -> bool:
    """Whether ``root`` is the dataset's own folder; False when it lies outside the registry.

    Raises ``InvalidInput`` for anything else inside the registry, and for a URL that no record may hold.
    """
    if not isinstance(root, str) or not root.strip():
        raise InvalidInput.of("parquet_root", ["parquet_root must be a non-empty URL or path"])
    if any(ord(c) < 32 or 0xD800 <= ord(c) <= 0xDFFF for c in root) or len(root) > LONGEST_URL_CHARACTERS:
        raise InvalidInput.of("parquet_root", [f"{root!r:.80} has control characters, broken Unicode or is too long"])
    if "://" in root and holds_credentials(root):
        raise InvalidInput(
            f"{without_credentials(root)} holds a password or a signature",
            why="It would be stored, for everybody to see",
            todo="Give the URL without credentials",
            committed="no",
        )
    if any(plain(root) == f"{plain(store_url)}/{prefix.rstrip('/')}" for plain in (_plain, _without_links)):
        return True
    ours = _plain(store_url)
    if any((plain(root) + "/").startswith(plain(store_url) + "/") for plain in (_plain, _without_links)):
        raise InvalidInput(
            f"{root} lies in this registry, but is not the folder of this dataset",
            why="A dataset names only files of its own folder",
            todo=f"Write to {ours}/{prefix} and commit that, or adopt the files",
            committed="no",
        )
    return False


def _without_links(url: str) -> str:
    """The same; a path as it is behind symbolic links."""
    plain = _plain(url)
    return plain if "://" in plain else os.path.realpath(plain)


def _plain(url: str) -> str:
    """A root in one spelling: paths absolute, schemes by their usual name, no slash at the end."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() in ("file", "local"):
        path = url if not separator else unquote(rest.removeprefix("localhost"))
        return os.path.abspath(os.path.expanduser(path))
    scheme = _ALIASES.get(scheme.lower(), scheme.lower())
    return f"{scheme}://" + "/".join(part for part in rest.split("/") if part not in ("", "."))
