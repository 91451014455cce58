"""The picture on a run's page: what it has read, the run, and what it has published.

Prefect's UI draws blocks of Mermaid in Markdown artifacts (the former UI shows their text). Imported by runs that
publish something, and by no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prefect_registry.datasets.reading import Dataset
from prefect_registry.errors import InvalidInput, RegistryError
from prefect_registry.ids import parse_inner_id
from prefect_registry.ledger import paths
from prefect_registry.ledger.store import Store
from prefect_registry.models.published import RegisteredVersion
from prefect_registry.objects.published import SavedObject
from prefect_registry.provenance.captures import used_in
from prefect_registry.provenance.graph import Graph, Link, Node
from prefect_registry.provenance.relations import ItemSubType, Relation
from prefect_registry.records.datasets import DatasetGeneration
from prefect_registry.records.events import Event
from prefect_registry.registry import Run

FAN = 8
"""Boxes on each side of the run, beside the one that counts the rest."""
MOST_EVENTS = 1_000
"""Events of a run that are read for what it has used. Those that this process wrote cost nothing."""
_NAMED = FAN + 1
"""One more is drawn instead of a "+1 more"."""


def section(
    run: Run,
    purpose: str,
    event_keys: Sequence[str],
    datasets: Sequence[Dataset],
    objects: Sequence[SavedObject],
    versions: Sequence[RegisteredVersion],
) -> list[str]:
    """The lines of the page that show the picture; none if the store does not tell what was read.

    Args:
        run: The committed run.
        purpose: What it is called.
        event_keys: Keys of its events, which tell what it has read.
        datasets: What it has published; so ``objects`` and ``versions``.
    """
    try:
        graph = _graph(run, purpose, event_keys, datasets, objects, versions)
    except RegistryError:  # the rest of the page is worth having
        return []
    # From left to right in time: PROV's arrows lead back from what is later.
    text = graph.to_mermaid(direction="RL", highlight=[run.id], fan=FAN)
    left_out = len(event_keys) - MOST_EVENTS
    return [
        "### Where it is from",
        "",
        "```mermaid",
        text.rstrip("\n"),
        "```",
        "",
        *([f"What it has read by its last {left_out:,} events is not shown.", ""] if left_out > 0 else []),
    ]


def _graph(
    run: Run,
    purpose: str,
    event_keys: Sequence[str],
    datasets: Sequence[Dataset],
    objects: Sequence[SavedObject],
    versions: Sequence[RegisteredVersion],
) -> Graph:
    made = [
        *(Node.of(v.id, ItemSubType.MODEL, f"{v.model} {v.version}") for v in versions),
        *(Node.of(o.id, ItemSubType.DATASET, o.id) for o in objects),
        *(Node.of(d.id, ItemSubType.DATASET, d.kind) for d in sorted(datasets, key=lambda d: (d.kind, d.id))),
    ]
    store = run.registry.ledger.store
    own = {node.id for node in made}
    read = store.read_many(list(event_keys[:MOST_EVENTS]), Event) if event_keys else []
    used = [id_ for id_ in dict.fromkeys(used_in([e for e in read if e is not None])) if id_ not in own]
    kinds = _kinds(store, [id_ for id_ in used[:_NAMED] if "@" not in id_])
    inputs = [Node.of(id_, ItemSubType.DATASET, kinds.get(id_, "")) for id_ in used]
    return Graph.of(
        [Node.of(run.id, ItemSubType.WORKFLOW_RUN, purpose), *inputs, *made],
        [
            *(Link(run.id, Relation.USED, node.id) for node in inputs),
            *(Link(node.id, Relation.WAS_GENERATED_BY, run.id) for node in made),
        ],
    )


def _kinds(store: Store, ids: Iterable[str]) -> dict[str, str]:
    """The kinds of some datasets, by the step in which they were staged. Those that were just read are known."""
    keys = {}
    for id_ in ids:
        try:
            keys[id_] = paths.dataset_key(*parse_inner_id(id_, "ds", "dataset"), 1)
        except InvalidInput:  # an event of another program says what is none of ours
            continue
    found = store.read_many(list(keys.values()), DatasetGeneration) if keys else []
    return {id_: step.kind for id_, step in zip(keys, found, strict=True) if step is not None}
