"""``cat`` and ``get``: the bytes of datasets and objects."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from prefect_registry.cli.commands.show import file_fields, known_table
from prefect_registry.cli.objects import find_object, id_of, is_kind, nothing_of
from prefect_registry.cli.opening import open_registry
from prefect_registry.cli.options import Json, RegistryName
from prefect_registry.cli.output import progress, say, size, write, write_json
from prefect_registry.errors import AlreadyExists, IntegrityError, InvalidInput, NotFound

if TYPE_CHECKING:
    from prefect_registry.datasets.reading import Dataset
    from prefect_registry.objects.finding import Found
    from prefect_registry.registry import Registry

_CHUNK = 1 << 20


def cat(dataset: str, path: str, /, *, registry: RegistryName = None, json: Json = False) -> None:
    """Write a file of a dataset to stdout.

    Its sha256 is compared on the way: bytes that are not those that were committed end it with exit code 7. With
    --json it writes what is known of the file instead.

    Parameters
    ----------
    dataset
        A dataset.
    path
        A file in it, as `show` lists them.
    """
    found = open_registry(registry)
    whole = found.get_dataset(dataset)
    with whole.open(path) as file:
        entry = next(f for f in whole.files if f.path == path)
        if json:
            url = f"{whole.root.rstrip('/')}/{path}"
            write_json("cat/1", registry=found.url, dataset=dataset, url=url, **file_fields(entry))
            return
        digest, count = sha256(), 0
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            count += len(chunk)
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    if count != entry.size or (entry.sha256 and digest.hexdigest() != entry.sha256):
        raise IntegrityError(
            f"{path} of dataset {dataset} is damaged",
            why=f"The {count:,} bytes above are not the {entry.size:,} that were committed",
            todo="Do not use them; restore the file from a backup, or revert the run",
            dataset_id=dataset,
            path=path,
        )


def get(
    name: str,
    /,
    *,
    to: Annotated[
        Path | None, Parameter(help="The new folder. [default: one here, named after what is fetched]")
    ] = None,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Fetch the files of a dataset, of an object, or of all datasets in a kind's published table, into a new folder.

    Every file is verified by its sha256. The folder appears when all of it is there: what is interrupted leaves nothing
    behind. Of a kind, each dataset has a folder of its own, named by its id. A file or folder that was saved as an
    object comes back under its name; of other objects the files that they are stored in.

    Parameters
    ----------
    name
        A dataset; the name of a kind; or an object: name@2.1, name@champion, name@latest. Without a version, the kind
        of that name, or else the object's latest version.
    """
    found = open_registry(registry)
    target = to if to is not None else Path(name.replace("/", "_").lstrip(".") or "table")
    single = id_of(found, name, "ds_") != ""
    version = _version(found, name) if not single else None
    fetched = _object(found, version, target) if version is not None else _datasets(found, name, target, single)
    if json:
        write_json("get/1", registry=found.url, folder=str(target), files=fetched)
        return
    for file in fetched:
        write(file["target"])
    say(f"{len(fetched):,} file(s), {size(sum(file['size'] for file in fetched))}, verified.")


GROUP = "Data"
COMMANDS = {"cat": cat, "get": get}


def _version(registry: Registry, name: str) -> Found | None:
    """The object that is meant; None for a kind."""
    if "@" not in name and is_kind(registry, name):
        return None
    found = find_object(registry, name)
    if found is None and not is_kind(registry, name):
        raise nothing_of(registry, name)
    return found


def _object(registry: Registry, version: Found, target: Path) -> list[dict[str, Any]]:
    from prefect_registry.objects.fetching import fetch

    with _new_folder(target) as folder, progress(f"Fetching {version.id}", version.value.size) as bar:
        paths = fetch(registry.parts.objects, version, folder, bar)
        targets = {path: str(target / made.relative_to(folder)) for path, made in paths.items()}
    return [
        {"dataset": None, "object": version.id, "target": targets[f.path], "path": f.path, "size": f.size,
         "rows": None, "sha256": f.sha256}
        for f in version.value.inline or registry.parts.objects.finding.files(version)
    ]  # fmt: skip


def _datasets(registry: Registry, name: str, target: Path, single: bool) -> list[dict[str, Any]]:
    datasets = [registry.get_dataset(name)] if single else _published(registry, name)
    fetched: list[dict[str, Any]] = []
    with _new_folder(target) as folder, progress(f"Fetching {name}", sum(d.bytes for d in datasets)) as bar:
        for dataset in datasets:
            below = Path() if single else Path(dataset.id)
            dataset.download_all(folder / below, bar)
            fetched += [
                {"dataset": dataset.id, "object": None, "target": str(target / below / f.path), **file_fields(f)}
                for f in dataset.files
            ]
    return fetched


def _published(registry: Registry, name: str) -> Sequence[Dataset]:
    datasets = known_table(registry, name).datasets()
    if not datasets:
        raise NotFound(
            f"Nothing of kind {name!r:.100} is published",
            why="Its datasets were rolled back, reverted, or are staged",
            todo=f"Look at: prefect-registry ls --kind {name}",
        )
    return datasets


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` that takes its place when the block ends well, and is gone when it does not."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise AlreadyExists(
            f"{target} is there already", why="Nothing is overwritten", todo="Name a new folder with --to",
            committed="no",
        )  # fmt: skip
    if target.exists() and target.samefile(Path.cwd()):  # it would be replaced beneath whoever stands in it
        raise InvalidInput.of("--to", ["the new folder cannot be the one that you are in"],
                              todo="Name a new folder with --to")  # fmt: skip
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name[:50]}.", dir=target.parent))
    try:
        yield beside
        beside.chmod(0o777 & ~_umask())
        if target.exists():
            target.rmdir()
        os.rename(beside, target)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
