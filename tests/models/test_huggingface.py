"""Models on the Hub, described from what a server says that speaks the Hub's few endpoints."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hub_server import COMMIT, Hub, serving

from prefect_registry.errors import InvalidInput
from prefect_registry.models.exceptions import StoreError
from prefect_registry.models.huggingface import describe_hf_model


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as found:
        yield found


def test_what_is_recorded(hub: Hub) -> None:
    """Origin, author and address, and the card's fields that a property can hold; one request, and no download."""
    model = describe_hf_model("acme/detector", "onnx/model #1.onnx", endpoint=hub.url)
    uri = f"{hub.url}/acme/detector/resolve/main/onnx/model%20%231.onnx"
    assert (model.name, model.author, model.uri, model.commit) == ("acme/detector", "acme", uri, COMMIT)
    assert model.metadata == {
        "repo": "acme/detector",
        "source_uri": uri,
        "model_origin": "huggingface_hub",
        "model_author": "acme",
        "license": "mit",
        "library_name": "onnx",
        "gated": False,
        "layers": 12,
        "score": 0.5,
    }
    assert [type(model.metadata[name]) for name in ("gated", "layers", "score")] == [bool, int, float]
    assert hub.requests == ["GET /api/models/acme/detector/revision/main"]


def test_what_the_caller_says(hub: Hub) -> None:
    """Author and name of the caller come first; any revision that the Hub has will do, and a folder too."""
    model = describe_hf_model(
        "acme/detector", "onnx", git_ref="refs/pr/1", author="me", model_name="mine", endpoint=hub.url
    )
    assert (model.name, model.author, model.metadata["model_author"]) == ("mine", "me", "me")
    assert model.uri == f"{hub.url}/acme/detector/resolve/refs%2Fpr%2F1/onnx"


def test_credentials_are_not_recorded(hub: Hub) -> None:
    """Those that somebody wrote into the Hub's endpoint stay out of what is registered, and out of errors."""
    endpoint = hub.url.replace("http://", "http://user:hidden@")
    assert "hidden" not in repr(describe_hf_model("gpt2", "config.json", endpoint=endpoint))
    hub.status = 500
    with pytest.raises(StoreError) as caught:
        describe_hf_model("gpt2", "config.json", endpoint=endpoint)
    assert "hidden" not in str(caught.value)


def test_an_unknown_author(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    """A repository without an owner has the author "unknown", and the log says so."""
    model = describe_hf_model("gpt2", "config.json", endpoint=hub.url)
    assert (model.author, model.metadata["model_author"]) == ("unknown", "unknown")
    assert [(r.name, r.levelno) for r in caplog.records] == [("prefect_registry.models", logging.WARNING)]
    caplog.clear()
    assert describe_hf_model("gpt2", "config.json", author="openai", endpoint=hub.url).author == "openai"
    assert not caplog.records


def test_a_path_that_is_not_listed(hub: Hub) -> None:
    """The Hub is asked about the path itself before it is said not to exist."""
    hub.models["gpt2"]["unlisted"] = ["late.bin"]
    assert describe_hf_model("gpt2", "late.bin", endpoint=hub.url).uri.endswith("/resolve/main/late.bin")


@pytest.mark.parametrize(
    ("repo", "path", "git_ref", "said"),
    [
        ("acme/other", "config.json", "main", "Repository acme/other does not exist"),
        ("acme/detector", "config.json", "v9", "Revision v9 does not exist"),
        ("acme/detector", "no.bin", "main", r"Path 'no.bin' does not exist.*README\.md"),
        ("acme/detector", "conf", "main", "Path 'conf' does not exist"),
    ],
)
def test_what_does_not_exist(hub: Hub, repo: str, path: str, git_ref: str, said: str) -> None:
    """The error says which of the three is missing, and what to do."""
    with pytest.raises(StoreError, match=said) as caught:
        describe_hf_model(repo, path, git_ref=git_ref, endpoint=hub.url)
    assert caught.value.todo != StoreError.usual_todo
    assert caught.value.committed == "no"


def test_no_repository_at_all(hub: Hub) -> None:
    """A name that no repository can have, and empty arguments, are told from one another."""
    with pytest.raises(StoreError, match="a/b/c"):
        describe_hf_model("a/b/c", "x", endpoint=hub.url)
    with pytest.raises(InvalidInput, match=r"repo is empty; path is empty; git_ref is empty"):
        describe_hf_model("", "", git_ref="", endpoint=hub.url)


def test_the_hub_does_not_answer(hub: Hub) -> None:
    """ "Does not exist" is never said when the Hub fails or cannot be reached."""
    hub.status = 500
    with pytest.raises(StoreError, match="gave no answer about gpt2"):
        describe_hf_model("gpt2", "config.json", endpoint=hub.url)
    with pytest.raises(StoreError, match="gave no answer about gpt2"):
        describe_hf_model("gpt2", "config.json", endpoint="http://127.0.0.1:1")


def test_the_package_is_not_installed() -> None:
    """The error says what to install; everything else of the model registry works without it."""
    code = """if True:
        import sys
        from prefect_registry.models.exceptions import StoreError
        from prefect_registry.models.huggingface import describe_hf_model
        assert "huggingface_hub" not in sys.modules
        sys.modules["huggingface_hub"] = None
        try:
            describe_hf_model("gpt2", "config.json")
        except StoreError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "pip install 'prefect-registry[huggingface]'" in done.stdout
