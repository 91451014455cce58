"""What of a graph is drawn: boxes and arrows with keys of our own, and "+37 more" for the rest.

Nodes are taken breadth first from those that are highlighted, else from the first one (where ``upstream`` began). This
takes time in proportion to the graph; all that follows, in proportion to the picture.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeAlias, TypedDict

from prefect_registry.errors import InvalidInput
from prefect_registry.provenance.drawing.texts import LONGEST_TITLE, shown
from prefect_registry.provenance.graph import Graph, Node
from prefect_registry.provenance.relations import ItemCategory, ItemSubType

PaperDirection = Literal["LR", "RL", "TB", "BT"]
DIRECTIONS = ("LR", "RL", "TB", "BT")
MOST_NODES, FEWEST_NODES = 1_000, 3
MOST_ARROWS = 500
"""More than this Mermaid refuses, and nobody can follow."""
_SUBTYPES_TOLD = 2

Side: TypeAlias = Literal["upstream", "downstream"]
_SIDES: tuple[tuple[Side, Side], ...] = (("upstream", "downstream"), ("downstream", "upstream"))
"""Each, and the side on which a neighbour has the node."""


class DrawingOptions(TypedDict, total=False):
    """How a graph is drawn.

    Args:
        direction: Where arrows point, which lead from later to earlier: ``"LR"`` (to the right, by default),
            ``"RL"``, ``"TB"`` (down) or ``"BT"``.
        highlight: Ids of nodes that are drawn first and stand out; those that the graph does not have do not count.
        max_nodes: The most boxes: 60 by default, 3 to 1,000.
        fan: The most arrows on each side of a node, beside the one to "+37 more": 12 by default, at least 1.
    """

    direction: PaperDirection
    highlight: Collection[str]
    max_nodes: int
    fan: int


@dataclass(frozen=True)
class Box:
    """A node, or what is not drawn beside one (``category`` None). Texts are cut and free of what cannot be seen."""

    key: str
    label: str
    detail: str
    title: str
    category: ItemCategory | None
    highlighted: bool = False


@dataclass(frozen=True)
class Arrow:
    """From the later box to the earlier one, by their keys; ``label`` is empty where one of them is "+37 more"."""

    source: str
    target: str
    label: str


@dataclass(frozen=True)
class Picture:
    """What is drawn. ``caption`` says how much it is, and how much is not in it."""

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    direction: PaperDirection
    caption: str
    whole: bool


def picture(
    graph: Graph,
    *,
    direction: PaperDirection = "LR",
    highlight: Collection[str] = (),
    max_nodes: int = 60,
    fan: int = 12,
) -> Picture:
    """Choose what is drawn; the options are those of :class:`DrawingOptions`.

    Raises:
        InvalidInput: An option is out of range.
    """
    _check(direction, highlight, max_nodes, fan)
    wanted = frozenset(highlight)
    chosen = _fitting(graph, _chosen(graph, dict.fromkeys(highlight), max_nodes, fan), max_nodes)
    keys = {id: f"n{i}" for i, id in enumerate(chosen)}
    boxes = [_box(key, graph.by_id[id], id in wanted) for id, key in keys.items()]
    arrows: list[Arrow] = []
    for id, side in _incomplete(graph, keys):
        key = f"m{len(arrows)}"
        boxes.append(_more(key, side, _counts(graph, keys, id, side)))
        arrows.append(Arrow(keys[id], key, "") if side == "upstream" else Arrow(key, keys[id], ""))
    between = list(_between(graph, keys))
    drawn = between[: max(0, MOST_ARROWS - len(arrows))]
    caption = _caption(graph, len(chosen), len(between) - len(drawn))
    whole = len(chosen) == len(graph.nodes) and len(drawn) == len(between)
    return Picture(tuple(boxes), (*drawn, *arrows), direction, caption, whole)


def _check(direction: object, highlight: object, max_nodes: object, fan: object) -> None:
    problems = []
    if direction not in DIRECTIONS:
        problems.append(f"direction must be one of {', '.join(DIRECTIONS)}, not {direction!r:.40}")
    if isinstance(highlight, str) or not isinstance(highlight, Collection):
        problems.append(f"highlight must be a collection of ids, not {highlight!r:.40}")
    for name, value, least in (("max_nodes", max_nodes, FEWEST_NODES), ("fan", fan, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST_NODES:
            problems.append(f"{name} must be a whole number from {least} to {MOST_NODES:,}, not {value!r:.40}")
    if problems:
        raise InvalidInput.of("the options of the drawing", problems)


# -- which nodes -------------------------------------------------------------------------------------------------------


def _neighbours(graph: Graph, id: str, side: Side) -> Iterator[str]:
    """The other ends of its links on one side; some of them several times."""
    if side == "upstream":
        return (link.target for link in graph.links_from.get(id, ()))
    return (link.source for link in graph.links_to.get(id, ()))


def _chosen(graph: Graph, first: Iterable[str], most: int, fan: int) -> list[str]:
    """At most ``most`` nodes, breadth first; after one part of the graph the next one that is not linked with it."""
    starts = [id for id in first if id in graph] or list(islice(graph.by_id, 1))
    chosen = dict.fromkeys(starts[:most])
    queue, unvisited, seen = deque(chosen), iter(graph.by_id), set[str]()
    while len(chosen) < most:
        if not queue:
            _flood(graph, chosen, seen)
            start = next((id for id in unvisited if id not in seen), None)
            if start is None:
                break
            chosen[start] = None
            queue.append(start)
            continue
        id = queue.popleft()
        for side, _ in _SIDES:
            for new in _of_fan(graph, id, side, chosen, fan)[: most - len(chosen)]:
                chosen[new] = None
                queue.append(new)
    return list(chosen)


def _of_fan(graph: Graph, id: str, side: Side, chosen: Collection[str], fan: int) -> list[str]:
    """Which neighbours on a side are added: as many as the fan has room for, and one instead of a "+1 more"."""
    around = dict.fromkeys(_neighbours(graph, id, side))
    new = [each for each in around if each not in chosen]
    room = max(0, fan - (len(around) - len(new)))
    return new if len(new) == room + 1 else new[:room]


def _flood(graph: Graph, starts: Iterable[str], seen: set[str]) -> None:
    """Add everything that is linked with ``starts`` in any way."""
    stack = [id for id in starts if id not in seen]
    seen.update(stack)
    while stack:
        id = stack.pop()
        for side, _ in _SIDES:
            for each in _neighbours(graph, id, side):
                if each not in seen:
                    seen.add(each)
                    stack.append(each)


def _fitting(graph: Graph, chosen: list[str], most: int) -> list[str]:
    """As many of the first as leave room for the boxes that say "more"."""
    drawn = dict.fromkeys(chosen)
    incomplete = set(_incomplete(graph, drawn))
    while len(drawn) > 1 and len(drawn) + len(incomplete) > most:
        last, _ = drawn.popitem()
        for side, other in _SIDES:
            incomplete.discard((last, side))
            incomplete |= {(each, other) for each in _neighbours(graph, last, side) if each in drawn}
    return list(drawn)


def _incomplete(graph: Graph, drawn: Collection[str]) -> Iterator[tuple[str, Side]]:
    """The sides of drawn nodes on which not everything is drawn."""
    for id in drawn:
        for side, _ in _SIDES:
            if any(each not in drawn for each in _neighbours(graph, id, side)):
                yield id, side


def _counts(graph: Graph, drawn: Collection[str], id: str, side: Side) -> Counter[ItemSubType]:
    """What is not drawn on a side of a node."""
    hidden = dict.fromkeys(each for each in _neighbours(graph, id, side) if each not in drawn)
    return Counter(graph.by_id[each].subtype for each in hidden)


# -- what is said of them ----------------------------------------------------------------------------------------------


def _box(key: str, node: Node, highlighted: bool) -> Box:
    name, detail = node.label or node.id, node.subtype.words
    told = node.id if name == node.id else f"{shown(node.label, LONGEST_TITLE)} ({shown(node.id, LONGEST_TITLE)})"
    return Box(key, shown(name), detail, f"{detail}: {shown(told, 2 * LONGEST_TITLE)}", node.category, highlighted)


def _more(key: str, side: Side, counts: Counter[ItemSubType]) -> Box:
    parts = [f"{count:,} {subtype.words}" for subtype, count in counts.most_common()]
    detail = ", ".join(parts[:_SUBTYPES_TOLD]) + (", …" if len(parts) > _SUBTYPES_TOLD else "")
    total = f"+{counts.total():,} more"
    return Box(key, total, detail, f"{total} {side}: {', '.join(parts)}", None)


def _between(graph: Graph, keys: dict[str, str]) -> Iterator[Arrow]:
    """One arrow for each two drawn nodes, with all their relations."""
    for id, key in keys.items():
        relations: dict[str, list[str]] = {}
        for link in graph.links_from.get(id, ()):
            if link.target in keys:
                relations.setdefault(link.target, []).append(link.relation.value)
        for target, names in relations.items():
            yield Arrow(key, keys[target], ", ".join(names))


def _caption(graph: Graph, nodes: int, arrows_left_out: int) -> str:
    total = len(graph.nodes)
    told = "Lineage: " + f"{nodes:,} of " * (nodes < total) + f"{total:,} node{'s' * (total != 1)}"
    return told + (f", without {arrows_left_out:,} arrows" if arrows_left_out else "")
