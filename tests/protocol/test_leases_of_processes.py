"""P7 with real processes and real time: a holder on another host, of which nobody can prove that it is gone."""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from prefect_registry import Registry
from prefect_registry.errors import RunAborted, UndecidedConflict
from prefect_registry.ledger.store import LedgerSettings
from prefect_registry.records.runs import Holder

LEASE = 2.0
HASTY = LedgerSettings(undecided_wait_seconds=0, younger_wait_seconds=0)
SLACK = 1.0
"""What a busy machine may add to a wait, in seconds."""


class Owner:
    """A forked process that says of itself that it runs on another host, and works on a run with a short lease."""

    def __init__(self, place: Path, work: Callable[[Registry, str, Callable[[Any], None]], None]) -> None:
        reads, writes = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(reads)
                registry = Registry(place, settings=HASTY)
                me = Holder(host="elsewhere", boot="another", pid=os.getpid(), process_start="1")
                registry.ledger.store.holder = lambda: me
                run = registry.insert_run("held elsewhere", lease=LEASE)

                def tell(what: Any) -> None:
                    os.write(writes, f"{json.dumps(what)}\n".encode())

                tell(run)
                work(registry, run, tell)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(writes)
        self._lines = os.fdopen(reads)
        self.run = self.hear()

    def hear(self) -> Any:
        """The next thing that it tells."""
        return json.loads(self._lines.readline())

    def end(self) -> None:
        """Kill it, if it has not ended."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._lines.close()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Callable[..., Owner]]:
    """Starts owners, and ends them."""
    owners: list[Owner] = []

    def start(work: Callable[[Registry, str, Callable[[Any], None]], None]) -> Owner:
        owners.append(Owner(tmp_path / "registry", work))
        return owners[-1]

    yield start
    for owner in owners:
        owner.end()


@pytest.fixture
def here(tmp_path: Path) -> Registry:
    """The same store, in this process."""
    return Registry(tmp_path / "registry", settings=HASTY)


def stage(registry: Registry, run_id: str, text: str) -> None:
    """A dataset and a document, staged."""
    run = registry.attach(run_id)
    with run.dataset("table", mode="append") as dataset, dataset.open("f.txt", "w") as file:
        file.write(text)
    run.register_documents([{"id": "wanted", "title": text}])


def last_beat(registry: Registry, run_id: str) -> float:
    pulse = registry.ledger.leases.pulse(run_id)
    assert pulse is not None
    return pulse.at.timestamp()


def test_a_killed_writer_elsewhere_blocks_nobody_beyond_the_time_that_the_error_names(
    own: Callable[..., Owner], here: Registry, tmp_path: Path
) -> None:
    def work(registry: Registry, run: str, tell: Callable[[Any], None]) -> None:
        stage(registry, run, "old")
        tell("staged")
        time.sleep(600)

    def write(registry: Registry) -> None:
        registry.register_documents([{"id": "wanted", "title": "new"}])

    owner = own(work)
    assert owner.hear() == "staged"
    os.kill(owner.pid, signal.SIGKILL)
    with pytest.raises(UndecidedConflict) as refused:
        write(here)
    beat = last_beat(here, owner.run)
    named = datetime.fromisoformat(refused.value.context["available_after"])
    assert all(part in str(refused.value) for part in (owner.run, f"process {owner.pid} on elsewhere"))
    assert refused.value.context["available_after"] in str(refused.value)
    assert named.tzinfo == UTC
    assert named.timestamp() == pytest.approx(beat + LEASE, abs=0.01)

    time.sleep(max(0.0, named.timestamp() - 0.3 - time.time()))
    with pytest.raises(UndecidedConflict) as early:
        write(here)
    assert early.value.context["available_after"] == refused.value.context["available_after"]
    newcomer = Registry(tmp_path / "registry", settings=LedgerSettings(undecided_wait_seconds=60))
    with pytest.raises(UndecidedConflict) as new:
        newcomer.ledger.cells.write("document", "wanted", {}, patience_seconds=0)
    promised = datetime.fromisoformat(new.value.context["available_after"]).timestamp()
    assert named.timestamp() < promised <= beat + 1.5 * LEASE + SLACK

    time.sleep(max(0.0, named.timestamp() + 0.1 - time.time()))
    write(here)
    assert time.time() <= beat + 1.5 * LEASE + SLACK
    assert [d.title for d in here.documents()] == ["new"]
    assert here.get_run(owner.run).state == "ABORTED"


def test_a_writer_that_comes_late_waits_for_half_a_lease_and_no_longer(
    own: Callable[..., Owner], here: Registry, tmp_path: Path
) -> None:
    def work(registry: Registry, run: str, tell: Callable[[Any], None]) -> None:
        stage(registry, run, "old")
        tell("staged")
        time.sleep(600)

    owner = own(work)
    assert owner.hear() == "staged"
    os.kill(owner.pid, signal.SIGKILL)
    time.sleep(max(0.0, last_beat(here, owner.run) + LEASE - time.time()))
    patient = Registry(tmp_path / "registry", settings=LedgerSettings(undecided_wait_seconds=60))
    begun = time.monotonic()
    patient.register_documents([{"id": "wanted", "title": "new"}])
    assert LEASE / 2 <= time.monotonic() - begun <= LEASE / 2 + 2 * SLACK  # it looks about once a second
    assert [d.title for d in here.documents()] == ["new"]


def test_a_reaper_elsewhere_leaves_an_owner_that_works_alone(own: Callable[..., Owner], here: Registry) -> None:
    def work(registry: Registry, run: str, tell: Callable[[Any], None]) -> None:
        stage(registry, run, "first")
        tell("staged")
        time.sleep(4 * LEASE)  # nothing but its heartbeat tells that it works
        stage(registry, run, "second")
        registry.close_run(run, True)
        tell("closed")

    owner = own(work)
    assert owner.hear() == "staged"
    until, looks = time.monotonic() + 3.9 * LEASE, 0
    while time.monotonic() < until:
        report = here.reap(lambda run, flow_run: True)  # Prefect says that it has ended, which is no proof
        assert report.reaped == []
        assert [*report.alive, *report.suspects] == [owner.run]
        assert here.collect(dry_run=False).objects == 0
        looks += 1
        time.sleep(0.1)
    assert looks > 10
    assert owner.hear() == "closed"
    assert len(list(here.table("table").datasets())) == 2
    assert [d.title for d in here.documents()] == ["second"]


def test_an_owner_that_stood_still_for_too_long_finds_its_run_aborted(
    own: Callable[..., Owner], here: Registry
) -> None:
    def work(registry: Registry, run: str, tell: Callable[[Any], None]) -> None:
        stage(registry, run, "stopped")
        os.kill(os.getpid(), signal.SIGSTOP)
        for call in (partial(registry.close_run, run, True), partial(stage, registry, run, "late")):
            try:
                call()
            except RunAborted as error:
                tell([error.committed, run in str(error)])
            else:
                tell("no error")

    owner = own(work)
    assert os.WIFSTOPPED(os.waitpid(owner.pid, os.WUNTRACED)[1])
    beat = last_beat(here, owner.run)
    begun = time.time()
    while here.reap().reaped != [owner.run]:
        assert time.time() < max(beat + LEASE, begun + LEASE / 2) + SLACK, "it is not reaped when its lease is over"
        time.sleep(0.05)
    assert time.time() >= max(beat + LEASE, begun + LEASE / 2)
    until = time.monotonic() + LEASE / 2 + SLACK
    while here.collect(dry_run=False).runs != [owner.run]:
        assert time.monotonic() < until, "its bytes are not collected"
        time.sleep(0.05)
    assert not list(here.storage.list("data/"))

    os.kill(owner.pid, signal.SIGCONT)
    assert [owner.hear(), owner.hear()] == [["no", True], ["no", True]]
    run = here.get_run(owner.run)
    assert (run.state, run.failure and run.failure.kind) == ("ABORTED", "reaped")
    assert not list(here.table("table").datasets())
    assert not list(here.documents())
    here.collect(dry_run=False)
    assert not list(here.storage.list("data/"))
