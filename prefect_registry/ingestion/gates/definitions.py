"""Gates as definitions, in Python or in YAML:

gates:
  - {gate: rows, min_ratio: 0.9, max_ratio: 2}
  - {gate: schema}
  - {gate: nulls, column: origin, max_share: 0.01}
  - {gate: unique, columns: [flight, date]}
  - {gate: range, column: distance, min: 0}
  - {gate: freshness, column: date, max_age_days: 35}
  - {gate: custom, function: "company.checks:totals", options: {tolerance: 0.01}}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, TypeAdapter, ValidationError
from pydantic import model_validator as after
from pydantic.json_schema import SkipJsonSchema

from prefect_registry.errors import InvalidInput

Share = Annotated[float, Field(ge=0, le=1)]
Ratio = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Column = Annotated[str, Field(min_length=1)]
Value = int | Annotated[float, Field(allow_inf_nan=False)] | datetime | date | str


class _Definition(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RowsGate(_Definition):
    """How many rows there must be: absolutely, and as a ratio to what is published. Without anything published, or
    with no rows in it, ratios hold.
    """

    gate: Literal["rows"] = "rows"
    min: NonNegativeInt | None = None
    max: NonNegativeInt | None = None
    min_ratio: Ratio | None = None
    max_ratio: Ratio | None = None

    @after(mode="after")
    def _something(self) -> RowsGate:
        limits = (self.min, self.max, self.min_ratio, self.max_ratio)
        if limits == (None, None, None, None):
            raise ValueError("give at least one of min, max, min_ratio, max_ratio")
        for low, high in (limits[:2], limits[2:]):
            if low is not None and high is not None and low > high:
                raise ValueError("the minimum is larger than the maximum")
        return self


class SchemaGate(_Definition):
    """No published column is lost, and types only widen: every value that fitted still fits, exactly.

    ``required`` names columns that must be there in any case. ``except`` (``except_`` in Python) names columns that may
    be lost or change.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    gate: Literal["schema"] = "schema"
    required: tuple[Column, ...] = ()
    except_: tuple[Column, ...] = Field(default=(), alias="except")


class NullsGate(_Definition):
    """At most this share (0 to 1) of a column's values is null. NaN counts as null."""

    gate: Literal["nulls"] = "nulls"
    column: Column
    max_share: Share = 0.0


class UniqueGate(_Definition):
    """No two rows have equal values in all of these columns. Two nulls are equal, and so are two NaN."""

    gate: Literal["unique"] = "unique"
    columns: Annotated[tuple[Column, ...], Field(min_length=1)]


class RangeGate(_Definition):
    """Every value lies between ``min`` and ``max``, both allowed. Nulls and NaN pass: :class:`NullsGate` is for them.

    For dates and timestamps give dates, or texts in ISO 8601; a time without a zone is UTC.
    """

    gate: Literal["range"] = "range"
    column: Column
    min: Value | None = None
    max: Value | None = None

    @after(mode="after")
    def _something(self) -> RangeGate:
        if self.min is None and self.max is None:
            raise ValueError("give min, max, or both")
        return self


class FreshnessGate(_Definition):
    """The newest value of a date column is at most so many days old. Values in the future do not count.

    The column holds dates, timestamps, or texts in ISO 8601.
    """

    gate: Literal["freshness"] = "freshness"
    column: Column
    max_age_days: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class CustomGate(_Definition):
    """A function of yours: ``function(staged, published, **options)`` with two pyarrow datasets, the second None if
    nothing is published.

    It passes by returning None or True, and fails by returning False, a reason, a list of reasons (an empty one
    passes), or by raising. ``function`` is a callable, or ``package.module:name``, which is imported: whoever may write
    the definition may run code.
    """

    gate: Literal["custom"] = "custom"
    function: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")] | SkipJsonSchema[Callable[..., Any]]
    options: dict[str, Any] = Field(default_factory=dict)


Gate = Annotated[
    RowsGate | SchemaGate | NullsGate | UniqueGate | RangeGate | FreshnessGate | CustomGate,
    Field(discriminator="gate"),
]
"""Any gate, told apart by its ``gate``. Pydantic models may have a field ``list[Gate]``."""

_GATES: TypeAdapter[list[Gate]] = TypeAdapter(list[Gate])


def gates_from(values: Iterable[Mapping[str, Any]]) -> list[Gate]:
    """Gates from plain mappings, as YAML gives them. Raises ``InvalidInput`` with every problem."""
    try:
        return _GATES.validate_python(list(values))
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in found['loc'])}: {found['msg']}"
            for found in error.errors(include_url=False, include_input=False)
        ]
        raise InvalidInput.of("gates", problems) from error
