"""What Prefect's server says of a flow run: a suspicion for the reaper, never a proof (DESIGN.md P7)."""

from __future__ import annotations

from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from prefect_registry.registry import Registry


def flow_run_has_ended(registry: Registry, run_id: str, flow_run: str | None) -> bool:
    """Whether the flow run that a run belongs to is over by Prefect's account, or unknown to it.

    False when Prefect cannot be asked: then the lease alone decides.
    """
    begin = registry.ledger.store.begin(run_id)
    wanted = flow_run or (str(begin.prefect.get("flow_run_id") or "") if begin is not None else "")
    try:
        identifier = UUID(wanted)
    except ValueError:
        return False
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(identifier).state
    except ObjectNotFound:
        return True
    except (httpx.HTTPError, PrefectHTTPStatusError, RuntimeError):
        return False
    return state is not None and state.is_final()
