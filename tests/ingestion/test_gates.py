"""Quality gates on real Parquet files: what passes, what fails, and what a failure says."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from prefect_registry.errors import InvalidInput, StorageUnavailable
from prefect_registry.ingestion.gates import CustomGate, Gate, GateFailure, evaluate, gates_from
from prefect_registry.ingestion.gates.uniqueness import duplicates
from prefect_registry.ingestion.gates.widening import widens

NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)


def dataset(folder: Path, *tables: pa.Table) -> pads.Dataset:
    """Tables as Parquet files with small row groups, and a dataset over them."""
    for i, table in enumerate(tables):
        pq.write_table(table, folder / f"{i}.parquet", row_group_size=1_000)
    return pads.dataset([str(folder / f"{i}.parquet") for i in range(len(tables))])


def check(gate: dict[str, Any], staged: pa.Table, published: pa.Table | None = None) -> list[GateFailure]:
    """One gate on tables in memory."""
    before = None if published is None else pads.dataset(published)
    return evaluate(gates_from([gate]), pads.dataset(staged), before, NOW)


def numbers(count: int) -> pa.Table:
    """So many rows."""
    return pa.table({"n": pa.array(range(count), pa.int64())})


def test_flights_pass_and_fail(tmp_path: Path) -> None:
    """A list of gates tells every failure in order, each with what was expected, found, and examples."""
    staged = pa.table(
        {
            "flight": [1, 2, 2, 3] * 2_500,
            "at": ["2024-01-31", None, "soon", "2024-02-01T10:00:00Z"] * 2_500,
            "distance": [10.0, -1.0, None, 99_999.0] * 2_500,
        }
    )
    gates = gates_from(
        [
            {"gate": "rows", "min_ratio": 0.9},
            {"gate": "schema"},
            {"gate": "nulls", "column": "at", "max_share": 0.1},
            {"gate": "unique", "columns": ["flight"]},
            {"gate": "range", "column": "distance", "min": 0, "max": 20_000},
            {"gate": "freshness", "column": "at", "max_age_days": 7},
            {"gate": "nulls", "column": "origin"},
        ]
    )
    published = pa.table({"flight": range(20_000), "origin": ["JFK"] * 20_000})
    found = evaluate(
        gates, dataset(tmp_path, staged.slice(0, 5_000), staged.slice(5_000)), pads.dataset(published), NOW
    )
    assert [str(failure) for failure in found] == [
        "rows: expected at least 0.9 times the 20,000 rows that are published, "
        "found 10,000, which is 0.5 times as many",
        "schema: expected the published column 'origin', found no such column; for example 'flight', 'at', 'distance'",
        "nulls: expected at most 10.0000% nulls in 'at', found 25.0000%, which is 2,500 of 10,000",
        "unique: expected each row to have its own 'flight', found 9,997 rows that repeat another one's; "
        "for example (1,), (2,), (3,)",
        "range: expected 'distance' to be at least 0 and at most 20000, found 5,000 of 10,000 outside; "
        "for example -1.0, 99999.0",
        "freshness: expected the newest 'at' to be at most 7 days old at 2024-03-01 12:00, found 2024-02-01 10:00:00",
        "nulls: expected columns 'origin', found no 'origin'; for example 'flight', 'at', 'distance'",
    ]


# -- definitions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "word"),
    [
        ({"gate": "row"}, "row"),
        ({"rows": {"min": 1}}, "gate"),
        ({"gate": "rows"}, "at least one"),
        ({"gate": "rows", "min": 2, "max": 1}, "larger"),
        ({"gate": "rows", "min_ratio": math.inf}, "finite"),
        ({"gate": "nulls", "column": "a", "max_share": 1.5}, "less than or equal to 1"),
        ({"gate": "nulls"}, "column"),
        ({"gate": "unique", "columns": []}, "at least 1"),
        ({"gate": "range", "column": "a"}, "min, max"),
        ({"gate": "freshness", "column": "a", "max_age_days": 0}, "greater than 0"),
        ({"gate": "range", "column": "a", "min": -math.inf}, "finite"),
        ({"gate": "range", "column": "a", "max": math.nan}, "finite"),
        ({"gate": "freshness", "column": "a", "max_age_days": math.inf}, "finite"),
        ({"gate": "custom", "function": "os.system"}, "function"),
        ({"gate": "schema", "surplus": 1}, "surplus"),
    ],
)
def test_definitions_that_are_refused(gate: dict[str, Any], word: str) -> None:
    """A definition that cannot be meant is refused, and the error names the place."""
    with pytest.raises(InvalidInput, match=word):
        gates_from([{"gate": "schema"}, gate])


def test_json_schema() -> None:
    """Editors get a schema that knows every gate by its name."""
    schema = TypeAdapter(list[Gate]).json_schema()
    assert set(schema["items"]["discriminator"]["mapping"]) == {
        "rows", "schema", "nulls", "unique", "range", "freshness", "custom"
    }  # fmt: skip


# -- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "rows", "before", "failures"),
    [
        ({"min": 5}, 5, None, 0),
        ({"min": 5}, 4, None, 1),
        ({"max": 5}, 5, None, 0),
        ({"max": 5}, 6, None, 1),
        ({"min_ratio": 0.9}, 90, 100, 0),
        ({"min_ratio": 0.9}, 89, 100, 1),
        ({"max_ratio": 1.1}, 11, 10, 0),
        ({"max_ratio": 1.1}, 12, 10, 1),
        ({"min_ratio": 0.9, "max_ratio": 1.1}, 0, None, 0),
        ({"min_ratio": 0.9, "max_ratio": 1.1}, 5, 0, 0),
        ({"min": 1, "min_ratio": 0.9}, 0, 10, 2),
    ],
)
def test_rows(limits: dict[str, Any], rows: int, before: int | None, failures: int) -> None:
    """Limits are inclusive; ratios need something that is published."""
    assert (
        len(check({"gate": "rows", **limits}, numbers(rows), None if before is None else numbers(before))) == failures
    )


# -- schema ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "wider"),
    [
        (pa.int32(), pa.int64(), True),
        (pa.int64(), pa.int32(), False),
        (pa.uint32(), pa.int64(), True),
        (pa.uint64(), pa.int64(), False),
        (pa.int8(), pa.uint64(), False),
        (pa.int32(), pa.float64(), True),
        (pa.int64(), pa.float64(), False),
        (pa.int64(), pa.decimal128(19, 0), True),
        (pa.int64(), pa.decimal128(18, 0), False),
        (pa.float32(), pa.float64(), True),
        (pa.float64(), pa.float32(), False),
        (pa.decimal128(5, 2), pa.decimal128(7, 3), True),
        (pa.decimal128(5, 2), pa.decimal128(5, 3), False),
        (pa.string(), pa.large_string(), True),
        (pa.string(), pa.int64(), False),
        (pa.int64(), pa.string(), False),
        (pa.dictionary(pa.int8(), pa.string()), pa.string(), True),
        (pa.string(), pa.dictionary(pa.int8(), pa.string()), True),
        (pa.date32(), pa.timestamp("us"), True),
        (pa.timestamp("us"), pa.date32(), False),
        (pa.timestamp("ms"), pa.timestamp("us"), True),
        (pa.timestamp("us"), pa.timestamp("us", "UTC"), False),
        (pa.timestamp("us", "Europe/Paris"), pa.timestamp("us", "UTC"), True),
        (pa.null(), pa.int64(), True),
        (pa.int64(), pa.null(), False),
        (pa.list_(pa.int32()), pa.large_list(pa.int64()), True),
        (pa.list_(pa.int32()), pa.list_(pa.int32(), 2), False),
        (pa.struct({"a": pa.int32()}), pa.struct({"a": pa.int64(), "b": pa.string()}), True),
        (pa.struct({"a": pa.int32(), "b": pa.string()}), pa.struct({"a": pa.int64()}), False),
        (pa.map_(pa.string(), pa.int32()), pa.map_(pa.string(), pa.int64()), True),
        (pa.bool_(), pa.int8(), False),
        (pa.time32("s"), pa.time64("us"), True),
        (pa.binary(4), pa.binary(), True),
    ],
)
def test_widening(old: pa.DataType, new: pa.DataType, wider: bool) -> None:
    """A type is wider if it holds every value exactly."""
    assert widens(old, new) is wider
    assert widens(old, old)


def test_schema() -> None:
    """Lost and narrowed columns fail, new ones and exceptions do not, and required ones are always needed."""
    old = pa.table({"a": pa.array([1], pa.int64()), "b": ["x"]})
    new = pa.table({"a": pa.array([1], pa.int32()), "c": ["x"]})
    assert len(check({"gate": "schema"}, new, old)) == 2
    assert check({"gate": "schema", "except": ["a", "b"]}, new, old) == []
    assert check({"gate": "schema"}, new) == []
    (failure,) = check({"gate": "schema", "required": ["z"]}, new)
    assert failure.found == "no 'z'"


# -- nulls, ranges, freshness ----------------------------------------------------------------------------------------


def test_nulls() -> None:
    """NaN counts as null, the limit is inclusive, and no rows have no nulls."""
    table = pa.table({"x": [1.0, None, math.nan, 2.0]})
    assert check({"gate": "nulls", "column": "x", "max_share": 0.5}, table) == []
    assert len(check({"gate": "nulls", "column": "x", "max_share": 0.49}, table)) == 1
    assert check({"gate": "nulls", "column": "x"}, table.slice(0, 0)) == []


@pytest.mark.parametrize(
    ("values", "low", "high", "outside"),
    [
        (pa.array([1, 2, None, 3]), 1, 3, 0),
        (pa.array([1, 2, 3]), 1.5, None, 1),
        (pa.array([1.0, math.nan, None]), 0, 2, 0),
        (pa.array([date(2024, 1, 1), date(1800, 1, 1)]), date(1900, 1, 1), None, 1),
        (pa.array([date(2024, 1, 1), date(1800, 1, 1)]), "1900-01-01", "2100-01-01", 1),
        (
            pa.array([datetime(2024, 1, 1), datetime(2025, 1, 1)], pa.timestamp("ns", "Europe/Paris")),
            None,
            "2024-06",
            1,
        ),
        (pa.array([date(2024, 1, 1), date(2024, 1, 2)]), datetime(2024, 1, 1), "2024-01-02T00:00:00Z", 0),
        (pa.array([date(2024, 1, 1), date(2024, 1, 2)]), "2024-01-01T12:00:00", "2024-01-02T12:00:00", 1),
        (pa.array([date(2023, 12, 31), date(2024, 1, 2)], pa.date64()), "2024", None, 1),
        (pa.array(["a", "m", "z"]), "b", "y", 2),
        (pa.array(["a", "m", "z"]).dictionary_encode(), "b", "y", 2),
        (pa.array([2**63 - 1, -(2**63)]), 0, None, 1),
        (pa.array(["1.50", "2.50"]).cast(pa.decimal128(5, 2)), 2, None, 1),
        (pa.array([0, 5, 2**64 - 1], pa.uint64()), 1, 1e30, 1),
        (pa.array([2**60, 1, 2]), 1.5, 1e18, 2),
        (pa.array([1, 100], pa.int8()), -1_000, 1_000, 0),
        (pa.array([1, 100], pa.int8()), 1_000, None, 2),
        (pa.array([datetime(2024, 1, 1)], pa.timestamp("ns")), "0001-01-01", "9999-12-31", 0),
        (pa.array([datetime(2024, 1, 1)], pa.timestamp("ns")), "3000-01-01", None, 1),
        (pa.array(["a", "m", "z"], pa.string_view()), "b", "y", 2),
        (pa.array([1, 2, None], pa.float16()), 2, None, 1),
    ],
)
def test_ranges(values: Any, low: Any, high: Any, outside: int) -> None:
    """Values of every type that has an order are held against both bounds; nulls and NaN pass."""
    found = check({"gate": "range", "column": "x", "min": low, "max": high}, pa.table({"x": values}))
    assert [f.found.split()[0] for f in found] == [str(outside)] * bool(outside)


@pytest.mark.parametrize(
    ("values", "fails"),
    [
        (pa.array([date(2024, 2, 28)]), False),
        (pa.array([date(2024, 2, 21)]), True),
        (pa.array([date(2024, 2, 28)], pa.date64()), False),
        (pa.array([datetime(2024, 2, 28)], pa.timestamp("s")), False),
        (pa.array([datetime(2024, 2, 28)], pa.timestamp("ns", "Asia/Tokyo")), False),
        (pa.array(["2024-02-28T23:30:00-05:00", "rubbish", "", "9999-12-31T23:59:59-10:00"]), False),
        (pa.array(["2024-02-28"]).dictionary_encode(), False),
        (pa.array(["2024-02", "2024"]), True),
        (pa.array([date(2030, 1, 1)]), True),
        (pa.array([2**62], pa.timestamp("s")), True),
        (pa.array([2**31 - 1, None], pa.int32()).cast(pa.date32()), True),
        (pa.nulls(3), True),
        (pa.array([], pa.date32()), True),
        (pa.array([20240228]), True),
    ],
)
def test_freshness(values: Any, fails: bool) -> None:
    """The newest value that is not in the future decides, whatever form dates have; none at all is not fresh."""
    found = check({"gate": "freshness", "column": "at", "max_age_days": 7}, pa.table({"at": values}))
    assert bool(found) is fails


# -- uniqueness ------------------------------------------------------------------------------------------------------

KEYS = st.tuples(
    st.sampled_from([None, 0.0, -0.0, 1.5, math.nan]), st.sampled_from([None, "", "a", "b"]), st.integers(0, 2)
)


def _meant(key: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple("nan" if value != value else value for value in key)


@given(st.lists(KEYS, max_size=60))
def test_duplicates_are_counted_exactly(keys: list[tuple[Any, ...]]) -> None:
    """Both ways of counting agree with Python's: nulls are equal to nulls, NaN to NaN, and 0.0 to -0.0."""
    columns = list(zip(*keys, strict=True)) or [(), (), ()]
    types = [pa.float64(), pa.string(), pa.int64()]
    table = pa.table({n: pa.array(c, t) for n, c, t in zip("abc", columns, types, strict=True)})
    expected = sum(count - 1 for count in Counter(map(_meant, keys)).values())
    for in_memory_bytes in (1 << 20, -1):
        found = duplicates(pads.dataset(table), ["a", "b", "c"], 3, in_memory_bytes)
        assert found.rows == expected
        repeated = {key for key, count in Counter(map(_meant, keys)).items() if count > 1}
        assert {_meant(key) for key in found.examples} <= repeated
        assert len(found.examples) == min(3, len(repeated))


