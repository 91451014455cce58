"""What ``doctor`` looks at, one function per subject."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal

from prefect_registry.errors import NotFound, RegistryError

if TYPE_CHECKING:
    from prefect_registry.resolve.place import Place
    from prefect_registry.storage.probe import ProbeCheck, ProbeReport

Status = Literal["ok", "warning", "failed"]

_WORDS = {
    "write": "connection, write",
    "create": "conditional create",
    "race": "one winner of eight",
    "overwrite": "read after write",
    "list": "list after write",
    "clock": "clock offset",
    "delete": "delete",
}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What.
        status: ``warning`` is something that may matter, ``failed`` something that does.
        detail: What was seen.
        mend: What to do about it.
        error: The error behind a failure.
    """

    name: str
    status: Status
    detail: str
    mend: str = ""
    error: RegistryError | None = None


@dataclass(frozen=True)
class Pin:
    """Versions of a package that are known to break something."""

    package: str
    below: tuple[int, ...]
    breaks: str


# Kept in step with the extra "server" of pyproject.toml by a test.
PINS = (
    Pin("fastapi", (0, 151), "A Prefect server refuses requests (422 Input should be a valid integer)"),
    Pin("sqlalchemy", (2, 1), "A Prefect server schedules no run: Can't evaluate bulk DML statement"),
)


def packages() -> Iterator[Check]:
    """Prefect's version, and the pins without which its server does not work."""
    prefect = version("prefect")
    fits = (3, 8) <= _numbers(prefect) < (4,)
    yield Check(
        "prefect",
        "ok" if fits else "failed",
        prefect,
        "" if fits else "Install a version that fits: pip install 'prefect>=3.8,<4'",
    )
    for pin in PINS:
        yield _pinned(pin)


def _pinned(pin: Pin) -> Check:
    limit = f"{pin.package}<{'.'.join(map(str, pin.below))}"
    try:
        found = version(pin.package)
    except PackageNotFoundError:
        return Check(pin.package, "ok", "not installed, so no server runs here")
    if _numbers(found) < pin.below:
        return Check(pin.package, "ok", found)
    return Check(
        pin.package,
        "warning",
        f"{found}. {pin.breaks}. It does not matter where no server runs",
        f"pip install 'prefect-registry[server]', which asks for {limit}",
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdecimal())


def api() -> Check:
    """Whether Prefect's API answers, where blocks are kept."""
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if url is None:
        return Check(
            "prefect api",
            "warning",
            "PREFECT_API_URL is not set, so each process starts a server of its own",
            "Start one with `prefect server start` and set PREFECT_API_URL=http://127.0.0.1:4200/api",
        )
    with get_client(sync_client=True) as client:
        trouble = client.api_healthcheck()
        if trouble is None:
            return Check("prefect api", "ok", f"{url}, version {client.api_version()}")
    return Check(
        "prefect api",
        "failed",
        f"{url}: {type(trouble).__name__}: {trouble}",
        "Start the server, or correct PREFECT_API_URL",
    )


def registry(wanted: str | None) -> tuple[Check, Place | None]:
    """Which registry is meant, and what says so."""
    from prefect_registry.resolve import locate
    from prefect_registry.storage.secrets import without_credentials

    try:
        place = locate(wanted)
    except RegistryError as error:
        return Check("registry", "failed", f"{error.what}. {error.why}", error.todo, error), None
    return Check("registry", "ok", f"{without_credentials(place.url)} ({place.said_by})"), place


def store(place: Place) -> Iterator[Check]:
    """What the registry needs of its store: tried out, and cleaned up again."""
    from prefect_registry.storage.opening import open_storage
    from prefect_registry.storage.probe import probe

    try:
        report = probe(open_storage(place.url, place.options))
    except RegistryError as error:
        yield Check("storage", "failed", str(error), error.todo, error)
        return
    for check in report.checks:
        yield _tried(check, report)
    if report.ok:
        yield _contents(place)


def _tried(check: ProbeCheck, report: ProbeReport) -> Check:
    name = _WORDS.get(check.name, check.name)
    if check.ok:
        return Check(name, "ok", check.detail)
    error = report.error if check is report.checks[-1] else None
    detail = f"{error.what}. {error.why}" if error is not None else check.detail
    return Check(name, "failed", detail, check.mend, error)


def _contents(place: Place) -> Check:
    from prefect_registry.registry import Registry

    try:
        found = Registry(place.url, storage_options=place.options, create=False)
    except NotFound:
        return Check("contents", "ok", "no registry yet; the first use makes it")
    except RegistryError as error:
        return Check("contents", "failed", str(error), error.todo, error)
    return Check("contents", "ok", f"registry {found.registry_id}")


def environment() -> Check:
    """What in the environment decides which registry is used, in the order in which it does."""
    names = ("OVERRIDE", "BLOCK", "URL")
    prefixes = ("PREFECT_INTEGRATIONS_REGISTRY_", "PREFECT_REGISTRY_")
    set_here = [f"{prefix}{name}" for name in names for prefix in prefixes if os.environ.get(f"{prefix}{name}")]
    overridden = any(name.endswith("OVERRIDE") for name in set_here)
    return Check(
        "settings",
        "warning" if overridden else "ok",
        ", ".join(set_here) or "none set",
        "PREFECT_REGISTRY_OVERRIDE wins over whatever a flow names: unset it outside of tests" if overridden else "",
    )
