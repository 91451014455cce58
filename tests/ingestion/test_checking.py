"""Whether a publication that is due needs a job at all: every task of its plan is asked."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from ingestion_support import Scene
from test_built_in_tasks import CSV, Place
from web_support import Server

from prefect_registry import Registry
from prefect_registry.ingestion import Collection, PlannedTask, TaskManager

ANSWERS = {"yes": True, "no": False, "cannot tell": None}


@pytest.mark.parametrize(
    ("told", "made", "asked"),
    [
        ("no,no", False, 2),
        ("no,cannot tell", False, 2),
        ("cannot tell,no", False, 2),
        ("cannot tell,cannot tell", True, 2),
        ("no,yes", True, 2),
        ("yes,no", True, 1),
        ("cannot tell,yes", True, 2),
        ("no,raises", True, 2),
    ],
)
def test_every_task_is_asked(registry: Registry, told: str, made: bool, asked: int) -> None:
    """One that has changed makes a job, and so does a failure to tell; if none has, and one says so, there is none."""
    scene = Scene(registry, plan=("first", "second"))
    scene.finish()
    answers = dict(zip(("first", "second"), told.split(","), strict=True))

    def changed(manager: TaskManager) -> bool | None:
        return ANSWERS[answers[manager.task.name]]

    scene.stage.changed = changed
    scene.time.pass_(days=30)
    scene.process()
    assert (len(scene.jobs) == 2) is made
    assert (scene.publication.last_checked == scene.time.at) is not made
    assert len(scene.stage.did("changed")) == asked


@pytest.mark.parametrize("entry", [{"name": "third"}, {"name": "second", "options": {"x": 1}}], ids=str)
def test_a_task_that_is_new_or_another_is_a_change(registry: Registry, entry: dict[str, Any]) -> None:
    """What a task would make that cannot tell, and was not planned so before, nobody has seen yet."""
    scene = Scene(registry, plan=("first", "second"))
    scene.finish()
    scene.stage.changed = lambda manager: False if manager.task.name == "first" else None
    plan = [PlannedTask(type="played", name="first"), PlannedTask(type="played", **entry)]
    scene.ingestion.put(Collection(id="p", retrieval_frequency="MONTHLY", plan=plan))
    scene.time.pass_(days=30)
    assert scene.finish().number == 2
    scene.time.pass_(days=30)
    scene.process()
    assert len(scene.jobs) == 2


def test_what_is_learned_while_checking_is_kept(registry: Registry) -> None:
    """A manager may write to the active job's context what it needs the next time; not when a job is made."""
    scene = Scene(registry, plan=("first", "second"))
    scene.finish()

    def changed(manager: TaskManager) -> bool | None:
        assert manager.previous is not None
        manager.previous.context.setdefault("seen", []).append(manager.task.name)
        return False

    scene.stage.changed = changed
    scene.time.pass_(days=30)
    scene.process()
    assert (len(scene.jobs), scene.job.context["seen"]) == (1, ["first", "second"])
    scene.stage.changed = lambda manager: bool(changed(manager)) or manager.task.name == "second"
    scene.time.pass_(days=30)
    assert scene.finish().number == 2
    assert scene.jobs[0].context["seen"] == ["first", "second"]


# -- downloads -------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(registry: Registry, site: Server, tmp_path: Path) -> Place:
    return Place(registry, site, tmp_path)


def two_files(place: Place) -> tuple[dict[str, Any], dict[str, Any]]:
    """A plan of two downloads, one after the other; the second is that of ``/g``."""
    second = {"body": b"n,day\n9,2020-01-01\n", "ETag": '"g1"'}

    @place.site.page("/g")
    def page(request: Any) -> None:
        if request.headers.get("If-None-Match") == second["ETag"]:
            request.whole(b"", 304)
        else:
            request.whole(second["body"], ETag=second["ETag"])

    options = place.options(url=f"{place.site.url}/g", kind="m")
    return second, {"type": "http", "name": "second", "options": options, "max_attempts": 2}


def test_the_second_file_of_a_plan(place: Place) -> None:
    """A job is made when any file has changed, and retrieves all of them."""
    second, entry = two_files(place)
    place.define(entry)
    assert place.finish().is_successful()
    assert place.finish().number == 1
    second |= {"body": b"n,day\n10,2021-01-01\n", "ETag": '"g2"'}
    job = place.finish()
    assert (job.number, job.is_successful()) == (2, True), job.tasks
    assert [row["n"] for row in place.rows] == [1, 2, 3]
    assert place.registry.table("m").to_table().to_pylist() == [{"n": 10, "day": date(2021, 1, 1)}]


def test_another_etag_of_the_same_bytes(place: Place) -> None:
    """There is no job and the active one stays; the new ETag is kept, so that the bytes are asked for only once."""
    second, entry = two_files(place)
    place.define(entry)
    first = place.finish()
    published = place.registry.latest("n").id
    place.headers, second["ETag"] = {"ETag": '"other"'}, '"g2"'
    del place.site.requests[:]
    assert place.finish().id == first.id
    publication = place.ingestion.publication("p")
    assert publication.active_job == first.id
    assert publication.last_checked is not None
    assert publication.last_checked > first.end
    assert place.registry.latest("n").id == published
    sources = place.ingestion.jobs("p")[0].context["sources"]
    assert {name: known["etag"] for name, known in sources.items()} == {"http": '"other"', "second": '"g2"'}
    del place.site.requests[:]
    assert place.finish().id == first.id
    assert [headers["if-none-match"] for _, headers in place.site.requests] == ['"other"', '"g2"']


def test_a_server_that_stops_to_name_validators(place: Place) -> None:
    """Its old ETag is not sent any more; the checksum tells."""
    place.define()
    first = place.finish()
    place.headers = {}
    assert place.finish().id == first.id
    assert "etag" not in place.ingestion.jobs("p")[0].context["sources"]["http"]
    place.body = CSV + b"4,\n"
    assert place.finish().number == 2


def test_a_job_by_hand_is_made_whatever_the_source_says(place: Place) -> None:
    """Somebody who asks for a job gets one."""
    place.define()
    place.finish()
    place.time.pass_(days=-20)
    assert place.ingestion.create_job("p") is not None
    assert place.finish().number == 2


@pytest.mark.parametrize("option", ["function", "changed"])
def test_a_function_that_tells(place: Place, option: str) -> None:
    """A callable task with a source of its own names a function that tells whether it has changed."""
    options = {"function": "test_checking:retrieve", "changed": "test_checking:has_changed"}
    place.define({"type": "callable", "options": options})
    SOURCE[:] = ["a"]
    assert place.finish().is_successful()
    assert place.finish().number == 1
    SOURCE[:] = ["b"]
    assert place.finish().number == 2
    place.define({"type": "callable", "options": {**options, option: "no function"}})
    assert f"Give {option}" in place.finish().tasks[-1].note


SOURCE: list[str] = []


def retrieve(manager: TaskManager) -> dict[str, Any]:
    """Remembers what the source was."""
    return {"source": SOURCE[0]}


def has_changed(manager: TaskManager) -> bool | None:
    """Compares it with what the active job has seen."""
    assert manager.previous is not None
    return SOURCE[0] != manager.previous.context["source"]
