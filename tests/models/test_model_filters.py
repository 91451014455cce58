"""Filter expressions: what they mean, compared with what Python makes of them, and what is said of wrong ones."""

from __future__ import annotations

import operator
import random
import re
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prefect_registry.errors import InvalidInput
from prefect_registry.models.expressions import DEEPEST, LONGEST
from prefect_registry.models.fields import NOUNS
from prefect_registry.models.filters import filter_of
from prefect_registry.records.types import MODEL, MODEL_ARTIFACT, MODEL_VERSION

Record = Mapping[str, Any]
Meaning = Callable[[Record], bool]
CREATED, CHANGED = "2026-03-01T12:00:00.123456Z", "2026-03-02T00:00:00.000000Z"
CONNECTION = sqlite3.connect(":memory:")


def record(**values: Any) -> Record:
    """What a cell holds of a version."""
    whole = {"id": "mv_1", "name": "v1", "description": None, "external_id": None, "state": "LIVE", "author": "ada"}
    return {**whole, "properties": {}, "model": "rm_1", "created_at": CREATED, "changed_at": CHANGED, **values}


def found(expression: str, *records: Record, kind: str = MODEL_VERSION) -> list[bool]:
    """Whether each record is found, as SQLite has it."""
    condition = filter_of(kind, expression)
    sql = f"SELECT {condition.sql} FROM json_each(:records) AS item ORDER BY item.key"
    rows = CONNECTION.execute(sql, {**condition.values, "records": orjson.dumps(records).decode()}).fetchall()
    assert all(row[0] in (0, 1) for row in rows), "a comparison is never unknown"
    return [bool(row[0]) for row in rows]


def holds(expression: str, kind: str = MODEL_VERSION, **values: Any) -> bool:
    """Whether one record is found."""
    return found(expression, record(**values), kind=kind)[0]


def problem(expression: str, kind: str = MODEL_VERSION) -> InvalidInput:
    """What is said of an expression that is wrong."""
    with pytest.raises(InvalidInput) as caught:
        filter_of(kind, expression)
    return caught.value


# -- what expressions mean -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expression",
    [
        "name = 'digits' AND state = 'LIVE' AND properties.accuracy >= 0.9",
        'name="digits" and not state="ARCHIVED" AND custom_properties.accuracy > 0',
        "name LIKE 'dig%' AND name NOT LIKE 'DIG%' AND name ILIKE 'DIG_TS' AND name not ilike 'x%'",
        "properties.n IN (1, 7) AND customProperties.n NOT IN (1, 2) AND name IN ('a', 'digits')",
        "properties.n BETWEEN 7 AND 7.5 AND properties.n NOT BETWEEN 8 AND 9 AND name BETWEEN 'a' AND 'e'",
        "properties.ok = true AND properties.ok != FALSE AND properties.ok <> false AND properties.ok IN (true)",
        "external_id IS NULL AND description is not null AND properties.none IS NULL AND properties.n IS NOT NULL",
        "properties.`my key` = 'it''s' AND properties.`my key` = \"it's\"",
        'properties.`a"b\\c` = 1 AND properties.`a``b` = 2 AND properties.a.b = 3 AND properties.`a.b` = 3',
        "properties.größe = 4 AND properties.`` = 5 AND properties.learning-rate < 1e-2 AND properties.`\n` = 6",
        "properties.label = '' AND properties.big = 9223372036854775807 AND properties.low = -9223372036854775808",
        "author = 'ada' AND registered_model_id = 'rm_1' AND registeredModelId = 'rm_1'",
        "NOT NOT name = 'digits' AND NOT (name = 'x' OR name = 'y') OR name = 'nobody'",
        "name = 'nobody' OR name = 'digits' AND (state = 'ARCHIVED' OR state = 'LIVE')",
        "",
        "  \n",
    ],
)
def test_expressions_find_what_they_say(expression: str) -> None:
    properties = {
        "accuracy": 0.9, "n": 7, "ok": True, "my key": "it's", 'a"b\\c': 1, "a`b": 2, "a.b": 3, "größe": 4, "": 5,
        "\n": 6, "learning-rate": 0.001, "label": "", "big": 2**63 - 1, "low": -(2**63),
    }  # fmt: skip
    assert holds(expression, name="digits", description="d", properties=properties)


