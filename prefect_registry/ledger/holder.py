"""Which process this is, and whether another one on this host is provably gone (DESIGN.md P7)."""

from __future__ import annotations

import functools
import getpass
import os
import socket
from pathlib import Path

from prefect_registry.records.runs import Holder

_PROC = Path("/proc")

DETACHED = Holder(host="", boot="", pid=0, process_start="")
"""Holds the runs that outlive every process that works on them: nothing ever proves that it is gone (P7)."""


def this_process() -> Holder:
    """The identity that begin, heartbeats and decisions carry."""
    return _this(os.getpid())


@functools.lru_cache(maxsize=4)
def _this(pid: int) -> Holder:
    return Holder(host=socket.gethostname(), boot=_boot(), pid=pid, process_start=_start_of(pid) or "")


@functools.lru_cache(maxsize=1)
def _boot() -> str:
    """The kernel's boot id and, in a container, its pid namespace: pids are comparable only within both."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return ""


def _start_of(pid: int) -> str | None:
    """The start time of a process in clock ticks since boot: tells a pid from its re-use. None when it is gone.

    proc(5): field 22 of ``/proc/<pid>/stat``, counted behind the command name, which may contain anything. A zombie
    (state ``Z``) has ended: nothing of it runs any more.
    """
    try:
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()


def is_gone(holder: Holder) -> bool:
    """True only with proof: same host, same boot, and no such process any more. False means "cannot tell"."""
    here = this_process()
    if not here.boot or holder.boot != here.boot or holder.host != here.host or not holder.process_start:
        return False
    start = _start_of(holder.pid)
    return start != holder.process_start if start is not None else _has_ended(holder.pid)


def _has_ended(pid: int) -> bool:
    """Whether a process that ``/proc`` does not show has ended. One of another user may be hidden (``hidepid``)."""
    try:
        if (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[0] in (b"Z", b"X"):
            return True
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def login_name() -> str:
    """Who this process belongs to, as the operating system says; empty where it cannot."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user that has no name
        return ""
