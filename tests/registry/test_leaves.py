"""Ids, names, time, records and errors: rules that hold for every value."""

from __future__ import annotations

import json
import pickle
import random
import re
import string
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefect_registry import errors
from prefect_registry.clock import StoreClock, SystemClock, iso, parse_iso
from prefect_registry.errors import (
    FormatError,
    InvalidInput,
    MalformedId,
    NotFound,
    RegistryError,
)
from prefect_registry.ids import (
    SETBACK_MILLIS,
    IdFactory,
    began_at,
    decode,
    encode,
    is_run_id,
    millis_of,
    parse_inner_id,
    parse_run_id,
)
from prefect_registry.ledger import paths
from prefect_registry.names import (
    LONGEST_KEY_BYTES,
    LONGEST_NAME_CHARACTERS,
    check_name,
    clashes,
    folder_values,
    key_of,
    name_problems,
    path_problems,
    spelled_in_folder,
)
from prefect_registry.records.base import DEEPEST, Document, as_json, json_problems, printable
from prefect_registry.records.cells import CellGeneration
from prefect_registry.records.datasets import DatasetGeneration, FileEntry
from prefect_registry.records.events import Event
from prefect_registry.records.runs import Begin, Decision, Heartbeat, Holder, MembersDocument, failure
from prefect_registry.records.store import RegistryDocument
from prefect_registry.storage.base import check_key

texts = st.text(st.characters(codec=None, exclude_categories=[]), max_size=400)
moments = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))
CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"

# -- ids -------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**128 - 1))
def test_base32_comes_back_and_keeps_the_order(value: int) -> None:
    assert decode(encode(value, 26)) == value
    assert set(encode(value, 26)) <= set(CROCKFORD)
    assert (encode(value, 26) < encode(value + 1, 26)) or value + 1 == 2**130


@given(moments)
def test_an_id_is_a_typeid_of_a_uuid_7_that_tells_when_it_was_made(now: datetime) -> None:
    run_id = IdFactory().typeid("run", now)
    assert parse_run_id(run_id) == run_id
    number = decode(run_id[4:])
    assert (number >> 76 & 0xF, number >> 62 & 0b11) == (7, 0b10)
    assert timedelta(0) <= now - began_at(run_id) < timedelta(milliseconds=1)


@given(moments, st.lists(st.integers(0, SETBACK_MILLIS), min_size=2, max_size=20))
def test_ids_of_one_factory_ascend_strictly_although_threads_overtake_each_other(
    start: datetime, ms: list[int]
) -> None:
    factory = IdFactory()
    ids = [factory.typeid("run", start + timedelta(milliseconds=after)) for after in ms]
    assert ids == sorted(set(ids))


@given(st.lists(moments, min_size=2, max_size=20))
def test_ids_follow_a_clock_that_is_set_and_stay_unique(times: list[datetime]) -> None:
    factory = IdFactory()
    ids = [factory.typeid("run", now) for now in [*times, *times]]
    assert len(set(ids)) == len(ids)
    late = timedelta(milliseconds=SETBACK_MILLIS)
    assert all(timedelta(milliseconds=-1) < began_at(i) - now <= late for i, now in zip(ids, times, strict=False))


@given(st.lists(moments, min_size=2, max_size=20))
def test_ids_of_several_factories_ascend_by_time(times: list[datetime]) -> None:
    early, late = min(times), max(times)
    if late - early > timedelta(milliseconds=1):
        assert IdFactory().typeid("run", early) < IdFactory().typeid("run", late)


def test_ids_ascend_within_one_millisecond_even_with_the_greatest_random_numbers() -> None:
    factory = IdFactory(lambda count: b"\xff" * count)
    now = datetime.now(tz=UTC)
    ids = [factory.typeid("run", now) for _ in range(10_000)]
    assert ids == sorted(set(ids))
    assert len({began_at(i) for i in ids}) == 1


