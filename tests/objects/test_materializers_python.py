"""Python's own values: equal and of the same types, or refused with the reason."""

from __future__ import annotations

import importlib.resources
import io
import json
import math
import os
import struct
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag, IntEnum, auto
from fractions import Fraction
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pydantic
import pytest
from folder_payload import FolderPayload, stored, there_and_back
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_registry.errors import ConfigurationError, FormatError, InvalidInput
from prefect_registry.objects.materializers.base import Materializer
from prefect_registry.objects.materializers.builtin import saved
from prefect_registry.objects.materializers.encoding import DEEPEST
from prefect_registry.objects.materializers.python import PythonMaterializer
from prefect_registry.objects.materializers.registered import Materializers
from prefect_registry.objects.payload import Payload

T = TypeVar("T")


class Colour(Enum):
    RED = "red"
    CRIMSON = "red"
    BLUE = ("b", 1)


class Size(IntEnum):
    SMALL = 1


class Access(Flag):
    READ = auto()
    WRITE = auto()


class Titled(Enum):
    FIRST = "Second"
    Second = "FIRST"

    @property
    def name(self) -> str:
        return self._value_


class Lettered(Flag):
    A = auto()
    B = auto()

    @property
    def value(self) -> str:
        return "".join(member._name_ or "" for member in self)


class Open(Enum):
    KNOWN = 1

    @classmethod
    def _missing_(cls, value: object) -> Open:
        made = object.__new__(cls)
        made._name_, made._value_ = "ALSO", value
        return made


class Point(NamedTuple):
    x: float
    y: float = 0.0


@dataclass
class Plain:
    name: str
    tags: set[str] = field(default_factory=set)
    hidden: int = field(default=0, init=False, compare=False)

    @cached_property
    def length(self) -> int:
        return len(self.name)


@dataclass(frozen=True, slots=True)
class Frozen(Generic[T]):
    value: T
    next: Frozen[T] | None = None


class Slotted:
    __slots__ = ("__own", "extra")

    def own(self, value: int) -> None:
        self.__own = value


@dataclass
class OnSlots(Slotted):
    a: int = 1


class Outer:
    @dataclass
    class Inner:
        at: datetime


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")

    id: int = pydantic.Field(alias="ID")
    when: datetime | None = None
    points: list[Point] = []
    _note: str = pydantic.PrivateAttr("")


class Nested(pydantic.BaseModel):
    models: dict[str, Model]
    score: float = math.nan


class Numbers(pydantic.RootModel[list[int]]):
    pass


class Hashing(pydantic.BaseModel):
    word: str

    @pydantic.field_validator("word")
    @classmethod
    def change(cls, value: str) -> str:
        return value + "!"


class ModelOnSlots(pydantic.BaseModel):
    __slots__ = ("extra",)
    a: int = 1

    @cached_property
    def double(self) -> int:
        return self.a * 2


class Picky(pydantic.BaseModel):
    a: int = 1

    @pydantic.field_validator("a")
    @classmethod
    def check(cls, value: int) -> int:
        if value > 1:
            raise RuntimeError("the service of words is away")
        return value


class Shifting(tzinfo):
    def utcoffset(self, when: datetime | None) -> timedelta:
        return timedelta(hours=1)


class Text(str):
    pass


class Things(dict[str, int]):
    pass


