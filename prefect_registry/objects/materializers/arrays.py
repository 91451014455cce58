"""numpy arrays and scalars as ``.npy`` files, without pickle."""

from __future__ import annotations

import io
from base64 import b64decode, b64encode
from typing import Any, BinaryIO, cast

import numpy as np

from prefect_registry.objects.materializers.builtin import SMALL_BYTES, BuiltIn, damaged, lossy, refused
from prefect_registry.objects.materializers.classes import dotted
from prefect_registry.objects.materializers.moments import read_text, text_form
from prefect_registry.objects.payload import Part, Payload, StoredPayload
from prefect_registry.objects.spans import Spans

_MASKED_ATTRIBUTES = frozenset(vars(np.ma.array([1], mask=[True])))
"""What numpy itself keeps in each masked array."""
_MOST_HEADER_BYTES, _MOST_SHAPE_BYTES = 1 << 20, 4096
"""Of what is read; numpy's own limit of 10,000 is less than what some hundred fields need."""
DATA, MASK, FILL = "array.npy", "mask.npy", "fill_value.npy"


def handled() -> dict[type, type[BuiltIn]]:
    """Types of numpy."""
    return {np.ndarray: ArrayMaterializer, np.generic: ArrayMaterializer}


class ArrayMaterializer(BuiltIn):
    """Arrays of any type without Python objects, masked ones too, and scalars of numpy's types.

    Loaded lazily, a plain array comes as a read-only ``numpy.memmap``.
    """

    name = "numpy"

    def refuses(self, value: Any) -> str | None:
        """Subclasses, and types that a ``.npy`` file does not keep."""
        if isinstance(value, np.generic):
            return _type_problem(value.dtype) or lossy(value, [value.dtype.type])
        if why := lossy(value, (np.ndarray, np.ma.MaskedArray), "pass numpy.asarray(value)"):
            return why
        return (_masked_problem(value) if isinstance(value, np.ma.MaskedArray) else None) or _type_problem(value.dtype)

    def save(self, value: Any) -> Payload:
        """One file; two or three of a masked array.

        Raises:
            InvalidInput: It holds Python objects, or its type would be lost.
        """
        if why := self.refuses(value):
            raise refused(value, why, "Convert it to numbers, dates, or texts of a fixed length (value.astype)")
        if isinstance(value, np.generic):
            ends = {"length": len(value)} if isinstance(value, (str, bytes)) and _ends_in_nul(value) else {}
            return Payload([_part(DATA, np.asarray(value))], {"kind": "scalar", **ends})
        if not isinstance(value, np.ma.MaskedArray):
            return Payload([_part(DATA, value)], {"kind": "array"})
        parts = [_part(DATA, value.data)]
        if value.mask is not np.ma.nomask:
            parts.append(_part(MASK, value.mask))
        if value._fill_value is not None:  # type: ignore[attr-defined]  # what was set, not what it would be
            parts.append(_part(FILL, np.asarray(value._fill_value)))  # type: ignore[attr-defined]
        return Payload(parts, {"kind": "masked", "hard": bool(value.hardmask)})

    def inline(self, value: Any) -> Any:
        """A scalar without fields: the name of its type, and its bytes."""
        if not isinstance(value, np.generic):
            return None
        if isinstance(value, np.str_):
            return ["U", text_form("".join(value))]  # str() would take NULs from the end
        if isinstance(value, np.bytes_):
            return ["S", b64encode(bytes(value)).decode()]
        if value.dtype.names or not value.dtype.itemsize:
            return None
        return [value.dtype.str, b64encode(value.tobytes()).decode()]

    def of_inline(self, tree: Any) -> Any:
        """The scalar."""
        kind, content = tree
        if kind == "U":
            return np.str_(read_text(content))
        data = b64decode(content, validate=True)
        return np.bytes_(data) if kind == "S" else np.frombuffer(data, np.dtype(kind))[0]

    def load(self, payload: StoredPayload) -> Any:
        """The array or scalar."""
        kind = payload.init.get("kind")
        if kind == "array":
            return _read(payload, DATA, payload.lazy)
        if kind == "scalar":
            scalar = _read(payload, DATA)[()]
            if (length := payload.init.get("length")) is None:
                return scalar
            return type(scalar)(scalar.ljust(length, "\0" if isinstance(scalar, str) else b"\0"))
        if kind != "masked":
            raise damaged(self.name, f"Its kind is {kind!r}")
        paths = payload.paths()
        mask = _read(payload, MASK) if MASK in paths else np.ma.nomask
        made = np.ma.MaskedArray(_read(payload, DATA), mask=mask, hard_mask=bool(payload.init.get("hard")))
        if FILL in paths:
            made.fill_value = _read(payload, FILL)[()]
        return made