@given(st.integers(0, 250_000_000_000_000), st.integers(0, 999))
def test_milliseconds_are_rounded_down_however_far_the_time(millis: int, micros: int) -> None:
    """A float would round up now and then."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=millis, microseconds=micros)
    assert millis_of(moment) == millis


def test_inner_ids_are_all_different() -> None:
    factory = IdFactory()
    assert len({factory.suffix() for _ in range(100_000)}) == 100_000


def test_inner_ids_lead_to_their_run() -> None:
    factory = IdFactory()
    run_id = factory.typeid("run", datetime.now(tz=UTC))
    dataset = factory.inner("ds", run_id)
    assert parse_inner_id(dataset, "ds", "dataset") == (run_id, dataset[-16:])
    for other in ("ev", "inc"):
        with pytest.raises(MalformedId):
            parse_inner_id(dataset, other, "event")


@given(texts | st.none() | st.integers() | st.binary())
@example("run_7zzzzzzzzzzzzzzzzzzzzzzzzz")
@example("run_01j00000000000000000000000\n")
@example("RUN_01J00000000000000000000000")
@example("run_8000000000000000000000000")
@example("run_01j0000000000000000000000i")
@example("../run_01j00000000000000000000000")
@example("ds_01j00000000000000000000000_0000000000000000\n")
def test_what_is_no_id_is_refused_as_input_and_as_not_found(value: Any) -> None:
    for parse in (parse_run_id, lambda v: parse_inner_id(v, "ds", "dataset")):
        with pytest.raises(NotFound) as caught:
            parse(value)
        assert isinstance(caught.value, InvalidInput)
    assert not is_run_id(value)


@given(st.text(CROCKFORD, min_size=25, max_size=25), st.sampled_from("01234567"))
def test_whatever_passes_for_a_run_id_has_an_hour_and_a_legal_key(rest: str, first: str) -> None:
    value = f"run_{first}{rest}"
    if is_run_id(value):
        check_key(paths.end_key(value))
    else:
        assert decode(value[4:14]) > 253_402_300_799_999


# -- names -----------------------------------------------------------------------------------------------------------

DEVICES = [f"{d}{end}" for d in ("con", "PRN", "aux", "nul", "com1", "LPT9") for end in ("", ".txt", ".tar.gz")]
tricky = st.one_of(
    texts,
    st.text("aAbB%.-_/\\ \x00\n\u0131\u0130ß\u017f", max_size=8),
    st.sampled_from(
        [*DEVICES, "", ".", "..", "...", "%", "%h", "%H", "%41", "a" * 179, "a" * 180, "a" * 181, "é" * 60]
    ),
    st.text("abc", min_size=170, max_size=400),
)


@given(tricky, tricky)
@example("A", "a")
@example("%41", "A")
@example("%", "")
@example("a.", "a")
@example("é", "e\u0301")
def test_two_names_never_share_a_key_also_where_case_does_not_count(first: str, second: str) -> None:
    if first != second:
        assert key_of(first).casefold() != key_of(second).casefold()


@given(tricky)
def test_a_key_is_one_harmless_segment(name: str) -> None:
    key = key_of(name)
    assert 1 <= len(key) <= LONGEST_KEY_BYTES
    assert re.fullmatch(r"(%[0-9A-F]{2}|[a-z0-9_.-])+|%|%h[0-9a-z]{52}", key)
    assert not key.startswith(".")
    assert not key.endswith(".")
    assert key.partition(".")[0] not in {
        "con",
        "prn",
        "aux",
        "nul",
        *(f"{d}{i}" for d in ("com", "lpt") for i in range(10)),
    }
    check_key(f"cells/document/{key}/0000000000.json")


def test_plain_names_stay_readable() -> None:
    assert key_of("flights-2013_v1.0") == "flights-2013_v1.0"
    assert key_of("urn:doc:1") == "urn%3Adoc%3A1"
    assert key_of("a" * 181).startswith("%h")


@given(texts)
def test_a_name_is_accepted_or_every_problem_is_told(name: str) -> None:
    bad = not name or len(name) > LONGEST_NAME_CHARACTERS or any(unicodedata.category(c) in ("Cc", "Cs") for c in name)
    assert bool(list(name_problems(name, "kind"))) == bad
    if bad:
        with pytest.raises(InvalidInput):
            check_name(name, "kind")
    else:
        assert check_name(name, "kind") == name


paths_of_files = st.lists(st.text(string.ascii_letters + "é ß=.-", min_size=1, max_size=6), min_size=1, max_size=3).map(
    "/".join
)


@given(st.lists(paths_of_files, max_size=8))
def test_paths_that_pass_can_live_side_by_side_on_a_disk_that_ignores_case(chosen: list[str]) -> None:
    problems = list(clashes(chosen))
    files: set[str] = set()
    folders: set[str] = set()
    for path in chosen:
        parts = unicodedata.normalize("NFC", path).casefold().split("/")
        files.add("/".join(parts))
        folders |= {"/".join(parts[:i]) for i in range(1, len(parts))}
    fits = len(files) == len(chosen) and not files & folders
    assert fits == (not problems)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/../b",
        "./a",
        "a\\b",
        "a\x00",
        "a\nb",
        "\ud800",
        "a" * 256,
        "a/" * 349 + "abc",
        "é" * 128,
        None,
        5,
        b"a",
    ],
)
def test_a_path_that_could_lead_anywhere_else_is_refused(path: Any) -> None:
    assert list(path_problems(path))


@given(paths_of_files)
def test_a_path_that_passes_is_a_legal_key(path: str) -> None:
    if not list(path_problems(path)):
        check_key(f"data/{path}")


def test_folders_spell_values_in_hives_way() -> None:
    assert folder_values("year=2013/month=7/part=0.parquet") == {"year": "2013", "month": "7"}
    assert folder_values("a%3Db=x%2Fy/f") == {"a=b": "x/y"}
    assert [spelled_in_folder(v) for v in (None, True, False, 7, "é")] == [
        "__HIVE_DEFAULT_PARTITION__",
        "true",
        "false",
        "7",
        "é",
    ]


# -- time ------------------------------------------------------------------------------------------------------------


@given(moments)
def test_times_come_back_and_sort_as_text(moment: datetime) -> None:
    assert parse_iso(iso(moment)) == moment
    assert iso(moment) < iso(moment + timedelta(microseconds=1))
    assert iso(moment).endswith("Z")


class FixedClock(SystemClock):
    """A clock that stands where it is put."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