def alike(one: Any, other: Any) -> bool:
    """Equal, and of the same type at every level."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack(">d", one) == struct.pack(">d", other)
    if isinstance(one, complex):
        return alike(one.real, other.real) and alike(one.imag, other.imag)
    if isinstance(one, (list, tuple, deque)):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict):
        return alike(list(one), list(other)) and alike(list(one.values()), list(other.values()))
    if isinstance(one, (set, frozenset)):
        return len(one) == len(other) and {(type(v), repr(v)) for v in one} == {(type(v), repr(v)) for v in other}
    if isinstance(one, (datetime, time)):
        same_zone = type(one.tzinfo) is type(other.tzinfo) and repr(one.tzinfo) == repr(other.tzinfo)
        return one.replace(tzinfo=None) == other.replace(tzinfo=None) and one.fold == other.fold and same_zone
    if isinstance(one, Decimal):
        return one.as_tuple() == other.as_tuple()
    if is_dataclass(one):
        return all(alike(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    return bool(one == other)


ZONES = st.one_of(
    st.none(),
    st.just(UTC),
    st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23))),
    st.builds(timezone, st.timedeltas(timedelta(hours=-1), timedelta(hours=1)), st.text(max_size=3)),
    st.sampled_from([ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")]),
)
KEYS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters(exclude_categories=[])),
    st.text(alphabet="$ab", max_size=3),
    st.binary(),
    st.datetimes(timezones=ZONES),
    st.times(),
    st.dates(),
    st.timedeltas(),
    st.decimals().filter(lambda d: not d.is_snan()),  # they cannot be keys
    st.fractions(),
    st.uuids(),
    st.sampled_from([*Colour, *Size, Access.READ, Access.READ | Access.WRITE, Access(0)]),
    st.builds(PurePosixPath, st.text(alphabet="ab/", max_size=5)),
)
VALUES = st.recursive(
    KEYS | st.binary().map(bytearray) | st.builds(Point, st.floats()) | st.builds(range, st.integers(), st.integers()),
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(KEYS, inner),
        st.dictionaries(st.text(), inner),
        st.dictionaries(KEYS, inner).map(OrderedDict),
        st.sets(KEYS),
        st.frozensets(KEYS),
        st.lists(inner).map(lambda v: deque(v, 100)),
        st.builds(Frozen, inner),
        st.builds(Plain, st.text(), st.sets(st.text())),
    ),
    max_leaves=12,
)


@settings(max_examples=100)
@given(VALUES)
def test_values_come_back_equal_and_of_the_same_types(value: Any) -> None:
    """Any nesting of Python's values is the same after it was saved and loaded."""
    assert alike(there_and_back(Materializers(), value), value)


