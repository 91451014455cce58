"""Listings in the order of keys, also from servers that list folder by folder.

S3 and GCS list in the order of UTF-8 bytes: ``model-2/0`` before ``model/0``, because ``-`` sorts before ``/``. Servers
that are filesystems inside (SeaweedFS, Azure with a hierarchical namespace) list all of ``model/`` first. What this
module does is right for both, and streams: it holds back no more than one folder directly below the prefix.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from prefect_registry.storage.base import ObjectInfo

T = TypeVar("T")


def in_key_order(found: Iterator[ObjectInfo], prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
    """``found``, which comes in one of the two orders, ascending by key and without those up to ``start_after``."""
    held: list[ObjectInfo] = []
    folder = ""  # whose contents are held; what sorts between its name and its slash may still come
    for info in found:
        first, slash, _ = info.key[len(prefix) :].partition("/")
        if held and not (first.startswith(folder) and (first == folder or first[len(folder)] < "/")):
            yield from sorted(held, key=_key)
            held = []
        if info.key <= start_after:
            continue
        if held or slash:
            folder = folder if held else first
            held.append(info)
        else:
            yield info
    yield from sorted(held, key=_key)


def _key(info: ObjectInfo) -> str:
    return info.key  # Python orders strings by code points, which is the order of their UTF-8 bytes


def safe_start(prefix: str, start_after: str) -> str:
    """A key that a server may start after without skipping what sorts behind ``start_after``; empty for none.

    Only a name that contains something below ``/`` makes a difference between the two orders.
    """
    if not start_after.startswith(prefix):
        return "" if start_after < prefix else start_after
    for i in range(len(prefix), len(start_after)):
        if start_after[i] < "/" and i > len(prefix) and start_after[i - 1] != "/":
            shorter = start_after[: i - 1]
            return shorter if len(shorter) > len(prefix) and not shorter.endswith("/") else ""
    return start_after
