"""``copy``: a registry in another place."""

from __future__ import annotations

from prefect_registry.cli.opening import open_registry, where
from prefect_registry.cli.options import Json, RegistryName
from prefect_registry.cli.output import progress, say, size, write_json
from prefect_registry.storage.secrets import without_credentials


def copy(target: str, /, *, registry: RegistryName = None, json: Json = False) -> None:
    """Copy a registry, with its history, to an empty folder, bucket or prefix on any cloud.

    The copy can be opened when its last object has landed, never before; one that was interrupted goes on when it is
    made again. Every file is checked. The copy has an id of its own, and runs that still go on are aborted in it.

    Parameters
    ----------
    target
        Where to: a folder, a URL, or the name of a block that has its credentials.
    """
    found, to = open_registry(registry), where(target)
    total = sum(t.bytes for t in found.catalog.totals(state=["READY", "DELETED", "ARCHIVED"], external=False))
    with progress("Copying", total) as moved:
        report = found.copy_to(to.url, storage_options=to.options, progress=moved)
    if json:
        write_json("copy/1", registry=found.url, target=without_credentials(to.url), report=report)
        return
    say(f"Copied {report.runs:,} run(s) with {report.files:,} file(s), {size(report.bytes)}, as {report.registry_id}.")
    if report.skipped:
        say(f"{report.skipped:,} file(s) were there already.")
    for run_id in report.unfinished:
        say(f"{run_id} was still going on: it is aborted in the copy.")
    say("Check it with `prefect-registry fsck --verify all --registry …`.")


GROUP = "Housekeeping"
COMMANDS = {"copy": copy}
