"""docs/reference/json.md against real documents: each field is there, of the type that the page says, and no other."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from prefect_registry.cli.commands import all_commands
from prefect_registry.models import Metric, ModelRegistry, Parameter
from prefect_registry.provenance.records import Model as ProvModel
from prefect_registry.provenance.records import WorkflowTemplate
from prefect_registry.provenance.service import Provenance
from prefect_registry.registry import Registry

Command = Callable[..., Any]
PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "json.md").read_text("utf-8")
PLAIN: dict[str, Callable[[Any], bool]] = {
    "string": lambda v: isinstance(v, str),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "object": lambda v: isinstance(v, dict),
    "value": lambda v: True,
    "any": lambda v: True,
    "time": lambda v: isinstance(v, str) and bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", v)),
}
NOT_JSON = {"--help", "-h", "--version", "--install-completion"}


def shapes() -> dict[str, dict[str, str]]:
    """The tables of the page by their headings: field and type."""
    found = {}
    for section in re.split(r"^### ", PAGE, flags=re.M)[1:]:
        rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, re.M)
        found[section.partition("\n")[0].strip()] = {name: kind.strip() for name, kind in rows}
    return found


SHAPES = shapes()


def misfits(value: Any, kind: str, where: str) -> list[str]:
    """What in ``value`` is not as the page says; of several types one must fit."""
    if kind.startswith("list of "):
        inner, _, nothing = kind.removeprefix("list of ").partition(" or null")
        if value is None and kind.endswith(" or null"):
            return []
        if not isinstance(value, list):
            return [f"{where} is no list"]
        return [m for i, item in enumerate(value) for m in misfits(item, inner + nothing, f"{where}[{i}]")]
    choices = kind.split(" or ")
    tried = [one(value, choice, where) for choice in choices]
    return [] if any(not found for found in tried) else min(tried, key=len)


def one(value: Any, kind: str, where: str) -> list[str]:
    """The same for a single type."""
    if kind in PLAIN:
        return [] if PLAIN[kind](value) else [f"{where} is no {kind}: {value!r:.60}"]
    if not isinstance(value, Mapping):
        return [f"{where} is no {kind}: {value!r:.60}"]
    fields = SHAPES[kind]
    problems = [f"{where}.{name} is missing" for name in fields if name not in value]
    problems += [f"{where}.{name} is not documented" for name in value if name not in fields]
    return problems + [
        m for name, inner in fields.items() if name in value for m in misfits(value[name], inner, f"{where}.{name}")
    ]


def documents(command: Command, history: Any, folder: Path) -> dict[str, list[list[str]]]:
    """What to call to see the document of a command, on a registry of its own."""
    registry = Registry(history.url, version_objects=True)
    for version in ("1", "2", "3"):
        registry.save("model", version * 20_000, metadata={"n": int(version)})
    registry.set_alias("model", "champion", "2")
    (folder / "card.md").write_text("# Digits")
    models = ModelRegistry(registry)
    metric, parameter = Metric(name="accuracy", value=0.9), Parameter(name="kernel", value="rbf")
    made = models.register("digits", "s3://b/digits", artifacts=[metric, parameter], metadata={"lr": 0.1})
    ids = [str(each.id) for each in (made.model, made.version, *made.artifacts)]
    models.register("digits", "s3://b/digits2", artifacts=[Metric(name="accuracy", value=0.95)], aliases=["best"])
    run = ["run", "--kind", "notes", "--", "sh", "-c"]
    return {
        "ls": [["ls", what] for what in ("datasets", "runs", "kinds", "events", "incidents", "documents", "doctags",
                                       "objects")],
        "log": [["log"], ["log", "--limit", "1"]],
        "show": [["show", i] for i in (history.nightly, history.failed, history.flights, history.event,
                                       history.incident, "flights", "model@champion", *ids)],
        "events": [["events"]],
        "incidents": [["incidents"]],
        "lineage": [["lineage", history.report], ["lineage", history.reporting, "--upstream", "--format", "json"],
                    ["lineage", str(made.version.id)]],
        "table": [["table", "flights"]],
        "diff": [["diff", history.flights_before, history.flights]],
        "object_diff": [["diff", "model@1", "model@champion"]],
        "cat": [["cat", history.flights, "a.parquet"]],
        "get": [["get", "flights", "--to", str(folder / "got")], ["get", "model", "--to", str(folder / "model")]],
        "save": [["save", "other", "--value", "[1, 2]", "--alias", "a"], ["save", "other", "--value", "[1, 2]"]],
        "load": [["load", "other"], ["load", "other@1"]],
        "versions": [["versions", "model"]],
        "alias": [["alias", "model"], ["alias", "model", "champion", "--history"], ["alias", "other", "a", "--remove"]],
        "rm": [["rm", "other"], ["rm", "other", "--yes"]],
        "restore": [["restore", "other"], ["restore", "other"]],
        "models_ls": [["models", "ls"], ["models", "ls", "digits", "--limit", "1"]],
        "models_show": [["models", "show", "digits"], ["models", "show", "digits", "1"]],
        "models_register": [["models", "register", "digits", "--path", str(folder / "card.md"), "--property", "a=1",
                             "--card", str(folder / "card.md"), "--alias", "champion"],
                            ["models", "register", "letters", "s3://b/l"]],
        "models_promote": [["models", "promote", "digits", "2", "--to", "champion"],
                           ["models", "promote", "digits", "2", "--to", "staging"]],
        "models_compare": [["models", "compare", "digits", "1", "2"], ["models", "compare", "digits", "1", "1"]],
        "models_archive": [["models", "archive", "digits", "2"], ["models", "archive", "letters"]],
        "models_history": [["models", "history", "digits", "2"],
                           ["models", "history", "digits", "--alias", "champion"]],
        **of_provenance(registry, history, folder),
        "stats": [["stats"], ["stats", "--quick"]],
        "config": [["config"]],
        "reap": [["reap"]],
        "gc": [["gc"], ["gc", "--yes"]],
        "close": [["close", history.open_run, "--failed"]],
        "revert": [["revert", history.reporting, "--yes"]],
        "run": [[*run, 'echo x > "$PREFECT_REGISTRY_FOLDER/x"'], [*run, "exit 1"]],
        "checkpoint": [["checkpoint"], ["checkpoint", "--unsealed"]],
        "fsck": [["fsck"]],
        "copy": [["copy", str(folder / "copy")]],
        "retention": [["retention", "set", "flights", "--last", "1", "--unused-too"],
                      ["retention", "set", "--objects", "*", "--last", "1"], ["retention"]],
        "publications": [["publications", "apply", str(definitions(folder)), "--yes"], ["publications"],
                         ["publications", "run", "notes"], ["publications", "tick"],
                         ["publications", "show", "notes"], ["publications", "history", "notes"],
                         ["publications", "remove", "notes"], ["publications", "remove", "notes", "--yes"],
                         ["publications", "history", "notes"]],
        "release": [["retention", "preview"], ["retention", "release", "--yes"]],
        "error": [["show", "nothing-of-this-kind"]],
    }  # fmt: skip


def of_provenance(registry: Registry, history: Any, folder: Path) -> dict[str, list[list[str]]]:
    """The same of provenance, in which there is a study without a model run."""
    person = {"item_subtype": "PERSON", "display_name": "Ada", "email": "a@b.org", "first_name": "A", "last_name": "L"}
    (folder / "person.json").write_text(json.dumps(person))
    (folder / "batch.json").write_text('[{"display_name": "nothing else"}]')
    prov = folder / "prov.json"
    prov.write_text('{"prefix": {"x": "urn:x:"}, "entity": {"x:a": {}}}')
    software = {"name": "m", "description": "d", "documentation_url": "https://a.org", "source_url": "https://a.org"}
    provenance = Provenance(registry)
    model = provenance.register_item(ProvModel(display_name="m", **software))
    template = provenance.register_item(WorkflowTemplate(display_name="t", software_id=model.id))
    provenance.register_seed_item("STUDY")
    ask = "provenance"
    return {
        "provenance_what_breaks": [[ask, "what-breaks", i] for i in (history.flights, "model@1")],
        "provenance_where_from": [[ask, "where-from", i] for i in (history.report, history.reporting)],
        "provenance_what_changed": [[ask, "what-changed", history.nightly, history.reporting]],
        "provenance_reproduce": [[ask, "reproduce", history.nightly]],
        "provenance_picture": [[ask, "picture", history.flights],
                               [ask, "picture", history.flights, "-o", str(folder / "p.svg")]],
        "provenance_report": [[ask, "report", history.nightly, "-o", str(folder / "r.md")]],
        "provenance_export": [[ask, "export", history.flights, "--format", "node-link"],
                              [ask, "export", history.flights, "-o", str(folder / "p.json")]],
        "provenance_ls": [[ask, "ls"], [ask, "ls", "items", "--limit", "1"], [ask, "ls", "studies"]],
        "provenance_register": [[ask, "register", str(folder / f"{name}.json")] for name in ("person", "batch")],
        "provenance_import": [[ask, "import", str(prov)]] * 2,
        "provenance_csv": [[ask, "csv", "template", template.id],
                           [ask, "csv", "template", template.id, "-o", str(folder / "t.csv")]],
    }  # fmt: skip


def definitions(folder: Path) -> Path:
    """A file that defines a publication whose job fails."""
    file = folder / "publications.yaml"
    plan = [{"type": "callable", "options": {"function": "no_such_module:f"}}]
    publication = {"id": "notes", "title": "Notes", "retrieval_frequency": "MONTHLY", "plan": plan}
    file.write_text(json.dumps({"publications": [publication]}))
    return file


OTHERWISE = {"error", "release", "object_diff"}
"""Documents of no command of that name."""

ELSEWHERE = {"init", "doctor"}
"""They need Prefect: see below."""


@pytest.fixture(scope="session")
def names() -> list[str]:
    return [name for name, _, _ in all_commands()]


def test_every_command_has_a_section(names: list[str]) -> None:
    """And each section of a command is that of a command."""
    sections = PAGE.partition("## Shapes")[0]
    written = re.findall(r"^### (\w+)", sections, re.M)
    assert sorted(written) == sorted([*(re.sub("[ -]", "_", name) for name in names), *OTHERWISE])
    assert all(f"prefect-registry/{name}/1" in sections for name in written)


def test_documents_are_what_the_page_says(command: Command, own_history: Any, tmp_path: Path) -> None:
    """Of every command, on stdout alone, in its good and its bad cases."""
    calls = documents(command, own_history, tmp_path)
    assert calls.keys() | ELSEWHERE == {name for name in SHAPES if name[0].islower()}
    problems = []
    for name, examples in calls.items():
        for arguments in examples:
            at = arguments.index("--") if "--" in arguments else len(arguments)
            said = command(*arguments[:at], "--json", "-r", own_history.url, *arguments[at:])
            document = json.loads(said.out)
            problems += [f"{' '.join(arguments[:2])}: {m}" for m in misfits(document, name, name)]
            if document.get("schema") != f"prefect-registry/{name}/1":
                problems.append(f"{' '.join(arguments)}: schema {document.get('schema')}")
    assert problems == []


@pytest.mark.prefect
def test_documents_of_setting_up(command: Command, tmp_path: Path, name: str, prefect_server: str) -> None:
    """`init` and `doctor` have the same envelope."""
    made = command("init", "local", "--path", str(tmp_path), "--name", name, "--json").data
    looked = command("doctor", name, "--json").data
    assert misfits(made, "init", "init") + misfits(looked, "doctor", "doctor") == []


def test_publications_come_from_standard_input(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dash is no option."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(definitions(tmp_path).read_bytes())))
    said = command("publications", "apply", "-", "--yes", "--json", "-r", str(tmp_path / "registry"))
    assert [p["id"] for p in said.data["plan"]] == ["notes"]


def test_the_comparison_sees_what_is_wrong() -> None:
    """A field that is missing, one that nobody documents, and a wrong type."""
    good = {"objects": 1, "bytes": 2, "runs": ["a"], "waiting": []}
    assert misfits(good, "Collection", "it") == []
    assert misfits(None, "Collection or null", "it") == []
    for bad in ({**good, "more": 1}, {**good, "bytes": None}, {**good, "runs": [1]}, {"objects": 1}):
        assert misfits(bad, "Collection", "it")


def test_every_command_takes_json(names: list[str], command: Command) -> None:
    """And, but for the one that makes a registry, --registry."""
    for name in names:
        said = command(*name.split(), "--help").out
        assert "--json" in said, name
        assert "--registry" in said or name == "init", name