def test_what_is_not_there_or_of_another_type_is_false_in_every_comparison_but_is_null() -> None:
    tests = ["= {0}", "!= {0}", "< {0}", ">= {0}", "IN ({0})", "NOT IN ({0})", "BETWEEN {0} AND {0}"]
    for value, others in [("1", ["text", True, "1"]), ("'1'", [1, 1.0, True]), ("true", [1, "true", "1"])]:
        for test in tests if value != "true" else ["= {0}", "!= {0}", "IN ({0})", "NOT IN ({0})"]:
            expression = f"properties.x {test.format(value)}"
            assert not any(found(expression, *[record(properties={"x": v}) for v in others], record())), expression
            assert holds(f"NOT {expression}")
    assert not holds("properties.x LIKE '%' OR properties.x NOT ILIKE 'a'", properties={"x": 1})
    assert not holds("description != 'a' OR description NOT LIKE 'a' OR description NOT IN ('a')")


def test_integers_and_floats_are_compared_by_their_value() -> None:
    """Also floats whose decimal digits have no exact form, and integers that no float has."""
    for value in (0.1, 0.30000000000000004, 1e300, 5e-324, 1.7976931348623157e308, -2.5e-7, 0.1 + 0.7):
        assert holds(f"properties.x = {value!r} AND properties.x IN ({value!r})", properties={"x": value})
    assert holds("properties.x = 1.0 AND properties.x = +1 AND properties.x IN (1.0)", properties={"x": 1})
    assert not holds("properties.x = 9007199254740993", properties={"x": 9007199254740992})


def test_patterns_match_whole_texts_by_character() -> None:
    text = "50%_*?[a]\\ größe"
    for pattern in [r"50\%\_*?[a]\\ gr_ße", "50%", "%größe", "5_\\%%", "%[a]%", "%", "%%%%"]:
        assert holds(f"name LIKE '{pattern}' AND name ILIKE '{pattern.upper() if 'ß' not in pattern else pattern}'",
                     name=text), pattern  # fmt: skip
    for pattern in ["50", "größe", "50%x", "_50%", "[5]0%", "*"]:
        assert not holds(f"name LIKE '{pattern}' OR name ILIKE '{pattern}'", name=text), pattern


@pytest.mark.parametrize("field", ["created", "create_time", "create_time_since_epoch", "createTimeSinceEpoch"])
def test_times_are_compared_with_iso_texts_and_with_milliseconds(field: str) -> None:
    milliseconds = 1772366400123
    assert holds(f"{field} = {milliseconds} AND {field} < {milliseconds + 1} AND {field} IN ({milliseconds})")
    assert holds(f"{field} > '2026-03-01' AND {field} <= '2026-03-01T12:00:00.123456Z' AND updated > '2026-03-01'")
    assert holds(f"{field} = '2026-03-01T13:00:00.123456+01:00' AND {field} BETWEEN '2026-02-28' AND '20260302'")
    assert not holds(f"{field} > '2026-03-01T12:30:00' OR {field} >= {milliseconds + 1} OR {field} IS NULL")


def test_fields_of_every_type_of_artifact_are_known() -> None:
    values = {
        "type": "metric", "object": "digits@2", "fields": {"uri": "s3://b/k", "model_format_name": "onnx", "value": 0.5,
                                                           "step": 3, "digest": "d", "experiment_id": "7"},
    }  # fmt: skip
    for expression in (
        "uri LIKE 's3://%' AND model_format_name = 'onnx' AND modelFormatName = 'onnx' AND digest = 'd'",
        "value > 0.4 AND step = 3 AND artifact_type = 'metric' AND experimentId = '7' AND object = 'digits@2'",
    ):
        assert holds(expression, MODEL_ARTIFACT, **values)
    assert holds("value = '0.5'", MODEL_ARTIFACT, fields={"value": "0.5"})
    assert holds("owner = 'ada'", MODEL, owner="ada")


