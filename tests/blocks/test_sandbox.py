"""Fresh registries for users' own tests."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prefect_registry import Registry, registry_sandbox
from prefect_registry.blocks import LocalRegistry, S3Registry
from prefect_registry.resolve import resolve_registry
from prefect_registry.sandbox import current_sandbox


def publish(registry: Registry, kind: str = "x") -> None:
    with registry.run("test") as run, run.dataset(kind) as ds, ds.open("f", "wb") as file:
        file.write(b"1")


def kinds(registry: Registry) -> list[str]:
    return [dataset.kind for dataset in registry.datasets()]


def test_the_registry_that_the_code_names_is_the_one_of_the_block() -> None:
    """Whatever it names: nothing is looked up and no store is opened."""
    for named in ("prod", "data-registry-s3/prod", "s3://bucket/x", S3Registry(bucket="b"), None):
        with registry_sandbox() as registry:
            assert resolve_registry(named) is registry
            assert kinds(registry) == []
            publish(resolve_registry(named))
            assert kinds(registry) == ["x"]


def test_several_names_are_several_stores() -> None:
    """The block's is that of the first one, or of the one that it is told."""
    with registry_sandbox() as registry:
        staging, prod = resolve_registry("staging"), resolve_registry("prod")
        publish(staging)
        assert (kinds(staging), kinds(prod)) == (["x"], [])
        assert staging is registry
        assert resolve_registry("data-registry-gcs/prod") is prod
    with registry_sandbox("prod") as registry:
        assert resolve_registry("staging") is not registry
        assert resolve_registry("prod") is registry
        assert resolve_registry() is registry
        assert resolve_registry("default") is registry


def test_a_registry_made_before_is_replaced_too(tmp_path: Path) -> None:
    """So that a module's own registry is safe from its tests; one of the sandbox's own stays itself."""
    production = Registry(str(tmp_path))
    with registry_sandbox() as registry:
        publish(resolve_registry(production))
        assert resolve_registry(registry) is registry
        publish(LocalRegistry(path=str(tmp_path)).get_registry(), "y")
    assert kinds(production) == []


def test_it_wins_over_every_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A developer's environment points to something real."""
    monkeypatch.setenv("PREFECT_REGISTRY_OVERRIDE", str(tmp_path / "real"))
    monkeypatch.setenv("PREFECT_REGISTRY_URL", str(tmp_path / "real"))
    with registry_sandbox() as registry:
        assert resolve_registry() is registry
    assert resolve_registry().url.endswith("/real")
    assert os.environ["PREFECT_REGISTRY_OVERRIDE"] == str(tmp_path / "real")


def test_sandboxes_nest_and_leave_nothing_behind() -> None:
    """Inside the inner one the outer one's data is not seen."""
    with registry_sandbox() as outer:
        publish(resolve_registry("prod"))
        with registry_sandbox() as inner:
            assert resolve_registry("prod") is inner
            assert kinds(inner) == []
        assert resolve_registry("prod") is outer
        folder = Path(outer.url.removeprefix("file://"))
        assert folder.exists()
    assert not folder.parent.parent.exists()
    assert current_sandbox() is None


def test_it_is_undone_when_the_test_fails() -> None:
    """Also the variable that carries it to other processes."""
    before = dict(os.environ)
    with pytest.raises(ZeroDivisionError), registry_sandbox():
        _ = 1 / 0
    assert dict(os.environ) == before


def _url_into(answer: Callable[[str], None], name: str) -> None:
    answer(resolve_registry(name).url)


def test_threads_are_inside() -> None:
    """Plain ones, to which context variables do not travel."""
    found: list[str] = []
    with registry_sandbox("prod") as registry:
        thread = threading.Thread(target=_url_into, args=(found.append, "prod"))
        thread.start()
        thread.join()
        assert found == [registry.url]


def test_threads_that_name_it_at_once_have_one_store() -> None:
    """None of them reads the note of the first name while another one is still writing it."""
    for _ in range(8):
        with registry_sandbox() as registry, ThreadPoolExecutor(8) as threads:
            together = threading.Barrier(8)
            found = list(threads.map(lambda _: (together.wait(), resolve_registry("prod"))[1], range(8)))  # noqa: B023
            assert all(one is registry for one in found)


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_processes_are_inside(how: str) -> None:
    """Those of a process pool, however it starts them."""
    with registry_sandbox("prod") as registry:
        context = multiprocessing.get_context(how)
        answers = context.Queue()
        child = context.Process(target=_url_into, args=(answers.put, "prod"))
        child.start()
        assert answers.get(timeout=60) == registry.url
        child.join()


def test_programs_are_inside() -> None:
    """Any that the test starts."""
    with registry_sandbox("prod") as registry:
        code = "from prefect_registry.resolve import resolve_registry; print(resolve_registry('prod').url)"
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        assert done.stdout.strip() == registry.url


async def test_inside_an_event_loop() -> None:
    """It does nothing that needs one."""
    with registry_sandbox() as registry:
        assert await S3Registry(bucket="b").aget_registry() is registry


def test_the_fixture_gives_the_code_under_test_a_registry(registry: Registry) -> None:
    """A test says `registry` and is done."""
    publish(resolve_registry("prod"))
    assert kinds(registry) == ["x"]


def test_the_fixture_is_fresh_for_each_test(registry: Registry) -> None:
    """Nothing of the test before."""
    assert kinds(registry) == []
