"""Every public method that touches the store has an asynchronous twin that behaves the same, and types tell so."""

from __future__ import annotations

import ast
import asyncio
import inspect
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from registry_support import FAST, asset, doc, numbers, only, publish, rows, write
from typing_extensions import override

import prefect_registry
from prefect_registry import Registry, RegistryProtocol
from prefect_registry.catalog.catalog import Catalog
from prefect_registry.datasets.reading import Dataset
from prefect_registry.datasets.tables import Table
from prefect_registry.datasets.writing import DatasetWriter
from prefect_registry.errors import InvalidInput, NoActiveRun, NotFound
from prefect_registry.ingestion.service import Ingestion
from prefect_registry.models.client import ModelRegistry
from prefect_registry.models.core import ModelRegistryAPIClient
from prefect_registry.models.lists import ModelLists
from prefect_registry.provenance.administering import ProvenanceAdmin
from prefect_registry.provenance.client import ProvAdminClient, ProvClient
from prefect_registry.provenance.service import Provenance
from prefect_registry.registry import Run, Snapshot
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.wrapper import WrapperStorage

# What answers without going to the store, or only hands out something that does.
WITHOUT_TWIN: dict[type, set[str]] = {
    Registry: {"open", "attach", "register_materializer"},
    Run: set(),
    Snapshot: set(),
    Dataset: {"urls", "open", "dataset"},
    Table: {"datasets", "files", "dataset", "to_pandas"},
    DatasetWriter: {"env", "open", "set_rows", "set_tags", "opened", "closed", "store_file"},
    Catalog: {"ask", "close"},
    Ingestion: {"now", "tell_progress"},
    ModelRegistry: set(),
}
# Asynchronous clients under the names of another class, and what of that class only the package itself calls.
CLIENTS: dict[type, tuple[type, set[str]]] = {
    ModelRegistryAPIClient: (
        ModelLists,
        {"check_reference", "claims", "create", "link", "new_artifact", "new_model", "new_version", "now", "run_of"}
        | {"update", "write_alone", "write_of"},
    ),
    ProvClient: (
        Provenance,
        {"begin_of", "is_model_run", "latest", "lodge", "lodge_begun", "now", "prepared", "run_of", "standing"}
        | {"status_of", "value_of"},
    ),
    ProvAdminClient: (ProvenanceAdmin, set()),
}
TWIN_MAKERS = {"twin", "iterator_twin", "context_twin", "function_twin", "pager_twin", "through", "iterator_through"}
SOURCES = Path(prefect_registry.__file__).parent


def public_methods(cls: type) -> dict[str, Callable[..., Any]]:
    """The public methods of a class, twins included."""
    return {
        name: value
        for name, value in inspect.getmembers(cls, callable)
        if not name.startswith("_") and not isinstance(value, type)
    }


def twins(cls: type) -> dict[str, str]:
    """The name of each method and of its twin."""
    methods = public_methods(cls)
    return {m.__wrapped_sync__.__name__: name for name, m in methods.items() if hasattr(m, "__wrapped_sync__")}


@pytest.mark.parametrize("cls", WITHOUT_TWIN, ids=lambda cls: cls.__name__)
def test_every_method_that_touches_the_store_has_a_twin_of_the_same_signature(cls: type) -> None:
    methods = public_methods(cls)
    of = twins(cls)
    assert {name for name in methods if name not in of and name not in of.values()} == WITHOUT_TWIN[cls]
    for name, twin in of.items():
        assert twin == f"a{name}"
        parameters = inspect.signature(methods[name]).parameters
        assert list(inspect.signature(methods[twin]).parameters) == list(parameters)
        assert (methods[twin].__doc__ or "").startswith("Asynchronous twin of")


