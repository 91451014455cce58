"""The cases of reference system 4 that belong to the core, by their ids (MR-..), and what we promise beyond them."""

from __future__ import annotations

from typing import Any

import pytest
from model_support import URI, assert_whole, client, opened, published, refused

from prefect_registry import Registry
from prefect_registry.errors import AlreadyExists, InvalidInput, NotFound
from prefect_registry.models.client import ModelRegistry
from prefect_registry.models.exceptions import DuplicateError, ModelNotFound, StoreError, UnsupportedType
from prefect_registry.models.lists import ModelLists
from prefect_registry.models.types import (
    UNSET,
    Artifact,
    DataSet,
    DocArtifact,
    ListOptions,
    Metric,
    ModelArtifact,
    ModelVersion,
    Pager,
    Parameter,
    RegisteredModel,
)
from prefect_registry.models.utils import object_uri, reference_of, s3_parts_of, s3_uri_from

ONNX = {"model_format_name": "onnx", "model_format_version": "1"}


def test_MR_01_register_a_model_a_version_and_an_artifact(models: ModelRegistry) -> None:
    """Three things by one call; names, links between them, and what was said of each, as the store gives it back."""
    metadata = {"accuracy": 0.9, "layers": 12, "quantized": True, "dataset": "mnist"}
    model = models.register_model(
        "HAL", URI, version="9000", **ONNX, storage_key="key", storage_path="path", service_account_name="account",
        model_source_kind="kind", model_source_class="class", model_source_group="group", model_source_id="id",
        model_source_name="source", author="Tom", owner="team", version_description="the best", metadata=metadata,
        external_id="HAL-9000",
    )  # fmt: skip
    version, artifact = models.get_model_version("HAL", "9000"), models.get_model_artifact("HAL", "9000")
    assert models.get_registered_model("HAL") == model
    assert (model.name, model.owner, model.description) == ("HAL", "team", None)
    assert version is not None
    assert (version.name, version.author, version.registered_model_id) == ("9000", "Tom", model.id)
    assert (version.description, version.external_id) == ("the best", "HAL-9000")
    assert version.custom_properties == metadata
    assert artifact is not None
    told = artifact.model_dump(exclude_none=True, exclude={"id", "create_time_since_epoch", "state"})
    assert told == {
        "name": "HAL", "uri": URI, **ONNX, "storage_key": "key", "storage_path": "path",
        "service_account_name": "account", "model_source_kind": "kind", "model_source_class": "class",
        "model_source_group": "group", "model_source_id": "id", "model_source_name": "source",
        "last_update_time_since_epoch": artifact.create_time_since_epoch,
    }  # fmt: skip


def test_MR_02_a_uri_of_s3_round_trips(models: ModelRegistry) -> None:
    uri = s3_uri_from("storage/path", "my-bucket", endpoint="my-endpoint", region="my-region")
    models.register_model("HAL", uri, version="1", **ONNX)
    artifact = models.get_model_artifact("HAL", "1")
    assert artifact is not None
    assert s3_parts_of(str(artifact.uri)) == ("my-bucket", "storage/path", "my-endpoint", "my-region")


def test_MR_03_a_version_is_registered_once(registry: Registry, models: ModelRegistry) -> None:
    """The second attempt says so, and writes nothing; the first artifact is as it was."""
    models.register_model("HAL", URI, version="1", **ONNX)
    before = models.get_model_artifact("HAL", "1")
    with refused(DuplicateError, registry, "Version '1' of model 'HAL' already exists"):
        models.register_model("HAL", "s3://other", version="1", **ONNX)
    assert models.get_model_artifact("HAL", "1") == before


def test_MR_04_one_version_name_under_two_models(models: ModelRegistry) -> None:
    for name in ("HAL", "BOB"):
        models.register_model(name, f"s3://{name}", version="1")
    found = [models.get_model_artifact(name, "1") for name in ("HAL", "BOB")]
    assert [a.uri for a in found if a is not None] == ["s3://HAL", "s3://BOB"]


