"""Members of compressed files, read a little at a time and never past their limits: .gz, .zst and .zip."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

from prefect_registry.errors import RegistryError
from prefect_registry.ingestion.http.decoding import Inflate, Meter
from prefect_registry.ingestion.http.problems import LimitExceeded, SourceError
from prefect_registry.names import clashes, path_problems
from prefect_registry.storage.transfer import landing, local_errors

_PIECE_BYTES = 256 << 10
_LARGEST_DIRECTORY_BYTES = 32 << 20
_PLAIN_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class UnpackLimits(BaseModel):
    """What unpacking may give: ``size`` bytes of all members together, ``ratio`` times the compressed size beyond the
    first MiB, and so many ``members``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: PositiveInt = 10 << 30
    ratio: PositiveFloat = 200.0
    members: PositiveInt = 10_000


@dataclass(frozen=True)
class Member:
    """One file in an archive. ``pieces`` can be read once, before the next member is asked for."""

    name: str
    pieces: Iterator[bytes]


def members(source: Path, limits: UnpackLimits | None = None, name: str | None = None) -> Iterator[Member]:
    """The members of a ``.gz``, ``.zst`` or ``.zip`` file, in order; of any other file, itself.

    What it is shows in its first bytes. ``name`` is the file's own name where ``source`` has another; the member of a
    ``.gz`` or ``.zst`` is called so, without the ending. Names are relative paths that lead nowhere else; folders,
    links and special files of a zip are refused or passed over.

    Raises:
        LimitExceeded: More would come out than allowed: what came before must be dropped.
        SourceError: It is damaged, encrypted, or compressed in another way.
    """
    limits = limits or UnpackLimits()
    given = name or source.name
    with open(source, "rb") as file:
        magic = file.read(4)
        file.seek(0)
        if magic[:2] == b"\x1f\x8b":
            yield Member(_without(given, ".gz"), _gzip(file, Meter(given, limits.size, limits.ratio)))
        elif magic == b"\x28\xb5\x2f\xfd":
            yield Member(_without(given, ".zst"), _zstd(file, Meter(given, limits.size, limits.ratio)))
        elif magic in (b"PK\x03\x04", b"PK\x05\x06"):
            yield from _zip(file, given, limits)
        else:
            yield Member(given, _pieces(file, Meter(given, limits.size, float("inf"))))


def unpack(source: Path, folder: Path, limits: UnpackLimits | None = None, name: str | None = None) -> list[Path]:
    """Write every member below ``folder``; returns their paths. Raises as :func:`members` does, and leaves nothing."""
    done: list[Path] = []
    try:
        for member in members(source, limits, name):
            target = folder / member.name
            with landing(target) as part:
                with local_errors(target):
                    out = open(part, "xb")  # noqa: SIM115 - closed below
                with out:
                    for piece in member.pieces:
                        with local_errors(target):
                            out.write(piece)
            done.append(target)
    except BaseException:
        for path in done:
            path.unlink(missing_ok=True)
        raise
    return done


def _without(name: str, ending: str) -> str:
    short = name[: -len(ending)] if name.lower().endswith(ending) and len(name) > len(ending) else name
    _check_names([short])
    return short


def _pieces(file: BinaryIO, meter: Meter) -> Iterator[bytes]:
    while piece := file.read(_PIECE_BYTES):
        meter.taken += len(piece)
        meter.give(len(piece))
        yield piece


