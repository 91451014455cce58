"""What a run records of the program that begins it: found out from files, without credentials, and never guessed."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from prefect_registry import Registry
from prefect_registry.capture import Capturing, changes
from prefect_registry.capture.changes import Changes, is_changed
from prefect_registry.capture.environment import environment
from prefect_registry.capture.packages import installed_packages
from prefect_registry.capture.repository import without_credentials
from prefect_registry.errors import NotFound
from prefect_registry.provenance import captured, involved
from prefect_registry.records.runs import Begin
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.testing.counting import CountingStorage

TOKEN = "ghp-t0k3n"


class Repo:
    """A git repository with one committed file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "flows").mkdir(parents=True)
        self.file = root / "flows" / "mine.py"
        self.file.write_text("x = 1\n")
        self.git("init", "-q")
        self.git("add", ".")
        self.git("commit", "-qm", "x")

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(self.root), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    @property
    def commit(self) -> str:
        return self.git("rev-parse", "HEAD")

    def changed(self, file: Path | None = None) -> bool | None:
        return is_changed(self.root, self.commit, file or self.file, 20)


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo((tmp_path / "repository").resolve())


def code_of(file: Path) -> dict[str, Any]:
    """What is captured of a file, after git has answered."""
    capturing = Capturing(str(file), "mine")
    if capturing._changes is not None:
        capturing._changes.answer(20)
    return dict(capturing.finish().code)


# -- the code ----------------------------------------------------------------------------------------------------------


def test_a_file_of_a_repository_is_told_by_commit_and_path(repo: Repo) -> None:
    """Clean, and with where the repository comes from."""
    repo.git("remote", "add", "origin", f"https://me:{TOKEN}@host/team/flows.git?x={TOKEN}")
    repo.git("remote", "set-url", "--push", "origin", "https://elsewhere/flows.git")
    assert code_of(repo.file) == {
        "commit": repo.commit,
        "dirty": False,
        "repository": "https://host/team/flows.git",
        "path": "flows/mine.py",
        "entrypoint": "flows/mine.py:mine",
    }


def test_a_detached_head_and_packed_references_tell_the_commit(repo: Repo) -> None:
    """Also in a worktree, whose configuration lies in the repository that it belongs to."""
    repo.git("remote", "add", "upstream", "git@host:team/flows.git")
    repo.git("pack-refs", "--all")
    assert code_of(repo.file)["commit"] == repo.commit
    repo.git("checkout", "-q", "--detach")
    assert code_of(repo.file)["commit"] == repo.commit
    worktree = repo.root.parent / "worktree"
    repo.git("worktree", "add", "-q", "--detach", str(worktree))
    found = code_of(worktree / "flows" / "mine.py")
    assert (found["commit"], found["dirty"], found["path"]) == (repo.commit, False, "flows/mine.py")
    assert found["repository"] == "host:team/flows.git"


def test_dirty_is_what_differs_from_the_commit(repo: Repo) -> None:
    """A change of any file that git follows; a file that it does not follow, only if it is the flow's own."""
    other = repo.root / "other.py"
    other.write_text("y = 1\n")
    assert repo.changed() is False
    assert repo.changed(other) is True
    repo.git("add", "other.py")
    assert repo.changed() is True
    repo.git("commit", "-qm", "y")
    assert repo.changed() is False
    repo.file.write_text("x = 2\n")
    assert repo.changed(other) is True


