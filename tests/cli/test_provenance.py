"""`provenance`: what people ask, pictures, reports, exports, registering, lists and tables, from the command line."""

from __future__ import annotations

import csv
import io
import json
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from prefect_registry.cli.provenance import write_text
from prefect_registry.provenance.graph import Graph
from prefect_registry.provenance.records import (
    DatasetTemplate,
    Model,
    Organisation,
    Person,
    Study,
    TemplateResource,
    WorkflowTemplate,
)
from prefect_registry.provenance.service import Provenance
from prefect_registry.provenance.standards.prov import from_prov_json
from prefect_registry.registry import Registry

Command = Callable[..., Any]
HOSTILE = "evil\x1b[31m[red]name"
URL = "https://example.org/coral"


@dataclass(frozen=True)
class Lineage:
    """A registry in which a model run made ``corals`` from ``reefs``, and two runs read ``corals``."""

    url: str
    reefs: str
    corals: str
    model_run: str
    first: str
    second: str
    person: str
    study: str
    template: str
    record: dict[str, Any]


def _dataset(registry: Registry, kind: str) -> str:
    with registry.run(f"make {kind}") as run, run.dataset(kind, mode="append") as ds:
        ds.write_table(pa.table({"n": [1]}))
    return ds.id


def _made(url: str) -> Lineage:
    registry = Registry(url)
    provenance = Provenance(registry, by="ada")
    reefs, corals = _dataset(registry, "reefs"), _dataset(registry, "corals")
    person = provenance.register_item(
        Person(display_name=HOSTILE, email="a@example.org", first_name="Ada", last_name="L")
    ).id
    taken = provenance.register_item(DatasetTemplate(display_name="reefs")).id
    made = provenance.register_item(DatasetTemplate(display_name="corals")).id
    model = provenance.register_item(
        Model(display_name="coral", name="coral", description="grows", documentation_url=URL, source_url=URL)
    ).id
    study = provenance.register_item(Study(display_name="a study", title="t", description="d")).id
    provenance.register_item(Organisation(display_name="Reef", name="Reef"))
    template = provenance.register_item(
        WorkflowTemplate(
            display_name="growth",
            software_id=model,
            input_templates=[TemplateResource(template_id=taken)],
            output_templates=[TemplateResource(template_id=made)],
        )
    ).id
    record = {
        "workflow_template_id": template,
        "inputs": [{"dataset_template_id": taken, "dataset_id": reefs}],
        "outputs": [{"dataset_template_id": made, "dataset_id": corals}],
        "display_name": "grow corals",
        "description": "of a year",
        "study_id": study,
        "associations": {"modeller_id": person},
        "start_time": 1_386_000_000,
        "end_time": 1_386_000_060,
    }
    model_run = str(provenance.register_model_run(record).session_id)
    ids = []
    for rate in (1, 2):
        with registry.run("count", config={"rate": rate, "name": HOSTILE}) as run, run.dataset("counts") as ds:
            registry.get_dataset(corals).to_table()
            ds.write_table(pa.table({"n": [rate]}))
        ids.append(run.id)
    return Lineage(url, reefs, corals, model_run, ids[0], ids[1], str(person), str(study), str(template), record)


@pytest.fixture(scope="module")
def lineage() -> Lineage:
    """For tests that only look."""
    return _made(f"memory://cli-provenance-{uuid.uuid4().hex}")


@pytest.fixture
def own() -> Lineage:
    """For tests that change it."""
    return _made(f"memory://cli-provenance-{uuid.uuid4().hex}")


@pytest.fixture
def ask(command: Command, lineage: Lineage) -> Command:
    """A command of `provenance` on the registry that nobody changes."""
    return lambda *arguments: command("provenance", *arguments, "-r", lineage.url)


def rows(text: str) -> list[list[str]]:
    """The rows of a table, below its headings."""
    return [line.split() for line in text.splitlines()[1:]]


# -- questions -------------------------------------------------------------------------------------------------------


def test_what_breaks_lists_what_came_of_it(ask: Command, lineage: Lineage) -> None:
    """Runs, datasets and whom to tell; names have no effect on a terminal."""
    said = ask("what-breaks", lineage.reefs)
    assert said.code == 0, said.err
    found = {tuple(row[:2]) for row in rows(said.out)}
    assert {("run", lineage.model_run), ("run", lineage.first), ("dataset", lineage.corals)} <= found
    assert "to be told" in said.out
    assert lineage.person in said.out
    assert "[red]name" in said.out
    assert "\x1b" not in said.out
    data = ask("what-breaks", lineage.reefs, "--depth", "1", "--json").data
    assert (data["runs"], data["datasets"], data["agents"]) == ([lineage.model_run], [], [lineage.person])
    nothing = ask("what-breaks", lineage.first, "--as-of", "2001-01-01")
    assert (nothing.code, nothing.out) == (0, "")
    assert "Nothing" in nothing.err


