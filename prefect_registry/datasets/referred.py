"""Files of datasets that lie outside the registry: listed where they are, when they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_registry.datasets.manifest import is_member
from prefect_registry.datasets.partitions import left
from prefect_registry.errors import IntegrityError

if TYPE_CHECKING:
    from prefect_registry.datasets.reading import Dataset


def referred_files(dataset: Dataset, ending: str = "") -> tuple[Any, str, list[str]]:
    """The filesystem, the base path, and the files below it whose names end so, without those in partitions that newer
    datasets have replaced. A root that is a file is the one file, whatever its name.

    Raises:
        IntegrityError: There are none, or they cannot be listed.
    """
    import fsspec

    try:
        fs, path = fsspec.core.url_to_fs(dataset.root)
        base = path.rstrip("/")
        found = [base] if fs.isfile(base) else sorted(fs.find(base))
    except (OSError, ValueError, ImportError) as error:
        raise IntegrityError(
            f"The files of {dataset.id} cannot be listed at {dataset.root}",
            why=str(error).partition("\n")[0][:300],
            todo="Make them readable from here, or revert the run that refers to them",
        ) from error
    inside = {f: f[len(base) :].lstrip("/") for f in found}
    members = [f for f, name in inside.items() if f == base or (is_member(name) and name.endswith(ending))]
    if not members:
        raise IntegrityError(
            f"There is no {'Parquet ' if ending == '.parquet' else ''}file at {dataset.root}",
            why=f"Dataset {dataset.id} is a reference, and what it refers to is gone or of another kind",
            todo="Restore the files, or revert the run that refers to them",
        )
    names = [inside[f] for f in members]
    shown = left(names, dataset.partition, dataset.partitioning, dataset.replaced)
    return fs, base, [f for f, is_left in zip(members, shown, strict=True) if is_left]


def referred_urls(dataset: Dataset) -> list[str]:
    """The URL of every such file, of whatever format."""
    root = dataset.root.rstrip("/")
    _, base, found = referred_files(dataset)
    return [root if f == base else f"{root}/{f[len(base) :].lstrip('/')}" for f in found]
