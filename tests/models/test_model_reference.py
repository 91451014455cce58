"""The examples of the reference document of system 4, as they stand there but for the package's name and the server's.

The document says ``another_version`` and ``"x"`` for things that a reader has; here they are what was registered.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any

import pytest
from model_support import opened

from prefect_registry import Registry
from prefect_registry.errors import AlreadyExists
from prefect_registry.ids import random_token
from prefect_registry.models import exceptions
from prefect_registry.models.client import ModelRegistry
from prefect_registry.models.core import ModelRegistryAPIClient


@pytest.fixture
def mr_client(registry: Registry) -> ModelRegistryAPIClient:
    return ModelRegistryAPIClient(registry)


def test_connections_to_a_registry_by_its_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two constructors of the document, with a registry's URL as the address."""
    from prefect_registry.models.core import ModelRegistryAPIClient

    address = f"memory://models-{random_token()}"
    monkeypatch.setenv("MY_TOKEN", "a-token")
    insecure_mr_client = ModelRegistryAPIClient.insecure_connection(
        address, "port",
        # optionally, you can identify yourself
        # user_token=os.environ["MY_TOKEN"]
    )  # fmt: skip

    mr_client = ModelRegistryAPIClient.secure_connection(
        address, "port",
        user_token=os.environ["MY_TOKEN"]  # this is necessary on a secure connection
        # optionally, use a custom_ca
        # custom_ca=os.environ["MY_CERT"]
    )  # fmt: skip
    assert mr_client.models.registry.registry_id == insecure_mr_client.models.registry.registry_id
    assert "a-token" not in repr(mr_client)


