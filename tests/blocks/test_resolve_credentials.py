"""A URL of the settings may hold a password, and nothing that is told of it does."""

from __future__ import annotations

import pytest

from prefect_registry.cli import checks
from prefect_registry.errors import RegistryError
from prefect_registry.resolve import locate, resolve_registry

PLANTED = "hunter22-s3cr3t"
URL = f"ftp://me:{PLANTED}@127.0.0.1:1/registry"


def test_an_error_names_the_setting_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in its words nor in its context; the place itself needs it."""
    monkeypatch.setenv("PREFECT_REGISTRY_OVERRIDE", URL)
    assert locate().url == URL
    with pytest.raises(RegistryError, match="PREFECT_REGISTRY_OVERRIDE=ftp://127") as caught:
        resolve_registry()
    assert PLANTED not in f"{caught.value} {caught.value.as_dict()}"


def test_the_doctor_tells_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the URL is an argument or a setting."""
    said, _ = checks.registry(URL)
    monkeypatch.setenv("PREFECT_REGISTRY_OVERRIDE", URL)
    overridden, _ = checks.registry(None)
    assert PLANTED not in f"{said} {overridden}"
    assert "ftp://127.0.0.1:1/registry" in said.detail