@pytest.mark.parametrize("client", CLIENTS, ids=lambda cls: cls.__name__)
def test_an_asynchronous_client_has_every_method_of_the_synchronous_one(client: type) -> None:
    """Under the same name, with the same parameters; what only the package calls is named here."""
    synchronous, internal = CLIENTS[client]
    methods, asynchronous = public_methods(synchronous), public_methods(client)
    assert {name for name in methods if name not in asynchronous} == internal
    for name in methods.keys() - internal:
        told = asynchronous[name]
        assert told.__wrapped_sync__ is methods[name]  # type: ignore[attr-defined]
        assert inspect.iscoroutinefunction(told) or inspect.isasyncgenfunction(told)
        assert list(inspect.signature(told).parameters) == list(inspect.signature(methods[name]).parameters)


def test_every_class_that_has_twins_is_looked_at() -> None:
    """By the tests above: itself, or as a part of a class that users hold; blocks have tests of their own."""
    found = set()
    for path in SOURCES.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.is_relative_to(SOURCES / "blocks") or ("twin" not in text and "through" not in text):
            continue
        for cls in (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)):
            made = (
                node.value.func
                for node in cls.body
                if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Call)
            )
            if any(isinstance(maker, ast.Name) and maker.id in TWIN_MAKERS for maker in made):
                found.add(cls.name)
    looked_at = {base.__name__ for cls in (*WITHOUT_TWIN, *CLIENTS) for base in cls.__mro__}
    assert found >= {"Registry", "ModelRegistry", "ProvClient"}
    assert found - looked_at == set()


@pytest.mark.parametrize("cls", WITHOUT_TWIN, ids=lambda cls: cls.__name__)
def test_every_public_method_says_what_it_does(cls: type) -> None:
    assert [name for name, method in public_methods(cls).items() if not method.__doc__] == []


def test_the_registry_fulfils_the_protocol_of_reference_system_1(registry: Registry) -> None:
    assert isinstance(registry, RegistryProtocol)
    assert not isinstance(object(), RegistryProtocol)
    documented = {
        "begin_dataset": ["kind", "run_id"],
        "commit_dataset": ["dataset_id", "parquet_root", "rows"],
        "rollback_dataset": ["dataset_id"],
        "insert_run": ["purpose", "model_id", "revision", "config"],
        "close_run": ["run_id", "success", "notes"],
        "register_documents": ["docs"],
        "register_doctags": ["assets"],
        "emit_event": ["event_name", "subject_id", "payload"],
        "incident": ["event", "subject_id", "error_class", "message"],
    }
    for name, names in documented.items():
        parameters = list(inspect.signature(getattr(Registry, name)).parameters.values())[1:]
        positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert positional == names, name
        assert all(p.default is not p.empty for p in parameters if p.kind is p.KEYWORD_ONLY), name


async def test_the_twins_do_what_the_methods_do(registry: Registry) -> None:
    run = await registry.ainsert_run("p", config={"x": 1})
    dataset = await registry.abegin_dataset("k", run)
    await registry.acommit_dataset(dataset, "s3://x/y", 3)
    dropped = await registry.abegin_dataset("k", run)
    await registry.arollback_dataset(dropped)
    await registry.aregister_documents([doc("d")], run_id=run)
    await registry.aregister_doctags([asset("d")], run_id=run)
    event = await registry.aemit_event("e", "s", {}, run_id=run)
    incident = await registry.aincident("i", "s", "E", "m", run_id=run)
    await registry.aclose_run(run, True, "done")
    assert await registry.aget_run(run) == registry.get_run(run)
    assert await registry.aget_dataset(dataset) == registry.get_dataset(dataset)
    assert await registry.aget_document("d") == registry.get_document("d")
    assert await registry.aget_doctags("d") == registry.get_doctags("d")
    assert await registry.aget_event(event) == registry.get_event(event)
    assert await registry.aget_incident(incident) == registry.get_incident(incident)
    assert (await registry.alatest("k")).id == dataset
    assert await registry.akinds() == ["k"]
    assert [r async for r in registry.aruns()] == list(registry.runs())
    assert [d async for d in registry.adatasets()] == list(registry.datasets())
    assert [e async for e in registry.aevents()] == list(registry.events())
    assert [i async for i in registry.aincidents()] == list(registry.incidents())
    assert [d async for d in registry.adocuments()] == list(registry.documents())
    assert [a async for a in registry.adoctags()] == list(registry.doctags())
    report = await registry.arevert(run)
    assert (await registry.atable("k")).datasets() == []
    snapshot = await registry.asnapshot()
    assert [r.id async for r in snapshot.aruns()] == [report.run_id, run]
    with pytest.raises(NotFound):
        await registry.aget_document("d")
    assert (await registry.acheck()).ok
    assert all((await registry.acheck_access()).values())
    assert (await registry.areap()).reaped == []
    assert (await registry.acollect()).dry_run