def _gzip(file: BinaryIO, meter: Meter) -> Iterator[bytes]:
    inflate = Inflate(meter)
    while data := file.read(_PIECE_BYTES // 4):
        yield from inflate.feed(data)
    if not inflate.complete:
        raise SourceError("A compressed file is cut short", why="It ends in the middle of its content")


def _zstd(file: BinaryIO, meter: Meter) -> Iterator[bytes]:
    import pyarrow as pa

    counted = _Counting(file, meter)
    with _damage(), pa.CompressedInputStream(pa.PythonFile(cast("io.IOBase", counted), mode="r"), "zstd") as stream:
        while piece := stream.read(_PIECE_BYTES):
            meter.give(len(piece))
            yield piece


class _Counting(io.RawIOBase):
    """A file whose reads count as what a meter has taken."""

    def __init__(self, file: BinaryIO, meter: Meter) -> None:
        self._file = file
        self._meter = meter

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self._meter.taken += len(data)
        return data


def _zip(file: BinaryIO, name: str, limits: UnpackLimits) -> Iterator[Member]:
    _check_directory(file, name)
    with ExitStack() as stack:
        with _damage():
            archive = stack.enter_context(zipfile.ZipFile(file))
        files = [info for info in archive.infolist() if not info.is_dir()]
        if len(files) > limits.members:
            raise LimitExceeded(f"{name} has {len(files):,} members; {limits.members:,} are allowed")
        for info in files:
            _check_member(info, name)
        _check_names([info.filename for info in files])
        meter = Meter(name, limits.size, limits.ratio)
        for info in files:
            yield Member(info.filename, _unzipped(archive, info, meter))


def _unzipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, meter: Meter) -> Iterator[bytes]:
    meter.taken += info.compress_size
    with _damage(), archive.open(info) as stream:
        while piece := stream.read(_PIECE_BYTES):
            meter.give(len(piece))
            yield piece


def _check_directory(file: BinaryIO, name: str) -> None:
    """Refuse a zip whose list of members alone would fill the memory: it is read whole before anything else."""
    end = file.seek(0, io.SEEK_END)
    start = file.seek(max(0, end - (1 << 16) - 22 - 20))
    tail = file.read(end - start)
    at = tail.rfind(b"PK\x05\x06")
    size = struct.unpack_from("<L", tail, at + 12)[0] if 0 <= at <= len(tail) - 22 else 0
    locator = tail[at - 20 : at] if at >= 20 else b""
    if locator[:4] == b"PK\x06\x07":
        file.seek(min(struct.unpack_from("<Q", locator, 8)[0], end))
        record = file.read(56)
        if record[:4] == b"PK\x06\x06" and len(record) == 56:
            size = max(size if size != 0xFFFFFFFF else 0, struct.unpack_from("<Q", record, 40)[0])
    if size > _LARGEST_DIRECTORY_BYTES:
        raise LimitExceeded(f"{name} has a list of members of {size:,} bytes; {_LARGEST_DIRECTORY_BYTES:,} are allowed")
    file.seek(0)


def _check_member(info: zipfile.ZipInfo, name: str) -> None:
    kind = (info.external_attr >> 16) & 0o170000
    if info.flag_bits & 0x1:
        raise SourceError(f"{info.filename!r:.80} in {name} is encrypted", todo="Ask the publisher for a plain file")
    if kind not in (0, 0o100000):
        raise SourceError(f"{info.filename!r:.80} in {name} is a link or a special file, which is never followed")
    if info.compress_type not in _PLAIN_METHODS:
        raise SourceError(
            f"{info.filename!r:.80} in {name} is compressed by method {info.compress_type}",
            why="Only stored and deflated members can be read within a limit",
        )


def _check_names(names: list[str]) -> None:
    problems = [problem for name in names for problem in path_problems(name)]
    problems += [f"path {name!r:.80} names a drive" for name in names if name[1:2] == ":"]
    problems += clashes(names)
    if problems:
        raise SourceError(
            "An archive has members that cannot be stored",
            why="; ".join(problems[:5]),
            todo="Ask the publisher for an archive with plain relative names",
        )


@contextmanager
def _damage() -> Iterator[None]:
    """What decompressors say about damaged files, as one error."""
    try:
        yield
    except RegistryError:
        raise
    except (
        zipfile.BadZipFile,
        EOFError,
        OSError,
        ValueError,
        NotImplementedError,  # what zipfile says of a way of packing that it does not know
        RuntimeError,
        struct.error,
    ) as error:
        raise _cannot_read(error) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("zlib", "pyarrow"):
            raise _cannot_read(error) from error
        raise


def _cannot_read(error: Any) -> SourceError:
    return SourceError("A compressed file cannot be read", why=f"{type(error).__name__}: {str(error)[:200]}")