@settings(max_examples=60)
@given(st.sets(KEYS), st.randoms())
def test_equal_values_are_equal_bytes(values: set[Any], random: Any) -> None:
    """Sets that are equal have the same text, whatever the order in which they were filled."""
    shuffled = list(values)
    random.shuffle(shuffled)
    one, other = (Materializers().find(v).save(v).parts[0].source for v in (values, set(shuffled)))
    assert one == other


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        2**80,
        -(10**5000),
        -0.0,
        math.inf,
        struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0],
        complex(-0.0, math.nan),
        "\ud83d\ude00",
        "a\x00\n",
        {1: "a", "1": "b", 2.0: "c", False: "d", None: (1, [2, {3}])},
        {"$int": "1"},
        {"$tuple": [1]},
        [(1, 2), {3}],
        Counter("aab"),
        deque([1, 2], maxlen=2),
        datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        time(1, 2, 3, 4, tzinfo=timezone(timedelta(hours=2), "X"), fold=1),
        [UTC, ZoneInfo("UTC"), timezone.min],
        date(1, 1, 1),
        timedelta.min,
        [Decimal("1.10"), Decimal("-0"), Decimal("sNaN12"), Decimal("1E+999999")],
        Fraction(-1, 3),
        UUID(int=5),
        [PurePosixPath("a/b"), PureWindowsPath("c:/d"), Path("/nowhere/at all")],
        Colour.CRIMSON,
        Access.READ | Access.WRITE,
        [Titled.FIRST, Titled.Second],
        [Lettered.A, Lettered.A | Lettered.B, Lettered(0)],
        OnSlots(2),
        ModelOnSlots(a=2),
        Point(1.0),
        Frozen(Frozen(1)),
        Outer.Inner(datetime(2020, 1, 1)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_awkward_values_come_back(value: Any) -> None:
    """Each of those with which JSON, or a careless form of it, changes something."""
    if isinstance(value, int) and value < -(10**4000):
        assert there_and_back(Materializers(), value) == value
        return
    assert alike(there_and_back(Materializers(), value), value)


def test_a_dataclass_comes_back_without_its_constructor() -> None:
    """Fields that are set later come back as well; what is only cached does not stand in the way."""
    value = Plain("x", {"a"})
    value.hidden = 5
    assert value.length == 1
    back = there_and_back(Materializers(), value)
    assert (back, back.hidden) == (value, 5)


def test_a_model_comes_back_with_extra_and_private_fields() -> None:
    """What was given, what is extra and what is private is the same, in nested models too."""
    inner = Model(ID=1, points=[Point(1.0, 2.0)], other={"a": (1, 2)})  # type: ignore[call-arg]
    inner._note = "n"
    value = Nested(models={"m": inner})
    back = there_and_back(Materializers(), value)
    assert back.models == value.models
    assert (back.models["m"]._note, back.models["m"].model_fields_set) == ("n", inner.model_fields_set)
    assert math.isnan(back.score)
    assert back.model_fields_set == {"models"}
    assert there_and_back(Materializers(), Numbers([1, 2])) == Numbers([1, 2])


def test_classes_are_not_imported_because_a_record_names_them() -> None:
    """A reader that has not registered the class is told its name and how to register it; one that has, loads."""
    reader = Materializers()
    with pytest.raises(ConfigurationError, match=r"test_materializers_python:Frozen'.*register_materializer\(Frozen\)"):
        there_and_back(Materializers(), [Frozen(1)], reader=reader)
    reader.register(Frozen)
    assert there_and_back(Materializers(), [Frozen(1)], reader=reader) == [Frozen(1)]


def test_a_class_inside_a_function_must_be_registered() -> None:
    """Its name says nothing to other processes; who registers it there and here says that it does."""

    @dataclass
    class Local:
        a: int

    both = Materializers()
    with pytest.raises(InvalidInput, match="defined inside a function"):
        both.find(Local(1)).save(Local(1))
    both.register(Local)
    assert there_and_back(both, Local(1)) == Local(1)


def test_a_changed_class_takes_defaults_or_is_told() -> None:
    """A new field takes its default; a field that is gone, and one without default, are named."""
    old, new = make_dataclass("C", [("a", int)]), make_dataclass("C", [("a", int), ("b", int, field(default=2))])
    other = make_dataclass("C", [("z", int)])
    for cls in (old, new, other):
        cls.__module__, cls.__qualname__ = __name__, "C"
    writer, reader = Materializers(), Materializers()
    reader.register(new)
    assert there_and_back(writer, old(1), reader=reader) == new(1, 2)
    reader.register(other)
    with pytest.raises(ConfigurationError, match="'z' without a default"):
        there_and_back(writer, old(1), reader=reader)
    reader.register(old)
    with pytest.raises(ConfigurationError, match="no fields b"):
        there_and_back(writer, new(1), reader=reader)


def _with(value: Any, **attributes: Any) -> Any:
    for name, content in attributes.items():
        setattr(value, name, content)
    return value


def _called(value: Any, method: str, *arguments: Any) -> Any:
    getattr(value, method)(*arguments)
    return value


def _set(value: Any, name: str) -> Any:
    object.__setattr__(value, name, 1)
    return value


def _cycle() -> list[Any]:
    value: list[Any] = [1]
    value.append({"me": value})
    return value


def _deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@dataclass
class AlsoADict(dict[str, int]):
    a: int = 1


REFUSED: list[tuple[Any, str]] = [
    (Text("a"), "Text would come back as builtins.str"),
    ([Things()], "Things would come back as builtins.dict"),
    (object(), "make it a dataclass"),
    (print, "make it a dataclass"),
    ([open], "make it a dataclass"),
    (_cycle(), "holds itself"),
    (_deep(DEEPEST), "more than 100 levels"),
    (_deep(100_000), "more than 100 levels"),
    (datetime(2020, 1, 1, tzinfo=Shifting()), r"time zone is a .*Shifting"),
    (_with(Plain("a"), other=1), "other are no fields"),
    (AlsoADict(), "also a value of another kind"),
    (_with(OrderedDict(a=1), x=1), "attributes x would be lost"),
    (_with(Counter("a"), x=1), "attributes x would be lost"),
    (_with(OnSlots(), extra=1), "attributes extra are no fields"),
    (_called(OnSlots(), "own", 1), "attributes _Slotted__own are no fields"),
    (_set(ModelOnSlots(), "extra"), "attributes extra are no fields"),
    (_set(Model(ID=1), "other"), "attributes other are no fields"),
    (Open("no"), "none of the members of .*Open"),
    (Picky.model_construct(a=2), "does not validate any more: RuntimeError: the service of words is away"),
    (Hashing(word="a"), "would differ in word"),
    (_with(Model(ID=1), id="no number"), "does not validate"),
    (pydantic.SecretStr("s"), "make it a dataclass"),
]


@pytest.mark.parametrize(("value", "why"), REFUSED, ids=[f"{n}-{type(v).__name__}" for n, (v, _) in enumerate(REFUSED)])
def test_what_would_change_is_refused(value: Any, why: str) -> None:
    """Saving says why, before anything is stored."""
    materializers = Materializers()
    with pytest.raises(InvalidInput, match=why) as refusal:
        materializers.find(value).save(value)
    assert refusal.value.committed == "no"


def test_a_refusal_says_where_in_the_value_it_is() -> None:
    """In keys, elements and fields, as Python would write it."""
    value = {"runs": [1, Frozen({"a": (0, object())})]}
    with pytest.raises(
        InvalidInput, match=r"builtins\.object cannot be saved \(it is \['runs'\]\[1\]\.value\['a'\]\[1\] of"
    ):
        Materializers().find(value).save(value)


def test_the_deepest_value_is_kept() -> None:
    """One level less than what is refused."""
    assert there_and_back(Materializers(), _deep(DEEPEST - 1)) == _deep(DEEPEST - 1)


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "NaN",
        '{"$nothing": 1}',
        '{"$tuple": 1}',
        '{"$int": "x"}',
        '{"$int": "1", "a": 2}',
        '{"$set": [[]]}',
        '{"$fraction": ["0x1", "0x0"]}',
        '{"$part": {"at": 0}}',
        "[" * 100_000,
        '{"$enum": []}',
        '{"$zoneinfo": "../x"}',
        '{"$zoneinfo": "Europe"}',
    ],
)
def test_a_text_that_is_not_ours_is_a_format_error(text: str, tmp_path: Path) -> None:
    """Nothing that stands in a record ends in an error of Python's own."""
    (tmp_path / "value.json").write_text(text, "utf-8")
    with pytest.raises(FormatError):
        Materializers().named("python").load(FolderPayload(tmp_path, {}))


