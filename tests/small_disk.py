"""A disk of a few pages, which is really full when it is full: a tmpfs that only the process that mounted it sees."""

from __future__ import annotations

import ctypes
import functools
import multiprocessing
import os
import resource
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forked import in_child

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_REC, MS_PRIVATE = 1 << 14, 1 << 18
MS_RDONLY, MS_REMOUNT = 1, 1 << 5


def mount(folder: Path, size: str) -> bool:
    """Make ``folder`` a disk of ``size`` for this process alone, which must be a child. False where that may not be."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNS) != 0:
        if libc.unshare(CLONE_NEWNS | CLONE_NEWUSER) != 0:
            return False
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    if libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        return False
    return bool(libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, f"size={size}".encode()) == 0)


def make_read_only(folder: Path) -> None:
    """Let nobody write to a disk that :func:`mount` made; no file on it may be open for writing."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"none", os.fsencode(folder), None, MS_REMOUNT | MS_RDONLY, None) == 0, ctypes.get_errno()


@functools.cache
def can_mount() -> bool:
    """Whether children of this process may mount."""
    context: Any = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        child = context.Process(target=lambda: os._exit(0 if mount(Path(folder), "64k") else 1))
        child.start()
        child.join(60)
        return bool(child.exitcode == 0)


def need_mounting() -> None:
    """Skip the test, and say so, where no disk can be mounted. What a limit on files shows is shown beside it."""
    if not can_mount():
        pytest.skip("no disk can be mounted here, as root or in a user namespace: a really full one was not tried")


def on_a_small_disk(
    folder: Path, real: bool, work: Callable[[Callable[[], None], Callable[[], None]], Any], size: str = "4m"
) -> Any:
    """``work(fill, free)`` where ``folder`` is a disk of its own that ``fill`` fills and ``free`` frees.

    Unless it is to be ``real``, a limit on the size of files does the same to what is written.
    """

    def child() -> Any:
        if real:
            assert mount(folder, size)
            return work(lambda: fill(folder / "filler"), (folder / "filler").unlink)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        return work(
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, most)),
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
        )

    return in_child(child)


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
