"""What cannot be meant: every field, wrong parents, missing ids, what never changes, wrong types. Each is told in a
clear error, with every problem of it, and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from model_support import URI, client, keys, opened, published, refused
from pydantic import ValidationError

from prefect_registry import Registry
from prefect_registry.errors import InvalidInput, MalformedId, NotFound, RegistryError
from prefect_registry.models.client import ModelRegistry
from prefect_registry.models.exceptions import TypeNotFound, UnsupportedType
from prefect_registry.models.lists import ModelLists
from prefect_registry.models.types import (
    DataSet,
    DocArtifact,
    ListOptions,
    Metric,
    ModelArtifact,
    ModelVersion,
    Parameter,
    RegisteredModel,
)
from prefect_registry.models.utils import dataset_uri, object_uri

CLASSES = [RegisteredModel, ModelVersion, ModelArtifact, DocArtifact, DataSet, Metric, Parameter]


@pytest.fixture
def registry() -> Registry:
    """One with a model, a version, two artifacts and an alias."""
    registry = opened()
    client(registry).register_model("HAL", URI, version="1", external_id="e", aliases=["champion"], card="# x")
    return registry


@pytest.mark.parametrize("cls", CLASSES)
def test_no_field_takes_what_it_cannot_be(cls: Any) -> None:
    """Each field by itself; what is no field at all is refused too. Assignments are checked as well."""
    made = cls("name")
    for field in [*cls.model_fields, "no_field"]:
        for wrong in (object(), [object()], {"a": object()}):
            with pytest.raises((ValidationError, TypeError), match=field):
                cls(**{"name": "name", field: wrong})
            with pytest.raises((ValidationError, ValueError)):
                setattr(made, field, wrong)
    assert made == cls("name")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": ""}, "name of the registered model is empty"),
        ({"name": None}, "name of the registered model"),
        ({"name": 5}, "name of the registered model"),
        ({"name": "a\nb"}, "control characters"),
        ({"name": "\ud800"}, "not valid Unicode"),
        ({"version": ""}, "version is empty"),
        ({"version": 1}, "name of the model version"),
        ({"version": "a\x00"}, "control characters"),
        ({"uri": 5}, "uri of the model artifact"),
        ({"uri": "registry://else/x"}, "names no object and no dataset"),
        ({"uri": "registry://dataset/x"}, "ds_"),
        ({"author": 5}, "author of the model version"),
        ({"owner": []}, "owner of the registered model"),
        ({"version_description": 5}, "description of the model version"),
        ({"description": "\udfff"}, "Unicode"),
        ({"metadata": [1]}, "custom_properties must be"),
        ({"metadata": "a=1"}, "custom_properties must be"),
        ({"metadata": {1: 1}}, "custom property 1"),
        ({"metadata": {"a": [1]}}, "custom property 'a'"),
        ({"external_id": 5}, "external_id of the model version"),
        ({"external_id": "\x07"}, "control characters"),
        ({"external_id": "x" * 2_001}, "2,001 characters"),
        ({"artifacts": DocArtifact("d")}, "artifacts must be a list|an artifact must be"),
        ({"artifacts": ["d"]}, "an artifact must be"),
        ({"artifacts": [RegisteredModel("m")]}, "an artifact must be"),
        ({"artifacts": [DocArtifact("")]}, "name of the doc-artifact is empty"),
        ({"artifacts": [DocArtifact("d", id="art_1")]}, "has an id"),
        ({"card": ""}, "model card"),
        ({"card": 5}, "model card"),
        ({"aliases": "champion"}, "aliases must be a list, not str"),
        ({"aliases": [""]}, "alias is empty"),
        ({"aliases": [5]}, "alias must be a string"),
        ({"aliases": ["latest"]}, "cannot be an alias"),
        ({"model": {"w": 1}}, "exclude each other"),
        ({"storage_key": 5}, "storage_key of the model artifact"),
        ({"version_description": "x" * 900_001}, "more than 900,000 bytes"),
        ({"run_id": "run_x"}, "run"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_wrong_arguments_of_a_registration(registry: Registry, wrong: dict[str, Any], said: str) -> None:
    """Each names the argument; no version, no artifact, no alias is there afterwards."""
    models = client(registry)
    with refused((InvalidInput, NotFound), registry, said):
        models.register_model(**{"name": "new", "uri": URI, "version": "2", "aliases": ["a"], **wrong})
    assert list(published(models)) == ["HAL"]


def test_every_problem_is_told_at_once(registry: Registry) -> None:
    with refused(InvalidInput, registry) as caught:
        client(registry).register_model(
            "new", URI, version=5, owner=5, metadata={"a": [], "b": None, "c": 1}, storage_key=5,  # type: ignore
        )  # fmt: skip
    told = " ".join(caught.value.problems)
    wrong = ("name of the model version", "owner", "custom property 'a'", "custom property 'b'", "storage_key")
    assert [name for name in wrong if name not in told] == []
    assert "'c'" not in told
    with refused(InvalidInput, registry) as caught:
        client(registry).register_model(
            "a\n", URI, version="b\n", aliases=["latest", ""], artifacts=[DocArtifact("c\n")]
        )
    told = " ".join(caught.value.problems)
    assert [
        name for name in ("registered model", "model version", "doc-artifact", "latest", "is empty") if name not in told
    ] == []


@pytest.mark.parametrize(
    "uri",
    [
        "s3://u:planted@bucket/x",
        "https://planted@host/x",
        "https://u:1/planted@host/x",
        "s3://bucket/x?token=planted",
        "https://account.blob.core.windows.net/x?sv=1&sig=planted",
        "registry://u:planted@host",
    ],
)
def test_a_uri_with_credentials_is_not_stored(registry: Registry, uri: str) -> None:
    """The error shows the rest of it."""
    models = client(registry)
    version = models.models.get_model_versions(str(models.get_registered_model("HAL").id))[0]  # type: ignore[union-attr]
    calls: list[Callable[[], Any]] = [
        lambda: models.register_model("BOB", uri, version="1"),
        lambda: models.register_model("BOB", URI, version="1", artifacts=[DataSet("data", uri=uri)]),
        lambda: models.models.upsert_model_version_artifact(ModelArtifact("x", storage_path=uri), str(version.id)),
        lambda: models.models.upsert_model_version_artifact(DataSet("x", source=uri), str(version.id)),
    ]
    before = keys(registry)
    for call in calls:
        with pytest.raises(InvalidInput, match="a password, a token or a signature") as caught:
            call()
        assert "planted" not in str(caught.value.as_dict())
    assert keys(registry) == before


def test_what_tells_of_a_model_needs_one(registry: Registry) -> None:
    """A forgotten uri is not a version that has lost its format."""
    with refused(InvalidInput, registry, "model_format_name.* uri or model is missing"):
        client(registry).register_model("HAL", version="2", model_format_name="onnx")


@pytest.mark.parametrize("card", ["x" * 10, "x" * 899_000])
def test_long_texts_that_fit(models: ModelRegistry, card: str) -> None:
    models.register_model("HAL", URI, version="2", card=card)
    assert models.card("HAL") == card


@dataclass
class On:
    """A registry, and the ids of what is in it."""

    lists: ModelLists
    model: str
    version: str
    artifact: str

    def __getattr__(self, name: str) -> Any:
        return getattr(self.lists, name)


def ids(lists: ModelLists) -> tuple[str, str, str]:
    model = lists.get_registered_model_by_params("HAL")
    assert model is not None
    version = lists.get_model_version_by_params(model.id, "1")
    assert version is not None
    artifact = lists.get_model_artifact_by_params("HAL", version.id)
    assert artifact is not None
    return str(model.id), str(version.id), str(artifact.id)


Wrong = Callable[["On"], Any]
WRONG: dict[str, tuple[type[Exception], str, Wrong]] = {
    "a dict as model": (UnsupportedType, "not a dict", lambda on: on.upsert_registered_model({"name": "x"})),
    "a version as model": (
        UnsupportedType,
        "RegisteredModel",
        lambda on: on.upsert_registered_model(ModelVersion("1")),
    ),
    "a model as version": (
        UnsupportedType,
        "ModelVersion",
        lambda on: on.upsert_model_version(RegisteredModel("m"), on.model),
    ),
    "None as artifact": (UnsupportedType, "NoneType", lambda on: on.upsert_model_artifact(None)),
    "a class": (UnsupportedType, "", lambda on: on.upsert_model_artifact(ModelArtifact)),
    "no parent": (
        InvalidInput,
        "registered_model_id is missing",
        lambda on: on.upsert_model_version(ModelVersion("2")),
    ),
    "a parent that is no id": (
        MalformedId,
        "registered model",
        lambda on: on.upsert_model_version(ModelVersion("2"), "HAL"),
    ),
    "a parent of another type": (
        MalformedId,
        "registered model",
        lambda on: on.upsert_model_version(ModelVersion("2"), on.version),
    ),
    "a parent that is absent": (
        NotFound,
        "no registered model",
        lambda on: on.upsert_model_version(ModelVersion("2"), absent(on.model)),
    ),
    "a model's id that is absent": (
        NotFound,
        "no registered model",
        lambda on: on.upsert_registered_model(RegisteredModel("HAL", id=absent(on.model))),
    ),
    "another time in the id": (
        NotFound,
        "no registered model",
        lambda on: on.upsert_registered_model(RegisteredModel("HAL", id=early(on.model))),
    ),
    "a version's id as a model's": (
        MalformedId,
        "registered model",
        lambda on: on.upsert_registered_model(RegisteredModel("HAL", id=on.version)),
    ),
    "a version's id that is absent": (
        NotFound,
        "no model version",
        lambda on: on.upsert_model_version(ModelVersion("1", id=absent(on.version))),
    ),
    "an artifact's id that is absent": (
        NotFound,
        "no artifact",
        lambda on: on.upsert_model_artifact(ModelArtifact("a", id=absent(on.artifact))),
    ),
    "linking an absent artifact": (
        NotFound,
        "no artifact",
        lambda on: on.upsert_model_version_artifact(ModelArtifact("a", id=absent(on.artifact)), on.version),
    ),
    "linking to a model": (
        MalformedId,
        "model version",
        lambda on: on.upsert_model_version_artifact(DocArtifact("d"), on.model),
    ),
    "a model's new name": (
        InvalidInput,
        "name is 'HAL' and never changes",
        lambda on: on.upsert_registered_model(RegisteredModel("BOB", id=on.model)),
    ),
    "a version's new name": (
        InvalidInput,
        "name is '1' and never changes",
        lambda on: on.upsert_model_version(ModelVersion("2", id=on.version)),
    ),
    "an artifact's new name": (
        InvalidInput,
        "name is 'HAL' and never changes",
        lambda on: on.upsert_model_artifact(ModelArtifact("b", id=on.artifact)),
    ),
    "another parent": (
        InvalidInput,
        "registered_model_id",
        lambda on: on.upsert_model_version(ModelVersion("1", id=on.version), absent(on.model)),
    ),
    "another parent in the version": (
        InvalidInput,
        "registered_model_id",
        lambda on: on.upsert_model_version(ModelVersion("1", id=on.version, registered_model_id=absent(on.model))),
    ),
    "another type": (
        InvalidInput,
        "artifact_type",
        lambda on: on.upsert_model_artifact(Metric("HAL", id=on.artifact, value=1.0)),
    ),
    "an update to no object": (
        NotFound,
        "no object",
        lambda on: on.upsert_model_artifact(ModelArtifact(id=on.artifact, uri=object_uri("no", "1"))),
    ),
    "an update to no dataset": (
        NotFound,
        "",
        lambda on: on.upsert_model_artifact(
            ModelArtifact(id=on.artifact, uri=dataset_uri("ds_" + "0" * 26 + "_" + "0" * 16))
        ),
    ),
    "an update with a bad external id": (
        InvalidInput,
        "external_id",
        lambda on: on.upsert_model_artifact(ModelArtifact(id=on.artifact, external_id="\n")),
    ),
    "an update that is too long": (
        InvalidInput,
        "900,000",
        lambda on: on.upsert_model_version(ModelVersion("1", id=on.version, description="x" * 900_001)),
    ),
    "a run that is not there": (
        RegistryError,
        "run",
        lambda on: on.upsert_registered_model(RegisteredModel("n"), run_id="run_" + "0" * 26),
    ),
    "a get of no id": (MalformedId, "registered model", lambda on: on.get_registered_model_by_id("HAL")),
    "a get of another kind of id": (
        MalformedId,
        "is not the id of a registered model, but of a model version",
        lambda on: on.get_registered_model_by_id(on.version),
    ),
    "a get of None": (MalformedId, "model version", lambda on: on.get_model_version_by_id(None)),
    "a get of an absent artifact": (
        NotFound,
        "no artifact",
        lambda on: on.get_model_artifact_by_id(absent(on.artifact)),
    ),
    "versions of no model": (NotFound, "", lambda on: on.get_model_versions(absent(on.model))),
    "artifacts of no version": (NotFound, "", lambda on: on.get_model_version_artifacts(absent(on.version))),
    "an unknown type of artifact": (
        TypeNotFound,
        "model-artifact",
        lambda on: on.get_artifacts(artifact_type="picture"),
    ),
    "options of another type": (InvalidInput, "ListOptions", lambda on: on.get_registered_models({"limit": 1})),
    "a foreign token": (
        InvalidInput,
        "next_page_token",
        lambda on: on.get_registered_models(ListOptions(next_page_token="x")),
    ),
    "a time without zone": (InvalidInput, "as_of", lambda on: on.get_registered_models(as_of=datetime(2026, 1, 1))),
}


def absent(id_: str) -> str:
    """An id of the same form that nobody has."""
    return id_[:-16] + "0" * 16


def early(id_: str) -> str:
    """The same address with another time: the id of something that was never registered."""
    return f"{id_[:-26]}{'0' * 10}{id_[-16:]}"


NO_IDS = ["", "nonsense", "x", "model_" + "!" * 26, "model_" + "8" + "0" * 25, "model_" + "u" * 26, "model_", 5]


@pytest.mark.parametrize("id_", NO_IDS)
def test_a_get_by_params_gives_none_for_what_is_no_id(lists: ModelLists, id_: Any) -> None:
    """Whatever it looks like: nothing can be below it."""
    assert lists.get_model_version_by_params(id_, "1") is None
    assert lists.get_model_artifact_by_params("HAL", str(id_).replace("model_", "mv_")) is None


@pytest.mark.parametrize("case", WRONG)
def test_wrong_upserts_and_gets(registry: Registry, case: str) -> None:
    expected, said, call = WRONG[case]
    lists = client(registry).models
    on = On(lists, *ids(lists))
    with refused(expected, registry, said or None):
        call(on)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.set_alias("HAL", "a", "2"),
        lambda m: m.set_alias("BOB", "a", "1"),
        lambda m: m.set_alias("HAL", "", "1"),
        lambda m: m.remove_alias("HAL", "a"),
        lambda m: m.archive("HAL", "2"),
        lambda m: m.restore("BOB"),
        lambda m: m.set_card("HAL", "2", "# x"),
        lambda m: m.card("BOB"),
        lambda m: m.history("HAL", "2"),
        lambda m: m.compare("HAL", "1", "2"),
        lambda m: m.load("BOB"),
        lambda m: m.resolve("HAL", "1", as_of=datetime.fromisoformat("2020-01-01T00:00:00+00:00")),
        lambda m: m.aliases("BOB"),
        lambda m: m.alias_history("BOB", "a"),
        lambda m: m.set_alias(5, "a", "1"),
        lambda m: m.resolve("HAL", 1),
    ],
)
def test_wrong_names_of_models_versions_and_aliases(registry: Registry, call: Callable[[ModelRegistry], Any]) -> None:
    with refused((InvalidInput, NotFound, TypeError), registry):
        call(client(registry))


def test_reading_writes_nothing(registry: Registry) -> None:
    """Gets, lists, histories and comparisons leave the store as it is."""
    models, before = client(registry), keys(registry)
    published(models)
    models.history("HAL")
    models.compare("HAL", "1", "champion")
    models.models.get_artifacts()
    assert keys(registry) == before
