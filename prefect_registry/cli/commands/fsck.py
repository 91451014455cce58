"""``fsck``: looking for damage in a registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from prefect_registry.cli.commands import Command
from prefect_registry.cli.opening import open_registry
from prefect_registry.cli.options import Flag, Json, RegistryName
from prefect_registry.cli.output import NOT_DONE, clean, say, talk, when, write, write_json
from prefect_registry.errors import InvalidInput

if TYPE_CHECKING:
    from prefect_registry.catalog.fsck import Finding

Verify = Literal["none", "sample", "all"]
_WORDS = {
    "journal": "objects of the journal",
    "cells": "generations",
    "files": "files read",
    "index": "rows of the index",
}


def fsck(
    *,
    verify: Annotated[Verify, Parameter(help="Of which files the sha256 is computed; sizes are always compared.")] = (
        "sample"
    ),
    sample: Annotated[str, Parameter(help="How many files that is: a number, or a share such as 10%.")] = "100",
    repair: Annotated[Flag, Parameter(help="Build the index of this machine anew, if it differs.")] = False,
    notes: Annotated[Flag, Parameter(help="Show also what is harmless.")] = False,
    registry: RegistryName = None,
    json: Json = False,
) -> int:
    """Look for damage: documents, decisions, cells, files, leases and the index of this machine against each other.

    Nothing in the store is ever written or deleted. Exits with 1 when there is an error: something that readers cannot
    read, or would read wrongly.
    """
    amount = _amount(sample)
    found = open_registry(registry)
    with _progress() as progress:
        report = found.fsck(verify=verify, sample=amount, repair=repair, progress=progress)
    if json:
        told = report.as_dict()
        write_json("fsck/1", registry=told.pop("url"), **told)
        return 0 if report.ok else NOT_DONE
    for finding in report.findings if notes else report.of("error", "warning"):
        write("\n".join(_lines(finding)))
    say(report.summary()[:1].upper() + report.summary()[1:] + ".")
    if report.left_out:
        say(f"{report.left_out:,} more of the same kinds are not shown.")
    if report.index_repaired:
        say("The index of this machine was built anew.")
    elif any(f.kind == "index-differs" for f in report.findings):
        say("To build the index anew: prefect-registry fsck --repair")
    return 0 if report.ok else NOT_DONE


GROUP = "Housekeeping"
COMMANDS: dict[str, Command] = {"fsck": fsck}


def _amount(text: str) -> int | float:
    """A number of files, or a share of them.

    Raises:
        InvalidInput: It is neither.
    """
    try:
        amount = float(text[:-1]) / 100 if text.endswith("%") else int(text)
    except ValueError:
        amount = -1
    if amount < 0 or (isinstance(amount, float) and not amount <= 1):
        raise InvalidInput.of(
            "--sample", [f"{text!r:.40} is no number of files, and no share"], todo="Write it like 100, or like 10%"
        )
    return amount


def _lines(finding: Finding) -> Iterator[str]:
    mended = " (repaired)" if finding.repaired else ""
    since = f", since {when(finding.since)}" if finding.since is not None else ""
    yield clean(f"{finding.severity}{mended}: {finding.kind}: {finding.key}{since}")
    yield clean(f"  {finding.what}.")
    yield f"  {finding.meaning}."
    yield f"  To do: {finding.todo}."


@contextmanager
def _progress() -> Iterator[Callable[[str, int], None] | None]:
    """A line on stderr that says what is being looked at, if that is a terminal."""
    console = talk()
    if not console.is_terminal:
        yield None
        return
    with console.status("Looking …") as status:
        yield lambda stage, count: status.update(f"{count:,} {_WORDS[stage]}")
