"""What a decision published of models, in the words of those who tell of it; no server is needed to know that."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from prefect_registry.artifacts.models import LONGEST_CARD_CHARACTERS, MOST_ROWS, key_for, version_page
from prefect_registry.ledger import observers
from prefect_registry.ledger.dropping import Staged, drop
from prefect_registry.models import DataSet, Metric, ModelRegistry, ModelVersion, RegisteredModel, dataset_uri
from prefect_registry.models.published import PublishedModels
from prefect_registry.records.cells import CellGeneration
from prefect_registry.registry import Registry, Run
from prefect_registry.runs.publication import line, publication_of

URI = "s3://models/digits.onnx"


@pytest.fixture
def store() -> Registry:
    return Registry(f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def models(store: Registry) -> ModelRegistry:
    return ModelRegistry(store, author="ann")


def published(run: Run) -> PublishedModels:
    """What became visible of models by a run's decision."""
    decision = run.registry.ledger.store.decision(run.id)
    assert decision is not None
    return publication_of(run, decision).models


def log_line(run: Run) -> str:
    decision = run.registry.ledger.store.decision(run.id)
    assert decision is not None
    return line(publication_of(run, decision), 1.0)


def test_a_version_is_told_of_once_however_often_it_was_written(store: Registry, models: ModelRegistry) -> None:
    """Registered, updated, given a card and pointed at by one run: it is registered, and an alias points at it."""
    with store.run("train") as run:
        models.register_model("digits", URI, version="3")
        version = models.get_model_version("digits", "3")
        assert version is not None
        models.update(ModelVersion("3", id=version.id, description="better"))
        models.set_card("digits", "3", "# Digits")
        models.set_alias("digits", "champion", "3")
    told = published(run)
    [made], [moved] = told.versions, told.aliases
    assert (made.model, made.version, made.id, made.by) == ("digits", "3", version.id, "ann")
    assert (moved.model, moved.alias, moved.version, moved.version_id) == ("digits", "champion", "3", version.id)
    assert (moved.previous, told.states) == (None, [])
    said = log_line(run)
    assert "1 version(s) of models visible now: model digits version 3; " in said
    assert "Aliases moved: model digits champion -> 3. Look: ModelRegistry(Registry(" in said
    assert "resolve('digits', '3')" in said


def test_an_alias_is_told_of_by_where_it_was_and_where_it_is(store: Registry, models: ModelRegistry) -> None:
    """However often a run moves it; one that points where it did has not moved."""
    for version in "123":
        models.register_model("digits", URI, version=version, aliases=["champion", "stays"] if version == "1" else [])
    with store.run("promote") as run:
        for version in "23":
            models.set_alias("digits", "champion", version)
        models.set_alias("digits", "stays", "2")
        models.set_alias("digits", "stays", "1")
        models.set_alias("digits", "brief", "1")
        models.remove_alias("digits", "brief")
    assert [(a.alias, a.previous, a.version) for a in published(run).aliases] == [("champion", "1", "3")]
    with store.run("retire") as run:
        models.remove_alias("digits", "champion")
    assert [(a.alias, a.previous, a.version) for a in published(run).aliases] == [("champion", "3", None)]
    assert "no version of a model. Aliases moved: model digits champion -> removed." in log_line(run)


def test_states_are_told_of_by_what_they_are_in_the_end(store: Registry, models: ModelRegistry) -> None:
    """Archived and restored by one run is nothing; registered and archived by one run is both."""
    for version in "12":
        models.register_model("digits", URI, version=version)
    with store.run("clean") as run:
        models.archive("digits", "1")
        models.archive("digits", "2")
        models.restore("digits", "2")
        models.archive("digits")
        models.register_model("letters", URI, version="1")
        models.archive("letters", "1")
    told = published(run)
    assert [(s.kind, s.model, s.version, s.state) for s in told.states] == [
        ("model", "digits", None, "ARCHIVED"),
        ("version", "digits", "1", "ARCHIVED"),
        ("version", "letters", "1", "ARCHIVED"),
    ]
    assert [(v.model, v.version) for v in told.versions] == [("letters", "1")]
    assert "Archived: model digits, model digits version 1, model letters version 1." in log_line(run)
    with store.run("again") as run:
        models.restore("digits")
    assert [(s.version, s.state) for s in published(run).states] == [(None, "LIVE")]
    assert "Restored: model digits." in log_line(run)


