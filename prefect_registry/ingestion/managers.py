"""Task managers: how a task is started, asked about and undone."""

from __future__ import annotations

import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from prefect_registry.ingestion.enums import Level, Status
from prefect_registry.ingestion.errors import ConfigurationError
from prefect_registry.ingestion.models import LONGEST_NOTE_CHARACTERS, MOST_NOTES, Collection, Job, Task, TaskNote

if TYPE_CHECKING:
    import httpx

    from prefect_registry.registry import Registry
    from prefect_registry.registry.handles import Run

M = TypeVar("M", bound="TaskManager")
log = logging.getLogger("prefect_registry")
ENTRY_POINTS = "prefect_registry.tasks"
"""The group under which packages register task managers."""


def skip_if_not_started(method: Callable[[M], None]) -> Callable[[M], None]:
    """Decorate a ``wipe()`` that has nothing to do before its task was started."""

    @functools.wraps(method)
    def wipe(self: M) -> None:
        if self.task.start is not None or self.task.claim is not None:
            method(self)

    return wipe


class TaskManager(ABC):
    """Starts one task, tells how it stands, and undoes it. Writes nothing of publication, job and task but the job's
    ``context``, counts and other metadata, and notes.

    ``__init__`` must not assume that earlier tasks succeeded: managers are also made to wipe.

    Attributes:
        remote: Whether the work goes on after :meth:`run` has returned, elsewhere. Otherwise :meth:`run` does all of
            it, and what it stages in :attr:`attempt` is kept when it returns and dropped when it raises.
    """

    remote = True

    def __init__(self, task: Task) -> None:
        self.task = task

    # -- what it works with --------------------------------------------------------------------------------------

    @property
    def collection(self) -> Collection:
        """The publication on which the task is performed."""
        return self.task.scope.collection

    @property
    def job(self) -> Job:
        """The job that the task belongs to."""
        return self.task.scope.job

    @property
    def options(self) -> Mapping[str, Any]:
        """What the plan says for this task."""
        return self.task.options

    @property
    def registry(self) -> Registry:
        """The registry of the publication."""
        return self.task.scope.ingestion.registry

    @property
    def attempt(self) -> Run:
        """The run in which this attempt stages what it makes: dropped if it fails, published with the job."""
        assert self.task.attempt is not None, "the task is not started"
        return self.registry.attach(self.task.attempt)

    @property
    def previous(self) -> Job | None:
        """The job that readers see now, if any: what it recorded tells whether the source has changed. The same object
        for all tasks of a job.
        """
        return self.task.scope.previous

    @property
    def job_url(self) -> str:
        """Where to look at the job: the page of the Prefect flow run that works on it, if that is known."""
        return self.job.flow_run

    # -- what a manager does -------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def final_output(self) -> bool:
        """Whether what the task makes is to stay. If not, :meth:`wipe` is called when the job is complete, unless it
        keeps all data.
        """

    @abstractmethod
    def run(self) -> None:
        """Start the task, once for each ``task.key``: a start under a key that was used before must do nothing.

        Raises:
            RecoverableError: It cannot be started now. It is tried again, under the same key.
        """

    @abstractmethod
    def get_status(self) -> tuple[Status, str | None]:
        """How the task stands, and why it failed if it did. Called only after :meth:`run`, and often: write metadata
        only when they are missing, or the task is complete.

        Raises:
            RecoverableError: It cannot be told now.
        """

    @abstractmethod
    def wipe(self) -> None:
        """Delete what the task has left behind, and stop it if it runs. May be called at any time, also before the
        task was started, and again after it has failed or succeeded.

        Raises:
            RecoverableError: It cannot be done now. It is tried again.
        """

    def was_started(self, key: str) -> bool | None:
        """Whether a start under ``key`` took place: asked when the process that made it died before it could say.

        None when that cannot be told: then the task counts as started and is never started twice.
        """
        return None

    def has_changed(self) -> bool | None:
        """Whether the source has changed since the job that readers see: asked of the tasks of a plan in their order,
        when the publication is due and before there is a job, until one says True, or raises: then the job is made.

        None: it has no source of its own, or cannot tell. When at least one says False and all others None, no job is
        made, and the publication counts as checked; what was written to the context of :attr:`previous` is then stored.
        """
        return None

    # -- help ----------------------------------------------------------------------------------------------------

    def note(self, level: Level | str, note: str, data: Mapping[str, Any] | None = None) -> None:
        """Add a note to the task. The same one again only raises its ``count``."""
        level, note = Level(level), note[:LONGEST_NOTE_CHARACTERS]
        for known in self.task.notes:
            if (known.level, known.note) == (level, note):
                known.data["count"] = int(known.data.get("count", 1)) + 1
                return
        if len(self.task.notes) < MOST_NOTES:
            self.task.notes.append(TaskNote(level=level, note=note, data=dict(data or {})))

    def progress(self, done: float) -> None:
        """Tell how much of the task is done, from 0 to 1. Call it as often as you like, in :meth:`run` or
        :meth:`get_status`; it is shown, not stored.
        """
        self.task.scope.ingestion.tell_progress(self.job, min(max(done, 0.0), 1.0))

    def request(
        self, method: str, url: str, *, error_message: str, timeout: float = 10, **kwargs: Any
    ) -> httpx.Response:
        """Send a request to an application (http or https), and return its answer: ``status_code``, ``headers``,
        ``content``, ``text``, ``json()``.

        Args:
            method: GET, HEAD, OPTIONS, POST, PUT, PATCH or DELETE.
            error_message: What could not be done, for the error.
            timeout: In seconds, to connect, and without a single byte of the answer. Never longer than five minutes in
                all.
            kwargs: As those of requests: ``params``, ``headers``, ``data`` (bytes, text, or fields of a form),
                ``json``, ``files``, ``cookies``, ``auth`` (user and password), ``allow_redirects`` (to the same scheme,
                host and port only). ``verify``, ``cert``, ``proxies``, ``stream`` and ``hooks`` are refused:
                certificates are always verified, proxies are those of the environment, an answer is read whole, up to
                16 MiB.

        Raises:
            RecoverableError: It cannot be reached, or answers with an error.
            UnexpectedError: It redirects to elsewhere, or answers with more than 16 MiB.
            ConfigurationError: The request cannot be made.
        """
        from prefect_registry.ingestion.http.calling import call

        return call(f"{type(self).__name__}: {error_message}", method, url, timeout, kwargs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.task.id}>"


