"""Forked children that work at the same time."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from typing import Any


def side_by_side(works: list[Callable[[], Any]]) -> list[Any]:
    """Do each work in a forked child, all let go at the same moment; what they returned."""
    gate_reads, gate_writes = os.pipe()
    pipes = []
    for work in works:
        reads, writes = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(gate_writes)
                os.read(gate_reads, 1)  # until the parent closes the gate
                with os.fdopen(writes, "w") as out:
                    json.dump(work(), out)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(writes)
        pipes.append((pid, reads))
    os.close(gate_reads)
    os.close(gate_writes)
    found = []
    for pid, reads in pipes:
        with os.fdopen(reads) as pipe:
            text = pipe.read()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "a child failed"
        found.append(json.loads(text))
    return found
