"""The manifests of checkpoints in the store: which there are, and what they say."""

from __future__ import annotations

from prefect_registry.ledger import paths
from prefect_registry.ledger.store import Store
from prefect_registry.records.checkpoints import Checkpoint
from prefect_registry.records.store import RegistryDocument

CHECKPOINTS = "catalog/checkpoints/"
TABLES = "catalog/tables/"
KEPT = 2
"""How many of the newest checkpoints stay: whoever loads the older one has until the next to finish."""


def manifest_key(generation: int) -> str:
    """The key of a checkpoint's manifest."""
    return f"{CHECKPOINTS}{paths.gen_name(generation)}.json"


def table_key(name: str, table: str) -> str:
    """The key of a table in the part, or rest, of that name."""
    return f"{TABLES}{name}/{table}.parquet"


def generation_of_name(name: str) -> int:
    """For which generation the tables of that name were written; -1 for what is none of ours."""
    number, dash, _ = name.partition("-")
    return int(number) if dash and len(number) == 10 and number.isascii() and number.isdigit() else -1


def generations(store: Store) -> list[int]:
    """The checkpoints that there are, oldest first. One LIST."""
    return [paths.gen_of_key(key) for key in paths.generations(store.storage.list(CHECKPOINTS))]


def read_checkpoint(store: Store, generation: int) -> Checkpoint:
    """One manifest. Raises ``NotFound``, ``FormatError``."""
    key = manifest_key(generation)
    return Checkpoint.decode(store.storage.get(key), key)


def registry_id(store: Store) -> str:
    """The registry that lies here now: its root may once have been that of another one."""
    return store.read(paths.REGISTRY, RegistryDocument).registry_id