def test_the_form_is_what_the_page_says() -> None:
    """The format is for ever: these bytes are what older objects are stored as."""
    value = {"a": [1, 2.5, None, True, "é"], "b": (b"x", {1: {2}}), "c": Colour.RED, "d": Point(1.0)}
    name = __name__
    (part,) = Materializers().find(value).save(value).parts
    assert isinstance(part.source, bytes)
    assert json.loads(part.source) == {
        "a": [1, 2.5, None, True, "é"],
        "b": {"$tuple": [{"$bytes": "eA=="}, {"$dict": [[1, {"$set": [2]}]]}]},
        "c": {"$enum": [f"{name}:Colour", "RED"]},
        "d": {"$namedtuple": [f"{name}:Point", [["x", 1.0], ["y", 0.0]]]},
    }
    assert PythonMaterializer.name == "python"


def test_a_cached_property_of_a_model_does_not_stand_in_the_way() -> None:
    """What is only cached is computed again."""
    value = ModelOnSlots(a=3)
    assert value.double == 6
    back = there_and_back(Materializers(), value)
    assert (back, back.double) == (ModelOnSlots(a=3), 6)


def test_a_time_zone_that_is_not_known_here_is_asked_for(tmp_path: Path) -> None:
    """The reader is told to install the data of time zones, not to upgrade this package."""
    texts = ['{"$datetime": ["2020-01-01T00:00:00", {"$zoneinfo": "Mars/Olympus_Mons"}, 0]}']
    for text in (*texts, '{"$time": ["00:00:00", {"$zoneinfo": "Mars/Base"}, 0]}', '[{"$zoneinfo": "Mars/Base"}]'):
        (tmp_path / "value.json").write_text(text, "utf-8")
        with pytest.raises(ConfigurationError, match=r"time zone 'Mars/.*tzdata"):
            Materializers().named("python").load(FolderPayload(tmp_path, {}))


