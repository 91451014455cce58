"""Registering and finding documents and doctags."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Generic, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from prefect_registry.errors import FormatError, InvalidInput, NotFound
from prefect_registry.ledger import paths
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.names import name_problems
from prefect_registry.records import types
from prefect_registry.records.base import LARGEST_DOCUMENT_BYTES, json_problems
from prefect_registry.records.cells import CellGeneration
from prefect_registry.records.documents import Doc, DoctagsAsset

M = TypeVar("M", bound=BaseModel)
MOST_PER_CALL = 100_000
ROOM_FOR_CELL_BYTES = 16_384
"""What the document around a record may take: its name of 2,000 characters, ids, times."""


class Kind(Generic[M]):
    """A kind of record: its model, the type of its cells, and the field that names one."""

    def __init__(self, model: type[M], cell_type: str, id_field: str, noun: str) -> None:
        self.model, self.cell_type, self.id_field, self.noun = model, cell_type, id_field, noun

    def id_of(self, record: M) -> str:
        """The record's name."""
        return str(getattr(record, self.id_field))

    def validated(self, record: object) -> tuple[M | None, list[str]]:
        """A record as its model has it, and what is wrong with it.

        Instances are validated anew: they can have been changed since they were made, or be of another class with
        the same fields.
        """
        given = record.model_dump(warnings=False) if isinstance(record, BaseModel) else record
        try:
            value = self.model.model_validate(dict(given) if isinstance(given, Mapping) else given)
        except (ValidationError, UnicodeError) as error:
            return None, list(_problems_of(error))
        plain = value.model_dump(mode="python")
        problems = [f": {p}" for p in name_problems(self.id_of(value), self.id_field)]
        problems += [f": {p}" for p in json_problems(plain, self.noun)]
        size = 0 if problems else len(orjson.dumps(plain))
        if size > LARGEST_DOCUMENT_BYTES - ROOM_FOR_CELL_BYTES:
            problems.append(f": it has {size:,} bytes; at most {LARGEST_DOCUMENT_BYTES - ROOM_FOR_CELL_BYTES:,} fit")
        return value, problems

    def stored(self, value: Mapping[str, Any], name: str) -> M:
        """The record that a cell holds. Fields that this version does not know are left aside."""
        try:
            return self.model.model_validate({k: v for k, v in value.items() if k in self.model.model_fields})
        except ValidationError as error:
            raise FormatError(
                f"The {self.noun} {name!r:.200} cannot be read",
                why="; ".join(_problems_of(error))[:500],
                todo="It was damaged, or written by something else; register it again",
            ) from error


def _problems_of(error: ValidationError | UnicodeError) -> Iterator[str]:
    if isinstance(error, UnicodeError):
        yield ": it is not valid Unicode"
        return
    for each in error.errors(include_url=False, include_input=False):
        yield "".join(f".{part}" for part in each["loc"]) + f": {each['msg']}"


DOCUMENT = Kind(Doc, types.DOCUMENT, "id", "document")
DOCTAGS = Kind(DoctagsAsset, types.DOCTAGS, "doc_id", "doctags asset")


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

    def _checked(self, kind: Kind[M], records: Iterable[M | Mapping[str, Any]]) -> list[M]:
        """Every record, valid and unique, or one error that lists every problem; nothing is written."""
        if isinstance(records, (BaseModel, Mapping, str, bytes)) or not isinstance(records, Iterable):
            raise InvalidInput.of(f"{kind.noun}s", [f"a list is needed, not {type(records).__name__}"])
        checked: list[M] = []
        problems: list[str] = []
        seen: dict[str, int] = {}
        for i, record in enumerate(records):
            value, wrong = kind.validated(record)
            problems += [f"[{i}]{p}" for p in wrong]
            if value is None:
                continue
            name = kind.id_of(value)
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

    def _register(self, kind: Kind[M], records: Sequence[M], run_id: str | None) -> None:
        if len(records) == 1:
            self._write(kind, records[0], run_id, guarded=True)
            return
        if run_id is not None:
            self._ledger.runs.check_open(run_id, f"register {kind.noun}s")
        if not records:
            return
        # Nested in the surrounding run: when a record cannot be written, those that were are dropped with it, also when
        # the caller goes on and commits.
        with self._ledger.implicit_run(f"register {kind.noun}s", run_id) as run:
            calls: list[Callable[[], object]] = [partial(self._write, kind, record, run) for record in records]
            self._ledger.runs.within(run, calls, f"register {kind.noun}s")

    def _write(self, kind: Kind[M], record: M, run_id: str | None, guarded: bool = False) -> None:
        value = record.model_dump(mode="json")
        self._ledger.cells.write(kind.cell_type, kind.id_of(record), value, run_id=run_id, blind=True, guarded=guarded)

    # -- reading -------------------------------------------------------------------------------------------------

    def _current(self, kind: Kind[M], name: str, run_id: str | None) -> M | None:
        found = self._ledger.cells.latest(kind.cell_type, name, run_id)
        return None if found is None or found.deleted else kind.stored(found.value, name)

    def get(self, kind: Kind[M], name: str, run_id: str | None = None) -> M:
        """The visible record of that name. Raises ``NotFound``."""
        problems = list(name_problems(name, kind.id_field))
        if problems:
            raise InvalidInput.of(kind.id_field, problems)
        found = self._current(kind, name, run_id)
        if found is None:
            raise NotFound(f"There is no {kind.noun} {name!r:.200}", todo="Check the id", committed="no")
        return found

    def newest(self, kind: Kind[M]) -> list[str]:
        """The key of the newest generation of every cell of a kind, visible or not: one listing."""
        found: dict[str, str] = {}
        for key in paths.generations(self._store.storage.list(f"cells/{kind.cell_type}/")):
            found[key.rpartition("/")[0]] = key
        return list(found.values())

    def all(self, kind: Kind[M], newest: Sequence[str] | None = None, as_of: datetime | None = None) -> Iterator[M]:
        """Every visible record, by key; with ``as_of``, as it was at that time; of the listing ``newest``, if given."""
        keys = self.newest(kind) if newest is None else newest
        for start in range(0, len(keys), 200):
            found = self._store.read_many(keys[start : start + 200], CellGeneration)
            for record in self._store.together([partial(self._record, kind, d, as_of) for d in found if d is not None]):
                if record is not None:
                    yield record

    def _record(self, kind: Kind[M], newest: CellGeneration, as_of: datetime | None) -> M | None:
        found = self._ledger.cells.visible_from(newest, None, as_of)
        return None if found is None or found.deleted else kind.stored(found.value, found.name)
