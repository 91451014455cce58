"""An independent judge of what is in a store, written straight from P3 on the raw documents.

Its judgement shares no code with the package: the production code must agree with it, not the other way round.

Most schedules come through states of the store that others have come through. What depends on nothing but the state is
found out once for each.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from world import World

from prefect_registry.datasets.service import Datasets
from prefect_registry.ledger.ledger import Ledger


@functools.lru_cache(maxsize=20_000)
def parsed(data: bytes) -> dict[str, Any]:
    """A raw document; the same bytes are parsed once, and nobody changes the result."""
    return dict(json.loads(data))


class Judge:
    """Reads a store's raw objects."""

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self.objects = objects
        self.held: set[object] = set()
        """The checks that this state has passed."""
        self.ends = {k.split("/")[3]: parsed(v) for k, v in objects.items() if k.endswith("/end.json")}
        self.begins = {k.split("/")[3]: parsed(v) for k, v in objects.items() if k.endswith("/begin.json")}
        self.cells: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        for key, value in objects.items():
            if key.startswith("cells/"):
                cell, _, gen = key.rpartition("/")
                self.cells.setdefault(cell, []).append((int(gen.removesuffix(".json")), parsed(value)))
        self.datasets = {
            (k.split("/")[3], k.split("/")[5], int(k.split("/")[6].removesuffix(".json"))): parsed(v)
            for k, v in objects.items()
            if "/datasets/" in k
        }

    @classmethod
    def of(cls, world: World) -> Judge:
        return _judge(frozenset(world.storage._objects.items()))

    def parent(self, run: str) -> str | None:
        begin = self.begins.get(run)
        if begin is None or begin["isolated"]:
            return None
        return begin["parent"]

    def effective(self, run: str) -> str | None:
        """committed, aborted or None: the model's ``effective``."""
        end = self.ends.get(run)
        parent = self.parent(run)
        up = self.effective(parent) if parent else "committed"
        if up == "aborted" or (end and end["outcome"] == "aborted"):
            return "aborted"
        above = self.ends.get(parent) if parent else None
        if above is not None and run not in above["members"]["runs"]:
            return "aborted"  # whatever becomes of the runs further out: the one around it does not list it (P3)
        return None if up is None or end is None else "committed"

    def state(self, cell: str, gen: int, document: Mapping[str, Any]) -> str:
        tx = document["tx"]
        if tx is None:
            return "visible"
        outcome = self.effective(tx)
        if outcome != "committed":
            return "dead" if outcome == "aborted" else "undecided"
        _, type_, key = cell.split("/", 2)
        listed = [type_, key, gen] in self.ends[tx]["members"]["cells"]
        return "visible" if listed else "dead"

    def visible(self, cell: str) -> list[tuple[int, dict[str, Any]]]:
        """The visible generations of a cell, in order."""
        return [(n, d) for n, d in sorted(self.cells.get(cell, [])) if self.state(cell, n, d) == "visible"]

    def published(self) -> dict[str, dict[str, Any]]:
        """The generations of datasets that are visible, by dataset id."""
        found = {}
        for run, end in self.ends.items():
            if self.effective(run) == "committed":
                for suffix, gen in end["members"]["datasets"].items():
                    document = self.datasets[run, suffix, gen]
                    if document["step"] == "staged":
                        found[document["dataset_id"]] = document
        return found


@functools.lru_cache(maxsize=2_000)
def _judge(state: frozenset[tuple[str, tuple[bytes, datetime]]]) -> Judge:
    return Judge({key: data for key, (data, _) in state})


def check(world: World, mode: str) -> None:
    """The invariants of the model, on what is stored now."""
    judge = Judge.of(world)
    if ("check", mode) not in judge.held:
        _check(judge, mode)
        judge.held.add(("check", mode))


