"""Files and folders: what is in them, what they are called, and what cannot be kept."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from folder_payload import store, stored, there_and_back

from prefect_registry.errors import InvalidInput
from prefect_registry.objects.materializers.loading_files import LazyFolder
from prefect_registry.objects.materializers.registered import Materializers


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "my model"
    for path, text in {
        "config.json": "{}",
        "sub/a.txt": "a",
        "sub/deep/ü.bin": "x" * 100,
        "run.sh": "#!/bin/sh",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")
    (folder / "run.sh").chmod(0o755)
    (folder / "empty" / "inner").mkdir(parents=True)
    return folder


def tree(folder: Path) -> dict[str, tuple[bytes | None, bool]]:
    """Every file and folder below: its bytes, and whether its owner may run it."""
    return {
        p.relative_to(folder).as_posix(): (p.read_bytes(), os.access(p, os.X_OK)) if p.is_file() else (None, True)
        for p in folder.rglob("*")
    }


def test_a_folder_comes_back_under_its_name(model: Path, tmp_path: Path) -> None:
    """Files, empty folders and who may run them; nothing else is left where it was put."""
    back = there_and_back(Materializers(), model, output_dir=tmp_path / "out" / "here")
    assert back == tmp_path / "out" / "here" / "my model"
    assert tree(back) == tree(model)
    assert [p.name for p in back.parent.iterdir()] == ["my model"]


def test_a_file_comes_back_under_its_name(model: Path, tmp_path: Path) -> None:
    """With its mode, so far as it may be run."""
    for path in (model / "run.sh", model / "config.json"):
        back = there_and_back(Materializers(), path, output_dir=tmp_path / "out")
        assert (back, back.read_bytes()) == (tmp_path / "out" / path.name, path.read_bytes())
        assert os.access(back, os.X_OK) == os.access(path, os.X_OK)
        assert back.stat().st_mode & 0o777 == path.stat().st_mode & 0o777


def test_files_are_read_where_they_lie(model: Path) -> None:
    """No temporary copy is made to save them."""
    payload = Materializers().find(model).save(model)
    assert {part.path: part.source for part in payload.parts} == {
        path: model / path for path, (data, _) in tree(model).items() if data is not None
    }


def test_without_a_folder_of_the_callers_it_goes_when_the_process_ends(model: Path) -> None:
    """A temporary folder, which another process finds no more."""
    code = (
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent)]!r}; from pathlib import Path\n"
        "from folder_payload import there_and_back\n"
        "from prefect_registry.objects.materializers.registered import Materializers\n"
        f"back = there_and_back(Materializers(), Path({str(model)!r}))\n"
        "assert (back / 'config.json').read_text() == '{}'; print(back)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    back = Path(done.stdout.strip())
    assert back.name == "my model"
    assert not back.parent.parent.exists()


def test_nothing_of_the_callers_is_overwritten(model: Path, tmp_path: Path) -> None:
    """What is there already stays as it is."""
    (tmp_path / "out" / "my model").mkdir(parents=True)
    with pytest.raises(InvalidInput, match="is there already"):
        there_and_back(Materializers(), model, output_dir=tmp_path / "out")
    assert tree(tmp_path / "out") == {"my model": (None, True)}


def test_an_empty_folder_and_one_of_executables_come_back(tmp_path: Path) -> None:
    """The two shortest ways of telling modes."""
    (tmp_path / "a").mkdir()
    assert tree(there_and_back(Materializers(), tmp_path / "a", output_dir=tmp_path / "out")) == {}
    for n in range(3):
        (tmp_path / "a" / f"{n}").write_bytes(b"")
        (tmp_path / "a" / f"{n}").chmod(0o755 if n else 0o644)
    for out in ("all but one", "all"):
        back = there_and_back(Materializers(), tmp_path / "a", output_dir=tmp_path / out)
        assert tree(back) == tree(tmp_path / "a")
        (tmp_path / "a" / "0").chmod(0o755)


def test_a_lazy_folder_reads_only_what_is_used(model: Path) -> None:
    """Names and sizes cost nothing, and each file is read by itself."""
    name, payload = stored(Materializers(), model, lazy=True)
    folder = Materializers().named(name).load(payload)
    assert isinstance(folder, LazyFolder)
    assert (folder.name, folder.paths(), folder.size("sub/a.txt")) == ("my model", payload.paths(), 1)
    with folder.open("sub/a.txt") as file:
        assert file.read() == b"a"
    assert folder.read("config.json") == b"{}"
    assert payload.opened == ["sub/a.txt"]


def test_everything_that_cannot_be_kept_is_listed(model: Path) -> None:
    """Links with their targets, sockets, pipes, and names that cannot live side by side, in one error."""
    (model / "link").symlink_to("/etc/passwd")
    (model / "sub" / "back").symlink_to("..")
    os.mkfifo(model / "pipe")
    (model / "CONFIG.json").write_text("")
    (model / "back\\slash").write_text("")
    (model / "bad\nname").mkdir()
    (Path(os.fsdecode(os.fsencode(model) + b"/\xff"))).write_text("")
    with socket.socket(socket.AF_UNIX) as server, pytest.raises(InvalidInput) as refusal:
        server.bind(str(model / "socket"))
        Materializers().find(model).save(model)
    problems = "\n".join(refusal.value.problems)
    for expected in (
        "link is a link to /etc/passwd",
        "sub/back is a link to ..",
        "pipe is a named pipe",
        "socket is a socket",
        "'config.json' and 'CONFIG.json' differ only in case",
        r"back\\slash",
        r"bad\nname",
        "broken Unicode",
    ):
        assert expected in problems
    assert len(refusal.value.problems) == 8


@pytest.mark.parametrize("name", ["a\nb", "a\\b", "\x7f", os.fsdecode(b"\xff")], ids=repr)
def test_a_folder_is_refused_for_its_own_name(tmp_path: Path, name: str) -> None:
    """When it is saved, and not when it is loaded."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "f").write_text("")
    with pytest.raises(InvalidInput, match="a backslash, a control character or broken Unicode"):
        Materializers().find(tmp_path / name).save(tmp_path / name)


