"""The evaluation of gates: each a scan of its own columns, in batches."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from prefect_registry.errors import RecoverableError, StorageUnavailable
from prefect_registry.ingestion.dates import moments
from prefect_registry.ingestion.gates.definitions import (
    CustomGate,
    FreshnessGate,
    Gate,
    NullsGate,
    RangeGate,
    RowsGate,
    SchemaGate,
    UniqueGate,
)
from prefect_registry.ingestion.gates.uniqueness import duplicates
from prefect_registry.ingestion.gates.widening import widens
from prefect_registry.ingestion.scanning import scan
from prefect_registry.records.base import text_of

_MOST_EXAMPLES = 5
_MOST_REASONS = 20
_ROWS = 65_536
_FIRST_IN_NS, _LAST_IN_NS = (pa.scalar(sign * (2**63 // 1_000), pa.timestamp("us")) for sign in (-1, 1))


@dataclass(frozen=True)
class GateFailure:
    """A gate that staged rows did not pass: what was ``expected``, what was ``found``, and values that show it."""

    gate: str
    expected: str
    found: str
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = f"; for example {', '.join(self.examples)}" if self.examples else ""
        return f"{self.gate}: expected {self.expected}, found {self.found}{shown}"


def evaluate(
    gates: Iterable[Gate], staged: pads.Dataset, published: pads.Dataset | None, now: datetime
) -> list[GateFailure]:
    """Every failure of every gate, in order; empty when all hold.

    A gate that cannot be evaluated, or that raises, is a failure with its reason. Only what may pass by itself
    (``RecoverableError``, ``StorageUnavailable``) is raised: it tells nothing about the rows.

    Args:
        gates: What must hold.
        staged: What is to be published.
        published: What it will replace; None if nothing is published yet.
        now: With a time zone; freshness is measured from it.
    """
    return [failure for gate in gates for failure in _evaluate(gate, staged, published, now)]


def _evaluate(gate: Gate, staged: pads.Dataset, published: pads.Dataset | None, now: datetime) -> list[GateFailure]:
    try:
        missing = [name for name in _columns(gate) if name not in staged.schema.names]
        if missing:
            return [_failure(gate, f"columns {_listed(_columns(gate))}", f"no {_listed(missing)}", staged.schema.names)]
        return list(_check(gate, staged, published, now))
    except (RecoverableError, StorageUnavailable):
        raise
    except Exception as error:
        return [_failure(gate, "to be evaluated", f"{type(error).__name__}: {text_of(error)[:500]}")]


def _check(gate: Gate, staged: pads.Dataset, published: pads.Dataset | None, now: datetime) -> Iterable[GateFailure]:
    match gate:
        case RowsGate():
            return _rows(gate, staged, published)
        case SchemaGate():
            return _schema(gate, staged, published)
        case NullsGate():
            return _nulls(gate, staged)
        case UniqueGate():
            return _unique(gate, staged)
        case RangeGate():
            return _range(gate, staged)
        case FreshnessGate():
            return _freshness(gate, staged, now)
        case CustomGate():
            return _custom(gate, staged, published)


def _columns(gate: Gate) -> Sequence[str]:
    if isinstance(gate, UniqueGate):
        return gate.columns
    if isinstance(gate, SchemaGate):
        return gate.required
    return (gate.column,) if isinstance(gate, (NullsGate, RangeGate, FreshnessGate)) else ()


def _failure(gate: Gate, expected: str, found: str, examples: Iterable[object] = ()) -> GateFailure:
    shown = tuple(f"{value!r:.80}" for value, _ in zip(examples, range(_MOST_EXAMPLES), strict=False))
    return GateFailure(gate.gate, expected, found, shown)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{name!r:.80}" for name in names)


# -- the gates -------------------------------------------------------------------------------------------------------


def _rows(gate: RowsGate, staged: pads.Dataset, published: pads.Dataset | None) -> Iterable[GateFailure]:
    rows = staged.count_rows()
    before = published.count_rows() if published is not None else 0
    for sign, limit, ratio in ((1, gate.min, gate.min_ratio), (-1, gate.max, gate.max_ratio)):
        word = "at least" if sign > 0 else "at most"
        if limit is not None and sign * rows < sign * limit:
            yield _failure(gate, f"{word} {limit:,} rows", f"{rows:,}")
        if ratio is not None and before and sign * rows < sign * ratio * before:
            expected = f"{word} {ratio:g} times the {before:,} rows that are published"
            yield _failure(gate, expected, f"{rows:,}, which is {rows / before:.3g} times as many")


def _schema(gate: SchemaGate, staged: pads.Dataset, published: pads.Dataset | None) -> Iterable[GateFailure]:
    if published is None:
        return
    for field in published.schema:
        if field.name in gate.except_:
            continue
        if field.name not in staged.schema.names:
            yield _failure(gate, f"the published column {field.name!r:.80}", "no such column", staged.schema.names)
        elif not widens(field.type, new := staged.schema.field(field.name).type):
            expected = f"the column {field.name!r:.80} to be {field.type!s:.200}, or wider"
            yield _failure(gate, expected, f"{new!s:.200}, which cannot hold every value exactly")


def _nulls(gate: NullsGate, staged: pads.Dataset) -> Iterable[GateFailure]:
    rows = nulls = 0
    for batch in scan(staged, [gate.column], _ROWS):
        column = batch.column(0)
        rows += len(column)
        nan = pa.types.is_floating(column.type) and not pa.types.is_float16(column.type)
        is_null: Any = pc.is_null(column, nan_is_null=nan)
        nulls += is_null.true_count
    if rows and nulls > gate.max_share * rows:
        expected = f"at most {gate.max_share:.4%} nulls in {gate.column!r:.80}"
        yield _failure(gate, expected, f"{nulls / rows:.4%}, which is {nulls:,} of {rows:,}")


def _unique(gate: UniqueGate, staged: pads.Dataset) -> Iterable[GateFailure]:
    found = duplicates(staged, gate.columns, _MOST_EXAMPLES)
    if found.rows:
        expected = f"each row to have its own {_listed(gate.columns)}"
        yield _failure(gate, expected, f"{found.rows:,} rows that repeat another one's", found.examples)


def _range(gate: RangeGate, staged: pads.Dataset) -> Iterable[GateFailure]:
    outside = rows = 0
    examples: list[Any] = []
    type_ = staged.schema.field(gate.column).type
    low, high = _bound(gate.min, type_, math.ceil), _bound(gate.max, type_, math.floor)
    for batch in scan(staged, [gate.column], _ROWS):
        column: Any = _plain(batch.column(0))
        rows += len(column)
        masks = [pc.less(column, low)] if low is not None else []
        masks += [pc.greater(column, high)] if high is not None else []
        if not masks:
            continue
        wrong = column.filter(pc.or_(*masks) if len(masks) == 2 else masks[0])
        outside += len(wrong)
        if len(examples) < _MOST_EXAMPLES:
            examples += [value for value in _shown(wrong.slice(0, 100).unique()) if value not in examples]
    if outside:
        bounds = [f"{word} {value!s:.80}" for word, value in (("at least", gate.min), ("at most", gate.max))
                  if value is not None]  # fmt: skip
        yield _failure(
            gate, f"{gate.column!r:.80} to be {' and '.join(bounds)}", f"{outside:,} of {rows:,} outside", examples
        )


def _plain(array: pa.Array[Any]) -> pa.Array[Any]:
    if isinstance(array, pa.DictionaryArray):
        return _plain(array.dictionary_decode())
    if pa.types.is_float16(array.type):
        return array.cast(pa.float32())
    return array.cast(pa.large_string()) if pa.types.is_string_view(array.type) else array


def _shown(array: pa.Array[Any]) -> list[Any]:
    """Values for people: dates and times as texts, which hold what Python's types do not."""
    return array.cast(pa.string()).to_pylist() if pa.types.is_temporal(array.type) else array.to_pylist()


