"""Files that are read from pieces of memory."""

from __future__ import annotations

import io

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_registry import Registry
from prefect_registry.objects.spans import Spans


@settings(max_examples=100, deadline=None)
@given(
    pieces=st.lists(st.binary(max_size=20), max_size=6),
    steps=st.lists(st.tuples(st.integers(0, 130), st.integers(-1, 50)), max_size=8),
)
def test_pieces_read_like_one_file(pieces: list[bytes], steps: list[tuple[int, int]]) -> None:
    """Whatever is sought and read, the bytes are those of the pieces joined."""
    spans, whole = Spans(pieces), io.BytesIO(b"".join(pieces))
    for offset, size in steps:
        assert spans.seek(offset) == whole.seek(offset)
        assert spans.read(size) == whole.read(size)
        assert spans.tell() == whole.tell()
    assert spans.seek(0, io.SEEK_END) == whole.seek(0, io.SEEK_END)


def test_large_arrays_of_every_layout_come_back() -> None:
    """C and Fortran order, dates and structures, read from memory, and views that are not in one piece."""
    registry = Registry("memory://spans", version_objects=True)
    base = np.arange(300_000, dtype=">i4").reshape(300, 1000)
    pairs = np.zeros(100_000, dtype=[("a", "i8"), ("é", "f4")])
    dates = base.astype("i8").view("datetime64[s]")
    for i, array in enumerate([base, np.asfortranarray(base), base[::2, ::3], pairs, dates]):
        registry.save(f"array{i}", array)
        back = registry.load(f"array{i}")
        assert back.dtype == array.dtype
        assert np.array_equal(back, array)
        if array.flags.f_contiguous or array.flags.c_contiguous:
            assert back.flags.f_contiguous == array.flags.f_contiguous
