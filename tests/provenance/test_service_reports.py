"""Reports of what is registered."""

from __future__ import annotations

import io
from pathlib import Path

import docx
import pytest
from service_support import dataset, opened, things

from prefect_registry.errors import InvalidInput, NotFound
from prefect_registry.provenance.records import GenerateReportRequest
from prefect_registry.provenance.service import Provenance


def test_PV_30_reports_of_a_run_and_of_its_study(tmp_path: Path) -> None:
    """Inputs, runs and outputs stand once each, in a .docx that python-docx opens, with times and outcome."""
    registry = opened()
    provenance = Provenance(registry, by="me")
    known = things(provenance)
    datasets = [dataset(registry, f"d{i}") for i in range(3)]
    records = [known.record([datasets[i]], [datasets[i + 1]]) for i in range(2)]
    runs = [str(provenance.register_model_run(record).session_id) for record in records]
    for id_, subtype in ((runs[1], "MODEL_RUN"), (known.study, "STUDY")):
        request = GenerateReportRequest(id=id_, item_subtype=subtype, depth=1)
        document = docx.Document(io.BytesIO(provenance.generate_report(request, tmp_path)))
        rows = [[cell.text for cell in row.cells] for row in document.tables[0].rows]
        assert [row[0] for row in rows] == ["Modelling Team", "Inputs", "Model Runs", "Outputs"]
        assert rows[3][1].count(datasets[2]) == 1
        assert rows[1][1].count(datasets[1]) == 1
        assert rows[2][1].count(runs[1]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{id_} - Study Close Out Report.docx" for id_ in (runs[1], known.study)
    )
    page = provenance.report(runs[1]).to_html()
    assert "committed" in page
    assert datasets[1] in provenance.report(runs[1]).to_markdown()


def test_reports_of_what_is_not_there() -> None:
    """An unknown id, and a thing that has no reports, are told apart."""
    provenance = Provenance(opened(), by="me")
    known = things(provenance)
    with pytest.raises(NotFound):
        provenance.report("run_01h455vb4pex5vsknk084sn02q")
    with pytest.raises(InvalidInput, match="there are reports of"):
        provenance.report(known.person)
    with pytest.raises(InvalidInput, match="is a STUDY, not a MODEL_RUN"):
        provenance.generate_report(GenerateReportRequest(id=known.study, item_subtype="MODEL_RUN", depth=1))
    with pytest.raises(InvalidInput, match="from 1 to 3, not 101"):
        provenance.report(known.study, 101)


def test_a_report_of_what_links_take_for_different_things() -> None:
    """What nobody has registered is a person for one run of a study, and a dataset for another; both are reported."""
    provenance = Provenance(opened(), by="me")
    known = things(provenance)
    raw, made = dataset(provenance.registry), dataset(provenance.registry)
    run = str(provenance.register_model_run(known.record([raw], [made])).session_id)
    other = str(provenance.register_model_run(known.record([raw], [made])).session_id)
    for id_, record in (
        (run, known.record([raw], [made], associations={"modeller_id": "urn:x"})),
        (other, known.record(["urn:x"], [made])),
    ):
        item = provenance.get_model_run(id_).model_copy(update={"record": record})
        assert provenance.admin.store_record(item, validate_record=False).status.success
    text = provenance.report(known.study, 2).to_markdown()
    assert all(id_ in text for id_ in (run, other, made))