def test_where_from_tells_every_way(ask: Command, lineage: Lineage) -> None:
    """A line for each, from the thing to its source and the run that made that."""
    said = ask("where-from", lineage.first)
    steps = [line.split(" <- ") for line in said.out.splitlines()]
    assert any(lineage.reefs in path[-2] and "run_" in path[-1] and "grow corals" in " ".join(path) for path in steps)
    data = ask("where-from", lineage.corals, "--json").data
    assert [lineage.corals, lineage.model_run, lineage.reefs] in [path[:3] for path in data["paths"]]


def test_what_changed_compares_two_runs(ask: Command, lineage: Lineage) -> None:
    """By what they read, were given and ran; no difference is no error."""
    said = ask("what-changed", lineage.first, lineage.second)
    assert ["parameters", "rate", "1", "2"] in rows(said.out)
    data = ask("what-changed", lineage.first, lineage.second, "--json").data
    assert data["differs"]
    assert {"name": "rate", "first": 1, "second": 2} in data["parameters"]
    same = ask("what-changed", lineage.first, lineage.first)
    assert (same.code, same.out) == (0, "")


def test_reproduce_tells_what_is_needed_and_what_is_missing(ask: Command, lineage: Lineage) -> None:
    """It exits with 1 when something is missing."""
    said = ask("reproduce", lineage.model_run)
    assert said.code == 1
    assert ["input", lineage.reefs, "there"] in rows(said.out)
    assert "Missing: which packages" in said.err
    data = ask("reproduce", lineage.first, "--json").data
    assert data["parameters"] == {"rate": 1, "name": HOSTILE}
    assert "\x1b" not in ask("reproduce", lineage.first).out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("what-breaks", "ds_none"), 3),
        (("where-from", "no such\x1bthing"), 3),
        (("what-changed", "x", "y"), 3),
        (("reproduce", "run_01kxam4mqse0y8kbj0m2mb7vrd"), 3),
        (("picture", "nothing"), 3),
        (("export", "ds_x", "--format", "openlineage"), 3),
        (("csv", "template", "nothing"), 3),
        (("csv", "regenerate", "nothing"), 3),
        (("csv", "convert", "no such file"), 6),
        (("ls", "people", "--study", "x"), 6),
        (("ls", "--limit", "0"), 6),
        (("what-breaks", "x", "--depth", "0"), 6),
        (("picture", "x", "--depth", "101"), 6),
        (("export", "x", "--format", "pdf"), 2),
    ],
)
def test_errors_are_told_apart(ask: Command, arguments: tuple[str, ...], code: int) -> None:
    """By exit codes, without a traceback, with nothing on standard output and no control characters."""
    said = ask(*arguments)
    assert (said.code, said.out) == (code, ""), said.err
    assert "\x1b" not in said.err
    assert "Traceback" not in said.err


# -- pictures, reports, exports --------------------------------------------------------------------------------------


def test_pictures_are_drawn_in_three_languages(ask: Command, lineage: Lineage, tmp_path: Path) -> None:
    """To standard output, or into a file whose name tells the language."""
    assert ask("picture", lineage.corals).out.startswith("flowchart LR")
    assert ask("picture", lineage.corals, "--format", "dot").out.startswith("digraph")
    said = ask("picture", lineage.corals, "--output", str(tmp_path / "x.svg"))
    assert (said.code, said.out) == (0, "")
    assert (tmp_path / "x.svg").read_text("utf-8").startswith("<svg")
    up = ask("picture", lineage.corals, "--direction", "upstream").out
    assert "grow corals" in up
    assert "\x1b" not in up
    assert "count" not in up.replace("counts", "").partition("classDef")[0].partition("accTitle")[0]
    data = ask("picture", lineage.corals, "--depth", "1", "--json").data
    assert (data["format"], data["file"], data["text"][:9]) == ("mermaid", None, "flowchart")
    wrong = ask("picture", lineage.corals, "-o", str(tmp_path / "none" / "x.svg"))
    assert wrong.code == 6
    assert ask("picture", lineage.corals, "-o", str(tmp_path)).code == 6
    assert [path.name for path in tmp_path.iterdir()] == ["x.svg"]


