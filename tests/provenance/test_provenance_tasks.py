"""The tasks of provenance: what the service does, under the same names, and nothing imported before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from service_support import chain, dataset, opened

import prefect_registry.tasks.provenance
from prefect_registry import tasks
from prefect_registry.errors import InvalidInput, NotFound
from prefect_registry.provenance.service import Provenance

NAMES = (
    "export_provenance", "lineage_picture", "provenance_report", "register_model_run", "reproduce", "what_breaks",
    "what_changed", "where_from",
)  # fmt: skip


def call(name: str, *arguments: Any, **options: Any) -> Any:
    """The body of a task, without Prefect's engine around it."""
    return getattr(tasks, name).fn(*arguments, **options)


def test_tasks_answer_what_the_service_answers(tmp_path: Path) -> None:
    """The four questions, a picture, a report and the exports."""
    registry = opened()
    provenance = Provenance(registry)
    ds, runs, _ = chain(provenance, 2)
    assert call("what_breaks", ds[0], registry=registry) == provenance.what_breaks(ds[0])
    assert call("where_from", ds[2], 2, registry=registry) == provenance.where_from(ds[2], 2)
    assert call("what_changed", *runs, registry=registry) == provenance.what_changed(*runs)
    assert call("reproduce", runs[0], registry=registry) == provenance.reproduce(runs[0])
    picture = call("lineage_picture", ds[1], "upstream", 1, "dot", registry=registry)
    assert picture == provenance.picture(ds[1], "upstream", 1, "dot")
    assert call("export_provenance", ds[1], registry=registry) == provenance.prov(ds[1])
    events = call("export_provenance", runs[0], "openlineage", registry=registry).splitlines()
    assert [json.loads(event)["eventType"] for event in events] == ["START", "COMPLETE"]
    path = call("provenance_report", runs[0], tmp_path / "report.md", registry=registry)
    assert runs[0] in Path(path).read_text("utf-8")
    with pytest.raises(InvalidInput, match=r"\.docx"):
        call("provenance_report", runs[0], tmp_path / "report.txt", registry=registry)
    with pytest.raises(NotFound):
        call("what_breaks", "nothing", registry=registry)


def test_a_model_run_is_registered_in_the_run_around_it() -> None:
    """That run becomes one when it commits; outside any, one is begun for it."""
    registry = opened()
    provenance = Provenance(registry)
    *_, known = chain(provenance, 1)
    first, second = dataset(registry), dataset(registry)
    with registry.run("grow") as run:
        assert call("register_model_run", known.record([first], [second]), run_id=run.id, registry=registry) == run.id
        assert run.id not in {item.id for item in provenance.model_runs()}
    own = call("register_model_run", known.record([first], [second]), by="ada", registry=registry)
    assert {run.id, own} <= {item.id for item in provenance.model_runs()}
    assert provenance.model_run_history(own)[0].username == "ada"


def test_tasks_travel_to_other_processes() -> None:
    """Process pools, Dask and Ray get them pickled by value."""
    cloudpickle.register_pickle_by_value(prefect_registry.tasks.provenance)
    try:
        for name in NAMES:
            assert cloudpickle.loads(cloudpickle.dumps(getattr(tasks, name))).name == name
    finally:
        cloudpickle.unregister_pickle_by_value(prefect_registry.tasks.provenance)


def test_flows_without_provenance_do_not_import_it() -> None:
    """Neither the tasks nor the command line do."""
    code = (
        "import sys, prefect_registry.tasks, prefect_registry.cli.app as app; app.build();"
        "print([name for name in sys.modules if name.startswith('prefect_registry.provenance')])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_every_task_is_exported() -> None:
    """From the package of all tasks."""
    assert set(NAMES) <= set(tasks.__all__)
