"""Whether code differs from the commit that is checked out. Git tells, beside whatever else a run begins with.

Git is asked once per process for a file and commit, and again when the file or the index has changed (another file that
git follows may change unnoticed), in a thread, and is given a second. It refreshes no index (so it
takes no lock that the user's git would wait for), and runs neither hooks nor a file monitor, nor fetches what a
partial clone lacks.
"""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

from prefect_registry.locks import ForkSafeLock

LIMIT_SECONDS = 1.0
"""What git is given; then it is killed, and the answer stays unknown."""

WAIT_SECONDS = 0.003
"""How much longer a run waits when everything else is known. What is not known by then travels with the decision."""

MOST_ANSWERS = 256

_QUIET = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
_VARIABLES = {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
_ELSEWHERE = frozenset(
    ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE",
     "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_PREFIX")
)  # fmt: skip
"""Variables that a git hook sets around us, and that would make git look at another repository."""


class Changes:
    """A question to git that is being answered: :meth:`answer` waits for it a little."""

    def __init__(self, root: Path, commit: str, file: Path) -> None:
        self._asked = (root, commit, file)
        self._answered = threading.Event()
        self._changed: bool | None = None
        try:
            threading.Thread(target=self._ask, daemon=True, name="registry-git-status").start()
        except RuntimeError:  # no more threads, or the interpreter is ending
            self._answered.set()

    def _ask(self) -> None:
        try:
            self._changed = is_changed(*self._asked)
        finally:
            self._answered.set()

    def answer(self, wait_seconds: float = WAIT_SECONDS) -> bool | None:
        """Whether the code differs from its commit; None when git has not told, or there is none."""
        if wait_seconds > 0:
            self._answered.wait(wait_seconds)
        return self._changed


_asked: dict[tuple[int, Path, str, Path], tuple[object, Changes]] = {}
_lock = ForkSafeLock()


def changes(root: Path, commit: str, file: Path, looks: object = None) -> Changes:
    """The question for a file of a working tree, asked once in this process while all ``looks`` the same."""
    key = (os.getpid(), root, commit, file)  # a forked child has none of its parent's threads
    with _lock:
        known = _asked.get(key)
        if known is None or known[0] != looks:
            if len(_asked) >= MOST_ANSWERS:
                _asked.clear()
            known = _asked[key] = looks, Changes(root, commit, file)
        return known[1]


def is_changed(root: Path, commit: str, file: Path, limit_seconds: float = LIMIT_SECONDS) -> bool | None:
    """Whether something that git follows in ``root`` differs from ``commit``, or it does not follow ``file`` itself.

    None when git is not installed, refuses the repository, takes too long, or sees another commit.
    """
    status = ("status", "--porcelain=v2", "--branch", "--untracked-files=no")
    begun = [_git(root, *status), _git(root, "ls-files", "--", str(file))]
    told = [_told(process, limit_seconds) for process in begun]
    if told[0] is None or told[1] is None:
        return None
    lines = told[0].splitlines()
    if f"# branch.oid {commit}" not in lines:
        return None
    return not told[1].strip() or any(not line.startswith("#") for line in lines)


def _git(root: Path, *arguments: str) -> subprocess.Popen[str] | None:
    environ = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    try:
        return subprocess.Popen(
            ["git", *_QUIET, "-C", str(root), *arguments], env={**environ, **_VARIABLES}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8", errors="replace",
        )  # fmt: skip
    except OSError:  # not installed, or this process may start no other
        return None


def _told(process: subprocess.Popen[str] | None, limit_seconds: float) -> str | None:
    """What git has printed; None if it failed or was killed for taking too long."""
    if process is None:
        return None
    try:
        out, _ = process.communicate(timeout=limit_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None
    return out if process.returncode == 0 else None
