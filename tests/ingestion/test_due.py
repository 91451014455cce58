"""When publications are due, and which of them the public sees."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta, timezone

import pytest
from ingestion_support import Scene

from prefect_registry import Registry
from prefect_registry.ingestion import Collection


def test_oc_01_never_run(registry: Registry) -> None:
    """A publication that was never retrieved is due."""
    assert Scene(registry).publication.is_out_of_date()


def test_oc_02_frozen(registry: Registry) -> None:
    """A frozen one is not, until it is thawed."""
    scene = Scene(registry, frozen=True)
    assert not scene.publication.is_out_of_date()
    assert scene.ingestion.pause("p", False).is_out_of_date()


@pytest.mark.parametrize("frequency", ["", "NEVER"])
def test_oc_03_no_frequency(registry: Registry, frequency: str) -> None:
    """Without a frequency, nothing is ever due."""
    assert not Scene(registry, retrieval_frequency=frequency).publication.is_out_of_date()


def test_oc_04_incomplete_job(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """While a job is not complete there is no new one, however old it is; a warning says so."""
    scene = Scene(registry)
    scene.add_job(1, days_ago=60, result="", status="RUNNING")
    with caplog.at_level(logging.WARNING):
        assert not scene.publication.is_out_of_date()
    assert "has an incomplete job" in caplog.text


@pytest.mark.parametrize(("days", "due"), [(15, False), (29, False), (30, True), (45, True)])
def test_oc_06_and_07_days_since_the_start(registry: Registry, days: int, due: bool) -> None:
    """A monthly publication is due 30 days after its last job began, that day included."""
    scene = Scene(registry)
    scene.add_job(1, days_ago=days)
    assert scene.publication.is_out_of_date() is due


def test_oc_07_days_are_dates_in_utc(registry: Registry) -> None:
    """Hours do not count: 29 days and a few minutes are 30 days when midnight (UTC) lies between."""
    scene = Scene(registry)
    scene.add_job(1, start=datetime(2026, 1, 1, 23, 59, tzinfo=UTC), result="OK", days_ago=0)
    scene.time.at = datetime(2026, 1, 30, 23, 59, 59, tzinfo=UTC)
    assert not scene.publication.is_out_of_date()
    scene.time.at = datetime(2026, 1, 31, 2, 0, tzinfo=timezone(timedelta(hours=2)))
    assert scene.publication.is_out_of_date()


def test_oc_08_planned_job(registry: Registry) -> None:
    """A job that is planned and has no start keeps the publication from being due."""
    scene = Scene(registry)
    scene.add_job(1, days_ago=400)
    scene.add_job(2)
    assert not scene.publication.is_out_of_date()


@pytest.mark.parametrize("frequency", ["WEEKLY", "ANNUALLY"])
def test_after_a_failure_a_week(registry: Registry, frequency: str) -> None:
    """A publication whose last job failed is due after a week, whatever its own frequency."""
    scene = Scene(registry, retrieval_frequency=frequency)
    scene.add_job(1, days_ago=7, result="FAILED")
    assert scene.publication.is_out_of_date()
    scene.time.pass_(days=-1)
    assert not scene.publication.is_out_of_date()


def test_oc_33_visible(registry: Registry) -> None:
    """The public sees publications that are public and have data, or a reason for having none."""
    scene = Scene(registry, public=True)
    seen = scene.ingestion.publications
    assert len(seen().visible()) == 0
    scene.ingestion.put(Collection(id="q", public=True, no_data_rationale="It was taken down"))
    assert [p.id for p in seen().visible()] == ["q"]
    scene.finish()
    assert [p.id for p in seen().visible()] == ["p", "q"]