async def test_register_objects(mr_client: ModelRegistryAPIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model, a version, a trained model, and a document beside it."""
    monkeypatch.setenv("AWS_S3_BUCKET", "cool-bucket")
    monkeypatch.setenv("AWS_S3_ENDPOINT", "https://s3.example.com")
    from prefect_registry.models.types import ModelArtifact, ModelVersion, RegisteredModel
    from prefect_registry.models.utils import s3_uri_from

    model = await mr_client.upsert_registered_model(
        RegisteredModel(
            name="HAL",
            owner="me <me@cool.inc>",
        )
    )
    assert model.id  # this should be valid now

    # we need a registered model to associate the version to
    version = await mr_client.upsert_model_version(
        ModelVersion(
            name="9000",
            author="Mr. Tom A.I.",
            external_id="HAL-9000",
        ),
        model.id
    )  # fmt: skip
    assert version.id

    # we need a version to associate a trained model to
    trained_model = await mr_client.upsert_model_artifact(
        ModelArtifact(
            name="HAL-core",
            uri=s3_uri_from("build/onnx/hal.onnx", "cool-bucket"),
            model_format_name="onnx",
            model_format_version="1",
            storage_key="secret_secret",
        ),
        version.id
    )  # fmt: skip
    assert trained_model.id

    from prefect_registry.models.types import DocArtifact

    readme = await mr_client.upsert_model_version_artifact(
        DocArtifact(
            name="README",
            uri="https://github.com/my-org/my-model/blob/main/README.md",
            description="Model information"
        ), version.id
    )  # fmt: skip
    assert await mr_client.get_model_version_artifacts(version.id) == [trained_model, readme]
    assert (version.registered_model_id, model.owner) == (model.id, "me <me@cool.inc>")


async def test_query_objects_by_id(mr_client: ModelRegistryAPIClient) -> None:
    """What is got by its id equals what the upsert returned."""
    from prefect_registry.models.types import RegisteredModel

    new_model = await mr_client.upsert_registered_model(RegisteredModel("new_model"))

    maybe_new_model = await mr_client.get_registered_model_by_id(new_model.id)

    assert maybe_new_model == new_model  # True


async def test_query_objects_by_parameters(mr_client: ModelRegistryAPIClient) -> None:
    """External ids are unique among artifacts, and among models and versions; every way to name something works."""
    from prefect_registry.models.types import ModelArtifact, ModelVersion, RegisteredModel

    trained_model = ModelArtifact(
        name="my_model_name",
        uri="resource_URI",
        description="Model description",
        external_id="unique_reference"
    )  # fmt: skip

    # As a version is a context, we can have the same external_id as the above
    version = ModelVersion(
        name="v1.0",
        author="model author",
        external_id="unique_reference"
    )  # fmt: skip

    # Registering this will cause an error!
    wrong = RegisteredModel(
       name="my_model_name",
       external_id="unique_reference",  # this wouldn't be unique
    )  # fmt: skip

    model = RegisteredModel(
        name="my_model_name",
        external_id="another_unique_reference"
    )  # fmt: skip
    model = await mr_client.upsert_registered_model(model)
    another_version = await mr_client.upsert_model_version(version, model.id)
    registered = await mr_client.upsert_model_artifact(trained_model, another_version.id)
    wrong.name = "another"
    with pytest.raises(AlreadyExists, match="unique_reference"):
        await mr_client.upsert_registered_model(wrong)
    assert await mr_client.get_registered_models() == [model]

    # We can get the model artifact associated to a version
    another_trained_model = await mr_client.get_model_artifact_by_params(name="my_model_name", model_version_id=another_version.id)  # fmt: skip # noqa: E501

    # Or by its unique identifier
    trained_model = await mr_client.get_model_artifact_by_params(external_id="unique_reference")
    assert another_trained_model == trained_model == registered

    # Same thing for a version
    version = await mr_client.get_model_version_by_params(external_id="unique_reference")
    assert version == another_version

    # Or for a model
    found = await mr_client.get_registered_model_by_params(external_id="another_unique_reference")
    assert found == model

    # We can also get a version by its name and associated model id
    version = await mr_client.get_model_version_by_params(version="v1.0", registered_model_id=model.id)
    assert version == another_version
    assert await mr_client.get_model_version_by_params(name="v1.0", registered_model_id=model.id) == version
    assert await mr_client.get_model_version_by_params(version="v1.0", registered_model_id="x") is None

    # And we can get a model by simply calling its name
    found = await mr_client.get_registered_model_by_params(name="my_model_name")
    assert found == model


async def test_query_multiple_objects(mr_client: ModelRegistryAPIClient) -> None:
    """Lists, options, pagers, a lambda, orders, pages."""
    from prefect_registry.models.types import ModelArtifact, ModelVersion, RegisteredModel

    made = [await mr_client.upsert_registered_model(RegisteredModel(f"m{n}")) for n in range(25)]
    made.sort(key=lambda m: str(m.id))  # two of one millisecond are in either order
    mv = await mr_client.upsert_model_version(ModelVersion("1"), made[0].id)
    arts = [await mr_client.upsert_model_artifact(ModelArtifact(f"a{n}", uri="u"), mv.id) for n in range(3)]
    arts.sort(key=lambda a: str(a.id))

    models = await mr_client.get_registered_models()
    assert models == made[:20]

    versions = await mr_client.get_model_versions(made[0].id)
    assert versions == [mv]

    # We can get a list of the first 20 model artifacts
    all_model_artifacts = await mr_client.get_model_artifacts()
    assert all_model_artifacts == arts

    from prefect_registry.models.types import ListOptions

    options = ListOptions(limit=50)

    first_50_models = await mr_client.get_registered_models(options)
    assert first_50_models == made

    # By default we get ascending order
    options = ListOptions.order_by_creation_time(is_asc=False)

    last_50_models = await mr_client.get_registered_models(options)
    assert len(last_50_models) == 20
    times = [int(str(m.create_time_since_epoch)) for m in last_50_models]
    assert times == sorted(times, reverse=True)
    assert times[0] == max(int(str(m.create_time_since_epoch)) for m in made)

    from prefect_registry.models.types import Pager

    models = Pager(mr_client.get_registered_models)

    found = []
    async for model in models:
        found.append(model)
    assert found == made

    model_version_artifacts = Pager(lambda o: mr_client.get_model_version_artifacts(mv.id, o))

    reverse_model_version_artifacts = model_version_artifacts.order_by_creation_time().descending().limit(100)

    page = await reverse_model_version_artifacts.next_page()
    assert sorted(a.name for a in page) == [a.name for a in sorted(arts, key=lambda a: a.name)]
    assert await reverse_model_version_artifacts.next_page() == []


def test_create_objects() -> None:
    """The constructors; ids are given on registration."""
    from prefect_registry.models.types import ModelArtifact, ModelVersion, RegisteredModel

    trained_model = ModelArtifact(
        name="model-exec",
        uri="resource_URI",
        description="Model description",
        model_format_name="onnx",
        model_format_version="1",
    )

    version = ModelVersion(
        name="v1.0",
        author="model author",
    )

    model = RegisteredModel(
        name="model",
        owner="team",
    )
    assert (trained_model.id, version.id, model.id) == (None, None, None)
    assert (str(trained_model.state), str(version.state), str(model.state)) == ("UNKNOWN", "LIVE", "LIVE")


# -- names -----------------------------------------------------------------------------------------------------------

CORE = {
    "secure_connection": "server_address port user_token custom_ca",
    "insecure_connection": "server_address port user_token",
    "upsert_registered_model": "registered_model",
    "get_registered_model_by_id": "id",
    "get_registered_model_by_params": "name external_id",
    "get_registered_models": "options",
    "upsert_model_version": "model_version registered_model_id",
    "get_model_version_by_id": "",
    "get_model_versions": "registered_model_id options",
    "get_model_version_by_params": "registered_model_id name version external_id",
    "upsert_model_artifact": "model_artifact",
    "upsert_model_version_artifact": "artifact model_version_id",
    "get_model_artifact_by_id": "id",
    "get_model_artifact_by_params": "name model_version_id external_id",
    "get_model_artifacts": "model_version_id options",
    "get_model_version_artifacts": "model_version_id options",
    "get_artifacts": "filter_query artifact_type options",
}
HIGH = {
    "__init__": "server_address port author is_secure user_token user_token_envvar custom_ca custom_ca_envvar "
    "log_level async_runner",
    "register_model": "name uri model_format_name model_format_version version storage_key storage_path "
    "service_account_name model_source_kind model_source_class model_source_group model_source_id model_source_name "
    "author owner version_description description metadata",
    "register_hf_model": "repo path version model_format_name model_format_version author owner model_name "
    "version_description git_ref",
    "upload_artifact_and_register_model": "name model_files_path upload_params version",
    "save_to_s3": "path bucket_name s3_prefix endpoint_url access_key_id secret_access_key region multipart_threshold "
    "multipart_chunksize max_pool_connections",
    "get_registered_model": "name",
    "get_model_version": "name version",
    "get_model_artifact": "name version",
    "get_registered_models": "",
    "get_model_versions": "name",
    "update": "model",
}


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return {name: p for name, p in inspect.signature(function).parameters.items() if name not in ("self", "cls")}


@pytest.mark.parametrize(
    ("cls", "name", "wanted"),
    [(cls, *item) for cls, names in ((ModelRegistryAPIClient, CORE), (ModelRegistry, HIGH)) for item in names.items()],
)
def test_every_call_of_the_reference_has_its_parameters(cls: type, name: str, wanted: str) -> None:
    """In its order where they are given by their place; and what we add can be left out."""
    method = getattr(cls, name)
    found = parameters(method)
    names = wanted.split()
    assert set(names) <= set(found)
    by_place = [n for n, p in found.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    assert by_place[: len(names)] == names[: len(by_place)]
    added = [p for n, p in found.items() if n not in names and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    assert all(p.default is not p.empty for p in added) or name == "get_model_version_by_id"


def test_the_core_is_awaited_and_the_high_level_client_has_twins() -> None:
    """Every call of the core but its constructors is a coroutine function, and every method has a sentence."""
    for name in CORE:
        method = getattr(ModelRegistryAPIClient, name)
        assert inspect.iscoroutinefunction(method) is not name.endswith("_connection")
        assert (method.__doc__ or "").strip()
    writing = ("register_model", "register_hf_model", "upload_artifact_and_register_model", "update", "load")
    for name in (*writing, "get_registered_model", "get_model_version", "get_model_artifact"):
        assert inspect.iscoroutinefunction(getattr(ModelRegistry, f"a{name}"))


async def test_lists_of_the_high_level_client_are_pagers_in_asynchronous_code_too(registry: Registry) -> None:
    """The twin of a list is not awaited, and gives what the list gives, in pages and orders of the same kind."""
    models = ModelRegistry(registry, author="me")
    for n in range(5):
        await models.aregister_model(f"m{n}", "s3://bucket/x", version="1")
    await models.aregister_model("m0", "s3://bucket/y", version="2")
    newest = models.aget_registered_models().order_by_creation_time().descending().page_size(2)
    assert (
        await newest.next_page()
        == models.get_registered_models().order_by_creation_time().descending().limit(2).next_page()
    )
    assert len([model async for model in newest.restart()]) == 5
    asked = {"filter_query": "name = '2'"}
    assert [v.name async for v in models.aget_model_versions("m0", **asked)] == ["2"]
    assert [v async for v in models.aget_model_versions(name="m0")] == list(models.get_model_versions("m0"))
    with pytest.raises(exceptions.StoreError):
        await models.aget_model_versions("none").next_item()
    with pytest.raises(TypeError, match="async for"):
        list(models.aget_registered_models())


def test_exceptions_of_the_reference_exist() -> None:
    """Under their names, in the tree that it has; DuplicateError is raised here, and is an AlreadyExists."""
    for name in ("UnsupportedType", "TypeNotFound", "ServerError", "DuplicateError"):
        assert issubclass(getattr(exceptions, name), exceptions.StoreError)
    assert not issubclass(exceptions.MissingMetadata, exceptions.StoreError)
    assert issubclass(exceptions.DuplicateError, AlreadyExists)


def test_defaults_of_the_reference() -> None:
    """Ports and flags are what they are there."""
    assert parameters(ModelRegistryAPIClient.secure_connection)["port"].default == 443
    high = parameters(ModelRegistry.__init__)
    assert (high["port"].default, high["is_secure"].default) == (443, True)
    assert parameters(ModelRegistry.register_hf_model)["git_ref"].default == "main"


async def test_MR_37_the_core_client_inside_a_running_event_loop() -> None:
    """No second loop, no nest_asyncio: many calls at the same time in the loop of the caller."""
    import asyncio
    import sys

    from prefect_registry.models.types import RegisteredModel

    client = ModelRegistryAPIClient(opened(), author="me")
    made = await asyncio.gather(*(client.upsert_registered_model(RegisteredModel(f"m{n}")) for n in range(10)))
    got = await asyncio.gather(*(client.get_registered_model_by_id(str(m.id)) for m in made))
    assert got == made
    synchronous = ModelRegistry(client.models.registry)  # and the synchronous one, called from a coroutine
    assert synchronous.get_registered_model("m3") == made[3]
    assert await synchronous.aget_registered_model("m3") == made[3]
    assert "nest_asyncio" not in sys.modules