async def test_an_asynchronous_block_is_a_run(registry: Registry, tmp_path: Path) -> None:
    async with registry.arun("p") as run:
        async with run.adataset("k") as ds:
            await ds.awrite_table(numbers(1, 2))
        assert registry.begin_dataset("other").startswith(f"ds_{run.id[4:]}")
        assert (await run.atable("k")).rows == 2
    with pytest.raises(NoActiveRun):
        registry.begin_dataset("other")
    assert rows(registry, "k") == [1, 2]
    latest = await registry.alatest("k")
    assert (await latest.ato_table()).num_rows == 2
    await latest.averify()
    (path,) = [f.path for f in latest.files]
    assert (await latest.adownload(path, tmp_path / "x")).stat().st_size == latest.bytes
    with pytest.raises(ZeroDivisionError):
        async with registry.arun("p") as run:
            raise ZeroDivisionError
    assert registry.get_run(run.id).state == "ABORTED"


async def test_a_cancelled_block_is_aborted_before_it_gives_way(registry: Registry) -> None:
    started = asyncio.Event()
    ids: list[str] = []

    async def work() -> None:
        async with registry.arun("p") as run, run.adataset("k") as ds:
            ids.extend((run.id, ds.id))
            started.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    info = registry.get_run(ids[0])
    assert info.state == "ABORTED"
    assert info.failure is not None
    assert (info.failure.cls, info.failure.kind) == ("CancelledError", "cancelled")
    assert registry.get_dataset(ids[1]).state == "ROLLED_BACK"


class Slow(WrapperStorage):
    """Creates take their time; the test says of which keys."""

    slow = ""

    @override
    def create(self, key: str, data: bytes) -> None:
        if self.slow and self.slow in key:
            time.sleep(0.3)
        self.inner.create(key, data)


BEGINNINGS: dict[str, tuple[str, Callable[[Registry], Coroutine[Any, Any, object]]]] = {
    "arun": ("begin.json", lambda registry: _entered(registry.arun("p"))),
    "ainsert_run": ("begin.json", lambda registry: registry.ainsert_run("p")),
    "abegin_attempt": ("begin.json", lambda registry: registry.abegin_attempt("p", flow_run="fr")),
    "adataset": ("/datasets/", lambda registry: _entered(_outer(registry).adataset("k"))),
    "abegin_dataset": ("/datasets/", lambda registry: registry.abegin_dataset("k", _outer(registry).id)),
}


async def _entered(manager: AbstractAsyncContextManager[Any]) -> None:
    async with manager:
        await asyncio.sleep(60)


def _outer(registry: Registry) -> Run:
    return registry.attach(next(r.id for r in registry.runs() if r.purpose == "outer"))


@pytest.mark.parametrize("cancellations", [1, 2])
@pytest.mark.parametrize("name", BEGINNINGS)
def test_what_is_begun_while_its_caller_is_cancelled_is_undone(name: str, cancellations: int) -> None:
    """Nobody would ever close it, and its heartbeats would keep it alive; also when the event loop ends soon."""
    storage = Slow(MemoryStorage())
    registry = Registry(storage, settings=FAST)
    outer = registry.insert_run("outer", publish="on_commit")
    storage.slow, begin = BEGINNINGS[name]

    async def work() -> None:
        task = asyncio.create_task(begin(registry))
        for _ in range(cancellations):
            await asyncio.sleep(0.1)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    begun = [r for r in registry.runs() if r.id != outer]
    assert [r.state for r in begun] == ["ABORTED"]
    assert begun[0].failure is not None
    assert list(registry.ledger.beats._due) == [outer]
    assert [d.state for d in registry.datasets()] == (["ROLLED_BACK"] if "dataset" in name else [])


