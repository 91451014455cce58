"""Tables that people fill in, as spreadsheets write them, and what is said of them (reference system 2)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

import pytest
from model_run_support import DATASET_TEMPLATES, WORKFLOW_TEMPLATE, Registry, record

from prefect_registry.errors import InvalidInput
from prefect_registry.provenance.csv import Conversion, convert_csv, regenerate_csv, template_csv
from prefect_registry.provenance.csv.reading import sheet_of
from prefect_registry.provenance.csv.regenerating import BatchRow
from prefect_registry.provenance.records import SeedItem

START = "execution start time (YYYY-MM-DD HH:MM:SS+HH:MM)"
END = "execution end time (YYYY-MM-DD HH:MM:SS+HH:MM)"
IN = "Input dataset id for template: reefs, 2013 [template id: t_in]"
IN2 = "Input dataset id for template: weather [template id: t_in2]"
OUT = "Output dataset id for template: corals [template id: t_out]"
FILLED = {
    "display name": "run 1",
    "description": "the first",
    "agent id": "p",
    START: "2011-12-03 10:15:30+11:00",
    END: "2011/12/03 10:15:31+11:00",
    IN: "d0",
    "Input resource: map": "maps/a.tif",
    OUT: "d1",
    "Output resource: map": "maps/b.tif",
    "annotation: scenario": "warm",
}
HEADERS = next(csv.reader(io.StringIO(template_csv(WORKFLOW_TEMPLATE, DATASET_TEMPLATES))))


def table(*rows: Mapping[str, str], delimiter: str = ",", headers: list[str] = HEADERS, end: str = "\r\n") -> str:
    sink = io.StringIO(newline="")
    writer = csv.DictWriter(sink, headers, delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue()


def problems(content: str | bytes, registry: Registry | None = None, encoding: str | None = None) -> list[str]:
    with pytest.raises(InvalidInput) as raised:
        convert_csv(content, registry or Registry(), encoding)
    return raised.value.problems


def converted(content: str | bytes) -> Conversion:
    return convert_csv(content, Registry())


def test_filled_in() -> None:
    """Cells are stripped; what may be empty and is, is None; dates may have slashes."""
    (made,) = converted(table({**FILLED, "agent id": "  p ", "study id": "\t"})).new_records
    assert (made.model_version, made.study_id, made.associations.requesting_organisation_id) == (None, None, None)
    assert (made.start_time, made.end_time) == (1_322_867_730, 1_322_867_731)
    assert made.associations.modeller_id == "p"
    assert [(d.dataset_template_id, d.dataset_id, d.resources) for d in made.inputs] == [
        ("t_in", "d0", {"map": "maps/a.tif"})
    ]
    assert made.annotations == {"scenario": "warm"}


def test_optional_dataset() -> None:
    """A dataset that the template calls optional may be left out; if it is there, its required resources are."""
    both = {IN2: "d2", "Input resource: map [template id: t_in2]": "m", "Input resource: stations": "s"}
    (made,) = converted(table({**FILLED, **both})).new_records
    assert made.inputs[1].resources == {"map": "m", "stations": "s"}
    assert len(problems(table({**FILLED, IN2: "d2"}))) == 2
    (problem,) = problems(table({**FILLED, **both, IN2: ""}))
    assert repr(IN2) in problem


def test_existing_rows() -> None:
    """Rows with a job id are not read again; one that is there twice is warned of."""
    rows = {"_job_id": "job1"}, FILLED, {"_job_id": " job2 "}, {**FILLED, "_job_id": "job1"}
    made = converted(table(*rows))
    assert (len(made.new_records), made.existing_records) == (1, ["job1", "job2", "job1"])
    assert made.warnings == [
        "Row #4 (line 5) has the job id of row #1: it is no new model run. To make it one, leave '_job_id' empty"
    ]
    (problem,) = problems(table({"_job_id": "job9"}))
    assert "#1 (line 2), '_job_id' is 'job9'" in problem
    assert "does not exist in the job status database" in problem


def test_extra_columns() -> None:
    """Columns that nobody asked for are passed over with a warning, in order; nameless ones if they hold anything."""
    headers = ["zeta", *HEADERS, "alpha", "", "  "]
    assert converted(table(FILLED, headers=headers)).warnings == [
        "Extra column with header 'zeta' provided, ignoring",
        "Extra column with header 'alpha' provided, ignoring",
    ]
    assert converted(table({**FILLED, "": "x"}, headers=headers)).warnings[2:] == [
        "Extra column with header '' provided, ignoring"
    ]


def test_more_annotations_and_organisation() -> None:
    """Annotations beyond the template, and the requesting organisation, may have columns of their own."""
    headers = [*HEADERS, "annotation: colour", "requesting organisation id"]
    row = {**FILLED, "annotation: colour": "red", "requesting organisation id": "o"}
    made = converted(table(row, FILLED, headers=headers))
    assert made.warnings == []
    assert made.new_records[0].annotations == {"scenario": "warm", "colour": "red"}
    assert made.new_records[0].associations.requesting_organisation_id == "o"
    assert made.new_records[1].annotations == {"scenario": "warm"}


def test_every_problem_of_every_row() -> None:
    """All that is wrong is told at once, with the row, its line, the header and the value."""
    bad = {
        **FILLED,
        "display name": " ",
        "agent id": "",
        START: "3/12/2011 10:15",
        END: "2011-12-03 10:15:30",
        IN: "nobody",
        "Input resource: map": "",
        OUT: "",
        "annotation: scenario": "",
    }
    late = {**FILLED, "description": "two\nlines", START: "2012-01-01 00:00:00Z"}
    found = problems(table(bad, late, FILLED, {**FILLED, "study id": "x" * 2_001}))
    first = "There was an error while converting the CSV row for model run #1 (line 2), "
    time_format = "Validation error when parsing provided time, expected format: YYYY-MM-DD HH:MM:SS+HH:MM."
    assert found[:8] == [
        f"{first}'display name' is ' ': Expected display name to be non-empty string.",
        f"{first}'agent id' is '': The id of a person is needed.",
        f"{first}{IN!r} is 'nobody': The provided workflow template contained a dataset id nobody which was invalid.",
        f"{first}'Input resource: map' is '': A path in the dataset is needed for the required resource key map.",
        f"{first}{OUT!r} is '': The id of a dataset is needed; the template requires one: tell which dataset it is.",
        f"{first}'annotation: scenario' is '': Required annotation with key scenario was either empty or None.",
        f"{first}{START!r} is '3/12/2011 10:15': {time_format}",
        f"{first}{END!r} is '2011-12-03 10:15:30': {time_format} "
        "The offset from UTC is missing: put +00:00 behind it if it is UTC.",
    ]
    assert "#2 (line 3)" in found[8]
    assert "The end time cannot be before the start time" in found[8]
    assert "#4 (line 6), 'study id' is " in found[9]  # a line more, as a cell of row 2 has two
    assert len(found) == 10


def test_headers() -> None:
    """Everything that is wrong with the headers is told at once, in the reference's words."""
    found = problems(",".join(["display name", "display name", "x"]) + "\n")
    assert found == [
        "Duplicate headers are not allowed. Detected duplicates: ['display name'].",
        "None of the provided headers matched the expected workflow template flag to identify the workflow template.",
        "The provided CSV had no non header rows.",
    ]
    two_markers = table(FILLED, headers=[*HEADERS, "_workflow template id b"])
    assert problems(two_markers)[0].startswith("Multiple provided headers matched")
    without = [h for h in HEADERS if h not in (IN, "_job_id")]
    short = {key: value for key, value in FILLED.items() if key in without}
    assert problems(table(short, headers=without)) == [
        f"Expected header '{IN}' not in headers!",
        "Expected header '_job_id' not in headers!",
    ]


