"""Dates, times, numbers and names of Python's library that are no JSON: each as ``{"$type": text or list}``."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from prefect_registry.errors import ConfigurationError
from prefect_registry.objects.materializers.builtin import refused


def _zone(zone: tzinfo | None, value: Any) -> Any:
    if zone is None:
        return None
    if type(zone) in (timezone, ZoneInfo):
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


def _timezone(value: timezone) -> Any:
    offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]  # what pickle asks it for
    return {"$timezone": [_timedelta(offset)["$timedelta"], *name]}


def _zoneinfo(value: ZoneInfo) -> Any:
    if value.key is None:
        raise refused(value, "It has no key: it was read from a file")
    return {"$zoneinfo": value.key}


def _timedelta(value: timedelta) -> Any:
    return {"$timedelta": [value.days, value.seconds, value.microseconds]}


def _uuid(value: UUID) -> Any:
    return {"$uuid": value.hex if value.is_safe is SafeUUID.unknown else [value.hex, value.is_safe.value]}


FORMS: dict[type, Callable[[Any], Any]] = {
    datetime: _datetime,
    date: lambda v: {"$date": v.isoformat()},
    time: _time,
    timedelta: _timedelta,
    timezone: _timezone,
    ZoneInfo: _zoneinfo,
    Decimal: lambda v: {"$decimal": str(v)},
    Fraction: lambda v: {"$fraction": [hex(v.numerator), hex(v.denominator)]},
    UUID: _uuid,
    pathlib.PurePosixPath: lambda v: {"$pure_posix_path": str(v)},
    pathlib.PureWindowsPath: lambda v: {"$pure_windows_path": str(v)},
    pathlib.PosixPath: lambda v: {"$path": str(v)},
    pathlib.WindowsPath: lambda v: {"$path": str(v)},
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
    zone: tzinfo = {"$timezone": _read_timezone, "$zoneinfo": _read_zoneinfo}[tag](content)
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
    return timezone(timedelta(*offset), *name) if offset != [0, 0, 0] or name else UTC


def _read_uuid(tree: Any) -> UUID:
    return UUID(hex=tree) if isinstance(tree, str) else UUID(hex=tree[0], is_safe=SafeUUID(tree[1]))


READERS: dict[str, Callable[[Any], Any]] = {
    "$datetime": _read_datetime,
    "$date": date.fromisoformat,
    "$time": _read_time,
    "$timedelta": lambda v: timedelta(*v),
    "$timezone": _read_timezone,
    "$zoneinfo": _read_zoneinfo,
    "$decimal": Decimal,
    "$fraction": lambda v: Fraction(int(v[0], 16), int(v[1], 16)),
    "$uuid": _read_uuid,
    "$pure_posix_path": pathlib.PurePosixPath,
    "$pure_windows_path": pathlib.PureWindowsPath,
    "$path": pathlib.Path,
}
"""How it is read again, by the tag."""
