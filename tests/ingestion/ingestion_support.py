"""A clock that tests turn, and task managers that do as they are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect_registry import Registry
from prefect_registry.clock import SystemClock
from prefect_registry.ingestion import (
    Collection,
    Ingestion,
    Job,
    PlannedTask,
    Result,
    Status,
    Task,
    TaskManager,
    skip_if_not_started,
)

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


class Later(SystemClock):
    """The machine's clock, some hours on."""

    hours = 0

    def now(self) -> datetime:
        return super().now() + timedelta(hours=self.hours)


@dataclass
class Time:
    """What the tests say it is."""

    at: datetime = START

    def __call__(self) -> datetime:
        return self.at

    def pass_(self, **how: float) -> None:
        self.at += timedelta(**how)


@dataclass
class Stage:
    """What the managers of a test do, by the name of their task, and what was done to them."""

    runs: dict[str, Callable[[TaskManager], Any]] = field(default_factory=dict)
    tells: dict[str, Callable[[TaskManager], tuple[Status, str | None]]] = field(default_factory=dict)
    wipes: dict[str, Callable[[TaskManager], Any]] = field(default_factory=dict)
    started: dict[str, bool | None] = field(default_factory=dict)
    changed: Callable[[TaskManager], bool | None] = lambda manager: None
    calls: list[tuple[str, str]] = field(default_factory=list)
    keys: Counter[str] = field(default_factory=Counter)

    def manager(self, task: Task) -> TaskManager:
        return Played(task, self)

    def did(self, what: str) -> list[str]:
        return [name for verb, name in self.calls if verb == what]


class Played(TaskManager):
    """A remote task: instant, unless the stage says otherwise."""

    def __init__(self, task: Task, stage: Stage) -> None:
        super().__init__(task)
        self.stage = stage

    @property
    def final_output(self) -> bool:
        return self.task.name.startswith("final")

    def run(self) -> None:
        self.stage.calls.append(("run", self.task.name))
        self.stage.keys[self.task.key] += 1
        self.stage.runs.get(self.task.name, lambda manager: None)(self)

    def get_status(self) -> tuple[Status, str | None]:
        self.stage.calls.append(("status", self.task.name))
        return self.stage.tells.get(self.task.name, lambda manager: (Status.COMPLETED, None))(self)

    @skip_if_not_started
    def wipe(self) -> None:
        self.stage.calls.append(("wipe", self.task.name))
        self.stage.wipes.get(self.task.name, lambda manager: None)(self)

    def was_started(self, key: str) -> bool | None:
        return self.stage.started.get(self.task.name)

    def has_changed(self) -> bool | None:
        self.stage.calls.append(("changed", self.task.name))
        return self.stage.changed(self)


class Scene:
    """An ingestion of one publication, ``p``, whose tasks are ``played``."""

    def __init__(self, registry: Registry, plan: tuple[str, ...] = ("collect",), **fields: Any) -> None:
        self.registry, self.time, self.stage = registry, Time(), Stage()
        self.ingestion = Ingestion(registry, managers={"played": self.stage.manager}, now=self.time)
        entries = [PlannedTask(type="played", name=name) for name in plan]
        self.ingestion.put(Collection(**{"id": "p", "retrieval_frequency": "MONTHLY", "plan": entries, **fields}))

    @property
    def publication(self) -> Collection:
        return self.ingestion.publication("p")

    @property
    def jobs(self) -> list[Job]:
        return self.ingestion.jobs("p")[::-1]

    @property
    def job(self) -> Job:
        """The newest one."""
        return self.jobs[-1]

    def process(self, times: int = 1) -> Scene:
        for _ in range(times):
            self.ingestion.process(self.publication)
        return self

    def finish(self) -> Job:
        """Make one more job, and go on until it is complete."""
        self.process(len(self.publication.plan) + 1)
        assert self.job.status == Status.COMPLETED
        return self.job

    def add_job(self, number: int, days_ago: float | None = None, result: str = "OK", **fields: Any) -> Job:
        """A job of the past, as its cell; without ``days_ago``, one that is planned."""
        start = self.time.at - timedelta(days=days_ago) if days_ago is not None else None
        done = result in ("OK", "FAILED") and start is not None
        task = Task(id=f"p/{number}/1", job=f"p/{number}", type="played", name="collect", order=1, start=start)
        if done:
            task.complete(Result(result), self.time.at)
        values = {
            "start": start,
            "end": start if done else None,
            "status": "COMPLETED" if done else "PLANNED",
            **fields,
        }
        job = Job(id=f"p/{number}", collection="p", tasks=[task], **values)
        self.ingestion.shelf.save_job(job, self.time.at)
        return job
