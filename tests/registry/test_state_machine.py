"""The whole registry against a simple model of it, in any order of operations (hypothesis)."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from registry_support import numbers, rows_of

from prefect_registry import Registry
from prefect_registry.catalog.catalog import Catalog
from prefect_registry.errors import (
    Conflict,
    InvalidState,
    NotFound,
    RegistryError,
    RunAborted,
    RunAlreadyClosed,
    UndecidedConflict,
)
from prefect_registry.ids import random_token
from prefect_registry.ledger.ledger import active_run, enter_run
from prefect_registry.ledger.store import LedgerSettings
from prefect_registry.records import Doc

IMPATIENT = LedgerSettings(undecided_wait_seconds=0.0, younger_wait_seconds=0.0, poll_seconds=0.001)
KINDS = ("a", "b")
DOCS = ("x", "y")


@dataclass(eq=False)
class Run:
    """A run of the model. ``decided`` is its own decision; what counts is :meth:`Model.outcome`."""

    id: str
    publish: str = "on_close"
    parent: Run | None = None
    decided: bool | None = None
    listed: set[str] = field(default_factory=set)
    datasets: list[Dataset] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    order: int = -1

    @property
    def chain(self) -> list[Run]:
        """The runs around it and itself, outermost first."""
        return [*(self.parent.chain if self.parent else []), self]


@dataclass(eq=False)
class Dataset:
    """A dataset of the model; ``run`` is the one whose decision publishes it."""

    id: str
    run: Run
    kind: str
    mode: str
    partition: dict[str, Any] | None
    values: tuple[int, ...] | None = None
    rolled_back: bool = False
    born: int = 0


@dataclass
class Generation:
    """A generation of a cell: who wrote it, and what."""

    run: Run | None
    value: str | None


class Model:
    """What the registry should show."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.cells: dict[tuple[str, str], list[Generation]] = {}
        self.outside: list[str] = []
        self.decisions = 0
        self.births = 0
        self.rules: dict[str, tuple[int | None, bool, bool]] = {}
        self.collected: set[str] = set()

    # -- outcomes ------------------------------------------------------------------------------------------------

    def outcome(self, run: Run) -> bool | None:
        """True committed, False aborted, None undecided, the runs around it taken into account."""
        if run.decided is False:
            return False
        for parent, child in zip(run.chain, run.chain[1:], strict=False):
            if parent.decided is None:
                return None
            if parent.decided is False or child.id not in parent.listed:
                return False
        return run.decided

    def decide(self, run: Run, success: bool) -> None:
        """Close a run, and with it the undecided ones that are nested in it."""
        if success:
            for child in [r for r in self.runs if r.parent is run]:
                if child.decided is None:
                    child.decided = False
                if child.decided:
                    run.listed.add(child.id)
        run.decided = success
        run.order = self.decisions
        self.decisions += 1

    def tree(self, run: Run) -> list[Run]:
        """A run and the committed ones nested in it."""
        return [run, *(t for r in self.runs if r.parent is run and r.id in run.listed for t in self.tree(r))]

    # -- cells ---------------------------------------------------------------------------------------------------

    def inside(self, writer: Run, run: Run) -> bool:
        """Whether ``run`` sees what ``writer`` wrote although it is undecided."""
        while writer not in run.chain:
            parent = writer.parent
            if not writer.decided or parent is None or (parent.decided is not None and writer.id not in parent.listed):
                return False
            writer = parent
        return True

    def state(self, generation: Generation, run: Run | None) -> bool | None:
        """True visible, False dead, None undecided, seen from inside ``run``."""
        writer = generation.run
        if writer is None:
            return True
        if run is not None and writer.decided is not False and self.inside(writer, run):
            return True
        return self.outcome(writer)

    def latest(self, cell: tuple[str, str], run: Run | None = None, but: list[Run] | None = None) -> Generation | None:
        """The newest visible generation, leaving aside those of the runs in ``but``."""
        for generation in reversed(self.cells.get(cell, [])):
            if generation.run is not None and generation.run in (but or []):
                continue
            if self.state(generation, run):
                return generation
        return None

    def held(self, cell: tuple[str, str], run: Run | None) -> bool:
        """Whether another run's undecided generation is in the way of a write."""
        for generation in reversed(self.cells.get(cell, [])):
            state = self.state(generation, run)
            if state is not False:
                return state is None
        return False

    def write(self, cell: tuple[str, str], run: Run | None, value: str | None) -> None:
        """Add a generation."""
        self.cells.setdefault(cell, []).append(Generation(run, value))

    # -- what readers see ----------------------------------------------------------------------------------------

    def state_of(self, dataset: Dataset) -> str:
        """The state of a dataset."""
        outcome = self.outcome(dataset.run)
        if dataset.rolled_back or outcome is False:
            return "ROLLED_BACK"
        if dataset.values is None:
            return "PENDING" if dataset.run.decided is None else "ROLLED_BACK"
        if outcome is None:
            return "STAGED"
        later = self.latest(("dataset", dataset.id))
        return "READY" if later is None or later.value == "READY" else "DELETED"

    def later(self, dataset: Dataset, changes: dict[str, str] | None = None) -> str:
        """What became of a published dataset, with ``changes`` that are about to be made."""
        found = self.latest(("dataset", dataset.id))
        return (changes or {}).get(dataset.id) or (str(found.value) if found is not None else "READY")

    def publications(self, kind: str, changes: dict[str, str] | None = None) -> list[list[Dataset]]:
        """What counts of a kind, oldest publication first: what is visible, and what was released and hides."""
        groups: dict[int, list[Dataset]] = {}
        for each in self.runs:
            if self.outcome(each):
                groups.setdefault(each.chain[0].order, []).extend(each.datasets)
        counts = ("READY", "released")
        return [
            [d for d in groups[o] if d.kind == kind and self.is_published(d) and self.later(d, changes) in counts]
            for o in sorted(groups)
        ]

    def is_published(self, dataset: Dataset) -> bool:
        """Whether a decision publishes it."""
        return bool(self.outcome(dataset.run)) and dataset.values is not None and not dataset.rolled_back

    def table(self, kind: str, run: Run | None = None) -> list[int]:
        """The rows of a table, oldest first; inside ``run`` with what is staged there."""
        published = self.publications(kind)
        if run is not None:
            mine = [d for r in self.runs if self.inside(r, run) for d in r.datasets]
            published.append([d for d in mine if d.kind == kind and self.state_of(d) == "STAGED"])
        shown = [d for d in fold(published) if self.state_of(d) != "DELETED"]
        return [value for d in shown for value in d.values or ()]

    # -- retention -----------------------------------------------------------------------------------------------

    def released_in_table(self, kind: str, changes: dict[str, str] | None = None) -> set[str]:
        """What a table lacks, because it was released: never anything."""
        return {d.id for d in fold(self.publications(kind, changes)) if self.later(d, changes) == "released"}

    def visible_descendant(self, dataset: Dataset) -> bool:
        """Whether something visible was made from it."""
        reached, todo = {dataset.id}, [dataset.id]
        committed = [r for r in self.runs if self.outcome(r)]
        while todo:
            found = todo.pop()
            for run in [r for r in committed if found in r.used]:
                for cell in self.cells:
                    latest = self.latest(cell)
                    if cell[0] == "document" and latest is not None and latest.run is run and latest.value is not None:
                        return True
                for made in [d for d in run.datasets if self.is_published(d)]:
                    if self.state_of(made) == "READY":
                        return True
                    if made.id not in reached:
                        reached.add(made.id)
                        todo.append(made.id)
        return False

    def to_release(self) -> set[str]:
        """What no table shows and no rule keeps: by looking at every state that the tables went through."""
        found: set[str] = set()
        for kind in KINDS:
            rule = self.rules.get(kind, self.rules.get("*"))
            if rule is None:
                continue
            keep_last, reverted_too, keep_used = rule
            groups = [g for g in self.publications(kind) if g]
            states = [{d.id for d in fold(groups[: i + 1])} for i in range(len(groups))]
            kept = set[str]().union(*states[-(keep_last or 1) :]) if states else set[str]()
            for dataset in [d for r in self.runs for d in r.datasets if d.kind == kind and self.is_published(d)]:
                later = self.later(dataset)
                free = (later == "READY" and dataset.id not in kept) or (later == "DELETED" and reverted_too)
                if free and not (keep_used and self.visible_descendant(dataset)):
                    found.add(dataset.id)
        return found


