"""``registry_run``: one name in three forms, with and without parentheses, for both colours of functions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from prefect import Flow, flow, task
from prefect.flows import load_flow_from_entrypoint
from prefect_support import boom, ended, rows_of, seen, stage
from pydantic import SecretStr

from prefect_registry.capture.repository import commit_at
from prefect_registry.errors import InvalidInput, InvalidState
from prefect_registry.registry import Registry
from prefect_registry.runs import current_run, registry_run, roll_back_registry_run

HOOKS = ("on_failure_hooks", "on_crashed_hooks", "on_cancellation_hooks")


def publish(kind: str) -> None:
    with current_run().dataset(kind) as dataset:
        dataset.write_table(rows_of(3))


@pytest.mark.parametrize("parentheses", [True, False])
@pytest.mark.parametrize("position", ["above", "below", "no flow"])
async def test_it_decorates_in_every_position(
    store: Registry, monkeypatch: pytest.MonkeyPatch, position: str, parentheses: bool
) -> None:
    """Above and below ``@flow``, and a function that is no flow; synchronous and asynchronous."""
    monkeypatch.setenv("PREFECT_REGISTRY_URL", store.url)
    run: Callable[[Any], Any] = registry_run() if parentheses else registry_run

    def ingest(kind: str) -> str:
        publish(kind)
        return kind

    async def aingest(kind: str) -> str:
        publish(kind)
        return kind

    decorate: Callable[[Any], Any] = {
        "above": lambda fn: run(flow(fn)),
        "below": lambda fn: flow(run(fn)),
        "no flow": run,
    }[position]
    sync, asynchronous = decorate(ingest), decorate(aingest)
    assert isinstance(sync, Flow) is (position != "no flow")
    import asyncio

    assert await asyncio.to_thread(sync, "a") == "a"
    assert await asynchronous("b") == "b"
    assert (seen(store).rows("a"), seen(store).rows("b")) == (3, 3)
    assert seen(store).states() == ["COMMITTED", "COMMITTED"]


@pytest.mark.parametrize("good", [True, False])
async def test_it_is_a_context_manager_of_both_colours(store: Registry, good: bool) -> None:
    """In a plain program: leaving commits, an exception rolls back and goes on."""
    for n, asynchronous in enumerate((False, True)):
        try:
            if asynchronous:
                async with registry_run(store, purpose="block") as run:
                    assert current_run().id == run.id
                    publish(f"kind{n}")
                    assert good or not bool(1 / 0)
            else:
                with registry_run(store, purpose="block") as run:
                    assert current_run().id == run.id
                    publish(f"kind{n}")
                    assert good or not bool(1 / 0)
        except ZeroDivisionError:
            assert not good
    assert [seen(store).rows(f"kind{n}") == 3 for n in range(2)] == [good, good]
    assert {run.purpose for run in seen(store).registry.runs()} == {"block"}


def test_a_block_in_an_undecorated_flow_waits_for_what_it_submitted(store: Registry) -> None:
    """And fails with it."""

    @flow
    def good() -> None:
        with registry_run(store) as run:
            stage.submit("a")
        assert run.info().state == "COMMITTED"

    @flow
    def bad() -> None:
        with registry_run(store):
            stage("b")
            boom.submit("in the block")

    good()
    with pytest.raises(ValueError, match="in the block"):
        bad()
    assert (seen(store).rows("a"), seen(store).rows("b")) == (3, 0)
    assert [run.purpose for run in seen(store).registry.runs(newest_first=False)] == ["good", "bad"]


def test_one_block_is_one_run(store: Registry) -> None:
    """It can be used again, but not inside itself."""
    block = registry_run(store)
    with block, pytest.raises(InvalidState, match="open already"), block:
        pass
    with block:
        publish("a")
    assert seen(store).rows("a") == 3


def test_what_it_cannot_decorate_is_refused_clearly(store: Registry) -> None:
    """Generators, tasks, classes, twice, wrong arguments: all when it is applied."""

    def generator() -> Iterator[int]:
        yield 1

    async def agenerator() -> AsyncIterator[int]:
        yield 1

    def fine(year: int) -> None: ...

    async def acheck(run: Any) -> None: ...

    for fn in (generator, agenerator):
        with pytest.raises(InvalidInput, match="is a generator"):
            registry_run(store)(fn)
        with pytest.raises(InvalidInput, match="is a generator"):
            registry_run(store)(flow(fn))
    with pytest.raises(InvalidInput, match="a run belongs to a flow"):
        registry_run(task(fine))  # type: ignore[call-overload]
    with pytest.raises(InvalidInput, match="neither a flow nor a function"):
        registry_run(store)(Path)
    with pytest.raises(InvalidInput, match="decorated with registry_run already"):
        registry_run(store)(flow(registry_run(store)(fine)))
    with pytest.raises(InvalidInput, match=r"names \{month\}, which is no parameter"):
        registry_run(store, purpose="ingest {month}")(fine)
    with pytest.raises(InvalidInput, match="check is asynchronous"):
        registry_run(store, check=acheck)(fine)
    with pytest.raises(InvalidInput) as raised:
        registry_run(store, publish="later", on_unawaited_failure="shrug", check=3)  # type: ignore[call-overload]
    assert len(raised.value.problems) == 3


def test_a_decorated_flow_is_a_copy_with_lists_of_its_own(store: Registry) -> None:
    """The flow it was made from, and copies of it, are left alone."""

    def own(flow: Any, flow_run: Any, state: Any) -> None: ...

    @flow(name="original", on_failure=[own], retries=2, timeout_seconds=9)
    def original(n: int = 1) -> int:
        return n

    decorated = registry_run(store)(original)
    assert decorated is not original
    assert (decorated.name, decorated.retries, decorated.timeout_seconds) == ("original", 2, 9)
    assert decorated.parameters == original.parameters
    for name in HOOKS:
        assert roll_back_registry_run not in getattr(original, name)
        assert getattr(decorated, name)[0] is roll_back_registry_run
    assert decorated.on_failure_hooks[1] is own
    again = decorated.with_options(name="again")
    assert again.on_failure_hooks[0] is roll_back_registry_run
    assert again(3) == 3
    assert [run.purpose for run in seen(store).registry.runs()] == ["again"]


def test_parameters_are_coerced_and_refused_before_a_run_begins(store: Registry) -> None:
    """Prefect validates them outside the wrapper."""
    from prefect.exceptions import ParameterTypeError

    @registry_run(store, purpose="ingest {year:05d} by {who}")
    @flow
    def ingest(year: int, who: str = "nobody", secret: SecretStr | None = None) -> int:
        return year

    assert ingest("2013", secret=SecretStr("hunter22")) == 2013  # type: ignore[arg-type]
    with pytest.raises(ParameterTypeError):
        ingest("no year")  # type: ignore[arg-type]
    [run] = seen(store).registry.runs()
    assert run.purpose == "ingest 02013 by nobody"
    assert run.config == {"year": 2013, "who": "nobody", "secret": "********"}


def test_what_the_decorator_says_is_recorded(store: Registry) -> None:
    """Model, revision and settings; and Prefect's own ids."""

    @registry_run(store, model_id="m", revision="7", config={"dim": 3}, lease=120)
    @flow(name="embed it")
    def embed(x: int) -> None: ...

    state = ended(embed(1, return_state=True))
    [run] = seen(store).registry.runs()
    assert (run.purpose, run.model_id, run.revision, run.config) == ("embed it", "m", "7", {"dim": 3})
    assert run.lease_seconds == 120
    assert run.flow_run == str(state.state_details.flow_run_id)
    assert run.prefect["flow_name"] == "embed it"


