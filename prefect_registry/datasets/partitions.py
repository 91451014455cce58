"""Which files of a dataset lie in partitions that newer ones have replaced (DESIGN.md P15)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prefect_registry.names import folder_values, spelled_in_folder


def within(values: Mapping[str, Any], partition: Mapping[str, Any]) -> bool:
    """Whether what has these values lies in a partition."""
    return all(name in values and values[name] == value for name, value in partition.items())


def left(
    paths: Iterable[str],
    own: Mapping[str, Any] | None,
    types: Mapping[str, str],
    replaced: Sequence[Mapping[str, Any]],
) -> Iterator[bool]:
    """For each path whether it lies in none of the replaced partitions.

    Args:
        paths: Of files, whose folders spell values (``month=7/``).
        own: The partition that their dataset was given.
        types: The Arrow types of columns that folders spell, as far as they are known.
        replaced: The partitions.
    """
    partitions = [_spelled({n: spelled_in_folder(v) for n, v in p.items()}, types) for p in replaced]
    mine = {name: spelled_in_folder(value) for name, value in (own or {}).items()}
    for path in paths:
        values = _spelled({**mine, **folder_values(path)}, types)
        yield not any(within(values, partition) for partition in partitions)


def _spelled(values: Mapping[str, str], types: Mapping[str, str]) -> dict[str, str]:
    """Texts of folders, with one spelling for each value of the columns whose types are known."""
    if not any(name in types for name in values):
        return dict(values)
    from prefect_registry.datasets.parquet import one_spelling

    return {name: one_spelling(text, types.get(name, "string")) for name, text in values.items()}