NAMES = [
    "model:latest", "v" * 250, "ü" * 250, "🙂" * 250, "模型", "ЦЕНА", "a b", " a ", "a/b", "..", ".", "../../etc",
    "CON", "a@b", "50%", "%2F", "x?y#z", "'quoted' \"twice\"", "a\u3000", "\u202e reversed", "-", "é", "e\u0301",
    "1", "A",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_MR_05_06_07_names(models: ModelRegistry, name: str) -> None:
    """Any text of up to 250 characters names models, versions, artifacts, aliases and external ids; also one whose
    model is kept in this registry.
    """
    lists = models.models
    models.register_model(name, URI, version=name, external_id=name, aliases=[f"{name[:249]}!"])
    version = models.get_model_version(name, name)
    assert version is not None
    assert lists.get_model_version_by_params(external_id=name) == version
    assert models.resolve(name, f"{name[:249]}!") == version
    assert lists.get_model_artifact_by_params(name, version.id) == models.get_model_artifact(name, name)
    models.register_model(f"+{name[:249]}", version=name, model={"kept": name})
    assert models.load(f"+{name[:249]}", name) == {"kept": name}
    assert published(models)[name] == {name: [("model-artifact", name)]}


def test_MR_07_names_that_look_alike_are_different(models: ModelRegistry) -> None:
    """Upper case, composed letters and slashes count; also for what is kept in this registry."""
    pairs = [("a", "b/c"), ("a/b", "c"), ("A", "b/c"), ("é", "1"), ("e\u0301", "1"), ("a%2Fb", "c"), ("a", "x"),
             ("a", "x "), ("a", "x\u3000")]  # fmt: skip
    for name, version in pairs:
        models.register_model(name, version=version, model=[name, version])
    assert [models.load(name, version) for name, version in pairs] == [list(pair) for pair in pairs]


def test_MR_06_names_have_at_most_250_characters(registry: Registry, models: ModelRegistry) -> None:
    for arguments in ({"name": "x" * 251, "version": "1"}, {"name": "x", "version": "x" * 251}):
        with refused(InvalidInput, registry, "251 characters; at most 250"):
            models.register_model(**arguments, uri=URI)
    with refused(InvalidInput, registry, "251 characters"):
        models.register_model("x", URI, version="1", aliases=["a" * 251])


def test_MR_09_an_update_with_some_fields_keeps_the_others(models: ModelRegistry) -> None:
    """An object with id, uri and description alone changes those two."""
    models.register_model("HAL", URI, version="1", **ONNX, storage_key="key")
    before = models.get_model_artifact("HAL", "1")
    assert before is not None
    models.update(ModelArtifact(id=before.id, uri="s3://new", description="moved"))
    after = models.get_model_artifact("HAL", "1")
    assert after is not None
    changed = {"uri": "s3://new", "description": "moved"}
    assert after.model_copy(update={"last_update_time_since_epoch": None}) == before.model_copy(
        update={**changed, "last_update_time_since_epoch": None}
    )
    assert int(str(after.last_update_time_since_epoch)) >= int(str(before.last_update_time_since_epoch))


RESOURCES = [RegisteredModel("m"), ModelVersion("1"), ModelArtifact("a", uri="u"), DocArtifact("d"), DataSet("s"),
             Metric("n", value=1.0), Parameter("p", value="1")]  # fmt: skip


def registered(lists: ModelLists, resource: Any, **fields: Any) -> Any:
    """A resource of that kind with more fields, registered."""
    wanted = resource.model_copy(update=fields)
    if isinstance(wanted, RegisteredModel):
        return lists.upsert_registered_model(wanted)
    model = lists.get_registered_model_by_params("parent") or lists.upsert_registered_model(RegisteredModel("parent"))
    if isinstance(wanted, ModelVersion):
        return lists.upsert_model_version(wanted, model.id)
    return lists.upsert_model_artifact(wanted)


def updated(lists: ModelLists, resource: Any) -> Any:
    if isinstance(resource, RegisteredModel):
        return lists.upsert_registered_model(resource)
    return (
        lists.upsert_model_version(resource)
        if isinstance(resource, ModelVersion)
        else lists.upsert_model_artifact(resource)
    )


def got(lists: ModelLists, resource: Any) -> Any:
    if isinstance(resource, RegisteredModel):
        return lists.get_registered_model_by_id(str(resource.id))
    if isinstance(resource, ModelVersion):
        return lists.get_model_version_by_id(str(resource.id))
    return lists.get_model_artifact_by_id(str(resource.id))


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: type(r).__name__)
def test_MR_10_11_what_clears_and_what_keeps(lists: ModelLists, resource: Any) -> None:
    """None keeps, "" is an empty text, UNSET clears; properties are kept, replaced as a whole, or cleared."""
    made = registered(lists, resource, description="d", external_id="e", custom_properties={"a": 1, "b": ""})
    empty = {"description": None, "external_id": None, "custom_properties": None}
    same = updated(lists, made.model_copy(update=empty))
    assert (same.description, same.external_id, same.custom_properties) == ("d", "e", {"a": 1, "b": ""})
    assert same == made, "nothing changed, and nothing was written"
    assert updated(lists, made.model_copy(update={"description": ""})).description == ""
    assert updated(lists, made.model_copy(update={"description": UNSET})).description is None
    assert updated(lists, made.model_copy(update={"custom_properties": {"c": 2.5}})).custom_properties == {"c": 2.5}
    assert updated(lists, made.model_copy(update={"custom_properties": {}})).custom_properties is None
    updated(lists, made.model_copy(update={"custom_properties": {"d": "x"}}))
    assert updated(lists, made.model_copy(update={**empty, "custom_properties": UNSET})).custom_properties is None
    for nothing in ("", UNSET):
        assert updated(lists, made.model_copy(update={"external_id": "e"})).external_id == "e"
        assert updated(lists, made.model_copy(update={"external_id": nothing})).external_id is None
    assert got(lists, made).external_id is None
    other = registered(lists, resource, name="other", external_id="e")
    assert other.external_id == "e", "a name that was given up is free"


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: type(r).__name__)
def test_MR_12_labels(lists: ModelLists, resource: Any) -> None:
    labels = {"my-label1": "", "my-label2": ""}
    made = registered(lists, resource, custom_properties=labels)
    assert got(lists, made).custom_properties == labels


