"""Model cards: Markdown that tells what a version is for, kept in the registry with its history."""

from __future__ import annotations

import os
from pathlib import Path

from prefect_registry.errors import InvalidInput
from prefect_registry.models.converting import MOST_TEXT_BYTES
from prefect_registry.models.resources import DocArtifact

CARD = "model-card"
"""The name of the document."""


def card_of(card: str | os.PathLike[str]) -> DocArtifact:
    """A model card as an artifact: of a text, or of the file that a path names.

    Raises ``InvalidInput`` for what is no text of at most 900,000 bytes in UTF-8.
    """
    if isinstance(card, os.PathLike):
        path = Path(card)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeError) as error:
            why = "not UTF-8" if isinstance(error, UnicodeError) else str(error.strerror or error)
            raise InvalidInput.of("the model card", [f"{path.name!r:.100} cannot be read: {why}"]) from error
    elif isinstance(card, str):
        text = card
    else:
        raise InvalidInput.of("the model card", [f"it must be Markdown or a path, not {type(card).__name__}"])
    if not text.strip():
        raise InvalidInput.of("the model card", ["it is empty"])
    if len(text.encode("utf-8", "surrogatepass")) > MOST_TEXT_BYTES:
        raise InvalidInput.of("the model card", [f"it has more than {MOST_TEXT_BYTES:,} bytes"])
    return DocArtifact(name=CARD, text=text)
