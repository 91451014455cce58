"""Two versions of models side by side: fields, properties, artifacts, metrics."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from prefect_registry.models.histories import Difference, differences, told
from prefect_registry.models.resources import Artifact, ModelVersion
from prefect_registry.notebook import rows_html

_SAME = {"name", "registered_model_id", "external_id"}
"""Fields that name a version: they differ, and say nothing."""
_CONTENT = ("uri", "value", "text")
"""What says the most about an artifact, the first that it has."""


@dataclass(frozen=True)
class Comparison:
    """What differs between two versions, ``first`` before and ``second`` after.

    Fields of artifacts are named ``<type> <name>.<field>``; an artifact that one of them lacks is told by its ``uri``,
    ``value`` or ``text`` (or ``state``, without any) alone, with None on its side.
    """

    first: ModelVersion
    second: ModelVersion
    differences: tuple[Difference, ...]

    def __bool__(self) -> bool:
        return bool(self.differences)

    def to_dicts(self) -> list[dict[str, Any]]:
        """A dictionary for each difference: ``field``, and the values in the first and the second."""
        return [{"field": d.field, "first": d.before, "second": d.after} for d in self.differences]

    def __str__(self) -> str:
        lines = [f"{d.field}: {d.before!r} -> {d.after!r}" for d in self.differences]
        return "\n".join([f"{self.first.name} -> {self.second.name}", *(lines or ["no difference"])])

    def _repr_html_(self) -> str:
        return rows_html(self.to_dicts())


def compare(
    first: tuple[ModelVersion, Iterable[Artifact]], second: tuple[ModelVersion, Iterable[Artifact]]
) -> Comparison:
    """Compare two versions, each with its artifacts."""
    before, after = ({f"{a.artifact_type} {a.name}": a for a in artifacts} for _, artifacts in (first, second))
    found = differences(*(_fields(version, own, before.keys() & after.keys()) for version, own in (
        (first[0], before), (second[0], after)
    )))  # fmt: skip
    return Comparison(first[0], second[0], tuple(found))


def _fields(version: ModelVersion, artifacts: Mapping[str, Artifact], shared: Collection[str]) -> dict[str, Any]:
    values = {name: value for name, value in told(version).items() if name not in _SAME}
    for name, artifact in artifacts.items():
        fields = {k: v for k, v in told(artifact).items() if v is not None and k not in {"name", "external_id"}}
        if name not in shared:
            fields = dict([next(((k, fields[k]) for k in _CONTENT if k in fields), ("state", fields["state"]))])
        values |= {f"{name}.{field}": value for field, value in fields.items()}
    return values
