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
        """Streams, and what would be lost: functions that change rows when they are read, rows without columns."""
        if isinstance(value, (datasets.IterableDataset, datasets.IterableDatasetDict)):
            return "it is a stream and not its rows: save a datasets.Dataset that holds them"
        if why := lossy(value, (datasets.Dataset, datasets.DatasetDict)):
            return why
        for one in _datasets(value).values():
            if callable(one.format["format_kwargs"].get("transform")):
                return "a function changes its rows when they are read: apply it by map, or remove it by reset_format()"
            if not one.features:
                return "it has no columns, and its files could not be read again"
        return None

    def save(self, value: Any) -> Payload:
        """The files of ``save_to_disk``, from a temporary folder."""
        if why := self.refuses(value):
            raise refused(value, why)
        folder, shards = temporary.Kept(), {name: 1 for name, one in _datasets(value).items() if not len(one)}
        if isinstance(value, datasets.DatasetDict):  # without rows it would have no file, and could not be read again
            value.save_to_disk(str(folder.path), num_shards={**dict.fromkeys(value), **shards})
        else:
            value.save_to_disk(str(folder.path), num_shards=shards.get(""))
        files = sorted(p for p in folder.path.rglob("*") if p.is_file())
        return Payload([Part(p.relative_to(folder.path).as_posix(), p) for p in files], keep=folder)

    def load(self, payload: StoredPayload) -> Any:
        """The dataset, from a temporary folder that is kept until the process ends."""
        folder = payload.export(temporary.until_exit())
        try:
            return datasets.load_from_disk(str(folder))
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise damaged(self.name, str(error)) from error


def _datasets(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, datasets.DatasetDict) else {"": value}
