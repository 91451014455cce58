"""The types of cells, which :attr:`~prefect_registry.records.cells.CellGeneration.type` names (DESIGN.md 3).

They stand by themselves, so that whoever only asks what a cell is imports none of the values that cells hold.
"""

from __future__ import annotations

from typing import Final

DOCUMENT: Final = "document"
DOCTAGS: Final = "doctags"
RECORD_TYPES: Final = (DOCUMENT, DOCTAGS)
"""The types of the cells that are documents and what was read in them, named by the document's id."""

OBJECT: Final = "object"
"""The type of the cells that are object versions, named ``name@version``."""
ALIAS: Final = "alias"
"""The type of the cells that are aliases of object versions, named ``name@alias``."""

MODEL: Final = "model"
MODEL_VERSION: Final = "model_version"
MODEL_ARTIFACT: Final = "model_artifact"
MODEL_LINK: Final = "model_link"
"""The type of the cells that link an artifact to a version, named ``<version>@<type>:<name>``: no version has two
artifacts of one type and name."""
MODEL_ALIAS: Final = "model_alias"
"""The type of the cells that are aliases of versions, named ``<model>@<alias>``."""
MODEL_EXTERNAL_ID: Final = "model_external_id"
"""The type of the cells that keep external ids unique, named ``context:<id>`` or ``artifact:<id>``."""
CELLS_OF_IDS: Final = {"model_": MODEL, "mv_": MODEL_VERSION, "art_": MODEL_ARTIFACT}
"""The types of cells of registered models, versions and artifacts, by what their ids begin with."""
ADDRESS_CHARACTERS: Final = 16
"""The end of such an id is the name of its cell (decision 0028)."""
MODEL_TYPES: Final = (MODEL, MODEL_VERSION, MODEL_ARTIFACT, MODEL_LINK, MODEL_ALIAS, MODEL_EXTERNAL_ID)

PROV_ITEM: Final = "prov_item"
"""The type of the cells that are studies, people, organisations, software, models and templates, named by their ids."""
MODEL_RUN: Final = "model_run"
"""The type of the cells that make a run a model run, named by the run's id."""
PROV_BATCH: Final = "prov_batch"
"""The type of the cells that are batches of model runs, named by their ids; rows that do not fit one document are in
``<id>.1``, ``<id>.2`` …"""
PROV_NODE: Final = "prov_node"
"""The type of the cells that are things of imported provenance: one for each thing and import, see
:func:`~prefect_registry.records.assertions.prov_node_name`."""
PROV_TYPES: Final = (PROV_ITEM, MODEL_RUN, PROV_BATCH, PROV_NODE)
