"""What the facade records beside datasets: documents, doctags, events, incidents (reference system 1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prefect_registry.asynchronous import twin
from prefect_registry.errors import InvalidInput, nothing_published
from prefect_registry.names import name_problems
from prefect_registry.records.base import checked_json_object, json_object_problems, printable
from prefect_registry.records.documents import Doc, DoctagsAsset
from prefect_registry.registry.reads import RegistryReads

LONGEST_MESSAGE_CHARACTERS = 250_000
"""Of an incident: in UTF-8 they fit a document whatever the script."""


class RegistryRecording(RegistryReads):
    """Documents, doctags, events and incidents of :class:`prefect_registry.Registry`."""

    # -- documents, events, incidents ----------------------------------------------------------------------------

    @nothing_published
    def register_documents(self, docs: Iterable[Doc | Mapping[str, Any]], *, run_id: str | None = None) -> None:
        """Register or replace documents: all of them or none. Outside a run, by a run of their own."""
        self.parts.documents.register_documents(docs, self._wanted(run_id))

    @nothing_published
    def register_doctags(
        self,
        assets: Iterable[DoctagsAsset | Mapping[str, Any]],
        *,
        run_id: str | None = None,
        allow_unknown_documents: bool = False,
    ) -> None:
        """Register or replace doctags: all of them or none. ``NotFound`` names documents that are not registered."""
        self.parts.documents.register_doctags(assets, self._wanted(run_id), allow_unknown_documents)

    @nothing_published
    def emit_event(
        self,
        event_name: str,
        subject_id: str,
        payload: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        immediate: bool = False,
    ) -> str:
        """Record an event; returns its id. In a run it becomes visible with the run, unless ``immediate``."""
        problems = [*name_problems(event_name, "event_name"), *name_problems(subject_id, "subject_id")]
        problems += json_object_problems(payload, "payload")
        if problems:
            raise InvalidInput.of("the event", problems)
        checked = checked_json_object(payload, "payload")
        return self.parts.ledger.events.emit(event_name, subject_id, checked, self._wanted(run_id), immediate).event_id

    @nothing_published
    def incident(
        self, event: str, subject_id: str, error_class: str, message: str, *, run_id: str | None = None
    ) -> str:
        """Record an incident, visible at once, whatever becomes of the run; returns its id. The message is kept
        whole (up to 250,000 characters).
        """
        problems = [
            p for noun, v in (("event", event), ("subject_id", subject_id), ("error_class", error_class))
            for p in name_problems(v, noun)
        ]  # fmt: skip
        if not isinstance(message, str) or len(message) > LONGEST_MESSAGE_CHARACTERS:
            problems.append(f"message must be a string of at most {LONGEST_MESSAGE_CHARACTERS:,} characters")
        if problems:
            raise InvalidInput.of("the incident", problems)
        written = self.parts.ledger.events.incident(
            event, subject_id, error_class, printable(message), self._wanted(run_id)
        )
        return written.event_id

    aregister_documents = twin(register_documents)
    aregister_doctags = twin(register_doctags)
    aemit_event = twin(emit_event)
    aincident = twin(incident)
