"""What is promised of objects, asked of a registry as its users would, with every byte and file counted on the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
import torch
from onnx import helper, numpy_helper
from PIL import Image
from sklearn.linear_model import LogisticRegression
from typing_extensions import override

from prefect_registry import Registry
from prefect_registry.errors import InvalidInput
from prefect_registry.objects import VerifyLevel
from prefect_registry.objects.materializers.loading_files import LazyFolder
from prefect_registry.storage.base import CopyOf, Progress, Storage, Stored, Upload
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.storage.wrapper import WrapperStorage
from prefect_registry.testing.counting import CountingStorage
from prefect_registry.testing.servers import Server

FILES = 40


class Watched(WrapperStorage):
    """What is sent, what is copied inside the store, and how much is read, by name."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.sent: list[str] = []
        self.copied: list[str] = []
        self.read = 0

    @override
    def upload(self, files: Sequence[Upload], progress: Progress | None = None) -> list[Stored]:
        for file in files:
            (self.copied if isinstance(file.source, CopyOf) else self.sent).append(Path(file.key).name)
        return self.inner.upload(files, progress)

    @override
    def open(self, key: str) -> BinaryIO:
        file, outer = self.inner.open(key), self

        class Counted(BytesIO):
            def seek(self, at: int, whence: int = 0) -> int:
                return file.seek(at, whence)

            def tell(self) -> int:
                return file.tell()

            def read(self, size: int | None = -1) -> bytes:
                data = file.read(-1 if size is None else size)
                outer.read += len(data)
                return data

            def close(self) -> None:
                file.close()

        return Counted()


@pytest.fixture
def watched(seaweedfs: Server) -> Watched:
    return Watched(seaweedfs.storage())