VALUES = [1, 2_000_000_000, 2**40, -(2**63), 2**63 - 1, 0, 1.0, 0.1, -0.0, 1e308, 5e-324, True, False, "2", "", "ü🙂",
          "x" * 10_000, 123456789012345678]  # fmt: skip


def test_MR_13_types_of_metadata_are_kept(models: ModelRegistry) -> None:
    """An int stays an int of up to 64 bits, a bool is no int, a float is none; from the store and from lists."""
    metadata: dict[str, Any] = {f"v{n}": value for n, value in enumerate(VALUES)} | {"ключ ": 1, "a.b": 2, "": 3}
    models.register_model("HAL", URI, version="1", metadata=metadata)
    version = models.get_model_version("HAL", "1")
    assert version is not None
    (listed,) = models.get_model_versions("HAL")
    for found in (version.custom_properties, listed.custom_properties):
        assert isinstance(found, dict)
        assert [(key, type(value), repr(value)) for key, value in sorted(found.items())] == [
            (key, type(value), repr(value)) for key, value in sorted(metadata.items())
        ]


@pytest.mark.parametrize(("before", "after"), [(1, 1.0), (1.0, 1), (1, True), (True, 1), (0.0, False), (0.0, -0.0)])
def test_MR_13_a_value_that_changes_only_its_type_changes(models: ModelRegistry, before: Any, after: Any) -> None:
    models.register_model("HAL", URI, version="1", metadata={"v": before})
    version = models.get_model_version("HAL", "1")
    assert version is not None
    models.update(version.model_copy(update={"custom_properties": {"v": after}}))
    found = models.get_model_version("HAL", "1")
    assert found is not None
    assert repr(found.custom_properties) == repr({"v": after})


@pytest.mark.parametrize("value", [[1], {"a": 1}, None, 2**63, -(2**63) - 1, float("nan"), float("inf"), b"x", (1,)])
def test_MR_13_what_is_no_property_is_refused(registry: Registry, models: ModelRegistry, value: Any) -> None:
    with refused(InvalidInput, registry, "custom property 'bad'"):
        models.register_model("HAL", URI, version="1", metadata={"good": 1, "bad": value})


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: type(r).__name__)
def test_MR_14_an_upsert_creates_and_updates(lists: ModelLists, resource: Any) -> None:
    """What it returns equals what is got by its id, each time."""
    made = registered(lists, resource)
    assert made.id
    assert got(lists, made) == made
    changed = updated(lists, made.model_copy(update={"description": "new"}))
    assert changed.id == made.id
    assert got(lists, made) == changed != made


def test_MR_15_a_new_version_needs_its_model(registry: Registry, lists: ModelLists) -> None:
    with refused(ValueError, registry, "registered_model_id is missing"):
        lists.upsert_model_version(ModelVersion("1"))
    model = lists.upsert_registered_model(RegisteredModel("m"))
    assert lists.upsert_model_version(ModelVersion("1", registered_model_id=model.id)).registered_model_id == model.id


