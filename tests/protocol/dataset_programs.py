"""What the actors of the interleavings do with datasets: through the service that tasks call."""

from __future__ import annotations

from programs import conclude
from world import Actor, Program

from prefect_registry.datasets.service import Datasets
from prefect_registry.errors import InvalidState, RegistryError
from prefect_registry.ledger import paths
from prefect_registry.ledger.ledger import RunSpec
from prefect_registry.records.datasets import FileEntry
from prefect_registry.records.runs import Publish
from prefect_registry.storage.base import Upload

FILE = "f"


def service(actor: Actor) -> Datasets:
    """The datasets of an actor's process; a mutation has put another one there."""
    return getattr(actor.ledger, "datasets", None) or Datasets(actor.ledger)


def note(actor: Actor, word: str, dataset_id: str) -> None:
    """What a caller was told of a dataset, and whether that was before the close of its run began (P6)."""
    run = f"run_{dataset_id[3:29]}"
    actor.facts.setdefault("datasets", []).append((word, dataset_id, f"closing {run}" not in actor.facts, actor.name))


def write_dataset(actor: Actor, run: str, key: str | None = None) -> str:
    """Begin, upload, commit: one task. All write the same path, so that two in one folder would spoil each other."""
    datasets = service(actor)
    begun = datasets.begin("k", run, key=key)
    if begun.step == "staged":  # another task has done the work of this key: finish it, if it needs that
        if begun.own_run:
            datasets.commit(begun.dataset_id, None, None, ours={f.path: f for f in begun.files})
            note(actor, "published", begun.dataset_id)
        return begun.dataset_id
    where = paths.dataset_prefix(begun.run_id, begun.dataset_id[-16:]) + FILE
    (stored,) = actor.ledger.store.storage.upload([Upload(where, actor.name.encode())])
    entry = FileEntry(path=FILE, size=stored.size, sha256=stored.sha256)
    try:
        staged = datasets.commit(begun.dataset_id, None, None, ours={FILE: entry})
    except InvalidState as error:
        if error.committed == "no":
            note(actor, "refused", begun.dataset_id)
        raise
    note(actor, "published" if staged.own_run else "staged", begun.dataset_id)
    return begun.dataset_id


def owner(publish: Publish = "on_close", datasets: int = 1) -> Program:
    """A run, with datasets of its own, that closes whenever it gets to."""

    def program(actor: Actor) -> None:
        try:
            run = actor.ledger.begin(RunSpec("own", publish=publish)).begin.run_id
        except RegistryError:
            return
        actor.facts[actor.name] = run

        def work() -> None:
            for _ in range(datasets):
                actor.facts[f"{actor.name}'s dataset"] = write_dataset(actor, run)

        conclude(actor, run, work)

    return program


def task(of: str, key: str | None = None) -> Program:
    """A task of a run in another process, which may outlive it; two with one key are one task that runs twice."""

    def program(actor: Actor) -> None:
        run = actor.wait_for(of)
        try:
            write_dataset(actor, run, key)
        except RegistryError:
            return

    return program


def dropper(of: str) -> Program:
    """Rolls the dataset of a run back, in another process."""

    def program(actor: Actor) -> None:
        dataset = actor.wait_for(f"{of}'s dataset")
        actor.facts.setdefault("datasets", []).append(("dropping", dataset, False, actor.name))
        try:
            service(actor).rollback(dataset)
        except RegistryError:
            return
        note(actor, "dropped", dataset)

    return program


def watcher(pause_seconds: float = 0.7) -> Program:
    """A reaper that can prove nothing, only watch; and the collector behind it."""

    def program(actor: Actor) -> None:
        try:
            for look in range(3):
                if look:
                    actor.ledger.store.clock.sleep(pause_seconds)
                actor.ledger.housekeeping.reap()
            actor.ledger.housekeeping.collect(dry_run=False)
        except RegistryError:
            return

    return program
