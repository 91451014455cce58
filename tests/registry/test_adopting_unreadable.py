"""What cannot be taken in is told as an error of this package, whichever filesystem or library has said so."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_registry import Registry
from prefect_registry.errors import AccessDenied, IntegrityError


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry on a local folder."""
    return Registry(str(tmp_path / "store"), heartbeats=False)


def test_a_damaged_parquet_file_is_told_when_its_rows_are_counted(registry: Registry, tmp_path: Path) -> None:
    """By reference its footer is read, unless the number of rows is given."""
    (tmp_path / "rows.parquet").write_bytes(b"no parquet")
    with registry.run("x") as run:
        with pytest.raises(IntegrityError, match="rows") as caught:
            run.adopt(str(tmp_path / "rows.parquet"), "rows", how="reference")
        assert caught.value.committed == "no"
        run.adopt(str(tmp_path / "rows.parquet"), "rows", how="reference", rows=1)


def test_a_bucket_without_credentials_is_denied(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client has an error of its own for that, which is none of the operating system's."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with registry.run("x") as run, pytest.raises(AccessDenied, match="credentials") as caught:
        run.adopt("s3://bucket/folder", "rows", how="copy")
    assert caught.value.committed == "no"