def _bound(value: Any, type_: Any, inward: Callable[[Any], int]) -> Any:
    """A bound as something that compares with the column; None when every value of its type is within.

    Args:
        inward: Makes a number the next whole one on the side of what is allowed.
    """
    if value is None:
        return None
    type_ = type_.value_type if isinstance(type_, pa.DictionaryType) else type_
    if pa.types.is_integer(type_) and isinstance(value, (int, float)):
        return _whole(inward(value), type_, inward is math.ceil)
    if not pa.types.is_temporal(type_):
        return pa.scalar(value)
    if pa.types.is_timestamp(type_) or pa.types.is_date(type_):
        moment = moments(pa.array([value.isoformat() if hasattr(value, "isoformat") else value], pa.string()))
        if moment.null_count:
            raise ValueError(f"{value!r:.80} is no date or time")
        if pa.types.is_date(type_):
            return pa.scalar(_day(moment[0].as_py(), inward)).cast(type_)
        if type_.unit == "ns":  # which holds the years 1677 to 2262
            moment = pc.min_element_wise(pc.max_element_wise(moment, _FIRST_IN_NS), _LAST_IN_NS)
        return moment[0].cast(pa.timestamp("us", type_.tz))
    return pa.scalar(value).cast(type_)


def _day(moment: datetime, inward: Callable[[Any], int]) -> date:
    """The first or last day within a bound."""
    return moment.date() + timedelta(days=int(inward is math.ceil and moment.time() > time.min))