def test_what_was_dropped_is_not_told_of(
    store: Registry, models: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registration that was taken back means nothing; one whose update was taken back is still one."""
    written: list[CellGeneration] = []
    monkeypatch.setattr(observers, "_cell_written", [lambda url, generation: written.append(generation)])

    def take_back(begun: int) -> None:
        for generation in reversed(written[begun:]):
            staged = Staged.of(generation)
            assert staged is not None
            assert drop(store.ledger, staged, "its task attempt failed")

    with store.run("train") as run:
        models.register_model("lost", URI, version="1", aliases=["champion"])
        take_back(0)
        models.register_model("kept", URI, version="1")
        begun = len(written)
        models.archive("kept", "1")
        models.set_alias("kept", "champion", "1")
        take_back(begun)
        models.register_model("again", URI, version="1")
        take_back(len(written) - 4)
        models.register_model("again", URI, version="1")
    told = published(run)
    assert [(v.model, v.version) for v in told.versions] == [("again", "1"), ("kept", "1")]
    assert (told.aliases, told.states) == ([], [])
    assert models.aliases("kept") == {}


def test_nothing_is_told_of_what_is_no_version(store: Registry, models: ModelRegistry) -> None:
    """A model by itself, an owner, an artifact: nobody is waiting for them."""
    with store.run("register") as run:
        made = models.models.upsert_registered_model(RegisteredModel("digits", owner="ann"))
        models.update(RegisteredModel("digits", id=made.id, description="of 8 by 8 pixels"))
        models.models.upsert_model_artifact(Metric("accuracy", value=0.9))
    assert not published(run)
    assert log_line(run).endswith("it published no dataset, no object and no version of a model.")


# -- the page of a version -------------------------------------------------------------------------------------------


def page_of(store: Registry, run: Run) -> str:
    [made] = published(run).versions
    return version_page(store, made)


def test_the_page_of_a_version_tells_what_it_is_and_how_to_load_it(store: Registry, models: ModelRegistry) -> None:
    """Facts, properties, artifacts, what it was made from, the card; and the code on it loads the model."""
    with store.run("prepare") as before, before.dataset("pixels") as data, data.open("a") as file:
        file.write(b"1")
    store.save("features", {"scaled": True})
    with store.run("train") as run:
        run.load("features")
        models.register_model(
            "digits", model={"depth": 3}, version="3", metadata={"accuracy": 0.9, "reviewed": True},
            version_description="Of 8 by 8 pixels", card="# Digits\n```\ncode\n```", aliases=["champion"],
            artifacts=[Metric("loss", value=0.25), DataSet("pixels", uri=dataset_uri(data.id))],
        )  # fmt: skip
    page = page_of(store, run)
    assert page.startswith("## digits: version 3\n\nOf 8 by 8 pixels\n")
    for row in (
        "| author | ann |",
        "| aliases | champion |",
        "| accuracy | 0\\.9 |",
        "| reviewed | True |",
        "| loss | metric | 0\\.25 |",
        "| digits | model\\-artifact | registry://object/models%2Fdigits%2F3@1 |",
    ):
        assert row in page, page
    sources = page.partition("### Made from")[2].partition("###")[0]
    escaped = data.id.replace("_", "\\_")
    assert sorted(sources.strip().split(", ")) == [f"dataset pixels ({escaped})", "object features@1"]
    assert "````markdown\n# Digits\n```\ncode\n```\n````" in page
    code = page.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["model"] == {"depth": 3}


def test_what_others_wrote_is_no_markup_on_the_page(store: Registry, models: ModelRegistry) -> None:
    """Names, properties and descriptions. Long ones are cut, and many of them counted."""
    with store.run("train") as run:
        models.register_model(
            "a|b <img src=x>", "s3://models/x", version="*1*", version_description="[x](javascript:alert)",
            metadata={"long": "x" * 2_000, "a|": "a\n| b |", **{f"p{n}": n for n in range(MOST_ROWS)}},
            card="x" * (LONGEST_CARD_CHARACTERS + 1), author="<script>",
        )  # fmt: skip
    page = page_of(store, run)
    assert page.startswith("## a\\|b \\<img src=x\\>: version \\*1\\*\n\n\\[x\\]\\(javascript:alert\\)\n")
    assert ("<script>" in page.replace("\\<script\\>", ""), "x" * 501 in page) == (False,) * 2
    assert "| a\\| | a \\| b \\| |" in page
    assert "And 2 more." in page
    assert f"It has {LONGEST_CARD_CHARACTERS + 1:,} characters" in page
    assert "models.get_model_artifact('a|b <img src=x>', '*1*')" in page


def test_pages_of_different_models_have_different_keys() -> None:
    """Also where none of the name's letters may stand in a key."""
    assert key_for("team/Digits v2") == "registry-model-team-digits-v2"
    assert key_for("模型") != key_for("模式")
