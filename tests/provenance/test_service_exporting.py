"""Lineage both ways, drawn and exported by the service."""

from __future__ import annotations

import json
from typing import Any

import pytest
from service_support import Things, chain, opened

from prefect_registry.errors import InvalidInput, NotFound
from prefect_registry.provenance.graph import Graph
from prefect_registry.provenance.looking_up import Lookups
from prefect_registry.provenance.service import Provenance
from prefect_registry.provenance.standards.prov import from_prov_json


@pytest.fixture(scope="module")
def made() -> tuple[Provenance, list[str], list[str], Things]:
    """Three model runs in a chain."""
    provenance = Provenance(opened())
    return provenance, *chain(provenance, 3)


def test_both_ways_are_one_graph(made: Any) -> None:
    """Each node once, what was asked about first; also of what only others speak of."""
    provenance, ds, _, known = made
    both = provenance.lineage(ds[1])
    assert both == provenance.upstream(ds[1]) + provenance.downstream(ds[1])
    assert both.nodes[0].id == ds[1]
    assert provenance.lineage(ds[1], "upstream", 1) == provenance.upstream(ds[1], 1)
    record = known.record([ds[0]], [ds[1]])
    value = provenance.prepared(record, Lookups(provenance, None)).model_copy(
        update={"record": {**record.model_dump(mode="json"), "study_id": "study of others"}}
    )
    provenance.lodge(value, None)
    assert provenance.lineage("study of others").node("study of others").subtype == "STUDY"


def test_what_was_asked_about_stands_out_in_pictures(made: Any) -> None:
    """Unless something else is to; the other options are those of drawings."""
    provenance, ds, runs, _ = made
    assert provenance.picture(ds[1]) == provenance.lineage(ds[1], depth=5).to_mermaid(highlight=[ds[1]])
    drawn = provenance.picture(ds[1], format="svg", highlight=[runs[0]], max_nodes=3)
    assert drawn == provenance.lineage(ds[1], depth=5).to_svg(highlight=[runs[0]], max_nodes=3)


def test_exports_are_read_again(made: Any) -> None:
    """PROV-JSON and node-link JSON are the graph; OpenLineage is a line for each event."""
    provenance, ds, runs, _ = made
    graph = provenance.lineage(ds[1], "downstream", 2)
    assert from_prov_json(provenance.export(ds[1], "prov-json", "downstream", 2)) == graph
    assert Graph.from_node_link(json.loads(provenance.export(ds[1], "node-link", "downstream", 2))) == graph
    assert provenance.export(ds[1], "prov-n").startswith("document")
    assert "prov:used" in provenance.export(ds[1], "prov-o")
    assert len(provenance.export(runs[0], "openlineage").splitlines()) == 2


def test_wrong_words_are_refused(made: Any) -> None:
    """Before anything is read."""
    provenance, ds, *_ = made
    for call in (
        lambda: provenance.lineage(ds[0], "sideways"),
        lambda: provenance.picture(ds[0], format="png"),
        lambda: provenance.prov(ds[0], format="xml"),
        lambda: provenance.export(ds[0], "pdf"),
        lambda: provenance.picture(ds[0], max_nodes=0),
        lambda: provenance.picture(ds[0], depth=0),
    ):
        with pytest.raises(InvalidInput):
            call()
    with pytest.raises(NotFound):
        provenance.picture("nothing")
