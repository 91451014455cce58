"""Registering and finding documents and doctags."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from prefect_registry.errors import InvalidInput, NotFound
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.names import name_problems
from prefect_registry.records.cells import CellGeneration
from prefect_registry.records.documents import Doc, DoctagsAsset

M = TypeVar("M", bound=BaseModel)
MOST_PER_CALL = 100_000


class _Kind(Generic[M]):
    """A kind of record: its model, the type of its cells, and the field that names one."""

    def __init__(self, model: type[M], cell_type: str, id_field: str, noun: str) -> None:
        self.model, self.cell_type, self.id_field, self.noun = model, cell_type, id_field, noun

    def id_of(self, record: M) -> str:
        return str(getattr(record, self.id_field))


DOCUMENT = _Kind(Doc, "document", "id", "document")
DOCTAGS = _Kind(DoctagsAsset, "doctags", "doc_id", "doctags asset")


class Documents:
    """The documents and doctags of one registry."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._store = ledger.store

    # -- writing -------------------------------------------------------------------------------------------------

    def register_documents(self, docs: Iterable[Doc | Mapping[str, Any]], run_id: str | None) -> None:
        """All of them, by one decision; see ``Registry.register_documents``."""
        self._register(DOCUMENT, self._checked(DOCUMENT, docs), run_id)

    def register_doctags(
        self, assets: Iterable[DoctagsAsset | Mapping[str, Any]], run_id: str | None, allow_unknown: bool
    ) -> None:
        """All of them, by one decision; see ``Registry.register_doctags``."""
        checked = self._checked(DOCTAGS, assets)
        if not allow_unknown:
            self._check_documents_exist(checked, run_id)
        self._register(DOCTAGS, checked, run_id)

    def _checked(self, kind: _Kind[M], records: Iterable[M | Mapping[str, Any]]) -> list[M]:
        """Every record, valid and unique, or one error that lists every problem; nothing is written."""
        if isinstance(records, (BaseModel, Mapping, str)) or not isinstance(records, Iterable):
            raise InvalidInput.of(f"{kind.noun}s", [f"a list is needed, not one {type(records).__name__}"])
        checked: list[M] = []
        problems: list[str] = []
        seen: dict[str, int] = {}
        for i, record in enumerate(records):
            try:
                value = record if isinstance(record, kind.model) else kind.model.model_validate(record)
            except ValidationError as error:
                problems += [
                    f"[{i}].{'.'.join(map(str, e['loc']))}: {e['msg']}"
                    for e in error.errors(include_url=False, include_input=False)
                ]
                continue
            name = kind.id_of(value)
            problems += [f"[{i}]: {p}" for p in name_problems(name, kind.id_field)]
            if name in seen:
                problems.append(f"[{i}]: {kind.id_field} {name!r:.80} stands at [{seen[name]}] already")
            seen[name] = i
            checked.append(value)
        if len(checked) > MOST_PER_CALL:
            problems.append(f"{len(checked):,} {kind.noun}s; at most {MOST_PER_CALL:,} in one call")
        if problems:
            raise InvalidInput.of(f"{kind.noun}s", problems, todo="Nothing was written; mend them and call again")
        return checked

    def _check_documents_exist(self, assets: Sequence[DoctagsAsset], run_id: str | None) -> None:
        calls = [partial(self._current, DOCUMENT, a.doc_id, run_id) for a in assets]
        found = self._store.together(calls) if calls else []
        missing = [a.doc_id for a, doc in zip(assets, found, strict=True) if doc is None]
        if missing:
            raise NotFound(
                f"Doctags for {len(missing)} unknown document(s): {missing[:5]}",
                todo="Register the documents first, or pass allow_unknown_documents=True",
                committed="no",
                missing=missing,
            )

    def _register(self, kind: _Kind[M], records: Sequence[M], run_id: str | None) -> None:
        if not records:
            return
        if len(records) == 1 and run_id is None:
            self._write(kind, records[0], None)
            return
        with self._ledger.implicit_run(f"register {kind.noun}s", run_id) as run:
            calls: list[Callable[[], object]] = [partial(self._write, kind, record, run) for record in records]
            self._ledger.runs.within(run, calls, f"register {kind.noun}s")

    def _write(self, kind: _Kind[M], record: M, run_id: str | None) -> None:
        self._ledger.cells.write(
            kind.cell_type, kind.id_of(record), record.model_dump(mode="json"), run_id=run_id, blind=True, guarded=False
        )

    # -- reading -------------------------------------------------------------------------------------------------

    def _current(self, kind: _Kind[M], name: str, run_id: str | None, as_of: datetime | None = None) -> M | None:
        found = self._ledger.cells.latest(kind.cell_type, name, run_id, as_of)
        return None if found is None or found.deleted else kind.model.model_validate(found.value)

    def get(self, kind: _Kind[M], name: str, run_id: str | None = None) -> M:
        """The visible record of that name. Raises ``NotFound``."""
        problems = list(name_problems(name, kind.id_field))
        if problems:
            raise InvalidInput.of(kind.id_field, problems)
        found = self._current(kind, name, run_id)
        if found is None:
            raise NotFound(f"There is no {kind.noun} {name!r:.200}", todo="Check the id", committed="no")
        return found

    def all(self, kind: _Kind[M], run_id: str | None = None, as_of: datetime | None = None) -> Iterator[M]:
        """Every visible record, by key; with ``as_of``, as it was at that time."""
        names = self._names(kind)
        for start in range(0, len(names), 200):
            batch = names[start : start + 200]
            for record in self._store.together([partial(self._current, kind, n, run_id, as_of) for n in batch]):
                if record is not None:
                    yield record

    def _names(self, kind: _Kind[M]) -> list[str]:
        """The true names of all cells of a type, from their first generations."""
        prefix = f"cells/{kind.cell_type}/"
        firsts: dict[str, str] = {}
        for info in self._store.storage.list(prefix):
            firsts.setdefault(info.key.split("/")[2], info.key)
        found = self._store.read_many(list(firsts.values()), CellGeneration) if firsts else []
        return [d.name for d in found if d is not None]
