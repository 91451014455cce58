"""The whole registry against a simple model of it, in any order of operations (hypothesis)."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
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
    RegistryError,
    RunAborted,
    RunAlreadyClosed,
    UndecidedConflict,
)
from prefect_registry.ids import random_token
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

    def table(self, kind: str, run: Run | None = None) -> list[int]:
        """The rows of a table, oldest first; inside ``run`` with what is staged there."""
        groups: dict[int, list[Dataset]] = {}
        for each in self.runs:
            if self.outcome(each):
                groups.setdefault(each.chain[0].order, []).extend(each.datasets)
        published = [
            [d for d in groups[order] if d.kind == kind and self.state_of(d) == "READY"] for order in sorted(groups)
        ]
        if run is not None:
            mine = [d for r in self.runs if self.inside(r, run) for d in r.datasets]
            published.append([d for d in mine if d.kind == kind and self.state_of(d) == "STAGED"])
        hidden: list[dict[str, Any]] = []
        shown: list[Dataset] = []
        for group in reversed(published):
            kept = [d for d in group if d.partition not in hidden]
            shown = sorted(kept, key=lambda d: d.born) + shown
            hidden += [d.partition for d in group if d.mode == "replace_partitions" and d.partition]
            if any(d.mode == "replace" for d in group):
                break
        return [value for d in shown for value in d.values or ()]


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
        """What a call on a decided run raises."""
        return {None: (), True: (RunAlreadyClosed,), False: (RunAborted,)}[run.decided]

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

    @rule(run=runs)
    def revert(self, run: Run) -> None:
        """Take a published run back, by a run that can be taken back in its turn."""
        if not self.model.outcome(run):
            with self.expecting(InvalidState):
                self.registry.revert(run.id)
            return
        tree = self.model.tree(run)
        own = Run("")
        written = [cell for cell, found in self.model.cells.items() if any(g.run in tree for g in found if g.run)]
        changed = []
        for cell in written:
            latest = self.model.latest(cell)
            if latest is not None and latest.run in tree:
                before = self.model.latest(cell, but=tree)
                fallback = "READY" if cell[0] == "dataset" else None
                changed.append((cell, before.value if before is not None else fallback))
        if any(self.model.held(cell, None) for cell, _ in changed):
            with self.expecting(UndecidedConflict):
                self.registry.revert(run.id)
            return
        own.id = self.registry.revert(run.id).run_id
        self.model.runs.append(own)
        for dataset in [d for r in tree for d in r.datasets if d.values is not None and not d.rolled_back]:
            self.model.write(("dataset", dataset.id), own, "DELETED")
        for cell, value in changed:
            self.model.write(cell, own, value)
        self.model.decide(own, True)

    # -- datasets ------------------------------------------------------------------------------------------------

    @rule(
        target=datasets,
        run=runs,
        kind=st.sampled_from(KINDS),
        how=st.sampled_from([None, "replace", "append", "append", "replace_partitions"]),
        partition=st.integers(1, 2),
    )
    def begin_dataset(self, run: Run, kind: str, how: Any, partition: int) -> Any:
        """Begin a dataset."""
        spec = {"p": partition} if how == "replace_partitions" else None
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
        expected = self.refusal(run)
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
        self.registry.collect(dry_run=False)

    @rule(target=snapshots)
    def take_snapshot(self) -> tuple[Any, list[Any]]:
        """Remember a state."""
        snapshot = self.registry.snapshot()
        return snapshot, everything(snapshot)

    @rule(snapshot=consumes(snapshots))
    def look_at_snapshot(self, snapshot: tuple[Any, list[Any]]) -> None:
        """It is what it was, but for data that was collected since."""
        assert everything(snapshot[0]) == snapshot[1]

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


TestRegistry = RegistryMachine.TestCase
TestRegistry.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