def test_what_git_does_not_tell_stays_unknown(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not installed, too slow, another commit than the one that was read, or no repository."""
    assert is_changed(repo.root, "0" * 40, repo.file, 20) is None
    assert is_changed(repo.root.parent, repo.commit, repo.file, 20) is None
    commit = repo.commit
    slow = repo.root.parent / "bin"
    slow.mkdir()
    (slow / "git").write_text("#!/bin/sh\nexec sleep 30\n")
    (slow / "git").chmod(0o755)
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{slow}{os.pathsep}{path}")
    began = time.monotonic()
    assert is_changed(repo.root, commit, repo.file, 0.05) is None
    asked = Changes(repo.root, commit, repo.file)
    assert asked.answer() is None
    assert time.monotonic() - began < 10
    monkeypatch.setenv("PATH", str(repo.root.parent))
    assert is_changed(repo.root, commit, repo.file, 20) is None
    found = code_of(repo.file)
    assert (found["commit"], found["dirty"]) == (commit, None)


def test_git_runs_nothing_of_the_repository(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hook and no file monitor; and a variable that a hook sets does not send it elsewhere."""
    ran = repo.root.parent / "ran"
    script = repo.root.parent / "script"
    script.write_text(f"#!/bin/sh\ntouch '{ran}'\n")
    script.chmod(0o755)
    repo.git("config", "core.fsmonitor", str(script))
    hooks = repo.root / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "post-index-change").write_text(script.read_text())
    (hooks / "post-index-change").chmod(0o755)
    os.utime(repo.file)
    index = (repo.root / ".git" / "index").read_bytes()
    commit = subprocess.run(
        ["git", "-c", "core.fsmonitor=false", "-C", str(repo.root), "rev-parse", "HEAD"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    monkeypatch.setenv("GIT_DIR", str(repo.root.parent))
    assert is_changed(repo.root, commit, repo.file, 20) is False
    assert not ran.exists()
    assert (repo.root / ".git" / "index").read_bytes() == index


def test_an_installed_file_is_of_no_commit(repo: Repo, tmp_path: Path) -> None:
    """Although the virtual environment lies in a repository; and outside of any there is only the path."""
    installed = repo.root / ".venv" / "lib" / "python3" / "site-packages" / "package"
    installed.mkdir(parents=True)
    module = installed / "flows.py"
    module.touch()
    assert code_of(module) == {"path": module.as_posix(), "entrypoint": f"{module.as_posix()}:mine"}
    alone = (tmp_path / "alone.py").resolve()
    alone.touch()
    assert code_of(alone) == {"path": alone.as_posix(), "entrypoint": f"{alone.as_posix()}:mine"}
    assert Capturing(None).finish().code == {}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"https://{TOKEN}@host/a/b.git", "https://host/a/b.git"),
        (f"https://me:{TOKEN}@host:8443/a/b.git#{TOKEN}", "https://host:8443/a/b.git"),
        (f"https://me:x/{TOKEN}@host/a", "https://host/a"),
        (f"https://me:1/{TOKEN}@host/a", "https://host/a"),
        (f"https://me:x@{TOKEN}@host/a", "https://host/a"),
        (f"https://host?{TOKEN}", "https://host"),
        ("https://host:8443/a@b", "https://host:8443/a@b"),
        ("ssh://git@host/a", "ssh://host/a"),
        (f"{TOKEN}@host:a/b.git", "host:a/b.git"),
        ("/srv/git/a.git", "/srv/git/a.git"),
        ("../a.git", "../a.git"),
        ("file:///srv/a.git", "file:///srv/a.git"),
    ],
)
def test_the_url_of_a_remote_has_no_credentials(url: str, expected: str) -> None:
    """Users too are dropped: a token can stand where a user does."""
    assert without_credentials(url) == expected


# -- the environment ---------------------------------------------------------------------------------------------------


def test_packages_are_those_that_python_finds() -> None:
    """The names and versions of ``importlib.metadata``, without opening its files."""
    expected: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        expected.setdefault(re.sub(r"[-_.]+", "-", distribution.name).lower(), distribution.version)
    assert dict(installed_packages()) == expected


