"""From a user's name to one segment of a key, injectively, and back never (DESIGN.md 3).

Lower-case letters, digits, ``-``, ``_`` and inner dots stand for themselves; all else is ``%XX`` of its UTF-8. So two
names that differ only in case get different keys on a case-insensitive disk, and no name is ``.``, ``..`` or ``CON``.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from prefect_registry.errors import InvalidInput
from prefect_registry.ids import encode

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
"""How a folder spells that a column is null."""
LONGEST_KEY_BYTES = 180
LONGEST_NAME_CHARACTERS = 2_000
LONGEST_PATH_BYTES = 700
LONGEST_SEGMENT_BYTES = 255
"""What ext4, xfs, APFS and NTFS allow in one name."""
_ORDINARY = re.compile(r"[ !-\-0-\[\]-~][ -.0-\[\]-~]*(?:/[ !-\-0-\[\]-~][ -.0-\[\]-~]*)*")
"""Paths of printable ASCII of which no segment begins with a dot: when they are short, nothing is wrong with them."""
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")
_WINDOWS = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|\Z)")


def key_of(name: str) -> str:
    """The segment under which ``name`` is stored. Two names share it only if they are equal."""
    raw = name.encode("utf-8", "surrogatepass")
    windows = _WINDOWS.match(name)
    out = []
    for i, byte in enumerate(raw):
        inner_dot = byte == 0x2E and 0 < i < len(raw) - 1
        first_of_device = windows is not None and i == 0
        out.append(chr(byte) if (byte in _PLAIN or inner_dot) and not first_of_device else f"%{byte:02X}")
    key = "".join(out) or "%"
    return key if len(key) <= LONGEST_KEY_BYTES else _hashed(raw)


def _hashed(raw: bytes) -> str:
    # "%h" cannot come out of the encoding above, whose "%" is followed by upper-case hexadecimal or by nothing.
    return "%h" + encode(int.from_bytes(hashlib.sha256(raw).digest(), "big") << 4, 52)


def name_problems(name: object, noun: str) -> Iterator[str]:
    """What is wrong with ``name`` as the name of a ``noun``: nothing yielded means it is fine."""
    if not isinstance(name, str):
        yield f"{noun} must be a string, not {type(name).__name__}"
    elif not name:
        yield f"{noun} is empty"
    elif len(name) > LONGEST_NAME_CHARACTERS:
        yield f"{noun} has {len(name):,} characters; at most {LONGEST_NAME_CHARACTERS:,} are allowed"
    else:
        if any(unicodedata.category(c) == "Cc" for c in name):
            yield f"{noun} {name!r:.80} contains control characters"
        if any(0xD800 <= ord(c) <= 0xDFFF for c in name):
            yield f"{noun} {name!r:.80} is not valid Unicode"


def check_name(name: object, noun: str) -> str:
    """``name`` if it can name a ``noun``, else :class:`InvalidInput`."""
    problems = list(name_problems(name, noun))
    if problems:
        raise InvalidInput.of(noun, problems)
    assert isinstance(name, str)
    return name


def path_problems(path: object) -> Iterator[str]:
    """What is wrong with ``path`` as a file's path inside a dataset, relative and ``/``-separated."""
    if not isinstance(path, str) or not path:
        yield f"path {path!r:.80} must be a non-empty string"
        return
    if len(path) <= LONGEST_SEGMENT_BYTES and _ORDINARY.fullmatch(path):
        return  # as most are, and this is asked of every file
    raw = path.encode("utf-8", "surrogatepass")
    if len(raw) > LONGEST_PATH_BYTES:
        yield f"path {path!r:.60}… is longer than {LONGEST_PATH_BYTES} bytes"
    elif any(len(segment) > LONGEST_SEGMENT_BYTES for segment in raw.split(b"/")):
        yield f"path {path!r:.60}… has a segment of more than {LONGEST_SEGMENT_BYTES} bytes"
    if "\\" in path or any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in path):
        yield f"path {path!r:.80} contains a backslash, a control character or broken Unicode"
    if any(segment in ("", ".", "..") for segment in path.split("/")):
        yield f"path {path!r:.80} must be relative, without empty, '.' or '..' segments"


def folder_values(path: str) -> dict[str, str]:
    """What the folders of a path say in Hive's way: ``year=2013/month=7/part.parquet`` has year and month."""
    segments = [s.partition("=") for s in path.split("/")[:-1] if "=" in s]
    return {unquote(name): unquote(value) for name, _, value in segments}


def spelled_in_folder(value: object) -> str:
    """A JSON value as the name of a Hive folder spells it."""
    if value is None:
        return HIVE_NULL
    return str(value).lower() if isinstance(value, bool) else str(value)


def clashes(paths: Iterable[str]) -> Iterator[str]:
    """Pairs that cannot live side by side on every filesystem: equal but for case, or a folder of another."""
    seen: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in paths:
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
        if folded in seen:
            yield f"{path!r} and {seen[folded]!r} differ only in case" if seen[folded] != path else f"{path!r} twice"
        if folded in folders:
            yield f"{path!r} is a folder of {folders[folded]!r}"
        seen[folded] = path
        parts = folded.split("/")[:-1]
        for i in range(len(parts)):
            folder = "/".join(parts[: i + 1])
            if folder in seen:
                yield f"{seen[folder]!r} is a folder of {path!r}"
            folders.setdefault(folder, path)