class Careless(Materializer):
    name = "acme.careless"

    def __init__(self, made: Any) -> None:
        self.made = made

    def save(self, value: Any) -> Any:
        return self.made

    def load(self, payload: Any) -> Any:
        return None


@pytest.mark.parametrize("made", [{}, None, Payload([b"x"])], ids=["dict", "None", "parts"])
def test_a_materializer_that_gives_back_no_payload_is_named(made: Any) -> None:
    """For the object itself, inside a container, and for a subclass of what it was registered for."""
    materializers = Materializers()
    materializers.register(Slotted, Careless(made))
    for value in (Slotted(), [Slotted()], type("Sub", (Slotted,), {})()):
        found = materializers.find(value)
        with pytest.raises(InvalidInput, match=r"'acme.careless' \(.*Careless\) gave back .*no Pa") as refusal:
            saved(found, value)
        assert refusal.value.committed == "no"


@pytest.mark.parametrize("value", [b"", b"x" * 100, bytearray(b"y")])
def test_bytes_are_a_file_as_they_are(value: Any) -> None:
    """Others read them without this package."""
    (part,) = Materializers().find(value).save(value).parts
    assert part.source == bytes(value)
    assert alike(there_and_back(Materializers(), value), value)


class Read(pydantic.BaseModel):
    at: datetime
    daily: time = time(0)
    page: pydantic.HttpUrl | None = None
    host: IPv4Address | IPv6Address | None = None


class Found(pydantic.BaseModel):
    first: int = pydantic.Field(validation_alias=pydantic.AliasPath("values", 0))
    other: int = pydantic.Field(2, validation_alias=pydantic.AliasChoices("also", "b"))


class Many(pydantic.BaseModel):
    floats: set[float] = set()
    named: dict[float, int] = {}
    frozen: frozenset[float] = frozenset()
    queue: deque[float] = deque()
    price: Decimal = Decimal(0)


Weird = Enum("Weird", {"\ud800": 1}, module=__name__)


@pytest.mark.parametrize(
    "value",
    [
        [Path(os.fsdecode(b"/data/\xff")), PurePosixPath(os.fsdecode(b"\xff")), PureWindowsPath("c:/\ud800")],
        [timezone(timedelta(hours=1), "\ud800"), datetime(2020, 1, 1, tzinfo=timezone(timedelta(0), "\udfff"))],
        Weird["\ud800"],
        {Weird["\ud800"]: {"\ud800": "\ud800"}},
    ],
    ids=["paths", "zones", "member", "keys"],
)
def test_texts_that_are_no_unicode_come_back(value: Any) -> None:
    """Wherever they stand: a path may be any bytes."""
    assert alike(there_and_back(Materializers(), value), value)


