"""One look at the open part of the journal: hours that are not sealed, and runs that are not settled."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import groupby

from prefect_registry.ledger import paths
from prefect_registry.ledger.listing import Listing, list_run
from prefect_registry.ledger.store import D, Store
from prefect_registry.records.runs import Decision
from prefect_registry.storage.base import ObjectInfo

CLOCK_ERROR_SECONDS = 2.0
"""Stores stamp whole seconds, and a measured clock is right to one."""
MOST_LOOKS = 20


@dataclass
class Look:
    """What was found: per run (or ``op_``) what it has, every key, and the newest of the store's timestamps."""

    runs: dict[str, Listing] = field(default_factory=dict)
    keys: dict[str, list[str]] = field(default_factory=dict)
    ends: dict[str, datetime] = field(default_factory=dict)
    newest: datetime | None = None

    @property
    def decided(self) -> set[str]:
        """Runs whose decision was seen."""
        return {run_id for run_id, listing in self.runs.items() if listing.end}

    def add(self, run_id: str, objects: list[ObjectInfo]) -> None:
        """Take in what a listing shows of one run."""
        known = set(self.keys.get(run_id, ()))
        self.keys.setdefault(run_id, []).extend(o.key for o in objects if o.key not in known)
        self.runs[run_id] = Listing.of(objects)
        for info in objects:
            if info.key.endswith("/end.json"):
                self.ends[run_id] = info.modified
            if self.newest is None or info.modified > self.newest:
                self.newest = info.modified


def look_at(store: Store, sealed: str, unsettled: Iterable[str]) -> Look:
    """List what is open: everything behind the hour ``sealed``, and the runs of sealed hours that are not settled."""
    look = Look()
    after = f"{paths.RUNS}{sealed}/~" if sealed else ""
    known = ((parsed.run_id, info) for info in store.storage.list(paths.RUNS, after)
             if (parsed := paths.parse_run_object(info.key)) is not None)  # fmt: skip
    marked: set[str] = set()
    for (run_id, home), group in groupby(known, key=lambda pair: (pair[0], pair[1].key.partition(pair[0])[0])):
        objects = [info for _, info in group]
        if home + run_id + "/" == paths.run_prefix(run_id):
            look.add(run_id, objects)
        elif any(o.key.endswith("/see") for o in objects):
            marked.add(run_id)
    elsewhere = sorted((set(unsettled) | marked) - set(look.runs))
    for run_id, objects in zip(elsewhere, _list_runs(store, elsewhere), strict=True):
        look.add(run_id, objects)
    return look


def _list_runs(store: Store, run_ids: list[str]) -> list[list[ObjectInfo]]:
    return store.together([partial(list_run, store, run_id) for run_id in run_ids]) if run_ids else []


def whole_look(store: Store, sealed: str, unsettled: Collection[str], seen: Collection[str]) -> Look:
    """A look that shows no decision without those that were made before it.

    A listing takes time, and can show a decision without an earlier one that landed where it had passed already. That
    cannot be when every new decision is older than the listing. Otherwise it is made again, until two agree; while
    commits stream in, only those up to the last one of the first look are held to that, and later ones do not count
    yet.
    """
    started = store.clock.now()
    look = look_at(store, sealed, unsettled)
    new = {run_id for run_id in look.decided if paths.end_key(run_id) not in seen}
    if not new or (store.clock.measured and all(_older(look.ends[run_id], started) for run_id in new)):
        return look
    kept, look = look.decided, look_at(store, sealed, unsettled)
    if kept == look.decided:
        return look
    closed = store.read_many([paths.end_key(r) for r in kept if r in new], Decision)
    horizon = max((d.closed_at for d in closed if d is not None), default=None)
    for _ in range(MOST_LOOKS):
        before, kept = kept, _decided_by(store, look, horizon, seen)
        if before == kept:
            break
        look = look_at(store, sealed, unsettled)
    for run_id, listing in look.runs.items():
        if listing.end and run_id not in kept:
            listing.end = False
            look.keys[run_id].remove(paths.end_key(run_id))
    return look


def _older(moment: datetime, than: datetime) -> bool:
    return (than - moment).total_seconds() > CLOCK_ERROR_SECONDS


def _decided_by(store: Store, look: Look, horizon: datetime | None, seen: Collection[str]) -> set[str]:
    old = {run_id for run_id in look.decided if paths.end_key(run_id) in seen}
    new = sorted(look.decided - old)
    ends = store.read_many([paths.end_key(r) for r in new], Decision)
    return old | {d.run_id for d in ends if d is not None and horizon is not None and d.closed_at <= horizon}


class View(Store):
    """The store in the state of a look: decisions that it does not show do not exist."""

    look: Look

    @classmethod
    def of(cls, store: Store, look: Look) -> View:
        """A view of ``store``, sharing what it has read."""
        view = cls(**{name: getattr(store, name) for name in store.__dataclass_fields__})
        view._cache, view.look = store._cache, look
        return view

    def peek(self, key: str, model: type[D]) -> D | None:
        """Like :meth:`Store.peek`; a decision only if the look shows it, or of a run that was settled before."""
        if model is Decision:
            listing = self.look.runs.get(key.split("/")[3])
            if listing is not None and not listing.end:
                return None
        return super().peek(key, model)
