"""Model runs written as a table and read again, and what spreadsheets make of it."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from model_run_support import (
    DATASET_TEMPLATES,
    WORKFLOW_TEMPLATE,
    Registry,
    dataset_template,
    deferred,
    record,
    workflow_template,
)

from prefect_registry.errors import InvalidInput
from prefect_registry.provenance.csv import BatchRow, convert_csv, regenerate_csv, template_csv
from prefect_registry.provenance.csv.cells import FORMULAS, read, written
from prefect_registry.provenance.records import DatasetTemplate, JobStatus, ModelRunRecord

SPECIAL = "=+-@'\"\t\r\n ,;|\u2028\u00a0\ufeff\uff1d"
texts = st.one_of(
    st.text(st.sampled_from(SPECIAL + "a"), max_size=8),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
)
filled = texts.filter(lambda text: bool(text.strip()))
keys = filled.map(str.strip)
EARLIEST, LATEST = -62_135_596_800, 253_402_300_799


@given(st.none() | texts)
@example("")
@example("''")
@example("'' '")
@example("'=1 '")
def test_cells(value: str | None) -> None:
    """Any value is had back from its cell, which no spreadsheet runs and which may be stripped."""
    cell = written(value)
    assert read(cell) == value
    assert not cell.startswith((*FORMULAS, "\t", "\r", "\n"))
    assert cell == cell.strip()


def test_many_apostrophes() -> None:
    """A cell of 200,000 apostrophes, or line ends, takes no time."""
    ends = "\n" * 200_000
    for value in ("'" * 200_000, "'" * 199_999, "'" * 100_000 + " " + "'" * 100_000, ends, f"a{ends}=", ends + "a"):
        assert read(written(value)) == value


def test_what_is_written() -> None:
    """Formulas get an apostrophe; ordinary values stay as they are."""
    assert [written(v) for v in ("=1", "+1", "-1", "@x", "'=1")] == ["'=1", "'+1", "'-1", "'@x", "''=1"]
    assert [written(v) for v in (None, "", "\tx", "a b", "it's", "'")] == ["", "''", "'\tx'", "a b", "it's", "'"]


def assert_no_formula_elsewhere(text: str) -> None:
    """Spreadsheets that part cells at semicolons or tabs take quotes for text, but where they begin a cell."""
    for delimiter in ";\t":
        for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            assert not [cell for cell in cells if cell.strip(" '\"").startswith(FORMULAS) and cell[0] != "'"]


@pytest.mark.parametrize(
    "value", ["a;=HYPERLINK(1)", 'a;"=1+1;b', "a;\t@x", "u\t=2+2", "a\n=1", "a; -1", ";'=1", "a;;+1"]
)
def test_formulas_behind_semicolons(value: str) -> None:
    """In the places where other separators than commas begin a cell, none is a formula; all is had back as it was."""
    template = dataset_template(f"reefs {value}", deferred(f"map {value}"))
    workflow = workflow_template(["a"], [])
    inputs = [{"dataset_template_id": "a", "dataset_id": "d", "resources": {f"map {value}": value}}]
    made = record(inputs=inputs, outputs=[], description=value, annotations={"scenario": "x", f"x{value}": value})
    for text in (regenerate_csv(workflow, {"a": template}, [BatchRow(made)]), template_csv(workflow, {"a": template})):
        assert_no_formula_elsewhere(text)
    text = regenerate_csv(workflow, {"a": template}, [BatchRow(made)])
    registry = Registry(workflow_templates={"10378.1/w": workflow}, dataset_templates={"a": template})
    registry.datasets = {"d"}
    assert convert_csv(text, registry).new_records == [made]


def test_what_is_written_behind_semicolons() -> None:
    """An apostrophe, where a formula would begin; else nothing, and what had one has one more."""
    values = ("a;=1", "a;b", "a; b", "a;'=1", "a;'b", "5;6", "a;-6")
    assert [written(v) for v in values] == ["a;'=1", "a;b", "a; b", "a;''=1", "a;'b", "5;6", "a;'-6"]


@st.composite
def runs(draw: st.DrawFn) -> tuple[dict[str, DatasetTemplate], ModelRunRecord]:
    """Templates whose names and keys are hostile, and a record with hostile values that fits them."""
    names = draw(st.lists(keys, min_size=3, max_size=3))
    resources = draw(st.lists(keys, min_size=1, max_size=3, unique=True))
    templates = {
        id_: dataset_template(name, *(deferred(key, optional=bool(i)) for i, key in enumerate(resources)))
        for id_, name in zip(("a", "b", "c"), names, strict=True)
    }

    def dataset(id_: str) -> dict[str, object]:
        given = {key: draw(texts) for i, key in enumerate(resources) if i == 0 or draw(st.booleans())}
        return {"dataset_template_id": id_, "dataset_id": draw(keys), "resources": given}

    start = draw(st.integers(EARLIEST, LATEST))
    made = record(
        inputs=[dataset("a")] + ([dataset("b")] if draw(st.booleans()) else []),
        outputs=[dataset("a"), dataset("c")],
        annotations={**draw(st.dictionaries(keys, texts, max_size=3)), "scenario": draw(texts)},
        display_name=draw(filled),
        description=draw(filled),
        model_version=draw(st.none() | texts),
        study_id=draw(st.none() | keys),
        associations={"modeller_id": draw(keys), "requesting_organisation_id": draw(st.none() | keys)},
        start_time=start,
        end_time=draw(st.integers(start, LATEST)),
    )
    return templates, made


@settings(max_examples=60)
@given(runs(), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_records(run: tuple[dict[str, DatasetTemplate], ModelRunRecord], encoding: str) -> None:
    """A record is equal after it was written and read, and written the same again, whatever its texts are."""
    templates, made = run
    workflow = workflow_template(["a", "b"], ["a", "c"], optional={"b"})
    text = regenerate_csv(workflow, templates, [BatchRow(made)])
    registry = Registry(workflow_templates={"10378.1/w": workflow}, dataset_templates=dict(templates))
    registry.datasets = {each.dataset_id for each in (*made.inputs, *made.outputs)}
    found = convert_csv(text.encode(encoding), registry)
    assert (found.new_records, found.existing_records, found.warnings) == ([made], [], [])
    assert regenerate_csv(workflow, templates, [BatchRow(r) for r in found.new_records]) == text
    assert_no_formula_elsewhere(text)
    for cells in csv.reader(io.StringIO(text, newline=""), strict=True):
        assert not [cell for cell in cells if cell.startswith((*FORMULAS, "\t", "\r", "\n"))]


def test_what_became_of_a_batch() -> None:
    """Each row has its job, its run and, only if it failed, why; read again, all of them are there already."""
    rows = [
        BatchRow(record(), "job1", JobStatus.SUCCEEDED, "run_1", "not told"),
        BatchRow(record(inputs=[], annotations=None), "job2", JobStatus.FAILED, None, "=no such dataset"),
    ]
    text = regenerate_csv(WORKFLOW_TEMPLATE, DATASET_TEMPLATES, rows)
    done, failed = csv.DictReader(io.StringIO(text, newline=""))
    status = ("_job_id", "_job_status", "_model_run_record_id", "_error_info")
    assert [done[header] for header in status] == ["job1", "SUCCEEDED", "run_1", ""]
    assert [failed[header] for header in status] == ["job2", "FAILED", "", "'=no such dataset"]
    assert done["execution start time (YYYY-MM-DD HH:MM:SS+HH:MM)"] == "2013-12-02 16:00:00+00:00"
    assert done["requesting organisation id"] == "o"
    assert failed["Input resource: map"] == failed["annotation: scenario"] == ""
    found = convert_csv(text, Registry())
    assert (found.new_records, found.existing_records) == ([], ["job1", "job2"])


def test_batch_of_nothing() -> None:
    """A batch without runs is its template."""
    text = regenerate_csv(WORKFLOW_TEMPLATE, DATASET_TEMPLATES, [])
    assert text.count("\r\n") == 1


def test_what_a_table_cannot_hold() -> None:
    """Runs that the columns have no place for are refused, all of them, before anything of them is lost."""
    one = {"dataset_template_id": "t_in", "dataset_id": "d0", "resources": {"map": "a"}}
    rows = [
        record(),
        record(workflow_template_id="other"),
        record(inputs=[one, one]),
        record(outputs=[one]),
        record(inputs=[{**one, "resources": {"map": "a", "z": "b"}}]),
    ]
    with pytest.raises(InvalidInput) as raised:
        regenerate_csv(WORKFLOW_TEMPLATE, DATASET_TEMPLATES, [BatchRow(r) for r in rows])
    assert raised.value.problems == [
        "row 2: it is of the workflow template other, not 10378.1/w: the runs of a table have one workflow template",
        "row 3: there are several inputs of dataset template t_in",
        "row 4: the workflow template has no output of dataset template t_in",
        "row 5: dataset template t_in has no resource z",
    ]
