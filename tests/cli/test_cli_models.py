"""`models ls`, `show`, `register`, `promote`, `compare`, `archive`, `history`, and ids of models elsewhere."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prefect_registry.cli.models import cell_name, type_of_id
from prefect_registry.models import Metric, ModelRegistry
from prefect_registry.registry import Registry

Command = Callable[..., Any]


@pytest.fixture
def url() -> str:
    """A registry with two versions of ``digits``, of which the first is the champion, and another model."""
    registry = Registry(f"memory://cli-models-{uuid.uuid4().hex}")
    models = ModelRegistry(registry, author="ada")
    models.register(
        "digits", "s3://b/1", metadata={"lr": 0.1, "kernel": "rbf"}, artifacts=[Metric(name="accuracy", value=0.91)],
        card="# Digits", aliases=["champion"], reason="a first try",
    )  # fmt: skip
    models.register("digits", "s3://b/2", metadata={"lr": 0.01}, artifacts=[Metric(name="accuracy", value=0.95)])
    models.register("letters", "s3://b/letters")
    return registry.url


def names(said: Any) -> list[str]:
    """The first column of a table."""
    return [row.split()[0] for row in said.out.splitlines()[1:]]


def test_models_and_their_versions_are_listed(command: Command, url: str) -> None:
    """The newest first; by another order, by an expression, a page at a time."""
    assert names(command("models", "ls", "-r", url)) == ["letters", "digits"]
    assert names(command("models", "ls", "--order", "name", "-r", url)) == ["digits", "letters"]
    rows = command("models", "ls", "digits", "-r", url).out.splitlines()[1:]
    assert [row.split()[:3] for row in rows] == [["2", "LIVE", "ada"], ["1", "champion", "LIVE"]]
    found = command("models", "ls", "digits", "--filter", "properties.lr > 0.05", "-r", url)
    assert names(found) == ["1"]
    first = command("models", "ls", "digits", "--order", "-properties.lr", "--limit", "1", "--json", "-r", url).data
    assert [i["name"] for i in first["items"]] == ["1"]
    more = ("models", "ls", "digits", "--order", "-properties.lr", "--limit", "1", "--cursor", first["next"])
    rest = command(*more, "--json", "-r", url).data
    assert ([i["name"] for i in rest["items"]], rest["next"]) == (["2"], None)
    assert "--cursor" in command("models", "ls", "--limit", "1", "-r", url).err


def test_a_version_is_shown_with_what_belongs_to_it(command: Command, url: str) -> None:
    """By its name, an alias, or latest; its card comes alone, for a file."""
    said = command("models", "show", "digits", "champion", "-r", url).out
    for word in ("properties.kernel", "rbf", "champion", "s3://b/1", "accuracy", "0.91", "8 characters"):
        assert word in said
    assert command("models", "show", "digits", "champion", "--card", "-r", url).out == "# Digits\n"
    data = command("models", "show", "digits", "latest", "--json", "-r", url).data
    assert (data["item"]["name"], data["item"]["properties"], data["card"]) == ("2", {"lr": 0.01}, None)
    assert [(a["type"], a["value"], a["uri"]) for a in data["artifacts"]] == [
        ("model-artifact", None, "s3://b/2"), ("metric", 0.95, None),
    ]  # fmt: skip
    model = command("models", "show", "digits", "-r", url).out
    assert "ada" in model
    assert model.splitlines()[-1].split() == ["champion", "1"]


def test_a_file_is_registered_by_one_decision(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes, the version, its card and aliases; registering made the registry. Standard output is the version."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.bin").write_bytes(b"\0" * 30_000)
    (tmp_path / "card.md").write_text("# New")
    said = command(
        "models", "register", "new", "--path", "weights", "--property", "n=1", "--property", "rate=0.5",
        "--property", "ok=true", "--property", 'text="1"', "--property", "a list=[1]", "--property", "label=",
        "--card", "card.md", "--alias", "champion", "--author", "me", "--format", "folder", "--reason", "why not",
        "-r", str(tmp_path / "registry"),
    )  # fmt: skip
    assert (said.code, said.out) == (0, "1\n"), said.err
    registry = Registry(tmp_path / "registry")
    models = ModelRegistry(registry)
    version = models.resolve("new", "champion")
    expected = {"n": 1, "rate": 0.5, "ok": True, "text": "1", "a list": "[1]", "label": ""}
    assert (version.author, version.custom_properties) == ("me", expected)
    assert models.card("new") == "# New"
    assert (models.load("new", "champion") / "w.bin").stat().st_size == 30_000
    artifact = models.get_model_artifact("new", "1")
    assert artifact is not None
    assert artifact.model_format_name == "folder"
    assert [run.notes for run in registry.runs(state="COMMITTED")] == ["why not"]


def test_a_uri_is_registered(command: Command, url: str) -> None:
    """Under a name of one's own, or the next number."""
    call = ("models", "register", "digits", "https://example.com/m.onnx", "--format", "onnx", "--format-version", "1.2")
    assert command(*call, "--version", "2026-q1", "-r", url).out == "2026-q1\n"
    data = command(*call, "--json", "-r", url).data
    assert (data["version"]["name"], data["artifacts"][0]["fields"]) == (
        "3", {"model_format_name": "onnx", "model_format_version": "1.2"},
    )  # fmt: skip


