"""The documents of one run: begin, heartbeat, decision, members, events, and its lease."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TypeVar

from prefect_registry.catalog.fsck.expected import expect_events, expect_run
from prefect_registry.catalog.fsck.look import Checked, Damage, Looked, batches, since_text, tolerant
from prefect_registry.catalog.fsck.report import amount
from prefect_registry.catalog.fsck.walking import Home
from prefect_registry.catalog.rows import Standing
from prefect_registry.clock import iso
from prefect_registry.ids import is_run_id
from prefect_registry.ledger import paths
from prefect_registry.ledger.listing import Listing
from prefect_registry.ledger.store import D
from prefect_registry.records.base import Document
from prefect_registry.records.events import Event
from prefect_registry.records.runs import Begin, Decision, Heartbeat, Members, MembersDocument, Reference
from prefect_registry.storage.base import ObjectInfo

T = TypeVar("T", bound=Document)

_NEVER_BEGUN = ("reaped", "cancelled")
"""What others write as the end of a run whose begin they cannot find."""


class RunCheck:
    """Looks at one run. ``looked`` has what was found; ``members`` is None unless the run's own decision commits it.

    ``is_whole`` is False when a document of it is damaged: what the index must say of it is not known then.
    ``is_unknown`` tells that not even its outcome is.
    """

    def __init__(self, checked: Checked, home: Home) -> None:
        self.checked, self.home, self.run_id = checked, home, home.run_id
        self.looked = Looked()
        self.listing = Listing.of(home.objects.values())
        self.begin: Begin | None = None
        self.end: Decision | None = None
        self.members: Members | None = None
        self.is_whole = True
        self.is_unknown = False
        self.standing = Standing(None)

    def info(self, key: str) -> ObjectInfo | None:
        """What the listing shows of an object of this run."""
        return self.home.objects.get(key) or self.home.data.get(key)

    @property
    def ended(self) -> ObjectInfo | None:
        """The decision in the listing."""
        return self.info(paths.end_key(self.run_id))

    def check(self) -> None:
        """All documents of the run but those of its datasets."""
        if not self.home.objects:
            self._unknown()
            return
        if self.run_id.startswith("run_"):
            self._begin()
            self._heartbeat()
            self._end()
            self._stand()
            self._lease()
            expect_run(self)
        self._touches()
        self._events()

    def _stand(self) -> None:
        standing = self.checked.standing(self.run_id)
        self.is_unknown = (
            standing is None
            or (self.ended is not None and self.end is None)
            or (self.end is not None and self.end.committed and self.members is None)
        )
        if standing is not None and not self.is_unknown:
            self.standing = standing
            return
        self.is_whole = False
        if self.end is not None and not self.end.committed:  # whatever the decisions around it say
            self.is_unknown, self.standing = False, Standing("aborted", self.end.closed_at)

    def _unknown(self) -> None:
        size = sum(o.size for o in self.home.data.values())
        oldest = min(self.home.data.values(), key=lambda o: o.modified)
        what = f"{amount(len(self.home.data), 'file')} with {amount(size, 'byte')}, and no document of this run"
        self.looked.tell("unknown-run", paths.data_prefix(self.run_id), what, oldest)

    # -- reading -------------------------------------------------------------------------------------------------

    def taken(self, key: str, found: D | Damage | None, named_by: ObjectInfo | None) -> D | None:
        """A document that must be there; what is wrong with it is told."""
        if isinstance(found, Damage):
            self.looked.tell("document-damaged", key, found.why, self.info(key))
            self.is_whole = False
            return None
        if found is None:
            self.looked.tell("document-missing", key, "It is named, and it is not there", named_by)
            self.is_whole = False
        return found

    def wrong(self, key: str, says: str) -> None:
        """A document that says something else than its key."""
        self.looked.tell("wrong-id", key, f"It says that it is {says:.200}", self.info(key))
        self.is_whole = False

    # -- begin, heartbeat ----------------------------------------------------------------------------------------

    def _begin(self) -> None:
        key = paths.begin_key(self.run_id)
        if key not in self.home.objects:
            return
        begin = self.taken(key, self.checked.kept(key, Begin), None)
        if begin is None:
            return
        if begin.run_id != self.run_id:
            self.wrong(key, begin.run_id)
            return
        above = begin.ancestors
        nested = begin.parent is not None and not begin.isolated
        if not all(is_run_id(r) for r in above) or (above[-1:] != [begin.parent] if nested else above):
            self.wrong(key, f"inside {above}, and that its parent is {begin.parent}")
            return
        self.begin = begin

    def _heartbeat(self) -> None:
        key = paths.heartbeat_key(self.run_id)
        if key not in self.home.objects:
            return
        beat = self.checked.document(key, Heartbeat)
        if isinstance(beat, Damage):
            self.looked.tell("document-damaged", key, beat.why, self.info(key), "warning")
        elif beat is not None and beat.run_id != self.run_id:
            self.looked.tell("wrong-id", key, f"It says that it is of {beat.run_id:.80}", self.info(key), "warning")

    def _missing_begin(self) -> None:
        """Without its begin: never landed, as after a crash, or lost since."""
        key, end = paths.begin_key(self.run_id), self.end
        if self.begin is not None or key in self.home.objects:
            return
        by_others = end is not None and end.failure is not None and end.failure.kind in _NEVER_BEGUN
        written = self.listing.events or paths.heartbeat_key(self.run_id) in self.home.objects
        was_there = written or (end is not None and not by_others)
        newest = max(self.home.objects.values(), key=lambda o: o.modified)
        if was_there:
            self.taken(key, None, self.ended or newest)
        elif not self.listing.datasets:
            self.looked.tell("left-over", paths.run_prefix(self.run_id), "Its begin never landed", newest)

    # -- decision ------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        key = paths.end_key(self.run_id)
        if key in self.home.objects:
            self.end = self.taken(key, self.checked.kept(key, Decision), None)
        if self.end is not None and self.end.run_id != self.run_id:
            self.wrong(key, self.end.run_id)
            self.end = None
        if not (key in self.home.objects and self.end is None):
            self._missing_begin()
        parts = {k for k in self.home.objects if k.startswith(paths.run_prefix(self.run_id) + "members-")}
        if self.end is not None:
            self._decision(key, self.end)
            parts -= {ref.key for ref in self.end.more_members}
        for part in parts:
            self.looked.tell("left-over", part, "Members that no decision refers to", self.info(part))
        for child in self.listing.nested:
            marker = self.info(paths.nested_key(self.run_id, child))
            self.looked.remember("markers", self.run_id, child, since_text(marker))
        above = self.begin.ancestors if self.begin is not None else self.end.ancestors if self.end is not None else []
        outcome = self.end.outcome if self.end is not None else "damaged" if key in self.home.objects else None
        known = self.ended or self.info(paths.begin_key(self.run_id))
        self.looked.remember("runs", self.run_id, above[-1] if above else None, outcome, since_text(known))

    def _decision(self, key: str, end: Decision) -> None:
        problems = []
        if end.success != end.committed:
            problems.append(f"outcome {end.outcome}, and success {end.success}")
        if not end.committed and (end.more_members or any(end.members.model_dump().values())):
            problems.append("outcome aborted, and lists members")
        if end.committed and self.begin is not None and end.ancestors != self.begin.ancestors:
            problems.append(f"it was inside {end.ancestors}, and its begin says {self.begin.ancestors}")
        for problem in problems:
            self.looked.tell("decision-contradicted", key, f"It says: {problem:.300}", self.info(key))
            self.is_whole = False
        if not end.committed:
            return
        self.members = self._all_members(end)
        if self.members is None:
            return
        since = since_text(self.info(key))
        for type_, name, gen in self.members.cells:
            self.looked.remember("members", type_, name, gen, self.run_id, since)
        for child in self.members.runs:
            self.looked.remember("listed", self.run_id, child)
        for child in end.left_out.runs:
            self.looked.remember("dropped", self.run_id, child)

    def _all_members(self, end: Decision) -> Members | None:
        parts = [end.members]
        for ref in end.more_members:
            part = self._part(ref)
            if part is None:
                return None
            parts.append(part.members)
        return Members(
            datasets={k: v for p in parts for k, v in p.datasets.items()},
            events=[e for p in parts for e in p.events],
            cells=[c for p in parts for c in p.cells],
            runs=[r for p in parts for r in p.runs],
        )

    def _part(self, ref: Reference) -> MembersDocument | None:
        found = self.referred(ref)
        part = self.taken(ref.key, decoded(found, ref.key, MembersDocument), self.ended)
        if part is not None and part.run_id != self.run_id:
            self.wrong(ref.key, f"of {part.run_id}")
            return None
        return part

    def referred(self, ref: Reference) -> bytes | Damage | None:
        """The bytes of an object that a document names with size and sha256."""
        data = tolerant(lambda: self.checked.storage.get(ref.key))
        if isinstance(data, bytes) and (len(data), hashlib.sha256(data).hexdigest()) != (ref.size, ref.sha256):
            return Damage(f"It should have {ref.size:,} bytes with sha256 {ref.sha256[:12]}…, and has {len(data):,}")
        return data

    # -- lease ---------------------------------------------------------------------------------------------------

    def _lease(self) -> None:
        if self.end is not None or paths.end_key(self.run_id) in self.home.objects:
            return
        key = paths.begin_key(self.run_id)
        last = self.info(paths.heartbeat_key(self.run_id)) or self.info(key)
        if last is None:
            if not self.listing.datasets:
                return
            last = max(self.home.objects.values(), key=lambda o: o.modified)
        begin = self.begin
        seconds = begin.lease_seconds if begin is not None else self.checked.store.settings.lease_seconds
        beat = self.checked.document(paths.heartbeat_key(self.run_id), Heartbeat)
        ours = beat is None or (isinstance(beat, Heartbeat) and begin is not None and beat.holder == begin.holder)
        if begin is not None and ours and self.checked.store.is_gone(begin.holder):
            why = f"Its process {begin.holder.pid} on {begin.holder.host} is gone"
        elif self.checked.now() - last.modified > timedelta(seconds=seconds):
            why = f"It has been silent since {iso(last.modified)}, for longer than its lease of {seconds:g} seconds"
        else:
            return
        self.looked.tell("run-not-reaped", key, why, last)

    # -- touches, events -----------------------------------------------------------------------------------------

    def _touches(self) -> None:
        for cell, gen in self.listing.touched:
            since = since_text(self.info(paths.touch_key(self.run_id, cell, gen)))
            self.looked.remember("touched", cell.type, cell.key, gen, self.run_id, since)

    def _events(self) -> None:
        members = self.members.events if self.members is not None else []
        names = list(dict.fromkeys([*members, *self.listing.events, *self.listing.incidents]))
        for some in batches(names):
            keys = [paths.event_key(self.run_id, name) for name in some]
            found: dict[str, Event] = {}
            for name, key, document in zip(some, keys, self.checked.documents(keys, Event), strict=True):
                event = self.taken(key, document, self.ended or self.info(key))
                if event is not None and self._fits(name, key, event):
                    found[name] = event
            expect_events(self, found)
        if self.members is not None:
            for name in set(self.listing.events) - set(members):
                key = paths.event_key(self.run_id, name)
                self.looked.tell("late-member", key, "An event that its run does not publish", self.info(key))

    def _fits(self, name: str, key: str, event: Event) -> bool:
        ids = [f"{prefix}_{self.run_id.partition('_')[2]}_{name[1:]}" for prefix in ("ev", "inc")]
        staged = name.startswith("e") and self.run_id.startswith("run_")
        if event.event_id in ids and event.tx == (self.run_id if staged else None):
            return True
        self.wrong(key, f"{event.event_id} in {event.tx}")
        return False


def decoded(data: bytes | Damage | None, key: str, model: type[T]) -> T | Damage | None:
    """Bytes as a document."""
    return tolerant(lambda: model.decode(data, key)) if isinstance(data, bytes) else data
