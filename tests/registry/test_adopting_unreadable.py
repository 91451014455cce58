"""What cannot be taken in is told as an error of this package, whichever filesystem or library has said so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prefect_registry import Registry
from prefect_registry.datasets.adopt import How
from prefect_registry.errors import AccessDenied, IntegrityError, InvalidInput, RegistryError


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


@pytest.mark.parametrize("how", ["copy", "reference"])
@pytest.mark.parametrize("url", ["ftp://u:planted@127.0.0.1:1/x", "http://127.0.0.1:1/x?sig=planted"])
def test_a_password_or_signature_in_the_url_is_told_nowhere(
    registry: Registry, tmp_path: Path, url: str, how: How
) -> None:
    """Neither in the error nor in what the run records of it, which everybody may read."""
    with pytest.raises(RegistryError, match=r"127.0.0.1") as caught, registry.run("x") as run:
        run.adopt(url, "k", how=how)
    assert "planted" not in f"{caught.value}{caught.value.context}{caught.value.__cause__}"
    assert not any(b"planted" in path.read_bytes() for path in tmp_path.rglob("*.json"))


@pytest.mark.parametrize("how", ["copy", "reference"])
def test_what_an_unfinished_job_left_refuses_the_folder(registry: Registry, tmp_path: Path, how: How) -> None:
    """As it does when a dataset's own folder is committed: the other files may be half of what the job makes."""
    (tmp_path / "job/_temporary/0").mkdir(parents=True)
    for name in ("part-0", "_temporary/0/part-1"):
        (tmp_path / "job" / name).write_bytes(b"x")
    with registry.run("x") as run, pytest.raises(InvalidInput, match="has not finished"):
        run.adopt(str(tmp_path / "job"), "k", how=how)


@pytest.mark.parametrize("odd", ["pipe", "link to a folder", "link to nothing"])
def test_what_is_no_file_is_refused_and_not_waited_for(registry: Registry, tmp_path: Path, odd: str) -> None:
    """A pipe would be read until somebody writes to it; a link to a file is one."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_bytes(b"x")
    (folder / "b").symlink_to(folder / "a")
    with registry.run("x") as run:
        run.adopt(str(folder), "k")
        os.mkfifo(folder / "odd") if odd == "pipe" else (folder / "odd").symlink_to(
            tmp_path if odd == "link to a folder" else tmp_path / "nothing"
        )
        with pytest.raises(InvalidInput, match="is no file"):
            run.adopt(str(folder), "k")
    assert [file.path for file in registry.latest("k").files] == ["a", "b"]


def test_a_pipe_in_the_folder_of_a_dataset_is_not_waited_for(registry: Registry) -> None:
    """It is no file, as listings have it."""
    with registry.run("x") as run, run.dataset("k") as dataset:
        (Path(dataset.root) / "a").write_bytes(b"x")
        os.mkfifo(Path(dataset.root) / "pipe")
    assert [file.path for file in registry.latest("k").files] == ["a"]
