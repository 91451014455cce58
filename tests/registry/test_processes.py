"""A registry in other processes and threads: pickled, forked, spawned, shared."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from registry_support import FAST, doc, numbers, publish, rows, write

from prefect_registry import Registry, locks
from prefect_registry.datasets.reading import Dataset
from prefect_registry.datasets.tables import Table
from prefect_registry.errors import NoActiveRun, UndecidedConflict
from prefect_registry.registry import Run
from prefect_registry.runs import current_run, registry_run


def in_fork(work: Callable[[], object], seconds: float = 60) -> None:
    """Run ``work`` in a forked child; fails when it fails, or hangs."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    wait_for(child, seconds)


def wait_for(child: int, seconds: float = 60) -> None:
    """Wait until a forked child has ended well."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    pytest.fail("the child hung")


# -- pickling --------------------------------------------------------------------------------------------------------


def test_a_registry_and_what_it_gives_pickle_as_what_they_refer_to(registry: Registry) -> None:
    publish(registry, "k", 1, 2)
    with registry.run("open") as run:
        write(run, "k", 3, mode="append")
        again = pickle.loads(pickle.dumps(registry))
        assert (again.url, again.registry_id) == (registry.url, registry.registry_id)
        assert rows(again, "k") == [1, 2]
        other: Run = pickle.loads(pickle.dumps(run))
        write(other, "k", 4, mode="append")
        assert other.info() == run.info()
        dataset: Dataset = pickle.loads(pickle.dumps(registry.latest("k")))
        table: Table = pickle.loads(pickle.dumps(registry.table("k")))
        snapshot = pickle.loads(pickle.dumps(registry.snapshot()))
    assert rows(registry, "k") == [1, 2, 3, 4]
    assert dataset.to_table().num_rows == table.to_table().num_rows == snapshot.table("k").to_table().num_rows == 2
    assert pickle.loads(pickle.dumps(registry.get_run(run.id))) == registry.get_run(run.id)


def test_a_pickle_holds_the_place_and_nothing_that_was_read(local: Registry) -> None:
    before = len(pickle.dumps(local))
    for n in range(20):
        publish(local, "k", n, mode="append")
    assert len(pickle.dumps(local)) <= before + 200
    assert before < 5_000


def work_in_pool(registry: Registry, run: Run, n: int) -> str:
    """What a worker process does with the registry and the run that it was sent."""
    with run.dataset("k", mode="append") as ds:
        ds.write_table(numbers(n))
    registry.emit_event("worked", str(n), {}, run_id=run.id)
    return ds.id


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_of_a_process_pool_write_into_one_run(local: Registry, method: str) -> None:
    with (
        ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool,
        local.run("parallel") as run,
    ):
        ids = list(pool.map(work_in_pool, [local] * 6, [run] * 6, range(6)))
    assert sorted(rows(local, "k")) == list(range(6))
    assert {d.id for d in local.table("k").datasets()} == set(ids)
    assert len(list(local.events(event_name="worked"))) == 6


# -- fork ------------------------------------------------------------------------------------------------------------


def test_a_forked_child_goes_on_with_the_same_objects(local: Registry) -> None:
    with local.run("parent") as run:
        write(run, "k", 0, mode="append")

        def work() -> None:
            write(run, "k", 1, mode="append")
            publish(local, "child", 2)
            assert rows(local, "child") == [2]

        in_fork(work)
        write(run, "k", 3, mode="append")
    assert rows(local, "k") == [0, 1, 3]
    assert rows(local, "child") == [2]


@pytest.mark.parametrize("leave", [lambda: sys.exit(0), lambda: None], ids=["exit", "end"])
@pytest.mark.parametrize("how", ["run", "registry_run"])
def test_a_forked_child_that_leaves_the_block_leaves_the_run_to_its_parent(
    local: Registry, how: str, leave: Callable[[], object]
) -> None:
    me = os.getpid()
    try:
        with local.run("p") if how == "run" else registry_run(local, purpose="p") as run:
            child = os.fork()
            if child == 0:
                leave()
            else:
                wait_for(child)
                write(run, "k", 1)
    finally:
        if os.getpid() != me:
            os._exit(0)
    assert rows(local, "k") == [1]


def test_ids_of_parent_and_child_differ(local: Registry) -> None:
    mine = {local.insert_run("p") for _ in range(20)}
    place = Path(local.url).parent / "ids"
    in_fork(lambda: place.write_text(" ".join(local.insert_run("p") for _ in range(20))))
    mine |= {local.insert_run("p") for _ in range(20)}
    assert len(mine | set(place.read_text().split())) == 60


@pytest.mark.parametrize("leave", [lambda: sys.exit(0), lambda: None], ids=["exit", "end"])
def test_a_forked_child_that_leaves_a_dataset_leaves_it_to_its_parent(
    local: Registry, leave: Callable[[], object]
) -> None:
    me = os.getpid()
    try:
        with local.run("p") as run, run.dataset("k") as ds:
            child = os.fork()
            if child == 0:
                leave()
            else:
                wait_for(child)
                ds.write_table(numbers(1))
    finally:
        if os.getpid() != me:
            os._exit(0)
    assert rows(local, "k") == [1]


def test_forks_out_of_busy_threads_never_hang(local: Registry) -> None:
    """Whatever lock a thread of the parent holds at that moment."""
    publish(local, "k", 1)
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            with local.run("busy", lease=1) as run:
                run.dataset("busy")
            rows(local, "k")

    threads = [threading.Thread(target=keep_busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for n in range(15):
            in_fork(lambda n=n: publish(local, f"fork-{n}", n))  # type: ignore[misc]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert [rows(local, f"fork-{n}") for n in range(15)] == [[n] for n in range(15)]


def test_a_lock_that_was_held_at_the_fork_is_one_free_lock_for_all_threads_of_the_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However slowly they find that out."""
    lock, make = locks.ForkSafeLock(), threading.Lock

    def work() -> None:
        inside, most = 0, 0
        monkeypatch.setattr(threading, "Lock", lambda: time.sleep(0.1) or make())  # type: ignore[func-returns-value]

        def use(after: float) -> None:
            nonlocal inside, most
            time.sleep(after)
            with lock:
                inside += 1
                most = max(most, inside)
                time.sleep(0.2)
                inside -= 1

        threads = [threading.Thread(target=use, args=(after,)) for after in (0, 0.05, 0.15)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == 1

    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    try:
        in_fork(work, seconds=20)
    finally:
        done.set()
        holder.join()


def test_a_child_that_outlives_its_parents_run_does_not_keep_it_alive(local: Registry) -> None:
    """Heartbeats belong to the process that began the run."""
    run = local.insert_run("p", lease=1)

    def work() -> None:
        time.sleep(1.2)
        assert not any(t.name == "registry-heartbeats" for t in threading.enumerate())

    in_fork(work)
    assert local.get_run(run).state == "RUNNING"
    assert local.reap().alive == [run]
    local.close_run(run, True)


def test_a_run_whose_beginner_has_ended_is_safe_from_the_first_write_of_another_process(local: Registry) -> None:
    """Before that, whoever needs what it holds may abort it: nobody was there."""
    code = "import sys; from prefect_registry import Registry; print(Registry(sys.argv[1]).insert_run('p'))"

    def begun_elsewhere() -> str:
        done = subprocess.run([sys.executable, "-c", code, local.url], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    abandoned, run = begun_elsewhere(), begun_elsewhere()
    local.register_documents([doc("a")], run_id=run)
    stranger = Registry(local.url, settings=FAST)
    with pytest.raises(UndecidedConflict, match=run):
        stranger.register_documents([doc("a", title="stranger's")])
    assert (stranger.reap().reaped, stranger.reap().alive) == ([abandoned], [run])
    local.close_run(run, True)
    assert [d.title for d in stranger.documents()] == [""]


# -- threads ---------------------------------------------------------------------------------------------------------


def test_many_threads_write_one_run_and_read_at_the_same_time(registry: Registry) -> None:
    with registry.run("p") as run, ThreadPoolExecutor(8) as pool:
        writes = [pool.submit(write, run, "k", n, mode="append") for n in range(40)]
        reads = [pool.submit(rows, registry, "k") for _ in range(40)]
        docs = [pool.submit(registry.register_documents, [doc(f"d{n}")], run_id=run.id) for n in range(40)]
        assert all(read.result() == [] for read in reads)
        assert len({each.result() for each in writes}) == 40
        assert [each.result() for each in docs] == [None] * 40
    assert sorted(rows(registry, "k")) == list(range(40))
    assert len(list(registry.documents())) == 40


def test_the_surrounding_run_is_that_of_the_thread(registry: Registry) -> None:
    found: dict[str, str] = {}

    def work(name: str) -> None:
        with pytest.raises(NoActiveRun):
            registry.begin_dataset("k")
        with registry.run(name) as run:
            found[run.id] = registry.begin_dataset("k")

    with registry.run("main") as main:
        threads = [threading.Thread(target=work, args=(str(n),)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found[main.id] = registry.begin_dataset("k")
    assert len(found) == 9
    assert all(dataset.startswith(f"ds_{run[4:]}_") for run, dataset in found.items())


@pytest.mark.parametrize("how", ["run", "registry_run"])
def test_a_call_belongs_to_the_run_of_its_own_registry_also_inside_a_run_of_another(tmp_path: Path, how: str) -> None:
    """Nothing of it is visible outside that run."""
    first, second = Registry(tmp_path / "1", settings=FAST), Registry(tmp_path / "2", settings=FAST)

    def block(registry: Registry) -> Any:
        return registry.run("p") if how == "run" else registry_run(registry, purpose="p")

    def run_of(registry: Registry) -> str:
        return f"run_{registry.emit_event('e', 's').split('_')[1]}"

    with pytest.raises(ValueError, match="late"), block(first) as outer:
        with block(second) as inner:
            first.register_documents([doc("a")])
            second.register_documents([doc("b")])
            assert run_of(first) == outer.id
            assert (current_run().id if how == "registry_run" else inner.id) == inner.id
            with block(first) as innermost:
                assert (run_of(first), run_of(second)) == (innermost.id, inner.id)
            assert innermost.info().parent == (outer.id if how == "registry_run" else None)
            assert run_of(first) == outer.id
        assert list(Registry(first.url).documents()) == []
        raise ValueError("too late")
    assert [d.id for d in second.documents()] == ["b"]
    assert list(first.documents()) == []


def test_two_registries_do_not_share_their_surrounding_run(tmp_path: Path) -> None:
    first, second = Registry(tmp_path / "1", settings=FAST), Registry(tmp_path / "2", settings=FAST)
    with first.run("p") as outer, second.run("p") as inner:
        assert second.begin_dataset("k").startswith(f"ds_{inner.id[4:]}_")
        assert outer.dataset("k").run_id == outer.id
    with first.run("p"), pytest.raises(NoActiveRun):
        second.begin_dataset("k")


def test_the_same_place_by_two_spellings_is_one_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = Registry("here"), Registry(f"file://{tmp_path}/here/")
    publish(first, "k", 1)
    assert (second.registry_id, second.url, rows(second, "k")) == (first.registry_id, first.url, [1])


def test_a_registry_can_be_moved(tmp_path: Path) -> None:
    first = Registry(tmp_path / "here")
    publish(first, "k", 1)
    (tmp_path / "here").rename(tmp_path / "there")
    moved = Registry(tmp_path / "there", create=False)
    assert rows(moved, "k") == [1]
    assert moved.latest("k").root.startswith(str(tmp_path / "there"))