def test_an_alias_is_promoted_and_tells_from_where(command: Command, url: str) -> None:
    """To a name, an alias or latest; again is nothing new. Its moves are kept with the reasons."""
    moved = command("models", "promote", "digits", "latest", "--to", "champion", "--reason", "better", "-r", url)
    assert moved.out == "champion: 1 -> 2\n"
    assert command("models", "promote", "digits", "champion", "--to", "staging", "-r", url).out == (
        "staging: (nothing) -> 2\n"
    )
    assert "nothing was changed" in command("models", "promote", "digits", "2", "--to", "champion", "-r", url).err
    told = command("models", "history", "digits", "--alias", "champion", "--json", "-r", url).data["moves"]
    assert [(m["version"], m["reason"]) for m in told] == [("1", "a first try"), ("2", "better")]
    rows = command("models", "history", "digits", "--alias", "champion", "-r", url).out.splitlines()
    assert "better" in rows[2]


def test_versions_are_compared(command: Command, url: str) -> None:
    """By field; also with a version of another model; the exit code does not tell whether they differ."""
    said = command("models", "compare", "digits", "champion", "2", "-r", url)
    assert said.out.splitlines()[0].split() == ["FIELD", "1", "2"]
    assert ["metric", "accuracy.value", "0.91", "0.95"] in [row.split() for row in said.out.splitlines()]
    same = command("models", "compare", "digits", "1", "champion", "-r", url)
    assert (same.code, same.out) == (0, "")
    data = command("models", "compare", "digits", "2", "1", "--with-model", "letters", "--json", "-r", url).data
    assert data["second"] == {"model": "letters", "version": "1"}
    assert {"field": "metric accuracy.value", "first": 0.95, "second": None} in data["differences"]


