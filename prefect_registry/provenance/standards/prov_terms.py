"""How our ids, words and values are spelt in PROV, and read again.

An id is the local part of a name in :data:`ITEM`. What PROV-N, Turtle or an IRI could take for something else is
``%XX`` of its UTF-8, so every id is a name, and no two ids are the same one. Keys of attributes are spelt likewise.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import unquote_to_bytes

from prefect_registry.provenance.graph import JSON
from prefect_registry.provenance.relations import ItemSubType, Relation

ITEM = "urn:prefect-registry:item:"
"""Before ids of nodes."""
ATTRIBUTE = "urn:prefect-registry:attribute:"
"""Before keys of attributes."""
TERM = "urn:prefect-registry:term:"
"""Before words of our own: subtypes (``reg:DATASET``), ``reg:record``, ``reg:label``, ``reg:linkRecords``."""
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
PROV = "http://www.w3.org/ns/prov#"
PREFIXES = {"item": ITEM, "att": ATTRIBUTE, "reg": TERM, "rdf": RDF}

START_TIME, END_TIME = "start_time", "end_time"
"""The attributes of an activity that are PROV's ``startTime`` and ``endTime``, if they are ISO-8601 with an offset."""

PROV_TYPES = {
    ItemSubType.PERSON: "Person",
    ItemSubType.ORGANISATION: "Organization",
    ItemSubType.WORKFLOW_TEMPLATE: "Plan",
    ItemSubType.MODEL_RUN_WORKFLOW_TEMPLATE: "Plan",
}
"""What PROV has a word of its own for."""

DERIVATIONS = {
    Relation.WAS_REVISION_OF: "Revision",
    Relation.WAS_QUOTED_FROM: "Quotation",
    Relation.HAD_PRIMARY_SOURCE: "PrimarySource",
}
"""Relations that are a derivation of this type."""

BARE = frozenset({Relation.HAD_MEMBER, Relation.SPECIALIZATION_OF, Relation.ALTERNATE_OF})
"""Relations to which PROV allows no attributes: their record ids stand at their source (``reg:linkRecords``)."""

_NOTHING = "%FF"
"""The empty text: no UTF-8 has this byte."""


def local_part(text: str) -> str:
    """``text`` as the local part of a name."""
    if not text:
        return _NOTHING
    parts = []
    for i, character in enumerate(text):
        inner = character in "-." and 0 < i < len(text) - 1
        if inner or character == "_" or (character.isascii() and character.isalnum()):
            parts.append(character)
        else:
            parts += [f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass")]
    return "".join(parts)


def text_of(local: str) -> str:
    """What :func:`local_part` was given.

    Raises:
        ValueError: It is no such local part.
    """
    return "" if local == _NOTHING else unquote_to_bytes(local).decode("utf-8", "surrogatepass")


def clean(text: str) -> bool:
    """Whether every format of PROV can hold this text as it is."""
    return all(c.isprintable() for c in text)


def json_text(value: JSON) -> str:
    """``value`` as JSON that is ASCII, so that every format can hold it."""
    return json.dumps(value, separators=(",", ":"))


def instant(value: JSON) -> datetime | None:
    """The time that an attribute tells, if it is ISO-8601 with an offset."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    try:
        return time.astimezone(UTC) if time.tzinfo else None
    except OverflowError:  # beyond the years that Python has
        return None


def iso(time: datetime) -> str:
    """A time as the registry writes it: UTC, with microseconds."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")