def test_MR_16_gets_by_parameters(lists: ModelLists) -> None:
    """By name, by external id, by parent and name; None for what is not there; any other combination is told."""
    model = lists.upsert_registered_model(RegisteredModel("m", external_id="em"))
    version = lists.upsert_model_version(ModelVersion("1", external_id="ev"), model.id)
    artifact = lists.upsert_model_artifact(ModelArtifact("a", uri="u", external_id="ea"), version.id)
    assert lists.get_registered_model_by_params("m") == lists.get_registered_model_by_params(external_id="em") == model
    versions = [
        lists.get_model_version_by_params(model.id, "1"),
        lists.get_model_version_by_params(model.id, version="1"),
        lists.get_model_version_by_params(external_id="ev"),
    ]
    assert versions == [version] * 3
    assert lists.get_model_artifact_by_params("a", version.id) == artifact
    assert lists.get_model_artifact_by_params(external_id="ea") == artifact
    # One namespace for models and versions, and each call returns its own type.
    for absent in (
        lists.get_registered_model_by_params("x"),
        lists.get_registered_model_by_params(external_id="ev"),
        lists.get_registered_model_by_params(external_id="ea"),
        lists.get_model_version_by_params(model.id, "2"),
        lists.get_model_version_by_params("no id", "1"),
        lists.get_model_version_by_params(external_id="em"),
        lists.get_model_artifact_by_params("x", version.id),
        lists.get_model_artifact_by_params("a", "no id"),
        lists.get_model_artifact_by_params(external_id="em"),
    ):
        assert absent is None
    wrong: list[tuple[Any, dict[str, Any]]] = [
        (lists.get_registered_model_by_params, {}),
        (lists.get_registered_model_by_params, {"name": "m", "external_id": "em"}),
        (lists.get_model_version_by_params, {"name": "1"}),
        (lists.get_model_version_by_params, {"registered_model_id": model.id}),
        (lists.get_model_version_by_params, {"registered_model_id": model.id, "name": "1", "version": "1"}),
        (lists.get_model_version_by_params, {"name": "1", "external_id": "ev"}),
        (lists.get_model_artifact_by_params, {"name": "a"}),
        (lists.get_model_artifact_by_params, {"model_version_id": version.id}),
        (lists.get_model_artifact_by_params, {"name": "a", "external_id": "ea"}),
    ]
    for call, arguments in wrong:
        with pytest.raises(TypeError, match=f"{call.__name__} takes .*external_id=") as caught:
            call(**arguments)
        assert all(name in str(caught.value) for name in arguments)


def test_MR_18_an_artifact_without_a_name(lists: ModelLists) -> None:
    """It is given one; linked to a version later it keeps its id, and can belong to several."""
    made = lists.upsert_model_artifact(ModelArtifact(uri="u"))
    assert made.name
    model = lists.upsert_registered_model(RegisteredModel("m"))
    versions = [lists.upsert_model_version(ModelVersion(name), model.id) for name in ("1", "2")]
    assert lists.get_model_version_artifacts(str(versions[0].id)) == []
    for version in versions:
        linked = lists.upsert_model_version_artifact(made, str(version.id))
        assert linked.id == made.id
        assert lists.get_model_version_artifacts(str(version.id)) == [linked]
    assert lists.upsert_model_version_artifact(linked, str(versions[0].id)) == linked, "linking again is nothing new"


def test_linking_and_changing_is_one_decision(registry: Registry, lists: ModelLists) -> None:
    """When the version has another artifact of that name, the artifact stays as it was."""
    model = lists.upsert_registered_model(RegisteredModel("m"))
    version = lists.upsert_model_version(ModelVersion("1"), model.id)
    lists.upsert_model_artifact(ModelArtifact("a", uri="u"), version.id)
    loose = lists.upsert_model_artifact(ModelArtifact("a", uri="loose"))
    for run in (None, registry.insert_run("work")):
        with pytest.raises(DuplicateError, match="Model-artifact 'a' of version '1' of model 'm' already exists"):
            lists.upsert_model_version_artifact(
                loose.model_copy(update={"uri": "changed"}), str(version.id), run_id=run
            )
        assert lists.get_model_artifact_by_id(str(loose.id), run_id=run) == loose
    linked = lists.upsert_model_version_artifact(DocArtifact("a", uri="changed"), str(version.id))
    assert linked.name == "a", "another type may have the name"


def test_MR_19_alternating_types_through_a_pager(lists: ModelLists) -> None:
    model = lists.upsert_registered_model(RegisteredModel("m"))
    version = lists.upsert_model_version(ModelVersion("1"), model.id)
    for n in range(3):
        lists.upsert_model_version_artifact(DocArtifact(f"d{n}", uri="u"), str(version.id))
        lists.upsert_model_version_artifact(ModelArtifact(f"m{n}", uri="u"), str(version.id))
    pager = Pager(lambda o: lists.get_model_version_artifacts(str(version.id), o)).page_size(5)
    found = sorted((a.name or "", type(a)) for a in pager)
    assert found == [(f"{c}{n}", t) for c, t in (("d", DocArtifact), ("m", ModelArtifact)) for n in range(3)]
    assert len(lists.get_model_artifacts(version.id, ListOptions(limit=3))) == 3, "a full page of trained models"


def test_MR_28_29_owner_and_author(registry: Registry) -> None:
    """An explicit owner is stored, the author is the default, and registering again changes nothing of the model."""
    models = client(registry, "ann")
    assert models.register_model("a", URI, version="1", owner="team").owner == "team"
    assert models.register_model("b", URI, version="1").owner == "ann"
    assert models.register_model("c", URI, version="1", author="bob").owner == "bob"
    assert models.register_model("a", URI, version="2", owner="thief", author="bob").owner == "team"
    found = [models.get_model_version("a", version) for version in ("1", "2")]
    assert [v.author for v in found if v is not None] == ["ann", "bob"]


