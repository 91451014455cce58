"""``ProvClient`` has every name of the reference document, and does what the synchronous methods do."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any

import pytest
from service_support import dataset, opened, things

from prefect_registry.errors import InvalidInput, NotFound
from prefect_registry.provenance.client import ProvAdminClient, ProvClient, ProvenanceClient
from prefect_registry.provenance.records import ItemModelRun, ProvAPIAdminEndpoints, ProvAPIEndpoints
from prefect_registry.provenance.service import Provenance

NONE = inspect.Parameter.empty
DOCUMENTED: dict[str, dict[str, Any]] = {
    "get_health_check": {},
    "post_update_model_run": {"model_run_id": NONE, "reason": NONE, "record": NONE},
    "update_model_run": {"model_run_id": NONE, "reason": NONE, "record": NONE},
    "explore_upstream": {"starting_id": NONE, "depth": 100},
    "explore_downstream": {"starting_id": NONE, "depth": 100},
    "get_contributing_datasets": {"starting_id": NONE, "depth": 100},
    "get_effected_datasets": {"starting_id": NONE, "depth": 100},
    "get_affected_datasets": {"starting_id": NONE, "depth": 100},
    "get_contributing_agents": {"starting_id": NONE, "depth": 100},
    "get_effected_agents": {"starting_id": NONE, "depth": 100},
    "get_affected_agents": {"starting_id": NONE, "depth": 100},
    "register_batch_model_runs": {"model_run_batch_payload": NONE},
    "register_model_run": {"model_run_payload": NONE},
    "get_session": {"session_id": NONE},
    "generate_csv_template": {"workflow_template_id": NONE, "file_path": None, "write_to_csv": False},
    "convert_model_runs": {"model_run_content": NONE},
    "convert_model_runs_to_csv": {"csv_file_contents": NONE},
    "convert_csv_to_model_runs": {"csv_file_contents": NONE},
    "convert_model_runs_to_csv_with_file": {"file_path": NONE},
    "regenerate_csv_from_model_run_batch": {"batch_id": NONE, "file_path": None, "write_to_csv": False},
    "check_general_access": {},
    "check_read_access": {},
    "check_write_access": {},
    "check_admin_access": {},
}
ADMIN: dict[str, dict[str, Any]] = {
    "generate_config_file": {"required_only": True, "file_path": None, "write_to_file": False},
    "store_record": {"registry_record": NONE, "validate_record": True},
    "store_multiple_records": {"registry_record": NONE, "validate_record": True},
    "store_all_registry_records": {"validate_record": True},
    "delete_model_run_provenance": {"model_run_id": NONE, "trial_mode": False},
    "delete_model_run_provenance_and_registry": {"model_run_id": NONE, "trial_mode": False},
}


@pytest.mark.parametrize(
    ("cls", "names"), [(ProvClient, DOCUMENTED), (ProvAdminClient, ADMIN)], ids=["everybody", "administrators"]
)
def test_every_documented_method_and_parameter_is_there(cls: type[Any], names: dict[str, dict[str, Any]]) -> None:
    """Each parameter in its place, with its default; further ones are by keyword and optional."""
    for name, expected in names.items():
        method = getattr(cls, name)
        assert inspect.iscoroutinefunction(method), name
        parameters = list(inspect.signature(method).parameters.values())[1:]
        positional = {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}
        assert positional == expected, name
        assert list(positional) == list(expected)
        assert all(p.default is not NONE for p in parameters if p.kind is p.KEYWORD_ONLY)
    assert len(ProvAPIEndpoints) == 18
    assert len(ProvAPIAdminEndpoints) == 6
    assert ProvAPIEndpoints("/model_run/register") is ProvAPIEndpoints.POST_MODEL_RUN_REGISTER


def test_a_whole_session_without_blocking(tmp_path: Path) -> None:
    """Register, look, change, ask, delete: awaited, several at once."""
    registry = opened()
    known, raw = things(Provenance(registry)), dataset(registry)
    client = ProvClient(registry, by="ada")

    async def work() -> None:
        assert (await client.get_health_check()).message == "Health check successful."
        assert [await getattr(client, f"check_{what}_access")() for what in ("general", "read", "write", "admin")] == [
            True
        ] * 4
        record = known.record([raw], [raw])
        answers = await asyncio.gather(*(client.register_model_run(record) for _ in range(4)))
        runs = [str(answer.session_id) for answer in answers]
        assert len(set(runs)) == 4
        with pytest.raises(InvalidInput):
            await client.post_update_model_run(runs[0], "", record)
        await client.post_update_model_run(runs[0], "why", known.record([raw], [raw], display_name="b"))
        batch = await client.register_batch_model_runs({"records": [record]})
        assert (await client.get_session(str(batch.session_id))).status == "SUCCEEDED"
        found = await client.explore_downstream(raw, 1)
        assert found.record_count == 6
        assert len((await client.get_effected_datasets(starting_id=raw)).graph or ()) == 5
        ids = [run.id async for run in client.model_runs()]
        assert ids == [run.id for run in client.provenance.model_runs()]
        assert set(runs) < set(ids)
        assert [p.id async for p in client.items("PERSON")] == [p.id for p in client.provenance.items("PERSON")]
        for name in ("upstream", "downstream", "contributing_datasets", "affected_datasets", "contributing_agents",
                     "affected_agents"):  # fmt: skip
            assert await getattr(client, name)(runs[0], 2) == getattr(client.provenance, name)(runs[0], 2)
        item = await client.get_model_run(runs[0])
        assert isinstance(item, ItemModelRun)
        rehearsed = await client.admin.delete_model_run_provenance(runs[0], trial_mode=True)
        assert (await client.admin.delete_model_run_provenance(model_run_id=runs[0])).diff == rehearsed.diff
        with pytest.raises(NotFound):
            await client.get_model_run(runs[0])
        assert (await client.admin.store_multiple_records([item, item])).status.success
        assert (await client.admin.store_all_registry_records()).status.success
        text = await client.admin.generate_config_file(False, tmp_path / "x.env", True)
        assert (tmp_path / "x.env").read_text() == text
        assert f"PREFECT_INTEGRATIONS_REGISTRY_URL={registry.url}" in text
        assert "# PREFECT_INTEGRATIONS_REGISTRY_LOOKUP_SECONDS=60.0" in text

    asyncio.run(work())
    assert not [f for f in registry.fsck().findings if f.severity != "note"]


def test_the_facade_opens_a_registry_by_its_url(tmp_path: Path) -> None:
    client = ProvenanceClient(str(tmp_path / "store"), by="ada")
    assert client.get_health_check().message == "Health check successful."
    assert client.admin.generate_config_file().count("\n\n") >= 3
    with pytest.raises(InvalidInput, match="written"):
        client.admin.generate_config_file(True, tmp_path / "x.env")
    with pytest.raises(InvalidInput, match="folder"):
        client.admin.generate_config_file(True, tmp_path / "no" / "x.env", True)
    for what in (client, client.admin, ProvClient(client.registry), ProvClient(client.registry).admin):
        assert client.registry.url in repr(what)


def test_records_of_nothing_are_not_lodged() -> None:
    registry = opened()
    provenance = Provenance(registry)
    known, raw = things(provenance), dataset(registry)
    record = known.record([raw], [raw])
    for id_ in (None, "x", "run_01h00000000000000000000000"):
        with pytest.raises((InvalidInput, NotFound)):
            provenance.admin.store_record(ItemModelRun(id=id_, display_name="x", record=record))
    with registry.run("plain") as run:
        pass
    item = ItemModelRun(id=run.id, display_name="x", record=known.record(["ds_no"], [raw]))
    with pytest.raises(InvalidInput, match="ds_no"):
        provenance.admin.store_record(item)
    assert provenance.admin.store_record(item, validate_record=False).status.success
    assert run.id in provenance.downstream("ds_no")
    with pytest.raises(InvalidInput, match="ds_no"):
        provenance.admin.store_all_registry_records()
    assert not [f for f in registry.fsck().findings if f.severity != "note"]