# -- against Python --------------------------------------------------------------------------------------------------

KEYS = st.sampled_from(["a", "b c", 'q"q', "ü", "x.y", "t`t", ""])
TEXTS = st.sampled_from(["", "a", "b", "A", "ab", "ba%", "b_", "'", '"', "1", "é", "*", "[a]", "\\", "😀"])
NUMBERS = st.one_of(
    st.integers(-3, 3), st.sampled_from([0.5, -0.25, 1.0, 0.1, 1e300, 2**63 - 1, -(2**63), 2.0**62, 1e-9])
)
VALUES = st.one_of(TEXTS, NUMBERS, st.booleans())
RECORDS = st.lists(
    st.dictionaries(KEYS, VALUES, max_size=4).map(lambda p: record(properties=p)), min_size=1, max_size=6
)
SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<>": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip


def written(value: Any, quote: str) -> str:
    """A value as an expression has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return quote + value.replace(quote, quote * 2) + quote if isinstance(value, str) else repr(value)


def alike(one: Any, other: Any) -> bool:
    """Whether two values are of one family."""
    return one is not None and _family(one) == _family(other)


def _family(value: Any) -> type:
    return type(value) if isinstance(value, (bool, str)) else float


def like(value: Any, pattern: str, ignoring_case: bool) -> bool:
    """SQL's LIKE, by a regular expression."""
    if not isinstance(value, str):
        return False
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    shape = "".join({"%": ".*", "_": "."}.get(part, re.escape(part[-1])) for part in parts)
    flags = re.DOTALL | (re.IGNORECASE | re.ASCII if ignoring_case else 0)
    return re.fullmatch(shape if not ignoring_case else f"(?s:{shape})", value, flags) is not None


@st.composite
def comparisons(draw: st.DrawFn) -> tuple[str, Meaning]:
    key, quote = draw(KEYS), draw(st.sampled_from("'\""))
    prefix = draw(st.sampled_from(["properties", "custom_properties", "customProperties"]))
    field = f"{prefix}.`{key.replace('`', '``')}`"
    form = draw(st.sampled_from(["sign", "in", "between", "null", "like"]))
    no = draw(st.booleans())

    def value_of(found: Record) -> Any:
        return found["properties"].get(key)

    if form == "sign":
        value = draw(VALUES)
        sign = draw(st.sampled_from(["=", "!="] if isinstance(value, bool) else list(SIGNS)))
        compared = SIGNS[sign]
        return (
            f"{field}{sign}{written(value, quote)}",
            lambda r: alike(value_of(r), value) and compared(value_of(r), value),
        )
    if form == "in":
        values = draw(st.lists(VALUES, min_size=1, max_size=4))

        def within(found: Record) -> bool:
            of_type = [value for value in values if alike(value_of(found), value)]
            return bool(of_type) and (value_of(found) in of_type) != no

        told = ", ".join(written(value, quote) for value in values)
        return f"{field} {'NOT ' * no}IN ({told})", within
    if form == "between":
        low, high = draw(st.one_of(st.tuples(TEXTS, TEXTS), st.tuples(NUMBERS, NUMBERS)))
        return (
            f"{field} {'not ' * no}between {written(low, quote)} AND {written(high, quote)}",
            lambda r: alike(value_of(r), low) and (low <= value_of(r) <= high) != no,
        )
    if form == "null":
        return f"{field} IS {'NOT ' * no}NULL", lambda r: (value_of(r) is None) != no
    pattern, ignoring = (
        draw(st.text("aAbé%_*[]\\", max_size=4).filter(lambda p: not p.endswith("\\"))),
        draw(st.booleans()),
    )
    return (
        f"{field} {'NOT ' * no}{'I' * ignoring}LIKE {written(pattern, quote)}",
        lambda r: isinstance(value_of(r), str) and like(value_of(r), pattern, ignoring) != no,
    )


