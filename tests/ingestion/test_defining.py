"""Defining publications beside the jobs that work on them."""

from __future__ import annotations

from typing import Any

import pytest
from ingestion_support import Scene

from prefect_registry import Registry
from prefect_registry.errors import FormatError
from prefect_registry.ingestion.models import STATE, Collection
from prefect_registry.records.cells import CellGeneration


def test_a_job_that_is_published_while_its_publication_is_changed_stays_active(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A definition that is applied at that moment takes nothing back of what the job wrote."""
    scene = Scene(registry)
    scene.finish()
    scene.time.pass_(days=40)
    wanted = Collection(**{**scene.publication.model_dump(exclude=set(STATE)), "title": "Flights"})
    cells = registry.ledger.cells
    read = cells.latest

    def published_behind(*args: Any) -> CellGeneration | None:
        monkeypatch.setattr(cells, "latest", read)
        found = read(*args)
        scene.finish()
        return found

    monkeypatch.setattr(cells, "latest", published_behind)
    scene.ingestion.put(wanted)
    assert (scene.publication.active_job, scene.publication.title) == ("p/2", "Flights")


def test_a_publication_that_cannot_be_read_stops_no_other(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """It is left alone and told in the log, keeps what its jobs wrote, and can be defined anew."""
    scene = Scene(registry)
    scene.finish()
    wanted = Collection(**scene.publication.model_dump(exclude=set(STATE)))
    scene.ingestion.put(Collection(**{**wanted.model_dump(), "id": "other"}))
    newest = registry.ledger.cells.latest("publication", "p")
    assert newest is not None
    value = {**newest.value, "gates": {"rows": [{"gate": "of a newer version"}]}}
    registry.ledger.cells.write("publication", "p", value, expected=newest.gen)

    assert scene.ingestion.tick().created == ["other/1"]
    assert "Publication 'p' cannot be read" in caplog.text
    with pytest.raises(FormatError, match="gates"):
        scene.ingestion.publication("p")
    scene.ingestion.put(wanted)
    assert scene.publication.active_job == "p/1"
