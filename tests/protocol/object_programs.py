"""What the actors of the interleavings do with objects, and an independent judge of what became of it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from judge import Judge
from programs import conclude
from world import Actor, Program, World

from prefect_registry.errors import InvalidInput, RegistryError
from prefect_registry.ledger import paths
from prefect_registry.ledger.ledger import Ledger, RunSpec
from prefect_registry.names import key_of
from prefect_registry.objects import aliasing
from prefect_registry.objects.errors import RegistryObjectNotFound, RegistryVersionConflict
from prefect_registry.objects.keeping import Keeping
from prefect_registry.objects.materializers.registered import Materializers
from prefect_registry.objects.service import Objects
from prefect_registry.objects.versions import Version, Wanted
from prefect_registry.records.objects import MOST_INLINE_BYTES, ObjectSettings
from prefect_registry.storage.memory import MemoryStorage

NAME = "m"
LARGE = MOST_INLINE_BYTES // 16 + 1
"""How often a mark of 16 bytes is repeated in what does not fit a record."""


SAME = b"same"
"""How contents begin that several actors save."""
KNOWN = Materializers()
"""Of all actors: looking for installed ones takes long, and has nothing to do with the store."""


@dataclass(frozen=True)
class Said:
    """What a caller was told: ``word`` about a version (or an alias), and the content that it was about."""

    actor: str
    word: str
    version: str
    content: bytes = b""
    run: str | None = None


def content_of(mark: str, large: bool) -> bytes:
    """What an actor saves: nobody else saves the same, and no part of it is a part of another's."""
    return mark.ljust(16, ".").encode() * (LARGE if large else 1)


def objects_of(actor: Actor, versions: bool, mutable: bool) -> Objects:
    """The objects of the store in this actor's process, which knows the settings already."""
    ledger: Ledger = actor.ledger
    objects = Keeping(version_objects=versions, mutable=mutable, use_cache=False, materializers=KNOWN).objects(ledger)
    objects.settings.known = ObjectSettings(version_objects=versions, mutable=mutable)
    getattr(ledger, "break_objects", lambda objects: None)(objects)
    return objects


def say(actor: Actor, word: str, version: object, content: bytes = b"", run: str | None = None) -> None:
    """Note what this caller was told; what is visible at once is judged at once."""
    said = Said(actor.name, word, str(version), content, run)
    actor.facts.setdefault("said", []).append(said)
    if run is None:
        check_said(actor.world, said)


def refused(actor: Actor, error: RegistryError, content: bytes) -> None:
    """A call ended in an error: of what is told to be unknown, nothing is claimed."""
    if error.committed != "unknown":
        say(actor, "refused" if error.committed == "no" else "unclear", type(error).__name__, content)


# -- programs --------------------------------------------------------------------------------------------------------


def saver(
    version: str | None = None, large: bool = False, mark: str = "", *, again: bool = False, **options: Any
) -> Program:
    """Save outside any run, once or twice."""

    def program(actor: Actor) -> None:
        objects = objects_of(actor, True, "on_conflict" in options)
        for n in range(1 + again):
            content = content_of(mark or f"{actor.name}{n}", large)
            try:
                saved, _ = objects.save(Wanted.of(NAME, version), content, None, **options)
                say(actor, "saved", saved, content)
            except RegistryVersionConflict:
                say(actor, "conflict", Version.parse(version), content)
            except RegistryError as error:
                refused(actor, error, content)

    return program


def runner(
    version: str | None = None, large: bool = False, *, rollback: bool = False, twice: bool = False, **options: Any
) -> Program:
    """Save inside a run that is committed, or rolled back."""

    def program(actor: Actor) -> None:
        objects = objects_of(actor, True, "on_conflict" in options)
        try:
            run = actor.ledger.begin(RunSpec("save")).begin.run_id
        except RegistryError:
            actor.facts[actor.name] = ""
            return
        actor.facts[actor.name] = run

        def work() -> None:
            for n in range(1 + twice):
                content = content_of(f"{actor.name}{n}", large)
                saved, _ = objects.save(Wanted.of(NAME, version), content, run, **options)
                say(actor, "staged", saved, content, run)
                seen = objects.load(Wanted(NAME, saved), run)
                decided = paths.end_key(run) in actor.world.storage._objects  # by the reaper: then it stands outside
                assert seen == content or decided, "a run does not see what it has saved"

        conclude(actor, run, work, rollback)

    return program


def loader(wanted: str, times: int = 2) -> Program:
    """Load what others write: an error is no answer, and nothing else is than what one of them has saved."""

    def program(actor: Actor) -> None:
        objects = objects_of(actor, True, True)
        for _ in range(times):
            try:
                loaded = objects.load(Wanted.of(wanted), None)
                say(actor, "loaded", wanted, loaded)
            except RegistryObjectNotFound:
                say(actor, "nothing", wanted)

    return program