def _more(parts: st.SearchStrategy[tuple[str, Meaning]]) -> st.SearchStrategy[tuple[str, Meaning]]:
    return st.one_of(
        st.tuples(parts, parts).map(lambda p: (f"({p[0][0]}) AND ({p[1][0]})", lambda r: p[0][1](r) and p[1][1](r))),
        st.tuples(parts, parts).map(lambda p: (f"({p[0][0]} OR {p[1][0]})", lambda r: p[0][1](r) or p[1][1](r))),
        parts.map(lambda p: (f"not ({p[0]})", lambda r: not p[1](r))),
    )


@settings(max_examples=300)
@given(st.recursive(comparisons(), _more, max_leaves=6), RECORDS)
def test_any_expression_finds_what_python_finds(given: tuple[str, Meaning], records: list[Record]) -> None:
    expression, meaning = given
    assert found(expression, *records) == [meaning(r) for r in records]


# -- what is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "column", "says"),
    [
        ("name = AND state = 'LIVE'", 8, 'found "AND", expected a value'),
        ("name = 'digits", 8, "found ', expected another ' that ends it"),
        ("name 'digits'", 6, "found 'digits', expected an operator"),
        ("name = 'a' state = 'b'", 12, 'found "state", expected AND, OR or the end'),
        ("(name = 'a'", 12, "found the end, expected AND, OR or )"),
        ("name = 'a')", 11, 'found ")", expected AND, OR or the end'),
        ("AND", 1, "expected a field"),
        ("name IN ()", 10, "expected a value"),
        ("name IN ('a' 'b')", 14, "expected a comma or )"),
        ("name NOT = 'a'", 10, "expected LIKE, ILIKE, IN, BETWEEN"),
        ("name IS 'a'", 9, "expected NULL or NOT NULL"),
        ("name = NULL", 8, "IS NULL asks for what is not there"),
        ("name LIKE 3", 11, "expected a text in quotes"),
        (r"name LIKE 'a\'", 11, r"expected \\ for a backslash"),
        ("name == 'a'", 7, "expected a value"),
        ("name = 'a' ; DROP TABLE cells", 12, "found ';'"),
        ("name = 5", 8, "found a number, expected a text in quotes"),
        ("created = true", 11, "expected a text in quotes or a number"),
        ("created > 'yesterday'", 11, "expected a time"),
        ("created LIKE '2026%'", 14, "is a time"),
        ("created > '0001-01-01T00:00:00+23:00'", 11, "expected a time"),
        ("properties.x < true", 16, "only equal or not"),
        ("properties.x BETWEEN 1 AND 'b'", 28, "values of one type"),
        ("properties.x = 9223372036854775808", 16, "64 bits"),
        ("properties.x = 1e999", 16, "a finite number"),
        ("nmae = 'a'", 1, "has no field 'nmae'; it has id, name, description, external_id, state"),
        ("owner = 'a'", 1, "a model version has no field 'owner'"),
        ("properties = 'a'", 1, "the key of a property: properties.key"),
        ("name.x = 'a'", 1, "no field 'name.x'"),
        ("name = '\ud800'", 9, "no text here can have"),
        ("name = 'a\0'", 10, "no text here can have"),
    ],
)
def test_errors_show_the_expression_and_where_it_is_wrong(expression: str, column: int, says: str) -> None:
    error = problem(expression)
    assert f"column {column}: " in error.problems[0]
    assert says in error.problems[0]
    _, shown, mark, _ = str(error).split("\n", 3)
    assert shown.replace("…", "").strip() in expression.replace("\0", " ").replace("\ud800", " ")
    assert len(mark) - 4 == column
    assert error.context["column"] == column


