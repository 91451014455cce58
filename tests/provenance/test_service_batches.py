"""Batches of model runs, and tables of them (PV-34)."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from service_support import dataset, opened, things

from prefect_registry import Registry
from prefect_registry.errors import InvalidInput, NotFound
from prefect_registry.provenance import batches
from prefect_registry.provenance.records import JobStatus, JobSubType, RegisterBatchModelRunRequest
from prefect_registry.provenance.service import Provenance


@pytest.fixture
def registry() -> Registry:
    return opened()


@pytest.fixture
def provenance(registry: Registry) -> Provenance:
    return Provenance(registry, by="ada")


def test_pv_34_what_is_wrong_with_one_record_is_no_matter_of_the_others(
    registry: Registry, provenance: Provenance
) -> None:
    known, raw = things(provenance), dataset(registry)
    good = [known.record([raw], [raw], display_name=f"run {i}") for i in range(5)]
    bad = known.record(["ds_no"], [raw], display_name="bad")
    hostile = {"display_name": "half", "x": "\ud800"}
    answer = provenance.register_batch_model_runs({"records": [*good[:3], bad, hostile, *good[3:]]})
    results = provenance.batch_results(str(answer.session_id))
    assert [r.status for r in results] == [JobStatus.SUCCEEDED] * 3 + [JobStatus.FAILED] * 2 + [JobStatus.SUCCEEDED] * 2
    assert "ds_no" in str(results[3].error)
    assert "x" in str(results[4].error)
    assert answer.status.success
    assert "5 of 7" in answer.status.details
    names = [m.display_name for m in provenance.model_runs(batch_id=answer.session_id)]
    assert sorted(names) == [f"run {i}" for i in range(5)]
    session = provenance.get_session(str(answer.session_id))
    assert (session.status, session.job_sub_type) == (JobStatus.FAILED, JobSubType.MODEL_RUN_BATCH_SUBMIT)
    assert session.result is not None
    assert [r["model_run_id"] for r in session.result["records"]] == [r.model_run_id for r in results]
    one = provenance.get_session(str(results[0].model_run_id))
    assert (one.status, one.batch_id) == (JobStatus.SUCCEEDED, answer.session_id)
    assert one.payload["record"]["display_name"] == "run 0"
    assert not [f for f in registry.fsck().findings if f.severity != "note"]


def test_an_empty_batch_is_refused(provenance: Provenance) -> None:
    given: Any
    for given in ({"records": []}, {"records": None}, {}, {"records": [1]}, {"records": [], "more": 1}):
        with pytest.raises(InvalidInput):
            provenance.register_batch_model_runs(given)
    with pytest.raises(NotFound):
        provenance.batch_results("batch_no")
    with pytest.raises(NotFound):
        provenance.get_session("batch_no")


@pytest.mark.parametrize("inside", [False, True])
def test_a_batch_that_does_not_fit_one_document_is_in_several(
    registry: Registry, provenance: Provenance, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    monkeypatch.setattr(batches, "LARGEST_PART_BYTES", 2_000)
    known, raw = things(provenance), dataset(registry)
    request = RegisterBatchModelRunRequest(
        records=[known.record([raw], [raw], display_name=f"run {i}") for i in range(7)]
    )
    with registry.run("all"):
        inner = provenance.register_batch_model_runs(request) if inside else None
    answer = inner or provenance.register_batch_model_runs(request)
    results = provenance.batch_results(str(answer.session_id))
    assert [r.record["display_name"] for r in results] == [f"run {i}" for i in range(7)]
    assert {r.status for r in results} == {JobStatus.SUCCEEDED}
    assert len({info.key.split("/")[2] for info in registry.storage.list("cells/prov_batch/")}) > 3
    assert not [f for f in registry.fsck().findings if f.severity != "note"]


def test_a_table_goes_round(registry: Registry, provenance: Provenance, tmp_path: Path) -> None:
    """Template, filled in, converted, registered, and back to a table that tells what became of it."""
    known, raw = things(provenance, annotations=["scenario"], resource="map"), dataset(registry)
    path = tmp_path / "template.csv"
    header = provenance.generate_csv_template(known.template, path, write_to_csv=True)
    assert path.read_bytes().decode() == header
    cells = dict.fromkeys(header.strip().split(","), "")
    for name in cells:
        if name.startswith(("Input dataset", "Output dataset")):
            cells[name] = raw
        elif name.startswith("execution"):
            cells[name] = "2013-12-02 16:00:00+00:00"
    cells |= {
        "display name": "grow", "description": "corals", "agent id": known.person, "annotation: scenario": "warm",
        "Input resource: map": "a.tif",
    }  # fmt: skip
    text = header + ",".join(cells.values()) + "\r\n"
    path.write_text(text, newline="")
    found = provenance.convert_model_runs_to_csv(text)
    assert found == provenance.convert_csv_to_model_runs(text) == provenance.convert_model_runs(text)
    assert provenance.convert_model_runs_to_csv_with_file(path).new_records == found.new_records
    (record,) = found.new_records or ()
    assert record.annotations == {"scenario": "warm"}
    path.write_text(text.replace(",warm,", ",été,"), "cp1252", newline="")
    with pytest.raises(InvalidInput, match="encoding='cp1252'"):
        provenance.convert_model_runs_to_csv_with_file(path)
    (french,) = provenance.convert_model_runs_to_csv_with_file(path, encoding="cp1252").new_records or ()
    assert french.annotations == {"scenario": "été"}

    bad = record.model_copy(update={"description": "bad", "annotations": None})
    answer = provenance.register_batch_model_runs(RegisterBatchModelRunRequest(records=[record, bad]))
    again = provenance.regenerate_csv_from_model_run_batch(str(answer.session_id), path, write_to_csv=True)
    assert path.read_bytes().decode() == again
    good_line, bad_line = again.splitlines()[1:]
    run = provenance.batch_results(str(answer.session_id))[0].model_run_id
    assert good_line.endswith(f"{run},SUCCEEDED,{run},")
    assert "FAILED" in bad_line
    assert "scenario" in bad_line
    converted = provenance.convert_model_runs(again.replace(bad_line + "\r\n", ""))
    assert (converted.new_records, converted.existing_records) == ([], [run])


def test_files_are_written_only_where_it_was_asked_for(
    registry: Registry, provenance: Provenance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = things(provenance)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match="write_to_csv"):
        provenance.generate_csv_template(known.template, "x.csv")
    with pytest.raises(InvalidInput, match="folder"):
        provenance.generate_csv_template(known.template, "no/x.csv", write_to_csv=True)
    with pytest.raises(NotFound):
        provenance.generate_csv_template("10378.1/1", write_to_csv=True)
    provenance.generate_csv_template(known.template, write_to_csv=True)
    assert [p.name for p in tmp_path.iterdir()] == [f"{known.template}.csv"]
    seed = provenance.register_seed_item("WORKFLOW_TEMPLATE")
    with pytest.raises(InvalidInput, match="seed"):
        provenance.generate_csv_template(seed.id)
    with pytest.raises(InvalidInput, match="read"):
        provenance.convert_model_runs_to_csv_with_file("nothing.csv")


def test_a_table_shows_records_that_were_refused_for_their_form(registry: Registry, provenance: Provenance) -> None:
    """With all that they have; what they do not have, or not as it must be, are empty cells beside the reason."""
    known, raw = things(provenance), dataset(registry)
    good = known.record([raw], [raw]).model_dump(mode="json")
    headless = {key: value for key, value in good.items() if key != "associations"}
    records = [
        good,
        {**good, "display_name": "ends early", "end_time": good["start_time"] - 60},
        {**good, "display_name": " "},
        {**headless, "display_name": "nobody's", "more": 1},
        {**good, "display_name": "soon", "start_time": "soon", "inputs": {}, "annotations": {"n": 1}},
    ]
    answer = provenance.register_batch_model_runs({"records": records})
    rows = list(csv.DictReader(io.StringIO(provenance.regenerate_csv_from_model_run_batch(str(answer.session_id)))))
    assert [row["_job_status"] for row in rows] == ["SUCCEEDED"] + ["FAILED"] * 4
    assert [row["display name"] for row in rows] == ["grow corals", "ends early", "' '", "nobody's", "soon"]
    assert all(row["_error_info"] for row in rows[1:])
    start, end = (next(key for key in rows[0] if key.startswith(f"execution {when}")) for when in ("start", "end"))
    assert (rows[1][start], rows[1][end]) == ("2013-12-02 16:00:00+00:00", "2013-12-02 15:59:00+00:00")
    assert (rows[3]["agent id"], rows[3]["study id"]) == ("", known.study)
    assert (rows[4][start], rows[4][end], rows[4]["agent id"]) == ("", "", known.person)
    source = next(key for key in rows[0] if key.startswith("Input dataset id"))
    assert [row[source] for row in rows] == [raw, raw, raw, raw, ""]


def test_a_table_shows_records_that_name_no_workflow_template(registry: Registry, provenance: Provenance) -> None:
    """Without one, with something else in its place, or kept in part since they cannot be stored: the rest is shown."""
    known, raw = things(provenance), dataset(registry)
    good = known.record([raw], [raw]).model_dump(mode="json")
    records = [
        good,
        {**{key: value for key, value in good.items() if key != "workflow_template_id"}, "display_name": "lost"},
        {**good, "display_name": "number", "workflow_template_id": 5},
        {**good, "display_name": "late", "start_time": 10**30},
        {**good, "display_name": "half", "workflow_template_id": "\ud800"},
    ]
    answer = provenance.register_batch_model_runs({"records": records})
    kept = [each.record.get("workflow_template_id") for each in provenance.batch_results(str(answer.session_id))]
    assert kept == [known.template, None, 5, known.template, None]
    rows = list(csv.DictReader(io.StringIO(provenance.regenerate_csv_from_model_run_batch(str(answer.session_id)))))
    assert [row["_job_status"] for row in rows] == ["SUCCEEDED"] + ["FAILED"] * 4
    assert [row["display name"] for row in rows] == ["grow corals", "lost", "number", "late", "half"]
    assert rows[1]["agent id"] == known.person
    assert all(row["_error_info"] for row in rows[1:])
    nameless = provenance.register_batch_model_runs({"records": records[1:2]})
    with pytest.raises(InvalidInput, match="no workflow template"):
        provenance.regenerate_csv_from_model_run_batch(str(nameless.session_id))
