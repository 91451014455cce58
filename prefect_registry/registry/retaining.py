"""What the facade keeps, and what it lets go: retention (DESIGN.md P8; issue "Housekeeping")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_registry.asynchronous import twin
from prefect_registry.errors import nothing_published
from prefect_registry.registry.recording import RegistryRecording

if TYPE_CHECKING:  # what few programs do need not be loaded by all
    from prefect_registry.catalog.retention import ReleaseReport, RetentionRule


class RegistryRetention(RegistryRecording):
    """Rules of retention, and acting on them, of :class:`prefect_registry.Registry`."""

    @nothing_published
    def set_retention(
        self,
        kind: str | None = None,
        *,
        objects: str | None = None,
        keep_last: int | None = None,
        keep_days: float | None = None,
        keep_used: bool = True,
    ) -> RetentionRule:
        """Say what to keep of a kind of datasets besides its table as it is, or of an object's versions. One condition
        is enough to keep something; what has no rule keeps everything. Nothing is deleted by this: see :meth:`release`.

        Args:
            kind: The kind; ``"*"`` for all those without a rule of their own.
            objects: Instead of ``kind``: the name of an object; ``"*"`` for all those without a rule of their own.
                What an alias points at is always kept, and what that was made from.
            keep_last: How many of the table's states stay readable, the present one included; of an object, how many
                of the highest versions; at least 1. Without it, no version is released that is not deleted.
            keep_days: Keep what was in the table within this many days, and what was reverted within them; of objects,
                what was deleted or overwritten within them, and versions that were saved within them. Without it,
                nothing that was reverted, deleted or overwritten is released.
            keep_used: Keep what something visible was made from, by lineage.

        Raises:
            InvalidInput: Lists every problem; neither ``keep_last`` nor ``keep_days`` is one.
        """
        from prefect_registry.catalog.retention import RetentionRule, set_rule

        rule = RetentionRule(kind, keep_last, keep_days, keep_used, objects)
        set_rule(self.parts.ledger, rule, self._wanted(None))
        return rule

    def retention(self) -> list[RetentionRule]:
        """The rules: those for datasets by kind, then those for objects by name."""
        from prefect_registry.catalog.histories import newest_cells
        from prefect_registry.catalog.retention import OBJECT_RETENTION, RETENTION, rules_of

        kinds, objects = self.catalog.ask(lambda c: (newest_cells(c, RETENTION), newest_cells(c, OBJECT_RETENTION)))
        return [*rules_of(kinds).values(), *rules_of(objects, OBJECT_RETENTION).values()]

    @nothing_published
    def remove_retention(self, kind: str | None = None, *, objects: str | None = None) -> None:
        """Take a rule away: the default rule (``"*"``) counts from now on, or all is kept. Raises ``NotFound``."""
        from prefect_registry.catalog.retention import remove_rule

        remove_rule(self.parts.ledger, kind, objects, self._wanted(None))

    @nothing_published
    def release(self, dry_run: bool = True) -> ReleaseReport:
        """Give up every dataset that no table shows and no rule keeps, and of objects what is deleted, overwritten or
        old and no rule keeps; by default only tell which. One run, all of them or none. It cannot be taken back:
        :meth:`collect` deletes their bytes from then on.

        What readers of tables see does not change. A dataset that was released is DELETED, and so is a version of an
        object; whoever still holds it, or looks at a state of the past, gets ``InvalidState`` once its bytes are gone.

        Raises:
            Conflict: A rule or a version changed, or a run was reverted, while this was on its way. Nothing was
                released.
        """
        from prefect_registry.datasets.releasing import release
        from prefect_registry.objects import releasing

        parts = self.parts
        return release(parts.datasets, self.catalog, dry_run, lambda: [releasing.plan(parts.objects, self.catalog)])

    aset_retention = twin(set_retention)
    aretention = twin(retention)
    aremove_retention = twin(remove_retention)
    arelease = twin(release)