def test_the_revision_is_the_git_commit_of_the_flows_file(store: Registry, tmp_path: Path) -> None:
    """Read from the repository's files; a deployment's version would come first."""
    repository = tmp_path / "repository"
    (repository / "flows").mkdir(parents=True)
    source = repository / "flows" / "mine.py"
    source.write_text(
        "from prefect import flow\nfrom prefect_registry.runs import registry_run\n"
        "@registry_run('{store}')\n@flow\ndef mine(store: str): return 1\n"
    )
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(repository)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    loaded = load_flow_from_entrypoint(f"{source}:mine")
    assert loaded(store.url) == 1
    assert [run.revision for run in seen(store).registry.runs()] == [commit]
    subprocess.run([*git, "pack-refs", "--all"], check=True)
    assert commit_at(str(source.parent)) == commit
    worktree = tmp_path / "worktree"
    subprocess.run([*git, "worktree", "add", "-q", str(worktree)], check=True)
    assert commit_at(str(worktree / "flows")) == commit
    assert commit_at(str(tmp_path)) is None


def test_a_decorated_flow_can_be_pickled_by_value(store: Registry) -> None:
    """Prefect sends it to process pools, Dask and subprocesses that way."""

    @registry_run(store)
    @flow
    def ingest() -> int:
        stage("a")
        return 5

    copy = cloudpickle.loads(cloudpickle.dumps(ingest))
    assert copy() == 5
    assert seen(store).rows("a") == 3


def test_the_registry_may_come_from_a_parameter(store: Registry, tmp_path: Path) -> None:
    """A template, or the parameter itself: an object, a block, a name."""
    other = Registry(tmp_path / "other")

    @registry_run("{where}")
    @flow(validate_parameters=False)
    def ingest(where: Any) -> None:
        stage("a")

    ingest(store.url)
    ingest(other)
    assert (seen(store).rows("a"), seen(other).rows("a")) == (3, 3)


def test_a_method_can_be_a_decorated_flow(store: Registry) -> None:
    """Its object is no parameter of the run."""

    class Job:
        kind = "a"

        @registry_run(store)
        @flow
        def ingest(self, n: int) -> str:
            stage(self.kind, n)
            return self.kind

    assert Job().ingest(4) == "a"
    [run] = seen(store).registry.runs()
    assert (run.config, seen(store).rows("a")) == ({"n": 4}, 4)


def test_importing_the_package_imports_no_prefect() -> None:
    """Nothing below this layer needs it."""
    code = "import sys, prefect_registry.registry; sys.exit(any(m.split('.')[0] == 'prefect' for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