Maker = Callable[[Task], TaskManager]

_BUILT_IN = {
    "callable": "prefect_registry.ingestion.callables:CallableTask",
    "deployment": "prefect_registry.publications.deployments:DeploymentTask",
    "http": "prefect_registry.ingestion.http.task:HttpTask",
    "export": "prefect_registry.ingestion.exporting.task:ExportTask",
}
_OPTIONS = {
    "http": "prefect_registry.ingestion.http.task:HttpOptions",
    "export": "prefect_registry.ingestion.exporting.task:ExportOptions",
}
TYPES_WITH_OPTIONS = frozenset(_OPTIONS)
"""Built-in types whose options are known without making a manager."""
_registered: dict[str, Maker] = {}
Options = TypeVar("Options", bound=BaseModel)


def register_task_manager(type_: str, maker: Maker) -> None:
    """Make tasks of a type known to this process. Packages do so by an entry point of ``prefect_registry.tasks``."""
    _registered[type_] = maker


def task_types() -> list[str]:
    """The types that have a task manager in this process, sorted."""
    return sorted({*_registered, *_BUILT_IN, *(e.name for e in entry_points(group=ENTRY_POINTS))})


def maker_of(type_: str) -> Maker | None:
    """What makes the managers of a type; None for one that is not known."""
    if type_ in _registered:
        return _registered[type_]
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name == type_:
            return entry.load()  # type: ignore[no-any-return]
    return _loaded(_BUILT_IN[type_]) if type_ in _BUILT_IN else None


def _loaded(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def options_model(type_: str) -> type[BaseModel] | None:
    """What the options of a built-in type must be like; None where only its manager knows."""
    if type_ not in _OPTIONS:
        return None
    return _loaded(_OPTIONS[type_])  # type: ignore[no-any-return]


def options_of(task: Task, model: type[Options]) -> Options:
    """The options of a task. Raises ``ConfigurationError`` with everything that is wrong with them."""
    try:
        return model.model_validate(task.options)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found]
        raise ConfigurationError(
            f"The options of task {task.id} are wrong", why="; ".join(problems)[:2_000], todo="Correct the plan"
        ) from error


def get_task_manager(task: Task) -> TaskManager:
    """The manager of a task. Raises ``ConfigurationError`` when its type has none, or its options are wrong."""
    maker = task.scope.ingestion.managers.get(task.type) or maker_of(task.type)
    if maker is None:
        raise ConfigurationError(
            f"Task {task.id} has the unknown type {task.type!r:.80}",
            why=f"There are {', '.join(sorted({*task_types(), *task.scope.ingestion.managers}))}",
            todo="Correct the plan, or register a task manager of that type",
        )
    return maker(task)


def is_final(task: Task, manager: TaskManager) -> bool:
    """Whether what a task makes stays: the plan decides, or else its manager."""
    return task.final_output if task.final_output is not None else manager.final_output
