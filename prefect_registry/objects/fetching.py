"""The files of a version for people: without making the object, but for saved files and folders."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from prefect_registry.objects.finding import Found
from prefect_registry.objects.service import Objects
from prefect_registry.storage.base import Progress

FILES = "files"
"""The form of saved files and folders: they come back under their names, with who may run them."""


def fetch(objects: Objects, found: Found, folder: Path, progress: Progress | None = None) -> dict[str, Path]:
    """Write the files of a version into ``folder``, each verified by its sha256; returns where each of them is.

    Raises as ``Registry.load`` does.
    """
    files, gone = partial(objects.finding.files, found), partial(objects.gone, found)
    payload = objects.reading.payload(found, files, output_dir=folder, gone=gone, progress=progress)
    with payload:
        top = folder
        if found.value.materializer == FILES:
            made = objects.materializers.named(FILES).load(payload)
            top = made if made.is_dir() else made.parent
        else:
            payload.export(folder)
        return {path: top / path for path in payload.paths()}