def _part(path: str, array: Any) -> Part:
    """The array as a file: what lies in one piece of memory is read from there, anything else is written first."""

    def write(file: BinaryIO) -> None:
        np.lib.format.write_array(file, array, _version(array), allow_pickle=False)

    if array.nbytes > SMALL_BYTES and (array.flags.c_contiguous or array.flags.f_contiguous):
        header = io.BytesIO()
        try:
            np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
        except ValueError:  # names of fields that a header of version 1 cannot hold
            return Part(path, write)
        straight = array if array.flags.c_contiguous else array.T
        data = memoryview(straight.reshape(-1).view(np.uint8))
        return Part(path, cast(BinaryIO, Spans([header.getvalue(), data])))
    return Part(path, write)


def _version(array: Any) -> tuple[int, int]:
    """The first version of the format whose header has room for the names of fields; left to itself, numpy warns."""
    facts = np.lib.format.header_data_from_array_1_0(array)
    for version, write in (
        ((1, 0), np.lib.format.write_array_header_1_0),
        ((2, 0), np.lib.format.write_array_header_2_0),
    ):
        try:
            write(io.BytesIO(), facts)
        except ValueError:
            continue
        return version
    return (3, 0)


def _read(payload: StoredPayload, path: str, lazy: bool = False) -> Any:
    try:
        if not lazy and payload.size(path) <= SMALL_BYTES:
            return _from_bytes(payload.read(path), _MOST_HEADER_BYTES)
        mode: Any = "r" if lazy else None
        return np.load(payload.local(path), mode, allow_pickle=False, max_header_size=_MOST_HEADER_BYTES)
    except ValueError as error:
        raise damaged("numpy", f"{path}: {error}") from error


def _ends_in_nul(value: str | bytes) -> bool:
    """Whether an array would forget the end of a scalar: it cannot tell trailing NULs from what it fills up with."""
    return value.endswith("\0") if isinstance(value, str) else value.endswith(b"\0")


def _masked_problem(value: Any) -> str | None:
    """Why a masked array would change: data of a subclass, and attributes."""
    if value._baseclass is not np.ndarray or type(value.data) is not np.ndarray:
        return (
            f"its data of type {value._baseclass.__name__} would come back as numpy.ndarray: mask numpy.asarray(data)"
        )
    lost = sorted(map(str, ({*vars(value)} - _MASKED_ATTRIBUTES) | {*value._optinfo} | {*value._basedict}))
    return f"its attributes {', '.join(lost)} would be lost" if lost else None


def _from_bytes(data: bytes, most_header_bytes: int) -> Any:
    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False, max_header_size=most_header_bytes)


def _header_problem(dtype: Any) -> str | None:
    """Why the header of an array with fields could not be read again: it is too long, or nested too deeply."""
    empty, file = np.empty(0, dtype), io.BytesIO()
    try:
        np.lib.format.write_array(file, empty, _version(empty), allow_pickle=False)
        _from_bytes(file.getvalue(), _MOST_HEADER_BYTES - _MOST_SHAPE_BYTES)
    except (ValueError, RecursionError, MemoryError) as error:
        return f"its fields cannot be read again from the header of a .npy file: {str(error)[:200]}"
    return None


def _type_problem(dtype: Any) -> str | None:
    if dtype.hasobject:
        fields = [name for name in dtype.names or () if dtype[name].hasobject]
        where = f" in {', '.join(fields)}" if fields else ""
        return f"it holds Python objects{where}, which a .npy file can hold only as a pickle"
    if not getattr(type(dtype), "_legacy", True):
        return f"its type {dtype} is not one that a .npy file keeps"
    if _has_metadata(dtype):
        return "its dtype has metadata, which a .npy file does not keep"
    try:
        back = np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(dtype))
    except (ValueError, TypeError) as error:
        return f"its type {dtype} cannot be written to a .npy file: {error}"
    if back != dtype or back.isalignedstruct != dtype.isalignedstruct:
        return f"its type {dtype!r} would come back as {back!r}"
    if back.type is not dtype.type:  # C has two names for one size
        return f"its type {dotted(dtype.type)} would come back as {dotted(back.type)}: use value.astype"
    return _header_problem(dtype) if dtype.names else None


def _has_metadata(dtype: Any) -> bool:
    inner = [dtype[name] for name in dtype.names or ()] + ([dtype.base] if dtype.base is not dtype else [])
    return bool(dtype.metadata) or any(map(_has_metadata, inner))
