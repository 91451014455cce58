"""What people ask of provenance: what breaks, where it is from, what has changed, how to do it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from prefect_registry.catalog.queries import moment_of
from prefect_registry.provenance import exploring, notebooks, origins
from prefect_registry.provenance.asking import Asking
from prefect_registry.provenance.captures import involved
from prefect_registry.provenance.facts import nodes_of
from prefect_registry.provenance.graph import DEFAULT_DEPTH, Graph, Node
from prefect_registry.provenance.holding import check_id
from prefect_registry.provenance.looking_up import Lookups
from prefect_registry.provenance.overwriting import contents_since
from prefect_registry.provenance.pointers import pointers_to
from prefect_registry.provenance.relations import RUNS, ItemSubType
from prefect_registry.provenance.surroundings import surroundings_of

_GONE = ("DELETED", "ROLLED_BACK", "PENDING", "STAGED")


@dataclass(frozen=True, repr=False)
class Breaks:
    """What came from something, as far as it is visible, now or as of then.

    Attributes:
        runs, datasets, models: Their ids; ``datasets`` has versions of objects (``name@version``) too.
        aliases: Names that point at one of them: ``object@alias``, ``model@alias``.
        publications: Scheduled publications that have published one of them.
        agents: People and organisations to tell.
        graph: All of it; what is not visible any more, too, with the state DELETED.
    """

    runs: tuple[str, ...]
    datasets: tuple[str, ...]
    models: tuple[str, ...]
    aliases: tuple[str, ...]
    publications: tuple[str, ...]
    agents: tuple[str, ...]
    graph: Graph = field(repr=False)

    def __repr__(self) -> str:
        return notebooks.counted(
            "Breaks", runs=self.runs, datasets=self.datasets, models=self.models, aliases=self.aliases,
            publications=self.publications, agents=self.agents,
        )  # fmt: skip

    _repr_html_ = notebooks.breaks_html


@dataclass(frozen=True, repr=False)
class Origin:
    """Where something is from.

    Attributes:
        sources: What it goes back to: the last dataset of each path, or the end of one that has no dataset; also of
            paths that are left out.
        paths: From it to its sources, shortest first, at most 1,000. The run that made a source comes after it: its
            code is where the numbers began.
        complete: Whether there are no more paths.
    """

    sources: tuple[str, ...]
    paths: tuple[tuple[str, ...], ...]
    graph: Graph = field(repr=False)
    complete: bool = True

    def __repr__(self) -> str:
        return notebooks.counted(
            "Origin", sources=self.sources, paths=self.paths,
        )  # fmt: skip

    _repr_html_ = notebooks.origin_html


@dataclass(frozen=True, repr=False)
class Changed:
    """How two runs differ: each field is ``{name: (in the first, in the second)}``, None for what one does not have.

    Attributes:
        inputs: Datasets, objects and models that only one of them used; a dataset by its kind, where that is clear.
        parameters: Of the run's config, and of a model run's record.
        code: Commit, entry point, revision … Whether it had changes that were not committed is compared where git told
            both runs in time.
        packages: Versions of installed packages.
        environment: Python, operating system …
    """

    inputs: Mapping[str, tuple[Any, Any]]
    parameters: Mapping[str, tuple[Any, Any]]
    code: Mapping[str, tuple[Any, Any]]
    packages: Mapping[str, tuple[Any, Any]]
    environment: Mapping[str, tuple[Any, Any]]

    def __bool__(self) -> bool:
        return any((self.inputs, self.parameters, self.code, self.packages, self.environment))

    def __repr__(self) -> str:
        return notebooks.counted(
            "Changed", inputs=self.inputs, parameters=self.parameters, code=self.code, packages=self.packages,
            environment=self.environment,
        )  # fmt: skip

    _repr_html_ = notebooks.changed_html


@dataclass(frozen=True, repr=False)
class Recipe:
    """What is needed to run something again.

    Attributes:
        inputs: Each id, and whether it is there, and holds what it held when the run began.
        missing: What is not there, or was never recorded, in words.
    """

    run_id: str
    purpose: str
    model: str | None
    parameters: Mapping[str, Any]
    code: Mapping[str, Any]
    packages: Mapping[str, Any]
    environment: Mapping[str, Any]
    inputs: Mapping[str, bool]
    missing: tuple[str, ...]

    @property
    def possible(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing

    def __repr__(self) -> str:
        how = "possible" if self.possible else f"not possible: {'; '.join(self.missing)}"
        return f"<Recipe of {self.run_id} ({self.purpose!r:.80}): {how:.300}>"

    _repr_html_ = notebooks.recipe_html


class Questions(Asking):
    """What of :class:`~prefect_registry.provenance.service.Provenance` answers questions."""

    def what_breaks(
        self, starting_id: str, depth: int = DEFAULT_DEPTH, *, as_of: datetime | None = None, fresh: bool = True
    ) -> Breaks:
        """Everything visible that came from something: what is wrong if that is wrong. With ``as_of``, what was visible
        then, under the names that pointed at it then.

        Raises:
            NotFound: The registry does not know it.
        """
        graph = self.affected_agents(starting_id, depth, as_of=as_of, fresh=fresh)
        agents = [node.id for node in graph.nodes if node.category == "AGENT"]
        whole = self.downstream(starting_id, depth, as_of=as_of, fresh=False)
        there = [n for n in whole.nodes if n.attributes.get("state") not in _GONE and n.id != starting_id]

        def of(*subtypes: ItemSubType) -> tuple[str, ...]:
            return tuple(node.id for node in there if node.subtype in subtypes)

        ids = {starting_id, *(node.id for node in there)}
        catalog = self.registry.catalog
        then = moment_of("as_of", as_of)
        found = catalog.ask(lambda connection: pointers_to(connection, ids, then), fresh=False)
        return Breaks(
            of(*RUNS), of(ItemSubType.DATASET), of(ItemSubType.MODEL), found.aliases, found.publications,
            tuple(agents), whole,
        )  # fmt: skip

    def where_from(
        self, starting_id: str, depth: int = DEFAULT_DEPTH, *, as_of: datetime | None = None, fresh: bool = True
    ) -> Origin:
        """The paths from something to what it goes back to: datasets that no run has made from others, each with the
        run that made it, if one is known, and what nothing is known of before. Every source is told, and the 1,000
        shortest paths: ``complete`` says whether these are all.

        Raises:
            NotFound: The registry does not know it.
        """
        whole = self.upstream(starting_id, depth, as_of=as_of, fresh=fresh)
        graph = exploring.contributing_datasets(whole, starting_id, depth)
        graph = origins.with_makers(graph, whole)
        ways = origins.Ways.of(graph, starting_id)
        paths, complete = ways.paths()
        sources = dict.fromkeys([*map(ways.source, paths), *(() if complete else ways.sources())])
        return Origin(tuple(sources), tuple(paths), graph, complete)

    def what_changed(self, run_a: str, run_b: str) -> Changed:
        """How two runs differ, whatever became of them: in what they read, their parameters, code and packages.

        Raises:
            NotFound: There is no such run.
        """
        first, second = (surroundings_of(self, check_id(run, "run_id")) for run in (run_a, run_b))
        return Changed(
            _differences(*self._inputs_of_both(run_a, run_b)),
            _differences(_flat(first.parameters), _flat(second.parameters)),
            _differences(*map(_flat, _comparable(first.code, second.code))),
            _differences(first.packages, second.packages),
            _differences(_flat(first.environment), _flat(second.environment)),
        )

    def reproduce(self, run_id: str) -> Recipe:
        """What is needed to do a run again, and what of it is missing.

        Raises:
            NotFound: There is no such run.
        """
        found = surroundings_of(self, check_id(run_id, "run_id"))
        used = sorted(set(self._inputs(run_id).values()))
        there = Lookups(self, self.run_of(None)).known_data(set(used))
        inputs = {id_: id_ in there for id_ in used}
        missing = [f"input {id_} is not there any more" for id_ in used if id_ not in there]
        for id_, contents in self._contents(run_id, list(inputs)).items():
            if inputs[id_] and len(contents) > 1:
                inputs[id_] = False
                missing.append(f"input {id_} was overwritten after the run had begun")
        if not found.code.get("commit") and not found.code.get("revision"):
            missing.append("which code it ran was not recorded: no commit, and no revision")
        if found.code.get("dirty"):
            missing.append("the code had changes that were not committed")
        if not found.packages:
            missing.append("which packages were installed was not recorded")
        return Recipe(
            run_id, found.purpose, found.model, found.parameters, found.code, found.packages, found.environment,
            inputs, tuple(missing),
        )  # fmt: skip

    def _inputs(self, run_id: str) -> dict[str, str]:
        """What a run used, by kind where no other input is of that kind, else by id."""
        nodes = [node for node in self._used(run_id) if node.subtype is not ItemSubType.MODEL_RUN_WORKFLOW_TEMPLATE]
        return by_kind(nodes)

    def _inputs_of_both(self, run_a: str, run_b: str) -> tuple[dict[str, str], dict[str, str]]:
        """What two runs used; a version that was overwritten between them is told with what it held."""
        first, second = self._inputs(run_a), self._inputs(run_b)
        both = [name for name, id_ in first.items() if "@" in id_ and second.get(name) == id_]
        if both:
            ids = [first[name] for name in both]
            before, after = self._contents(run_a, ids), self._contents(run_b, ids)
            for name, id_ in zip(both, ids, strict=True):
                held = [contents[id_][0] for contents in (before, after) if contents.get(id_)]
                if len(set(held)) == 2:
                    first[name], second[name] = (f"{id_} (sha256 {digest[:12]}…)" for digest in held)
        return first, second

    def _contents(self, run_id: str, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """What versions of objects held when a run began, and all that they have held since."""
        begun = self.ledger.runs.known(run_id).created_at
        return self.registry.catalog.ask(lambda connection: contents_since(connection, ids, begun))

    def _used(self, run_id: str) -> list[Node]:
        """What a run used. One that failed is no part of lineage: its own documents tell."""
        if self.ledger.outcomes.effective(run_id) == "committed":
            graph = self.upstream(run_id, 1)
            return [graph.node(e.target) for e in graph.links if e.relation == "used" and e.source == run_id]
        ids = involved(self.registry, run_id).used
        known = self.registry.catalog.ask(lambda connection: nodes_of(connection, ids))
        return [known.get(id_) or Node.of(id_, ItemSubType.DATASET) for id_ in ids]


def by_kind(nodes: Sequence[Node]) -> dict[str, str]:
    """The ids of some nodes: by kind, or the name of an object, where no other node is called that; else by id."""
    names = [_name(node.id, node.attributes) for node in nodes]
    times = Counter(names)
    return {name if times[name] == 1 else node.id: node.id for name, node in zip(names, nodes, strict=True)}


def _name(id_: str, attributes: Mapping[str, Any]) -> str:
    if "@" in id_:
        return id_.rpartition("@")[0]
    return str(attributes.get("kind") or id_)


def _flat(value: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, each in value.items():
        found |= _flat(each, f"{before}{key}.") if isinstance(each, Mapping) and each else {f"{before}{key}": each}
    return found


def _comparable(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The code of two runs, without what is only not known of one: git answers late, or not at all."""
    unknown = {"dirty"} if first.get("dirty") is None or second.get("dirty") is None else set()
    one, other = ({k: v for k, v in code.items() if k not in unknown} for code in (first, second))
    return one, other


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        name: (first.get(name), second.get(name))
        for name in sorted({*first, *second})
        if _json(first.get(name)) != _json(second.get(name))
    }


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


__all__ = ["Breaks", "Changed", "Origin", "Questions", "Recipe"]
