"""What a decision published, read back from its members, and the line of the log that tells it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from prefect_registry import artifacts
from prefect_registry.datasets.reading import Dataset
from prefect_registry.ledger import paths
from prefect_registry.models.published import TOLD_TYPES, PublishedModels, published_models
from prefect_registry.objects.published import MovedAlias, SavedObject, published_of
from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.records.datasets import LATER_STATES, DatasetGeneration
from prefect_registry.records.runs import Decision
from prefect_registry.records.types import ALIAS, OBJECT
from prefect_registry.registry import Registry, Run

MOST_READ = 20_000
"""Datasets of one run, and objects of one, that are read back to be told of. Of more the log gives the number alone."""
MOST_NAMED = 12
"""Kinds, objects, and versions of models, that the line of the log names."""


@dataclass(frozen=True)
class Publication:
    """What a decision published, nested runs included.

    Attributes:
        count: How many datasets; more than ``datasets`` when they are too many to be read.
        object_count: How many objects were saved; of very many also those that were deleted.
        event_keys: Keys of the events, which also tell what was read; they are not read here.
    """

    run: Run
    purpose: str
    flow: str | None
    publish: str
    decision: Decision
    datasets: list[Dataset]
    count: int
    objects: list[SavedObject] = field(default_factory=list)
    object_count: int = 0
    aliases: list[MovedAlias] = field(default_factory=list)
    models: PublishedModels = field(default_factory=PublishedModels)
    event_keys: list[str] = field(default_factory=list)

    @property
    def kinds(self) -> Counter[str]:
        """How many datasets there are of each kind."""
        return Counter(d.kind for d in self.datasets)

    @property
    def is_something(self) -> bool:
        """Whether there is anything to tell of but the decision itself."""
        return bool(self.datasets or self.objects or self.aliases or self.models)


def publication_of(run: Run, decision: Decision) -> Publication:
    """What a decision published, read from its members: documents that this process wrote cost nothing."""
    registry = run.registry
    begin = registry.ledger.runs.known(run.id)
    keys, cells, of_models, events = _members(registry, decision)
    documents = registry.ledger.store.read_many(keys[:MOST_READ], DatasetGeneration) if keys else []
    staged = sorted((d for d in documents if d is not None and d.step == "staged"), key=lambda d: d.begun_at)
    found = [registry.parts.datasets.view(d, "READY") for d in staged]
    count = len(found) if len(keys) <= MOST_READ else len(keys)
    generations = registry.ledger.store.read_many(cells[:MOST_READ], CellGeneration) if cells else []
    told = [published_of(generation) for generation in generations if generation is not None]
    objects = sorted((t for t in told if isinstance(t, SavedObject)), key=lambda o: (o.name, o.version))
    object_count = len(objects) if len(cells) <= MOST_READ else len(cells)
    aliases = [t for t in told if isinstance(t, MovedAlias)]
    written = registry.ledger.store.read_many(of_models[:MOST_READ], CellGeneration) if of_models else []
    models = published_models(generation for generation in written if generation is not None)
    flow = begin.prefect.get("flow_name")
    return Publication(
        run, begin.purpose, flow, begin.publish, decision, found, count, objects, object_count, aliases, models,
        events,
    )  # fmt: skip


def _members(registry: Registry, decision: Decision) -> tuple[list[str], list[str], list[str], list[str]]:
    """The keys of the datasets that a decision published, of what it made of objects and aliases, of all that it
    wrote of models, and of its events.
    """
    store, found, of_models, events, todo = registry.ledger.store, dict[str, str](), [], [], [decision]
    taken_back: set[str] = set()
    newest: dict[CellRef, int] = {}
    while todo:
        end = todo.pop()
        members = store.members(end)
        found |= {f"ds_{end.run_id[4:]}_{s}": paths.dataset_key(end.run_id, s, g) for s, g in members.datasets.items()}
        events += [paths.event_key(end.run_id, name) for name in members.events]
        for type_, key, gen in members.cells:
            if type_ in (OBJECT, ALIAS):
                cell = CellRef(type_, key)
                newest[cell] = max(gen, newest.get(cell, -1))
            elif type_ == LATER_STATES:  # of a dataset that failed inside the run: ids are their own keys
                taken_back.add(key)
            elif type_ in TOLD_TYPES:
                of_models.append(paths.cell_key(CellRef(type_, key), gen))
        todo += [d for d in (store.decision(r) for r in members.runs) if d is not None]
    keys = [key for dataset_id, key in found.items() if dataset_id not in taken_back]
    return keys, [paths.cell_key(cell, gen) for cell, gen in sorted(newest.items())], sorted(of_models), events


def line(publication: Publication, seconds: float) -> str:
    """The line of a committed run in the flow run's log."""
    run, objects = publication.run, publication.objects
    versions, changed = publication.models.versions, _changed(publication)
    counts = [
        (publication.count, "dataset(s)"),
        (publication.object_count, "object(s)"),
        (len(versions), "version(s) of models"),
    ]
    if not any(n for n, _ in counts):
        if publication.publish == "on_commit":
            return (
                f"Run {run.id} is committed in {run.registry.url}: each dataset became visible when it was committed "
                f'(publish="on_commit").{changed}'
            )
        nothing = "it published no dataset, no object and no version of a model"
        return f"Run {run.id} is committed in {run.registry.url}: {nothing}.{changed}"
    names = [f"{kind} ({n})" if n > 1 else kind for kind, n in sorted(publication.kinds.items())[:MOST_NAMED]]
    names += [saved.id for saved in objects[:MOST_NAMED]]
    names += [f"model {made.model} version {made.version}" for made in versions[:MOST_NAMED]]
    return (
        f"Run {run.id} is committed: {', '.join(f'{n:,} {noun}' for n, noun in counts if n)} visible now: "
        f"{', '.join(names)}; {_size(publication)}{seconds:.1f} s, in {run.registry.url}.{changed} "
        f"Look: {_look(publication)} or .get_run({run.id!r})"
    )