def test_duplicates_among_many(tmp_path: Path) -> None:
    """Keys beyond what is held in memory are hashed to files; one repetition among 300,000 rows is found and shown."""
    table = pa.table({"id": pa.array([*range(299_999), 77], pa.int64()), "text": ["x"] * 300_000})
    (failure,) = evaluate(gates_from([{"gate": "unique", "columns": ["id"]}]), dataset(tmp_path, table), None, NOW)
    assert failure.examples == ("(77,)",)
    found = duplicates(dataset(tmp_path, table), ["id", "text"], 5, in_memory_bytes=1 << 20)
    assert found == (1, [(77, "x")])


def test_duplicates_of_other_types() -> None:
    """Nested values, categories and times of any precision can be keys."""
    for values, repeated in [
        (pa.array([[1], [2], [1]]), 1),
        (pa.array([{"a": 1}, {"a": None}, {"a": 1}]), 1),
        (pa.array(["a", "b", "a"]).dictionary_encode(), 1),
        (pa.array(["a", "b", "a"], pa.string_view()), 1),
        (pa.array([b"a", b"b", b"a"], pa.binary_view()), 1),
        (pa.array([1, 2, 1], pa.timestamp("ns")), 1),
        (pa.array([2**62, 2**62 + 1, None], pa.timestamp("s")), 0),
    ]:
        for in_memory_bytes in (1 << 20, -1):
            assert duplicates(pads.dataset(pa.table({"x": values})), ["x"], 3, in_memory_bytes).rows == repeated