async def test_a_dataset_that_its_key_named_before_outlives_a_cancelled_call() -> None:
    """It was staged by somebody else."""
    storage = Slow(MemoryStorage())
    registry = Registry(storage, settings=FAST)
    run = registry.attach(registry.insert_run("p"))
    staged = write(run, "k", 1, key="a")
    storage.slow = "/datasets/"
    task = asyncio.create_task(registry.abegin_dataset("k", run.id, key="a"))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert registry.get_dataset(staged).state == "STAGED"


async def test_runs_of_several_tasks_at_once_do_not_mix(registry: Registry) -> None:
    async def work(n: int) -> str:
        async with registry.arun(f"run {n}") as run:
            await asyncio.sleep(0)
            dataset = await registry.abegin_dataset(f"kind-{n}")
            await registry.acommit_dataset(dataset, f"s3://x/{n}", n)
            return run.id

    runs = await asyncio.gather(*(work(n) for n in range(20)))
    for n, run in enumerate(runs):
        assert only(list(registry.datasets(run_id=run))).kind == f"kind-{n}"


async def test_a_twin_raises_the_same_error_and_never_blocks_the_loop(registry: Registry) -> None:
    with pytest.raises(InvalidInput):
        await registry.ainsert_run("")
    with pytest.raises(InvalidInput):
        [r async for r in registry.aruns(nothing=1)]
    publish(registry, "k", 1)
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    beating = asyncio.create_task(beat())
    async with registry.arun("p") as run, run.adataset("k") as ds:
        await ds.awrite_table(numbers(1))
    beating.cancel()
    assert beats > 10


def test_types_tell_what_the_twins_return(tmp_path: Path) -> None:
    program = """
        import asyncio
        from prefect_registry import Registry, RegistryProtocol

        def takes(registry: RegistryProtocol) -> None: ...

        async def main(registry: Registry) -> None:
            takes(registry)
            reveal_type(registry.insert_run("p"))
            reveal_type(await registry.ainsert_run("p", None, "main", {"x": 1}, publish="on_commit"))
            asyncio.create_task(registry.arollback_dataset("ds"))
            reveal_type(await registry.atable("k"))
            async with registry.arun("p") as run:
                reveal_type(run)
                async with run.adataset("k", mode="append") as ds:
                    reveal_type(await ds.awrite_table(None))
            async for event in registry.aevents(subject_id="x"):
                reveal_type(event)
            await registry.ainsert_run(5)
            await registry.ainsert_run("p", nonsense=True)
            await registry.abegin_dataset("k", mode="nonsense")
    """
    file = tmp_path / "typed.py"
    file.write_text(textwrap.dedent(program))
    alone = ["--config-file=", f"--cache-dir={tmp_path}", "--no-site-packages", "--ignore-missing-imports"]
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", *alone, str(file)]
    said = subprocess.run(command, check=False, capture_output=True, text=True, cwd=Path(__file__).parents[2]).stdout
    revealed = [line.partition('"')[2].rstrip('"') for line in said.splitlines() if "Revealed type" in line]
    assert revealed == [
        "str",
        "str",
        "prefect_registry.datasets.tables.Table",
        "prefect_registry.registry.handles.Run",
        "list[str]",
        "prefect_registry.catalog.results.EventInfo",
    ]
    errors = [line.rpartition("[")[2].rstrip("]") for line in said.splitlines() if "error:" in line]
    assert errors == ["arg-type", "call-arg", "arg-type"]
