"""What a model run refers to, as a run or everybody sees it: asked of the store once each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Set
from functools import partial
from typing import Any, TypeVar

from prefect_registry.errors import MalformedId, NotFound
from prefect_registry.ids import is_run_id
from prefect_registry.provenance.holding import Holding, parsed
from prefect_registry.provenance.records import (
    DatasetTemplate,
    Model,
    Organisation,
    Person,
    SeedItem,
    Software,
    Study,
    WorkflowTemplate,
)
from prefect_registry.provenance.registering_items import item_of
from prefect_registry.records.provenance import ProvItemValue
from prefect_registry.records.types import ADDRESS_CHARACTERS, CELLS_OF_IDS, MODEL_RUN, OBJECT, PROV_ITEM

T = TypeVar("T")


class Lookups:
    """Answers :class:`~prefect_registry.provenance.validating.Lookup` and
    :class:`~prefect_registry.provenance.csv.converting.CsvLookups`.

    Args:
        run_id: The run in which it is asked: what is staged there counts.
    """

    def __init__(self, holding: Holding, run_id: str | None) -> None:
        self._holding, self._run_id = holding, run_id
        self._known: dict[tuple[str, str], Any] = {}

    def _once(self, what: str, id_: str, look: Callable[[str], T]) -> T:
        if (what, id_) not in self._known:
            self._known[what, id_] = look(id_)
        found: T = self._known[what, id_]
        return found

    # -- items ---------------------------------------------------------------------------------------------------

    def _item(self, id_: str) -> Any:
        found = self._holding.latest(PROV_ITEM, id_, self._run_id)
        if found is None or found.deleted or found.name != id_:
            return None
        return item_of(parsed(ProvItemValue, found))

    def _item_of(self, id_: str, *classes: type[Any]) -> Any:
        found = self._once("item", id_, self._item)
        names = [cls.item_subtype for cls in classes]
        return found if found is not None and found.item_subtype in names else None

    def study(self, id: str, /) -> Study | SeedItem | None:
        """The study of that id."""
        return self._item_of(id, Study)  # type: ignore[no-any-return]

    def workflow_template(self, id: str, /) -> WorkflowTemplate | SeedItem | None:
        """The workflow template of that id."""
        return self._item_of(id, WorkflowTemplate)  # type: ignore[no-any-return]

    def dataset_template(self, id: str, /) -> DatasetTemplate | SeedItem | None:
        """The dataset template of that id."""
        return self._item_of(id, DatasetTemplate)  # type: ignore[no-any-return]

    def person(self, id: str, /) -> object | None:
        """The person of that id."""
        return self._item_of(id, Person)  # type: ignore[no-any-return]

    def organisation(self, id: str, /) -> object | None:
        """The organisation of that id."""
        return self._item_of(id, Organisation)  # type: ignore[no-any-return]

    # -- data and models -----------------------------------------------------------------------------------------

    def dataset(self, id: str, /) -> object | None:
        """A dataset that is published, or staged in the run; a version of an object, or an artifact of a registered
        model, in the same way.
        """
        return self._once("dataset", id, self._dataset)

    def _dataset(self, id_: str) -> object | None:
        if id_.startswith("ds_"):
            return self._dataset_of_run(id_)
        return self._object(id_) if "@" in id_ else self._of_models(id_)

    def _dataset_of_run(self, id_: str) -> object | None:
        try:
            found = self._holding.registry.get_dataset(id_)
        except (NotFound, MalformedId):
            return None
        own = self._run_id is not None and self._holding.ledger.outcomes.inside(found.run_id, self._run_id)
        return found if found.state in ("READY", "ARCHIVED") or (own and found.state == "STAGED") else None

    def _object(self, id_: str) -> object | None:
        found = self._holding.latest(OBJECT, id_, self._run_id)
        return found if found is not None and not found.deleted else None

    def _of_models(self, id_: str) -> object | None:
        type_ = next((type_ for prefix, type_ in CELLS_OF_IDS.items() if id_.startswith(prefix)), None)
        if type_ is None or len(id_) < ADDRESS_CHARACTERS:
            return None
        found = self._holding.latest(type_, id_[-ADDRESS_CHARACTERS:], self._run_id)
        return found if found is not None and not found.deleted and found.value.get("id") == id_ else None

    def model(self, id: str, /) -> object | None:
        """Software; or a registered model, a version of one, or a version of an object."""
        return self._once("model", id, self._model)

    def _model(self, id_: str) -> object | None:
        if "@" in id_:
            return self._object(id_)
        return self._item_of(id_, Software, Model) or self._of_models(id_)

    # -- many at once --------------------------------------------------------------------------------------------

    def known_datasets(self, ids: Set[str], /) -> Collection[str]:
        """Those of the ids that datasets have."""
        return self._found(ids, self.dataset)

    def known_data(self, ids: Set[str], /) -> Collection[str]:
        """Those of the ids that datasets or models have."""
        found = self._found(ids, self.dataset)
        return found | self._found(ids - found, self.model)

    def _found(self, ids: Set[str], look: Callable[[str], object | None]) -> set[str]:
        wanted = sorted(ids)
        calls = [partial(look, id_) for id_ in wanted]
        found = self._holding.ledger.store.together(calls) if calls else []
        return {id_ for id_, there in zip(wanted, found, strict=True) if there is not None}

    def known_jobs(self, ids: Set[str], /) -> Collection[str]:
        """Those of the ids that model runs have."""
        wanted = sorted(id_ for id_ in ids if is_run_id(id_))
        calls: list[Callable[[], object | None]] = [
            partial(self._holding.latest, MODEL_RUN, id_, self._run_id) for id_ in wanted
        ]
        found = self._holding.ledger.store.together(calls) if calls else []
        return {id_ for id_, there in zip(wanted, found, strict=True) if there is not None}
