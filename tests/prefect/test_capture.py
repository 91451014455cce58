"""Provenance without a line of code: every run of a flow tells what it was, also where it failed; and no secrets."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.blocks.system import Secret
from prefect.flows import load_flow_from_entrypoint
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from prefect_dask import DaskTaskRunner
from prefect_support import Server, ended, rows_of, seen, stage
from pydantic import BaseModel, SecretStr

from prefect_registry import tasks
from prefect_registry.provenance import Captured, captured, involved
from prefect_registry.registry import Registry
from prefect_registry.runs import acurrent_run, current_run, registry_run
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.testing.counting import CountingStorage

PLANTED = "hunter22-s3cr3t"
HERE = "tests/prefect/test_capture.py"


def runner_of(name: str, dask: str) -> Any:
    if name == "thread":
        return ThreadPoolTaskRunner(max_workers=2)
    return ProcessPoolTaskRunner(max_workers=1) if name == "process" else DaskTaskRunner(address=dask)


def given(store: Registry) -> set[str]:
    """What flows read here: a dataset and a version of an object."""
    registry = Registry(store.url, version_objects=True)
    with registry.run("given") as run:
        with run.dataset("raw") as raw:
            raw.write_table(rows_of(3))
        version = run.save("rate", 7)
    return {raw.id, f"rate@{version}"}


@task
def make(kind: str) -> list[str]:
    """Read what is given, and make a dataset and an object of it, on whatever worker this is."""
    run = current_run()
    read = run.table("raw").to_table()
    rate = run.load("rate")
    with run.dataset(kind) as clean:
        clean.write_table(read)
    return [clean.id, f"fitted@{run.save('fitted', rate + 1)}"]


def told_of(store: Registry, captured_run: str) -> tuple[Captured, set[str], set[str]]:
    """What a reader in another process is told of a run."""
    other = Registry(store.url, create=False)
    found = involved(other, captured_run)
    return captured(other, captured_run), set(found.used), set(found.generated)


@pytest.mark.parametrize("name", ["thread", "process", "dask"])
def test_a_flow_is_captured_completely_on_every_runner(store: Registry, dask: str, name: str) -> None:
    """What it has read and made, wherever; its code, packages and parameters; in the catalog's lineage too."""
    read = given(store)
    made: list[str] = []

    @registry_run(store.url)
    @flow(task_runner=runner_of(name, dask), version="7")
    def fits(year: int, password: str) -> str:
        made.extend(make.submit("clean").result())
        return current_run().id

    run_id = fits(2013, password=PLANTED)
    told, used, generated = told_of(store, run_id)
    assert (used, generated) == (read, set(made))
    assert told.outcome == "committed"
    assert told.parameters == {"year": 2013, "password": "********"}
    assert told.code["path"].endswith(HERE)
    assert told.code["entrypoint"].endswith(".fits")
    assert told.code.get("commit") == seen(store).registry.get_run(run_id).revision
    assert {"prefect", "prefect-registry", "pyarrow"} <= set(told.environment["packages"])
    assert told.worker["task_runner"] == type(runner_of(name, dask)).__name__
    assert (told.prefect["flow_name"], told.prefect["flow_version"]) == ("fits", "7")
    edges = seen(store).registry.catalog.upstream(made[0])
    assert {e.target for e in edges if e.source == run_id and e.relation == "used"} == read


def test_a_failed_run_is_captured_too(store: Registry, dask: str) -> None:
    """With what it had read, on a Dask worker, and had made; lineage of nothing."""
    read = given(store)
    made: list[str] = []

    @registry_run(store.url)
    @flow(task_runner=DaskTaskRunner(address=dask))
    def fits(rate: float) -> None:
        made.extend(make.submit("clean").result())
        raise ValueError("in vain")

    with pytest.raises(ValueError, match="in vain"):
        fits(0.5)
    [run] = [r for r in seen(store).registry.runs() if r.purpose == "fits"]
    told, used, generated = told_of(store, run.id)
    assert (used, generated) == (read, set(made))
    assert told.outcome == "aborted"
    assert told.failure is not None
    assert (told.failure.cls, told.failure.message) == ("ValueError", "in vain")
    assert told.parameters == {"rate": 0.5}
    assert told.code["path"].endswith(HERE)
    assert told.finished_at is not None
    assert told.environment["packages"]
    assert seen(store).registry.catalog.upstream(run.id).items == ()


