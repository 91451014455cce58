"""Studies, people, organisations, software and templates: registered, changed with a reason, never forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar, cast

from prefect_registry.errors import InvalidInput, nothing_published
from prefect_registry.ledger.dropping import DROPS
from prefect_registry.names import name_problems
from prefect_registry.notebook import shown
from prefect_registry.provenance.holding import Holding, check_id, not_found, parsed, reason_problems
from prefect_registry.provenance.records import (
    DatasetTemplate,
    Item,
    Model,
    Organisation,
    Person,
    SeedItem,
    Software,
    Study,
    WorkflowTemplate,
    checked,
)
from prefect_registry.records.base import json_object_problems
from prefect_registry.records.cells import CellGeneration
from prefect_registry.records.provenance import ProvItemValue
from prefect_registry.records.types import PROV_ITEM

AnyItem = TypeVar("AnyItem", bound=Item)
CLASSES: Mapping[str, type[Item]] = {
    cls.item_subtype: cls for cls in (Study, Person, Organisation, Software, Model, WorkflowTemplate, DatasetTemplate)
}
PREFIXES: Mapping[str, str] = {
    "STUDY": "study",
    "PERSON": "person",
    "ORGANISATION": "organisation",
    "SOFTWARE": "software",
    "MODEL": "software",
    "MODEL_RUN_WORKFLOW_TEMPLATE": "workflow_template",
    "DATASET_TEMPLATE": "dataset_template",
}
"""What the ids of each subtype begin with."""
_SAME = {"WORKFLOW_TEMPLATE": "MODEL_RUN_WORKFLOW_TEMPLATE"}
_PAGE = 1_000


@dataclass(frozen=True)
class ItemChange:
    """One entry of an item's history. ``id`` counts from 0; ``item`` is what it was then, None where it was deleted."""

    id: int
    timestamp: datetime
    username: str | None
    reason: str | None
    run_id: str | None
    item: Item | SeedItem | None = field(repr=False)

    _repr_html_ = shown


