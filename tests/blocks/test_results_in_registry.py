"""A registry block as the place where Prefect keeps the results of flows and tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task

from prefect_registry import LocalRegistry, S3Registry
from prefect_registry.errors import InvalidInput, NotFound
from prefect_registry.testing.servers import Server


@pytest.fixture
def block(prefect_server: str, tmp_path: Path) -> LocalRegistry:
    """A saved block, as result storage must be."""
    block = LocalRegistry(path=str(tmp_path / "registry"))
    block.save("results", overwrite=True)
    return block


@pytest.mark.prefect
def test_results_of_a_flow_live_in_the_registry(block: LocalRegistry) -> None:
    """A persisted result is read back by the state, and a cached one is not computed again by a later flow."""
    calls: list[int] = []

    @task(persist_result=True, cache_key_fn=lambda *_: "results-in-registry/a b", result_storage=block)
    def expensive(x: int) -> dict[str, Any]:
        calls.append(x)
        return {"answer": x}

    @flow(persist_result=True, result_storage="data-registry-local/results")
    def work() -> dict[str, Any]:
        return expensive(42)

    state = work(return_state=True)
    assert state.result() == {"answer": 42}
    assert work() == {"answer": 42}
    assert calls == [42]
    stored = [o.key for o in block.get_registry().storage.list("results/")]
    assert len(stored) >= 2
    assert all("/" not in key.removeprefix("results/") for key in stored)
    assert block.get_registry().fsck().findings == ()


@pytest.mark.prefect
async def test_results_of_an_asynchronous_flow(block: LocalRegistry) -> None:
    """The same from an event loop."""

    @task(persist_result=True)
    async def expensive() -> bytes:
        return b"\x00" * 100_000

    @flow(persist_result=True, result_storage=block)
    async def work() -> int:
        return len(await expensive())

    state: Any = await work(return_state=True)
    assert await state.aresult() == 100_000
    assert len(list(block.get_registry().storage.list("results/"))) >= 2


@pytest.mark.server
def test_results_on_s3(seaweedfs: Server) -> None:
    """What Prefect writes it reads, over what was there; a name is never a path, and what is missing is NotFound."""
    options = seaweedfs.storage_options
    block = S3Registry(
        bucket=seaweedfs.bucket,
        prefix="results-block",
        endpoint_url=seaweedfs.endpoint,
        access_key_id=options["key"],
        secret_access_key=options["secret"],
        path_style=True,
    )
    for content in (b"", b"one", b"x" * 9_000_000):
        assert block.write_path("../../etc/passwd", content, _sync=True) == "../../etc/passwd"
        assert block.read_path("../../etc/passwd", _sync=True) == content
    (key,) = [o.key for o in block.get_registry().storage.list("results/")]
    assert key.count("/") == 1
    with pytest.raises(NotFound):
        block.read_path("missing")
    with pytest.raises(InvalidInput):
        block.read_path("")
