"""Scalars of pandas as JSON: what stands inside containers, in columns of objects, and as names."""

from __future__ import annotations

from typing import Any

import pandas as pd

from prefect_registry.errors import InvalidInput
from prefect_registry.objects.materializers.builtin import Context
from prefect_registry.objects.materializers.decoding import Decoder
from prefect_registry.objects.materializers.encoding import Encoder


def encode(context: Context, value: Any) -> Any:
    """The tree of a scalar, or ``None`` if it would come back as another."""
    if value is pd.NaT or value is pd.NA:
        return ["NaT" if value is pd.NaT else "NA"]
    try:
        tree = _encode(context, value)
        return tree if tree is not None and same(value, decode(context, tree)) else None
    except (InvalidInput, ValueError, OverflowError):  # zones, and frequencies, that cannot be told by a name
        return None


def decode(context: Context, tree: Any) -> Any:
    """The scalar of a tree."""
    kind, *facts = tree
    if kind == "NaT":
        return pd.NaT
    if kind == "NA":
        return pd.NA
    if kind == "Timestamp":
        at, unit, zone = facts
        made = pd.Timestamp(at, unit=unit).as_unit(unit)
        zone = Decoder(context, None).decode(zone)
        return made if zone is None else made.tz_localize("UTC").tz_convert(zone)
    if kind == "Timedelta":
        return pd.Timedelta(facts[0], unit=facts[1]).as_unit(facts[1])
    if kind == "Period":
        return pd.Period(ordinal=facts[0], freq=facts[1])
    raise ValueError(f"{kind!r} is no scalar of pandas that stands inside a container")


def same(one: Any, other: Any) -> bool:
    """Whether two scalars are equal and of the same types; instants and spans of the same unit and zone, too."""
    if type(one) is not type(other) or getattr(one, "unit", None) != getattr(other, "unit", None):
        return False
    if isinstance(one, pd.Interval):
        return one.closed == other.closed and same(one.left, other.left) and same(one.right, other.right)
    if isinstance(one, pd.Timestamp) and (type(one.tz), one.fold) != (type(other.tz), other.fold):
        return False
    return one is other or bool(one == other and repr(one) == repr(other))


def _encode(context: Context, value: Any) -> Any:
    if isinstance(value, pd.Timestamp):
        zone = None if value.tz is None else Encoder(context).encode(value.tz)
        return ["Timestamp", int(value.asm8.view("i8")), value.unit, zone]
    if isinstance(value, pd.Timedelta):
        return ["Timedelta", int(value.asm8.view("i8")), value.unit]
    if isinstance(value, pd.Period):
        return ["Period", value.ordinal, value.freqstr]
    return None
