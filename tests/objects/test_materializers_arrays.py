"""numpy: the same dtype, shape and values, without pickle and without a second copy in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folder_payload import FolderPayload, stored, there_and_back

from prefect_registry.errors import FormatError, InvalidInput
from prefect_registry.objects.materializers.registered import Materializers

ARRAYS = {
    "integers": np.arange(10, dtype="i2"),
    "zero-d": np.array(3.5),
    "empty": np.zeros((0, 3)),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "strided": np.arange(20)[::3],
    "reversed": np.arange(12).reshape(3, 4)[::-1, ::-2],
    "big-endian": np.arange(4, dtype=">f4"),
    "complex": np.array([1 + 2j, complex(np.nan, -0.0)]),
    "booleans": np.array([True, False]),
    "half": np.array([1.5, np.nan], dtype="f2"),
    "long": np.array([1.5], dtype=np.longdouble),
    "dates": np.array(["2020-01-01", "NaT"], dtype="M8[D]"),
    "spans": np.array([1, 2], dtype="m8[ns]"),
    "texts": np.array(["a", "ü€"]),
    "bytes": np.array([b"a", b"bc"]),
    "void": np.array([b"\x00\x01"], dtype="V2"),
    "structured": np.array([(1, [2.0, 3.0])], dtype=[("a", "i4"), ("b", ">f8", (2,))]),
    "named in Greek": np.zeros(2, dtype=[("λ", "i1")]),
    "many fields": np.ones(1, dtype=[(f"field {n}", "<i4") for n in range(1_000)]),
    "many fields and rows": np.ones(300, dtype=[(f"field {n}", "<i4") for n in range(1_000)]),
    "a long name": np.zeros(1, dtype=[("n" * 70_000, "i1")]),
    "aligned": np.zeros(2, dtype=np.dtype([("a", "i1"), ("b", "f8")], align=False)),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_arrays_come_back(array: Any) -> None:
    """Type, shape, order and every bit; and it can be written to."""
    name, payload = stored(Materializers(), array, lazy=True)
    assert np.array(Materializers().named(name).load(payload)).tobytes() == array.tobytes()
    back = there_and_back(Materializers(), array)
    assert (type(back), back.dtype, back.dtype.str, back.shape) == (
        np.ndarray,
        array.dtype,
        array.dtype.str,
        array.shape,
    )
    assert back.tobytes() == array.tobytes()
    assert back.flags.writeable
    assert back.flags.f_contiguous == (array.flags.f_contiguous or array.ndim == 1)


@pytest.mark.parametrize(
    "scalar",
    [
        np.float64(1.5),
        np.float32("nan"),
        np.int8(-1),
        np.bool_(True),
        np.str_("ü"),
        np.bytes_(b"x"),
        np.str_(""),
        np.str_("a\0ü\0\0"),
        np.bytes_(b"a\0"),
        np.bytes_(b"\0"),
        np.datetime64("2020-01-01T00:00", "ms"),
        np.timedelta64(5, "D"),
        np.complex64(1j),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])[0],
    ],
    ids=lambda v: type(v).__name__,
)
def test_scalars_keep_their_type(scalar: Any) -> None:
    """A float64 of numpy is no float of Python, on its own and in a list."""
    for back in (there_and_back(Materializers(), scalar), there_and_back(Materializers(), [scalar])[0]):
        assert (type(back), back.dtype, back.tobytes()) == (type(scalar), scalar.dtype, scalar.tobytes())
        assert not isinstance(scalar, (str, bytes)) or back == scalar


@pytest.mark.parametrize(
    "array",
    [
        np.ma.array([1, 2, 3], mask=[0, 1, 0], fill_value=9),
        np.ma.array([1.0, 2.0]),
        np.ma.array([1, 2], mask=[True, False], hard_mask=True),
    ],
)
def test_masked_arrays_come_back(array: Any) -> None:
    """Data below the mask, mask, fill value and hardness."""
    back = there_and_back(Materializers(), array)
    assert type(back) is np.ma.MaskedArray
    assert back.data.tobytes() == array.data.tobytes()
    assert (back.mask is np.ma.nomask) == (array.mask is np.ma.nomask)
    assert np.array_equal(back.mask, array.mask)
    assert (back.fill_value, back.hardmask) == (array.fill_value, array.hardmask)


def test_arrays_lie_in_containers() -> None:
    """Each in a file of its own, beside the text."""
    value = {"x": np.arange(3), "more": [(np.ones(2), "a")]}
    name, payload = stored(Materializers(), value)
    assert payload.paths() == ["parts/0/array.npy", "parts/1/array.npy", "value.json"]
    back = Materializers().named(name).load(payload)
    assert np.array_equal(back["x"], value["x"])
    assert np.array_equal(back["more"][0][0], np.ones(2))


def nested(levels: int) -> Any:
    """A dtype of fields in fields."""
    dtype: Any = "i1"
    for _ in range(levels):
        dtype = np.dtype([("f", dtype)])
    return dtype


def masked(attribute: str, of: str = "__dict__") -> Any:
    """A masked array that has an attribute of its own, or one that numpy hands on to results."""
    made = np.ma.array([1])
    getattr(made, of)[attribute] = "m"
    return made


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.array([object()]), "holds Python objects"),
        (np.array([(1, "a")], dtype=[("n", "i4"), ("o", "O")]), "holds Python objects in o"),
        (np.array(["a"], dtype=np.dtypes.StringDType()), "holds Python objects|is not one that"),
        (np.zeros(1, dtype=np.dtype("i4", metadata={"a": 1})), "metadata"),
        (np.zeros(1, dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)), "would come back as"),
        (
            np.ma.array(np.ones(2).view(type("Mine", (np.ndarray,), {}))),
            "Its data of type Mine would come back as numpy.ndarray",
        ),
        (np.zeros(1, dtype=[("n" * (1 << 20), "i1")]), "Its fields cannot be read again"),
        (np.zeros(1, dtype=nested(100)), "Its fields cannot be read again|nested"),
        (masked("unit"), "Its attributes unit would be lost"),
        (masked("source", "_optinfo"), "Its attributes source would be lost"),
        (np.rec.array([(1,)], dtype=[("a", "i4")]), r"numpy\.asarray"),
        (type("Mine", (np.ndarray,), {})((2,)), "Mine would come back as numpy.ndarray"),
    ],
)
def test_what_would_change_is_refused(array: Any, why: str) -> None:
    """With what to do instead."""
    with pytest.raises(InvalidInput, match=why):
        stored(Materializers(), array)


def test_objects_are_pickled_only_with_leave() -> None:
    """An array of objects, then, as a whole."""
    back = there_and_back(Materializers(), np.array([1, "a", None], dtype=object), allow_pickle=True)
    assert back.tolist() == [1, "a", None]


def test_a_lazy_array_is_mapped() -> None:
    """Read when it is used, and never written to."""
    name, payload = stored(Materializers(), np.arange(1000.0), lazy=True)
    back = Materializers().named(name).load(payload)
    assert isinstance(back, np.memmap)
    assert back[500] == 500
    with pytest.raises(ValueError, match="read-only"):
        back[0] = 1


def test_a_file_with_a_pickle_is_refused(tmp_path: Path) -> None:
    """Someone else's file in the place of ours runs nothing."""
    np.save(tmp_path / "array.npy", np.array([object()]), allow_pickle=True)
    for lazy in (False, True):
        with pytest.raises(FormatError):
            Materializers().named("numpy").load(FolderPayload(tmp_path, {"kind": "array"}, lazy=lazy))


def test_a_large_array_is_written_and_read_without_a_second_copy(tmp_path: Path) -> None:
    """128 MiB: the peak of memory grows by less than an eighth while it is saved, by one array while it is loaded."""
    code = f"""
import resource, sys; sys.path[:0] = {[str(Path(__file__).parent)]!r}
from pathlib import Path
import numpy as np
from folder_payload import stored
from prefect_registry.objects.materializers.registered import Materializers
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
stored(Materializers(), np.ones((600, 600)))
array = np.ones((4096, 4096)); start = peak()
name, payload = stored(Materializers(), array, folder=Path({str(tmp_path)!r}) / "o"); saved = peak()
back = Materializers().named(name).load(payload)
print(saved - start, peak() - saved)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    saving, loading = map(int, done.stdout.split())
    assert saving < 16
    assert loading < 128 + 16
