"""``ProvClient``: every call of reference system 2, asynchronous; and ``ProvenanceClient``, the same without ``await``.

Each method is the synchronous one of :class:`~prefect_registry.provenance.service.Provenance` in a thread: no event
loop is blocked, nested or patched.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from prefect_registry.asynchronous import iterator_through, through
from prefect_registry.provenance.administering import ProvenanceAdmin
from prefect_registry.provenance.opening import opened
from prefect_registry.provenance.service import Provenance


class ProvenanceClient(Provenance):
    """Provenance in one registry.

    Args:
        registry: Its name (a block's), URL or folder, a block, or a ``Registry``.
        by: Who registers and changes; the user's login name, unless given.
    """

    def __init__(self, registry: Any = None, *, by: str | None = None) -> None:
        super().__init__(opened(registry), by=by)


class ProvAdminClient:
    """The asynchronous form of :class:`~prefect_registry.provenance.administering.ProvenanceAdmin`."""

    def __init__(self, provenance: Provenance) -> None:
        self.provenance_admin = provenance.admin

    def __repr__(self) -> str:
        return f"<ProvAdminClient of {self.provenance_admin!r}>"

    generate_config_file = through("provenance_admin", ProvenanceAdmin.generate_config_file)
    store_record = through("provenance_admin", ProvenanceAdmin.store_record)
    store_multiple_records = through("provenance_admin", ProvenanceAdmin.store_multiple_records)
    store_all_registry_records = through("provenance_admin", ProvenanceAdmin.store_all_registry_records)
    delete_model_run_provenance = through("provenance_admin", ProvenanceAdmin.delete_model_run_provenance)
    delete_model_run_provenance_and_registry = through(
        "provenance_admin", ProvenanceAdmin.delete_model_run_provenance_and_registry
    )


class ProvClient:
    """An asynchronous client of the provenance in one registry.

    ``items`` and ``model_runs`` are for ``async for``; everything else is awaited.

    Args:
        registry: Its name (a block's), URL or folder, a block, or a ``Registry``.
        by: Who registers and changes; the user's login name, unless given.

    >>> import asyncio
    >>> from prefect_registry import Registry
    >>> client = ProvClient(Registry("memory://docs-prov-client"))
    >>> asyncio.run(client.get_health_check()).message
    'Health check successful.'
    """

    def __init__(self, registry: Any = None, *, by: str | None = None) -> None:
        self.provenance = Provenance(opened(registry), by=by)

    def __repr__(self) -> str:
        return f"<ProvClient {self.provenance.registry.url}>"

    @cached_property
    def admin(self) -> ProvAdminClient:
        """Operations of administrators."""
        return ProvAdminClient(self.provenance)

    get_health_check = through("provenance", Provenance.get_health_check)
    check_access = through("provenance", Provenance.check_access)
    check_general_access = through("provenance", Provenance.check_general_access)
    check_read_access = through("provenance", Provenance.check_read_access)
    check_write_access = through("provenance", Provenance.check_write_access)
    check_admin_access = through("provenance", Provenance.check_admin_access)

    register_model_run = through("provenance", Provenance.register_model_run)
    register_batch_model_runs = through("provenance", Provenance.register_batch_model_runs)
    update_model_run = through("provenance", Provenance.update_model_run)
    post_update_model_run = through("provenance", Provenance.post_update_model_run)
    get_session = through("provenance", Provenance.get_session)
    batch_results = through("provenance", Provenance.batch_results)
    get_model_run = through("provenance", Provenance.get_model_run)
    model_run_history = through("provenance", Provenance.model_run_history)
    model_runs = iterator_through("provenance", Provenance.model_runs)

    explore_upstream = through("provenance", Provenance.explore_upstream)
    explore_downstream = through("provenance", Provenance.explore_downstream)
    get_contributing_datasets = through("provenance", Provenance.get_contributing_datasets)
    get_effected_datasets = through("provenance", Provenance.get_effected_datasets)
    get_affected_datasets = through("provenance", Provenance.get_effected_datasets)
    get_contributing_agents = through("provenance", Provenance.get_contributing_agents)
    get_effected_agents = through("provenance", Provenance.get_effected_agents)
    get_affected_agents = through("provenance", Provenance.get_effected_agents)

    generate_csv_template = through("provenance", Provenance.generate_csv_template)
    convert_model_runs = through("provenance", Provenance.convert_model_runs)
    convert_model_runs_to_csv = through("provenance", Provenance.convert_model_runs_to_csv)
    convert_csv_to_model_runs = through("provenance", Provenance.convert_csv_to_model_runs)
    convert_model_runs_to_csv_with_file = through("provenance", Provenance.convert_model_runs_to_csv_with_file)
    regenerate_csv_from_model_run_batch = through("provenance", Provenance.regenerate_csv_from_model_run_batch)

    register_item = through("provenance", Provenance.register_item)
    register_seed_item = through("provenance", Provenance.register_seed_item)
    get_item = through("provenance", Provenance.get_item)
    update_item = through("provenance", Provenance.update_item)
    delete_item = through("provenance", Provenance.delete_item)
    item_history = through("provenance", Provenance.item_history)
    items = iterator_through("provenance", Provenance.items)

    what_breaks = through("provenance", Provenance.what_breaks)
    where_from = through("provenance", Provenance.where_from)
    what_changed = through("provenance", Provenance.what_changed)
    reproduce = through("provenance", Provenance.reproduce)
    report = through("provenance", Provenance.report)
    generate_report = through("provenance", Provenance.generate_report)

    upstream = through("provenance", Provenance.upstream)
    downstream = through("provenance", Provenance.downstream)
    lineage = through("provenance", Provenance.lineage)
    contributing_datasets = through("provenance", Provenance.contributing_datasets)
    affected_datasets = through("provenance", Provenance.affected_datasets)
    contributing_agents = through("provenance", Provenance.contributing_agents)
    affected_agents = through("provenance", Provenance.affected_agents)

    picture = through("provenance", Provenance.picture)
    prov = through("provenance", Provenance.prov)
    openlineage = through("provenance", Provenance.openlineage)
    export = through("provenance", Provenance.export)
    import_prov = through("provenance", Provenance.import_prov)
    import_graph = through("provenance", Provenance.import_graph)