def deleter(wanted: str, restores: bool = False) -> Program:
    """Delete, or restore."""

    def program(actor: Actor) -> None:
        objects = objects_of(actor, True, True)
        try:
            act = objects.restore if restores else objects.delete
            done = act(Wanted.of(wanted), None)
            for name in done:
                say(actor, "restored" if restores else "deleted", name.partition("@")[2])
        except RegistryError as error:
            refused(actor, error, b"")

    return program


def mover(alias: str, version: str | None, rollback: bool | None = None) -> Program:
    """Point an alias at a version, or remove it; in a run of its own unless ``rollback`` is None."""

    def program(actor: Actor) -> None:
        objects = objects_of(actor, True, True)

        def move(run: str | None) -> None:
            if version is None:
                aliasing.remove_alias(objects, NAME, alias, run, actor.name)
            else:
                aliasing.set_alias(objects, NAME, alias, version, run, actor.name)

        if rollback is not None:
            run = actor.ledger.begin(RunSpec("move")).begin.run_id
            conclude(actor, run, lambda: move(run), rollback)
            return
        try:
            move(None)
            say(actor, "moved", alias, (version or "").encode())
        except RegistryError as error:
            if error.committed == "no":
                say(actor, "unmoved", alias)

    return program


def opener(versions: bool, mutable: bool) -> Program:
    """The first save into a registry: what it asks for is fixed, or refused."""

    def program(actor: Actor) -> None:
        objects = Keeping(version_objects=versions, mutable=mutable, use_cache=False, materializers=KNOWN).objects(
            actor.ledger
        )
        content = content_of(actor.name, False)
        try:
            saved, _ = objects.save(Wanted.of(actor.name), content, None)
            stored = objects.settings.current()
            assert (stored.version_objects, stored.mutable) == (versions, mutable)
            actor.facts.setdefault("opened", []).append((versions, mutable))
            assert objects.load(Wanted(actor.name, saved), None) == content
        except InvalidInput:
            actor.facts.setdefault("not opened", []).append((versions, mutable))
        except RegistryError as error:
            if error.committed == "no":
                actor.facts.setdefault("not saved", []).append(actor.name)

    return program


def pinner(flow_run: str) -> Program:
    """An attempt of a flow run that pins the latest version."""

    def program(actor: Actor) -> None:
        objects = objects_of(actor, True, True)
        try:
            run = actor.ledger.begin(RunSpec("pin", flow_run=flow_run)).begin.run_id
            pinned = objects.pinned(Wanted.of(NAME), run)
            actor.facts.setdefault("pinned", []).append(str(pinned.version))
        except RegistryError:
            return

    return program


# -- judging ---------------------------------------------------------------------------------------------------------


class ObjectJudge(Judge):
    """Reads objects from raw documents."""

    def versions(self) -> dict[str, list[tuple[int, dict[str, Any]]]]:
        """The visible generations of each version."""
        prefix = f"cells/object/{NAME}/"
        return {cell[len(prefix) :]: self.visible(cell) for cell in self.cells if cell.startswith(prefix)}

    def content(self, version: str, document: dict[str, Any]) -> bytes | None:
        """What a generation holds; None for a tombstone."""
        value = document["value"]
        if document["deleted"]:
            return None
        if value.get("restores") is not None:
            cell = f"cells/object/{NAME}/{version}"
            return self.content(version, dict(self.cells[cell])[value["restores"]])
        if value.get("inline"):
            return b"".join(base64.b64decode(f["data"]) for f in value["inline"])
        return b"".join(self.objects[value["root"] + f["path"]] for f in value["files"])

    def contents(self, version: str) -> list[bytes | None]:
        """What has been visible of a version, oldest first."""
        return [self.content(version, d) for _, d in self.versions().get(version, [])]

    def everything(self) -> Iterator[bytes | None]:
        """What has been visible of any version."""
        for version in self.versions():
            yield from self.contents(version)


def object_judge(world: World) -> ObjectJudge:
    """A judge of what is stored now."""
    return ObjectJudge({k: v[0] for k, v in world.storage._objects.items()})