def test_reports_are_written_by_the_name_of_the_file(ask: Command, lineage: Lineage, tmp_path: Path) -> None:
    """Word, HTML and Markdown, of a run and of a study; of nothing else."""
    for name in ("a.docx", "a.html", "a.MD"):
        said = ask("report", lineage.model_run, "--output", str(tmp_path / name), "--json")
        assert said.code == 0, said.err
        assert said.data["runs"] == [lineage.model_run]
        assert said.data["bytes"] == (tmp_path / name).stat().st_size
    assert (tmp_path / "a.docx").read_bytes()[:2] == b"PK"
    assert lineage.reefs in (tmp_path / "a.html").read_text("utf-8")
    assert ask("report", lineage.study, "-o", str(tmp_path / "s.md"), "--depth", "3").code == 0
    assert ask("report", lineage.model_run, "-o", str(tmp_path / "a.pdf")).code == 6
    assert ask("report", lineage.model_run, "-o", str(tmp_path / "b.md"), "--depth", "4").code == 6
    assert ask("report", lineage.corals, "-o", str(tmp_path / "b.md")).code == 6
    assert not (tmp_path / "b.md").exists()


def test_exports_are_what_other_programs_read(ask: Command, lineage: Lineage, tmp_path: Path) -> None:
    """PROV-JSON that is read again, PROV-N, Turtle, JSON for networkx, and events of a run."""
    whole = Provenance(Registry(lineage.url)).lineage(lineage.corals)
    assert from_prov_json(ask("export", lineage.corals).out) == whole
    notation = ask("export", lineage.corals, "--format", "prov-n").out
    assert notation.startswith("document")
    assert "[red]name" in notation
    assert "\x1b" not in notation + ask("export", lineage.corals, "--format", "prov-o").out
    turtle = ask("export", lineage.corals, "--format", "prov-o", "--output", str(tmp_path / "x.ttl"))
    assert turtle.code == 0, turtle.err
    assert "prov:used" in (tmp_path / "x.ttl").read_text("utf-8")
    assert Graph.from_node_link(json.loads(ask("export", lineage.corals, "--format", "node-link").out)) == whole
    events = [json.loads(line) for line in ask("export", lineage.first, "--format", "openlineage").out.splitlines()]
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"]
    assert events[1]["outputs"][0]["name"] == "tables/counts"
    data = ask("export", lineage.corals, "--format", "node-link", "--json").data
    assert (data["format"], data["file"]) == ("node-link", None)


# -- records ---------------------------------------------------------------------------------------------------------


