"""Whether one Arrow type can hold every value of another, exactly."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

_UNITS = ("s", "ms", "us", "ns")
_EXACT_BITS = {"halffloat": 11, "float": 24, "double": 53}
"""How large integers a float type holds without gaps, in bits."""
_TEXTS = {"string", "large_string", "string_view"}
_BYTES = {"binary", "large_binary", "binary_view"}


def widens(old: Any, new: Any) -> bool:
    """Whether every value of ``old`` is a value of ``new``. Structs may gain fields; lists may become large ones."""
    if isinstance(old, pa.DictionaryType):
        return widens(old.value_type, new)
    if isinstance(new, pa.DictionaryType):
        return widens(old, new.value_type)
    if old == new or pa.types.is_null(old):
        return True
    if pa.types.is_struct(old) and pa.types.is_struct(new):
        return all(new.get_field_index(f.name) >= 0 and widens(f.type, new.field(f.name).type) for f in old)
    if pa.types.is_map(old) and pa.types.is_map(new):
        return widens(old.key_type, new.key_type) and widens(old.item_type, new.item_type)
    if _is_list(old) and _is_list(new):
        fixed = pa.types.is_fixed_size_list(new)
        same = not fixed or (pa.types.is_fixed_size_list(old) and old.list_size == new.list_size)
        return same and widens(old.value_type, new.value_type)
    return _number_widens(old, new) or _time_widens(old, new) or any(
        str(old) in kind and str(new) in kind for kind in (_TEXTS, _BYTES)
    ) or (pa.types.is_fixed_size_binary(old) and str(new) in _BYTES)  # fmt: skip


def _is_list(type_: Any) -> bool:
    return pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_)


def _number_widens(old: Any, new: Any) -> bool:
    if pa.types.is_integer(old):
        signed = pa.types.is_signed_integer(old)
        bits = old.bit_width - signed
        if pa.types.is_integer(new):
            return new.bit_width - pa.types.is_signed_integer(new) >= bits and (
                pa.types.is_signed_integer(new) or not signed
            )
        if pa.types.is_floating(new):
            return _EXACT_BITS[str(new)] >= bits
        if pa.types.is_decimal(new):
            return bool(new.precision - new.scale >= len(str(2**bits)))
    if pa.types.is_floating(old) and pa.types.is_floating(new):
        return _EXACT_BITS[str(new)] >= _EXACT_BITS[str(old)]
    if pa.types.is_decimal(old) and pa.types.is_decimal(new):
        return bool(new.scale >= old.scale and new.precision - new.scale >= old.precision - old.scale)
    return False


def _time_widens(old: Any, new: Any) -> bool:
    """Finer units hold less far, but every date that is one."""
    if pa.types.is_date(old):
        return pa.types.is_date(new) or (pa.types.is_timestamp(new) and new.tz is None)
    if pa.types.is_timestamp(old) and pa.types.is_timestamp(new):
        return (old.tz is None) == (new.tz is None) and _UNITS.index(new.unit) >= _UNITS.index(old.unit)
    alike = [(pa.types.is_time(old), pa.types.is_time(new)), (pa.types.is_duration(old), pa.types.is_duration(new))]
    return any(a and b for a, b in alike) and _UNITS.index(new.unit) >= _UNITS.index(old.unit)
