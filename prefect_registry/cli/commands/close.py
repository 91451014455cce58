"""``close`` and ``revert``: a run decided, or taken back, from outside."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from prefect_registry.cli.models import cell_name
from prefect_registry.cli.opening import open_registry
from prefect_registry.cli.options import Flag, Json, RegistryName, Yes, to_be_sure
from prefect_registry.cli.output import NOT_DONE, plain, say, write, write_json
from prefect_registry.errors import InvalidInput


def close(
    run: str,
    /,
    *,
    success: Annotated[Flag, Parameter(help="Commit: everything it staged becomes visible.")] = False,
    failed: Annotated[Flag, Parameter(help="Roll back: nothing of it ever becomes visible.")] = False,
    notes: Annotated[str | None, Parameter(help="Recorded with the decision.")] = None,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Decide a run that is open. A decision is final; the same once more changes nothing.

    Parameters
    ----------
    run
        A run.
    """
    if success == failed:
        raise InvalidInput.of("close", ["exactly one of --success and --failed is needed"])
    found = open_registry(registry)
    found.close_run(run, success, notes)
    info = found.get_run(run)
    if json:
        write_json("close/1", registry=found.url, run=info)
        return
    write(f"{info.state}  {info.id}")
    if info.staged:
        say("It is decided, and becomes visible when the run around it is committed.")
    for dataset in info.left_out:
        say(f"Left out, since it was not committed: {dataset}")


def revert(
    run: str,
    /,
    *,
    reason: Annotated[str | None, Parameter(help="Recorded with the new run.")] = None,
    yes: Yes = False,
    registry: RegistryName = None,
    json: Json = False,
) -> int:
    """Take back what a committed run published, by one new run. Reverting that one restores it.

    Its datasets disappear from their tables, and what they had replaced is visible again. No bytes are deleted. It asks
    first, unless --yes is given.

    Parameters
    ----------
    run
        A run.
    """
    found = open_registry(registry)
    info = found.get_run(run)
    if info.state == "COMMITTED":
        datasets = found.catalog.count("datasets", run_id=run, state="READY")
        say(f"Run {info.id} ({info.purpose}) has {datasets:,} visible dataset(s).")
        if not to_be_sure(yes, "Take it back?", f"To confirm it: prefect-registry revert {run} --yes"):
            say("Nothing was changed.")
            return NOT_DONE
    report = found.revert(run, reason)
    if json:
        cells = {name: [{"type": t, "name": n} for t, n in getattr(report, name)] for name in ("cells", "kept")}
        write_json("revert/1", registry=found.url, **{**plain(report), **cells})
        return 0
    for dataset in report.datasets:
        write(dataset)
    for cell_type, name in report.kept:
        say(f"Left alone, for a later run has changed it: {cell_name(found, cell_type, name)}")
    say(f"Reverted by run {report.run_id}; to restore it: prefect-registry revert {report.run_id}")
    return 0


GROUP = "Runs"
COMMANDS = {"close": close, "revert": revert}
