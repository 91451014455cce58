"""What the artifacts have in common: texts of others inside Markdown, sizes, keys, and how to open a registry."""

from __future__ import annotations

import re

from prefect_registry.registry import Registry


def slug(text: str) -> str:
    """``text`` in the characters that Prefect allows in an artifact's key."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:80] or "run"


def opening(registry: Registry) -> tuple[str, str]:
    """How a reader opens the same store in Python: what to import, and what to call."""
    if registry.reference is not None:  # whose credentials are in the block, and not in the URL
        return "from prefect_registry.resolve import resolve_registry", f"resolve_registry({registry.reference!r})"
    return "from prefect_registry import Registry", f"Registry({registry.url!r})"


def plain(text: str) -> str:
    """``text`` inside Markdown: nothing in it is markup."""
    return re.sub(r"([\\`*_{}\[\]<>()#+\-.!|])", r"\\\1", text.replace("\n", " "))


def readable(size: int) -> str:
    """Bytes as people read them."""
    value = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"
