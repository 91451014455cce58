"""``provenance what-breaks``, ``where-from``, ``what-changed`` and ``reproduce``: what people ask of provenance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prefect_registry.cli.commands import Command
from prefect_registry.cli.options import AsOf, Fresh, Json, RegistryName, moment
from prefect_registry.cli.output import NOT_DONE, say, write, write_json, write_table
from prefect_registry.cli.provenance import (
    Depth,
    graph_nodes,
    labels_of,
    named,
    on_one_line,
    open_provenance,
    pairs,
    write_things,
)

if TYPE_CHECKING:
    from prefect_registry.provenance.questions import Breaks, Changed, Recipe

_LONGEST = 100


def what_breaks(
    id: str,
    /,
    *,
    depth: Depth = 100,
    as_of: AsOf = None,
    fresh: Fresh = True,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Tell what is wrong if something is wrong: everything that came from it, and who is to be told.

    Parameters
    ----------
    id
        A run, a dataset, a version of an object (name@version), a model, an item.
    """
    provenance = open_provenance(registry)
    then = moment("--as-of", as_of)
    found = provenance.what_breaks(id, depth, as_of=then, fresh=fresh)
    if json:
        write_json(
            "provenance_what_breaks/1", registry=provenance.registry.url, id=id, runs=found.runs,
            datasets=found.datasets, models=found.models, aliases=found.aliases, publications=found.publications,
            agents=found.agents, nodes=graph_nodes(found.graph),
        )  # fmt: skip
        return
    things = list(_broken(found, labels_of(provenance, found.agents, then)))
    if things:
        write_things(things)
    else:
        say("Nothing that is visible came from it.")


def where_from(
    id: str,
    /,
    *,
    depth: Depth = 100,
    as_of: AsOf = None,
    fresh: Fresh = True,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Tell where something is from: a line for each way back to a source, the shortest first.

    Sources are datasets that no run has made from others, each with the run that made it, and what nothing is known of
    before. All sources are counted, and the 1,000 shortest ways are told.

    Parameters
    ----------
    id
        A run, a dataset, a version of an object (name@version), a model, an item.
    """
    provenance = open_provenance(registry)
    found = provenance.where_from(id, depth, as_of=moment("--as-of", as_of), fresh=fresh)
    if json:
        write_json(
            "provenance_where_from/1", registry=provenance.registry.url, id=id, sources=found.sources,
            paths=found.paths, complete=found.complete, nodes=graph_nodes(found.graph),
        )  # fmt: skip
        return
    for path in found.paths:
        write(" <- ".join(named(found.graph, step) for step in path))
    left_out = "" if found.complete else "; longer ways are left out"
    say(f"{len(found.sources):,} source(s), {len(found.paths):,} way(s){left_out}.")


def what_changed(first: str, second: str, /, *, registry: RegistryName = None, json: Json = False) -> None:
    """Compare two runs: what they read, their parameters, code, packages and environment.

    The exit code is 0 whether they differ or not.

    Parameters
    ----------
    first
        A run.
    second
        Another one.
    """
    provenance = open_provenance(registry)
    found = provenance.what_changed(first, second)
    if json:
        write_json(
            "provenance_what_changed/1", registry=provenance.registry.url, first=first, second=second,
            differs=bool(found), **{what: pairs(each) for what, each in _changes(found).items()},
        )  # fmt: skip
        return
    rows = [
        (what, name, _told(before), _told(after))
        for what, differences in _changes(found).items()
        for name, (before, after) in differences.items()
    ]
    if rows:
        write_table(("WHAT", "NAME", "FIRST", "SECOND"), rows)
    else:
        say("No difference.")


def reproduce(run: str, /, *, registry: RegistryName = None, json: Json = False) -> int:
    """Tell what is needed to do a run again, and what of it is missing; exits with 1 if something is.

    Missing is an input that is not there any more, and what was never recorded: code, packages.

    Parameters
    ----------
    run
        A run.
    """
    provenance = open_provenance(registry)
    found = provenance.reproduce(run)
    if json:
        inputs = [{"id": id_, "there": there} for id_, there in found.inputs.items()]
        write_json(
            "provenance_reproduce/1", registry=provenance.registry.url, run_id=run, possible=found.possible,
            purpose=found.purpose, model=found.model, parameters=found.parameters, code=found.code,
            packages=found.packages, environment=found.environment, inputs=inputs, missing=found.missing,
        )  # fmt: skip
    else:
        write_table(("WHAT", "NAME", "VALUE"), list(_needed(found)))
        for each in found.missing:
            say(f"Missing: {each}")
    return 0 if found.possible else NOT_DONE


GROUP = "Provenance"
PARENTS = {"provenance": "Ask where things are from and what they led to; draw it, report it, export it."}
COMMANDS: dict[str, Command] = {
    "provenance what-breaks": what_breaks,
    "provenance where-from": where_from,
    "provenance what-changed": what_changed,
    "provenance reproduce": reproduce,
}


def _broken(found: Breaks, agents: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for what, ids in (("run", found.runs), ("dataset", found.datasets), ("model", found.models)):
        yield from ((what, id_, found.graph.node(id_).label) for id_ in ids)
    yield from (("alias", name, "") for name in found.aliases)
    yield from (("publication", name, "") for name in found.publications)
    yield from (("to be told", id_, agents.get(id_, "")) for id_ in found.agents)


def _changes(found: Changed) -> dict[str, Any]:
    return {
        "inputs": found.inputs, "parameters": found.parameters, "code": found.code, "packages": found.packages,
        "environment": found.environment,
    }  # fmt: skip


def _needed(found: Recipe) -> Iterator[tuple[str, str, str]]:
    yield "purpose", "", on_one_line(found.purpose)
    if found.model is not None:
        yield "model", "", on_one_line(found.model)
    for id_, there in found.inputs.items():
        yield "input", id_, "there" if there else "not there any more"
    for what, values in (
        ("parameter", found.parameters),
        ("code", found.code),
        ("environment", found.environment),
        ("package", found.packages),
    ):
        yield from ((what, name, _told(value)) for name, value in values.items())


def _told(value: object) -> str:
    """A value in a table: the beginning of a long text, on one line."""
    if value is None:
        return ""
    import json

    text = on_one_line(value if isinstance(value, str) else json.dumps(value, default=str))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
