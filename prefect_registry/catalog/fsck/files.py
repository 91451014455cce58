"""The bytes of datasets and objects against their sha256: all, a share, or so many of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal, TypeVar

from prefect_registry.catalog.fsck.look import Checked, Damage, batches, tolerant
from prefect_registry.errors import InvalidInput
from prefect_registry.storage.transfer import stored_digest

T = TypeVar("T")
File = tuple[str, int, str, str, str]
"""Key, size, sha256, store timestamp, and whose it is, for people (see ``Made.of``)."""
Verify = Literal["none", "sample", "all"]
DEFAULT_SAMPLE = 100
_AT_A_TIME = 16


class Verification:
    """Chooses files while they pass by, and reads those that were chosen.

    Args:
        sample: For ``verify="sample"``: a number of files (int), each as likely as any other, or a share (float).
    """

    def __init__(self, checked: Checked, verify: Verify, sample: int | float) -> None:
        problems = []
        if verify not in ("none", "sample", "all"):
            problems.append(f"verify must be 'none', 'sample' or 'all', not {verify!r:.40}")
        if isinstance(sample, bool) or not isinstance(sample, (int, float)):
            problems.append(f"sample must be a number of files or a share, not {type(sample).__name__}")
        elif sample < 0 or (isinstance(sample, float) and not sample <= 1):
            problems.append(f"sample must be a number of files, or a share from 0.0 to 1.0, not {sample}")
        if problems:
            raise InvalidInput.of("fsck", problems)
        self._checked = checked
        self._share = {"none": 0.0, "all": 1.0}.get(verify, sample if isinstance(sample, float) else None)
        self._count = sample if isinstance(sample, int) else 0
        self._passed = 0

    def offer(self, files: list[File]) -> None:
        """Files that lie where they must."""
        random = self._checked.store.random
        if self._share is not None:
            chosen = [f for f in files if self._share == 1.0 or random() < self._share]
            self._verify(chosen if self._share else [])
            return
        for file in files:  # Vitter's algorithm R: every file that has passed is in the sample as likely as any other
            self._passed += 1
            place = self._passed - 1 if self._passed <= self._count else int(random() * self._passed)
            if place < self._count:
                self._checked.scratch.add("sample", [(place, *file)])

    @property
    def reads(self) -> bool:
        """Whether anything is read at all."""
        return self._share is None or self._share > 0

    def chosen(self, items: Sequence[T]) -> list[T]:
        """Of things that are all at hand, those that are to be read whole."""
        count = self._count if self._share is None else round(self._share * len(items))
        random = self._checked.store.random
        return sorted(items, key=lambda item: random())[:count]

    def finish(self) -> None:
        """Read what was drawn."""
        self._checked.stage("files")
        drawn = self._checked.scratch.rows("SELECT key, size, sha256, since, of FROM sample ORDER BY key").fetchall()
        self._verify([tuple(row) for row in drawn])

    def _verify(self, files: list[File]) -> None:
        for some in batches(files, _AT_A_TIME):
            calls = [partial(tolerant, partial(stored_digest, self._checked.storage, key)) for key, *_ in some]
            for file, found in zip(some, self._checked.store.together(calls), strict=True):
                self._judge(file, found)

    def _judge(self, file: File, found: tuple[int, str] | Damage | None) -> None:
        key, size, sha256, since, of = file
        self._checked.count("files", "verified")
        if found is None:
            self._checked.tell("file-missing", key, f"{size:,} bytes{of} vanished during the check", since)
        elif isinstance(found, Damage):
            self._checked.tell("file-changed", key, f"It{of} cannot be read: {found.why}", since)
        elif found != (size, sha256):
            what = f"Its {found[0]:,} bytes{of} have sha256 {found[1][:12]}…; {sha256[:12]}… was committed"
            self._checked.tell("file-changed", key, what, since)
        self._checked.counts["bytes"] += size
