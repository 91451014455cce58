"""Where everything lies: the one place that spells keys of store format 1 (DESIGN.md 3).

Nothing ever decodes a user's name back out of a key; ids, numbers and types are read from them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from prefect_registry.ids import began_at, is_run_id
from prefect_registry.records.cells import CellRef
from prefect_registry.storage.base import ObjectInfo

_GENERATION = re.compile(r"([0-9]{10})(?:\.json)?")

_SHAPES = {
    "datasets": re.compile(r"[0-9a-z]{16}/[0-9]{10}\.json"),
    "events": re.compile(r"[ei][0-9a-z]{16}\.json"),
    "touch": re.compile(r"[^/]+/[^/]+(?:/[^/]+)?/[0-9]{10}"),
    "nested": re.compile(r"run_[0-7][0-9a-hjkmnp-tv-z]{25}"),
    "dropped": re.compile(r"e[0-9a-z]{16}"),
}
"""What may lie in the folders of a run."""

REGISTRY = "registry.json"
RUNS = "runs/"
DATA = "data/"
CELLS = "cells/"
RESULTS = "results/"
"""What Prefect keeps there, if it is told to: its cache, and no part of any run."""


def gen_name(gen: int) -> str:
    """Ten digits, so that a paged LIST is a true prefix of history."""
    return f"{gen:010d}"


def hour_of(moment: datetime) -> str:
    """The part of a prefix that tells the UTC hour: ``2026-11-21/07``."""
    return moment.strftime("%Y-%m-%d/%H")


@functools.lru_cache(maxsize=20_000)
def run_prefix(run_id: str) -> str:
    """The run's own small objects; ``run_id`` may be an ``op_`` id."""
    return f"runs/{hour_of(began_at(run_id))}/{run_id}/"


def begin_key(run_id: str) -> str:
    """What insert_run recorded."""
    return run_prefix(run_id) + "begin.json"


def end_key(run_id: str) -> str:
    """The decision."""
    return run_prefix(run_id) + "end.json"


def heartbeat_key(run_id: str) -> str:
    """The one object that is overwritten, by its owner."""
    return run_prefix(run_id) + "heartbeat.json"


def nested_key(parent: str, child: str) -> str:
    """The empty marker of a run nested in another (P11)."""
    return f"{run_prefix(parent)}nested/{child}"


def members_key(run_id: str, write_id: str) -> str:
    """A part of the members that did not fit the decision."""
    return f"{run_prefix(run_id)}members-{write_id}.json"


def dataset_key(run_id: str, suffix: str, gen: int) -> str:
    """One step of a dataset: 0 is begun."""
    return f"{run_prefix(run_id)}datasets/{suffix}/{gen_name(gen)}.json"


def event_key(run_id: str, suffix: str) -> str:
    """An event or incident; ``suffix`` starts with ``e`` or ``i``."""
    return f"{run_prefix(run_id)}events/{suffix}.json"


def dropped_key(run_id: str, suffix: str) -> str:
    """The marker of an event that its writer has taken back: the run's decision leaves it out."""
    return f"{run_prefix(run_id)}dropped/{suffix}"


def touch_key(run_id: str, cell: CellRef, gen: int) -> str:
    """The empty marker: this run wrote, or was about to write, that generation (P9)."""
    return f"{run_prefix(run_id)}touch/{cell.type}/{cell.key}/{gen_name(gen)}"


def see_key(run_id: str, now: datetime) -> str:
    """A marker in the present hour that points at a run whose begin landed after its own hour (DESIGN.md 6)."""
    return f"runs/{hour_of(now)}/{run_id}/see"


@functools.lru_cache(maxsize=20_000)
def data_prefix(run_id: str) -> str:
    """All bytes of a run."""
    return f"data/{hour_of(began_at(run_id))}/{run_id}/"


def dataset_prefix(run_id: str, suffix: str) -> str:
    """The folder of a dataset's bytes."""
    return f"{data_prefix(run_id)}{suffix}/"


def cell_prefix(cell: CellRef) -> str:
    """All generations of a cell."""
    return f"{CELLS}{cell.type}/{cell.key}/"


def cell_key(cell: CellRef, gen: int) -> str:
    """One generation of a cell."""
    return f"{cell_prefix(cell)}{gen_name(gen)}.json"


def cell_of_key(key: str) -> tuple[CellRef, int]:
    """The cell and the number in the key of a generation; or of a touch, from the type on."""
    type_, _, rest = key.removeprefix(CELLS).partition("/")
    return CellRef(type_, rest.rpartition("/")[0]), gen_of_key(key)


def gen_of_key(key: str) -> int:
    """The generation number that a dataset's, cell's or touch's key ends in.

    -1 for what somebody else put there (``.DS_Store``, the temporary files of a copying program): no generation.
    """
    match = _GENERATION.fullmatch(key.rpartition("/")[2])
    return int(match.group(1)) if match else -1


def generations(listing: Iterable[ObjectInfo]) -> list[str]:
    """The keys in a listing that are generations, oldest first."""
    return [found.key for found in listing if gen_of_key(found.key) >= 0]


class RunObject(NamedTuple):
    """A key below ``runs/``, taken apart: ``kind`` is the first segment below the run, ``rest`` what follows."""

    run_id: str
    kind: str
    rest: tuple[str, ...]

    @property
    def touched(self) -> str:
        """The key of the generation that a touch tells of."""
        return f"{CELLS}{'/'.join(self.rest)}.json"


@functools.lru_cache(maxsize=8_192)
def parse_run_object(key: str) -> RunObject | None:
    """What an object below ``runs/`` is, or None for a key that is none of ours.

    People's tools leave things everywhere (``.DS_Store``, half-copied files): they must not trouble any run. What is
    open is listed again and again, so the last answers are kept.
    """
    parts = key.split("/")
    if len(parts) < 5 or parts[0] != "runs" or not is_run_id(parts[3]):
        return None
    shape = _SHAPES.get(parts[4])
    if shape is not None and not shape.fullmatch("/".join(parts[5:])):
        return None
    return RunObject(parts[3], parts[4], tuple(parts[5:]))