def check_said(world: World, said: Said) -> None:
    """What a caller was told is so, when they are told it and for ever."""
    judge = object_judge(world)
    who = f"{said.actor} was told {said.word} of {said.version}"
    if said.word == "saved":
        assert said.content in judge.contents(said.version), f"{who}, and it is not there"
    elif said.word == "conflict":
        assert judge.versions().get(said.version), f"{who}, and there is nothing"
    elif said.word == "deleted":
        assert None in judge.contents(said.version), f"{who}, and it is not"
    elif said.word == "restored":
        found = judge.versions().get(said.version, [])
        assert any(d["value"].get("restores") is not None for _, d in found), f"{who}, and it is not"
    elif said.word == "loaded":
        assert said.content in set(judge.everything()), f"{who}, which was never visible, or is a mix"
    elif said.word in ("moved", "unmoved"):
        moves = [d for _, d in judge.visible(f"cells/alias/{NAME}/{said.version}")]
        if said.word == "moved":
            there = any(
                (None if d["deleted"] else d["value"]["version"]) == (said.content.decode() or None) for d in moves
            )
        else:
            there = not any(d["reason"] == said.actor for d in moves)
        assert there, f"{who}, and it is not so"


def check_objects(world: World) -> None:
    """At the end: every word is still true, no number is used twice, and a newcomer sees what the judge sees."""
    judge = object_judge(world)
    told: list[Said] = world.facts.get("said", [])
    seen = set(judge.everything())
    won = {run for _, outcome, run in world.told if outcome == "won"}
    for said in told:
        if said.run is None:
            check_said(world, said)
        if said.word in ("conflict", "refused") and said.content and not said.content.startswith(SAME):
            assert said.content not in seen, f"{said.actor} was told that its content is refused, and it is visible"
        if said.word == "staged":
            assert said.run is not None
            outcome = judge.effective(said.run)
            assert (outcome == "committed") == (said.content in judge.contents(said.version)), said
            assert said.run not in won or outcome == "committed"
    _check_newcomer(world, judge)


def numbers_differ(world: World) -> None:
    """Each automatic save that was told its number has one of its own, whatever became of it."""
    taken = [s.version for s in world.facts.get("said", []) if s.word in ("saved", "staged")]
    assert len(taken) == len(set(taken)), f"a number was used twice: {taken}"


def one_wins(world: World) -> None:
    """Of savers of one version exactly one content is there, and all who saved it were told so."""
    contents = set(object_judge(world).everything())
    assert len(contents) <= 1, "two contents of one version"
    told: list[Said] = world.facts.get("said", [])
    assert {s.content for s in told if s.word == "saved"} <= contents
    if not contents:
        assert not any(s.word == "saved" for s in told)


def same_is_no_conflict(world: World) -> None:
    """Savers of the same content are all told that it is saved."""
    one_wins(world)
    told: list[Said] = world.facts.get("said", [])
    assert not any(s.word == "conflict" for s in told), told


def always_there(world: World) -> None:
    """What is there from the start and only overwritten is never not found."""
    assert not any(s.word == "nothing" for s in world.facts.get("said", []))


def one_setting(world: World) -> None:
    """All who have saved anything did so under the same settings, and what is told not to be saved is not."""
    judge = object_judge(world)
    for name in world.facts.get("not saved", []):
        assert not judge.visible(f"cells/object/{key_of(name)}/1"), f"{name} was told that nothing was saved"
    assert len(set(world.facts.get("opened", []))) <= 1, world.facts


def one_pin(world: World) -> None:
    """All attempts of a flow run got the same version."""
    assert len(set(world.facts.get("pinned", []))) <= 1, world.facts


def _check_newcomer(world: World, judge: ObjectJudge) -> None:
    ledger = world.observer()
    objects = Keeping(use_cache=False, materializers=KNOWN).objects(ledger)
    objects.settings.known = ObjectSettings(version_objects=True, mutable=True)
    shown = {v: found[-1][1] for v, found in judge.versions().items() if found and not found[-1][1]["deleted"]}
    listed = [str(f.version) for f in objects.finding.versions(NAME, None)]
    assert sorted(listed) == sorted(shown)
    for version, document in shown.items():
        assert objects.load(Wanted.of(NAME, version), None) == judge.content(version, document)
    assert objects.find(Wanted.of(NAME), None) is not None or not shown


# -- what is there at the start --------------------------------------------------------------------------------------


def prepared(*versions: str, alias: str = "", large: bool = False, deleted: bool = False) -> Callable[[World], None]:
    """A store in which some versions were saved before."""

    def prepare(world: World) -> None:
        ledger = world.observer()
        ledger.store.clock.measured = True
        objects = Keeping(version_objects=True, mutable=True, use_cache=False, materializers=KNOWN).objects(ledger)
        for version in versions:
            objects.save(Wanted.of(NAME, version), content_of(f"old {version}", large), None)
        if alias:
            aliasing.set_alias(objects, NAME, alias, versions[0], None, "before")
        if deleted:
            objects.delete(Wanted.of(NAME, versions[0]), None)
        assert isinstance(world.storage, MemoryStorage)

    return prepare