def test_archiving_hides_and_is_taken_back(command: Command, url: str) -> None:
    """From lists alone; aliases that still point there are named; the history tells of both, and why."""
    said = command("models", "archive", "digits", "1", "--reason", "old", "-r", url)
    assert said.out.startswith("ARCHIVED  mv_")
    assert "champion" in said.err
    assert names(command("models", "ls", "digits", "-r", url)) == ["2"]
    assert names(command("models", "ls", "digits", "--archived", "-r", url)) == ["2", "1"]
    assert command("models", "show", "digits", "champion", "-r", url).code == 0
    assert command("models", "archive", "digits", "1", "--undo", "-r", url).out.startswith("LIVE  mv_")
    told = command("models", "history", "digits", "1", "--json", "-r", url).data["changes"]
    assert [(e["reason"], [c["after"] for c in e["changes"]]) for e in told] == [
        ("a first try", []), ("old", ["ARCHIVED"]), (None, ["LIVE"]),
    ]  # fmt: skip
    assert "state: LIVE -> ARCHIVED" in command("models", "history", "digits", "1", "-r", url).out
    assert command("models", "archive", "letters", "-r", url).code == 0
    assert names(command("models", "ls", "-r", url)) == ["digits"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["ls", "nothing"], 3),
        (["ls", "--filter", "nonsense"], 6),
        (["ls", "--order", "nonsense"], 6),
        (["ls", "--limit", "0"], 6),
        (["ls", "--cursor", "nonsense"], 6),
        (["show", "nothing"], 3),
        (["show", "digits", "7"], 3),
        (["show", "digits", "2", "--card"], 3),
        (["register", "digits"], 6),
        (["register", "digits", "s3://b", "--path", "."], 6),
        (["register", "digits", "--path", "no/such/file"], 6),
        (["register", "digits", "s3://b", "--version", "1"], 4),
        (["register", "digits", "s3://b", "--alias", "latest"], 6),
        (["register", "digits", "s3://b", "--property", "n"], 6),
        (["register", "digits", "s3://b", "--property", "n=1e999"], 6),
        (["register", "digits", "s3://b", "--property", "n=99999999999999999999"], 6),
        (["register", "digits", "s3://b", "--card", "no/such/card.md"], 6),
        (["register", "digits", "registry://object/nothing@1"], 3),
        (["promote", "digits", "2"], 2),
        (["promote", "digits", "7", "--to", "champion"], 3),
        (["promote", "nothing", "1", "--to", "champion"], 3),
        (["compare", "digits", "1", "7"], 3),
        (["archive", "nothing"], 3),
        (["archive", "digits", "7"], 3),
        (["history", "digits", "--alias", "nobody"], 3),
        (["history", "digits", "1", "--alias", "champion"], 6),
        (["nonsense"], 2),
    ],
)
def test_exit_codes(command: Command, url: str, arguments: list[str], code: int) -> None:
    """By the family of the error; nothing is changed."""
    said = command("models", *arguments, *(["-r", url] if arguments != ["nonsense"] else []))
    assert (said.code, said.out) == (code, ""), said.err
    models = ModelRegistry(Registry(url))
    assert [version.name for version in models.get_model_versions("digits")] == ["1", "2"]
    assert models.aliases("digits") == {"champion": "1"}


def test_what_an_id_names_is_shown(command: Command, url: str) -> None:
    """Of a model, a version with its artifacts, an artifact; and lineage calls them by their names."""
    models = ModelRegistry(Registry(url))
    version = models.resolve("digits", "1")
    artifact = models.artifacts_of(version)[0]
    for id_, of in (
        (version.registered_model_id, "model"),
        (version.id, "model_version"),
        (artifact.id, "model_artifact"),
    ):
        data = command("show", str(id_), "--json", "-r", url).data
        assert (data["of"], data["item"]["id"]) == (of, id_)
    assert "s3://b/1" in command("show", str(version.id), "-r", url).out
    tree = command("lineage", str(version.id), "-r", url).out
    for words in ("version '1' of model 'digits'", "model-artifact 'digits'", "metric 'accuracy'", "register model"):
        assert words in tree
    assert command("show", str(version.id)[:-1] + "0", "-r", url).code == 3
    assert command("lineage", "art_0" + "0" * 25, "-r", url).code == 3
    assert [type_of_id(text) for text in ("model_scores", "mv_", "run_x")] == [None, None, None]


def test_cells_of_models_have_readable_names(url: str) -> None:
    """Their own are addresses; of other cells the name is kept."""
    registry = Registry(url)
    found = {
        cell_name(registry, cell.type, cell.name)
        for type_ in ("model", "model_version", "model_artifact", "model_alias", "model_link")
        for cell in registry.catalog.cells(type_)
    }
    assert {"model 'digits'", "version '2' of model 'digits'", "alias 'champion' of model 'digits'",
            "metric 'accuracy'"} <= found  # fmt: skip
    assert cell_name(registry, "model", "unknown") == "model unknown"
    assert cell_name(registry, "document", "urn:1") == "document urn:1"


def test_a_graph_of_a_model_has_plain_nodes(command: Command, tmp_path: Path) -> None:
    """Mermaid takes no slash and no ``@`` in the name of a node; an object's id has both."""
    registry = Registry(tmp_path / "registry")
    version = ModelRegistry(registry).register("digits", model={"w": [1, 2]}).version
    graph = command("lineage", str(version.id), "--format", "mermaid", "-r", registry.url).out
    nodes = [line.split("(")[0].split("[")[0].split("-->")[0].strip() for line in graph.splitlines()[1:-1]]
    assert all(node.isidentifier() for node in nodes), nodes
    assert "models/digits/1@1" in graph
