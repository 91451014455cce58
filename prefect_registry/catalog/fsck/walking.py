"""Every object of a store, in one pass over its listings: grouped by run, and what is not of the format."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

from prefect_registry.catalog.fsck.look import Checked
from prefect_registry.ids import is_run_id
from prefect_registry.ledger import paths
from prefect_registry.ledger.listing import list_run
from prefect_registry.storage.base import ObjectInfo

CELLS = "cells/"
PROBE = ".probe/"
_TREES = (PROBE, "catalog/", CELLS, paths.DATA, paths.RESULTS, paths.RUNS)
"""What a root has beside ``registry.json``. Of what is below ``catalog/`` only checkpoints are judged."""

_OF_A_RUN = re.compile(
    r"begin\.json|heartbeat\.json|end\.json|see|members-[0-9a-z]{16}\.json|datasets/[0-9a-z]{16}/[0-9]{10}\.json"
    r"|events/[ei][0-9a-z]{16}\.json|touch/[^/]+/[^/]+(?:/[^/]+)?/[0-9]{10}|dropped/e[0-9a-z]{16}|nested/run_[0-7][0-9a-hjkmnp-tv-z]{25}"
)
_OF_AN_OPERATION = re.compile(r"events/[ei][0-9a-z]{16}\.json|touch/[^/]+/[^/]+(?:/[^/]+)?/[0-9]{10}")
_DATA = re.compile(r"[0-9a-z]{16}/.+", re.S)


@dataclass
class Home:
    """What lies in the two folders of a run (or ``op_``), by key: small objects, and bytes."""

    run_id: str
    objects: dict[str, ObjectInfo] = field(default_factory=dict)
    data: dict[str, ObjectInfo] = field(default_factory=dict)


def homes(checked: Checked) -> Iterator[Home]:
    """Every run, in the order of the hours. What belongs to none is told."""
    both = heapq.merge(_placed(checked, paths.RUNS), _placed(checked, paths.DATA), key=lambda pair: pair[0])
    for (_, run_id), found in groupby(both, key=lambda pair: pair[0]):
        home = Home(run_id)
        for _, info in found:
            (home.objects if info.key.startswith(paths.RUNS) else home.data)[info.key] = info
        yield home


def again(checked: Checked, run_id: str) -> Home:
    """One run as it is now. What is being written lands while listings pass by: a second look shows it."""
    small = [o for o in list_run(checked.store, run_id) if _is_of_format(o.key, run_id)]
    data = [o for o in checked.storage.list(paths.data_prefix(run_id)) if _is_of_format(o.key, run_id)]
    return Home(run_id, {o.key: o for o in small}, {o.key: o for o in data})


def _placed(checked: Checked, tree: str) -> Iterator[tuple[tuple[str, str], ObjectInfo]]:
    for info in checked.storage.list(tree):
        checked.see("journal", "documents" if tree == paths.RUNS else "files", info)
        parts = info.key.split("/")
        if len(parts) > 4 and is_run_id(parts[3]):
            run_id = parts[3]
            if _is_of_format(info.key, run_id):
                yield (f"{parts[1]}/{parts[2]}", run_id), info
                continue
            if tree == paths.RUNS and parts[4:] == ["see"]:  # in a later hour: a run whose begin landed late
                continue
        foreign(checked, info)


def _is_of_format(key: str, run_id: str) -> bool:
    small, data = paths.run_prefix(run_id), paths.data_prefix(run_id)
    if key.startswith(small):
        shape = _OF_A_RUN if run_id.startswith("run_") else _OF_AN_OPERATION
        return shape.fullmatch(key, len(small)) is not None
    return run_id.startswith("run_") and key.startswith(data) and _DATA.fullmatch(key, len(data)) is not None


def foreign(checked: Checked, info: ObjectInfo) -> None:
    """Tell of an object that is not of the format."""
    checked.tell("foreign-file", info.key, f"{info.size:,} bytes that are not of the store's format", info)


def check_root(checked: Checked) -> None:
    """What lies in the root beside the trees. Their own listings are jumped over."""
    after = ""
    while True:
        info = next(iter(checked.storage.list("", after)), None)
        if info is None:
            return
        tree = next((t for t in _TREES if info.key.startswith(t)), None)
        after = info.key if tree is None else tree[:-1] + "0"  # "0" comes right behind "/"
        if tree == PROBE:
            checked.tell("left-over", info.key, "A trial of the store was interrupted", info)
        elif tree is None and info.key != paths.REGISTRY:
            foreign(checked, info)
