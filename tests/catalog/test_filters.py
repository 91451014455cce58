"""Every field of every answer can be filtered and ordered by: a field that is added without that fails here."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from catalog_support import World, publish
from pydantic import BaseModel

from prefect_registry import Registry
from prefect_registry.catalog import subjects
from prefect_registry.catalog.catalog import Catalog
from prefect_registry.catalog.results import CellInfo, DatasetInfo, EventInfo, IncidentInfo, Page, RunInfo
from prefect_registry.catalog.subjects import Subject
from prefect_registry.records import Doc, DoctagsAsset

ANSWERS: dict[str, tuple[Subject[Any], type]] = {
    "runs": (subjects.RUNS, RunInfo),
    "datasets": (subjects.DATASETS, DatasetInfo),
    "events": (subjects.EVENTS, EventInfo),
    "incidents": (subjects.INCIDENTS, IncidentInfo),
    "documents": (subjects.DOCUMENTS, Doc),
    "doctags": (subjects.DOCTAGS, DoctagsAsset),
    "cells": (subjects.CELLS, CellInfo),
}


def fields_of(answer: Any) -> list[str]:
    """The names of its fields."""
    return list(answer.model_fields) if issubclass(answer, BaseModel) else [f.name for f in dataclasses.fields(answer)]


FIELDS = [(name, field) for name, (_, answer) in ANSWERS.items() for field in fields_of(answer)]


@pytest.fixture(scope="module")
def registry() -> Registry:
    """Runs in every state, and everything that they can make, with something in every field."""
    world = World()
    registry = world.process()
    publish(registry, "sales", 1, 2, tags={"team": "a", "size": "big"})
    world.clock.sleep(60)
    of_prefect: dict[str, Any] = {
        "flow_run": "0192f3a0-0000-7000-8000-000000000001",
        "prefect": {"flow": {"name": "nightly"}},
    }
    with registry.run("nightly", "m7", "r1", {"region": {"name": "eu"}, "on": True}, lease=120, **of_prefect) as run:
        registry.commit_dataset(registry.begin_dataset("sales", run.id), "s3://elsewhere/sales", 3)
        with run.dataset("stock", key="k", partition={"day": 3}, mode="replace_partitions") as ds:
            ds.set_rows(0)
        run.emit_event("Checked", "sales", {"score": 7, "by": ["a", "b"]})
        registry.begin_dataset("late", run.id, task_run="0192f3a0-0000-7000-8000-000000000002")
        registry.begin_dataset("later", run.id)
        world.clock.sleep(60)
    with suppress(ZeroDivisionError), registry.run("hourly", isolated=True, parent=run.id) as failed:
        with failed.dataset("stock") as ds:
            ds.set_rows(0)
        raise ZeroDivisionError("100 % wrong_")
    world.clock.sleep(60)
    registry.close_run(registry.insert_run("by hand", publish="on_commit"), True, "looks good")
    singly = registry.insert_run("singly", publish="on_commit")
    registry.commit_dataset(registry.begin_dataset("sales", singly), "s3://elsewhere/more", 5)
    outer = registry.insert_run("outer")
    world.clock.sleep(60)
    registry.close_run(registry.insert_run("inner", parent=outer), True)
    registry.begin_dataset("stock", outer)
    registry.emit_event("Looked", "stock", {"score": 8}, immediate=True)
    registry.incident("Late", "stock", "Slow", "it is late")
    ids: dict[str, Any] = {
        "openalex_id": "o",
        "doi": "d",
        "arxiv_id": "x",
        "pmcid": "p",
        "pub_date": "2026",
        "license": "l",
    }
    registry.register_documents([
        Doc(id="a", title="Zinc", authors=["Ann", "Bo"], **ids, pdf_uri="s3://a", source="s", content_hash="h"),
        Doc(id="b", title="Ångström", authors=["Bo"], language="sv"),
    ])  # fmt: skip
    registry.register_doctags([
        DoctagsAsset(doc_id="a", doctags_uri="s3://a", pages=3, vlm_model="m", vlm_revision="1", avg_logprob=-0.5),
        DoctagsAsset(doc_id="b", doctags_uri="s3://b", pages=4, vlm_model="n", vlm_revision="2"),
    ])  # fmt: skip
    gone = publish(registry, "gone", 1)
    world.clock.sleep(60)
    registry.revert(gone, "it was wrong")
    world.clock.sleep(3600)
    return registry


def asked(registry: Registry, name: str, past: bool, /, **query: Any) -> Page[Any]:
    """An answer with everything that fits; of the past that was just now."""
    query |= {"as_of": registry.ledger.store.clock.now() if past else None, "limit": 10_000}
    if name == "cells":
        return registry.catalog.cells(query.pop("type", "dataset"), deleted=query.pop("deleted", None), **query)
    found: Page[Any] = getattr(registry.catalog, name)(**query)
    return found


def plain(value: Any) -> Any:
    """A value as a filter takes it."""
    return value.model_dump(by_alias=True) if isinstance(value, BaseModel) else value


def wanted(found: Any, value: Any) -> bool:
    """Whether a filter with this value means an item with that one."""
    if isinstance(value, Mapping):
        return isinstance(found, Mapping) and all(k in found and wanted(found[k], v) for k, v in value.items())
    return bool(found == value)


def test_every_query_for_typed_answers_is_looked_at_here() -> None:
    queries = {
        name
        for name, method in vars(Catalog).items()
        if inspect.isfunction(method) and "filters" in inspect.signature(method).parameters
        and "cursor" in inspect.signature(method).parameters and not inspect.iscoroutinefunction(method)
        and not name.startswith("_")
    }  # fmt: skip
    assert queries == set(ANSWERS)


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_every_field_is_filtered_by_and_all_but_json_and_lists_are_ordered_by(name: str, field: str) -> None:
    subject, _ = ANSWERS[name]
    assert field in {*subject.fields, *subject.paths, *subject.lists}
    if field in subject.paths:
        assert field in {"config", "prefect", "failure", "partition", "tags", "payload", "value"}, "it can be ordered"
    if field in subject.lists:
        assert field in {"left_out", "authors"}, "it can be ordered"


@pytest.mark.parametrize("past", [False, True], ids=["now", "as_of"])
@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_filter_finds_what_has_that_value(registry: Registry, name: str, field: str, past: bool) -> None:
    subject, _ = ANSWERS[name]
    ask = partial(asked, registry, name, past)
    items = list(ask())
    values = [value for item in items if (value := plain(getattr(item, field))) not in (None, {}, ())]
    assert values, "nothing here has it"
    if field in subject.lists:
        single = {value for several in values for value in several}
        for value in single:
            assert list(ask(**{field: value})) == [i for i in items if value in getattr(i, field)]
        assert list(ask(**{field: single})) == [i for i in items if getattr(i, field)]
        assert list(ask(**{field: "none"})) == list(ask(**{field: []})) == []
        return
    for value in values:
        assert list(ask(**{field: value})) == [i for i in items if wanted(plain(getattr(i, field)), value)]
    if field not in subject.paths:
        assert list(ask(**{field: values})) == [i for i in items if getattr(i, field) in values]


ORDERED = [(name, field) for name, field in FIELDS if field in ANSWERS[name][0].fields]


@pytest.mark.parametrize("past", [False, True], ids=["now", "as_of"])
@pytest.mark.parametrize(("name", "field"), [pair for pair in ORDERED if pair != ("documents", "authors")])
def test_an_order_goes_by_the_value_and_then_page_by_page(
    registry: Registry, name: str, field: str, past: bool
) -> None:
    for order in (field, f"-{field}"):
        page = asked(registry, name, past, order=order)
        found = [getattr(item, field) for item in page]
        assert found == in_order(found, order.startswith("-"))
    assert list(paged(registry, name, past, field)) == list(asked(registry, name, past, order=field))


def in_order(values: Sequence[Any], descending: bool) -> list[Any]:
    """Sorted; what there is none of comes last."""
    known: list[Any] = sorted((v for v in values if v is not None), reverse=descending)
    return known + [None] * (len(values) - len(known))


def paged(registry: Registry, name: str, past: bool, order: str) -> Iterator[Any]:
    """Everything, two at a time."""
    of = ("dataset",) if name == "cells" else ()
    as_of: datetime | None = registry.ledger.store.clock.now() if past else None
    cursor = None
    more = {"deleted": None} if name == "cells" else {}
    while True:
        page = getattr(registry.catalog, name)(*of, order=order, as_of=as_of, limit=2, cursor=cursor, **more)
        yield from page
        cursor = page.next
        if cursor is None:
            return


def test_counts_and_sums_take_the_same_filters(registry: Registry) -> None:
    catalog = registry.catalog
    assert catalog.count("runs", success=False) == len(catalog.runs(success=False)) == 1
    assert catalog.count("runs", staged=True) == 1
    (external,) = catalog.datasets(root="s3://elsewhere/sales")
    assert external.external
    (own,) = catalog.datasets(key="k")
    assert own.root.startswith(registry.url)
    (total,) = catalog.totals(root={own.root, external.root, "none"}, kind="sales")
    assert (total.datasets, total.rows) == (1, 3)
