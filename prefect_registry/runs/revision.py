"""Which version of the code a run was made by: the deployment's, or the git commit it lies in."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

_COMMIT = re.compile(r"^[0-9a-f]{40}([0-9a-f]{24})?$")


def commit_of(fn: Callable[..., Any]) -> str | None:
    """The commit that is checked out where ``fn`` was defined; None outside a repository, in a notebook, in a REPL."""
    try:
        source = inspect.getsourcefile(inspect.unwrap(fn))
    except TypeError:
        return None
    return commit_at(str(Path(source).resolve().parent)) if source and Path(source).exists() else None


@functools.lru_cache(maxsize=64)
def commit_at(folder: str) -> str | None:
    """The commit of the repository around ``folder``, read from its files: git itself need not be installed."""
    for place in (Path(folder), *Path(folder).parents):
        entry = place / ".git"
        try:
            if entry.is_dir():
                return _head(entry)
            if entry.is_file():  # a worktree or submodule: gitrepository-layout(5)
                return _head((place / entry.read_text().partition("gitdir:")[2].strip()).resolve())
        except OSError:
            return None
    return None


def _head(git: Path) -> str | None:
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref:"):
        return head if _COMMIT.match(head) else None
    name = head.partition(":")[2].strip()
    shared = git / "commondir"
    common = (git / shared.read_text().strip()).resolve() if shared.is_file() else git
    for base in (git, common):
        if (base / name).is_file():
            return (base / name).read_text().strip()
    packed = common / "packed-refs"
    lines = packed.read_text().splitlines() if packed.is_file() else []
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), None)
