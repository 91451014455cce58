"""What changes in a graph when one record says something else: the reference system's eight actions, and doing them.

A record (a run) stands on each node and link that it speaks of. What other records also speak of stays when one of them
no longer does; what no record speaks of goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeAlias, TypeVar

from prefect_registry.errors import InvalidInput
from prefect_registry.provenance.graph import JSON, Graph, Link, Node

T = TypeVar("T", Node, Link)
Items: TypeAlias = Mapping[Any, T]
"""Nodes by their ids, or links by their keys."""


class Action(StrEnum):
    """What is done, in the order in which it is done: nothing is linked before it exists, nor removed while linked."""

    ADD_RECORD_ID_TO_NODE = "ADD_RECORD_ID_TO_NODE"
    ADD_NEW_NODE = "ADD_NEW_NODE"
    ADD_RECORD_ID_TO_LINK = "ADD_RECORD_ID_TO_LINK"
    ADD_NEW_LINK = "ADD_NEW_LINK"
    REMOVE_RECORD_ID_FROM_LINK = "REMOVE_RECORD_ID_FROM_LINK"
    REMOVE_LINK = "REMOVE_LINK"
    REMOVE_RECORD_ID_FROM_NODE = "REMOVE_RECORD_ID_FROM_NODE"
    REMOVE_NODE = "REMOVE_NODE"


_ORDER = {action: i for i, action in enumerate(Action)}
_ON_ABSENT = frozenset({Action.ADD_NEW_NODE, Action.ADD_NEW_LINK})
_REMOVES = frozenset({Action.REMOVE_LINK, Action.REMOVE_NODE})
_TAKES_BACK = frozenset({Action.REMOVE_RECORD_ID_FROM_LINK, Action.REMOVE_RECORD_ID_FROM_NODE})


@dataclass(frozen=True)
class Change:
    """One action of one record on ``item``, which is a node or a link, as the action says."""

    action: Action
    record_id: str
    item: Node | Link

    def as_dict(self) -> dict[str, JSON]:
        """The change as JSON values, in the words of the reference system."""
        found: dict[str, JSON] = {"action_type": self.action.value, "record_id": self.record_id}
        if isinstance(self.item, Link):
            source, relation, target = self.item.key
            return found | {"link": {"source": source, "type": relation.value, "target": target}}
        found["node_id"] = self.item.id
        if self.action is Action.ADD_NEW_NODE:
            found |= {"item_category": self.item.category.value, "item_subtype": self.item.subtype.value}
        return found


def diff(old: Graph, new: Graph, record_id: str) -> list[Change]:
    """The least that makes what ``record_id`` says in ``old`` what it says in ``new``, in the order to apply it.

    Args:
        old: The graph as it is, whole or in part; the records on its nodes and links count.
        new: All that this record says from now on, whatever records stand there. Empty to delete the record.
        record_id: The record. What others say is not touched.

    Raises:
        InvalidInput: A node is of another subtype in ``new``.
    """
    changed = [
        f"{node.id!r:.80} is {known.subtype} in the old graph and {node.subtype} in the new one"
        for node in new.nodes
        if (known := old.by_id.get(node.id)) and known.subtype is not node.subtype
    ]
    if changed:
        raise InvalidInput.of("the new graph", changed)
    old_links, new_links = ({link.key: link for link in graph.links} for graph in (old, new))
    found = [
        *_said(record_id, old.by_id, new.by_id, Action.ADD_NEW_NODE, Action.ADD_RECORD_ID_TO_NODE),
        *_said(record_id, old_links, new_links, Action.ADD_NEW_LINK, Action.ADD_RECORD_ID_TO_LINK),
        *_unsaid(record_id, old_links, new_links, Action.REMOVE_LINK, Action.REMOVE_RECORD_ID_FROM_LINK),
        *_unsaid(record_id, old.by_id, new.by_id, Action.REMOVE_NODE, Action.REMOVE_RECORD_ID_FROM_NODE),
    ]
    return sorted(found, key=lambda change: _ORDER[change.action])


def _said(record_id: str, old: Items[T], new: Items[T], adds: Action, joins: Action) -> Iterator[Change]:
    for key, item in new.items():
        known = old.get(key)
        if known is None:
            yield Change(adds, record_id, replace(item, record_ids=frozenset({record_id})))
        elif record_id not in known.record_ids:
            yield Change(joins, record_id, known)


def _unsaid(record_id: str, old: Items[T], new: Items[T], removes: Action, leaves: Action) -> Iterator[Change]:
    for key, item in old.items():
        if key not in new and record_id in item.record_ids:
            yield Change(removes if item.record_ids == {record_id} else leaves, record_id, item)


def apply(graph: Graph, changes: Iterable[Change]) -> Graph:
    """The graph after all changes, in the order of :class:`Action` whatever order they are given in; or an error.

    Raises:
        InvalidInput: One of them does not fit: it adds what is there, or concerns what is not, or another record also
            speaks of what it removes, or a link would end nowhere.
    """
    items: dict[object, Node | Link] = {item.id: item for item in graph.nodes}
    items |= {item.key: item for item in graph.links}
    problems: list[str] = []
    for change in sorted(changes, key=lambda change: _ORDER[change.action]):
        key = change.item.key if isinstance(change.item, Link) else change.item.id
        known = items.get(key)
        if (problem := _misfit(change, known)) is not None:
            problems.append(f"{change.action} of {key!r:.200}: {problem}")
        elif known is None:
            items[key] = change.item
        elif change.action in _REMOVES:
            del items[key]
        elif change.action in _TAKES_BACK:
            items[key] = replace(known, record_ids=known.record_ids - {change.record_id})
        else:
            items[key] = replace(known, record_ids=known.record_ids | {change.record_id})
    if problems:
        raise InvalidInput.of("the changes", problems)
    return Graph.of(
        (item for item in items.values() if isinstance(item, Node)),
        (item for item in items.values() if isinstance(item, Link)),
    )


def _misfit(change: Change, known: Node | Link | None) -> str | None:
    """Why a change cannot be made."""
    if ("LINK" in change.action) is not isinstance(change.item, Link):
        return f"it concerns a {type(change.item).__name__}"
    if change.action in _ON_ABSENT:
        return None if known is None else "it is there"
    if known is None:
        return "it is not there"
    if change.action in _REMOVES and known.record_ids - {change.record_id}:
        return "other records speak of it"
    if change.action in _REMOVES | _TAKES_BACK and change.record_id not in known.record_ids:
        return f"{change.record_id!r:.80} does not speak of it"
    return None
