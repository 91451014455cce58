"""The flow ``export``: what readers see of a publication or a table, as files, whenever it has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flows.publications import export
from prefect_registry import Registry
from prefect_registry.errors import InvalidInput, InvalidState, NotFound
from prefect_registry.ingestion import Collection, Export, Ingestion, PlannedTask, TaskManager, TaskStatus

pytestmark = pytest.mark.prefect


def stage(manager: TaskManager, kinds: list[str], nested: bool = False) -> None:
    """Stages the job's number in each kind; in a run of its own, as deployments do, if asked."""
    for kind in kinds:
        table = pa.table({"job": [manager.job.number], "at": [f"{2000 + manager.job.number}-01-01"]})
        if nested:
            with manager.registry.run("inner", parent=manager.attempt.id) as run, run.dataset(kind) as ds:
                ds.write_table(table)
        else:
            with manager.attempt.dataset(kind) as ds:
                ds.write_table(table)


@pytest.fixture
def ingestion(tmp_path: Path, prefect_server: str) -> Ingestion:
    found = Ingestion(Registry(tmp_path / "store"))
    plan = [
        PlannedTask(
            type="callable",
            name=name,
            options={"function": f"{__name__}:stage", "arguments": {"kinds": kinds, "nested": name == "b"}},
        )
        for name, kinds in (("a", ["one", "two"]), ("b", ["three"]))
    ]
    found.put(Collection(id="p", plan=plan, retrieval_frequency="NEVER"))
    return found


def publish(ingestion: Ingestion) -> None:
    assert ingestion.create_job("p") is not None
    for _ in range(3):
        ingestion.tick()


def exported(ingestion: Ingestion, **parameters: Any) -> dict[str, list[str]]:
    return export(registry=ingestion.registry.url, formats=["jsonl", "parquet"], **parameters)


def test_every_table_of_the_active_job(ingestion: Ingestion, tmp_path: Path) -> None:
    """All its tables are exported by one decision, and once only until another job is published."""
    with pytest.raises(InvalidState, match="no active job"):
        exported(ingestion, publication="p")
    publish(ingestion)
    of = Export(ingestion.publication("p"))
    assert of.status is TaskStatus.WAITING
    files = ["full.jsonl.gz", "full.parquet"]
    assert exported(ingestion, publication="p") == {"one": files, "two": files, "three": files}
    registry = ingestion.registry
    shown = {kind: registry.latest(f"{kind}-export") for kind in ("one", "two", "three")}
    assert len({d.run_id for d in shown.values()}) == 1
    assert (of.status, of.files["jsonl"]["full"] > 0) == (TaskStatus.COMPLETED, True)
    assert Export(ingestion.publication("p"), "two").path == shown["two"].root
    assert exported(ingestion, publication="p") == {}
    assert list(exported(ingestion, publication="p", kind="two", date_field="at")) == ["two"]
    assert list(exported(ingestion, publication="p", kind="one", again=True)) == ["one"]
    publish(ingestion)
    assert Export(ingestion.publication("p")).status is TaskStatus.WAITING
    assert list(exported(ingestion, publication="p")) == ["one", "three", "two"]
    shown["one"] = registry.latest("one-export")
    shown["one"].download("full.parquet", tmp_path / "full.parquet")
    import pyarrow.parquet as pq

    assert pq.read_table(tmp_path / "full.parquet")["job"].to_pylist() == [2]


def test_a_table_of_no_publication(ingestion: Ingestion) -> None:
    """Any table can be exported by its kind; what is not there is refused, and leaves nothing."""
    registry = ingestion.registry
    with registry.run("by hand") as run, run.dataset("orders") as ds:
        ds.write_table(pa.table({"n": [1, None]}))
    assert exported(ingestion, kind="orders") == {"orders": ["full.jsonl.gz", "full.parquet"]}
    with pytest.raises(NotFound, match="nothing"):
        exported(ingestion, kind="nothing")
    with pytest.raises(InvalidInput, match="publication or kind"):
        exported(ingestion)
    with pytest.raises(InvalidInput, match="date"):
        exported(ingestion, kind="orders", date_field="n")
    assert registry.table("nothing-export").datasets() == []
    assert len(registry.table("orders-export")) == 1


def test_a_table_that_is_not_the_publications(ingestion: Ingestion) -> None:
    """A kind beside a publication must be one that its active job has published."""
    publish(ingestion)
    with pytest.raises(InvalidInput, match="has published"):
        exported(ingestion, publication="p", kind="orders")
