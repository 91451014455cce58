"""The maintenance flow releases only when asked, works alone, and leaves a page that says what it did."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Running

from flows import ended_flow_runs
from flows.maintenance import maintenance
from prefect_registry import Registry
from prefect_registry.errors import FormatError
from prefect_registry.ledger import paths
from prefect_registry.testing.proxies import Proxy

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def orders(tmp_path: Path) -> Registry:
    """Three states of a table, of which a rule keeps one."""
    registry = Registry(tmp_path / "store")
    for value in range(3):
        with registry.run("load") as run, run.dataset("orders") as ds:
            ds.write_table(pa.table({"n": [value]}))
    registry.set_retention("orders", keep_last=1)
    return registry


def pages(registry: Registry) -> list[str]:
    """The artifacts about a registry, oldest first."""
    with get_client(sync_client=True) as client:
        found = sorted(client.read_artifacts(limit=200), key=lambda a: a.created or 0)
    return [str(a.data) for a in found if a.key == "registry-maintenance" and registry.url in str(a.data)]


def test_rules_act_only_when_asked(orders: Registry) -> None:
    told = maintenance(orders.url, checkpoint=False)
    assert "released" not in told
    assert told["objects"] == 0
    previewed = maintenance(orders.url, release=True, dry_run=True)
    assert len(previewed["released"]) == 2  # type: ignore[arg-type]
    assert [d.state for d in orders.datasets()] == ["READY"] * 3
    told = maintenance(orders.url, release=True, checkpoint=False)
    assert (told["released"], told["bytes"]) == (previewed["released"], told["released_bytes"])
    assert sorted(d.state for d in orders.datasets()) == ["DELETED", "DELETED", "READY"]
    assert orders.table("orders").to_table().to_pydict() == {"n": [2]}
    first, preview, last = pages(orders)
    assert "Datasets released" not in first
    assert "Nothing was released or deleted" in preview
    assert "| Datasets released by the rules of retention | 2 |" in last
    assert all(str(d) in last for d in told["released"])  # type: ignore[union-attr]


def test_one_works_at_a_time(orders: Registry) -> None:
    """While one is at work, in whichever deployment, another one ends at once and does nothing."""
    maintenance(orders.url, checkpoint=False)
    with concurrency(f"registry-maintenance-{orders.registry_id}"):
        assert maintenance(orders.url, release=True) == {}
    assert [d.state for d in orders.datasets()] == ["READY"] * 3
    assert len(pages(orders)) == 1
    assert len(maintenance(orders.url, release=True)["released"]) == 2  # type: ignore[arg-type]


@pytest.fixture
def slow(prefect_server: str) -> Iterator[Proxy]:
    """Prefect's server, which thinks for three seconds before it gives a concurrency slot."""
    proxy = Proxy(prefect_server.removesuffix("/api"), stall_seconds=3)
    proxy.fail_next("slow", which=lambda r: "concurrency_limits" in r.path and "increment" in r.path)
    with proxy.running(), temporary_settings({PREFECT_API_URL: f"{proxy.endpoint}/api"}):
        yield proxy


def test_a_slow_server_has_not_said_no(orders: Registry, slow: Proxy) -> None:
    """A server that takes its time is no sign of another maintenance: the work is done."""
    assert len(maintenance(orders.url, release=True, checkpoint=False)["released"]) == 2  # type: ignore[arg-type]
    assert [path for _, path in slow.requests if path.endswith("increment-with-lease")]


def files_of(registry: Registry, told: object) -> list[list[str]]:
    """What the lists at these URLs say."""
    assert isinstance(told, list)
    return [registry.storage.get(url.removeprefix(f"{registry.url}/")).decode().splitlines() for url in told]


def test_lists_of_files_are_kept_up_to_date(orders: Registry) -> None:
    """A list names what the table is made of, is written only when that has changed, and is there before deleting."""
    table = orders.table("orders").files()
    told = maintenance(orders.url, file_lists=["orders", "never"], release=True, checkpoint=False)
    assert files_of(orders, told["file_lists"]) == [table]
    assert f"- `{orders.url}/catalog/files/orders/files.txt`" in pages(orders)[-1]
    assert all(Path(url.removeprefix("file://")).is_file() for url in table)
    assert maintenance(orders.url, file_lists=["*"], checkpoint=False)["file_lists"] == []
    for kind in ("orders", "Kunden & Co"):
        with orders.run("load") as run, run.dataset(kind) as ds:
            ds.write_table(pa.table({"n": [7]}))
    assert "file_lists" not in maintenance(orders.url, file_lists=["*"], dry_run=True)
    told = maintenance(orders.url, file_lists=["*"], checkpoint=False)
    assert files_of(orders, told["file_lists"]) == [orders.table(k).files() for k in ("Kunden & Co", "orders")]
    assert orders.fsck().findings == ()


def test_damage_is_told_and_stops_nothing_else(orders: Registry) -> None:
    """What a damaged record is about is left alone, all else is done, and what was not done fails the flow run."""
    failed = []
    for _ in range(2):
        failed.append(orders.insert_run("fails"))
        with orders.attach(failed[-1]).dataset("orders") as ds:
            ds.write_table(pa.table({"n": [0]}))
        orders.close_run(failed[-1], False)
    key = paths.begin_key(failed[0])
    orders.storage.put(key, b"{")
    told = maintenance(orders.url, checkpoint=False)
    assert (told["collected"], told["damaged"]) == ([failed[1]], [failed[0]])
    assert f"- `{failed[0]}`" in pages(orders)[-1]
    unknown = orders.ledger.store.ids.typeid("run", datetime.now(UTC))
    orders.storage.put(paths.end_key(unknown), b"{")
    with pytest.raises(FormatError, match=rf"{unknown}/.*json is not"):
        maintenance(orders.url, release=True, file_lists=["*"], checkpoint=False)
    assert "| Runs whose dead bytes were deleted | 0 |" in pages(orders)[-1]


def test_however_many_flow_runs_run_all_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect tells them by pages; a dead one may stand behind many that live."""
    monkeypatch.setattr(ended_flow_runs, "_FLOW_RUNS_AT_ONCE", 2)
    with get_client(sync_client=True) as client:
        begun = [client.create_flow_run(maintenance, name=f"page {i}", state=Running()) for i in range(3)]
        found = {flow_run.id for flow_run in ended_flow_runs.believed_running(client)}
        for flow_run in begun:
            client.delete_flow_run(flow_run.id)
    assert {flow_run.id for flow_run in begun} <= found
