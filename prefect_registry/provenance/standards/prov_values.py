"""Names and values of a PROV document, as ids, keys and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeAlias

from prefect_registry.provenance.graph import JSON
from prefect_registry.provenance.standards.prov_terms import ATTRIBUTE, ITEM, PROV, RDF, TERM, text_of

Attributes: TypeAlias = "dict[str, Distinct]"
"""By the IRI of an attribute, its different values as ``prov`` holds them."""


class Distinct(list[Any]):
    """Values in order, each once (``True`` is not 1)."""

    def __init__(self) -> None:
        super().__init__()
        self._known: set[tuple[type, Any]] = set()

    def add(self, value: Any) -> None:
        """Append a value, unless it is there."""
        key = (type(value), value)
        if key not in self._known:
            self._known.add(key)
            self.append(value)


class Values:
    """Reads names and values.

    Args:
        model: The module ``prov.model``.
        problems: What is wrong is added here.
    """

    def __init__(self, model: Any, problems: list[str]) -> None:
        self.model, self.problems = model, problems

    # -- names -----------------------------------------------------------------------------------------------------

    def id(self, name: Any) -> str:
        """The id that a name of ours spells; the IRI of any other."""
        return self._spelt(str(name.uri), ITEM)

    def key(self, iri: str) -> str:
        """The key of an attribute of ours; ``prov:…`` for PROV's; the IRI of any other."""
        return f"prov:{iri.removeprefix(PROV)}" if iri.startswith(PROV) else self._spelt(iri, ATTRIBUTE)

    def _spelt(self, iri: str, space: str) -> str:
        if not iri.startswith(space):
            return iri
        try:
            return text_of(iri[len(space) :])
        except ValueError:
            self.problems.append(f"{iri!r:.120} is no name that we write")
            return iri

    def iris(self, values: Iterable[Any]) -> list[str]:
        """The names among some values."""
        return [str(value.uri) for value in values if isinstance(value, self.model.Identifier)]

    # -- values ----------------------------------------------------------------------------------------------------

    @staticmethod
    def collect(pairs: Iterable[tuple[Any, Any]], into: Attributes) -> Attributes:
        """Add attributes, each value once; return ``into``."""
        for name, value in pairs:
            values = into.get(iri := str(name.uri))
            if values is None:
                values = into[iri] = Distinct()
            values.add(value)
        return into

    def one(self, value: Any) -> JSON:
        """A value as JSON. A literal of a type that JSON lacks is an object with ``value`` and ``type`` (an IRI) or
        ``language``; a name is the id that it spells, or its IRI.
        """
        if isinstance(value, datetime):
            return value.isoformat()
        if isinstance(value, self.model.Identifier):
            return self.id(value)
        if not isinstance(value, self.model.Literal):
            return value
        if value.langtag:
            return {"value": value.value, "language": value.langtag}
        type_ = str(value.datatype.uri) if value.datatype else None
        return self._parsed(value.value) if type_ == f"{RDF}JSON" else {"value": value.value, "type": type_}

    def _parsed(self, text: str) -> JSON:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            self.problems.append(f"{text!r:.80} is called JSON, and is none")
            return None

    def json(self, values: Iterable[Any]) -> JSON:
        """One value as it is, several as a list in a steady order."""
        found = [self.one(value) for value in values]
        return found[0] if len(found) == 1 else sorted(found, key=lambda value: json.dumps(value, sort_keys=True))

    def texts(self, values: Iterable[Any]) -> frozenset[str]:
        """Values that must be texts."""
        found = [self.one(value) for value in values]
        self.problems += [
            f"the id of a record must be a text, not {each!r:.80}" for each in found if type(each) is not str
        ]
        return frozenset(map(str, found))

    # -- words of ours ---------------------------------------------------------------------------------------------

    def label(self, attributes: Attributes) -> tuple[str, JSON]:
        """The label, and all of them where it does not tell everything.

        Our exact one counts; else the first without a language, or in English, or any.
        """
        exact = attributes.get(f"{TERM}label")
        if exact:
            return str(self.one(exact[0])), None
        values: list[Any] = attributes.get(f"{PROV}label") or []
        told = sorted(
            map(self._in_language, values), key=lambda pair: (pair[0] != "", not pair[0].startswith("en"), pair)
        )
        plain = len(values) == 1 and isinstance(values[0], str)
        return (told[0][1] if told else ""), (self.json(values) if values and not plain else None)

    def _in_language(self, value: Any) -> tuple[str, str]:
        if isinstance(value, self.model.Literal):
            return value.langtag or "", str(value.value)
        return "", str(self.one(value))

    def link_records(self, id: str, attributes: Attributes) -> list[tuple[str, str, list[str]]]:
        """What ``reg:linkRecords`` says of the links from a thing: relation, target, ids of records."""
        found: list[tuple[str, str, list[str]]] = []
        for value in attributes.get(f"{TERM}linkRecords", []):
            for entry in self._entries(self.one(value)):
                match entry:
                    case [str(relation), str(target), list(records)] if all(isinstance(each, str) for each in records):
                        found.append((relation, target, records))
                    case _:
                        self.problems.append(f"{id!r:.80}: reg:linkRecords has {entry!r:.80}")
        return found

    @staticmethod
    def _entries(value: JSON) -> list[JSON]:
        return value if isinstance(value, list) else [value]