def _size(publication: Publication) -> str:
    """Rows and bytes of what has some."""
    datasets, objects = publication.datasets, publication.objects
    if not publication.count and not publication.object_count:
        return ""
    rows = ""
    if publication.count:
        uncounted, total = any(d.rows is None for d in datasets), sum(d.rows or 0 for d in datasets)
        rows = "rows not counted, " if uncounted else f"{total:,} row{'' if total == 1 else 's'}, "
    return f"{rows}{artifacts.readable(sum(d.bytes for d in datasets) + sum(o.size for o in objects))}, "


def _changed(publication: Publication) -> str:
    """What points elsewhere, was archived or restored: a sentence each."""
    models = publication.models
    moved = [f"{a.name}@{a.alias} -> {a.version or 'removed'}" for a in publication.aliases[:MOST_NAMED]]
    moved += [f"model {a.model} {a.alias} -> {a.version or 'removed'}" for a in models.aliases[:MOST_NAMED]]
    told = {"Aliases moved": moved}
    for title, state in (("Archived", "ARCHIVED"), ("Restored", "LIVE")):
        found = [s for s in models.states if s.state == state][:MOST_NAMED]
        told[title] = [f"model {s.model}" + (f" version {s.version}" if s.version else "") for s in found]
    return "".join(f" {title}: {', '.join(names)}." for title, names in told.items() if names)


def _look(publication: Publication) -> str:
    opened = artifacts.opening(publication.run.registry)[1]
    if publication.datasets:
        return f"{opened}.table({publication.datasets[0].kind!r})"
    if publication.objects:
        return f"{opened}.load({publication.objects[0].id!r})"
    if publication.count or publication.object_count:
        return f"{opened}.table('…')"
    made = publication.models.versions[0]
    return f"ModelRegistry({opened}).resolve({made.model!r}, {made.version!r})"
