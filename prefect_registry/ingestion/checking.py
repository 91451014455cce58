"""Whether the sources of a publication have changed, before there is a job."""

from __future__ import annotations

import logging

from prefect_registry.ingestion.managers import get_task_manager
from prefect_registry.ingestion.models import Job, Task

log = logging.getLogger("prefect_registry")


def is_unchanged(draft: Job, previous: Job) -> bool:
    """Whether a new job would publish what readers see of ``previous``: no task's source has changed, and at least one
    task says so.

    A task that cannot tell, because it depends on others only or its manager does not know, decides nothing, as long as
    the plan says of it what it said when ``previous`` was made. Whatever goes wrong counts as a change: the job will
    show it.
    """
    told = False
    for task in draft.tasks:
        try:
            changed = get_task_manager(task).has_changed()
        except Exception as error:
            log.warning("It cannot be told whether the source of %s has changed: %s", task.id, error)
            return False
        if changed or (changed is None and not _was_planned(task, previous)):
            return False
        told = told or changed is False
    return told


def _was_planned(task: Task, previous: Job) -> bool:
    return any((t.type, t.name, t.options) == (task.type, task.name, task.options) for t in previous.tasks)