def _check(judge: Judge, mode: str) -> None:
    for cell in judge.cells:
        if "/flow_run/" in cell:
            continue
        base = None
        visible = judge.visible(cell)
        for gen, document in visible:
            value = document["value"]
            assert not value.get("late"), f"a write made after its run was decided is visible: {cell}@{gen}"
            assert document["base"] == base, f"lost update on {cell}: {gen} was based on {document['base']}, not {base}"
            assert value.get("saw", base) == base, f"{cell}@{gen} was computed from {value.get('saw')}, not {base}"
            base = gen
            tx = document["tx"]
            if tx is not None and value.get("data"):
                assert value["data"] in judge.objects, f"bytes of committed {tx} were collected"
        if mode == "create":
            assert len(visible) <= 1, f"{cell} was created twice"
    for run, end in judge.ends.items():
        if end["outcome"] == "committed":
            states = {
                judge.state(f"cells/{t}/{k}", g, dict(judge.cells[f"cells/{t}/{k}"])[g])
                for t, k, g in end["members"]["cells"]
            }
            assert len(states) <= 1, f"{run} is half visible"
    keys = set()
    for dataset, document in judge.published().items():
        for file in document["files"]:
            data = judge.objects.get(f"{document['root']}/{file['path']}")
            assert data is not None, f"bytes of the published {dataset} were collected"
            assert hashlib.sha256(data).hexdigest() == file["sha256"], f"bytes of the published {dataset} were spoiled"
        key = (document["parent_run"] or document["run_id"], document["key"] or dataset)
        assert key not in keys, f"{key} is published twice"
        keys.add(key)


def check_told(world: World, actor: str, outcome: str, run_id: str) -> None:
    """Nobody is told "committed" when it is not, or "failed" when it is; judged when it is told and at the end."""
    effective = Judge.of(world).effective(run_id)
    if outcome == "won":
        assert effective == "committed", f"{actor} was told that {run_id} committed, but it is {effective}"
        judge = Judge.of(world)
        for cell, gen in world.facts.get(f"wrote {run_id}", []):
            shown = [n for n, _ in judge.visible(cell)]
            assert gen in shown, f"{run_id} committed, and its write {cell}@{gen} is not visible"
    elif outcome == "lost":
        assert effective == "aborted", f"{actor} was told that {run_id} failed, but it is {effective}"
    elif outcome == "staged":
        end = Judge.of(world).ends.get(run_id)
        assert end is not None, f"{actor} was told staged, but {run_id} is undecided"
        assert end["outcome"] == "committed", f"{actor} was told staged, but {run_id} is aborted"


def check_refused(world: World) -> None:
    """What a caller was told is refused is not visible; what a plain setter was told is set is visible."""
    judge = Judge.of(world)
    published, told = judge.published(), world.facts.get("datasets", [])
    dropping = {dataset for word, dataset, _, _ in told if word in ("dropping", "dropped")}
    for word, dataset, sure, name in told:
        is_shown = dataset in published
        if word == "refused" or (word == "dropped" and sure):
            assert not is_shown, f"{name} was told that {dataset} is {word}, and it is visible"
        elif word == "published":
            assert is_shown, f"{name} was told that {dataset} is published, and it is not"
        elif word == "staged" and sure and dataset not in dropping:
            gone = judge.effective(f"run_{dataset[3:29]}") != "committed"
            assert gone or is_shown, f"{name} had staged {dataset} before the close began, and it is not visible"
    for fact, value in world.facts.items():
        word, _, name = fact.partition(" ")
        if word == "refused":
            shown = [d for cell in judge.cells for _, d in judge.visible(cell) if d["value"].get("by") == name]
            assert not shown, f"{name} was told that its write to {value} is refused, and it is visible"
        elif word == "set":
            cell, gen = value
            assert gen in [n for n, _ in judge.visible(cell)], f"{name} was told that {cell}@{gen} is set"


def observe(world: World) -> None:
    """What the production code shows to a newcomer is what the judge finds in the raw documents."""
    judge, now = Judge.of(world), ("observe", world.clock.seconds, world.settings)
    if now not in judge.held:
        _observe(judge, world.observer())
        judge.held.add(now)


def _observe(judge: Judge, ledger: Ledger) -> None:
    for cell in judge.cells:
        type_ = cell.split("/")[1]
        name = judge.cells[cell][0][1]["name"]
        visible = [n for n, _ in judge.visible(cell)]
        latest = ledger.cells.latest(type_, name)
        assert (latest.gen if latest is not None else None) == (visible[-1] if visible else None), f"latest of {cell}"
        assert [g.gen for g in ledger.cells.history(type_, name)] == visible, f"history of {cell}"
    shown, datasets = judge.published(), Datasets(ledger)
    for document in judge.datasets.values():
        dataset = document["dataset_id"]
        assert (datasets.get(dataset).state == "READY") == (dataset in shown), f"state of {dataset}"
    for run in judge.begins:
        assert ledger.outcomes.effective(run) == judge.effective(run), f"outcome of {run}"
    published = {p.begin.run_id for p in ledger.journal.published()}
    assert published == {r for r in judge.begins if judge.effective(r) == "committed"}
