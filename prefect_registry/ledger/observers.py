"""Who wants to know when something happens in this process: how the Prefect layer sees what the ledger does,
while nothing below it imports Prefect (DESIGN.md 7).
"""

from __future__ import annotations

from collections.abc import Callable

DatasetBegun = Callable[[str, str, str], None]
_dataset_begun: list[DatasetBegun] = []


def on_dataset_begun(observer: DatasetBegun) -> None:
    """Call ``observer(store_url, run_id, dataset_id)`` after each begin of a dataset. Once per observer."""
    if observer not in _dataset_begun:
        _dataset_begun.append(observer)


def dataset_begun(store_url: str, run_id: str, dataset_id: str) -> None:
    """Tell the observers."""
    for observer in _dataset_begun:
        observer(store_url, run_id, dataset_id)
