"""Models against plain dictionaries: any order of upserts, updates, archiving, aliases, links and external ids, in runs
and outside, with runs that fail and calls that fail half way.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from model_support import client

from prefect_registry import Registry
from prefect_registry.errors import Conflict, NotFound
from prefect_registry.ids import random_token
from prefect_registry.ledger.store import LedgerSettings
from prefect_registry.models.exceptions import DuplicateError
from prefect_registry.models.types import DocArtifact, ModelVersion, RegisteredModel

MODELS = st.sampled_from(["a", "b"])
VERSIONS = st.sampled_from(["1", "2"])
DOCUMENTS = st.sampled_from(["x", "y"])
EXTERNAL = st.sampled_from([None, "e", "f"])
CHANGED = st.sampled_from([None, "", "e", "f"])
ALIASES = st.sampled_from(["p", "q"])
PROPERTIES = st.sampled_from([None, {}, {"k": 1}, {"k": 1.0}, {"k": True}, {"l": ""}])
IMPATIENT = LedgerSettings(undecided_wait_seconds=0.0, younger_wait_seconds=0.0, poll_seconds=0.001)


@dataclass
class World:
    """What there is: models, versions by model and name, documents by their order, links, aliases, external ids."""

    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    links: dict[tuple[str, str, str], str] = field(default_factory=dict)
    aliases: dict[tuple[str, str], str] = field(default_factory=dict)

    def contexts(self) -> dict[str, Any]:
        """What has an external id among models and versions."""
        every = [*(((m,), v) for m, v in self.models.items()), *self.versions.items()]
        return {v["external"]: key for key, v in every if v["external"] is not None}

    def artifacts(self) -> dict[str, Any]:
        return {v["external"]: key for key, v in self.documents.items() if v["external"] is not None}


def record(external: str | None, properties: dict[str, Any] | None) -> dict[str, Any]:
    return {"external": external, "properties": properties or {}, "state": "LIVE", "text": ""}


class Models(RuleBasedStateMachine):
    """The registry and its model: what is published, and what the open run makes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.published = World()
        self.staged: World | None = None
        self.run: str | None = None

    @initialize()
    def open(self) -> None:
        place = f"memory://machine-{random_token()}"
        self.registry = Registry(place, settings=IMPATIENT, heartbeats=False, use_cache=False)
        self.models = client(self.registry)
        self.lists = self.models.models
        self.reader = client(Registry(place, settings=IMPATIENT, heartbeats=False, use_cache=False))

    @property
    def world(self) -> World:
        return self.staged if self.staged is not None else self.published

    def attempt(self, call: Any, allowed: bool, error: type[Exception] = DuplicateError) -> Any:
        """The call succeeds if the model says so, else raises ``error``; the result, None for the error."""
        try:
            result = call()
        except error:
            assert not allowed
            return None
        assert allowed
        return result

    # -- runs ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.run is None)
    @rule()
    def begin(self) -> None:
        self.run = self.registry.insert_run("work")
        self.staged = copy.deepcopy(self.published)

    @precondition(lambda self: self.run is not None)
    @rule(success=st.booleans())
    def close(self, success: bool) -> None:
        assert self.run is not None
        assert self.staged is not None
        self.registry.close_run(self.run, success)
        if success:
            self.published = self.staged
        self.staged = self.run = None

    # -- writing -------------------------------------------------------------------------------------------------

    @rule(name=MODELS, external=EXTERNAL, properties=PROPERTIES)
    def upsert_model(self, name: str, external: str | None, properties: Any) -> None:
        allowed = name not in self.world.models and external not in self.world.contexts()
        wanted = RegisteredModel(name, external_id=external, custom_properties=properties)
        made = self.attempt(lambda: self.lists.upsert_registered_model(wanted, run_id=self.run), allowed)
        if made is not None:
            self.world.models[name] = {**record(external, properties), "id": made.id}

    @rule(
        name=MODELS, version=VERSIONS, external=EXTERNAL, document=DOCUMENTS, other=EXTERNAL, alias=ALIASES,
        large=st.booleans(),
    )  # fmt: skip
    def register(
        self, name: str, version: str, external: str | None, document: str, other: str | None, alias: str, large: bool
    ) -> None:
        """Model, version, document and alias at once; or, when one of them is taken, none of them."""
        world = self.world
        taken = external in world.contexts() or other in world.artifacts()
        made = self.attempt(
            lambda: self.models.register(
                name, version=version, external_id=external, aliases=[alias], run_id=self.run,
                artifacts=[DocArtifact(document, external_id=other, text="t" * (20_000 if large else 1))],
            ),
            (name, version) not in world.versions and not taken,
        )  # fmt: skip
        if made is None:
            return
        world.models.setdefault(name, {**record(None, None), "id": made.model.id})
        world.versions[name, version] = {**record(external, None), "id": made.version.id}
        world.documents[str(made.artifacts[0].id)] = record(other, None)
        world.links[name, version, document] = str(made.artifacts[0].id)
        world.aliases[name, alias] = version

    @rule(name=MODELS, version=VERSIONS, external=CHANGED, properties=PROPERTIES, text=st.sampled_from(["", "new"]))
    def update_version(self, name: str, version: str, external: str | None, properties: Any, text: str) -> None:
        old = self.world.versions.get((name, version))
        if old is None:
            return
        wanted = ModelVersion(
            version, id=old["id"], external_id=external, custom_properties=properties, description=text
        )
        holder = self.world.contexts().get(external) if external else None
        allowed = holder in (None, (name, version))
        if self.attempt(lambda: self.lists.upsert_model_version(wanted, run_id=self.run), allowed) is not None:
            old["text"] = text
            old["external"] = old["external"] if external is None else external or None
            old["properties"] = old["properties"] if properties is None else properties

    @rule(name=MODELS, version=st.one_of(st.none(), VERSIONS), archived=st.booleans())
    def archive(self, name: str, version: str | None, archived: bool) -> None:
        there = self.world.models.get(name) if version is None else self.world.versions.get((name, version))
        call = self.models.archive if archived else self.models.restore
        if self.attempt(lambda: call(name, version, run_id=self.run), there is not None, NotFound) is not None:
            assert there is not None
            there["state"] = "ARCHIVED" if archived else "LIVE"

    @rule(name=MODELS, alias=ALIASES, version=VERSIONS)
    def set_alias(self, name: str, alias: str, version: str) -> None:
        there = (name, version) in self.world.versions
        try:
            before = self.models.set_alias(name, alias, version, run_id=self.run)
        except NotFound:
            assert not there
            return
        assert there
        assert before == self.world.aliases.get((name, alias))
        self.world.aliases[name, alias] = version

    @rule(name=MODELS, alias=ALIASES)
    def remove_alias(self, name: str, alias: str) -> None:
        try:
            self.models.remove_alias(name, alias, run_id=self.run)
        except NotFound:
            assert (name, alias) not in self.world.aliases
            return
        del self.world.aliases[name, alias]

    @rule(name=MODELS, version=VERSIONS, document=DOCUMENTS, data=st.data())
    def link(self, name: str, version: str, document: str, data: st.DataObject) -> None:
        """A document that is registered, to one more version."""
        world = self.world
        of_name = sorted({id_ for (_, _, n), id_ in world.links.items() if n == document})
        if not of_name or (name, version) not in world.versions:
            return
        id_ = data.draw(st.sampled_from(of_name))
        there = world.links.get((name, version, document))
        wanted = DocArtifact(document, id=id_)
        target = world.versions[name, version]["id"]
        allowed = there in (None, id_)
        call = lambda: self.lists.upsert_model_version_artifact(wanted, target, run_id=self.run)  # noqa: E731
        if self.attempt(call, allowed) is not None:
            world.links[name, version, document] = id_

    @precondition(lambda self: self.run is not None)
    @rule(name=MODELS)
    def somebody_outside(self, name: str) -> None:
        """Who is in no run either is told of the run that holds the name, or that it is there, or gets it."""
        if name in self.world.models and name not in self.published.models:
            try:
                self.reader.models.upsert_registered_model(RegisteredModel(name))
            except Conflict:
                return
            raise AssertionError("a name was given away twice")

    # -- looking -------------------------------------------------------------------------------------------------

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        if not hasattr(self, "registry"):
            return
        self.compare(self.reader, self.published, None)
        if self.run is not None:
            self.compare(self.models, self.world, self.run)

    def compare(self, models: Any, world: World, run: str | None) -> None:
        lists = models.models
        every: dict[str, Any] = {"states": ["LIVE", "ARCHIVED"], "run_id": run}
        found = {m.name: told(m) for m in lists.get_registered_models(**every)}
        assert found == {name: expected(m) for name, m in world.models.items()}
        for name, model in world.models.items():
            versions = lists.get_model_versions(model["id"], **every)
            wanted = {v: expected(r) for (m, v), r in world.versions.items() if m == name}
            assert {v.name: told(v) for v in versions} == wanted
            live = {v.name for v in lists.get_model_versions(model["id"], run_id=run)}
            assert live == {v for v, r in wanted.items() if r[3] == "LIVE"}
            for version in versions:
                linked = {a.name: a.id for a in lists.get_model_version_artifacts(version.id, run_id=run)}
                wanted_links = {d: i for (m, v, d), i in world.links.items() if (m, v) == (name, version.name)}
                assert linked == wanted_links
                assert {a.name: a.id for a in models.artifacts_of(version, run_id=run)} == wanted_links
            aliases = {a: v for (m, a), v in world.aliases.items() if m == name}
            assert models.aliases(name, run_id=run) == aliases
        for external in ("e", "f"):
            holder = world.contexts().get(external)
            model = lists.get_registered_model_by_params(external_id=external, run_id=run)
            version = lists.get_model_version_by_params(external_id=external, run_id=run)
            assert (model.name if model else None) == (holder[0] if holder and len(holder) == 1 else None)
            assert (version.name if version else None) == (holder[1] if holder and len(holder) == 2 else None)
            artifact = lists.get_model_artifact_by_params(external_id=external, run_id=run)
            assert (artifact.id if artifact else None) == world.artifacts().get(external)
        assert len(lists.get_artifacts(run_id=run)) == len(world.documents)

    def teardown(self) -> None:
        if hasattr(self, "registry"):
            report = self.registry.fsck()
            assert not report.of("error", "warning"), report.findings


def told(resource: Any) -> tuple[Any, ...]:
    properties = resource.custom_properties or {}
    return resource.id, resource.external_id, repr(properties), str(resource.state), resource.description or ""


def expected(value: dict[str, Any]) -> tuple[Any, ...]:
    return value["id"], value["external"], repr(value["properties"]), value["state"], value["text"]


TestModels = Models.TestCase
TestModels.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