@pytest.fixture
def registry(watched: Watched) -> Registry:
    """A registry on S3 that keeps versions, without a cache before it."""
    return Registry(ResolvingStorage(watched), version_objects=True, use_cache=False, heartbeats=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    for n in range(FILES):
        (made / f"{n % 4}").mkdir(parents=True, exist_ok=True)
        (made / f"{n % 4}" / f"{n:02}.bin").write_bytes(os.urandom(2_000))
    return made


@pytest.mark.server
def test_what_is_unchanged_in_a_folder_is_copied_inside_the_store(
    registry: Registry, watched: Watched, folder: Path, tmp_path: Path
) -> None:
    """Each file is an object; of the next version only what is new is sent, also under other names."""
    registry.save("m", folder)
    assert (len(watched.sent), watched.copied) == (FILES, [])
    watched.sent.clear()
    (folder / "0" / "00.bin").write_bytes(b"changed")
    (folder / "1" / "01.bin").rename(folder / "moved.bin")
    (folder / "new.bin").write_bytes(b"new")
    assert registry.save("m", folder) == "2"
    assert sorted(watched.sent) == ["00.bin", "new.bin"]
    assert len(watched.copied) == FILES - 1
    back = Registry(registry.storage, use_cache=False).load("m", output_dir=tmp_path / "out")
    files = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    assert [(back / p).read_bytes() for p in files] == [(folder / p).read_bytes() for p in files]
    watched.copied.clear()
    watched.sent.clear()
    assert registry.save("m", folder, version="2") == "2"
    assert (watched.sent, watched.copied) == ([], [])


def test_a_folder_is_three_round_trips(folder: Path) -> None:
    """However many files it has, as far as so many can be on their way at once: each is a request of its own."""
    counting = CountingStorage(MemoryStorage(), width=FILES)
    registry = Registry(ResolvingStorage(counting), version_objects=True, use_cache=False, heartbeats=False)
    registry.save("warm", 1)
    with counting.measure() as found:
        registry.save("m", folder, version="1")
    assert (found.total, found.sequential) == (FILES + 4, 3)


RANDOM = np.random.default_rng(1)
FAMILIES: dict[str, Callable[[int], Any]] = {
    "python": lambda n: {"a": list(range(n)), (1, None): {2.5, "x"}},
    "bytes": os.urandom,
    "numpy": RANDOM.random,
    "masked": lambda n: np.ma.array(RANDOM.random(n), mask=RANDOM.random(n) > 0.5),
    "arrow": lambda n: pa.table({"a": RANDOM.random(n), "b": ["x"] * n}),
    "arrow.dataset": lambda n: ds.dataset(pa.table({"a": RANDOM.random(n)})),
    "pandas": lambda n: pd.DataFrame({"a": RANDOM.random(n), "c": pd.Categorical(["x", "y"] * (n // 2))}),
    "polars": lambda n: pl.DataFrame({"a": RANDOM.random(n), "c": pl.Series(["x"] * n, dtype=pl.Categorical)}),
    "pillow": lambda n: Image.fromarray(RANDOM.integers(0, 255, (n // 4, 40), dtype="u1")),
    "torch": lambda n: torch.nn.Linear(n, 2).state_dict(),
    "sklearn": lambda n: LogisticRegression().fit(RANDOM.random((4, n)), [0, 1, 0, 1]),
    "onnx": lambda n: helper.make_model(
        helper.make_graph([], "g", [], [], [numpy_helper.from_array(RANDOM.random(n), "w")])
    ),
    "together": lambda n: {"array": RANDOM.random(n), "more": [pl.DataFrame({"x": range(n)}), (torch.ones(n),)]},
}


def plain(value: Any) -> Any:
    """What tells one value of these families from another."""
    if isinstance(value, dict):
        return type(value), [(plain(k), plain(v)) for k, v in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [*map(plain, value)]
    if isinstance(value, set):  # in which order depends on where the process has its hashes from
        return type(value), sorted(map(repr, map(plain, value)))
    if isinstance(value, ds.Dataset):
        return "dataset", value.to_table().to_pylist()
    if isinstance(value, torch.Tensor):
        return type(value), value.tolist()
    if isinstance(value, (pa.Table, pl.DataFrame)):
        return type(value), repr(value.schema), repr(value.to_pydict() if isinstance(value, pa.Table) else value.rows())
    if isinstance(value, pd.DataFrame):
        return type(value), repr(value.dtypes), value.to_dict("list")
    if isinstance(value, LogisticRegression):
        return type(value), value.coef_.tolist(), value.classes_.tolist()
    for form in ("SerializeToString", "tobytes"):
        if hasattr(value, form):
            return (
                type(value),
                getattr(value, "dtype", None),
                np.ma.getmaskarray(value).tobytes() if isinstance(value, np.ndarray) else None,
                getattr(value, form)(),
            )
    return type(value), value


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_passes_a_registry(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a record and in files, on a disk and far away, with a cache and without, at each level; saved again it is
    recognised, and nothing is left that nobody knows.
    """
    monkeypatch.setenv("PREFECT_REGISTRY_CACHE", str(tmp_path / "cache"))
    for size in (40, 6_000):
        value = FAMILIES[family](size)
        for number, place in enumerate((MemoryStorage(), str(tmp_path / f"store-{size}"))):
            writer = Registry(place, version_objects=True, heartbeats=False)
            assert writer.save("m", value) == "1"
            if family != "sklearn":  # skops writes other bytes each time
                assert Registry(place, heartbeats=False).save("m", value, version="1") == "1"
            for cached in (True, False):
                reader = Registry(place, use_cache=cached, heartbeats=False)
                for verify in VerifyLevel:
                    assert plain(reader.load("m", verify=verify)) == plain(value), (family, size, number, verify)
            assert writer.fsck().findings == ()


class Opaque:
    """No form of ours has it."""

    def __eq__(self, other: object) -> bool:
        return type(other) is Opaque

    __hash__ = None  # type: ignore[assignment]


def test_pickle_takes_the_leave_of_registry_and_call(tmp_path: Path) -> None:
    """Of both, each time: to save and to load, alone and in a container, of who opened it and of the call."""
    for value in (Opaque(), {"inside": [Opaque()]}):
        store = tmp_path / type(value).__name__
        trusting, careful = Registry(store, allow_pickle=True), Registry(store)
        for registry, allowed in ((careful, True), (careful, False), (trusting, False)):
            with pytest.raises(InvalidInput, match="pickle"):
                registry.save("m", value, allow_pickle=allowed)
            assert not registry.has_object("m")
        trusting.save("m", value, allow_pickle=True)
        for registry, allowed in ((careful, True), (careful, False), (trusting, False)):
            with pytest.raises(InvalidInput, match="pickle"):
                registry.load("m", allow_pickle=allowed)
        assert trusting.load("m", allow_pickle=True) == value


@pytest.mark.server
def test_lazily_only_what_is_used_is_read_of_the_store(registry: Registry, watched: Watched, folder: Path) -> None:
    """A column of ten, one row group, one file: of tables of every library, and of folders."""
    table = pa.table({f"c{n}": np.random.default_rng(n).random(60_000) for n in range(10)})
    size = table.nbytes
    for name, value in {"arrow": table, "polars": pl.from_arrow(table), "files": folder}.items():
        registry.save(name, value)

    def reading(call: Callable[[], Any]) -> int:
        watched.read = 0
        call()
        return watched.read

    found = registry.load("arrow", lazy=True)
    assert reading(lambda: found.to_table(columns=["c3"])) < size / 5
    assert found.to_table(columns=["c3"]).equals(table.select(["c3"]))
    frame = registry.load("polars", lazy=True)
    assert reading(lambda: frame.select("c7").collect()) < size / 5
    assert frame.select("c7").collect()["c7"].to_numpy().tolist() == table["c7"].to_pylist()
    lazy = registry.load("files", lazy=True)
    assert isinstance(lazy, LazyFolder)
    assert reading(lambda: lazy.open("1/01.bin").read()) == 2_000
