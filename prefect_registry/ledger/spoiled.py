"""What failed calls may have left staged in runs that go on: it is taken back before its run is committed (P10).

This process remembers it, as it does for what task attempts leave (``runs/attempts.py``): a store that does not answer
cannot be told either.
"""

from __future__ import annotations

from collections.abc import Callable

from prefect_registry.errors import InvalidState, RegistryError
from prefect_registry.locks import ForkSafeLock

_left: dict[str, dict[str, Callable[[], bool]]] = {}
_lock = ForkSafeLock()


def remember(run_id: str, staged: str, drop: Callable[[], bool]) -> None:
    """Call ``drop`` before the run is committed: it raises when it could not do it, and returns False when nothing is
    there (yet).
    """
    with _lock:
        _left.setdefault(run_id, {})[staged] = drop


def forget(run_id: str) -> None:
    """The run is decided."""
    with _lock:
        _left.pop(run_id, None)


def drop_again(run_id: str) -> RegistryError | None:
    """Try again to take back what is left in a run; why some of it is still there, None when it is not."""
    with _lock:
        left = dict(_left.get(run_id, {}))
    failed: RegistryError | None = None
    for staged, drop in left.items():
        try:
            if not drop():
                continue  # its request may still be on its way
        except InvalidState:  # the run is decided
            pass
        except RegistryError as error:
            failed = failed or error
            continue
        with _lock:
            _left.get(run_id, {}).pop(staged, None)
    return failed


def still_spoiled(run_id: str) -> InvalidState:
    """The refusal to go on with a run that holds what a failed call staged."""
    return InvalidState(
        f"Run {run_id} still holds what a failed call staged",
        why="The store did not answer when it was to be taken back",
        todo="Try again when the store answers, or roll the run back",
        committed="no",
        run_id=run_id,
    )
