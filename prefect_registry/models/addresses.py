"""Ids of the model registry that are addresses: the last 16 characters name the cell (decision 0028).

Those of models and versions are made from their names, so that a name is unique because its cell is, and both an id and
a name lead to the cell without looking anything up. The first 10 characters are the time of the registration, so that
ids sort by it.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime

from prefect_registry.errors import MalformedId
from prefect_registry.ids import encode, millis_of, wrong_kind
from prefect_registry.records.types import MODEL, MODEL_ARTIFACT, MODEL_VERSION

PREFIXES = {MODEL: "model", MODEL_VERSION: "mv", MODEL_ARTIFACT: "art"}
"""What the ids of each type of cell begin with."""
_ID = re.compile(r"[0-7][0-9a-hjkmnp-tv-z]{25}")
NOUNS = {MODEL: "registered model", MODEL_VERSION: "model version", MODEL_ARTIFACT: "artifact"}
"""What users call each type of cell."""


def model_address(name: str) -> str:
    """The name of the cell of a registered model."""
    return _address(MODEL, name)


def version_address(model: str, name: str) -> str:
    """The name of the cell of a version; ``model`` is the address of its registered model."""
    return _address(MODEL_VERSION, f"{model}/{name}")


def link_name(version: str, type_: str, name: str) -> str:
    """The name of the cell that links an artifact of that type and name to the version of that address."""
    return f"{version}@{type_}:{name}"


def alias_name(model: str, alias: str) -> str:
    """The name of the cell of an alias; ``model`` is the address of its registered model."""
    return f"{model}@{alias}"


def object_name(model: str, version: str) -> str:
    """The name of the object that a version of a model is kept as: ``models/<model>/<version>``.

    What separates the parts of that, and names from versions of objects, is percent-encoded, and so is white space at
    the end: no two versions share an object.
    """
    parts = ["".join(_escaped(c) if c in "%/@" else c for c in part) for part in (model, version)]
    end = parts[1][len(parts[1].rstrip()) :]
    return f"models/{parts[0]}/{parts[1].rstrip()}{''.join(map(_escaped, end))}"


def _escaped(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


def id_at(type_: str, address: str, now: datetime) -> str:
    """The id of what is registered at an address now: a TypeID whose random part is the address."""
    return f"{PREFIXES[type_]}_{encode(millis_of(now), 10)}{address}"


def address_of(type_: str, id_: object) -> str:
    """The name of the cell that an id leads to. Raises ``MalformedId`` for what is no id of that type."""
    if not is_id(type_, id_):
        raise MalformedId.of(
            f"the id of the {NOUNS[type_]}",
            [f"{wrong_kind(id_, NOUNS[type_])}, which is {PREFIXES[type_]}_ and 26 characters"],
            todo="Pass the id as the registry returned it",
        )
    return str(id_)[-16:]


def is_id(type_: str, id_: object) -> bool:
    """Whether something has the form of an id of that type: whether :func:`address_of` takes it."""
    prefix, _, rest = id_.rpartition("_") if isinstance(id_, str) else ("", "", "")
    return prefix == PREFIXES[type_] and _ID.fullmatch(rest) is not None


def _address(type_: str, name: str) -> str:
    """74 bits of a digest, in the places where a UUIDv7 has its random ones, as 16 characters."""
    bits = int.from_bytes(hashlib.sha256(f"{type_}/{name}".encode()).digest()[:10], "big") >> 6
    rand_a, rand_b = bits >> 62, bits & ((1 << 62) - 1)
    return encode(0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b, 16)
