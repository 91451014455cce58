"""Events and incidents: what happened, inside a run or outside any (DESIGN.md 4).

An event emitted in a run is a member of it, visible when it commits; an incident, and an ``immediate`` event, is
visible at once. The file name tells which: ``e…`` or ``i…``, so that a listing is enough for the members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from prefect_registry.errors import AlreadyExists, IntegrityError, in_run
from prefect_registry.ids import began_at, parse_inner_id, parse_run_id
from prefect_registry.ledger import observers, paths
from prefect_registry.ledger.journal import Journal, RunEntry
from prefect_registry.ledger.outcomes import Outcomes
from prefect_registry.ledger.runs import Runs
from prefect_registry.ledger.store import Store
from prefect_registry.records.events import Event
from prefect_registry.records.runs import Decision


class Events:
    """Writes and reads events and incidents."""

    def __init__(self, store: Store, outcomes: Outcomes, runs: Runs, journal: Journal) -> None:
        self._store = store
        self._outcomes = outcomes
        self._runs = runs
        self._journal = journal

    def emit(
        self, event_name: str, subject_id: str, payload: Mapping[str, Any], run_id: str | None, immediate: bool
    ) -> Event:
        """Record an event: one round trip."""
        visible = immediate or run_id is None
        return self._write("ev", run_id, visible, event_name, subject_id, payload=dict(payload))

    def used(self, run_id: str, dataset_ids: Sequence[str] = (), objects: Sequence[str] = ()) -> Event:
        """Record that a run reads datasets and versions of objects: a member of the run, like what it publishes."""
        told = {"datasets": list(dataset_ids), **({"objects": list(objects)} if objects else {})}
        return self._write("ev", run_id, False, "Used", run_id, record="usage", payload=told)

    def incident(self, event: str, subject_id: str, error_class: str, message: str, run_id: str | None) -> Event:
        """Record an incident, visible at once, also when its run fails, and also after it."""
        return self._write(
            "inc", run_id, True, event, subject_id, record="incident", error_class=error_class, message=message
        )

    def _write(
        self, prefix: str, run_id: str | None, visible: bool, event_name: str, subject_id: str, **rest: Any
    ) -> Event:
        if run_id is None:
            self._store.know_time()
        now = self._store.clock.now()
        home = parse_run_id(run_id) if run_id is not None else self._store.ids.typeid("op", now)
        event_id = self._store.ids.inner(prefix, home)
        document = Event(
            write_id=self._store.ids.write_id(),
            event_id=event_id,
            event_name=event_name,
            subject_id=subject_id,
            created_at=now,
            tx=None if visible else run_id,
            run_id=run_id,
            **rest,
        )
        name = ("i" if visible else "e") + event_id[-16:]
        create = partial(self._create, paths.event_key(home, name), document)
        if run_id is not None and not visible:
            try:
                self._runs.within(run_id, [create], f"emit {event_name!r}", partial(self._lists, name=name))
            finally:  # when the store did not say, it may be there
                if document.record == "event":
                    observers.event_emitted(self._store.storage.url, document)
        elif run_id is not None:
            with in_run(run_id):
                self._runs.known(run_id)
                calls: list[Callable[[], object]] = [create, *self._see(run_id, now)]
                self._store.together(calls)
        else:
            create()
        return document

    def drop(self, event_id: str) -> None:
        """Take back an event that became a member of an undecided run: what was emitted is never deleted (P1), but the
        run's decision leaves out what is marked.

        Raises:
            InvalidState: The run is decided.
        """
        run_id, suffix = parse_inner_id(event_id, "ev", "event")
        mark = partial(self._store.storage.put, paths.dropped_key(run_id, "e" + suffix), b"")
        self._runs.within(run_id, [mark], f"drop {event_id}", lambda end: not self._lists(end, "e" + suffix))

    def _see(self, run_id: str, now: datetime) -> list[Callable[[], object]]:
        """The marker that makes an index look at a run whose own hour it may have sealed (DESIGN.md 6)."""
        if paths.hour_of(now) == paths.hour_of(began_at(run_id)):
            return []
        return [partial(self._store.storage.put, paths.see_key(run_id, now), b"")]

    def _create(self, key: str, document: Event) -> None:
        try:
            self._store.create(key, document)
        except AlreadyExists as error:  # 80 random bits: not in this universe, but never say it was written
            raise IntegrityError(f"{key} exists already", todo="Try again", committed="no") from error

    # -- reading -------------------------------------------------------------------------------------------------

    def get(self, event_id: str, prefix: str) -> Event | None:
        """One event or incident by its id, if it is visible; at most two round trips."""
        noun = "event" if prefix == "ev" else "incident"
        run_id, suffix = parse_inner_id(event_id, prefix, noun)
        homes = [run_id, "op_" + run_id[4:]]
        keys = [paths.event_key(h, m + suffix) for h in homes for m in ("e", "i")]
        found = next((d for d in self._store.read_many(keys, Event) if d is not None), None)
        return found if found is not None and found.event_id == event_id and self._visible(found) else None

    def _visible(self, event: Event) -> bool:
        if event.tx is None:
            return True
        end = self._store.decision(event.tx)
        if end is None or not end.committed or self._outcomes.effective(event.tx) != "committed":
            return False
        return self._lists(end, "e" + event.event_id[-16:])

    def _lists(self, decision: Decision, name: str) -> bool:
        return name in self._store.members(decision).events

    def visible(self, entries: dict[str, RunEntry] | None = None) -> Iterator[Event]:
        """Every visible event and incident, oldest first (by time, then id)."""
        entries = self._journal.consistent_entries() if entries is None else entries
        keys = [paths.event_key(r, n) for r, e in entries.items() for n in [*e.events, *e.incidents]]
        found = [d for d in self._store.read_many(keys, Event) if d is not None] if keys else []
        return iter(sorted((d for d in found if self._visible(d)), key=lambda d: (d.created_at, d.event_id)))