class Items(Holding):
    """What of :class:`~prefect_registry.provenance.service.Provenance` keeps items."""

    @nothing_published
    def register_item(
        self, item: AnyItem, *, external_id: str | None = None, reason: str | None = None, run_id: str | None = None
    ) -> AnyItem:
        """Register an item; returns it with its id. In a run it is staged there.

        Args:
            item: Without an id. One whose id is that of a seed item completes that.
            external_id: What another system calls it: a handle, an ORCID.
            reason: Told in its history.

        Raises:
            InvalidInput: With everything that is wrong with it; or its id is taken.
            NotFound: There is no seed item of its id.
        """
        run, subtype = self.run_of(run_id), _subtype_of(item)
        item = checked(type(item), item, "the item")
        _check_external_id(external_id)
        if item.id is not None:
            return cast("AnyItem", self._complete(item, subtype, external_id, reason, run))
        document = item.model_dump(mode="json", exclude={"id"})
        return cast("AnyItem", self._first(subtype, document, True, external_id, reason, run))

    @nothing_published
    def register_seed_item(
        self, subtype: str, *, external_id: str | None = None, run_id: str | None = None
    ) -> SeedItem:
        """Give out an id for an item of which nothing else is known yet; :meth:`register_item` completes it."""
        _check_external_id(external_id)
        found = self._first(_known_subtype(subtype), {}, False, external_id, None, self.run_of(run_id))
        assert isinstance(found, SeedItem)
        return found

    def get_item(self, id: str, *, as_of: datetime | None = None, run_id: str | None = None) -> Item | SeedItem:
        """An item, as it is or was. Raises ``NotFound``."""
        found = self.ledger.cells.latest(PROV_ITEM, check_id(id, "id"), self.run_of(run_id), as_of, guess=0)
        if found is None or found.deleted:
            raise not_found("item", id)
        return item_of(parsed(ProvItemValue, found))

    @nothing_published
    def update_item(self, id: str, reason: str, item: AnyItem, *, run_id: str | None = None) -> AnyItem:
        """Replace what is known of an item. Its id and subtype stay, and its history keeps what it was.

        Raises:
            InvalidInput: With everything that is wrong; a reason must be given.
            NotFound: There is no such item.
            RevisionConflict: Somebody changed it meanwhile.
        """
        subtype, run = _subtype_of(item), self.run_of(run_id)
        problems = reason_problems(reason)
        if item.id not in (None, id):
            problems.append(f"id: it is {item.id!r:.80}, and is to replace {id!r:.80}")
        if problems:
            raise InvalidInput.of("the change", problems)
        item = checked(type(item), item, "the item")
        before = self.standing(PROV_ITEM, check_id(id, "id"), run, "item")
        return cast("AnyItem", self._replace(before, item, subtype, None, reason, run))

    @nothing_published
    def delete_item(self, id: str, reason: str, *, run_id: str | None = None) -> None:
        """Delete an item: it is left out of lists, and records cannot refer to it any more. Its history stays.

        Raises:
            InvalidInput: No reason is given.
            NotFound: There is no such item.
        """
        problems = reason_problems(reason)
        if problems:
            raise InvalidInput.of("the change", problems)
        run = self.run_of(run_id)
        before = self.standing(PROV_ITEM, check_id(id, "id"), run, "item")
        self.ledger.cells.write(
            PROV_ITEM, id, {"by": self.by}, run_id=run, expected=before.gen, deleted=True, reason=reason, fresh=True
        )

    def item_history(self, id: str, *, run_id: str | None = None) -> list[ItemChange]:
        """Everything that an item was, oldest first. Raises ``NotFound``."""
        found = self.ledger.cells.history(PROV_ITEM, check_id(id, "id"), self.run_of(run_id))
        if not found:
            raise not_found("item", id)
        return [
            ItemChange(
                number, g.at, g.value.get("by"), g.reason, g.tx,
                None if g.deleted else item_of(parsed(ProvItemValue, g)),
            )
            for number, g in enumerate(g for g in found if DROPS not in g.value)
        ]  # fmt: skip

    def items(
        self,
        subtype: str | None = None,
        *,
        external_id: str | None = None,
        text: str | None = None,
        as_of: datetime | None = None,
        fresh: bool = True,
    ) -> Iterator[Item | SeedItem]:
        """The items of a subtype, or all, by their ids: those that are published.

        Args:
            external_id: Only what has it.
            text: Only what has this in its texts; case is ignored for ASCII letters.
            as_of: As they were then (aware).
            fresh: Look at the store first.
        """
        wanted: dict[str, Any] = {"subtype": _known_subtype(subtype)} if subtype is not None else {}
        wanted |= {"external_id": external_id} if external_id is not None else {}
        cursor: str | None = None
        while True:
            page = self.registry.catalog.cells(
                PROV_ITEM, value=wanted or None, text=text, as_of=as_of, fresh=fresh, limit=_PAGE, cursor=cursor
            )
            for cell in page:
                yield item_of(ProvItemValue.model_validate(cell.value))
            if page.next is None:
                return
            cursor, fresh = page.next, False

    # -- writing -------------------------------------------------------------------------------------------------

    def _first(
        self,
        subtype: str,
        document: dict[str, Any],
        complete: bool,
        external_id: str | None,
        reason: str | None,
        run: str | None,
    ) -> Item | SeedItem:
        _check_size(document)
        now = self.now()
        id_ = self.ledger.store.ids.typeid(PREFIXES[subtype], now)
        value = ProvItemValue(
            id=id_, subtype=subtype, external_id=external_id, complete=complete, document=document, by=self.by,
            created_at=now, changed_at=now,
        )  # fmt: skip
        self.ledger.cells.write(
            PROV_ITEM, id_, value.model_dump(mode="json"), run_id=run, expected=None, blind=True, reason=reason
        )
        return item_of(value)

    def _complete(
        self, item: Item, subtype: str, external_id: str | None, reason: str | None, run: str | None
    ) -> Item | SeedItem:
        assert item.id is not None
        before = self.standing(PROV_ITEM, item.id, run, "seed item")
        if parsed(ProvItemValue, before).complete:
            raise InvalidInput.of(
                "the item", [f"id: {item.id!r:.80} is registered already"], todo="Change it with update_item"
            )
        return self._replace(before, item, subtype, external_id, reason, run)

    def _replace(
        self,
        before: CellGeneration,
        item: Item,
        subtype: str,
        external_id: str | None,
        reason: str | None,
        run: str | None,
    ) -> Item | SeedItem:
        old = parsed(ProvItemValue, before)
        if old.subtype != subtype:
            raise InvalidInput.of("the item", [f"it is a {subtype}, and {old.id} is a {old.subtype}"])
        document = item.model_dump(mode="json", exclude={"id"})
        _check_size(document)
        value = old.model_copy(
            update={
                "complete": True,
                "document": document,
                "external_id": external_id if external_id is not None else old.external_id,
                "by": self.by,
                "changed": sorted(k for k, v in document.items() if old.document.get(k) != v) or ["nothing"],
                "changed_at": self.now(),
            }
        )
        self.ledger.cells.write(
            PROV_ITEM, old.id, value.model_dump(mode="json"), run_id=run, expected=before.gen, reason=reason, fresh=True
        )
        return item_of(value)


def item_of(value: ProvItemValue) -> Item | SeedItem:
    """An item as users hold it."""
    if not value.complete:
        return SeedItem(id=value.id, item_subtype=value.subtype)
    return CLASSES[value.subtype].model_validate({**value.document, "id": value.id})


def _subtype_of(item: object) -> str:
    if isinstance(item, Item) and type(item) in CLASSES.values():
        return item.item_subtype
    names = ", ".join(sorted(cls.__name__ for cls in CLASSES.values()))
    raise InvalidInput.of("the item", [f"it must be one of {names}, not {type(item).__name__}"])


def _known_subtype(subtype: object) -> str:
    name = str(getattr(subtype, "value", subtype))
    name = _SAME.get(name, name)
    if name not in CLASSES:
        raise InvalidInput.of("subtype", [f"it must be one of {', '.join(sorted(CLASSES))}, not {subtype!r:.60}"])
    return name


def _check_external_id(external_id: object) -> None:
    problems = list(name_problems(external_id, "external_id")) if external_id is not None else []
    if problems:
        raise InvalidInput.of("the item", problems)


def _check_size(document: dict[str, Any]) -> None:
    problems = json_object_problems(document, "the item")
    if problems:
        raise InvalidInput.of("the item", problems)


__all__ = ["CLASSES", "PREFIXES", "ItemChange", "Items", "item_of"]