@given(st.floats(-90_000, 90_000), st.floats(0, 5))
def test_a_clock_a_day_wrong_is_corrected_to_within_the_uncertainty(wrong_by: float, took: float) -> None:
    true = datetime(2026, 1, 1, tzinfo=UTC)
    local = FixedClock(true - timedelta(seconds=wrong_by))
    clock = StoreClock(local)
    before = local.now()
    after = before + timedelta(seconds=took)
    stamped = (true + timedelta(seconds=took / 2)).replace(microsecond=0)
    clock.measure(stamped, before, after)
    assert abs((clock.now() - true).total_seconds()) <= took + 1.001
    assert clock.measured


@given(st.lists(moments, max_size=10))
def test_a_decision_is_later_than_every_decision_met(met: list[datetime]) -> None:
    clock = StoreClock(FixedClock(datetime(2000, 1, 1, tzinfo=UTC)))
    for moment in met:
        clock.met(moment)
        decided = clock.decision_time()
        assert decided > moment
    times = [clock.decision_time() for _ in range(3)]
    assert times == sorted(set(times))
    assert pickle.loads(pickle.dumps(clock)).offset == clock.offset


# -- JSON ------------------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_json_values_have_no_problems_and_come_back_equal(value: Any) -> None:
    assert list(json_problems(value, "value", depth=0)) == []
    assert orjson.loads(orjson.dumps(as_json(value))) == value


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        2**64,
        -(2**63) - 1,
        {1: 2},
        {None: 1},
        {"a": "\ud800"},
        {"\udfff": 1},
        b"x",
        {1, 2},
        object(),
    ],
)
def test_what_json_does_not_have_is_a_problem_that_names_its_place(value: Any) -> None:
    (problem,) = json_problems({"a": [value]}, "config")
    assert problem.startswith("config.a[0]")


