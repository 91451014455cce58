"""What a job of a publication does: its tasks, their order, and their limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

MOST_TASKS = 100
LONGEST_TIME_LIMIT_SECONDS = 366 * 86_400.0
DAY_SECONDS = 86_400.0


class PlannedTask(BaseModel):
    """One task of a plan.

    Attributes:
        type: Names the task manager (``callable``, ``deployment``, ``http``, ``export``, or one that was registered).
        name: How ``after`` refers to it; the type, unless given.
        after: Names of tasks that come before it. By default the plan's own order counts.
        options: What its manager needs.
        time_limit_seconds: How long it may run before it is wiped and started again; 0: for ever.
        max_attempts: How often a failure that is expected to pass is borne, and how often it is started again after
            its time limit; 0: without end.
        backoff_seconds: The wait after the first such failure. It doubles with each, up to an hour.
        final_output: Whether what it makes stays when the job is complete; by default its manager decides.
    """

    model_config = ConfigDict(extra="forbid")

    type: Annotated[str, Field(min_length=1, max_length=200)]
    name: Annotated[str, Field(max_length=200)] = ""
    after: list[str] = Field(default_factory=list, max_length=MOST_TASKS)
    options: dict[str, Any] = Field(default_factory=dict)
    time_limit_seconds: Annotated[float, Field(ge=0, le=LONGEST_TIME_LIMIT_SECONDS)] = DAY_SECONDS
    max_attempts: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    backoff_seconds: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    final_output: bool | None = None

    @property
    def label(self) -> str:
        """Its name in the plan."""
        return self.name or self.type


def in_order(plan: Sequence[PlannedTask]) -> list[PlannedTask]:
    """The plan, each task behind those that it names in ``after``; otherwise as it stands."""
    where = {task.label: i for i, task in enumerate(plan)}
    sorter = TopologicalSorter({i: [where[name] for name in task.after] for i, task in enumerate(plan)})
    sorter.prepare()
    ready, order = sorted(sorter.get_ready()), []
    while ready:
        i = ready.pop(0)
        order.append(plan[i])
        sorter.done(i)
        ready = sorted([*ready, *sorter.get_ready()])
    return order


def plan_problems(plan: Sequence[PlannedTask]) -> Mapping[int, str]:
    """What is wrong with a plan as a whole, by the position of the task: names that come twice or that there are not,
    and cycles.
    """
    problems: dict[int, str] = {}
    where: dict[str, int] = {}
    for i, task in enumerate(plan):
        if task.label in where:
            problems[i] = f"{task.label!r:.80} is the name of task {where[task.label] + 1} too; give each a name"
        where.setdefault(task.label, i)
    for i, task in enumerate(plan):
        unknown = [name for name in task.after if name not in where]
        if unknown:
            problems.setdefault(i, f"after: there is no task {unknown[0]!r:.80}; there are {', '.join(where)}"[:500])
    if problems:
        return problems
    try:
        in_order(plan)
    except CycleError as error:
        around = list(reversed(error.args[1]))
        problems[min(around)] = "after: the tasks wait for each other: " + " -> ".join(plan[i].label for i in around)
    return problems
