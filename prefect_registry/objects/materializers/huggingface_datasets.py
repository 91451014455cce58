"""Datasets of Hugging Face: the folders of ``save_to_disk``."""

from __future__ import annotations

from typing import Any

import datasets

from prefect_registry.objects.materializers import temporary
from prefect_registry.objects.materializers.builtin import BuiltIn, damaged, lossy, refused
from prefect_registry.objects.payload import Part, Payload, StoredPayload


def handled() -> dict[type, type[BuiltIn]]:
    """Datasets that have an end."""
    types = (datasets.Dataset, datasets.DatasetDict, datasets.IterableDataset, datasets.IterableDatasetDict)
    return dict.fromkeys(types, HuggingFaceDatasetMaterializer)


class HuggingFaceDatasetMaterializer(BuiltIn):
    """``Dataset`` and ``DatasetDict``: rows, features and splits."""

    name = "datasets"

    def refuses(self, value: Any) -> str | None:
        """Streams."""
        if isinstance(value, (datasets.IterableDataset, datasets.IterableDatasetDict)):
            return "it is a stream and not its rows: save a datasets.Dataset that holds them"
        return lossy(value, (datasets.Dataset, datasets.DatasetDict))

    def save(self, value: Any) -> Payload:
        """The files of ``save_to_disk``, from a temporary folder."""
        if why := self.refuses(value):
            raise refused(value, why)
        folder = temporary.Kept()
        value.save_to_disk(str(folder.path))
        files = sorted(p for p in folder.path.rglob("*") if p.is_file())
        return Payload([Part(p.relative_to(folder.path).as_posix(), p) for p in files], keep=folder)

    def load(self, payload: StoredPayload) -> Any:
        """The dataset, from a temporary folder that is kept until the process ends."""
        folder = payload.export(temporary.until_exit())
        try:
            return datasets.load_from_disk(str(folder))
        except (OSError, ValueError) as error:
            raise damaged(self.name, str(error)) from error
