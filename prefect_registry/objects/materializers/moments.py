"""Dates, times, numbers, names and addresses that are no JSON: each as ``{"$type": text or list}``."""

from __future__ import annotations

import ipaddress
import pathlib
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pydantic
from pydantic_core import TzInfo

from prefect_registry.errors import ConfigurationError
from prefect_registry.objects.materializers.builtin import refused

_ZONES: dict[type[tzinfo], str] = {timezone: "$timezone", ZoneInfo: "$zoneinfo", TzInfo: "$pydantic_zone"}
"""Time zones that come back, and their tags. The last is that of moments that pydantic has read from a text."""


def _zone(zone: tzinfo | None, value: Any) -> Any:
    if zone is None:
        return None
    if type(zone) in _ZONES:
        return FORMS[type(zone)](zone)
    raise refused(
        value,
        f"Its time zone is a {type(zone).__module__}.{type(zone).__qualname__}, which would not come back",
        "Use datetime.timezone or zoneinfo.ZoneInfo",
    )


def _datetime(value: datetime) -> Any:
    return {"$datetime": [value.replace(tzinfo=None).isoformat(), _zone(value.tzinfo, value), value.fold]}


def _time(value: time) -> Any:
    return {"$time": [value.replace(tzinfo=None).isoformat(), _zone(value.tzinfo, value), value.fold]}


def is_unicode(text: str) -> bool:
    """Whether UTF-8 has the text: it holds no halves of characters (surrogates)."""
    return text.isascii() or not any(0xD800 <= ord(c) <= 0xDFFF for c in text)


def text_form(text: str) -> Any:
    """A text as JSON can hold it; one that UTF-8 has not, in bytes."""
    if is_unicode(text):
        return text
    return {"$str": b64encode(text.encode("utf-8", "surrogatepass")).decode()}


def read_text(tree: Any) -> str:
    """The text of a form of :func:`text_form`."""
    if isinstance(tree, str):
        return tree
    return b64decode(tree["$str"], validate=True).decode("utf-8", "surrogatepass")


def _timezone(value: timezone) -> Any:
    offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]  # what pickle asks it for
    return {"$timezone": [_timedelta(offset)["$timedelta"], *map(text_form, name)]}


def _zoneinfo(value: ZoneInfo) -> Any:
    try:
        value.__reduce__()  # what pickle asks it for
    except Exception:  # the one of pickle, which nothing here imports
        raise refused(value, "It was read from a file, and its key may mean another zone, or none") from None
    return {"$zoneinfo": value.key}


def _pydantic_zone(value: TzInfo) -> Any:
    offset = value.utcoffset(None)
    assert offset is not None
    return {"$pydantic_zone": offset.days * 86_400 + offset.seconds}


def _timedelta(value: timedelta) -> Any:
    return {"$timedelta": [value.days, value.seconds, value.microseconds]}


def _uuid(value: UUID) -> Any:
    return {"$uuid": value.hex if value.is_safe is SafeUUID.unknown else [value.hex, value.is_safe.value]}


_ADDRESSES: tuple[type, ...] = (
    *(ipaddress.IPv4Address, ipaddress.IPv4Interface, ipaddress.IPv4Network),
    *(ipaddress.IPv6Address, ipaddress.IPv6Interface, ipaddress.IPv6Network),
    *(pydantic.AnyUrl, pydantic.AnyHttpUrl, pydantic.HttpUrl, pydantic.FileUrl, pydantic.FtpUrl),
    *(pydantic.AnyWebsocketUrl, pydantic.WebsocketUrl),
)
_ADDRESS_NAMES = {cls.__name__: cls for cls in _ADDRESSES}


def _address(value: Any) -> Any:
    name, text = type(value).__name__, str(value)
    if _ADDRESS_NAMES[name](text) != value:
        raise refused(value, f"Its text {text!r:.200} would come back as another")
    return {"$address": [name, text_form(text)]}


FORMS: dict[type, Callable[[Any], Any]] = {
    **dict.fromkeys(_ADDRESSES, _address),
    datetime: _datetime,
    date: lambda v: {"$date": v.isoformat()},
    time: _time,
    timedelta: _timedelta,
    timezone: _timezone,
    ZoneInfo: _zoneinfo,
    TzInfo: _pydantic_zone,
    Decimal: lambda v: {"$decimal": str(v)},
    Fraction: lambda v: {"$fraction": [hex(v.numerator), hex(v.denominator)]},
    UUID: _uuid,
    pathlib.PurePosixPath: lambda v: {"$pure_posix_path": text_form(str(v))},
    pathlib.PureWindowsPath: lambda v: {"$pure_windows_path": text_form(str(v))},
    pathlib.PosixPath: lambda v: {"$path": text_form(str(v))},
    pathlib.WindowsPath: lambda v: {"$path": text_form(str(v))},
}
"""How a value of exactly that type is written. A path inside a container is the path, not what lies there."""


def _read_datetime(tree: Any) -> datetime:
    text, zone, fold = tree
    return datetime.fromisoformat(text).replace(tzinfo=_read_zone(zone), fold=fold)


def _read_time(tree: Any) -> time:
    text, zone, fold = tree
    return time.fromisoformat(text).replace(tzinfo=_read_zone(zone), fold=fold)


def _read_zone(tree: Any) -> tzinfo | None:
    if tree is None:
        return None
    ((tag, content),) = tree.items()
    if tag not in _ZONES.values():
        raise ValueError(f"{tag!r} is no time zone")
    zone: tzinfo = READERS[tag](content)
    return zone


def _read_zoneinfo(key: str) -> ZoneInfo:
    try:
        return ZoneInfo(key)
    except ZoneInfoNotFoundError as error:
        raise ConfigurationError(
            f"The time zone {key!r} is not known on this machine",
            why="The system has no time zone data, or older data, and the package tzdata is not installed, or older",
            todo="pip install --upgrade tzdata, or install the system's time zone data, then load again",
            zone=key,
        ) from error
    except OSError as error:  # the name of a folder of zones
        raise ValueError(f"{key!r} is no time zone: {error}") from error


def _read_timezone(tree: Any) -> timezone:
    offset, *name = tree
    return timezone(timedelta(*offset), *map(read_text, name)) if offset != [0, 0, 0] or name else UTC


def _read_uuid(tree: Any) -> UUID:
    return UUID(hex=tree) if isinstance(tree, str) else UUID(hex=tree[0], is_safe=SafeUUID(tree[1]))


READERS: dict[str, Callable[[Any], Any]] = {
    "$address": lambda v: _ADDRESS_NAMES[v[0]](read_text(v[1])),
    "$datetime": _read_datetime,
    "$date": date.fromisoformat,
    "$time": _read_time,
    "$timedelta": lambda v: timedelta(*v),
    "$timezone": _read_timezone,
    "$zoneinfo": _read_zoneinfo,
    "$pydantic_zone": TzInfo,
    "$decimal": Decimal,
    "$fraction": lambda v: Fraction(int(v[0], 16), int(v[1], 16)),
    "$uuid": _read_uuid,
    "$pure_posix_path": lambda v: pathlib.PurePosixPath(read_text(v)),
    "$pure_windows_path": lambda v: pathlib.PureWindowsPath(read_text(v)),
    "$path": lambda v: pathlib.Path(read_text(v)),
}
"""How it is read again, by the tag."""
