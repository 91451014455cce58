"""Registering models that are on the Hugging Face Hub, by what a server says that speaks its endpoints."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hub_server import CARD, Hub, serving
from model_support import published, refused

from prefect_registry import Registry
from prefect_registry.models.client import ModelRegistry
from prefect_registry.models.exceptions import DuplicateError, StoreError

FILE = "onnx/model #1.onnx"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """What ``HF_ENDPOINT`` would lead to, if the Hub's package did not read it at its import."""
    with serving() as found:
        address = f"{found.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", found.url)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address)
        yield found


def test_a_model_on_the_hub(models: ModelRegistry, hub: Hub) -> None:
    """Its metadata is the version's, its author the owner; nothing is downloaded."""
    model = models.register_hf_model(
        "acme/detector", FILE, version="1", model_format_name="onnx", model_format_version="1",
        version_description="from the Hub",
    )  # fmt: skip
    version, artifact = models.get_model_version("acme/detector", "1"), models.get_model_artifact("acme/detector", "1")
    assert version is not None
    assert artifact is not None
    assert (model.name, model.owner, version.author) == ("acme/detector", "acme", "acme")
    assert (version.description, artifact.model_format_name) == ("from the Hub", "onnx")
    assert artifact.uri == f"{hub.url}/acme/detector/resolve/main/onnx/model%20%231.onnx"
    properties = version.custom_properties
    assert isinstance(properties, dict)
    assert properties["model_origin"] == "huggingface_hub"
    assert (properties["repo"], properties["source_uri"]) == ("acme/detector", artifact.uri)
    assert (properties["license"], properties["layers"]) == (CARD["license"], CARD["layers"])
    assert len(hub.requests) == 1


def test_names_and_authors_of_the_caller(models: ModelRegistry, hub: Hub) -> None:
    model = models.register_hf_model("gpt2", "config.json", version="1", author="me", owner="us", model_name="mine")
    version = models.get_model_version("mine", "1")
    assert version is not None
    assert (model.name, model.owner, version.author) == ("mine", "us", "me")


def test_what_is_not_there_registers_nothing(models: ModelRegistry, registry: Registry, hub: Hub) -> None:
    """Neither a repository, a revision or a file that is missing, nor a Hub that does not answer, nor a duplicate."""
    wrong = [("acme/other", FILE, "main"), ("acme/detector", "no.bin", "main"), ("acme/detector", FILE, "v9")]
    for repo, path, ref in wrong:
        with refused(StoreError, registry, "does not exist"):
            models.register_hf_model(repo, path, version="1", git_ref=ref)
    models.register_hf_model("acme/detector", FILE, version="1")
    with refused(DuplicateError, registry):
        models.register_hf_model("acme/detector", FILE, version="1")
    hub.status = 500
    with refused(StoreError, registry, "gave no answer"):
        models.register_hf_model("acme/detector", FILE, version="2")
    assert list(published(models)["acme/detector"]) == ["1"]
