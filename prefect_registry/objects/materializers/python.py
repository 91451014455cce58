"""Python's own values as one JSON text, ``value.json``, with what is no Python value beside it in files of its own."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from prefect_registry.objects.materializers.builtin import BuiltIn, damaged
from prefect_registry.objects.materializers.decoding import Decoder
from prefect_registry.objects.materializers.encoding import Encoder, unknown
from prefect_registry.objects.payload import Part, Payload, StoredPayload

TEXT = "value.json"


class PythonMaterializer(BuiltIn):
    """Values, containers, dates, enums, dataclasses, named tuples and pydantic models, and all nestings of them."""

    name = "python"

    def refuses(self, value: Any) -> str | None:
        """Whether its type is none of these, at the top."""
        return unknown(value)

    def save(self, value: Any) -> Payload:
        """One JSON text; equal values give equal bytes.

        Raises:
            InvalidInput: Something in it would not come back equal and of the same type, or it holds itself.
        """
        encoder = Encoder(self.context)
        text = encoder.text(value)
        return Payload([Part(TEXT, text), *encoder.parts], changes=encoder.changes, keep=encoder.payloads)

    def load(self, payload: StoredPayload) -> Any:
        """The value.

        Raises:
            ConfigurationError: It holds objects of classes, or of libraries, that are not here.
        """
        try:
            tree = json.loads(payload.read(TEXT), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise damaged(self.name, f"{TEXT} is no JSON text of ours: {error}") from error
        return Decoder(self.context, payload).decode(tree)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
