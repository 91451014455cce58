"""How every command speaks: data to stdout, talk to stderr, errors as exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prefect_registry import errors
from prefect_registry.errors import RegistryError

EXIT_CODES: dict[type[RegistryError], int] = {
    errors.NotFound: 3,
    errors.Conflict: 4,
    errors.InvalidState: 5,
    errors.InvalidInput: 6,
    errors.IntegrityError: 7,
    errors.FormatError: 7,
    errors.StorageError: 8,
    errors.RecoverableError: 9,
    errors.ConfigurationError: 10,
}
NOT_DONE = 1
SCHEMAS = "prefect-registry"
"""What the ``schema`` of every JSON document begins with: ``prefect-registry/<command>/<version>``."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def exit_code(error: RegistryError) -> int:
    """The exit code of an error's family."""
    return next((code for family, code in EXIT_CODES.items() if isinstance(error, family)), NOT_DONE)


def talk() -> Console:
    """Where a command talks to a person: stderr."""
    return Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """One line of talk, as it is."""
    talk().print(clean(text), markup=False, soft_wrap=True)


# -- data ------------------------------------------------------------------------------------------------------------


def write_json(schema: str, **data: Any) -> None:
    """One JSON document to stdout, which names its schema and version."""
    print(json.dumps({"schema": f"{SCHEMAS}/{schema}", **plain(data)}, indent=2))


def write(text: str) -> None:
    """Text to stdout as it is."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")


def plain(value: Any) -> Any:
    """``value`` as JSON values: times in UTC with microseconds, objects as mappings of their public fields."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(by_alias=True))
    return str(value)


def clean(value: object) -> str:
    """``value`` for a terminal: what names or messages hold of control characters has no effect on it."""
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


def write_table(columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> None:
    """Rows below their headings. On a terminal long cells are folded; in a pipe each row is one line.

    Args:
        columns: The headings.
        rows: Numbers are shown with separators, None as nothing.
        right: The columns that are aligned to the right.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in right else "left")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    write_shape(table)


def write_shape(shape: Any) -> None:
    """Something that rich draws, to stdout."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(shape)
        return
    wide = Console(highlight=False, width=100_000, color_system=None)
    with wide.capture() as captured:
        wide.print(shape)
    for line in captured.get().splitlines():
        print(line.rstrip())


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return when(value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else clean(value).replace("\n", " ")


def when(moment: datetime | None) -> str:
    """A time for people: UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if moment is not None else ""


def size(count: int) -> str:
    """Bytes for people."""
    amount, unit = float(count), 0
    while amount >= 1024 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{count:,} B" if unit == 0 else f"{amount:,.1f} {_UNITS[unit]}"


@contextmanager
def progress(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar of bytes on stderr, if that is a terminal. Yields what takes the bytes since the last call."""
    console = talk()
    if not console.is_terminal:
        yield lambda count: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(clean(text), total=total)
        yield lambda count: bar.advance(task, count)


# -- the end ---------------------------------------------------------------------------------------------------------


def report_error(error: RegistryError, as_json: bool) -> int:
    """Say what went wrong, why, and what to do. Returns the exit code."""
    if as_json:
        write_json("error/1", error=error.as_dict())
    else:
        console = talk()
        console.print(clean(error.what), style="bold red", markup=False, soft_wrap=True)
        committed = f"Committed: {error.committed}" if error.committed in ("yes", "unknown") else ""
        for line in (error.why, error.todo, committed, *getattr(error, "__notes__", ())):
            if line:
                console.print(clean(line), markup=False, soft_wrap=True)
    return exit_code(error)
