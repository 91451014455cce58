"""Bytes as they are."""

from __future__ import annotations

from typing import Any

from prefect_registry.objects.materializers.builtin import BuiltIn, lossy
from prefect_registry.objects.payload import Part, Payload, StoredPayload


class BytesMaterializer(BuiltIn):
    """``bytes`` and ``bytearray`` as one file, ``data``."""

    name = "bytes"

    def refuses(self, value: Any) -> str | None:
        """A subclass."""
        return lossy(value, (bytes, bytearray))

    def save(self, value: bytes | bytearray) -> Payload:
        """One file."""
        mutable = isinstance(value, bytearray)
        return Payload([Part("data", bytes(value))], {"mutable": True} if mutable else {})

    def load(self, payload: StoredPayload) -> bytes | bytearray:
        """The same bytes."""
        data = payload.read("data")
        return bytearray(data) if payload.init.get("mutable") else data
