"""Writes the golden store of this release: ``python tests/compat/write_store.py VERSION``. Run once per release.

Every later release must read it (``test_compat.py``); what it must find is in ``expected.json`` beside the store.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pyarrow as pa

from prefect_registry.errors import RegistryError
from prefect_registry.registry import Registry


def write(folder: Path) -> dict[str, object]:
    """A registry with one of everything; what a reader must find in it."""
    registry = Registry(folder, heartbeats=False)
    with registry.run("nightly Ünïcode", "model", "r1", {"nested": {"list": [1, 2.5, None, "é"]}}) as run:
        with run.dataset("flights", tags={"source": "golden"}) as ds:
            ds.write_table(pa.table({"month": [1, 1, 2], "delay": [5, None, -3]}), partition_by="month")
        run.register_documents([{"id": "urn:doc:ONE", "title": "First", "authors": ["A", "B"]}, {"id": "urn:doc:two"}])
        run.register_doctags(
            [{"doc_id": "urn:doc:two", "doctags_uri": "x", "pages": 3, "vlm_model": "m", "vlm_revision": "1"}]
        )
        run.emit_event("Ingested", "flights", {"rows": 3})
        with registry.run("inner", parent=run.id) as inner, inner.dataset("inner") as ds, ds.open("a.txt", "w") as file:
            file.write("inner")
    with registry.run("more") as run, run.dataset("flights", mode="append", partition={"month": 3}) as ds:
        ds.write_table(pa.table({"month": [3], "delay": [9]}))
    with registry.run("bad") as bad, bad.dataset("flights") as ds:
        ds.write_table(pa.table({"month": [13], "delay": [99]}))
    registry.revert(bad.id, "a month too many")
    try:
        with registry.run("fails") as failed, failed.dataset("flights") as ds:
            ds.write_table(pa.table({"month": [14], "delay": [0]}))
            raise ValueError("on purpose")
    except (ValueError, RegistryError):
        pass
    registry.begin_attempt("attempt", flow_run="00000000-0000-0000-0000-000000000001")
    return found(registry)


def found(registry: Registry) -> dict[str, object]:
    """What a reader finds."""
    flights = registry.table("flights").to_table().select(["month", "delay"]).to_pylist()
    return {
        "registry_id": registry.registry_id,
        "flights": flights,
        "inner": [f.path for f in registry.latest("inner").files],
        "runs": sorted((r.purpose, r.state, r.model_id, dict(r.config)) for r in registry.runs() if not r.implicit),
        "datasets": sorted((d.kind, d.state, d.rows, d.id) for d in registry.datasets()),
        "documents": [d.model_dump() for d in registry.documents()],
        "doctags": [d.model_dump() for d in registry.doctags()],
        "events": [(e.event_name, e.subject_id) for e in registry.events(derived=False)],
        "incidents": [(i.event, i.error_class, i.message) for i in registry.incidents()],
    }


if __name__ == "__main__":
    target = Path(__file__).parent / sys.argv[1]
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    expected = write(target / "store")
    shutil.rmtree(target / "store" / ".tmp", ignore_errors=True)
    (target / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n", encoding="utf-8")