def _whole(bound: int, type_: Any, is_low: bool) -> Any:
    """A bound of whole numbers in the type of their column: compared with another one, the large ones do not fit."""
    least, most = (-(1 << (type_.bit_width - 1)), (1 << (type_.bit_width - 1)) - 1)
    if pa.types.is_unsigned_integer(type_):
        least, most = 0, (1 << type_.bit_width) - 1
    if least <= bound <= most:
        return pa.scalar(bound, type_)
    return None if (bound < least) is is_low else pa.scalar(bound)


def _freshness(gate: FreshnessGate, staged: pads.Dataset, now: datetime) -> Iterable[GateFailure]:
    today = now.astimezone(UTC).replace(tzinfo=None)
    newest: datetime | None = None
    ahead = 0
    for batch in scan(staged, [gate.column], _ROWS):
        found: Any = moments(batch.column(0))
        past = found.filter(pc.less_equal(found, pa.scalar(today, pa.timestamp("us"))))
        ahead += len(found) - found.null_count - len(past)
        latest = pc.max(past).as_py()
        newest = latest if newest is None else max(newest, latest or newest)
    oldest = today - timedelta(days=gate.max_age_days)
    if newest is None or newest < oldest:
        found_text = "no date at all" if newest is None else f"{newest.isoformat(sep=' ', timespec='seconds')}"
        later = f" ({ahead:,} values in the future do not count)" if ahead else ""
        expected = (
            f"the newest {gate.column!r:.80} to be at most {gate.max_age_days:g} days old at {today:%Y-%m-%d %H:%M}"
        )
        yield _failure(gate, expected, found_text + later)


def _custom(gate: CustomGate, staged: pads.Dataset, published: pads.Dataset | None) -> Iterable[GateFailure]:
    function, name = gate.function, gate.function if isinstance(gate.function, str) else repr(gate.function)
    if isinstance(function, str):
        module, _, path = function.partition(":")
        target: Any = importlib.import_module(module)
        for part in path.split("."):
            target = getattr(target, part)
        function = target
    answer = function(staged, published, **gate.options)
    if answer is None or answer is True:
        return
    reasons = ["False"] if answer is False else [answer] if isinstance(answer, str) else list(answer)
    for reason in reasons[:_MOST_REASONS]:
        yield _failure(gate, f"{name:.200} to hold", f"{reason!s:.500}")
