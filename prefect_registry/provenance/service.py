"""``Provenance``: every operation of reference system 2, synchronous, on one registry."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from typing import Any

from prefect_registry.provenance.administering import ProvenanceAdmin
from prefect_registry.provenance.exporting import Exports
from prefect_registry.provenance.importing import Imports
from prefect_registry.provenance.records import HealthCheckResponse, ItemModelRun
from prefect_registry.provenance.registering import item_of_run
from prefect_registry.provenance.registering_items import Items
from prefect_registry.provenance.tables import Tables
from prefect_registry.records.provenance import ModelRunValue
from prefect_registry.records.types import MODEL_RUN

_PAGE = 1_000


class Provenance(Items, Tables, Exports, Imports):
    """Model runs, what they refer to, and lineage, in one registry.

    Calls inside a run belong to it: what they write is published when it commits, and dropped when it does not.

    Args:
        registry: The registry.
        by: Who registers and changes; the user's login name, unless given.

    >>> from prefect_registry import Registry
    >>> from prefect_registry.provenance.records import Person
    >>> provenance = Provenance(Registry("memory://docs-provenance"), by="me")
    >>> ada = provenance.register_item(
    ...     Person(display_name="Ada", email="ada@example.org", first_name="Ada", last_name="Lovelace")
    ... )
    >>> [person.display_name for person in provenance.items("PERSON")]
    ['Ada']
    """

    @cached_property
    def admin(self) -> ProvenanceAdmin:
        """Lodging again, deleting provenance, settings as a file."""
        return ProvenanceAdmin(self)

    def get_health_check(self) -> HealthCheckResponse:
        """Whether the store answers and holds a registry.

        Raises:
            StorageUnavailable, AccessDenied: It does not answer, or refuses.
        """
        self.ledger.store.storage.info("registry.json")
        return HealthCheckResponse()

    # -- access (the credentials' own; there are no users here) --------------------------------------------------

    def check_access(self) -> dict[str, bool]:
        """What these credentials may do: ``general`` (reach the store), ``read``, ``write``, ``admin`` (delete)."""
        return self.registry.check_access()

    def check_general_access(self) -> bool:
        """Whether the store can be reached."""
        return self.check_access()["general"]

    def check_read_access(self) -> bool:
        """Whether it can be read."""
        return self.check_access()["read"]

    def check_write_access(self) -> bool:
        """Whether it can be written to."""
        return self.check_access()["write"]

    def check_admin_access(self) -> bool:
        """Whether objects may be deleted, as housekeeping does."""
        return self.check_access()["admin"]

    # -- lists ---------------------------------------------------------------------------------------------------

    def model_runs(
        self,
        *,
        study_id: str | None = None,
        workflow_template_id: str | None = None,
        batch_id: str | None = None,
        text: str | None = None,
        as_of: datetime | None = None,
        fresh: bool = True,
    ) -> Iterator[ItemModelRun]:
        """The model runs that are published, by the ids of their runs: oldest first. None does not filter.

        Args:
            text: Only what has this in its record; case is ignored for ASCII letters.
            as_of: As they were then (aware).
            fresh: Look at the store first.
        """
        wanted: dict[str, Any] = {
            "record.study_id": study_id,
            "record.workflow_template_id": workflow_template_id,
            "batch_id": batch_id,
        }
        value = {key: given for key, given in wanted.items() if given is not None}
        cursor: str | None = None
        while True:
            page = self.registry.catalog.cells(
                MODEL_RUN, value=value or None, text=text, as_of=as_of, fresh=fresh, limit=_PAGE, cursor=cursor
            )
            for cell in page:
                yield item_of_run(ModelRunValue.model_validate(cell.value))
            if page.next is None:
                return
            cursor, fresh = page.next, False