def fold(published: list[list[Dataset]]) -> list[Dataset]:
    """A table: of its publications, oldest first, what newer ones have not replaced."""
    hidden: list[dict[str, Any]] = []
    shown: list[Dataset] = []
    for group in reversed(published):
        kept = [d for d in group if d.partition not in hidden]
        shown = sorted(kept, key=lambda d: d.born) + shown
        hidden += [d.partition for d in group if d.mode == "replace_partitions" and d.partition]
        if any(d.mode == "replace" for d in group):
            break
    return shown


def everything(view: Any) -> list[Any]:
    """What a snapshot shows."""
    return [
        [rows_of(view.table(kind)) for kind in KINDS],
        [(d.id, d.state) for d in view.datasets()],
        [(r.id, r.state) for r in view.runs()],
        [(d.id, d.title) for d in view.documents()],
        [e.id for e in view.events()],
    ]


def asked_of_catalog(catalog: Any, as_of: Any = None) -> list[Any]:
    """What the catalog says of everything."""
    documents = catalog.cells("document", as_of=as_of)
    return [
        list(catalog.runs(order="-id", as_of=as_of)),
        {d.id: (d.state, d.kind, d.run_id, d.root, d.created_at) for d in catalog.datasets(as_of=as_of, limit=1000)},
        list(catalog.events(as_of=as_of, limit=1000)),
        list(catalog.incidents(as_of=as_of, limit=1000)),
        sorted((d.name, d.value["title"]) for d in documents),
    ]


