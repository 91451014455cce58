"""Which registry a call means, on a real Prefect server."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client

from prefect_registry import Registry
from prefect_registry.blocks import FsspecRegistry, LocalRegistry, S3Registry
from prefect_registry.errors import ConfigurationError, InvalidInput, RegistryError
from prefect_registry.resolve import aresolve_registry, lookup, resolve_registry

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def name() -> str:
    return f"r-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def default_block(tmp_path: Path) -> Iterator[str]:
    """A block named `default`, for as long as the test runs."""
    LocalRegistry(path=str(tmp_path / "default")).save("default", overwrite=True)
    lookup.forget()
    yield str(tmp_path / "default")
    LocalRegistry.delete("default")


def saved(tmp_path: Path, name: str) -> str:
    LocalRegistry(path=str(tmp_path / name)).save(name)
    return str(tmp_path / name)


def test_each_way_to_name_a_registry(tmp_path: Path, name: str) -> None:
    """By the block's name, by type and name, by URL, by folder, by block, by object: one and the same."""
    url = saved(tmp_path, name)
    first = resolve_registry(name)
    assert first.url.endswith(url)
    for other in (f"data-registry-local/{name}", url, Path(url), LocalRegistry.load(name), first):
        assert resolve_registry(other) is first


@pytest.mark.parametrize("where", ["argument", "PREFECT_REGISTRY_BLOCK", "default", "PREFECT_REGISTRY_URL"])
@pytest.mark.parametrize("override", [False, True])
def test_the_order(
    where: str, override: bool, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, request: Any
) -> None:
    """Override, argument, setting of a block, the block named default, setting of a URL: the first that is there."""
    order = ["argument", "PREFECT_REGISTRY_BLOCK", "default", "PREFECT_REGISTRY_URL"]
    present = order[order.index(where) :]
    argument = str(tmp_path / "argument") if "argument" in present else None
    if "PREFECT_REGISTRY_BLOCK" in present:
        saved(tmp_path, name)
        monkeypatch.setenv("PREFECT_REGISTRY_BLOCK", name)
    if "default" in present:
        request.getfixturevalue("default_block")
    monkeypatch.setenv("PREFECT_REGISTRY_URL", str(tmp_path / "url"))
    expected = {"argument": "argument", "PREFECT_REGISTRY_BLOCK": name, "default": "default"}.get(where, "url")
    if override:
        monkeypatch.setenv("PREFECT_REGISTRY_OVERRIDE", str(tmp_path / "override"))
        expected = "override"
    assert resolve_registry(argument).url.endswith(f"{tmp_path}/{expected}")


def test_the_run_around_the_call_comes_before_every_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And after the argument."""
    monkeypatch.setenv("PREFECT_REGISTRY_URL", str(tmp_path / "url"))
    around = resolve_registry(str(tmp_path / "around"))
    with around.run("test"):
        assert resolve_registry() is around
        assert resolve_registry(str(tmp_path / "other")) is not around
    assert resolve_registry() is not around


def test_a_registry_that_the_caller_made_is_found_as_the_run_around(tmp_path: Path) -> None:
    """Also when it never went through a name."""
    mine = resolve_registry(Registry(str(tmp_path / "mine")))
    with mine.run("test"):
        assert resolve_registry() is mine


def test_two_blocks_of_one_name_are_an_error_that_lists_both(tmp_path: Path, name: str) -> None:
    """Until the type is written too."""
    saved(tmp_path, name)
    FsspecRegistry(url="memory://x").save(name)
    with pytest.raises(ConfigurationError) as caught:
        resolve_registry(name)
    assert f"data-registry-fsspec/{name}" in str(caught.value)
    assert f"data-registry-local/{name}" in str(caught.value)
    assert resolve_registry(f"data-registry-local/{name}").url.endswith(name)


def test_a_name_that_nobody_saved() -> None:
    """The error says which types were looked through and how to save one."""
    with pytest.raises(
        ConfigurationError, match=r"no registry block 'nobody'.*data-registry-s3.*prefect-registry init"
    ):
        resolve_registry("nobody")


def test_a_type_that_is_none_of_ours() -> None:
    """A folder that looks like a reference gets a hint."""
    with pytest.raises(ConfigurationError, match=r"'data' is none of the types.*\./ in front"):
        resolve_registry("data/registry")


@pytest.mark.parametrize("wrong", [7, b"s3://x", "", "two words", "a/b/c", object()])
def test_what_names_no_registry_at_all(wrong: Any) -> None:
    """The error shows what does."""
    with pytest.raises(InvalidInput, match=r"is not a registry.*s3://bucket"):
        resolve_registry(wrong)


def test_a_spoilt_block_is_named_with_its_field(tmp_path: Path, name: str) -> None:
    """As the UI may leave it."""
    saved(tmp_path, name)
    with get_client(sync_client=True) as client:
        document = client.read_block_document_by_name(name, "data-registry-local")
        data = {"data": {"path": "relative"}, "merge_existing_data": True}
        client.request("PATCH", "/block_documents/{id}", path_params={"id": document.id}, json=data)
    with pytest.raises(ConfigurationError, match="path must be absolute"):
        resolve_registry(name)


def test_a_setting_that_leads_nowhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error ends with the variable, for it may have been set by somebody else."""
    monkeypatch.setenv("PREFECT_REGISTRY_BLOCK", "nobody")
    with pytest.raises(ConfigurationError, match="PREFECT_REGISTRY_BLOCK=nobody"):
        resolve_registry()
    monkeypatch.setenv("PREFECT_REGISTRY_OVERRIDE", "/proc/no/such")
    with pytest.raises(RegistryError, match="PREFECT_REGISTRY_OVERRIDE=/proc/no/such"):
        resolve_registry("prod")