def test_what_contains_itself_or_is_too_deep_is_a_problem() -> None:
    loop: dict[str, Any] = {}
    loop["again"] = [loop, loop]
    assert [p.rpartition(" ")[2] for p in json_problems(loop, "config")] == ["itself", "itself"]
    deep: Any = 1
    for _ in range(DEEPEST + 1):
        deep = [deep]
    assert list(json_problems(deep, "config"))
    shared = [1]
    assert list(json_problems([shared, shared], "config")) == []


@given(texts)
def test_any_text_can_be_made_printable_and_a_good_one_stays(text: str) -> None:
    assert orjson.loads(orjson.dumps(printable(text))) == printable(text)
    if not any(unicodedata.category(c) == "Cs" for c in text):
        assert printable(text) == text
    assert len(printable(text, 5)) <= 5


# -- documents -------------------------------------------------------------------------------------------------------

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
HOLDER = Holder(host="h", boot="b", pid=1, process_start="2")
RUN = "run_01j00000000000000000000000"
DOCUMENTS: list[Document] = [
    RegistryDocument(write_id="w", format=1, registry_id="reg_x", created_at=NOW),
    Begin(write_id="w", run_id=RUN, purpose="p", config={"x": [1]}, created_at=NOW, lease_seconds=900, holder=HOLDER),
    Heartbeat(write_id="w", run_id=RUN, beat=1, at=NOW, holder=HOLDER),
    Decision(
        write_id="w",
        run_id=RUN,
        outcome="aborted",
        success=False,
        failure=failure("E", "m"),
        closed_at=NOW,
        closed_by=HOLDER,
    ),
    MembersDocument.model_validate({"write_id": "w", "run_id": RUN, "members": {"cells": [("a", "b", 1)]}}),
    DatasetGeneration(
        write_id="w",
        dataset_id="ds",
        run_id=RUN,
        kind="k",
        gen=1,
        step="staged",
        mode="replace",
        partition={"m": 1},
        at=NOW,
        begun_at=NOW,
        files=[FileEntry(path="a", size=1, sha256="s", rows=1)],
    ),
    CellGeneration(write_id="w", type="document", name="n", gen=0, tx=None, base=None, at=NOW, value={"x": None}),
    Event(write_id="w", event_id="ev", event_name="n", subject_id="s", created_at=NOW),
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.SCHEMA)
def test_a_document_comes_back_equal_and_keeps_unknown_fields(document: Document) -> None:
    stored = orjson.loads(document.encode())
    assert stored["schema"] == document.SCHEMA
    assert type(document).decode(document.encode(), "key") == document
    stored["from_the_future"] = {"deep": [1, "é"]}
    again = type(document).decode(orjson.dumps(stored), "key")
    assert orjson.loads(again.encode()) == stored
    assert all(not isinstance(v, str) or "2026" not in v or v.endswith("678901Z") for v in stored.values())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.SCHEMA)
def test_a_newer_another_or_a_damaged_document_is_a_format_error(document: Document) -> None:
    family = document.SCHEMA.partition("/")[0]
    stored = orjson.loads(document.encode())
    for schema, said in ((f"{family}/2", "Upgrade"), ("other/1", "damaged"), ("", "damaged")):
        with pytest.raises(FormatError, match=said):
            type(document).decode(orjson.dumps({**stored, "schema": schema}), "key")
    for data in (b"", b"{", b"[]", b"null", b"\xff\xfe", document.encode()[:-1], b'{"schema": 5}'):
        with pytest.raises(FormatError) as caught:
            type(document).decode(data, "the/key")
        assert "the/key" in str(caught.value)