# -- custom ----------------------------------------------------------------------------------------------------------


def few_rows(staged: pads.Dataset, published: pads.Dataset | None, most: int = 2) -> str | None:
    """A check of a user's own."""
    rows = staged.count_rows()
    return f"{rows} rows" if rows > most else None


def test_custom_functions() -> None:
    """A function is called with both datasets and the options, by name or as it is; what it returns is the verdict."""
    gate = {"gate": "custom", "function": "test_gates:few_rows", "options": {"most": 5}}
    assert check(gate, numbers(5)) == []
    (failure,) = check(gate, numbers(6))
    assert str(failure) == "custom: expected test_gates:few_rows to hold, found 6 rows"

    def verdict(answer: object) -> list[str]:
        gates = [CustomGate(function=lambda staged, published: answer)]
        return [f.found for f in evaluate(gates, pads.dataset(numbers(1)), None, NOW)]

    assert [verdict(answer) for answer in (None, True, [], False, "why", ["a", "b"])] == [
        [], [], [], ["False"], ["why"], ["a", "b"]
    ]  # fmt: skip


def test_gates_that_raise() -> None:
    """A gate that raises has failed, and the reason is told; what may pass by itself is raised."""

    def broken(staged: pads.Dataset, published: pads.Dataset | None) -> None:
        raise ZeroDivisionError("hostile \ud800 text")

    def unreachable(staged: pads.Dataset, published: pads.Dataset | None) -> None:
        raise StorageUnavailable("the store is away")

    (failure,) = evaluate([CustomGate(function=broken)], pads.dataset(numbers(1)), None, NOW)
    assert failure.found.startswith("ZeroDivisionError: hostile")
    failure.found.encode()
    (failure,) = check({"gate": "custom", "function": "no.such.module:f"}, numbers(1))
    assert "ModuleNotFoundError" in failure.found
    (failure,) = check({"gate": "range", "column": "n", "min": "text"}, numbers(1))
    assert failure.expected == "to be evaluated"
    with pytest.raises(StorageUnavailable):
        evaluate([CustomGate(function=unreachable)], pads.dataset(numbers(1)), None, NOW)
