"""Model runs: what makes a run of the registry one (DESIGN.md 2: a run is one entity with facets)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prefect_registry.errors import InvalidInput, RevisionConflict, nothing_published
from prefect_registry.ids import is_run_id
from prefect_registry.ledger.dropping import DROPS
from prefect_registry.ledger.runs import RunSpec
from prefect_registry.notebook import shown
from prefect_registry.provenance.holding import Holding, check_id, not_found, parsed, reason_problems
from prefect_registry.provenance.looking_up import Lookups
from prefect_registry.provenance.records import (
    ItemModelRun,
    ModelRunRecord,
    PostUpdateModelRunResponse,
    RegisterModelRunResponse,
    Status,
    WorkflowRunCompletionStatus,
    WorkflowTemplate,
)
from prefect_registry.provenance.records.refused import unruled
from prefect_registry.provenance.validating import problems_of_model_run
from prefect_registry.records.base import json_object_problems
from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.records.provenance import ModelRunValue
from prefect_registry.records.runs import Begin, Members
from prefect_registry.records.types import MODEL_RUN

LONGEST_PURPOSE_CHARACTERS = 250


@dataclass(frozen=True)
class ModelRunChange:
    """One entry of a model run's history. ``id`` counts from 0; ``item`` is what it was then, None where its provenance
    was deleted.
    """

    id: int
    timestamp: datetime
    username: str | None
    reason: str | None
    run_id: str | None
    item: ItemModelRun | None = field(repr=False)

    _repr_html_ = shown


class ModelRuns(Holding):
    """What of :class:`~prefect_registry.provenance.service.Provenance` keeps model runs."""

    # -- registering ---------------------------------------------------------------------------------------------

    @nothing_published
    def register_model_run(
        self, model_run_payload: ModelRunRecord | Mapping[str, Any], *, run_id: str | None = None
    ) -> RegisterModelRunResponse:
        """Register a model run; ``session_id`` is the id of the run.

        In a run that is no model run yet, that run becomes one, when it commits. In one that is, and outside any, a run
        is begun and committed for it (nested in the one around it, and published with that).

        Args:
            model_run_payload: The record. Datasets must be published, or staged in this run.
            run_id: The run; the surrounding one, unless given.

        Raises:
            InvalidInput: With everything that is wrong with the record; nothing was written.
        """
        around = self.run_of(run_id)
        value = self.prepared(unruled(model_run_payload), Lookups(self, around))
        return registered(self.lodge(value, around))

    def prepared(self, record: ModelRunRecord, lookups: Lookups, batch_id: str | None = None) -> ModelRunValue:
        """What is to be kept of a record, without the id of its run. Raises ``InvalidInput`` with every problem."""
        problems = [str(problem) for problem in problems_of_model_run(record, lookups)]
        document = record.model_dump(mode="json", exclude_none=True)
        problems += json_object_problems(document, "the record")
        if problems:
            raise InvalidInput.of("the model run record", problems, todo="Correct it and register it again")
        return self.value_of(record, lookups, document, batch_id)

    def value_of(
        self, record: ModelRunRecord, lookups: Lookups, document: dict[str, Any], batch_id: str | None = None
    ) -> ModelRunValue:
        """The same without any validation: what its template names is kept as far as it is known."""
        template = lookups.workflow_template(record.workflow_template_id)
        known = template if isinstance(template, WorkflowTemplate) else None
        sides = (*known.input_templates, *known.output_templates) if known is not None else ()
        now = self.now()
        return ModelRunValue(
            run_id="", record=document, model=known.software_id if known is not None else None,
            dataset_templates=list(dict.fromkeys(each.template_id for each in sides)), batch_id=batch_id,
            by=self.by, created_at=now, changed_at=now,
        )  # fmt: skip

    def lodge(self, value: ModelRunValue, around: str | None) -> str:
        """Make the run ``around`` a model run, or begin and commit one for it. Returns the id of the run."""
        if around is not None:
            there = self.ledger.cells.latest(MODEL_RUN, around, around, guess=0)
            if there is None or there.deleted:
                try:
                    self._write(value, around, there)
                    return around
                except RevisionConflict:  # somebody else in this run was quicker
                    pass
        begin = self.begin_of(value, around)
        self.lodge_begun(value, begin)
        return begin.run_id

    def lodge_begun(self, value: ModelRunValue, begin: Begin) -> None:
        """Begin the run of ``begin``, make it a model run, and commit it: outside any other, two round trips."""
        if begin.parent is not None:
            self._lodge_nested(value, begin)
            return
        own = value.model_copy(update={"run_id": begin.run_id})
        written: list[CellGeneration] = []

        def write() -> None:
            written.append(
                self.ledger.cells.write(
                    MODEL_RUN, begin.run_id, own.model_dump(mode="json"), run_id=begin.run_id, expected=None,
                    blind=True, guarded=False,
                )
            )  # fmt: skip

        self.ledger.begin_beside(begin, [write])
        ref = CellRef.named(MODEL_RUN, begin.run_id)
        self.ledger.commit_own(begin.run_id, only=Members(cells=[(ref.type, ref.key, written[0].gen)]))

    def begin_of(self, value: ModelRunValue, around: str | None) -> Begin:
        """A run for a model run, nested in the one around it; it is not begun yet."""
        lease = self.ledger.runs.known(around).lease_seconds if around is not None else None
        return self.ledger.runs.new(self._spec(value, around, lease))

    def _lodge_nested(self, value: ModelRunValue, begin: Begin) -> None:
        own = self.ledger.begin(self._spec(value, begin.parent, begin.lease_seconds), begin).begin.run_id
        try:
            self._write(value, own, None)
        except BaseException as error:
            self.ledger.drop(own, error)
            raise
        self.ledger.commit_own(own)

    def _spec(self, value: ModelRunValue, parent: str | None, lease: float | None) -> RunSpec:
        purpose = str(value.record["display_name"])[:LONGEST_PURPOSE_CHARACTERS].strip() or "model run"
        revision = value.record.get("model_version")
        return RunSpec(
            purpose, value.model, revision[:LONGEST_PURPOSE_CHARACTERS] if revision else None, parent=parent,
            lease_seconds=lease, implicit=parent is None,
        )  # fmt: skip

    def _write(self, value: ModelRunValue, run: str, there: CellGeneration | None) -> None:
        own = value.model_copy(update={"run_id": run})
        self.ledger.cells.write(
            MODEL_RUN, run, own.model_dump(mode="json"), run_id=run,
            expected=None if there is None else there.gen, blind=there is None,
        )  # fmt: skip

    # -- changing ------------------------------------------------------------------------------------------------

    @nothing_published
    def update_model_run(
        self,
        model_run_id: str,
        reason: str,
        record: ModelRunRecord | Mapping[str, Any],
        *,
        run_id: str | None = None,
    ) -> PostUpdateModelRunResponse:
        """Replace a model run's record. Lineage follows the new one; the history keeps the old one.

        Args:
            model_run_id: The id of the run.
            reason: Why: must be given.
            record: All of it, as it is to be.
            run_id: The run in which it is changed; the surrounding one, unless given.

        Raises:
            InvalidInput: With everything that is wrong; nothing was written.
            NotFound: There is no such model run.
            RevisionConflict: Somebody changed it meanwhile.
        """
        around, problems = self.run_of(run_id), reason_problems(reason)
        try:
            value = self.prepared(unruled(record), Lookups(self, around))
        except InvalidInput as error:
            raise InvalidInput.of("the change of a model run", [*problems, *error.problems]) from error
        if problems:
            raise InvalidInput.of("the change of a model run", problems)
        before = self.standing(MODEL_RUN, check_id(model_run_id, "model_run_id"), around, "model run")
        old = parsed(ModelRunValue, before)
        changed = sorted(k for k in {*old.record, *value.record} if old.record.get(k) != value.record.get(k))
        value = value.model_copy(
            update={
                "run_id": old.run_id,
                "batch_id": old.batch_id,
                "created_at": old.created_at,
                "changed": changed or ["nothing"],
            }
        )
        self.ledger.cells.write(
            MODEL_RUN, old.run_id, value.model_dump(mode="json"), run_id=around, expected=before.gen, reason=reason,
            fresh=True,
        )  # fmt: skip
        return PostUpdateModelRunResponse(session_id=old.run_id)

    @nothing_published
    def post_update_model_run(
        self,
        model_run_id: str,
        reason: str,
        record: ModelRunRecord | Mapping[str, Any],
        *,
        run_id: str | None = None,
    ) -> PostUpdateModelRunResponse:
        """The reference document's name of :meth:`update_model_run`."""
        return self.update_model_run(model_run_id, reason, record, run_id=run_id)

    # -- reading -------------------------------------------------------------------------------------------------

    def get_model_run(
        self, model_run_id: str, *, as_of: datetime | None = None, run_id: str | None = None
    ) -> ItemModelRun:
        """A model run, as it is or was. Raises ``NotFound``."""
        around = self.run_of(run_id)
        found = self.ledger.cells.latest(MODEL_RUN, check_id(model_run_id, "model_run_id"), around, as_of, guess=0)
        if found is None or found.deleted:
            raise not_found("model run", model_run_id)
        staged = found.tx is not None and self.ledger.outcomes.effective(found.tx) != "committed"
        return item_of_run(parsed(ModelRunValue, found), staged)

    def model_run_history(self, model_run_id: str, *, run_id: str | None = None) -> list[ModelRunChange]:
        """Everything that was recorded of a model run, oldest first. Raises ``NotFound``."""
        around = self.run_of(run_id)
        found = self.ledger.cells.history(MODEL_RUN, check_id(model_run_id, "model_run_id"), around)
        found = [generation for generation in found if DROPS not in generation.value]
        if not found:
            raise not_found("model run", model_run_id)
        return [
            ModelRunChange(
                number, g.at, g.value.get("by"), g.reason, g.tx,
                None if g.deleted else item_of_run(parsed(ModelRunValue, g)),
            )
            for number, g in enumerate(found)
        ]  # fmt: skip

    def is_model_run(self, id_: str, run_id: str | None) -> bool:
        """Whether a run is a model run."""
        found = self.latest(MODEL_RUN, id_, run_id) if is_run_id(id_) else None
        return found is not None and not found.deleted


def item_of_run(value: ModelRunValue, staged: bool = False) -> ItemModelRun:
    """A model run as users hold it. ``staged``: its run is not decided yet, so it is not part of lineage."""
    record = ModelRunRecord.model_validate(value.record)
    status = WorkflowRunCompletionStatus.COMPLETE if staged else WorkflowRunCompletionStatus(value.record_status)
    return ItemModelRun(id=value.run_id, display_name=record.display_name, record=record, record_status=status)


def registered(run_id: str) -> RegisterModelRunResponse:
    """The answer to a registration."""
    status = Status(success=True, details=f"The model run was registered as {run_id}.")
    return RegisterModelRunResponse(status=status, session_id=run_id)


__all__ = ["ModelRunChange", "ModelRuns", "item_of_run", "registered"]