async def test_asynchronous_flows_blocks_and_the_tasks_alone_are_captured(store: Registry) -> None:
    """Whatever opens the run: the code is the flow's."""

    @registry_run(store)
    @flow
    async def awaited() -> str:
        return (await acurrent_run()).id

    @flow
    async def blocked() -> str:
        async with registry_run(store) as run:
            return run.id

    @flow
    def alone() -> str:
        run_id = tasks.insert_run("alone", registry=store)
        tasks.close_run(run_id, True, registry=store)
        return run_id

    @flow
    def by_hand() -> str:
        with store.run("by hand") as run:
            return run.id

    for run_id, name in ((await awaited(), "awaited"), (await blocked(), "blocked"), (alone(), "alone")):
        told, _, _ = told_of(store, run_id)
        assert told.code["entrypoint"].endswith(f".{name}")
        assert told.environment["packages"]
        assert told.worker["task_runner"] == "ThreadPoolTaskRunner"
    assert told_of(store, by_hand())[0].code["path"].endswith(HERE)


def test_capturing_asks_the_store_nothing(server: Server) -> None:
    """A decorated flow run begins with the three creates that it began with before: one step."""
    counting = CountingStorage(MemoryStorage())
    registry = Registry(counting, heartbeats=False)
    counts: list[tuple[int, int, int]] = []

    @registry_run(registry)
    @flow
    def empty() -> None:
        measure = counting.calls
        counts.append((measure.by_method["create"], measure.by_method["put"], measure.total))

    before = counting.calls.by_method["create"], counting.calls.by_method["put"], counting.calls.total
    empty()
    assert [after - begun for after, begun in zip(counts[0], before, strict=True)] == [2, 1, 3]


class Login(BaseModel):
    user: str = "me"
    password: SecretStr = SecretStr(PLANTED)


def test_no_secret_reaches_the_store(store: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of parameters, blocks, the environment, git's remotes, and where a package was installed from."""
    monkeypatch.setenv("PLANTED_TOKEN", PLANTED)
    Secret(value=PLANTED).save("captured", overwrite=True)
    site = tmp_path / "site"
    (site / "planted-1.0.dist-info").mkdir(parents=True)
    origin = f'{{"url": "https://x:{PLANTED}@host/planted.git", "dir_info": {{"editable": true}}}}'
    (site / "planted-1.0.dist-info" / "direct_url.json").write_text(origin)
    monkeypatch.syspath_prepend(str(site))
    source = tmp_path / "repository" / "leaky.py"
    source.parent.mkdir()
    source.write_text(
        "from typing import Any\nfrom prefect import flow\n"
        "from prefect_registry.runs import current_run, registry_run\n"
        "@registry_run('{store}')\n@flow(flow_run_name='of {token}', validate_parameters=False)\n"
        "def leaky(store: str, login: Any, block: Any, token: str, url: str, named: Any) -> str:\n"
        "    return current_run().id\n"
    )
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(source.parent)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"],
                    ["remote", "add", "origin", f"https://{PLANTED}@host/leaky.git"]):  # fmt: skip
        subprocess.run([*git, *command], check=True)
    leaky: Any = load_flow_from_entrypoint(f"{source}:leaky")
    secrets = (Login(), Secret.load("captured"), PLANTED, f"https://{PLANTED}@host/x", {"api_key": PLANTED})
    state = ended(leaky(store.url, *secrets, return_state=True))
    told, _, _ = told_of(store, state.result())
    assert told.code["repository"] == "https://host/leaky.git"
    assert told.environment["packages"]["planted"] == "1.0"
    assert os.environ["PLANTED_TOKEN"] == PLANTED
    stored = [path for path in Path(store.url).rglob("*") if path.is_file()]
    assert len(stored) >= 3
    assert not [path for path in stored if PLANTED.encode() in path.read_bytes()]


