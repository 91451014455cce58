"""The words of provenance: relations of W3C PROV, and the categories and subtypes of items (reference system 2)."""

from __future__ import annotations

import re
from enum import StrEnum

from prefect_registry.errors import InvalidInput


class Relation(StrEnum):
    """How a thing depends on an earlier one, spelt as PROV-O spells it (https://www.w3.org/TR/prov-o/)."""

    USED = "used"
    """An activity used an entity."""
    WAS_GENERATED_BY = "wasGeneratedBy"
    """An entity was made by an activity."""
    WAS_INFORMED_BY = "wasInformedBy"
    """An activity belongs to, or builds on, another one: a model run and its study."""
    WAS_STARTED_BY = "wasStartedBy"
    """An activity was started by an entity."""
    WAS_ENDED_BY = "wasEndedBy"
    """An activity was ended by an entity."""
    WAS_INVALIDATED_BY = "wasInvalidatedBy"
    """An entity came to its end by an activity."""
    WAS_ASSOCIATED_WITH = "wasAssociatedWith"
    """An activity is an agent's responsibility."""
    WAS_ATTRIBUTED_TO = "wasAttributedTo"
    """An entity is an agent's work."""
    ACTED_ON_BEHALF_OF = "actedOnBehalfOf"
    """An agent acted for another one."""
    WAS_INFLUENCED_BY = "wasInfluencedBy"
    """Anything else: a dataset and its template."""
    WAS_DERIVED_FROM = "wasDerivedFrom"
    """An entity was made from another one."""
    WAS_REVISION_OF = "wasRevisionOf"
    """An entity is a later version of another one."""
    WAS_QUOTED_FROM = "wasQuotedFrom"
    """An entity repeats a part of another one."""
    HAD_PRIMARY_SOURCE = "hadPrimarySource"
    """An entity goes back to a first-hand one."""
    SPECIALIZATION_OF = "specializationOf"
    """An entity is a more specific form of another one."""
    ALTERNATE_OF = "alternateOf"
    """Two entities are forms of the same thing."""
    HAD_MEMBER = "hadMember"
    """A collection has an entity in it: a workflow template and its dataset templates."""
    HAD_PLAN = "hadPlan"
    """An activity followed an entity as its plan."""

    @classmethod
    def parse(cls, text: str) -> Relation:
        """The relation that ``text`` names: case, spaces, hyphens, underscores and a leading ``prov:`` do not matter.

        Raises:
            InvalidInput: No relation is called that.
        """
        found = _BY_LETTERS.get(_letters(text)) if isinstance(text, str) else None
        if found is None:
            problem = f"no relation is called {text!r:.60}; there are {', '.join(cls)}"
            raise InvalidInput.of("the relation", [problem])
        return found


def _letters(text: str) -> str:
    return re.sub(r"[\s_-]+", "", text).casefold().removeprefix("prov:")


_BY_LETTERS = {_letters(relation): relation for relation in Relation}


class ItemCategory(StrEnum):
    """The three kinds of things that PROV knows."""

    ACTIVITY = "ACTIVITY"
    AGENT = "AGENT"
    ENTITY = "ENTITY"


class ItemSubType(StrEnum):
    """What an item is. Each has one category: :data:`CATEGORY_OF`."""

    WORKFLOW_RUN = "WORKFLOW_RUN"
    MODEL_RUN = "MODEL_RUN"
    STUDY = "STUDY"
    CREATE = "CREATE"
    """The activity that registered an item."""
    VERSION = "VERSION"
    """The activity that made a new version of an item."""
    PERSON = "PERSON"
    ORGANISATION = "ORGANISATION"
    SOFTWARE = "SOFTWARE"
    MODEL = "MODEL"
    WORKFLOW_TEMPLATE = "WORKFLOW_TEMPLATE"
    MODEL_RUN_WORKFLOW_TEMPLATE = "MODEL_RUN_WORKFLOW_TEMPLATE"
    DATASET = "DATASET"
    DATASET_TEMPLATE = "DATASET_TEMPLATE"

    @property
    def words(self) -> str:
        """As people read it: ``Model run``."""
        return self.value.replace("_", " ").capitalize()


_ACTIVITIES = frozenset({"WORKFLOW_RUN", "MODEL_RUN", "STUDY", "CREATE", "VERSION"})
_AGENTS = frozenset({"PERSON", "ORGANISATION"})


def _category(subtype: ItemSubType) -> ItemCategory:
    if subtype in _ACTIVITIES:
        return ItemCategory.ACTIVITY
    return ItemCategory.AGENT if subtype in _AGENTS else ItemCategory.ENTITY


CATEGORY_OF = {subtype: _category(subtype) for subtype in ItemSubType}
"""The category of each subtype."""

RUNS = frozenset({ItemSubType.MODEL_RUN, ItemSubType.WORKFLOW_RUN})
"""The activities that use datasets and generate others."""
