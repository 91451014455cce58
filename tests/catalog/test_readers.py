"""No answer ever shows half a run: readers and writers in other processes, one of them killed now and then."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from catalog_support import asked, fresh, publish, walked

from prefect_registry import Registry

WRITERS, READERS, RUNS = 4, 3, 15


def fork(work: object, *args: object) -> int:
    """A child that does one thing; its exit status tells whether it went well."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work(*args)  # type: ignore[operator]
            code = 0
        finally:
            os._exit(code)
    return child


def write(place: Path, writer: int) -> None:
    """Runs of three datasets, and of one nested run with two more; every fifth fails."""
    registry = Registry(place)
    for number in range(RUNS):
        try:
            with registry.run(f"{writer}/{number}") as run:
                for _ in range(3):
                    with run.dataset("part", mode="append") as ds:
                        ds.set_rows(0)
                with registry.run(f"{writer}/{number}", parent=run.id) as nested:
                    for _ in range(2):
                        with nested.dataset("part", mode="append") as ds:
                            ds.set_rows(0)
                registry.emit_event("done", f"{writer}/{number}", {})
                if number % 5 == 4:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            continue


def read(place: Path, done: Path) -> None:
    """Every run is there with all five datasets and its event, or with none; and runs of one writer come in order."""
    registry = Registry(place)
    while True:
        last = done.exists()
        registry.catalog.refresh()
        with registry.catalog._database.reading() as connection:
            found = Counter(
                row[0]
                for row in connection.execute(
                    "SELECT r.purpose FROM datasets AS d JOIN runs AS r ON r.id = d.run_id WHERE d.state = 'READY'"
                )
            )
            events = {row[0] for row in connection.execute("SELECT subject_id FROM events WHERE name = 'done'")}
            runs = Counter(row[0] for row in connection.execute("SELECT purpose FROM runs WHERE state = 'COMMITTED'"))
        assert set(found.values()) <= {5}, found
        assert set(runs.values()) <= {2}, runs
        assert set(found) == events == set(runs)
        for writer in range(WRITERS):
            numbers = sorted(int(p.partition("/")[2]) for p in runs if p.startswith(f"{writer}/"))
            assert numbers == [n for n in range(numbers[-1] + 1) if n % 5 != 4] if numbers else True
        if last:
            assert sum(runs.values()) == WRITERS * RUNS * 2 * 4 // 5
            return


@pytest.mark.parametrize("shared", [True, False], ids=["one index", "an index each"])
def test_readers_see_whole_runs_whoever_writes_and_whoever_is_killed(
    tmp_path: Path, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, done = tmp_path / "store", tmp_path / "done"
    registry = Registry(place)

    def cached(reader: int) -> None:
        os.environ["PREFECT_REGISTRY_CACHE"] = str(tmp_path / ("cache" if shared else f"cache{reader}"))
        read(place, done)

    writers = [fork(write, place, n) for n in range(WRITERS)]
    readers = [fork(cached, n) for n in range(READERS)]
    chance = random.Random(7)
    killed = 0
    while writers:
        time.sleep(0.2)
        for writer in list(writers):
            pid, status = os.waitpid(writer, os.WNOHANG)
            if pid:
                assert os.waitstatus_to_exitcode(status) == 0
                writers.remove(writer)
        if chance.random() < 0.3:
            victim = chance.randrange(READERS)
            os.kill(readers[victim], signal.SIGKILL)
            _, status = os.waitpid(readers[victim], 0)
            assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "a reader had failed"
            readers[victim] = fork(cached, victim)
            killed += 1
    done.touch()
    assert [os.waitstatus_to_exitcode(os.waitpid(r, 0)[1]) for r in readers] == [0] * READERS
    assert killed > 0
    for number in range(1 if shared else READERS):
        monkeypatch.setenv("PREFECT_REGISTRY_CACHE", str(tmp_path / ("cache" if shared else f"cache{number}")))
        assert asked(fresh(registry)) == walked(registry)
    publish(registry, "last", 1)
    assert asked(fresh(registry)) == walked(registry)