def test_what_pydantic_reads_from_texts_comes_back() -> None:
    """Moments have a class of zones of its own; addresses and URLs are fields like others."""
    value = Read.model_validate(
        {"at": "2020-01-01T00:00:00+02:00", "daily": "10:00Z", "page": "https://a.b/c?d=é", "host": "fe80::1%eth0"}
    )
    back = there_and_back(Materializers(), [value, value.at.tzinfo, [value.host]])
    assert back == [value, value.at.tzinfo, [value.host]]
    assert all(alike(getattr(back[0], name), getattr(value, name)) for name in Read.model_fields)
    assert type(back[1]) is type(value.at.tzinfo)


def test_a_model_that_reads_by_a_way_comes_back() -> None:
    """It has no name to be given by but its own."""
    value = Found.model_validate({"values": [5], "b": 3})
    assert alike(there_and_back(Materializers(), value), value)


@pytest.mark.parametrize(
    ("field", "content"),
    [
        ("floats", {1}),
        ("floats", {True}),
        ("named", {1: 1}),
        ("frozen", frozenset({1})),
        ("queue", deque([1])),
    ],
    ids=repr,
)
def test_a_field_that_would_only_be_equal_is_refused(field: str, content: Any) -> None:
    """1, 1.0 and True are equal, and not of one type: whatever holds them."""
    value = Many()
    value.__dict__[field] = content
    with pytest.raises(InvalidInput, match=f"would differ in {field}"):
        Materializers().find(value).save(value)
    fine = Many(floats={-0.0}, named={math.inf: 1}, queue=deque([1.5], 3), price=Decimal("1.100"))
    assert alike(there_and_back(Materializers(), fine).price, fine.price)


@pytest.mark.parametrize("values", [(), (1.0, 2.0, 3.0)])
def test_a_named_tuple_of_another_length_is_refused(values: tuple[float, ...]) -> None:
    """Its fields do not name what it holds."""
    with pytest.raises(InvalidInput, match=f"It has {len(values)} values for 2 fields"):
        Materializers().find(Point(0)).save(tuple.__new__(Point, values))


def test_a_zone_from_a_file_is_refused() -> None:
    """Its key says nothing: another zone may have it, or none."""
    data = importlib.resources.files("tzdata").joinpath("zoneinfo/Europe/Berlin").read_bytes()
    for key in (None, "Asia/Tokyo", "my zone"):
        zone = ZoneInfo.from_file(io.BytesIO(data), key=key)
        with pytest.raises(InvalidInput, match="read from a file"):
            Materializers().find([zone]).save([datetime(2020, 1, 1, tzinfo=zone)])


def test_scalars_of_libraries_stand_in_the_text() -> None:
    """A list of twenty thousand losses is one file, and not twenty thousand; as keys and elements they come back."""
    value = [np.float32(n) for n in range(20_000)]
    name, payload = stored(Materializers(), {"loss": value, "best": {np.str_("a\0"): {np.int64(1), pd.NaT}}})
    assert payload.paths() == ["value.json"]
    back = Materializers().named(name).load(payload)
    assert back["loss"] == value
    assert {type(v) for v in back["loss"]} == {np.float32}
    assert back["best"] == {np.str_("a\0"): {np.int64(1), pd.NaT}}
    assert {type(v) for v in [*back["best"], *back["best"]["a\0"]]} == {np.str_, np.int64, type(pd.NaT)}


@pytest.mark.parametrize(
    "tree", ['["numpy", ["O", ""]]', '["numpy", ["<f8", "AA=="]]', '["pandas", ["Nothing"]]', '["bytes", []]', "[]"]
)
def test_a_scalar_that_is_not_ours_is_a_format_error(tree: str, tmp_path: Path) -> None:
    """No object of Python's is made of bytes in a record."""
    (tmp_path / "value.json").write_text(f'{{"$scalar": {tree}}}', "utf-8")
    with pytest.raises(FormatError):
        Materializers().named("python").load(FolderPayload(tmp_path, {}))