def test_MR_31_an_artifact_never_changes_its_type(registry: Registry, lists: ModelLists) -> None:
    made = lists.upsert_model_artifact(ModelArtifact("a", uri="u"))
    with refused(InvalidInput, registry, "'model-artifact' and never changes.*'doc-artifact'"):
        lists.upsert_model_artifact(DocArtifact("a", id=made.id, uri="u"))


def test_MR_32_linking_to_a_version_that_is_not_there(registry: Registry, lists: ModelLists) -> None:
    model = lists.upsert_registered_model(RegisteredModel("m"))
    version = lists.upsert_model_version(ModelVersion("1"), model.id)
    absent = str(version.id)[:-16] + "0" * 16
    for missing in (absent, "nonsense", str(model.id)):
        with refused(NotFound, registry):
            lists.upsert_model_version_artifact(DocArtifact("d"), missing)


def test_latest_is_the_last_version_that_is_not_archived(models: ModelRegistry) -> None:
    """Then too; and none when all are archived."""
    for version in ("1", "2"):
        models.register_model("HAL", model=[version], version=version)
    before = models.models.now()
    models.archive("HAL", "2")
    assert (models.resolve("HAL").name, models.load("HAL")) == ("1", ["1"])
    assert models.resolve("HAL", as_of=before).name == "2"
    models.archive("HAL", "1")
    with pytest.raises(ModelNotFound, match="latest"):
        models.resolve("HAL")
    models.restore("HAL", "2")
    assert models.resolve("HAL").name == "2"


def test_MR_35_archiving(models: ModelRegistry) -> None:
    """What is archived is left out of lists, can be got, resolved and loaded, and comes back."""
    models.register_model("HAL", model=[1], version="1")
    models.register_model("HAL", model=[2], version="2")
    assert str(models.archive("HAL", "1", reason="old").state) == "ARCHIVED"
    assert [v.name for v in models.get_model_versions("HAL")] == ["2"]
    assert [v.name for v in models.get_model_versions("HAL", states=["ARCHIVED"])] == ["1"]
    archived = models.get_model_version("HAL", "1")
    assert archived is not None
    assert (str(archived.state), models.load("HAL", "1")) == ("ARCHIVED", [1])
    with pytest.raises(DuplicateError):
        models.register_model("HAL", URI, version="1")
    models.restore("HAL", "1")
    assert sorted(v.name for v in models.get_model_versions("HAL")) == ["1", "2"]
    models.archive("HAL")
    assert list(models.get_registered_models()) == []
    assert models.get_registered_model("HAL") is not None
    models.update(RegisteredModel("HAL", id=models.restore("HAL").id, state="ARCHIVED"))
    assert [m.name for m in models.get_registered_models(states=["ARCHIVED"])] == ["HAL"]
    assert [(e.reason, [d.field for d in e.changes]) for e in models.history("HAL", "1")] == [
        (None, []), ("old", ["state"]), (None, ["state"]),
    ]  # fmt: skip


# -- beyond ----------------------------------------------------------------------------------------------------------


def test_uniqueness_of_names_and_external_ids(registry: Registry, lists: ModelLists) -> None:
    """Models and versions share one namespace of external ids, artifacts have another; the refusal names what is taken,
    and nothing is left of what was refused.
    """
    model = lists.upsert_registered_model(RegisteredModel("m", external_id="e"))
    version = lists.upsert_model_version(ModelVersion("1", external_id="v"), model.id)
    artifact = lists.upsert_model_artifact(ModelArtifact("a", uri="u", external_id="e"), version.id)
    assert artifact.external_id == "e"
    wrong: list[tuple[Any, str]] = [
        (lambda: lists.upsert_registered_model(RegisteredModel("m")), "Model 'm' already exists"),
        (
            lambda: lists.upsert_registered_model(RegisteredModel("n", external_id="v")),
            "'v' of another model or version",
        ),
        (lambda: lists.upsert_model_version(ModelVersion("1"), model.id), "Version '1' of model 'm' already exists"),
        (lambda: lists.upsert_model_version(ModelVersion("2", external_id="e"), model.id), "'e' of another model"),
        (lambda: lists.upsert_model_artifact(DocArtifact("d", external_id="e")), "'e' of another artifact"),
        (lambda: lists.upsert_model_artifact(ModelArtifact("a", uri="x"), version.id), "Model-artifact 'a' of version"),
        (lambda: lists.upsert_model_version(version.model_copy(update={"external_id": "e"})), "'e' of another model"),
    ]
    for call, said in wrong:
        with pytest.raises(DuplicateError, match=said) as caught:
            call()
        assert caught.value.committed == "no"
        assert isinstance(caught.value, AlreadyExists)
    assert lists.get_registered_models() == [model]
    assert lists.get_model_versions(str(model.id)) == [version]
    assert lists.get_artifacts() == [artifact]
    assert lists.upsert_registered_model(RegisteredModel("n")).name == "n", "the name is free"
    assert_whole(registry)


