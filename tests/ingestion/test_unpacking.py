"""Archives: members come out whole, and nothing past a limit."""

from __future__ import annotations

import gzip
import struct
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from prefect_registry.ingestion.http import LimitExceeded, SourceError, UnpackLimits, members, unpack

TEXT = b"one line\n" * 200_000


def zipped(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip of these files."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def zstd(data: bytes) -> bytes:
    """Compressed by zstd."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def written(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_each_kind(tmp_path: Path) -> None:
    """.gz, .zst, .zip and plain files are told apart by what they hold, whatever they are called."""
    source, out = tmp_path / "download", tmp_path / "out"
    for i, (data, name, expected) in enumerate(
        [
            (gzip.compress(TEXT[:9]) + gzip.compress(TEXT[9:]), "a.csv.gz", {"a.csv": TEXT}),
            (zstd(TEXT), "a.csv.zst", {"a.csv": TEXT}),
            (TEXT, "a.csv", {"a.csv": TEXT}),
            (zipped(source, {"a.csv": TEXT, "in/b.csv": b""}).read_bytes(), "x", {"a.csv": TEXT, "in/b.csv": b""}),
        ]
    ):
        source.write_bytes(data)
        paths = unpack(source, out / str(i), UnpackLimits(ratio=1e6), name)
        assert written(out / str(i)) == expected
        assert len(paths) == len(expected)


def test_bombs(tmp_path: Path) -> None:
    """What blows up is stopped by the ratio, the size or the number of members, and leaves nothing."""
    zeros = bytes(50 << 20)
    many = {f"{i}.csv": TEXT for i in range(10)}
    source, out = tmp_path / "bomb", tmp_path / "out"
    for data in (gzip.compress(zeros), zstd(zeros), zipped(source, {"a": zeros}).read_bytes()):
        source.write_bytes(data)
        with pytest.raises(LimitExceeded, match="zip bombs"):
            unpack(source, out)
        with pytest.raises(LimitExceeded, match="larger than"):
            unpack(source, out, UnpackLimits(ratio=1e9, size=20 << 20))
    zipped(source, many)
    with pytest.raises(LimitExceeded, match="larger than"):
        unpack(source, out, UnpackLimits(ratio=1e9, size=5 * len(TEXT)))
    with pytest.raises(LimitExceeded, match="10 members"):
        unpack(source, out, UnpackLimits(members=9))
    assert written(out) == {}


@pytest.mark.parametrize("name", ["../up", "/root", "a/../../b", "a\\b", "C:/x", "a//b", "n" * 300])
def test_hostile_names(tmp_path: Path, name: str) -> None:
    """No member leads out of the folder."""
    with pytest.raises(SourceError, match="cannot be stored"):
        unpack(zipped(tmp_path / "z", {"fine": b"", name: b""}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_that_clash(tmp_path: Path) -> None:
    """Names that are one on some filesystems are refused."""
    with pytest.raises(SourceError, match="differ only in case"):
        unpack(zipped(tmp_path / "z", {"a": b"", "A": b""}), tmp_path / "out")


def test_special_members(tmp_path: Path) -> None:
    """Links, encrypted members and methods without a bound are refused."""
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(SourceError, match="link"):
        unpack(tmp_path / "link.zip", tmp_path / "out")
    with pytest.raises(SourceError, match="method 14"):
        unpack(zipped(tmp_path / "z", {"a": TEXT}, zipfile.ZIP_LZMA), tmp_path / "out")
    data = bytearray(zipped(tmp_path / "z", {"a": TEXT}).read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "z").write_bytes(data)
    with pytest.raises(SourceError, match="encrypted"):
        unpack(tmp_path / "z", tmp_path / "out")


def test_a_list_of_members_that_fills_memory(tmp_path: Path) -> None:
    """A zip that says its list of members has a GiB is refused before that is read."""
    data = bytearray(zipped(tmp_path / "z", {"a": TEXT}).read_bytes())
    struct.pack_into("<L", data, data.rindex(b"PK\x05\x06") + 12, 1 << 30)
    (tmp_path / "z").write_bytes(data)
    with pytest.raises(LimitExceeded, match="list of members"):
        unpack(tmp_path / "z", tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "damage"), [("gzip", "cut"), ("zstd", "cut"), ("zip", "cut"), ("gzip", "flip"), ("zip", "flip")]
)
def test_damage(tmp_path: Path, kind: str, damage: str) -> None:
    """Damaged files end in one clear error, and leave nothing. (pyarrow writes zstd without a checksum of its own.)"""
    text = bytes((i * i * 31 + i // 7) % 251 for i in range(300_000))
    whole = {"gzip": gzip.compress(text), "zstd": zstd(text), "zip": zipped(tmp_path / "z", {"a": text}).read_bytes()}
    data = bytearray(whole[kind])
    if damage == "cut":
        del data[len(data) // 2 :]
    else:
        for i in range(20):
            data[len(data) // 2 + i] ^= 0xFF
    source = tmp_path / "f"
    source.write_bytes(data)
    with pytest.raises(SourceError):
        unpack(source, tmp_path / "out")
    assert written(tmp_path / "out") == {}


def test_members_stream(tmp_path: Path) -> None:
    """Members come in small pieces, so that they can be written on without holding them."""
    source = zipped(tmp_path / "z", {"a": bytes(3 << 20)})
    sizes = [len(piece) for member in members(source, UnpackLimits(ratio=1e6)) for piece in member.pieces]
    assert sum(sizes) == 3 << 20
    assert max(sizes) <= 1 << 20
