"""The columns of a workflow template's table (reference system 2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prefect_registry.errors import InvalidInput
from prefect_registry.provenance.records.items import SeedItem
from prefect_registry.provenance.records.templates import DatasetTemplate, TemplateResource, WorkflowTemplate

MARKER = "_workflow template id "
DISPLAY_NAME = "display name"
DESCRIPTION = "description"
MODEL_VERSION = "model version (optional)"
AGENT = "agent id"
STUDY = "study id"
START = "execution start time (YYYY-MM-DD HH:MM:SS+HH:MM)"
END = "execution end time (YYYY-MM-DD HH:MM:SS+HH:MM)"
ANNOTATION = "annotation: "
ORGANISATION = "requesting organisation id"
"""Not in templates; where there is such a column it is read, and runs that have one are written with it."""
JOB_ID, JOB_STATUS, RUN_ID, ERROR = "_job_id", "_job_status", "_model_run_record_id", "_error_info"

GENERIC = (DISPLAY_NAME, DESCRIPTION, MODEL_VERSION, AGENT, STUDY, START, END)
STATUS = (JOB_ID, JOB_STATUS, RUN_ID, ERROR)

AnyDatasetTemplate = DatasetTemplate | SeedItem


@dataclass(frozen=True)
class Keyed:
    """A column for something that has a key: a resource, an annotation."""

    key: str
    header: str
    optional: bool


@dataclass(frozen=True)
class DatasetColumns:
    """The column for the id of a dataset that fulfils a template, and those for its resources."""

    template_id: str
    header: str
    optional: bool
    resources: tuple[Keyed, ...]


@dataclass(frozen=True)
class Columns:
    """All columns, by what they are for."""

    workflow_template_id: str
    inputs: tuple[DatasetColumns, ...]
    outputs: tuple[DatasetColumns, ...]
    annotations: tuple[Keyed, ...]

    def headers(self, more: Iterable[str] = ()) -> list[str]:
        """All headers in order; ``more`` come before those that tell what became of a run."""
        datasets = [h for d in (*self.inputs, *self.outputs) for h in (d.header, *(r.header for r in d.resources))]
        annotations = [each.header for each in self.annotations]
        return [MARKER + self.workflow_template_id, *GENERIC, *datasets, *annotations, *more, *STATUS]


def columns_of(workflow_template: WorkflowTemplate, dataset_templates: Mapping[str, AnyDatasetTemplate]) -> Columns:
    """The columns for runs of ``workflow_template``.

    A header that another column has already gets the id of its dataset template behind it. (The reference refuses two
    templates that have a key in common.)

    Args:
        workflow_template: Registered: it has an id.
        dataset_templates: Those that it names, by id.

    Raises:
        InvalidInput: With every dataset template that is not there, or a seed item.
    """
    if workflow_template.id is None:
        raise InvalidInput.of("the workflow template", ["it has no id: it is not registered"])
    _check(workflow_template, dataset_templates)
    taken: set[str] = set()

    def unique(header: str, template_id: str) -> str:
        while header in taken:
            header += f" [template id: {template_id}]"
        taken.add(header)
        return header

    def dataset(side: str, each: TemplateResource) -> DatasetColumns:
        template, id_ = dataset_templates[each.template_id], each.template_id
        assert isinstance(template, DatasetTemplate)
        header = unique(f"{side} dataset id for template: {template.display_name} [template id: {id_}]", id_)
        resources = [
            Keyed(r.key, unique(f"{side} resource: {r.key}", id_), bool(r.optional))
            for r in template.deferred_resources
        ]
        return DatasetColumns(id_, header, bool(each.optional), tuple(resources))

    annotations = workflow_template.annotations
    required, optional = (annotations.required, annotations.optional) if annotations else ([], [])
    return Columns(
        workflow_template.id,
        tuple(dataset("Input", each) for each in workflow_template.input_templates),
        tuple(dataset("Output", each) for each in workflow_template.output_templates),
        tuple(Keyed(k, ANNOTATION + k, k not in required) for k in (*required, *optional)),
    )


def _check(workflow_template: WorkflowTemplate, dataset_templates: Mapping[str, AnyDatasetTemplate]) -> None:
    problems = []
    for each in (*workflow_template.input_templates, *workflow_template.output_templates):
        template, what = dataset_templates.get(each.template_id), ""
        if template is None:
            what = f"contained a dataset template id {each.template_id} which was invalid."
        elif isinstance(template, SeedItem):
            what = f"contained a seeded dataset template with id {each.template_id}."
        if what:
            problems.append(f"The provided workflow template {what}")
    if problems:
        raise InvalidInput.of(f"workflow template {workflow_template.id}", dict.fromkeys(problems))
