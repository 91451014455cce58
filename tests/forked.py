"""Work in forked children, and what they returned."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from typing import Any


def in_child(work: Callable[[], Any]) -> Any:
    """The result of ``work`` in a forked child, which may do to itself what it likes."""
    return _ended(*_begun(work))


def side_by_side(works: list[Callable[[], Any]]) -> list[Any]:
    """Do each work in a forked child, all let go at the same moment; what they returned."""
    gate_reads, gate_writes = os.pipe()

    def behind_the_gate(work: Callable[[], Any]) -> Callable[[], Any]:
        def done() -> Any:
            os.close(gate_writes)
            os.read(gate_reads, 1)  # until the parent closes the gate
            return work()

        return done

    children = [_begun(behind_the_gate(work)) for work in works]
    os.close(gate_reads)
    os.close(gate_writes)
    return [_ended(*child) for child in children]


def _begun(work: Callable[[], Any]) -> tuple[int, int]:
    """A child's process id, and the end of a pipe where its result comes."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(readable)
            with os.fdopen(writable, "wb") as pipe:
                pipe.write(pickle.dumps(work()))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writable)
    return pid, readable


def _ended(pid: int, readable: int) -> Any:
    with os.fdopen(readable, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "a child failed"
    return pickle.loads(data)