def test_a_document_of_more_than_1_mib_or_with_foreign_values_is_refused() -> None:
    large = DOCUMENTS[1].model_copy(update={"config": {"x": "y" * (1 << 20)}})
    odd = DOCUMENTS[1].model_copy(update={"config": {"x": object()}})
    broken = DOCUMENTS[1].model_copy(update={"notes": "\ud800"})
    for document in (large, odd, broken):
        with pytest.raises(InvalidInput):
            document.encode()


# -- errors ----------------------------------------------------------------------------------------------------------

TREE = {
    "RegistryError": ("registry_error", "Exception"),
    "NotFound": ("not_found", "RegistryError KeyError"),
    "Conflict": ("conflict", "RegistryError"),
    "AlreadyExists": ("already_exists", "Conflict"),
    "VersionConflict": ("version_conflict", "Conflict"),
    "RevisionConflict": ("revision_conflict", "Conflict"),
    "UndecidedConflict": ("undecided_conflict", "Conflict"),
    "InvalidState": ("invalid_state", "RegistryError"),
    "RunAborted": ("run_aborted", "InvalidState"),
    "RunAlreadyClosed": ("run_already_closed", "InvalidState"),
    "NoActiveRun": ("no_active_run", "InvalidState"),
    "InvalidInput": ("invalid_input", "RegistryError ValueError"),
    "MalformedId": ("malformed_id", "InvalidInput NotFound"),
    "IntegrityError": ("integrity_error", "RegistryError"),
    "FormatError": ("format_error", "RegistryError"),
    "StorageError": ("storage_error", "RegistryError"),
    "StorageUnavailable": ("storage_unavailable", "StorageError"),
    "AccessDenied": ("access_denied", "StorageError"),
    "UnsupportedStorage": ("unsupported_storage", "StorageError"),
    "OutcomeUnknown": ("outcome_unknown", "StorageError"),
    "RecoverableError": ("recoverable_error", "RegistryError"),
    "ConfigurationError": ("configuration_error", "RegistryError"),
}
CLASSES = {
    name: value for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, RegistryError)
}


def test_the_tree_of_errors_is_pinned() -> None:
    """Append only: programs match on kinds and classes. The module's own picture shows every class."""
    found = {name: (cls.kind, " ".join(base.__name__ for base in cls.__bases__)) for name, cls in CLASSES.items()}
    assert found == TREE
    assert all(f"── {name}" in (errors.__doc__ or "") for name in TREE if name != "RegistryError")


@pytest.mark.parametrize("cls", CLASSES.values(), ids=lambda cls: cls.__name__)
def test_every_error_says_three_things_pickles_and_is_json(cls: type[RegistryError]) -> None:
    bare = cls("It failed")
    assert str(bare) == f"It failed. {cls.usual_why}. {cls.usual_todo}."
    error = cls("What", why="why", todo="do this!", committed="unknown", run_id=RUN, when=NOW, odd={1: {NOW}})
    error.add_note("a note")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert (str(again), again.context, again.committed, again.__notes__) == (
        "What. why. do this! Committed: unknown.",
        error.context,
        "unknown",
        ["a note"],
    )
    assert json.loads(json.dumps(error.as_dict()))["kind"] == cls.kind
    assert repr(error).startswith(f"{cls.__name__}(")


def test_an_input_error_lists_every_problem_and_shows_the_first_twenty() -> None:
    error = InvalidInput.of("the thing", [f"problem {i}" for i in range(100)])
    assert len(error.problems) == 100
    assert "problem 19; and 80 more" in str(error)
    assert error.committed == "no"
    assert InvalidInput("just this").problems == ["just this"]


def test_no_module_but_the_clock_asks_the_time_and_ids_come_from_injected_randomness() -> None:
    generator = random.Random(1)
    first = IdFactory(generator.randbytes).typeid("run", NOW)
    second = IdFactory(random.Random(1).randbytes).typeid("run", NOW)
    assert first == second