def test_an_external_id_that_is_given_up_is_free_and_one_that_is_taken_is_not(lists: ModelLists) -> None:
    """It moves from one to another by two decisions, and never names two things."""
    first = lists.upsert_registered_model(RegisteredModel("a", external_id="e"))
    second = lists.upsert_registered_model(RegisteredModel("b"))
    with pytest.raises(DuplicateError):
        lists.upsert_registered_model(second.model_copy(update={"external_id": "e"}))
    lists.upsert_registered_model(first.model_copy(update={"external_id": "f"}))
    moved = lists.upsert_registered_model(second.model_copy(update={"external_id": "e"}))
    assert lists.get_registered_model_by_params(external_id="e") == moved
    found = lists.get_registered_model_by_params(external_id="f")
    assert found is not None
    assert found.id == first.id
    assert lists.upsert_registered_model(moved) == moved, "its own is no duplicate"


def test_versions_without_a_name_are_numbered(models: ModelRegistry) -> None:
    """The next number behind the highest that is there, whoever registered it."""
    names = []
    for version in (None, None, "7", "v9", None, "latest build", None):
        made = models.register("HAL", URI, version=version)
        names.append(made.version.name)
    assert names == ["1", "2", "7", "v9", "8", "latest build", "9"]
    other = client(opened(models.models.registry.url))
    assert other.register("HAL", URI).version.name == "10"


def test_several_artifacts_a_card_and_aliases_by_one_call(registry: Registry, models: ModelRegistry) -> None:
    artifacts = [
        DocArtifact("README", uri="https://x/README.md"),
        DataSet("train", uri="s3://x/train", digest="d", source_type="s3", source="s", schema="{}", profile="p"),
        Metric("acc", value=0.9, timestamp="1725524276692", step=3),
        Parameter("lr", value="0.1", parameter_type="number"),
    ]
    made = models.register(
        "HAL", URI, version="1", artifacts=artifacts, card="# HAL", aliases=["champion", "champion", "staging"]
    )
    assert [a.name for a in made.artifacts] == ["HAL", "README", "train", "acc", "lr", "model-card"]
    assert models.artifacts_of(made.version) == made.artifacts
    kept = ("name", "uri", "digest", "source_type", "source", "schema", "profile", "value", "timestamp", "step",
            "parameter_type")  # fmt: skip
    for given, found in zip(artifacts, made.artifacts[1:5], strict=True):
        assert type(found) is type(given)
        assert {k: getattr(found, k, None) for k in kept} == {k: getattr(given, k, None) for k in kept}
    assert models.aliases("HAL") == {"champion": "1", "staging": "1"}
    assert models.card("HAL") == "# HAL"
    runs = [run for run in registry.runs() if run.state == "COMMITTED"]
    assert len(runs) == 1, "one decision"


def test_what_fails_at_the_end_of_a_registration_leaves_nothing(registry: Registry, models: ModelRegistry) -> None:
    """A taken external id of an artifact, two artifacts of one name: neither model, version nor alias is there."""
    models.models.upsert_model_artifact(DocArtifact("d", external_id="taken"))
    wrong = [[DocArtifact("x", external_id="taken")], [DocArtifact("same"), DocArtifact("same")]]
    for artifacts in wrong:
        with pytest.raises(DuplicateError):
            models.register_model(
                "HAL", model=b"x" * 20_000, version="1", artifacts=artifacts, aliases=["a"], card="# x"
            )
        assert published(models) == {}
        assert registry.list_objects() == []
        assert models.get_registered_model("HAL") is None
    registry.collect(dry_run=False)
    assert list(registry.storage.list("data/")) == []
    models.register_model("HAL", model=b"x" * 20_000, version="1", aliases=["a"], card="# x")
    assert models.load("HAL", "a") == b"x" * 20_000
    assert_whole(registry)


def test_aliases_move_atomically_and_keep_their_history(registry: Registry, models: ModelRegistry) -> None:
    """Each move says from where, to where, by whom, why; a removed alias can be set again."""
    for version in ("1", "2"):
        models.register_model("HAL", URI, version=version)
    assert models.set_alias("HAL", "champion", "1", reason="first") is None
    assert client(registry, "ann").set_alias("HAL", "champion", "2", reason="better") == "1"
    assert models.set_alias("HAL", "champion", "2") == "2", "nothing to do"
    models.set_alias("HAL", "shadow", "champion")
    assert models.aliases("HAL") == {"champion": "2", "shadow": "2"}
    assert models.resolve("HAL", "champion").name == models.resolve("HAL").name == "2"
    models.remove_alias("HAL", "champion", reason="gone")
    with pytest.raises(ModelNotFound):
        models.resolve("HAL", "champion")
    with pytest.raises(ModelNotFound):
        models.remove_alias("HAL", "champion")
    models.set_alias("HAL", "champion", "1")
    moves = [(m.version, m.by, m.reason) for m in models.alias_history("HAL", "champion")]
    assert moves == [("1", "me", "first"), ("2", "ann", "better"), (None, "me", "gone"), ("1", "me", None)]
    with refused(InvalidInput, registry, "registered last"):
        models.set_alias("HAL", "Latest", "1")
    with refused(NotFound, registry):
        models.set_alias("HAL", "x", "3")


