"""The job, for one of the programs, run by its own interpreter: ``python job.py NAME FOLDER ANSWER PLAN``.

Every operation takes turns with the bare durable write of the same value, so that a noisy moment hits both.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adapters import ADAPTERS, Bare

Times = list[tuple[float, float]]


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and the result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def in_turn(theirs: Callable[[], Any], bare: Callable[[], Any], i: int) -> tuple[tuple[float, float], Any]:
    """Seconds of both, and what the first of them gave; each is first every other time."""
    if i % 2:
        seconds, result = timed(theirs)
        return (seconds, timed(bare)[0]), result
    first, _ = timed(bare)
    seconds, result = timed(theirs)
    return (seconds, first), result


def small(peer: Any, bare: Bare, rounds: int) -> dict[str, Times]:
    """Objects of 1 KiB, each a new version of one name."""
    saves: Times = []
    loads: Times = []
    for i in range(-1, rounds):  # the first is not counted: it opens connections and makes tables
        value = os.urandom(1024)
        saved, _ = in_turn(lambda v=value: peer.save("small", v), lambda v=value: bare.save("small", v), i)
        loaded, found = in_turn(lambda: peer.load("small"), lambda: bare.load("small"), i)
        assert found == value, "it gave back something else"
        if i >= 0:
            saves.append(saved)
            loads.append(loaded)
    return {"save 1 KiB": saves, "load 1 KiB": loads}


def large(peer: Any, bare: Bare, rounds: int) -> dict[str, Times]:
    """Arrays of 64 MiB that do not compress."""
    import numpy as np

    generator = np.random.default_rng(1)
    saves: Times = []
    loads: Times = []
    for i in range(rounds):
        value = generator.random(8 << 20)
        saved, _ = in_turn(lambda v=value: peer.save("large", v), lambda v=value: bare.save("large", v), i)
        loaded, found = in_turn(lambda: peer.load("large"), lambda: bare.load("large"), i)
        assert np.array_equal(found, value), "it gave back something else"
        saves.append(saved)
        loads.append(loaded)
    return {"save 64 MiB": saves, "load 64 MiB": loads}


def listing(peer: Any, bare: Bare, have: int, want: int, seconds: float) -> tuple[dict[str, Times], int]:
    """All versions of one name: ``want`` of them, or as many as can be made in ``seconds``."""
    until = time.monotonic() + seconds
    while have < want and time.monotonic() < until:
        value = os.urandom(1024)
        peer.save("small", value)
        bare.save("small", value)
        have += 1
    times: Times = []
    for i in range(5):
        pair, found = in_turn(lambda: peer.versions("small"), lambda: bare.versions("small"), i)
        assert found == have, f"it lists {found} versions of {have}"
        times.append(pair)
    return {"list versions": times}, have


def main(name: str, folder: str, answer: str, plan: str) -> None:
    """Write the seconds of every operation, as pairs of theirs and the baseline's, to ``answer``."""
    amounts = json.loads(plan)
    root = Path(folder)
    peer, bare = ADAPTERS[name](root), Bare(root)
    times = small(peer, bare, amounts["small"]) | large(peer, bare, amounts["large"])
    listed, versions = listing(peer, bare, amounts["small"] + 1, amounts["versions"], amounts["seconds"])
    Path(answer).write_text(json.dumps({"times": times | listed, "versions": versions}))


if __name__ == "__main__":
    main(*sys.argv[1:])
