"""What Prefect asks of every block type, and what we promise on top."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from prefect.testing.standard_test_suites import BlockStandardTestSuite, blocks

from prefect_registry.blocks import AzureRegistry, FsspecRegistry, GCSRegistry, LocalRegistry, S3Registry
from prefect_registry.blocks.base import HOME

ROOT = Path(__file__).parent.parent.parent
TYPES = [LocalRegistry, S3Registry, GCSRegistry, AzureRegistry, FsspecRegistry]
SNAPSHOT = Path(__file__).parent / "fields.json"


@pytest.fixture(params=TYPES, ids=lambda cls: cls.__name__)
def block(request: pytest.FixtureRequest) -> Any:
    return request.param


class TestStandards(BlockStandardTestSuite):
    """Prefect's own suite. It fetches the logo, which is the file of the package that its address names."""

    @pytest.fixture(autouse=True)
    def _web(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fetched(url: str) -> io.BytesIO:
            return io.BytesIO((ROOT / url.removeprefix(f"{HOME}/raw/main/")).read_bytes())

        monkeypatch.setattr(blocks, "urlopen", fetched)

    @pytest.fixture(params=TYPES, ids=lambda cls: cls.__name__)
    def block(self, request: pytest.FixtureRequest) -> Any:
        return request.param


def test_names_and_slugs_are_those_of_the_documentation() -> None:
    """A type is found by its slug for ever, and name and slug are unique on a server."""
    assert {cls.get_block_type_slug(): cls.get_block_type_name() for cls in TYPES} == {
        "data-registry-local": "Data Registry (Local)",
        "data-registry-s3": "Data Registry (S3)",
        "data-registry-gcs": "Data Registry (GCS)",
        "data-registry-azure": "Data Registry (Azure)",
        "data-registry-fsspec": "Data Registry (fsspec)",
    }


def test_fields_are_plain(block: Any) -> None:
    """The forms of both UIs show a nested union or an Optional as tabs, so there are none."""
    for name, schema in block.model_json_schema()["properties"].items():
        assert schema["type"] in ("string", "boolean", "object"), name
        assert not {"anyOf", "oneOf", "allOf", "$ref"} & schema.keys(), name


def test_fields_only_grow_by_optional_ones(block: Any) -> None:
    """Every field of a release stays, with its type; what is new is optional. A new field goes into fields.json."""
    schema = block.model_json_schema()
    fields = {
        name: [spec["type"] + (":" + spec["format"] if "format" in spec else ""), name in schema.get("required", [])]
        for name, spec in schema["properties"].items()
    }
    assert fields == json.loads(SNAPSHOT.read_text())[block.__name__]


def test_the_base_is_no_type_of_its_own() -> None:
    """`prefect block register` takes the five types of the module and nothing else."""
    import inspect

    from prefect.blocks.core import Block

    import prefect_registry
    import prefect_registry.blocks

    for module in (prefect_registry.blocks, prefect_registry):
        found = {value for _, value in inspect.getmembers(module) if Block.is_block_class(value)}
        assert found == set(TYPES), module