def walked(view: Any) -> list[Any]:
    """The same from the store itself, without an index."""
    return [
        list(view.runs()),
        {d.id: (d.state, d.kind, d.run_id, d.root, d.created_at) for d in view.datasets()},
        list(view.events(derived=False)),
        list(view.incidents()),
        sorted((d.id, d.title) for d in view.documents()),
    ]


class RegistryMachine(RuleBasedStateMachine):
    """Does the same to a registry in memory and to the model, and compares."""

    runs: Bundle[Run] = Bundle("runs")
    datasets: Bundle[Dataset] = Bundle("datasets")
    snapshots: Bundle[tuple[Any, list[Any]]] = Bundle("snapshots")

    @initialize()
    def begin(self) -> None:
        """A new registry."""
        self.registry = Registry(f"memory://machine-{random_token()}", settings=IMPATIENT, heartbeats=False)
        self.model = Model()
        self.serial = 0

    @contextlib.contextmanager
    def expecting(self, *errors: type[RegistryError]) -> Iterator[None]:
        """The block raises one of these errors, or nothing if none is given."""
        try:
            yield
        except errors:
            return
        else:
            assert not errors

    def refusal(self, run: Run) -> tuple[type[RegistryError], ...]:
        """What a call on a decided run raises; one that the runs around it did not publish is aborted."""
        if run.decided is None:
            return ()
        return (RunAborted,) if self.model.outcome(run) is False else (RunAlreadyClosed,)

    def number(self) -> int:
        """A number that was not used before."""
        self.serial += 1
        return self.serial

    # -- runs ----------------------------------------------------------------------------------------------------

    @rule(target=runs, publish=st.sampled_from(["on_close", "on_close", "on_commit", "never"]))
    def insert_run(self, publish: Any) -> Run:
        """Begin a run."""
        run = Run(self.registry.insert_run("run", publish=publish), publish)
        self.model.runs.append(run)
        return run

    @rule(target=runs, parent=runs, isolated=st.booleans())
    def insert_nested_run(self, parent: Run, isolated: bool) -> Any:
        """Begin a run inside another; only an isolated one does not mind that its parent is decided."""
        decided = [r for r in reversed(parent.chain) if r.decided is not None]
        expected = self.refusal(decided[0]) if decided and not isolated else ()
        run_id = ""
        with self.expecting(*expected):
            run_id = self.registry.insert_run("nested", parent=parent.id, isolated=isolated)
        if expected:
            return multiple()
        run = Run(run_id, parent=None if isolated else parent)
        self.model.runs.append(run)
        return run

    @rule(run=runs, success=st.sampled_from([True, True, False]))
    def close_run(self, run: Run, success: bool) -> None:
        """Close a run, perhaps once more."""
        wanted = success and run.publish != "never"
        expected: tuple[type[RegistryError], ...] = ()
        outcome = self.model.outcome(run)
        if run.decided is not None:
            if (wanted and not run.decided) or (wanted and outcome is False):
                expected = (RunAborted,)
            elif not wanted and run.decided:
                expected = (RunAlreadyClosed,)
        elif wanted and self.would_be_lost(run):
            expected = (RunAborted,)
        with self.expecting(*expected):
            self.registry.close_run(run.id, success)
        if run.decided is None:
            self.model.decide(run, wanted)

    def would_be_lost(self, run: Run) -> bool:
        """Whether a run around an undecided one is decided already, without it."""
        return any(above.decided is not None for above in run.chain[:-1])

    @rule(target=runs, run=runs)
    def revert(self, run: Run) -> Any:
        """Take a published run back, by a run that can be taken back in its turn."""
        model = self.model
        if not model.outcome(run):
            with self.expecting(InvalidState):
                self.registry.revert(run.id)
            return multiple()
        tree = model.tree(run)
        own = Run("")
        written = [cell for cell, found in model.cells.items() if any(g.run in tree for g in found if g.run)]
        hidden = [d for r in tree for d in r.datasets if d.values is not None and not d.rolled_back]
        changes = {d.id: "DELETED" if model.later(d) in ("READY", "DELETED") else "released reverted" for d in hidden}
        changed, refused = [], False
        for cell in written:
            latest = model.latest(cell)
            if cell[0] == "dataset" and latest is not None and str(latest.value).startswith("released"):
                refused = True
            elif latest is not None and latest.run in tree:
                before = model.latest(cell, but=tree)
                fallback = "READY" if cell[0] == "dataset" else None
                changed.append((cell, before.value if before is not None else fallback))
        changes |= {cell[1]: str(value) for cell, value in changed if cell[0] == "dataset"}
        refused = refused or any(model.released_in_table(kind, changes) for kind in KINDS)
        held = any(model.held(cell, None) for cell, _ in changed)
        if held or refused:
            with self.expecting(*([UndecidedConflict] if held else []), *([InvalidState] if refused else [])):
                self.registry.revert(run.id)
            return multiple()
        own.id = self.registry.revert(run.id).run_id
        model.runs.append(own)
        for dataset in hidden:
            model.write(("dataset", dataset.id), own, changes[dataset.id])
        for cell, value in changed:
            model.write(cell, own, value)
        model.decide(own, True)
        return own

    @precondition(lambda self: any(self.model.outcome(r) for r in self.model.runs))
    @rule(target=runs, choice=st.randoms(use_true_random=False))
    def revert_something(self, choice: random.Random) -> Any:
        """The same, for a run that has published; newer ones more often."""
        committed = [r for r in self.model.runs if self.model.outcome(r)]
        return self.revert(committed[max(choice.randrange(len(committed)), choice.randrange(len(committed)))])

    # -- retention -----------------------------------------------------------------------------------------------

    @rule(
        target=runs,
        kind=st.sampled_from(KINDS),
        how=st.sampled_from(["replace", "replace", "append", "replace_partitions", "replace_partitions"]),
        partition=st.none() | st.integers(1, 2),
        reads=st.none() | st.sampled_from(KINDS),
        document=st.none() | st.sampled_from(DOCS),
    )
    def publish(self, kind: str, how: Any, partition: Any, reads: Any, document: Any) -> Any:
        """A whole run at once."""
        run = self.insert_run("on_close")
        if reads is not None:
            self.use_table(run, reads)
        spec = {"p": partition or 1} if how == "replace_partitions" or partition else 0
        dataset = self.begin_dataset(run, kind, how, spec)
        self.commit_dataset(dataset, 1)
        if document is not None:
            self.register_document(run, document)
        self.close_run(run, True)
        return run

    @rule(
        kind=st.sampled_from([*KINDS, "*"]),
        keep_last=st.none() | st.integers(1, 3),
        reverted_too=st.booleans(),
        keep_used=st.booleans(),
        gone=st.sampled_from([False, False, True]),
    )
    def set_retention(self, kind: str, keep_last: Any, reverted_too: bool, keep_used: bool, gone: bool) -> None:
        """Make, change or remove a rule."""
        if gone:
            with self.expecting(*(() if kind in self.model.rules else (NotFound,))):
                self.registry.remove_retention(kind)
            self.model.rules.pop(kind, None)
            return
        days = 1e-9 if reverted_too or keep_last is None else None  # all of the past is longer ago
        self.registry.set_retention(kind, keep_last=keep_last, keep_days=days, keep_used=keep_used)
        self.model.rules[kind] = (keep_last, days is not None, keep_used)

    @precondition(lambda self: self.model.rules)
    @rule(target=runs, collect=st.booleans())
    def release(self, collect: bool) -> Any:
        """Exactly what no table shows and no rule keeps is released; what was is gone from the disk, once collected."""
        model, expected = self.model, self.model.to_release()
        assert {d.id for d in self.registry.release().datasets} == expected
        report = self.registry.release(dry_run=False)
        assert {d.id for d in report.datasets} == expected
        assert (report.run_id is not None) == bool(expected)
        own = Run(report.run_id or "", publish="on_close")
        if expected:
            model.runs.append(own)
            for dataset in [d for r in model.runs for d in r.datasets if d.id in expected]:
                what = "released" if model.later(dataset) == "READY" else "released reverted"
                model.write(("dataset", dataset.id), own, what)
            model.decide(own, True)
        if collect:
            self.keep_house()
        return own if expected else multiple()

    @rule(run=runs, kind=st.sampled_from(KINDS))
    def use_table(self, run: Run, kind: str) -> None:
        """Read a table inside a run: lineage."""
        token = enter_run(self.registry.url, run.id)
        try:
            table = self.registry.table(kind)
            table.files()
        finally:
            active_run.reset(token)
        if run.decided is None:
            run.used |= {d.id for d in table.datasets() if d.run_id != run.id}

    # -- datasets ------------------------------------------------------------------------------------------------

    @rule(
        target=datasets,
        run=runs,
        kind=st.sampled_from(KINDS),
        how=st.sampled_from([None, "replace", "append", "append", "replace_partitions"]),
        partition=st.integers(1, 2),
    )
    def begin_dataset(self, run: Run, kind: str, how: Any, partition: Any) -> Any:
        """Begin a dataset, in a partition that is given whole or by its number."""
        given = {"p": partition} if how == "replace_partitions" else None
        spec = partition if isinstance(partition, dict) else given
        found = ""
        with self.expecting(*self.refusal(run)):
            found = self.registry.begin_dataset(kind, run.id, mode=how, partition=spec)
        if run.decided is not None:
            return multiple()
        home = run
        if run.publish == "on_commit":
            home = Run(self.registry.get_dataset(found).run_id)
            self.model.runs.append(home)
        self.model.births += 1
        mode = how or ("append" if run.publish == "on_commit" else "replace")
        dataset = Dataset(found, home, kind, mode, spec, born=self.model.births)
        home.datasets.append(dataset)
        return dataset

    @precondition(lambda self: any(r.decided is None for r in self.model.runs))
    @rule(
        target=datasets,
        choice=st.randoms(use_true_random=False),
        kind=st.sampled_from(KINDS),
        how=st.sampled_from([None, "append", "append", "replace_partitions"]),
        count=st.integers(1, 2),
    )
    def write_dataset(self, choice: random.Random, kind: str, how: Any, count: int) -> Any:
        """Begin and commit a dataset of some open run."""
        run = choice.choice([r for r in self.given_runs() if r.decided is None] or self.given_runs())
        dataset = self.begin_dataset(run, kind, how, 1)
        if isinstance(dataset, Dataset):
            self.commit_dataset(dataset, count)
        return dataset

    @rule(dataset=datasets, count=st.integers(0, 3))
    def commit_dataset(self, dataset: Dataset, count: int) -> None:
        """Write a dataset and commit it; a second time with another content is refused."""
        values = tuple(self.number() for _ in range(count))
        root = self.registry.get_dataset(dataset.id).root
        expected = self.refusal(dataset.run)
        if not expected and (dataset.rolled_back or dataset.values is not None):
            expected = (InvalidState,) if dataset.rolled_back else (Conflict,)
        if not expected:
            self.store(dataset, values)
        rows = count if not expected else len(dataset.values or ()) + 1
        with self.expecting(*expected, *((Conflict, InvalidState) if expected else ())):
            self.registry.commit_dataset(dataset.id, root if not expected else "s3://elsewhere", rows)
        if not expected:
            dataset.values = values
            if dataset.run not in self.given_runs():
                self.model.decide(dataset.run, True)

    def given_runs(self) -> list[Run]:
        """Runs that were begun as such, not by a dataset that is published on its commit."""
        return [r for r in self.model.runs if not self.registry.get_run(r.id).implicit]

    def store(self, dataset: Dataset, values: tuple[int, ...]) -> None:
        """Put a Parquet file where another program would."""
        import io

        import pyarrow.parquet as pq

        sink = io.BytesIO()
        pq.write_table(numbers(*values), sink)
        found = self.registry.get_dataset(dataset.id)
        self.registry.storage.put(f"{found.prefix}x.parquet", sink.getvalue())

    @rule(dataset=datasets)
    def commit_the_same_again(self, dataset: Dataset) -> None:
        """Committing the same once more changes nothing."""
        if dataset.values is None or dataset.rolled_back:
            return
        root = self.registry.get_dataset(dataset.id).root
        with self.expecting(*((RunAborted,) if dataset.run.decided is False else ())):
            self.registry.commit_dataset(dataset.id, root, len(dataset.values))

    @rule(dataset=datasets)
    def rollback_dataset(self, dataset: Dataset) -> None:
        """Roll a dataset back, perhaps once more."""
        published = dataset.run.decided is True and dataset.values is not None and not dataset.rolled_back
        with self.expecting(*((InvalidState,) if published else ())):
            self.registry.rollback_dataset(dataset.id)
        if dataset.run.decided is None:
            if dataset.run not in self.given_runs():
                self.model.decide(dataset.run, False)
            dataset.rolled_back = True

    # -- documents and events ------------------------------------------------------------------------------------

    @rule(run=st.none() | runs, name=st.sampled_from(DOCS))
    def register_document(self, run: Run | None, name: str) -> None:
        """Register a document, in a run or outside any."""
        title = str(self.number())
        cell = ("document", name)
        expected = self.refusal(run) if run is not None else ()
        if not expected and self.model.held(cell, run):
            expected = (UndecidedConflict,)
        with self.expecting(*expected, *((UndecidedConflict,) if expected else ())):
            self.registry.register_documents([Doc(id=name, title=title)], run_id=run.id if run else None)
        if not expected:
            self.model.write(cell, run, title)

    @rule(run=runs)
    def register_both_documents(self, run: Run) -> None:
        """Register two at once: both or none, whatever becomes of the run."""
        title = str(self.number())
        decided = [r for r in reversed(run.chain) if r.decided is not None]  # it opens a run nested in this one
        expected = self.refusal(decided[0]) if decided else ()
        if not expected and any(self.model.held(("document", name), run) for name in DOCS):
            expected = (UndecidedConflict,)
        with self.expecting(*expected):
            self.registry.register_documents([Doc(id=name, title=title) for name in DOCS], run_id=run.id)
        if not expected:
            for name in DOCS:
                self.model.write(("document", name), run, title)

    @rule(run=st.none() | runs)
    def emit_event(self, run: Run | None) -> None:
        """Emit an event, in a run or outside any."""
        expected = self.refusal(run) if run is not None else ()
        found = ""
        with self.expecting(*expected):
            found = self.registry.emit_event("e", "s", {}, run_id=run.id if run else None)
        if not expected:
            (run.events if run else self.model.outside).append(found)

    # -- the rest ------------------------------------------------------------------------------------------------

    @rule()
    def keep_house(self) -> None:
        """Reaping leaves runs of a living process alone; collecting deletes nothing that can be seen."""
        assert self.registry.reap().reaped == []
        there = {info.key: info.size for info in self.registry.storage.list("data/")}
        preview, report = self.registry.collect(), self.registry.collect(dry_run=False)
        assert (preview.objects, preview.bytes, preview.released) == (report.objects, report.bytes, report.released)
        left = {info.key for info in self.registry.storage.list("data/")}
        assert report.bytes == sum(size for key, size in there.items() if key not in left)
        for dataset in [d for r in self.model.runs for d in r.datasets if self.model.is_published(d)]:
            found = self.registry.get_dataset(dataset.id)
            if self.model.later(dataset).startswith("released"):
                self.model.collected.add(dataset.id)
                assert not any(key.startswith(found.prefix) for key in left)
            elif found.state == "READY":
                found.verify()
            else:
                assert all(f"{found.prefix}{f.path}" in left for f in found.files)

    @rule(target=snapshots)
    def take_snapshot(self) -> tuple[Any, list[Any]]:
        """Remember a state."""
        snapshot = self.registry.snapshot()
        return snapshot, everything(snapshot)

    @rule(snapshot=consumes(snapshots))
    def look_at_snapshot(self, snapshot: tuple[Any, list[Any]]) -> None:
        """It is what it was, but for data that was collected since."""
        collected = pytest.raises(InvalidState, match="retention has released it")
        with collected if self.model.collected else contextlib.nullcontext():
            assert everything(snapshot[0]) == snapshot[1]
            if self.model.collected:  # nothing that this very snapshot shows
                raise InvalidState("retention has released it")

    @precondition(lambda self: self.model.runs)
    @rule(run=runs, fresh=st.booleans())
    def look_at_the_past(self, run: Run, fresh: bool) -> None:
        """The index tells of every moment what the decisions until then say."""
        info = self.registry.get_run(run.id)
        catalog = Catalog(self.registry.ledger.store, use_cache=False) if fresh else self.registry.catalog
        for time in (info.started_at, info.finished_at):
            if time is not None:
                assert asked_of_catalog(catalog, time) == walked(self.registry.as_of(time))

    @invariant()
    def the_index_says_what_the_store_says(self) -> None:
        """Kept up to date step by step, it shows what a walk of the journal shows."""
        assert asked_of_catalog(self.registry.catalog) == walked(self.registry.snapshot())

    @precondition(lambda self: self.model.runs)
    @rule(run=runs, kind=st.sampled_from(KINDS))
    def look_inside(self, run: Run, kind: str) -> None:
        """A run sees what it staged."""
        if self.model.outcome(run) is None:
            assert rows_of(self.registry.table(kind, run_id=run.id)) == self.model.table(kind, run)
            for name in DOCS:
                latest = self.model.latest(("document", name), run)
                found = {d.id: d.title for d in self.documents(run)}
                assert found.get(name) == (latest.value if latest else None)

    def documents(self, run: Run) -> Iterator[Doc]:
        """The documents that a run sees."""
        for name in DOCS:
            with contextlib.suppress(KeyError):
                yield self.registry.get_document(name, run_id=run.id)

    @invariant()
    def readers_see_what_the_model_says(self) -> None:
        """Tables, documents, events and states."""
        registry, model = self.registry, self.model
        for kind in KINDS:
            assert not model.released_in_table(kind)
            assert rows_of(registry.table(kind)) == model.table(kind)
        wanted = {name: found.value for name in DOCS if (found := model.latest(("document", name)))}
        assert {d.id: d.title for d in registry.documents()} == {n: t for n, t in wanted.items() if t is not None}
        events = [*model.outside, *(e for r in model.runs if model.outcome(r) for e in r.events)]
        assert sorted(e.id for e in registry.events(derived=False)) == sorted(events)
        states = {None: "RUNNING", True: "COMMITTED", False: "ABORTED"}
        found_runs = {r.id: r.state for r in registry.runs()}
        for run in model.runs:
            assert found_runs[run.id] == states[model.outcome(run)]
        found_datasets = {d.id: d.state for d in registry.datasets()}
        assert found_datasets == {d.id: model.state_of(d) for r in model.runs for d in r.datasets}
        committed = {e.subject_id for e in registry.events(event_name="DatasetCommitted")}
        assert committed == {i for i, state in found_datasets.items() if state in ("READY", "DELETED")}


class LongRegistryMachine(RegistryMachine):
    """The same, for longer."""


# A history that fails is made shorter; to explain it, or to look for a second one, would take minutes more.
BOUNDED = settings(deadline=None, report_multiple_bugs=False, phases=set(Phase) - {Phase.explain})
TestRegistry = RegistryMachine.TestCase
TestRegistry.settings = settings(BOUNDED, max_examples=30, stateful_step_count=40)
TestRegistryForLong = pytest.mark.deep(LongRegistryMachine.TestCase)
TestRegistryForLong.settings = settings(BOUNDED, max_examples=1_000, stateful_step_count=80)