def test_a_store_that_fails_names_the_block(name: str) -> None:
    """So that the reader of a flow run's log knows what to edit."""
    S3Registry(bucket="b", endpoint_url="http://127.0.0.1:9", access_key_id="AK", secret_access_key="SK").save(name)
    with pytest.raises(RegistryError, match=f"block data-registry-s3/{name}"):
        resolve_registry(name)


def test_options_of_the_url_come_from_their_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They belong to that URL alone."""
    monkeypatch.setenv("PREFECT_REGISTRY_URL", "s3://bucket/x")
    monkeypatch.setenv(
        "PREFECT_REGISTRY_STORAGE_OPTIONS", '{"endpoint_url": "http://127.0.0.1:9", "key": "a", "secret": "b"}'
    )
    with pytest.raises(RegistryError, match=r"127\.0\.0\.1:9"):
        resolve_registry()
    monkeypatch.setenv("PREFECT_REGISTRY_STORAGE_OPTIONS", "endpoint_url=x")
    with pytest.raises(ConfigurationError, match="PREFECT_REGISTRY_STORAGE_OPTIONS is not a JSON object"):
        resolve_registry()


# -- how often it is looked up -----------------------------------------------------------------------------------------


@pytest.fixture
def requests_sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests that Prefect's client sends from now on."""
    import httpx

    sent: list[str] = []
    send = httpx.Client.send

    def counted(self: httpx.Client, request: httpx.Request, *args: Any, **kwargs: Any) -> httpx.Response:
        sent.append(request.url.path)
        return send(self, request, *args, **kwargs)

    monkeypatch.setattr(httpx.Client, "send", counted)
    return sent


def test_a_name_is_looked_up_in_one_request_and_remembered(tmp_path: Path, name: str, requests_sent: list[str]) -> None:
    """Among all types at once."""
    saved(tmp_path, name)
    resolve_registry(str(tmp_path / name))
    requests_sent.clear()
    for _ in range(3):
        resolve_registry(name)
    assert [path for path in requests_sent if "block" in path] == ["/api/block_documents/filter"]


def test_the_next_flow_run_sees_an_edited_block(tmp_path: Path, name: str) -> None:
    """Although a name is remembered for a minute: each flow run looks it up once."""
    saved(tmp_path, name)

    @task
    def in_a_task() -> str:
        return resolve_registry(name).url

    @flow
    def where() -> list[str]:
        return [resolve_registry(name).url, in_a_task(), in_a_task.submit().result()]

    assert {url.rpartition("/")[2] for url in where()} == {name}
    LocalRegistry(path=str(tmp_path / "edited")).save(name, overwrite=True)
    assert {url.rpartition("/")[2] for url in where()} == {"edited"}


def test_how_long_a_name_is_remembered_is_a_setting(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zero looks it up every time."""
    monkeypatch.setenv("PREFECT_INTEGRATIONS_REGISTRY_LOOKUP_SECONDS", "0")
    saved(tmp_path, name)
    assert resolve_registry(name).url.endswith(name)
    LocalRegistry(path=str(tmp_path / "edited")).save(name, overwrite=True)
    assert resolve_registry(name).url.endswith("edited")


# -- where it is called ------------------------------------------------------------------------------------------------


async def test_in_a_running_event_loop(tmp_path: Path, name: str) -> None:
    """Both twins, and the synchronous one needs no loop of its own."""
    await LocalRegistry(path=str(tmp_path / name)).asave(name)
    assert await aresolve_registry(name) is resolve_registry(name)


def test_in_an_asynchronous_flow(tmp_path: Path, name: str) -> None:
    """Where Prefect's `load` would return a coroutine."""
    saved(tmp_path, name)

    @flow
    async def where() -> tuple[str, str]:
        return resolve_registry(name).url, (await aresolve_registry(name)).url

    assert {url.rpartition("/")[2] for url in asyncio.run(where())} == {name}