def test_history_and_the_past(models: ModelRegistry) -> None:
    """Who, when, what, why; and each state as it was then."""
    models.register_model("HAL", URI, version="1", metadata={"a": 1}, reason="new", external_id="e", card="# one")
    other = client(models.models.registry, "ann")
    version = other.get_model_version("HAL", "1")
    assert version is not None
    other.update(
        version.model_copy(update={"description": "d", "custom_properties": {"a": 2, "b": True}, "external_id": "f"}),
        reason="tuned",
    )
    models.update(ModelVersion("1", id=version.id, custom_properties={}))
    models.set_card("HAL", "1", "# two", reason="typo")
    entries = models.history("HAL", "1")
    assert [(e.by, e.reason) for e in entries] == [("me", "new"), ("ann", "tuned"), ("me", None)]
    assert [[(c.field, c.before, c.after) for c in e.changes] for e in entries] == [
        [],
        [("custom_properties.a", 1, 2), ("custom_properties.b", None, True), ("description", None, "d"),
         ("external_id", "e", "f")],
        [("custom_properties.a", 2, None), ("custom_properties.b", True, None)],
    ]  # fmt: skip
    assert [e.at for e in entries] == sorted(e.at for e in entries)
    lists = models.models
    # A version that is a member of a run is visible since that run's decision: a little after its own time.
    since = [g.visible_at for g in generations(lists, str(version.id))]
    told = [lists.get_model_version_by_id(str(version.id), as_of=at) for at in since]
    assert [v.custom_properties for v in told] == [{"a": 1}, {"a": 2, "b": True}, None]
    assert [v.external_id for v in told] == ["e", "f", "f"]
    assert told == [e.resource for e in entries]
    then = {"external_id": "e", "as_of": since[0]}
    assert lists.get_model_version_by_params(**then) == told[0]
    assert lists.get_model_version_by_params(external_id="e") is None
    assert lists.get_model_version_by_params(external_id="f", as_of=since[0]) is None
    assert lists.get_model_versions(str(version.registered_model_id), as_of=since[0]) == [told[0]]
    card = lists.get_model_artifact_by_params("model-card", version.id, as_of=since[0])
    assert isinstance(card, DocArtifact)
    assert card.text == "# one"
    assert [a.name for a in models.artifacts_of(version, as_of=since[0])] == ["HAL", "model-card"]
    with pytest.raises(ModelNotFound):
        lists.get_model_version_by_id(str(version.id), as_of=entries[0].at.replace(year=2020))


class Since:
    def __init__(self, at: Any) -> None:
        self.visible_at = at


def generations(lists: ModelLists, id_: str) -> list[Since]:
    """Since when each generation of a version is visible, as the index tells."""
    from prefect_registry.catalog.schema import moment

    found = lists.registry.catalog.ask(
        lambda c: c.execute(
            "SELECT visible_at FROM cells WHERE type = 'model_version' AND name = ? ORDER BY gen", (id_[-16:],)
        ).fetchall()
    )
    return [Since(moment(row["visible_at"])) for row in found]


def test_what_does_not_change_is_not_written(registry: Registry, models: ModelRegistry) -> None:
    models.register_model("HAL", URI, version="1", metadata={"a": 1}, aliases=["x"])
    version = models.get_model_version("HAL", "1")
    before = len(list(registry.storage.list("cells/")))
    models.update(version)
    models.update(models.get_model_artifact("HAL", "1"))
    models.archive("HAL", "1")
    models.archive("HAL", "1")
    models.set_alias("HAL", "x", "1")
    assert len(list(registry.storage.list("cells/"))) == before + 1


