"""What the facade keeps, and what it lets go: retention (DESIGN.md P8; issue "Housekeeping")."""

from __future__ import annotations

from prefect_registry.asynchronous import twin
from prefect_registry.catalog.histories import newest_cells
from prefect_registry.datasets.releasing import ReleaseReport, release
from prefect_registry.datasets.retention import RETENTION, RetentionRule, remove_rule, rules_of, set_rule
from prefect_registry.errors import nothing_published
from prefect_registry.registry.recording import RegistryRecording


class RegistryRetention(RegistryRecording):
    """Rules of retention, and acting on them, of :class:`prefect_registry.Registry`."""

    @nothing_published
    def set_retention(
        self, kind: str, *, keep_last: int | None = None, keep_days: float | None = None, keep_used: bool = True
    ) -> RetentionRule:
        """Say what to keep of a kind besides its table as it is. One condition is enough to keep a dataset; a kind
        without a rule keeps everything. Nothing is deleted by this: see :meth:`release`.

        Args:
            kind: The kind; ``"*"`` for all those without a rule of their own.
            keep_last: How many of the table's states stay readable, the present one included; at least 1.
            keep_days: Keep what was in the table within this many days, and what was reverted within them.
            keep_used: Keep what something visible was made from, by lineage.

        Raises:
            InvalidInput: Lists every problem; neither ``keep_last`` nor ``keep_days`` is one.
        """
        rule = RetentionRule(kind, keep_last, keep_days, keep_used)
        set_rule(self.parts.ledger, rule, self._wanted(None))
        return rule

    def retention(self) -> list[RetentionRule]:
        """The rules, by kind."""
        return list(rules_of(self.catalog.ask(lambda c: newest_cells(c, RETENTION))).values())

    @nothing_published
    def remove_retention(self, kind: str) -> None:
        """Take a rule away: the default rule (``"*"``) counts from now on, or all is kept. Raises ``NotFound``."""
        remove_rule(self.parts.ledger, kind, self._wanted(None))

    @nothing_published
    def release(self, dry_run: bool = True) -> ReleaseReport:
        """Give up every dataset that no table shows and no rule keeps; by default only tell which. One run, all of
        them or none. It cannot be taken back: :meth:`collect` deletes their bytes from then on.

        What readers see does not change. A dataset that was released is DELETED; whoever still holds it, or looks at a
        state of the past, gets ``InvalidState`` once its bytes are gone.

        Raises:
            Conflict: A rule changed, or a run was reverted, while this was on its way. Nothing was released.
        """
        return release(self.parts.datasets, self.catalog, dry_run)

    aset_retention = twin(set_retention)
    aretention = twin(retention)
    aremove_retention = twin(remove_retention)
    arelease = twin(release)
