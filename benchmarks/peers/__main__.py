"""Compare with other registries and version stores: `make bench-peers`. Exit status 1 when a target is missed."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import OtherWork
from benchmarks.peers.environments import PEERS, NotThere, ensure, last_line

OURS = "prefect-registry"
REPOSITORY = Path(__file__).parents[2]
_JOB_SECONDS = 1800.0
OPERATIONS = ("save 1 KiB", "load 1 KiB", "save 64 MiB", "load 64 MiB", "list versions")


@dataclass(frozen=True)
class Outcome:
    """What one program took: seconds of its own and of the baseline, in pairs; how many versions were listed."""

    version: str
    times: Mapping[str, Sequence[tuple[float, float]]]
    versions: int

    def median(self, operation: str) -> float:
        """Milliseconds."""
        return 1000 * statistics.median(theirs for theirs, _ in self.times[operation])

    def baseline(self, operation: str) -> float:
        """Milliseconds of the bare durable write, or read, beside it."""
        return 1000 * statistics.median(bare for _, bare in self.times[operation])

    def ratio(self, operation: str) -> float:
        """How many times as long as the baseline: the median over the pairs."""
        return statistics.median(theirs / bare for theirs, bare in self.times[operation])


def measure(name: str, python: str, version: str, plan: Mapping[str, float]) -> Outcome:
    """Run the job in a new process of ``python``, in an empty home folder."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(home),
            **({"PYTHONPATH": str(REPOSITORY)} if name == OURS else {}),
        }
        job = str(Path(__file__).with_name("job.py"))
        log, answer = Path(folder) / "log", Path(folder) / "answer"
        with open(log, "wb") as out:
            command = [python, "-W", "ignore", job, name, str(_made(folder)), str(answer), json.dumps(plan)]
            try:
                done = subprocess.run(
                    command, cwd=home, env=environment, stdout=out, stderr=subprocess.STDOUT, timeout=_JOB_SECONDS
                )
            except subprocess.TimeoutExpired:
                raise NotThere(f"the job took more than {_JOB_SECONDS:.0f} seconds") from None
        if done.returncode or not answer.exists():
            raise NotThere(f"the job failed: {last_line(log)}")
        found = json.loads(answer.read_text())
        return Outcome(version, found["times"], found["versions"])


def _made(folder: str) -> Path:
    path = Path(folder) / "work"
    path.mkdir()
    return path


def main() -> int:
    """Install what is missing, run the job for each, and print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    names = [OURS, *(peer.name for peer in PEERS)]
    parser.add_argument("--only", action="append", choices=names, help="may be given several times; all by default")
    parser.add_argument("--small", type=int, default=50, help="saves and loads of 1 KiB")
    parser.add_argument("--large", type=int, default=3, help="saves and loads of 64 MiB")
    parser.add_argument("--versions", type=int, default=1000, help="how many versions to list")
    parser.add_argument("--seconds", type=float, default=60, help="how long to go on making them")
    options = parser.parse_args()
    plan = {key: getattr(options, key) for key in ("small", "large", "versions", "seconds")}
    chosen = options.only or names
    others = OtherWork()
    outcomes: dict[str, Outcome] = {}
    missing: dict[str, str] = {}
    for name in chosen:
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            outcomes[name] = _outcome(name, plan)
        except NotThere as reason:
            missing[name] = str(reason)
    print(table(outcomes))
    for name, reason in missing.items():
        print(f"{name}: not measured: {reason}")
    share = others.share()
    if share is not None:
        print(f"Other processes and the kernel's own threads used {share:.0%} of this machine meanwhile.")
    return 1 if verdict(outcomes) or OURS in missing else 0


def _outcome(name: str, plan: Mapping[str, float]) -> Outcome:
    if name == OURS:
        from prefect_registry import __version__

        return measure(name, sys.executable, __version__, plan)
    peer = next(peer for peer in PEERS if peer.name == name)
    version = ensure(peer)
    return measure(name, str(peer.python), version, plan)


def table(outcomes: Mapping[str, Outcome]) -> str:
    """Milliseconds, and in brackets how many times as long as the bare durable write or read in the same process."""
    rows = [["median, in ms", *OPERATIONS, "versions"]]
    if outcomes:
        bare = [f"{statistics.median(o.baseline(op) for o in outcomes.values()):.2f}" for op in OPERATIONS]
        rows.append(["bare durable write", *bare, ""])
    for name, outcome in outcomes.items():
        cells = [f"{outcome.median(op):.2f} ({outcome.ratio(op):.1f}x)" for op in OPERATIONS]
        rows.append([f"{name} {outcome.version}", *cells, f"{outcome.versions:,}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]))
    return "\n".join(lines)


def verdict(outcomes: Mapping[str, Outcome]) -> int:
    """Print the targets; how many are missed."""
    ours = outcomes.get(OURS)
    if ours is None:
        return 0
    missed = 0
    for operation, most in (("save 1 KiB", 4.0), ("save 64 MiB", 1.3)):
        ok = ours.ratio(operation) <= most
        missed += not ok
        mark = "ok    " if ok else "MISSED"
        print(f"{mark}  {operation}: {ours.ratio(operation):.2f} times the bare durable write  [at most {most:g}]")
    for operation in OPERATIONS:
        ahead = [name for name, o in outcomes.items() if name != OURS and o.ratio(operation) < ours.ratio(operation)]
        target = operation == "save 1 KiB"
        missed += target and bool(ahead)
        mark = "      " if not target else "MISSED" if ahead else "ok    "
        print(f"{mark}  {operation}: {'behind ' + ', '.join(ahead) if ahead else 'ahead of every peer'}")
    return missed


if __name__ == "__main__":
    sys.exit(main())
