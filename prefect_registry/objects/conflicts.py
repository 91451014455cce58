"""What a save does when its version is there already."""

from __future__ import annotations

from enum import StrEnum

from prefect_registry.errors import InvalidInput


class OnConflict(StrEnum):
    """What to do when a version exists with other content, or with other metadata than is given.

    ``error``: raise ``RegistryVersionConflict``. ``skip``: keep it, and return its version. ``overwrite``: replace it,
    in a registry with ``mutable=True``.
    """

    ERROR = "error"
    SKIP = "skip"
    OVERWRITE = "overwrite"

    @classmethod
    def of(cls, value: str | None) -> OnConflict:
        """``value`` as one of them, ``error`` for None, else ``InvalidInput``."""
        try:
            return cls.ERROR if value is None else cls(value)
        except ValueError:
            raise InvalidInput.of(
                "on_conflict", [f"on_conflict must be 'error', 'skip' or 'overwrite', not {value!r:.40}"]
            ) from None