def test_a_link_itself_and_what_is_not_there_are_refused(model: Path, tmp_path: Path) -> None:
    """The caller passes what the link points to, if that is what is meant."""
    (tmp_path / "latest").symlink_to(model)
    with pytest.raises(InvalidInput, match=f"latest is a link to {model}"):
        Materializers().find(tmp_path / "latest").save(tmp_path / "latest")
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        Materializers().find(tmp_path / "nothing").save(tmp_path / "nothing")
    with pytest.raises(InvalidInput, match="character device"):
        Materializers().find(Path("/dev/null")).save(Path("/dev/null"))


def test_what_may_not_be_read_is_refused() -> None:
    """Before anything is stored (as another user, if the tests run as root)."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        (folder / "secret").write_text("")
        (folder / "secret").chmod(0)
        (folder / "closed").mkdir()
        (folder / "closed").chmod(0)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            with pytest.raises(InvalidInput) as refusal:
                Materializers().find(folder).save(folder)
        finally:
            if root:
                os.seteuid(0)
        assert sorted(refusal.value.problems) == [
            "closed cannot be read: Permission denied",
            "secret cannot be read: Permission denied",
        ]
    finally:
        (folder / "closed").chmod(0o755)
        shutil.rmtree(folder)


@pytest.mark.parametrize("change", ["content", "same size", "added", "removed", "mode"])
def test_a_change_while_it_is_read_is_noticed(model: Path, tmp_path: Path, change: str) -> None:
    """Nothing that was half old and half new is ever published: the one who stores it asks at the end."""
    payload = Materializers().find(model).save(model)
    if change == "content":
        (model / "sub" / "a.txt").write_text("longer")
    elif change == "same size":
        (model / "sub" / "a.txt").write_text("b")
    elif change == "added":
        (model / "sub" / "new").write_text("")
    elif change == "removed":
        (model / "empty" / "inner").rmdir()
    else:
        (model / "run.sh").chmod(0o644)
    with pytest.raises(InvalidInput, match=r"was changed while it was read|cannot be read any more"):
        store(payload, tmp_path / "stored")


def test_a_path_in_a_container_is_only_a_path(model: Path) -> None:
    """What lies there is saved only when the path itself is the object."""
    back = there_and_back(Materializers(), {"path": model})
    assert back == {"path": model}
    assert type(back["path"]) is type(model)


def test_a_record_cannot_write_elsewhere(model: Path, tmp_path: Path) -> None:
    """Names in a record that lead out of the folder are refused."""
    name, payload = stored(Materializers(), model, output_dir=tmp_path / "out")
    for bad in (
        {"name": "../x"},
        {"name": "/x"},
        {"name": "a/b"},
        {"empty": ["../x"]},
        {"executable": ["/etc/passwd"]},
    ):
        payload.init = {**payload.init, **bad}
        with pytest.raises(InvalidInput, match="The stored folder"):
            Materializers().named(name).load(payload)
        payload.init = {k: v for k, v in payload.init.items() if k not in ("empty", "executable")} | {"name": "ok"}
    assert not (tmp_path / "out").exists()


def test_an_output_dir_that_is_a_file_is_named(tmp_path: Path) -> None:
    """Itself and one of the folders above it; the file is left as it was."""
    (tmp_path / "f").write_text("data")
    (tmp_path / "taken").write_text("mine")
    for output in (tmp_path / "taken", tmp_path / "taken" / "below"):
        with pytest.raises(InvalidInput, match=r"output_dir .*taken.* cannot be made.*Pass a folder"):
            there_and_back(Materializers(), tmp_path / "f", output_dir=output)
    assert (tmp_path / "taken").read_text() == "mine"
