"""Jobs for a part of the past: which parts there are, and how the tasks get to know of them."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from ingestion_support import Scene
from web_support import Request, Server

from prefect_registry import Registry
from prefect_registry.errors import InvalidInput, InvalidState
from prefect_registry.ingestion import Ingestion, PlannedTask, RetrievalFrequency
from prefect_registry.ingestion.definitions import load_definitions
from prefect_registry.ingestion.periods import Period, filled, periods_of, placeholders_in


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2013", date(2013, 1, 1), date(2013, 12, 31)),
        ("2012-02", date(2012, 2, 1), date(2012, 2, 29)),
        ("2013-02", date(2013, 2, 1), date(2013, 2, 28)),
        ("9999-12", date(9999, 12, 1), date(9999, 12, 31)),
        ("2013-02-03", date(2013, 2, 3), date(2013, 2, 3)),
    ],
)
def test_one_period(text: str, first: date, last: date) -> None:
    """A day, a month or a year, by its first and last day."""
    assert periods_of(text) == [Period(text, first, last)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2012-11..2013-02", ["2012-11", "2012-12", "2013-01", "2013-02"]),
        ("2012..2014", ["2012", "2013", "2014"]),
        ("2012-02-28..2012-03-01", ["2012-02-28", "2012-02-29", "2012-03-01"]),
        ("2012-02..2012-02", ["2012-02"]),
    ],
)
def test_ranges(text: str, found: list[str]) -> None:
    """Each period from the first to the last."""
    assert [period.text for period in periods_of(text)] == found


@pytest.mark.parametrize(
    "text",
    ["", "..", "13", "2013-1", "2013-13", "2013-02-30", "0000", "2013-02..", "2013-02..2013-01", "2013..2013-02",
     "2013-01-01..2020-01-01", "2013\n", "٢٠١٣", "last month"],
)  # fmt: skip
def test_what_is_no_period(text: str) -> None:
    """Everything else is refused, and so are more than a thousand periods."""
    with pytest.raises(InvalidInput, match="period"):
        periods_of(text)


def test_placeholders() -> None:
    """They are replaced in texts at any depth, and nothing else that looks like them is."""
    options = {"url": "/{period}?to={date_to}", "deep": [{"a": "{date_from}"}, 1, None], "format": "{0} {x}"}
    assert placeholders_in(options) == {"{period}", "{date_from}", "{date_to}"}
    values = {"{period}": "2013", "{date_from}": "a", "{date_to}": "b"}
    assert filled(options, values) == {"url": "/2013?to=b", "deep": [{"a": "a"}, 1, None], "format": "{0} {x}"}


def test_a_job_for_a_period(registry: Registry) -> None:
    """It has the period's days, its tasks the period in their options, also when a job on the schedule is not due."""
    scene = Scene(registry)
    plan = [PlannedTask(type="played", name="collect", options={"from": "{date_from}", "of": ["{period}"]})]
    by_hand = {"plan": plan, "retrieval_frequency": RetrievalFrequency.NEVER}
    scene.ingestion.put(scene.publication.model_copy(update=by_hand))
    for period in ("2013-01", "2013-02"):
        job = scene.ingestion.create_job("p", period)
        assert job is not None
        assert job.tasks[0].options == {"from": f"{period}-01", "of": [period]}
        assert (str(job.date_from), job.context["period"]) == (f"{period}-01", period)
        assert scene.ingestion.create_job("p", "2013-03") is None, "one is at work"
        scene.process(2)
        assert scene.publication.active_job == job.id
    with pytest.raises(InvalidState, match=r"needs a period(?s:.)*--for"):
        scene.ingestion.create_job("p")
    with pytest.raises(InvalidInput):
        scene.ingestion.create_job("p", "soon")
    assert len(scene.jobs) == 2


def test_a_publication_with_days_of_its_own(registry: Registry) -> None:
    """``date_from`` and ``date_to`` of a publication hold for jobs that are made for no period."""
    plan = [PlannedTask(type="played", name="collect", options={"span": "{date_from}..{date_to}"})]
    scene = Scene(registry, date_from=date(2013, 1, 1), date_to=date(2013, 6, 30))
    scene.ingestion.put(scene.publication.model_copy(update={"plan": plan}))
    assert scene.process().job.tasks[0].options == {"span": "2013-01-01..2013-06-30"}


def test_definitions_with_a_schedule() -> None:
    """A placeholder that jobs on a schedule have no answer to is refused, with its line."""
    text = """
publications:
  - id: p
    retrieval_frequency: {frequency}
    date_from: 2013-01-01
    plan:
      - type: callable
        options: {{function: "a:b", arguments: {{from: "{{date_from}}", to: "{{{name}}}"}}}}
"""
    assert load_definitions(text.format(frequency="NEVER", name="date_to"))
    assert load_definitions(text.format(frequency="WEEKLY", name="date_from"))
    for name in ("date_to", "period"):
        with pytest.raises(InvalidInput, match=rf"yaml:8: .*options: {{{name}}} is known only"):
            load_definitions(text.format(frequency="WEEKLY", name=name))


def test_files_of_the_past(registry: Registry, site: Server) -> None:
    """Each period's file replaces that period's part of the table, however often it is retrieved."""
    served: dict[str, int] = {"2013-01": 1, "2013-02": 2}

    def answer(request: Request) -> None:
        period = request.path.strip("/").removesuffix(".csv")
        request.whole(f"n\n{served[period]}\n".encode())

    for period in served:
        site.pages[f"/{period}.csv"] = answer
    options: dict[str, Any] = {
        "url": f"{site.url}/{{period}}.csv", "hosts": [site.host], "schemes": ["http"], "kind": "rows", "format": "csv",
        "mode": "replace_partitions", "partition": {"period": "{period}"},
    }  # fmt: skip
    text = f"publications: [{{id: past, plan: [{{type: http, options: {options!r}}}]}}]"
    ingestion = Ingestion(registry)
    (definition,) = load_definitions(text)
    ingestion.put(definition)

    def retrieve(period: str) -> None:
        job = ingestion.create_job("past", period)
        assert job is not None
        ingestion.tick()
        ingestion.tick()
        assert ingestion.jobs("past")[0].successful, ingestion.jobs("past")[0].tasks[0].note

    def rows() -> list[int]:
        return sorted(registry.table("rows").to_table()["n"].to_pylist())

    retrieve("2013-01")
    retrieve("2013-02")
    assert rows() == [1, 2]
    served["2013-01"] = 7
    retrieve("2013-01")
    assert rows() == [2, 7]