def test_texts_for_programs_have_no_effect_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table or a document may hold any name; a pipe gets it as it is."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    text = "\x1b[31mred\x07\tname\r\n"
    for stdout, wanted in ((Terminal(), "�[31mred�       name\n"), (io.StringIO(), text)):
        monkeypatch.setattr(sys, "stdout", stdout)
        write_text(text, None)
        assert stdout.getvalue() == wanted


def test_lists_are_of_model_runs_and_items(ask: Command, lineage: Lineage) -> None:
    """By what they are, with pages."""
    assert rows(ask("ls").out) == [["MODEL_RUN", "grow", "corals", lineage.model_run]]
    assert ask("ls", "--study", "none").out.splitlines()[1:] == []
    assert ask("ls", "--template", lineage.template, "--json").data["items"][0]["id"] == lineage.model_run
    people = ask("ls", "people")
    assert lineage.person in people.out
    assert "\x1b" not in people.out
    every = [item["id"] for item in ask("ls", "items", "--json").data["items"]]
    assert len(every) == 7
    paged: list[str] = []
    cursor: list[str] = []
    while True:
        data = ask("ls", "items", "--limit", "2", *cursor, "--json").data
        paged += [item["id"] for item in data["items"]]
        if data["next"] is None:
            break
        cursor = ["--cursor", data["next"]]
    assert paged == every
    assert "--cursor" in ask("ls", "items", "--limit", "2").err


def test_model_runs_are_registered_from_files(command: Command, own: Lineage, tmp_path: Path) -> None:
    """One, several of which some are refused, and items; what is wrong is told in full and nothing is written."""
    file = tmp_path / "run.json"

    def register(document: Any, *options: str) -> Any:
        file.write_text(json.dumps(document))
        return command("provenance", "register", str(file), *options, "-r", own.url)

    run = register(own.record).out.strip()
    assert Provenance(Registry(own.url)).get_model_run(run).display_name == "grow corals"
    bad = {**own.record, "display_name": "", "study_id": "none"}
    refused = register(bad)
    assert (refused.code, refused.out) == (6, "")
    some = register([own.record, {**own.record, "study_id": "none"}])
    assert some.code == 1
    assert "#2 was refused" in some.err
    assert "1 of 2" in some.err
    data = register({"records": [own.record]}, "--json").data
    assert (data["of"], [each["status"] for each in data["records"]]) == ("batch", ["SUCCEEDED"])
    study = register({"item_subtype": "STUDY", "display_name": "s", "title": "t", "description": "d"}, "--json").data
    assert study["of"] == "item"
    assert study["id"].startswith("study_")
    assert register({"item_subtype": "PLANET", "display_name": "s"}).code == 6
    assert register("text").code == 6
    file.write_text("{")
    assert command("provenance", "register", str(file), "-r", own.url).code == 6
    assert len(list(Provenance(Registry(own.url)).model_runs())) == 4


def test_documents_of_others_are_imported(command: Command, own: Lineage, tmp_path: Path) -> None:
    """Once; they are part of lineage then, and names in them have no effect on a terminal."""
    document = {
        "prefix": {"x": "urn:x:"},
        "entity": {"x:raw": {"prov:label": HOSTILE}, "x:clean": {}},
        "wasDerivedFrom": {"_:d": {"prov:generatedEntity": "x:clean", "prov:usedEntity": "x:raw"}},
    }
    (tmp_path / "prov.json").write_text(json.dumps(document))
    said = command("provenance", "import", str(tmp_path / "prov.json"), "--reason", "why", "-r", own.url)
    assert (said.code, said.err) == (0, "2 thing(s), 1 new link(s).\n")
    assert Registry(own.url).get_run(said.out.strip()).notes == "why"
    again = command("provenance", "import", str(tmp_path / "prov.json"), "-r", own.url)
    assert (again.code, again.out) == (0, "")
    origin = command("provenance", "where-from", "urn:x:clean", "-r", own.url)
    assert origin.out.startswith("urn:x:clean <- evil")
    assert "\x1b" not in origin.out
    (tmp_path / "prov.json").write_text('{"entity": {"y:raw": {}}, "bundle": {"x:b": {}}}')
    wrong = command("provenance", "import", str(tmp_path / "prov.json"), "-r", own.url)
    assert wrong.code == 6
    assert "bundles are not read" in wrong.err


def test_tables_go_from_template_to_batch_and_back(
    command: Command, own: Lineage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """template, filled in, convert, register, regenerate."""
    template = command("provenance", "csv", "template", own.template, "-r", own.url).out
    headers = next(csv.reader(io.StringIO(template)))
    values = dict.fromkeys(headers, "")
    for header in headers:
        if header.startswith("Input dataset"):
            values[header] = own.reefs
        elif header.startswith("Output dataset"):
            values[header] = own.corals
    values |= {"display name": '=cmd, "x"', "description": "d", "agent id": own.person}
    times = [header for header in headers if "time" in header]
    values |= dict(zip(times, ("2013-01-01 00:00:00+00:00", "2013-01-02 00:00:00+00:00"), strict=True))
    filled = io.StringIO()
    writer = csv.DictWriter(filled, headers)
    writer.writeheader()
    writer.writerow(values)
    (tmp_path / "filled.csv").write_text(filled.getvalue(), "utf-8", newline="")
    converted = command(
        "provenance",
        "csv",
        "convert",
        str(tmp_path / "filled.csv"),
        "-o",
        str(tmp_path / "records.json"),
        "-r",
        own.url,
    )
    assert converted.code == 0, converted.err
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((tmp_path / "records.json").read_bytes())))
    batch = command("provenance", "register", "-", "-r", own.url).out.strip()
    again = command("provenance", "csv", "regenerate", batch, "--json", "-r", own.url).data
    row = next(csv.DictReader(io.StringIO(again["text"])))
    assert (row["_job_status"], row["description"]) == ("SUCCEEDED", "d")
    assert command("provenance", "ls", "--batch", batch, "-r", own.url).out.count("MODEL_RUN") == 1
    (tmp_path / "again.csv").write_text(again["text"], "utf-8", newline="")
    said = command("provenance", "csv", "convert", str(tmp_path / "again.csv"), "--json", "-r", own.url).data
    assert said["records"] == []
    assert "registered before" in said["warnings"][-1]


def test_tables_in_other_encodings_are_read_when_it_is_said(command: Command, own: Lineage, tmp_path: Path) -> None:
    """The error advises the option; of other actions than convert it is refused."""
    header = command("provenance", "csv", "template", own.template, "-r", own.url).out
    values = dict.fromkeys(next(csv.reader(io.StringIO(header))), "")
    values |= {name: own.reefs for name in values if name.startswith(("Input dataset", "Output dataset"))}
    values |= {name: "2013-01-01 00:00:00+00:00" for name in values if "time" in name}
    values |= {"display name": "été", "description": "d", "agent id": own.person}
    path = tmp_path / "french.csv"
    with path.open("w", encoding="cp1252", newline="") as file:
        csv.writer(file).writerows([values, values.values()])
    refused = command("provenance", "csv", "convert", str(path), "-r", own.url)
    assert refused.code == 6
    assert "--encoding cp1252" in " ".join(refused.err.split())
    read = command("provenance", "csv", "convert", str(path), "--encoding", "cp1252", "--json", "-r", own.url)
    assert [each["display_name"] for each in read.data["records"]] == ["été"]
    wrong = command("provenance", "csv", "template", own.template, "--encoding", "cp1252", "-r", own.url)
    assert wrong.code == 6
    assert "convert" in wrong.err
