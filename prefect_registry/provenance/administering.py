"""For those who keep a registry: lodging records again, deleting provenance, settings as a file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_registry.errors import InvalidInput, nothing_published, published_before
from prefect_registry.ids import is_run_id
from prefect_registry.provenance.differences import diff
from prefect_registry.provenance.facts import spoken_of
from prefect_registry.provenance.graph import Graph
from prefect_registry.provenance.holding import check_id, not_found, parsed
from prefect_registry.provenance.looking_up import Lookups
from prefect_registry.provenance.records import (
    ItemModelRun,
    PostDeleteGraphResponse,
    Status,
    StatusResponse,
    checked,
)
from prefect_registry.provenance.settings_file import settings_file
from prefect_registry.provenance.validating import problems_of_model_run
from prefect_registry.records.assertions import assertions
from prefect_registry.records.provenance import ModelRunValue
from prefect_registry.records.types import MODEL_RUN

if TYPE_CHECKING:
    from prefect_registry.provenance.service import Provenance

DEFAULT_FILE = "prefect-registry.env"
_LODGED_AGAIN = "Lodged again"
_Change = tuple[str, dict[str, Any], int | None]
"""A run, what its record is to be, and the generation that this follows."""


class ProvenanceAdmin:
    """What of the reference system only administrators may do; here, whoever may write to the store.

    Args:
        provenance: The provenance of a registry.
    """

    def __init__(self, provenance: Provenance) -> None:
        self._provenance = provenance

    def __repr__(self) -> str:
        return f"<ProvenanceAdmin in {self._provenance.registry.url}>"

    # -- settings ------------------------------------------------------------------------------------------------

    def generate_config_file(
        self, required_only: bool = True, file_path: str | os.PathLike[str] | None = None, write_to_file: bool = False
    ) -> str:
        """The settings of this package as a ``.env`` file: defaults are comments.

        Args:
            required_only: Only those without which no registry is found: where it is.
            file_path: Where it is written as well, if ``write_to_file``; by default ``prefect-registry.env`` here.
            write_to_file: Also write it into a file.

        Raises:
            InvalidInput: There is a path, and nothing is to be written.
        """
        if file_path is not None and not write_to_file:
            raise InvalidInput.of("file_path", ["a path is given, and nothing is to be written"])
        text = settings_file(self._provenance.registry.url, required_only)
        if write_to_file:
            path = Path(file_path if file_path is not None else DEFAULT_FILE)
            if not path.parent.is_dir():
                raise InvalidInput.of("file_path", [f"there is no folder {path.parent}"])
            path.write_text(text, "utf-8")
        return text

    # -- lodging again -------------------------------------------------------------------------------------------

    @nothing_published
    def store_record(self, registry_record: ItemModelRun, validate_record: bool = True) -> StatusResponse:
        """Put a model run's record into lineage again, after its provenance was deleted. Nothing changes where it
        stands already. In a run it is published with that.

        Raises:
            NotFound: There is no such run.
            InvalidInput: With everything that is wrong with the record.
        """
        return self.store_multiple_records([registry_record], validate_record)

    @nothing_published
    def store_multiple_records(
        self, registry_record: Iterable[ItemModelRun], validate_record: bool = True
    ) -> StatusResponse:
        """The same for several, by one decision, once all have been validated."""
        records = [checked(ItemModelRun, each, "the model run") for each in registry_record]
        service = self._provenance
        around = service.run_of(None)
        lookups = Lookups(service, around)
        problems: list[str] = []
        for number, record in enumerate(records):
            if record.id is None or not is_run_id(record.id):
                problems.append(f"[{number}].id: {record.id!r:.80} is no run of this registry")
            if validate_record:
                problems += [f"[{number}].{each}" for each in problems_of_model_run(record.record, lookups)]
        if problems:
            raise InvalidInput.of("the records", problems)
        last = {str(record.id): record for record in records}
        changes = [change for each in last.values() if (change := self._change(each, lookups, around)) is not None]
        if around is None and len(changes) > 1:  # P2
            with service.ledger.implicit_run(f"lodge {len(changes):,} model runs again") as own:
                self._store(changes, own)
        else:
            self._store(changes, around)
        details = f"{len(changes):,} of {len(records):,} records were lodged again; the others stood."
        return StatusResponse(status=Status(success=True, details=details))

    def _change(self, item: ItemModelRun, lookups: Lookups, around: str | None) -> _Change | None:
        """What lodging a record again has to write; None where it stands already."""
        service, id_ = self._provenance, str(item.id)
        if service.ledger.outcomes.effective(service.ledger.runs.known(id_).run_id) != "committed":
            raise not_found("committed run", id_)
        before = service.ledger.cells.latest(MODEL_RUN, id_, around, guess=0)
        document = item.record.model_dump(mode="json", exclude_none=True)
        value = service.value_of(item.record, lookups, document).model_copy(update={"run_id": id_})
        if before is not None and not before.deleted:
            old = parsed(ModelRunValue, before)
            if old.record == document:
                return None
            value = value.model_copy(update={"created_at": old.created_at, "batch_id": old.batch_id})
        return id_, value.model_dump(mode="json"), None if before is None else before.gen

    def _store(self, changes: Iterable[_Change], run: str | None) -> None:
        for id_, value, expected in changes:
            self._provenance.ledger.cells.write(
                MODEL_RUN, id_, value, run_id=run, expected=expected, blind=expected is None, reason=_LODGED_AGAIN
            )

    def store_all_registry_records(self, validate_record: bool = True) -> StatusResponse:
        """Make the lineage of all model runs anew from their records: the index, not the store, is changed. What was
        deleted stays deleted.

        Raises:
            InvalidInput: Records refer to what is not there any more; with ``validate_record=False`` that is no
                matter.
        """
        service = self._provenance
        if validate_record:
            lookups, problems = Lookups(service, None), []
            for item in service.model_runs():
                problems += [f"{item.id}.{each}" for each in problems_of_model_run(item.record, lookups)]
            if problems:
                raise InvalidInput.of("the records", problems[:1_000])
        count = service.registry.catalog.relodge()
        return StatusResponse(status=Status(success=True, details=f"{count:,} model runs are part of lineage."))

    # -- deleting ------------------------------------------------------------------------------------------------

    @nothing_published
    def delete_model_run_provenance(
        self, model_run_id: str, trial_mode: bool = False, *, dry_run: bool = False, reason: str | None = None
    ) -> PostDeleteGraphResponse:
        """Take a model run out of lineage: what it says, and what the registry saw it read and make. The run, its
        datasets and the history of its record stay; :meth:`store_record` puts it back.

        Args:
            model_run_id: The run.
            trial_mode: Only tell what would be done; ``dry_run`` is the same.
            reason: Told in its history.

        Returns:
            What is, or would be, done to lineage: an action each.

        Raises:
            NotFound: There is no such model run, or its provenance is deleted.
        """
        service = self._provenance
        run = service.run_of(None)
        before = service.standing(MODEL_RUN, check_id(model_run_id, "model_run_id"), run, "model run")
        said = assertions(before.value)
        graph = service.registry.catalog.ask(lambda connection: spoken_of(connection, model_run_id, said))
        done = [change.as_dict() for change in diff(graph, Graph(), model_run_id)]
        if not (trial_mode or dry_run):
            service.ledger.cells.write(
                MODEL_RUN, model_run_id, {"run_id": model_run_id, "by": service.by}, run_id=run, deleted=True,
                expected=before.gen, reason=reason or "Its provenance was deleted", fresh=True,
            )  # fmt: skip
        return PostDeleteGraphResponse(diff=done)

    @nothing_published
    def delete_model_run_provenance_and_registry(
        self, model_run_id: str, trial_mode: bool = False, *, dry_run: bool = False, reason: str | None = None
    ) -> PostDeleteGraphResponse:
        """The same, and un-publish what the run has published, with :meth:`prefect_registry.Registry.revert`: its
        datasets are no longer part of any table. Decisions and generations stay, as everywhere. What fails half way can
        be called again.
        """
        service = self._provenance
        found = self.delete_model_run_provenance(model_run_id, trial_mode=True)
        if not (trial_mode or dry_run):
            by = service.registry.revert(model_run_id, reason).run_id
            note = f"What {model_run_id} has published is un-published, by {by}. Its provenance may stand: call again"
            with published_before("unknown", note):
                if service.is_model_run(model_run_id, service.run_of(None)):  # its record was changed by others since
                    self.delete_model_run_provenance(model_run_id, reason=reason)
        return found
