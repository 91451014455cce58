"""PROV-JSON text as a document of the library ``prov``, record by record, so that every problem is found."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from prefect_registry.errors import InvalidInput
from prefect_registry.locks import ForkSafeLock
from prefect_registry.provenance.libraries import library

if TYPE_CHECKING:
    from prov.model import ProvDocument

MOST_BYTES = 64 * 1024 * 1024
"""How long a document may be."""
_REFUSED = {"bundle": "bundles are not read", "mentionOf": "bundles are not read, so neither is what they mention"}
_WARNINGS = ForkSafeLock()
"""Held while warnings are recorded, which the interpreter does for all threads at once."""


def parsed(text: str | bytes, problems: list[str]) -> ProvDocument:
    """The document, without what is wrong, which is added to ``problems``.

    Raises:
        InvalidInput: It is too long, or no JSON object.
    """
    container = _json(text)
    decoder = library("prov.serializers.provjson", "prov")
    document: ProvDocument = library("prov.model", "prov").ProvDocument()
    others: list[warnings.WarningMessage] = []
    with _WARNINGS, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for where, part in _parts(container, problems):
            try:
                decoder.decode_json_container(part, document)
            # What a document holds decides in which way prov stumbles over it: its own errors, and TypeError,
            # AttributeError, ValueError of what has another shape. None of them is more than "this is no PROV-JSON".
            except Exception as error:
                problems.append(f"{where}: {_told(error)}")
            for warning in caught:
                if issubclass(warning.category, library("prov.model", "prov").ProvWarning):
                    problems.append(f"{where}: {_told(warning.message)}")
                else:
                    others.append(warning)
            caught.clear()
    for warning in others:  # of other threads
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return document


def _json(text: str | bytes) -> Mapping[str, Any]:
    if not isinstance(text, (str, bytes)):
        raise InvalidInput.of("the PROV-JSON", [f"a text is needed, not {type(text).__name__}"])
    size = len(text) if isinstance(text, bytes) or text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    if size > MOST_BYTES:
        raise InvalidInput.of("the PROV-JSON", [f"it has {size:,} bytes; at most {MOST_BYTES:,} are read"])
    try:
        if isinstance(text, str):  # of bytes, json tells the mark
            text = text.removeprefix("\ufeff")
        container = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise InvalidInput.of("the PROV-JSON", ["it is nested too deeply"]) from None
    except ValueError as error:  # no JSON, no UTF-8, a number of thousands of digits
        raise InvalidInput.of("the PROV-JSON", [f"it cannot be read: {error!s:.200}"]) from error
    if not isinstance(container, dict):
        raise InvalidInput.of("the PROV-JSON", ["an object is needed"])
    return container


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r:.80} stands twice in an object")
        found[key] = value
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"JSON has no {text}")


def _parts(container: Mapping[str, Any], problems: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The prefixes, then each record, as a container of its own, and where it stands."""
    prefixes = container.get("prefix", {})
    if not isinstance(prefixes, dict) or not all(isinstance(uri, str) and uri for uri in prefixes.values()):
        problems.append("prefix: an object is needed, with an IRI for each prefix")
        prefixes = {}
    yield "prefix", {"prefix": prefixes}
    for section, records in container.items():
        if section == "prefix":
            continue
        if section in _REFUSED:
            if records:
                problems.append(f"{section}: {_REFUSED[section]}")
            continue
        if not isinstance(records, dict):
            problems.append(f"{section!s:.80}: an object is needed")
            continue
        if not records:
            yield f"{section!s:.80}", {section: {}}
        for id, record in records.items():
            yield f"{section!s:.80} {id!r:.80}", {section: {id: record}}


def _told(error: object) -> str:
    return f"{str(error).partition('. prov 3.')[0]:.300}"
