"""``fsck`` as a whole: the walks in their order, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from prefect_registry.catalog.fsck.cells import check_cells
from prefect_registry.catalog.fsck.checkpoints import check_checkpoints
from prefect_registry.catalog.fsck.datasets import DatasetsCheck
from prefect_registry.catalog.fsck.files import DEFAULT_SAMPLE, Verification, Verify
from prefect_registry.catalog.fsck.folders import Folders
from prefect_registry.catalog.fsck.index import IndexCheck
from prefect_registry.catalog.fsck.look import Checked, Damage, Looked, Progress, tolerant
from prefect_registry.catalog.fsck.nesting import check_nesting
from prefect_registry.catalog.fsck.objects import ObjectsCheck
from prefect_registry.catalog.fsck.report import FsckReport
from prefect_registry.catalog.fsck.runs import RunCheck
from prefect_registry.catalog.fsck.walking import Home, again, check_root, homes
from prefect_registry.ledger import paths
from prefect_registry.ledger.store import Store
from prefect_registry.records.store import FORMAT, KNOWN_FEATURES, RegistryDocument

if TYPE_CHECKING:
    from prefect_registry.catalog.catalog import Catalog

MOST_RUNS, MOST_OBJECTS = 64, 4_000
"""How many runs are looked at at the same time, and how many objects they may have together."""

_ABOUT_BYTES = ("file-missing", "file-changed", "foreign-file")
"""What is wrong with bytes does not change what the index must say."""


def fsck(
    store: Store,
    registry_id: str,
    catalog: Catalog,
    *,
    verify: Verify = "sample",
    sample: int | float = DEFAULT_SAMPLE,
    repair: bool = False,
    progress: Progress | None = None,
) -> FsckReport:
    """Look at everything in a store; see ``Registry.fsck``."""
    checked = Checked(store, progress)
    verification = Verification(checked, verify, sample)
    try:
        _check_identity(checked, registry_id)
        check_root(checked)
        checked.stage("journal")
        for some in _together(homes(checked)):
            for looked in store.together([partial(_settled, checked, home) for home in some]):
                checked.take(looked)
                verification.offer(looked.files)
        check_cells(checked)
        check_nesting(checked)
        verification.finish()
        check_checkpoints(checked, registry_id, verification)
        mended = IndexCheck(checked, catalog, _walked_again(checked)).check(repair)
        return checked.findings.report(store.storage.url, checked.counts, mended)
    finally:
        checked.scratch.close()


def _together(found: Iterable[Home]) -> Iterator[list[Home]]:
    """Runs to be looked at at the same time: some small ones, or one that is large."""
    batch: list[Home] = []
    size = 0
    for home in found:
        batch.append(home)
        size += len(home.objects) + len(home.data)
        if len(batch) == MOST_RUNS or size >= MOST_OBJECTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _settled(checked: Checked, home: Home) -> Looked:
    """What there is to say of a run; looked at twice, where something may have been written meanwhile."""
    looked = look_at_run(checked, home)
    if not looked.is_fine:
        looked = _as_it_is(checked, home.run_id)
    looked.counts["runs"] += home.run_id.startswith("run_")
    return looked


def _as_it_is(checked: Checked, run_id: str) -> Looked:
    """What there is to say of a run now; nothing of one of which nothing is there: that is no damage to it."""
    home = again(checked, run_id)
    return look_at_run(checked, home) if home.objects or home.data else Looked()


def look_at_run(checked: Checked, home: Home) -> Looked:
    """Everything that can be said of one run by itself."""
    run = RunCheck(checked, home)

    def look() -> None:
        run.check()
        folders = Folders(run)
        DatasetsCheck(run, folders).check()
        ObjectsCheck(run, folders).check()
        folders.rest()

    failed = tolerant(look)
    if isinstance(failed, Damage):  # damage of a form that nobody has thought of
        known = run.ended or next(iter(home.objects.values()), None)
        run.looked.tell("document-damaged", paths.run_prefix(home.run_id), f"It cannot be checked: {failed.why}", known)
    if not run.is_whole or any(f.severity == "error" and f.kind not in _ABOUT_BYTES for f in run.looked.findings):
        run.looked.remember("skipped", home.run_id)
    return run.looked


def _walked_again(checked: Checked) -> Callable[[str], None]:
    def walk(run_id: str) -> None:
        looked = tolerant(lambda: _as_it_is(checked, run_id))
        if isinstance(looked, Looked):
            for table, rows in looked.remembered.items():
                checked.scratch.add(table, rows)

    return walk


def _check_identity(checked: Checked, registry_id: str) -> None:
    """``registry.json``, which makes the root a registry."""
    key = paths.REGISTRY
    info = tolerant(lambda: checked.storage.info(key))
    since = info.modified if info is not None and not isinstance(info, Damage) else None
    found = checked.document(key, RegistryDocument)
    if found is None:
        checked.tell("document-missing", key, "Nobody can open the registry without it", since)
    elif isinstance(found, Damage):
        checked.tell("document-damaged", key, found.why, since)
    elif found.format != FORMAT or set(found.features) - KNOWN_FEATURES:
        what = f"It has format {found.format} and features {found.features}, which this version does not know"
        checked.tell("document-damaged", key, what, since)
    elif found.registry_id != registry_id:
        checked.tell(
            "wrong-id", key, f"It says {found.registry_id:.80}, and was {registry_id} when it was opened", since
        )
