"""What notebooks show: one result, a page of them, a table; whatever the names are."""

from __future__ import annotations

import dataclasses
import inspect
from html.parser import HTMLParser
from typing import Any, get_type_hints

import pytest
from catalog_support import EPOCH, World, publish

from prefect_registry import Registry
from prefect_registry.catalog import results
from prefect_registry.catalog.checkpoints.writing import CheckpointReport
from prefect_registry.catalog.fsck.report import FsckReport
from prefect_registry.catalog.results import Edge, EventInfo, Page
from prefect_registry.catalog.retention import ReleaseReport
from prefect_registry.catalog.sync import SyncReport
from prefect_registry.datasets.reading import Dataset
from prefect_registry.datasets.revert import RevertReport
from prefect_registry.datasets.tables import Table
from prefect_registry.ledger.collecting import CollectReport
from prefect_registry.ledger.reaping import ReapReport
from prefect_registry.notebook import MOST_ROWS
from prefect_registry.records import Doc, DoctagsAsset
from prefect_registry.records.runs import Failure
from prefect_registry.registry.copying import CopyReport

HOSTILE = """</td><script>alert(1)</script><img src=x onerror='a()'>"&"""
RESULTS = [
    cls
    for _, cls in inspect.getmembers(results, inspect.isclass)
    if cls.__module__ == results.__name__ and cls is not Page
]
REPORTS = [SyncReport, CheckpointReport, CopyReport, RevertReport, ReleaseReport, CollectReport, ReapReport]


class Seen(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def made(cls: Any) -> Any:
    """An instance with something hostile in every field that can have it."""
    hints = get_type_hints(cls)
    return cls(**{name: something(name, hints[name]) for name in names_of(cls)})


def names_of(cls: Any) -> list[str]:
    if dataclasses.is_dataclass(cls):
        return [field.name for field in dataclasses.fields(cls)]
    return list(getattr(cls, "_fields", ()) or cls.model_fields)


def something(name: str, hint: object) -> Any:
    """A value for a field: of its type where that is needed to make one, else a hostile text."""
    text = str(hint)
    if name == "failure":
        return Failure.model_validate({"class": HOSTILE, "message": HOSTILE, "kind": "error"})
    if "datetime" in text:
        return EPOCH
    if "Mapping" in text or "dict" in text or name == "partition":
        return {HOSTILE: HOSTILE}
    if "list" in text or "tuple" in text:
        return [HOSTILE]
    if hint in (int, float, bool) or "float" in text:
        return 3
    return HOSTILE


@pytest.mark.parametrize("cls", [*RESULTS, Doc, DoctagsAsset, *REPORTS], ids=lambda cls: cls.__name__)
def test_one_result_is_a_table_of_its_fields_in_which_nothing_is_markup(cls: Any) -> None:
    found = made(cls)
    seen = Seen(found._repr_html_())
    assert seen.tags <= {"table", "caption", "tr", "th", "td"}
    shown = names_of(cls) if not dataclasses.is_dataclass(cls) else [f.name for f in dataclasses.fields(cls) if f.repr]
    for name in shown:
        assert name in seen.text
    assert "<script>alert(1)</script>" in seen.text


@pytest.mark.parametrize("cls", [*RESULTS, Doc, DoctagsAsset], ids=lambda cls: cls.__name__)
def test_a_page_of_results_is_one_table_in_which_nothing_is_markup(cls: Any) -> None:
    page = Page((made(cls), made(cls)), next=HOSTILE)
    seen = Seen(page._repr_html_())
    assert seen.tags == {"table", "thead", "tbody", "tr", "th", "td", "p", "code"}
    assert "<script>alert(1)</script>" in seen.text
    assert page.to_arrow().num_rows == 2


def test_long_values_and_long_pages_are_cut() -> None:
    event = EventInfo("ev", "x" * 100_000, "subject", {}, EPOCH, None)
    assert len(event._repr_html_()) < 3_000
    page = Page((event,) * (MOST_ROWS + 1_234))
    assert len(page._repr_html_()) < 100_000
    assert "and 1,234 more" in page._repr_html_()
    assert "more" not in Page((event,))._repr_html_()


def test_what_has_no_value_is_left_out() -> None:
    seen = Seen(EventInfo("ev", "Checked", "sales", {}, EPOCH, None)._repr_html_())
    assert "payload" not in seen.text
    assert "run_id" not in seen.text
    assert "Checked" in seen.text


@pytest.fixture
def registry() -> Registry:
    """A table with two datasets, and a run that has read it."""
    registry = World().process()
    publish(registry, "sales", 1, 2, count=2, tags={"by": HOSTILE})
    with registry.run(HOSTILE), registry.run("inner"):
        registry.table("sales").to_table()
    return registry


def test_datasets_and_tables_are_shown_as_well(registry: Registry) -> None:
    table = registry.table("sales")
    dataset = table.datasets()[0]
    assert isinstance(table, Table)
    assert isinstance(dataset, Dataset)
    seen = Seen(dataset._repr_html_())
    assert "<script>" in seen.text
    assert dataset.root in seen.text
    assert "store" not in names_in(dataset._repr_html_())
    seen = Seen(table._repr_html_())
    assert all(d.id in seen.text for d in table.datasets())
    assert "Table none" in registry.table("none")._repr_html_()
    assert isinstance(registry.fsck(), FsckReport)
    assert "script" not in Seen(registry.fsck()._repr_html_()).tags


def names_in(page: str) -> set[str]:
    """What stands at the beginning of lines."""
    return {part.partition("<")[0] for part in page.split("<th>")[1:]}


def test_lineage_and_sums_are_tables_frames_and_html_too(registry: Registry) -> None:
    edges = registry.catalog.downstream(registry.table("sales").datasets()[0].id)
    assert edges.to_arrow().column_names == list(Edge._fields)
    assert list(edges.to_pandas()["relation"]) == [edge.relation for edge in edges]
    assert edges[0].source in edges._repr_html_()
    totals = registry.catalog.totals()
    assert totals.to_dicts() == [{"kind": "sales", "day": None, "datasets": 2, "rows": 4, "bytes": totals[0].bytes,
                                  "files": 2}]  # fmt: skip
    assert totals.next is edges.next is None
