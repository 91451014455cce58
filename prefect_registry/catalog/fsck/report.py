"""What a check found: findings, how bad each is, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from prefect_registry.clock import iso
from prefect_registry.notebook import LONGEST_ALONE, MOST_ROWS, pairs_html, rows_html

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
MOST_OF_A_KIND = 1_000
"""How many findings of one kind a report keeps; it counts the others."""


@dataclass(frozen=True)
class Kind:
    """A kind of finding: how bad it is unless said otherwise, what it means, and what to do."""

    severity: Severity
    meaning: str
    todo: str


RESTORE = "Restore the object from a backup"
NOTHING = "Nothing needs to be done"

KINDS: Mapping[str, Kind] = {
    "document-damaged": Kind(
        "error",
        "The document cannot be read: it was cut off or changed, or written by something else. Who reads it gets a "
        "FormatError or an IntegrityError",
        RESTORE,
    ),
    "document-missing": Kind(
        "error",
        "Another document says that this one exists, and it does not. Nothing of the registry ever deletes it",
        RESTORE,
    ),
    "wrong-id": Kind(
        "error",
        "The document does not say what its key says: it was copied to the wrong place, or changed. Readers get "
        "another thing than they ask for, or an IntegrityError",
        RESTORE,
    ),
    "decision-contradicted": Kind(
        "error",
        "The decision says something else than the documents that it is about. Decisions never change, so one of them "
        "was changed behind the registry's back",
        f"{RESTORE}, whichever of them differs from it",
    ),
    "nested-contradicted": Kind(
        "error",
        "A run and the run around it do not agree on what became of the inner one. It is visible only if both "
        "decisions say so. One that was decided while the run around it closed was told that it is left out (note)",
        "Compare both decisions with a backup. If they are genuine, do the work of the inner run again",
    ),
    "file-missing": Kind(
        "error", "A manifest lists the file, and it is gone. Who reads the dataset or object gets an IntegrityError",
        "Restore the file from a backup, or publish the data again",
    ),
    "file-changed": Kind(
        "error",
        "The file, or what lies in the record of a small object, is not what its manifest says, by its size or its "
        "sha256. Who reads it with verification gets an IntegrityError, and without it wrong data",
        "Restore the file from a backup, or publish the data again",
    ),
    "manifest-contradicted": Kind(
        "error",
        "The document of a dataset or object and its list of files do not agree, or the list names what it cannot have",
        RESTORE,
    ),
    "generation-missing": Kind(
        "error",
        "A generation of a named cell is gone: a decision lists it, or later ones stand on it. Who reads the cell gets "
        "an IntegrityError, or an older state",
        RESTORE,
    ),
    "generation-without-touch": Kind(
        "warning",
        "The journal does not show this generation of a named cell: its writer was interrupted, or the touch is gone. "
        "One that belongs to no run is visible, and the catalog does not know it (error); one that its run does not "
        "publish, or will leave out when it closes, is harmless (note)",
        "Write it again",
    ),
    "unknown-run": Kind(
        "warning",
        "Something belongs to a run of which nothing else is there: its process died before it began, or the run's "
        "folder is lost. It will never be visible. Bytes of it are collected when nobody can begin it any more",
        "If there was such a run, restore its folder from a backup, before anything is collected",
    ),
    "alias-of-nothing": Kind(
        "warning",
        "An alias points at a version of an object that is deleted, or was never there. Who loads by it is told that "
        "there is no such object",
        "Restore the version, or point the alias at another one",
    ),
    "run-not-reaped": Kind(
        "warning",
        "The run is not decided, and its lease is over. What it has staged stays invisible, and what it holds is "
        "waited for",
        "Call reap(), or schedule the maintenance flow",
    ),
    "foreign-file": Kind(
        "warning",
        "It is not of the store's format, or no manifest lists it. Nobody reads it, and it is never collected",
        "Find out who puts it there, and delete it",
    ),
    "checkpoint-damaged": Kind(
        "error",
        "A checkpoint of the catalog, or one of its tables, is gone, cannot be read, or is not what the manifest says. "
        "Readers of this library pass the checkpoint over, and take longer to start; other engines get an error or "
        "wrong rows",
        "Write a new one: checkpoint(full=True). The two newest are kept, so a second one removes what is damaged",
    ),
    "checkpoint-of-another": Kind(
        "warning",
        "Another registry, which was at this root before, has written this checkpoint. Readers of this library pass it "
        "over; other engines may take it for one of this registry",
        "Delete the manifest",
    ),
    "index-differs": Kind(
        "error",
        "The index of this machine says something else than the store. The catalog's answers here are wrong",
        "Run fsck with repair=True, or delete the index",
    ),
    "index-stuck": Kind(
        "error",
        "The index of this machine cannot follow the store. The catalog's queries raise an error here",
        "Mend what is named, and run fsck again",
    ),
    "touch-without-generation": Kind(
        "note",
        "A run was about to write a generation of a named cell, and did not, or another writer was first",
        NOTHING,
    ),
    "late-member": Kind(
        "note",
        "It landed after its run was decided, and no decision lists it: it is dead. Who wrote it was told so",
        NOTHING,
    ),
    "left-over": Kind(
        "note",
        "A process was interrupted, or somebody else was first. Nothing refers to it",
        NOTHING,
    ),
    "bytes-waiting": Kind(
        "note", "Bytes of what was rolled back, not saved in the end, or released: nobody can read them any more",
        "Call collect(dry_run=False) when their space is wanted",
    ),
}  # fmt: skip
"""Every kind of finding."""


@dataclass(frozen=True)
class Finding:
    """One thing that does not fit.

    ``key`` names the object in the store; of the index, ``index:`` with table and row. ``since`` is the store's
    timestamp of that object, or of the one that names it when it is missing: it cannot have happened before. None when
    the store tells no time.
    """

    kind: str
    severity: Severity
    key: str
    what: str
    since: datetime | None
    repaired: bool = False

    @property
    def meaning(self) -> str:
        """What it means for those who read."""
        return KINDS[self.kind].meaning

    @property
    def todo(self) -> str:
        """What to do about it."""
        return KINDS[self.kind].todo

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "key": self.key,
            "what": self.what,
            "since": iso(self.since) if self.since is not None else None,
            "meaning": self.meaning,
            "todo": self.todo,
            "repaired": self.repaired,
        }


@dataclass(frozen=True)
class FsckReport:
    """What ``fsck`` found and what it looked at.

    ``findings`` has at most 1,000 of each kind, the worst first; ``totals`` counts all, by severity, without what was
    repaired. ``looked_at`` counts ``runs``, ``documents``, ``generations``, ``files``, ``verified`` files (whose
    sha256 was computed), their ``bytes``, ``checkpoints``, and ``rows`` of the index. ``index_repaired`` tells whether
    the index was built anew.
    """

    url: str
    findings: tuple[Finding, ...]
    totals: Mapping[str, int]
    looked_at: Mapping[str, int]
    index_repaired: bool = False
    left_out: int = field(default=0)

    @property
    def ok(self) -> bool:
        """Whether there is no error that was not repaired."""
        return self.totals.get("error", 0) == 0

    def of(self, *severities: Severity) -> list[Finding]:
        """The findings of these severities."""
        return [f for f in self.findings if f.severity in severities]

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "url": self.url,
            "ok": self.ok,
            "totals": dict(self.totals),
            "looked_at": dict(self.looked_at),
            "index_repaired": self.index_repaired,
            "left_out": self.left_out,
            "findings": [f.as_dict() for f in self.findings],
        }

    def summary(self) -> str:
        """One sentence."""
        counted = [amount(n, s) for s in SEVERITIES if (n := self.totals.get(s, 0))]
        looked = self.looked_at
        return (
            f"{', '.join(counted) or 'nothing found'} in {amount(looked.get('runs', 0), 'run')}, "
            f"{amount(looked.get('generations', 0), 'generation')} and {amount(looked.get('files', 0), 'file')}"
        )

    def __repr__(self) -> str:
        lines = [f"<FsckReport {self.url}: {self.summary()}>"]
        lines += [f"  {f.severity}: {f.kind}: {f.key}: {f.what}" for f in self.findings[:10]]
        more = len(self.findings) + self.left_out - 10
        return "\n".join([*lines, *([f"  and {more:,} more"] if more > 0 else [])])

    def _repr_html_(self) -> str:
        names = ("severity", "kind", "key", "what", "since", "todo")
        found = [{name: f.as_dict()[name] for name in names} for f in self.findings[:MOST_ROWS]]
        table = rows_html(found, len(self.findings) + self.left_out, LONGEST_ALONE) if found else ""
        return pairs_html({"registry": self.url, "found": self.summary()}, "FsckReport") + table


def amount(count: int, noun: str) -> str:
    """How many there are, in words."""
    return f"{count:,} {noun}{'s' if count != 1 else ''}"


class Findings:
    """Gathers findings, a bounded number of each kind."""

    def __init__(self) -> None:
        self._kept: list[Finding] = []
        self._of_kind: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self._told: set[tuple[str, str]] = set()

    def add(self, finding: Finding) -> None:
        """Take in a finding; the same kind of the same key only once."""
        if (finding.kind, finding.key) in self._told:
            return
        kept = self._of_kind.get(finding.kind, 0)
        self._of_kind[finding.kind] = kept + 1
        self._totals[finding.severity] = self._totals.get(finding.severity, 0) + (not finding.repaired)
        if kept < MOST_OF_A_KIND:
            self._told.add((finding.kind, finding.key))
            self._kept.append(finding)

    def has(self, kind: str, key: str) -> bool:
        """Whether such a finding was told."""
        return (kind, key) in self._told

    def report(self, url: str, looked_at: Mapping[str, int], index_repaired: bool) -> FsckReport:
        """All of it."""
        ordered = sorted(self._kept, key=lambda f: (SEVERITIES.index(f.severity), list(KINDS).index(f.kind), f.key))
        left_out = sum(self._of_kind.values()) - len(self._kept)
        return FsckReport(url, tuple(ordered), dict(self._totals), dict(looked_at), index_repaired, left_out)