def test_comparing_versions(models: ModelRegistry) -> None:
    """Fields, properties, artifacts, metrics; what only one of them has is told by its content alone."""
    models.register_model(
        "HAL", "s3://a", version="1", metadata={"acc": 0.9, "n": 1}, version_description="old", card="# card",
        artifacts=[Metric("f1", value=0.5)],
    )  # fmt: skip
    models.register_model(
        "HAL", "s3://b", version="2", metadata={"acc": 0.95, "n": 1.0}, artifacts=[Metric("f1", value=0.6, step=2)]
    )
    found = models.compare("HAL", "1", "latest")
    assert [(d["field"], d["first"], d["second"]) for d in found.to_dicts()] == [
        ("custom_properties.acc", 0.9, 0.95), ("custom_properties.n", 1, 1.0), ("description", "old", None),
        ("doc-artifact model-card.text", "# card", None), ("metric f1.step", 0, 2), ("metric f1.value", 0.5, 0.6),
        ("model-artifact HAL.uri", "s3://a", "s3://b"),
    ]  # fmt: skip
    assert "metric f1.value: 0.5 -> 0.6" in str(found)
    assert "<table" in found._repr_html_()
    same = models.compare("HAL", "1", "1")
    assert (bool(same), str(same)) == (False, "1 -> 1\nno difference")
    models.register_model("BOB", "s3://b", version="1")
    assert models.compare("HAL", "2", "1", second_name="BOB")
    with pytest.raises(ModelNotFound):
        models.compare("HAL", "1", "3")


def test_model_cards(models: ModelRegistry, tmp_path: Any) -> None:
    """Text or file; none; replaced; refused when it is no text, empty or too long."""
    file = tmp_path / "card.md"
    file.write_text("\ufeff# Card ü", encoding="utf-8")
    models.register_model("HAL", URI, version="1", card=file)
    models.register_model("HAL", URI, version="2")
    assert (models.card("HAL", "1"), models.card("HAL")) == ("# Card ü", None)
    first = models.set_card("HAL", "2", "# two")
    assert models.set_card("HAL", "latest", "# three").id == first.id
    assert models.card("HAL", "2") == "# three"
    file.write_bytes(b"\xff\xfe\x00")
    for wrong in (file, tmp_path / "absent", "", " \n", "x" * 900_001, 5, None):
        with pytest.raises(InvalidInput, match="model card"):
            models.set_card("HAL", "2", wrong)  # type: ignore[arg-type]
    assert models.card("HAL", "2") == "# three"


def test_loading_the_trained_model(models: ModelRegistry, registry: Registry) -> None:
    """By version, alias or ``latest``; of several artifacts the trained model, never the data it was made from."""
    registry.save("rows", [1, 2, 3])
    models.register_model(
        "HAL", model={"w": 1}, version="1", artifacts=[DataSet("data", uri=object_uri("rows", "1"))], aliases=["best"]
    )
    models.register_model("HAL", model={"w": 2})
    assert (models.load("HAL", "best"), models.load("HAL")) == ({"w": 1}, {"w": 2})
    artifact = models.get_model_artifact("HAL", "1")
    assert artifact is not None
    assert artifact.model_format_name
    assert reference_of(str(artifact.uri)) == ("object", "models/HAL/1@1")
    models.register_model("HAL", URI, version="far", artifacts=[DataSet("data", uri=object_uri("rows", "1"))])
    with pytest.raises(StoreError, match=URI):
        models.load("HAL", "far")
    models.register_model("HAL", "s3://planted@bucket/hal.onnx", version="user")
    with pytest.raises(StoreError, match=r"s3://bucket/hal\.onnx") as caught:
        models.load("HAL", "user")
    assert "planted" not in str(caught.value.as_dict())
    with pytest.raises(ModelNotFound):
        models.load("HAL", "no")
    registry.save("mine", "an object")
    models.register_model("BOB", object_uri("mine", "1"), version="1")
    assert models.load("BOB") == "an object"


def test_gets_of_the_high_level_client(registry: Registry, models: ModelRegistry) -> None:
    """None or StoreError, as the reference has it."""
    models.register_model("HAL", URI, version="1")
    assert models.get_registered_model("x") is None
    assert models.get_model_version("HAL", "x") is None
    for call in (lambda: models.get_model_version("x", "1"), lambda: models.get_model_artifact("x", "1"),
                 lambda: models.get_model_artifact("HAL", "x"), lambda: [*models.get_model_versions("x")]):  # fmt: skip
        with pytest.raises(StoreError):
            call()
    with refused(StoreError, registry, "Model must have an ID"):
        models.update(RegisteredModel("HAL"))
    with refused(StoreError, registry, "not a dict"):
        models.update({"name": "HAL"})


def test_21_models_in_pages(models: ModelRegistry) -> None:
    """MR-22: 21 models by pages of 10 are 21 items, and a page has at least one."""
    for n in range(21):
        models.models.upsert_registered_model(RegisteredModel(f"m{n:02}"))
    assert len({m.id for m in models.get_registered_models().page_size(10)}) == 21
    with pytest.raises(ValueError, match="Page size must be at least 1, got 0"):
        models.get_registered_models().page_size(0)


def test_abstract_artifacts_cannot_be_registered(registry: Registry, lists: ModelLists) -> None:
    with refused(UnsupportedType, registry, "DocArtifact"):
        lists.upsert_model_artifact(Artifact("a"))
