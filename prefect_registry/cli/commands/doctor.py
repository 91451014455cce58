"""``prefect-registry doctor``: what keeps a registry from working, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from prefect_registry.cli import checks
from prefect_registry.cli.checks import Check
from prefect_registry.cli.options import Json
from prefect_registry.cli.output import NOT_DONE, exit_code, talk, write_json

_LOOKS = {"ok": "[green]ok[/]", "warning": "[yellow]look[/]", "failed": "[red]failed[/]"}


def doctor(
    registry: Annotated[str | None, Parameter(name=["registry", "--registry", "-r"])] = None,
    *,
    json: Json = False,
) -> int:
    """Look for what keeps a registry from working, and say how to mend it.

    It tries the store with a few small objects below .probe/ and deletes them again. Nothing else is changed.

    Parameters
    ----------
    registry
        Name of a block, type/name, URL or folder. Without it, the one that a flow would use that names none.
    """
    found = []
    with talk().status("Looking …"):
        found = list(_looked_at(registry))
    failed = [check for check in found if check.status == "failed"]
    if json:
        write_json("doctor/1", ok=not failed, checks=[_as_json(check) for check in found])
    else:
        Console(highlight=False).print(_table(found))
        talk().print(_verdict(found), markup=False)
    if not failed:
        return 0
    return next((exit_code(check.error) for check in failed if check.error is not None), NOT_DONE)


GROUP = "Setting up"
COMMANDS = {"doctor": doctor}


def _looked_at(registry: str | None) -> Iterator[Check]:
    yield from checks.packages()
    api = checks.api()
    yield api
    yield checks.environment()
    meant, place = checks.registry(registry)
    yield meant
    if place is not None:
        yield from checks.store(place)


def _as_json(check: Check) -> dict[str, object]:
    kind = check.error.kind if check.error is not None and check.status == "failed" else None
    return {"name": check.name, "status": check.status, "detail": check.detail, "mend": check.mend, "kind": kind}


def _table(found: list[Check]) -> Table:
    """What was seen beside each check, and the mend below it: four columns do not fit into 80 characters."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("seen", overflow="fold")
    for check in found:
        mend = f"\n→ {check.mend}" if check.mend else ""
        table.add_row(_LOOKS[check.status], check.name, _plain(f"{check.detail}{mend}"))
    return table


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def _verdict(found: list[Check]) -> str:
    failed = sum(check.status == "failed" for check in found)
    warned = sum(check.status == "warning" for check in found)
    if failed:
        return f"{failed} of {len(found)} checks failed."
    return f"All {len(found)} checks passed" + (f", {warned} with a remark." if warned else ".")
