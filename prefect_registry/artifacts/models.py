"""The page of a version of a model: what it is, where its files are, what it was made from, how to load it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate

from prefect_registry.artifacts.texts import opening, plain, slug
from prefect_registry.errors import RegistryError
from prefect_registry.models.cards import CARD
from prefect_registry.models.published import RegisteredVersion
from prefect_registry.models.reading import Kept, Shelf
from prefect_registry.names import key_of
from prefect_registry.records.models import ModelArtifactValue, ModelVersionValue
from prefect_registry.records.types import MODEL_VERSION
from prefect_registry.registry import Registry
from prefect_registry.storage.secrets import without_credentials

MOST_PAGES = 100
"""Versions of one run that have a page each."""
MOST_ROWS = 100
"""Properties, and artifacts, that a page lists."""
MOST_SOURCES = 20
"""Datasets and objects that a page names as what the version was made from."""
LONGEST_CARD_CHARACTERS = 20_000
LONGEST_CELL_CHARACTERS = 500


def leave_versions(registry: Registry, versions: Sequence[RegisteredVersion], flow_run: str) -> None:
    """Create a page for each version; the key is made of the model's name alone, so that it has a history."""
    with get_client(sync_client=True) as client:
        for made in versions[:MOST_PAGES]:
            client.create_artifact(
                ArtifactCreate(
                    key=key_for(made.model),
                    type="markdown",
                    description=f"{made.model} version {made.version}"[:LONGEST_CELL_CHARACTERS],
                    data=version_page(registry, made),
                    flow_run_id=UUID(flow_run),
                )
            )


def key_for(model: str) -> str:
    """``registry-model-<name>``, in the characters that Prefect allows; other letters by their key in the store."""
    return f"registry-model-{slug(model if model.isascii() else key_of(model))}"


def version_page(registry: Registry, made: RegisteredVersion) -> str:
    """The page, of the version as it is now. Raises ``ModelNotFound`` when it is not visible any more."""
    shelf = Shelf(registry.ledger)
    kept: Kept[ModelVersionValue] = shelf.by_id(MODEL_VERSION, made.id, None)
    artifacts = [each.record for each in shelf.artifacts(made.id, None)]
    aliases = [each.alias for each in shelf.aliases(kept.record.model, None) if each.version == made.id]
    return _Page(registry, kept.record, kept.generation.tx, artifacts, aliases).text()


@dataclass(frozen=True)
class _Page:
    registry: Registry
    version: ModelVersionValue
    run_id: str | None
    artifacts: list[ModelArtifactValue]
    aliases: list[str]

    def text(self) -> str:
        return "\n".join(
            [
                f"## {plain(self.version.model_name)}: version {plain(self.version.name)}",
                "",
                *([plain(self.version.description), ""] if self.version.description else []),
                *_table(("", ""), self._facts()),
                *_section("Properties", ("property", "value"), self._properties()),
                *_section("Artifacts", ("artifact", "type", "where, or value"), self._artifacts()),
                *self._sources(),
                *self._loading(),
                *self._card(),
            ]
        )

    def _facts(self) -> list[tuple[str, ...]]:
        version = self.version
        facts = [
            ("author", _cell(version.author or version.by)),
            ("registered", f"{version.created_at:%Y-%m-%d %H:%M:%S} UTC"),
            ("id", _cell(version.id)),
            ("state", _cell(version.state)),
            ("aliases", ", ".join(_cell(alias) for alias in self.aliases)),
            ("written in run", _cell(self.run_id)),
            ("registry", _cell(self.registry.url)),
        ]
        return [(name, value) for name, value in facts if value]

    def _properties(self) -> list[tuple[str, ...]]:
        return [(_cell(name), _cell(value)) for name, value in sorted(self.version.properties.items())]

    def _artifacts(self) -> list[tuple[str, ...]]:
        return [(_cell(a.name), _cell(a.type), _cell(_said(a))) for a in self.artifacts if a.name != CARD]

    def _sources(self) -> list[str]:
        sources = list(self._made_from())
        if not sources:
            return []
        more = f", and {len(sources) - MOST_SOURCES:,} more" if len(sources) > MOST_SOURCES else ""
        return ["### Made from", "", ", ".join(self._named(s) for s in sources[:MOST_SOURCES]) + more, ""]

    def _made_from(self) -> Iterator[str]:
        """The datasets and objects upstream, nearest first; not the object that is the model."""
        own = {a.object for a in self.artifacts}
        try:
            edges = self.registry.catalog.upstream(self.version.id)
        except RegistryError:  # the rest of the page is worth having
            return
        for target in dict.fromkeys(edge.target for edge in edges):
            if target not in own and (target.startswith("ds_") or "@" in target):
                yield target

    def _named(self, source: str) -> str:
        if not source.startswith("ds_"):
            return f"object {plain(source)}"
        try:
            return f"dataset {plain(self.registry.get_dataset(source).kind)} ({plain(source)})"
        except RegistryError:
            return f"dataset {plain(source)}"

    def _loading(self) -> list[str]:
        imported, opened = opening(self.registry)
        name, version = self.version.model_name, self.version.name
        is_here = any(a.object is not None for a in self.artifacts)
        call = f"models.load({name!r}, {version!r})" if is_here else f"models.get_model_artifact({name!r}, {version!r})"
        return [
            "### Load it" if is_here else "### Find it",
            "",
            "```python",
            imported,
            "from prefect_registry.models import ModelRegistry",
            "",
            f"models = ModelRegistry({opened})",
            f"model = {call}",
            f"models.history({name!r}, {version!r})  # who changed what, when and why",
            "```",
            "",
        ]

    def _card(self) -> list[str]:
        card = next((a.fields.get("text") for a in self.artifacts if a.name == CARD), None)
        if not card:
            return []
        if len(card) > LONGEST_CARD_CHARACTERS:
            called = f"models.card({self.version.model_name!r}, {self.version.name!r})"
            return ["### Model card", "", f"It has {len(card):,} characters:", "", "```python", called, "```", ""]
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", card)), default=0))
        return ["### Model card", "", f"{fence}markdown", card, fence, ""]


def _said(artifact: ModelArtifactValue) -> Any:
    """Where an artifact is, or what it measured; no credentials that stand in a URI."""
    uri = artifact.fields.get("uri")
    if uri is not None:
        return without_credentials(str(uri))
    value = artifact.fields.get("value")
    return value if value is not None else artifact.description


def _section(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [f"### {title}", "", *_table(columns, rows)] if rows else []


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    more = len(rows) - MOST_ROWS
    return [
        f"| {' | '.join(columns)} |",
        "|" + "---|" * len(columns),
        *(f"| {' | '.join(row)} |" for row in rows[:MOST_ROWS]),
        "",
        *([f"And {more:,} more.", ""] if more > 0 else []),
    ]


def _cell(value: Any) -> str:
    """A value inside a table: nothing in it is markup, and it is not long."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else repr(value)
    cut = text if len(text) <= LONGEST_CELL_CHARACTERS else f"{text[:LONGEST_CELL_CHARACTERS]} …"
    return plain(cut)