def test_all_unknown_fields_and_wrong_types_are_told_at_once() -> None:
    assert [p.partition(":")[0] for p in problem("a = 1 OR name = 2 AND (b = 3)").problems] == [
        "column 1", "column 17", "column 24"
    ]  # fmt: skip


def test_a_long_expression_is_shown_around_the_error() -> None:
    message = str(problem(f"{'name = 1.5 OR ' * 100}nothing{' OR name = 2.5' * 100}".replace("name", "properties.n")))
    assert "…" in message
    assert max(map(len, message.split("\n"))) < 400


@pytest.mark.parametrize("wrong", ["name = 'a' OR " * 1_000, "(" * 51 + "name = 'a'" + ")" * 51, 7, b"name"])
def test_there_are_limits(wrong: Any) -> None:
    problem(wrong)


def test_everything_within_the_limits_can_be_asked() -> None:
    """SQLite has limits of its own, of its parser's stack and of its trees: none is met."""
    deep = "(" * DEEPEST + "name='v1'" + ")" * DEEPEST
    right = "".join(f"name='v1' AND (id='{i}' OR " for i in range(DEEPEST)) + "name='v1'" + ")" * DEEPEST
    left = "(" * DEEPEST + "name='v1'" + " OR id='') AND name='v1'" * DEEPEST
    negated = "NOT (id='' OR " * DEEPEST + "name='v1'" + ")" * DEEPEST
    nots = "NOT " * 2_000 + "name='v1'"
    many = " OR ".join(["id=''"] * (LONGEST // 11) + ["name='v1'"])
    values = f"name IN ({','.join([repr('v1')] * 1_900)})"
    for expression in (deep, right, left, negated, nots, many, values):
        assert len(expression) <= LONGEST
        assert holds(expression), expression[:100]


def random_tree(chosen: random.Random, room: int, depth: int) -> str:
    """An expression of at most ``room`` characters and ``depth`` parentheses, lopsided in random ways."""
    if depth == 0 or room < 40:
        return "id=''"
    parts = [random_tree(chosen, int(room * chosen.choice([0.1, 0.45, 0.9])) - 12, depth - 1) for _ in range(2)]
    chosen.shuffle(parts)
    text = f"({parts[0]} {chosen.choice(['AND', 'OR'])} {chosen.choice(['', 'NOT '])}{parts[1]})"
    return text if len(text) <= room else parts[0]


def test_no_shape_of_an_expression_is_too_much_for_sqlite() -> None:
    chosen = random.Random(7)
    for _ in range(60):
        holds(random_tree(chosen, LONGEST, DEEPEST))


PIECES = st.sampled_from(
    [
        "name", "state", "properties.x", "properties.`a\"'b`", "created", "id", "=", "!=", "<", ">=", "AND", "or",
        "NOT", "IN", "LIKE", "ILIKE", "IS", "NULL", "BETWEEN", "(", ")", ",", "'a%'", '"2026-01-01"', "1", "-0.5e3",
        "true", "'", "`", ".", "properties", "\\", "%", "--", ";", "9" * 30, "\0", "\ud800", "é",
    ]
)  # fmt: skip


@settings(max_examples=400)
@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=14).map(" ".join)), st.sampled_from(sorted(NOUNS)))
@example("9" * 9_000, MODEL)
@example("properties.x = " + "9" * 9_000, MODEL)
@example("properties.x = 0." + "9" * 9_000 + "e-99999999", MODEL)
@example("'" * 9_999, MODEL)
@example("name LIKE '" + "%a" * 4_000 + "'", MODEL)
def test_any_text_is_understood_or_refused(expression: str, kind: str) -> None:
    try:
        filter_of(kind, expression)
    except InvalidInput:
        return
    found(expression, record(name="a" * 200), kind=kind)