def test_a_subflow_is_captured_with_its_own_code(store: Registry) -> None:
    """Its run is nested; it runs where the flow around it does."""

    @registry_run(store)
    @flow
    def inner() -> str:
        stage("a")
        return current_run().id

    @registry_run(store)
    @flow
    def outer() -> tuple[str, str]:
        return inner(), current_run().id

    for run_id, name in zip(outer(), ("inner", "outer"), strict=True):
        told, _, _ = told_of(store, run_id)
        assert told.code["entrypoint"].endswith(f".{name}")
        assert told.outcome == "committed"


@task(retries=1)
def make_in_two_attempts(url: str, folder: str) -> list[str]:
    """Make something of what is given, and fail; then make it of the dataset, read through a registry of its own."""
    mark = Path(folder) / "failed-once"
    run = current_run()
    if not mark.exists():
        run.load("rate")
        with run.dataset("clean") as lost:
            lost.write_table(rows_of(9))
        run.save("fitted", 9)
        mark.touch()
        raise ConnectionError("once")
    read = Registry(url).table("raw").to_table()
    with run.dataset("clean") as clean:
        clean.write_table(read)
    return [clean.id]


@pytest.mark.usefixtures("forked_pools")
@pytest.mark.parametrize("name", ["thread", "process", "dask"])
def test_what_a_failed_attempt_of_a_task_read_counts_and_what_it_made_does_not(
    store: Registry, dask: str, tmp_path: Path, name: str
) -> None:
    """The next attempt may have gone on from what was read; what was made was dropped."""
    read = given(store)
    made: list[str] = []

    @registry_run(store.url)
    @flow(task_runner=runner_of(name, dask))
    def fits() -> str:
        made.extend(make_in_two_attempts.submit(store.url, str(tmp_path)).result())
        return current_run().id

    run_id = fits()
    told, used, generated = told_of(store, run_id)
    assert (used, generated, told.outcome) == (read, set(made), "committed")
    lineage = {(e.source, e.relation, e.target) for e in seen(store).registry.catalog.upstream(made[0])}
    assert lineage >= {(made[0], "wasGeneratedBy", run_id), *((run_id, "used", each) for each in read)}


@pytest.mark.parametrize("name", ["thread", "dask"])
def test_each_attempt_of_a_flow_tells_what_it_read_and_made(store: Registry, dask: str, name: str) -> None:
    """The failed one too; only the last one's is lineage."""
    read = given(store)
    runs: list[str] = []
    made: list[list[str]] = []

    @registry_run(store.url)
    @flow(retries=1, task_runner=runner_of(name, dask))
    def fits(year: int) -> None:
        runs.append(current_run().id)
        made.append(make.submit("clean").result())
        if len(runs) == 1:
            raise ConnectionError("once")

    fits(2013)
    for run_id, own, outcome in zip(runs, made, ("aborted", "committed"), strict=True):
        told, used, generated = told_of(store, run_id)
        assert (used, generated, told.outcome) == (read, set(own), outcome)
        assert told.parameters == {"year": 2013}
        assert told.finished_at is not None
        assert told.finished_at > told.started_at
    first, second = (told_of(store, run_id)[0] for run_id in runs)
    assert first.prefect["flow_run_id"] == second.prefect["flow_run_id"]
    assert (first.prefect["run_count"], second.prefect["run_count"]) == (1, 2)
    assert first.failure is not None
    assert (first.failure.cls, second.failure) == ("ConnectionError", None)
    assert seen(store).registry.catalog.upstream(made[0][0]).items == ()
    assert seen(store).registry.catalog.upstream(made[1][0]).items != ()
