"""What the actors of the interleavings do: one function per kind of program."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from world import Actor, Program

from prefect_registry.errors import RegistryError, RevisionConflict, RunAborted, RunAlreadyClosed
from prefect_registry.ledger import paths
from prefect_registry.ledger.ledger import Ledger, RunSpec, failure_of
from prefect_registry.names import key_of

CELL = "model"


def put_bytes(actor: Actor, run: str, key: str) -> str:
    """Store the bytes a generation will name; returns where."""
    where = f"{paths.data_prefix(run)}{key.lower()}-{actor.name.lower()}/f"
    actor.ledger.store.storage.put(where, b"bytes")
    return where


def write_cells(actor: Actor, run: str, keys: Sequence[str], mode: str) -> None:
    """Read each cell, then write what follows from it: what every read-modify-write does (P5)."""
    ledger: Ledger = actor.ledger
    for key in keys:
        data = put_bytes(actor, run, key)
        base = ledger.cells.latest(CELL, key, run)
        saw = base.gen if base is not None else None
        if mode == "create" and base is not None:
            raise RevisionConflict(f"{key} exists")
        value = {"saw": saw, "data": data, "by": actor.name}
        written = ledger.cells.write(CELL, key, value, run_id=run, expected=saw)
        actor.facts.setdefault(f"wrote {run}", []).append((f"cells/{CELL}/{key_of(key)}", written.gen))


def conclude(actor: Actor, run: str, work: Callable[[], None], rollback: bool = False) -> None:
    """Do the work and commit; on any error abort; tell what is true."""
    ledger: Ledger = actor.ledger
    try:
        work()
        if rollback:
            raise RevisionConflict("changed its mind")
        actor.facts[f"closing {run}"] = True
        closed = ledger.commit(run)
    except RegistryError as error:
        if error.committed == "unknown":
            actor.tell("unknown", run)
            return
        try:
            decision = ledger.abort(run, failure_of(error))
        except RegistryError:
            actor.tell("unknown", run)
            return
        if decision.committed:  # only a nested run can be here: committed by itself, and dropped by the run around it
            actor.tell("unknown", run)
            return
        actor.tell("lost", run)
        return
    actor.tell("won" if closed.visible == "yes" else "staged", run)


def writer(keys: str, parent: str | None = None, *, mode: str, rollback: bool = False) -> Program:
    """A run that writes one cell per key and then decides itself."""

    def program(actor: Actor) -> None:
        above = actor.wait_for(parent) if parent else None
        try:
            run = actor.ledger.begin(RunSpec("write", parent=above)).begin.run_id
        except RegistryError:
            actor.facts[actor.name] = ""
            return
        actor.facts[actor.name] = run
        conclude(actor, run, lambda: write_cells(actor, run, keys, mode), rollback)

    return program


def straggler(of: str, key: str) -> Program:
    """A task of a run that outlives it: still writes, whenever it gets to. In a process of its own."""

    def program(actor: Actor) -> None:
        run = actor.wait_for(of)
        ledger: Ledger = actor.ledger
        try:
            data = put_bytes(actor, run, key)
            base = ledger.cells.latest(CELL, key, run)
            late = paths.end_key(run) in actor.world.storage._objects
            saw = base.gen if base is not None else None
            value = {"saw": saw, "late": late, "data": data, "by": actor.name}
            ledger.cells.write(CELL, key, value, run_id=run, expected=saw)
        except (RunAborted, RunAlreadyClosed):
            actor.facts[f"refused {actor.name}"] = key
        except RegistryError:
            return

    return program


def setter(key: str) -> Program:
    """A single-cell write without data, outside any run: its generation decides by itself."""

    def program(actor: Actor) -> None:
        ledger: Ledger = actor.ledger
        try:
            base = ledger.cells.latest(CELL, key)
            saw = base.gen if base is not None else None
            written = ledger.cells.write(CELL, key, {"saw": saw, "by": actor.name}, expected=saw)
            actor.facts[f"set {actor.name}"] = (f"cells/{CELL}/{key_of(key)}", written.gen)
        except RegistryError as error:
            if error.committed == "no":
                actor.facts[f"refused {actor.name}"] = key

    return program


def fencer(of: str) -> Program:
    """Aborts a run whose lease it has proved to be over, then collects: the reaper at its worst moment."""

    def program(actor: Actor) -> None:
        run = actor.wait_for(of)
        try:
            actor.ledger.abort(run, failure_of(RuntimeError("reaped"), "reaped"))
            actor.ledger.housekeeping.collect(dry_run=False)
        except RegistryError:
            return

    return program


def collector() -> Program:
    """Reaps and collects as the maintenance flow does."""

    def program(actor: Actor) -> None:
        try:
            actor.ledger.housekeeping.reap()
            actor.ledger.housekeeping.collect(dry_run=False)
        except RegistryError:
            return

    return program


def attempt(flow_run: str, key: str) -> Program:
    """An attempt of a Prefect flow run: publishes unless an earlier attempt has (P14)."""

    def program(actor: Actor) -> None:
        ledger: Ledger = actor.ledger
        try:
            begun = ledger.begin(RunSpec("attempt", flow_run=flow_run))
        except RegistryError:
            return
        if begun.published is not None:
            actor.tell("won", begun.published.run_id)
            return
        run = begun.begin.run_id
        conclude(actor, run, lambda: write_cells(actor, run, key, "update"))

    return program


def outer_attempt(flow_run: str, nested_flow_run: str, key: str) -> Program:
    """An attempt of a flow run with a decorated flow inside it, whose flow run is the same in every attempt."""

    def program(actor: Actor) -> None:
        ledger: Ledger = actor.ledger
        try:
            begun = ledger.begin(RunSpec("outer", flow_run=flow_run))
        except RegistryError:
            return
        if begun.published is not None:
            actor.tell("won", begun.published.run_id)
            return
        run = begun.begin.run_id

        def work() -> None:
            inner = ledger.begin(RunSpec("inner", flow_run=nested_flow_run, parent=run))
            if inner.published is None:
                write_cells(actor, inner.begin.run_id, key, "update")
                ledger.commit(inner.begin.run_id)

        conclude(actor, run, work)

    return program