@pytest.mark.parametrize("content", ["", "\n\n", b"", "\ufeff"])
def test_empty_files(content: str | bytes) -> None:
    """A file with nothing in it has neither a marker nor rows."""
    assert len(problems(content)) == 2


def test_templates_that_are_not_there() -> None:
    """A marker of an unknown or incomplete template is refused; so are its dataset templates, all of them."""
    assert "'10378.1/w'" in problems(table(FILLED), Registry(workflow_templates={}))[0]
    seeded = Registry(workflow_templates={"10378.1/w": SeedItem(id="10378.1/w", item_subtype="WORKFLOW_TEMPLATE")})
    assert problems(table(FILLED), seeded) == ["The provided workflow template ID was a seed item."]
    missing = Registry(dataset_templates={"t_in": SeedItem(id="t_in", item_subtype="DATASET_TEMPLATE")})
    assert len(problems(table(FILLED), missing)) == 3


# -- files as they are -----------------------------------------------------------------------------------------------


def test_commas_in_headers_pv_23() -> None:
    """PV-23: commas within quotes do not part headers."""
    sheet = sheet_of('"my,header1,with,commas",header2,header3,"header,4,w,commas"\r\n1,2,3,4\r\n', None)
    assert sheet.headers == ["my,header1,with,commas", "header2", "header3", "header,4,w,commas"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
def test_delimiters_and_line_ends(delimiter: str, end: str) -> None:
    """Commas, semicolons and tabs part cells, whatever ends lines; line ends within cells stay as they are."""
    row = {**FILLED, "description": 'a "quoted"\r\ntext;\twith, all\nof\rit'}
    (made,) = converted(table(row, delimiter=delimiter, end=end)).new_records
    assert made.description == row["description"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-sig", "utf-16-be-sig"])
def test_encodings(encoding: str) -> None:
    """UTF-8 with and without a byte order mark is read, and UTF-16 with one."""
    text = table({**FILLED, "display name": "Žluťoučký 🐎"})
    codec = encoding.removesuffix("-sig") if "16" in encoding else encoding
    data = ("\ufeff" * encoding.endswith("e-sig") + text).encode(codec)
    (made,) = converted(data).new_records
    assert made.display_name == "Žluťoučký 🐎"


def test_other_encodings() -> None:
    """Every cell that is not UTF-8 is named, with the byte and what to do; in a named encoding it is read."""
    data = table({**FILLED, "display name": "été"}, {**FILLED, "description": "naïve"}).encode("cp1252")
    first, second = problems(data)
    assert "#1 (line 2), 'display name'" in first
    assert "byte 0xE9 is not valid UTF-8. Save the file as 'CSV UTF-8'" in first
    assert "#2 (line 3), 'description'" in second
    for encoding in ("cp1252", "latin-1"):
        assert convert_csv(data, Registry(), encoding).new_records[0].display_name == "été"
    (problem,) = problems(data, encoding="utf-8")
    assert problem.startswith("line 2: byte 0xE9")
    assert "no-such" in problems(data, encoding="no-such")[0]


def test_half_characters_and_nul_bytes() -> None:
    """UTF-16 without its mark, or cut in two, workbooks, NULs and half surrogates are named for what they are."""
    assert "encoding='utf-16-le'" in problems(table(FILLED).encode("utf-16-le"))[0]
    assert "half a character" in problems(table(FILLED).encode("utf-16")[:-1])[0]
    assert problems(table(FILLED).encode("utf-32")) == ["it is UTF-32"]
    assert problems(b"PK\x03\x04 xl/workbook.xml") == ["it is a workbook or another zip file, and no table in text"]
    assert "'description'" in problems(table({**FILLED, "description": "a\0b"}))[0]
    assert "U+D800" in problems(table({**FILLED, "description": "a\ud800"}))[0]
    assert problems(5) == ["str or bytes are needed, not int"]  # type: ignore[arg-type]


def test_quotes() -> None:
    """A quote that has no end, and text behind one, end the reading at that row; the reference reads on in one cell."""
    text = table(FILLED, FILLED)
    assert problems(text + '"p,q\r\nx\r\n') == [
        "There was an error while converting the CSV row for model run #3 (line 4): a quote in it has no end"
    ]
    assert "text behind the closing quote" in problems(text + '"p"q,\r\n')[0]


def test_ragged_rows() -> None:
    """Rows without their last cells are filled up, and empty rows passed over; cells beyond the headers are told of."""
    lines = table(FILLED).splitlines()
    short = lines[1].rstrip(",")
    assert len(converted("\n".join([lines[0], "", ",,,", short, " , \t,", short])).new_records) == 2
    (problem,) = problems("\n".join([lines[0], lines[1] + ",,", lines[1] + ",x"]))
    assert "#2 (line 3): it has 23 cells, and there are 22 headers" in problem


def test_long_cells() -> None:
    """Cells may be longer than the CSV module's own limit, which stays what it was."""
    before = csv.field_size_limit()
    (made,) = converted(table({**FILLED, "description": "x" * 300_000})).new_records
    assert (len(made.description), csv.field_size_limit()) == (300_000, before)


def test_formulas_that_people_type() -> None:
    """An apostrophe before a formula is not part of it; before anything else it is."""
    row = {**FILLED, "display name": "'=1+1", "description": "-5", "study id": "'tis", "annotation: note": "'"}
    (made,) = converted(table(row)).new_records
    assert (made.display_name, made.description, made.study_id) == ("=1+1", "-5", "'tis")
    assert made.annotations == {"scenario": "warm", "note": "'"}


def test_many_rows() -> None:
    """Each dataset is asked for once, whatever the number of rows; more than 100,000 rows are refused."""
    text = regenerate_csv(WORKFLOW_TEMPLATE, DATASET_TEMPLATES, [BatchRow(record())])
    header, row, _ = text.split("\r\n")
    registry = Registry()
    count = 2_000
    found = convert_csv("\r\n".join([header, *[row] * count]), registry)
    assert len(found.new_records) == count
    assert registry.asked == [{"d0", "d1"}]
    (problem,) = problems("\r\n".join([header, *["x"] * 100_001]))
    assert problem == "line 100,002: at most 100,000 rows are read; split the file"
