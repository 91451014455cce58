"""What the tests of the command line share."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from prefect_registry.cli.app import run
from prefect_registry.resolve import lookup


@dataclass
class Said:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run the command line in this process, as if from a script: without a terminal."""

    def call(*arguments: str) -> Said:
        lookup.forget()
        capfd.readouterr()
        code = run(arguments)
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return call


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("PREFECT_REGISTRY_", "PREFECT_INTEGRATIONS_REGISTRY_", "REGISTRY_")):
            monkeypatch.delenv(name)


@pytest.fixture
def name() -> str:
    """A name of a block that nobody has used."""
    return f"i-{uuid.uuid4().hex[:8]}"