def test_names_of_metadata_folders_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wheels, eggs, develop installs; not what pip has half removed. A change of the folder is seen."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, names in (
        (first, ["Foo_Bar-1.0+cu118.dist-info", "zope.interface-5.0rc1.dist-info", "old-name-2.1-py3.11.egg-info",
                 "~umpy-1.0.dist-info", "twice-1.0.dist-info", "twice-1.1.dist-info", "bad\udcff-1.dist-info"]),
        (second, ["foo_bar-0.9.dist-info", "epoch-1!2.0.dist-info"]),
    ):  # fmt: skip
        for name in names:
            (folder / name).mkdir(parents=True)
    developed = first / "mine.egg-info"
    developed.mkdir()
    (developed / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 3.2.dev1\n")
    monkeypatch.setattr(sys, "path", [str(first), str(second), str(tmp_path / "missing"), str(developed / "PKG-INFO")])
    assert dict(installed_packages()) == {
        "epoch": "1!2.0",
        "foo-bar": "1.0+cu118",
        "mine": "3.2.dev1",
        "old-name": "2.1",
        "twice": "1.0 or 1.1",
        "zope-interface": "5.0rc1",
    }
    (second / "new-1.dist-info").mkdir()
    os.utime(second, ns=(1, 1))
    assert installed_packages()["new"] == "1"


def test_an_environment_is_json_and_has_no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor who installed a package from where."""
    monkeypatch.setenv("PLANTED", TOKEN)
    found = environment()
    assert set(found) == {"python", "implementation", "platform", "packages"}
    assert TOKEN.encode() not in orjson.dumps(found)


def test_readers_keep_one_copy_of_an_environment() -> None:
    """Thousands of runs have the same one."""
    registry = Registry(MemoryStorage("shared"), heartbeats=False)
    documents = [registry.storage.get(f"{_folder(registry.insert_run('x'))}/begin.json") for _ in range(2)]
    one, other = (Begin.decode(document, "begin.json") for document in documents)
    assert one.environment["packages"]
    assert one.environment is other.environment


def _folder(run_id: str) -> str:
    from prefect_registry.ledger.paths import run_prefix

    return run_prefix(run_id).rstrip("/")


# -- runs without Prefect ----------------------------------------------------------------------------------------------


def test_a_run_of_a_script_is_captured_and_an_implicit_one_is_not() -> None:
    """The file is the one that begins the run; reading it back costs two reads at the same time."""
    counting = CountingStorage(MemoryStorage())
    registry = Registry(counting, heartbeats=False, version_objects=True)
    with registry.run("by hand", config={"rate": 1}) as run:
        registry.save("model", [1])
    registry.save("model", list(range(20_000)), version="2")
    other = Registry(counting, heartbeats=False)
    with counting.measure() as measured:
        found = captured(other, run.id)
    assert (measured.sequential, measured.total) == (1, 2)
    assert found.code["path"].endswith("test_captured_code.py")
    assert (found.parameters, found.outcome, found.failure) == ({"rate": 1}, "committed", None)
    assert found.environment["packages"]["prefect-registry"]
    assert found.worker == {}
    assert found.finished_at is not None
    assert found.finished_at >= found.started_at
    implicit = next(run.id for run in registry.runs() if run.implicit)
    assert (captured(other, implicit).code, captured(other, implicit).environment) == ({}, {})
    with pytest.raises(NotFound):
        captured(other, "run_" + "0" * 26)


def test_what_an_aborted_run_has_read_and_made_is_still_told() -> None:
    """By its own folder; the catalog's lineage has nothing of it."""
    registry = Registry(MemoryStorage(), heartbeats=False, version_objects=True)
    with registry.run("before") as before:
        with before.dataset("raw") as raw, raw.open("a.txt", "w") as file:
            file.write("a")
        version = before.save("model", [1])
    assert involved(registry, before.id).generated == (raw.id, f"model@{version}")

    def work(run: Any) -> None:
        with registry.latest("raw").open("a.txt") as file:
            assert file.read() == b"a"
        run.load("model")
        with run.dataset("clean") as clean, clean.open("b.txt", "w") as file:
            file.write("b")
        made.append(clean.id)
        run.save("fitted", [2], version="7")
        run.emit_event("said", "something")
        raise ValueError("in vain")

    made: list[str] = []
    with pytest.raises(ValueError, match="in vain"), registry.run("fails") as failed:
        work(failed)
    found = involved(registry, failed.id)
    assert set(found.used) == {raw.id, f"model@{version}"}
    assert found.generated == (made[0], "fitted@7")
    assert found.complete
    told = captured(registry, failed.id)
    assert told.outcome == "aborted"
    assert told.failure is not None
    assert (told.failure.cls, told.failure.kind) == ("ValueError", "error")
    assert list(registry.catalog.downstream(raw.id)) == []


_MODULE = """
from prefect_registry import registry_run

def begin(registry):
    return registry.insert_run("x")

async def abegin(registry):
    return await registry.ainsert_run("x")

async def aattempt(registry):
    return (await registry.abegin_attempt("x")).begin.run_id

async def arun(registry):
    async with registry.arun("x") as run:
        return run.id

async def ablock(registry):
    async with registry_run(registry) as run:
        return run.id
"""


def test_asynchronous_callers_are_captured_as_synchronous_ones_are(tmp_path: Path) -> None:
    """The file that awaits, although the run is begun in a thread, on whose stack it does not stand."""
    file = (tmp_path / "began_here.py").resolve()
    file.write_text(_MODULE)
    module = runpy.run_path(str(file))
    registry = Registry(MemoryStorage(), heartbeats=False)
    ids = [module["begin"](registry)]
    ids += [asyncio.run(module[name](registry)) for name in ("abegin", "aattempt", "arun", "ablock")]
    assert [captured(registry, run_id).code["path"] for run_id in ids] == [file.as_posix()] * len(ids)


@pytest.mark.parametrize("fails", [False, True])
def test_what_git_tells_late_travels_with_the_decision(
    repo: Repo, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """No write more, and no wait: the begin says unknown, the decision what has become known."""
    monkeypatch.setattr(Changes.answer, "__defaults__", (0.0,))
    repo.file.write_text("x = 2\n")
    commit, registry = repo.commit, Registry(MemoryStorage(), heartbeats=False)
    changes._asked.clear()
    capturing = Capturing(str(repo.file))
    capture = capturing.finish()
    assert capture.code["dirty"] is None
    run_id = registry.insert_run("quick", capture=capture)
    assert captured(registry, run_id).code["dirty"] is None
    assert capturing._changes is not None
    capturing._changes._answered.wait(20)
    registry.close_run(run_id, not fails)
    found = captured(Registry(registry.storage, heartbeats=False), run_id)
    assert (found.code["commit"], found.code["dirty"]) == (commit, True)
    assert found.outcome == ("aborted" if fails else "committed")


def test_git_is_asked_once_for_a_file_and_commit(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process, while neither file nor index changes; the next run waits for nothing."""
    commit = repo.commit
    first = changes.changes(repo.root, commit, repo.file)
    assert changes.changes(repo.root, commit, repo.file) is first
    assert code_of(repo.file)["dirty"] is False
    monkeypatch.setenv("PATH", "")
    assert code_of(repo.file)["dirty"] is False


def test_a_process_that_lives_on_sees_edits_and_commits(repo: Repo) -> None:
    """As in a notebook that reloads what was edited; another branch too, of packed references, and a new remote."""
    first = repo.commit
    assert (code_of(repo.file)["commit"], code_of(repo.file)["dirty"]) == (first, False)
    repo.file.write_text("x = 2\n")
    assert (code_of(repo.file)["commit"], code_of(repo.file)["dirty"]) == (first, True)
    repo.git("commit", "-qam", "y")
    second = repo.commit
    assert second != first
    assert (code_of(repo.file)["commit"], code_of(repo.file)["dirty"]) == (second, False)
    repo.git("checkout", "-qb", "other", first)
    assert code_of(repo.file)["commit"] == first
    repo.git("pack-refs", "--all")
    repo.git("commit", "-q", "--allow-empty", "-m", "z")
    assert code_of(repo.file)["commit"] == repo.commit not in (first, second)
    repo.git("add", "--chmod=+x", "flows/mine.py")
    assert code_of(repo.file)["dirty"] is True
    repo.git("remote", "add", "origin", "https://host/a.git")
    assert code_of(repo.file)["repository"] == "https://host/a.git"


def test_a_repository_that_is_made_later_is_seen(tmp_path: Path) -> None:
    """And one that is taken away."""
    folder = (tmp_path / "later").resolve()
    folder.mkdir()
    (folder / "mine.py").touch()
    assert "commit" not in code_of(folder / "mine.py")
    repo = Repo(folder)
    assert code_of(folder / "mine.py")["commit"] == repo.commit
    (folder / ".git").rename(folder / "gone")
    assert "commit" not in code_of(folder / "mine.py")


def test_what_has_not_changed_is_not_read_again(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warm capture only looks at the files."""
    expected = code_of(repo.file)

    def read(path: Path, *arguments: Any, **options: Any) -> str:
        raise AssertionError(f"{path} is read")

    monkeypatch.setattr(Path, "read_text", read)
    assert code_of(repo.file) == expected
