"""What the credentials at hand may do with a store (``check_access`` of reference systems 1 and 2)."""

from __future__ import annotations

from collections.abc import Callable

from prefect_registry.errors import AccessDenied, NotFound, StorageError
from prefect_registry.ids import random_token
from prefect_registry.ledger import paths
from prefect_registry.storage.base import Storage


def check_access(storage: Storage) -> dict[str, bool]:
    """Try each right on its own: ``general`` (list), ``read``, ``write``, ``admin`` (delete).

    Writes one object of a few bytes under ``.probe/`` and deletes it again. Only a refusal counts as "no":
    a store that cannot be reached raises ``StorageUnavailable``.
    """
    key = f".probe/{random_token()}"
    general = _allowed(lambda: next(storage.list(paths.RUNS), None))
    read = _allowed(lambda: storage.get(paths.REGISTRY))
    write = _allowed(lambda: storage.put(key, b"access"))
    # Deleting what could not be written is allowed to everybody.
    return {
        "general": general,
        "read": read,
        "write": write,
        "admin": write and _allowed(lambda: storage.delete_many([key])),
    }


def _allowed(call: Callable[[], object]) -> bool:
    try:
        call()
    except AccessDenied:
        return False
    except NotFound:
        return True
    except StorageError as error:
        if type(error) is StorageError:
            return False
        raise
    return True
