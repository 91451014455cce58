"""Writes the reference pages that follow from the code, so that they cannot lie: ``python docs/generate.py``.

Each page begins with an introduction, which people write in the page itself; below a line that says so, all follows
from the code. The tests run this and compare: a public name, task, block field, error kind, event, setting, command or
option that is missing in ``docs/reference`` fails them.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import importlib
import inspect
import json
import os
import pkgutil
import re
import subprocess
import sys
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Below this line: written by docs/generate.py from the code. Do not edit. -->\n"
RULES = "../explanation/protocol.md#the-rules"
WIDEST = 100
NOT_FOR_USERS = {
    "DatasetWriter": {"closed", "opened", "store_file"},
    "Dataset": {"prefix"},
    "Registry": {"begin_attempt", "ledger"},
    "RetentionRule": {"as_value", "cell_type"},
    "Payload": {"changes"},
    "Version": {"next_major", "of_key"},
    "Collection": {"as_value", "gen"},
    "Job": {"as_value", "complete", "gen", "initiate"},
    "Task": {"as_value", "bind", "complete", "initiate", "progress"},
    "TaskNote": {"as_value"},
    "ExportOptions": {"target"},
    "HttpOptions": {"request"},
    "Provenance": {"begin_of", "is_model_run", "latest", "lodge", "lodge_begun", "now", "prepared", "run_of"}
    | {"standing", "status_of", "value_of"},
}
"""What has no underscore because other modules of the package call it, and is no promise to users."""
IMPORTED_BY_USERS = {"LedgerSettings"}
"""Classes whose objects users make themselves, and that ``prefect_registry`` does not export."""


class _Bare:
    """Text that a signature shows as it is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _doc(thing: Any) -> str:
    """The docstring as Markdown: roles become code, sections bold words, examples code blocks, rules links."""
    text = inspect.getdoc(thing) or ""
    text = re.sub(r":(?:class|meth|func|mod|attr|data):`~?(?:[a-z_]\w*\.)*([^`]+)`", r"`\1`", text)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    text = re.sub(
        r" ?\((?:DESIGN\.md [\d, ]+|SEEDS(?:\.md: [^)]*)?|reference system \d(?:, PV-\d+)?|PV-\d+)\)", "", text
    )
    text = re.sub(r"(?:DESIGN\.md )?\b(P\d{1,2})\b", rf"[\1]({RULES})", text)
    text = re.sub(r"^(Args|Raises|Returns|Yields|Attributes):$", r"**\1**\n", text, flags=re.M)
    text = re.sub(r"^    (\*{0,2}\w[\w., ]*): ", r"- `\1`: ", text, flags=re.M)
    text = re.sub(r"^ {8}(?=[^ >])", "  ", text, flags=re.M)
    lines, code = [], False
    for line in text.split("\n"):
        example = line.lstrip().startswith((">>>", "..."))
        if example and not code:
            lines += ["```pycon"]
            code = True
        elif code and not line.strip():
            lines += ["```"]
            code = False
        lines.append(line.replace("::", ":") if line.endswith("::") else line)
    return "\n".join([*lines, "```"] if code else lines)


def _signature(thing: Any, name: str) -> str:
    """How it is called, as one would write it; one parameter a line where it is long."""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return name
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    bare = inspect.Signature(
        [p.replace(annotation=_bare(p.annotation), default=_default(p.default)) for p in parameters],
        return_annotation=_bare(signature.return_annotation),
    )
    text = f"{name}{bare}"
    if len(text) <= WIDEST:
        return text
    rows = [str(inspect.Signature([p]))[1:-1] for p in bare.parameters.values()]
    kinds = [p.kind for p in bare.parameters.values()]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        rows = [row.removeprefix("*, ") for row in rows]
        rows.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    body = "".join(f"    {row},\n" for row in rows)
    returns = str(inspect.Signature(return_annotation=bare.return_annotation)).removeprefix("()")
    return f"{name}(\n{body}){returns}"


def _bare(annotation: Any) -> Any:
    return _Bare(annotation) if isinstance(annotation, str) else annotation


def _default(value: Any) -> Any:
    if isinstance(value, frozenset):
        return _Bare(f"{{{', '.join(sorted(map(str, value)))}}}")
    return _Bare("UNSET") if type(value) is object else value


def _field(field: dataclasses.Field[Any]) -> str:
    return f"`{field.name}: {field.type if isinstance(field.type, str) else field.type.__name__}`"


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties, without the asynchronous twins."""
    for name, value in inspect.getmembers(cls):
        if name.startswith("_") or hasattr(value, "__wrapped_sync__") or name in NOT_FOR_USERS.get(cls.__name__, ()):
            continue
        if inspect.isfunction(value) or inspect.ismethod(value) or isinstance(value, property):
            yield name, value


def _class(cls: type, where: str = "") -> Iterator[str]:
    where = f"From `{cls.__module__}`. " if cls.__name__ in IMPORTED_BY_USERS else where
    yield f"## {cls.__name__}\n\n{where}{_doc(cls)}\n"
    if dataclasses.is_dataclass(cls):
        shown = [f for f in dataclasses.fields(cls) if not f.name.startswith("_") and f.name not in ("store", "usage")]
        fields = [_field(f) for f in shown]
        yield "Fields: " + ", ".join(fields) + ".\n"
    if issubclass(cls, enum.Enum):
        yield "Values: " + ", ".join(f"`{member.value!r}`" for member in cls) + ".\n"
    twins = {v.__wrapped_sync__.__name__ for _, v in inspect.getmembers(cls) if hasattr(v, "__wrapped_sync__")}
    for name, value in _members(cls):
        head = name if isinstance(value, property) else _signature(value, name)
        twin = f"\n\nAsynchronous: `a{name}`." if name in twins else ""
        yield f"### {cls.__name__}.{name}\n\n```text\n{head}\n```\n\n{_doc(value)}{twin}\n"


def _model(cls: Any, where: str) -> Iterator[str]:
    """A pydantic model with its fields."""
    fields = ", ".join(f"`{name}`" for name in cls.model_fields)
    yield f"## {cls.__name__}\n\n{where}{_doc(cls)}\n\nFields: {fields}.\n"
    for name, value in _members(cls):
        ours = [base for base in cls.__mro__ if base.__module__.startswith("prefect_registry.")]
        if name != "model_post_init" and any(name in vars(base) for base in ours):
            head = name if isinstance(value, property) else _signature(value, name)
            yield f"### {cls.__name__}.{name}\n\n```text\n{head}\n```\n\n{_doc(value)}\n"


def _ingestion() -> Iterator[str]:
    """Everything that ``prefect_registry.ingestion`` exports."""
    import prefect_registry.ingestion as module

    where = "From `prefect_registry.ingestion`. "
    for name in module.__all__:
        thing = getattr(module, name)
        if getattr(thing, "__name__", name) != name:
            yield f"## {name}\n\n{where}Another name of `{thing.__name__}`.\n"
        elif isinstance(thing, type) and issubclass(thing, enum.Enum):
            yield f"## {name}\n\n{where}{_doc(thing)}\n\nValues: {', '.join(f'`{each.value}`' for each in thing)}.\n"
        elif isinstance(thing, type) and issubclass(thing, Exception):
            bases = ", ".join(f"`{base.__name__}`" for base in thing.__bases__)
            yield f"## {name}\n\n{where}{_doc(thing)} An error like {bases}.\n"
        elif hasattr(thing, "model_fields"):
            yield from _model(thing, where)
        elif isinstance(thing, type) and thing is not module.TaskManager and issubclass(thing, module.TaskManager):
            yield f"## {name}\n\n{where}{_doc(thing)} A [TaskManager](#taskmanager).\n"
        elif isinstance(thing, type):
            yield from _class(thing, where)
        elif inspect.isfunction(thing):
            yield f"## {name}\n\n```text\n{_signature(thing, name)}\n```\n\n{where}{_doc(thing)}\n"
        elif isinstance(thing, list):
            yield f"## {name}\n\n{where}{', '.join(f'`{each}`' for each in thing)}.\n"
        else:
            kinds = ", ".join(f"`{kind.__name__}`" for kind in typing.get_args(typing.get_args(thing)[0]))
            yield f"## {name}\n\n{where}One of {kinds}, told apart by `gate`.\n"


def api() -> Iterator[str]:
    """Everything that ``prefect_registry`` exports, and what those things return."""
    import prefect_registry
    from prefect_registry.catalog.catalog import Catalog
    from prefect_registry.catalog.fsck.report import Finding, FsckReport
    from prefect_registry.catalog.results import CellInfo, DatasetInfo, Edge, Page, Total
    from prefect_registry.catalog.retention import Released, ReleasedObject, ReleaseReport, RetentionRule
    from prefect_registry.catalog.sync import SyncReport
    from prefect_registry.datasets.reading import Dataset
    from prefect_registry.datasets.revert import RevertReport
    from prefect_registry.datasets.tables import Table
    from prefect_registry.datasets.writing import DatasetWriter
    from prefect_registry.ledger.closing import Closed
    from prefect_registry.ledger.reaping import CollectReport, ReapReport
    from prefect_registry.ledger.store import LedgerSettings
    from prefect_registry.records import Doc, DoctagsAsset
    from prefect_registry.records.datasets import FileEntry
    from prefect_registry.records.runs import Failure
    from prefect_registry.registry import EventInfo, IncidentInfo, Run, RunInfo, Snapshot
    from prefect_registry.registry.copying import CopyReport
    from prefect_registry.resolve import aresolve_registry, resolve_registry
    from prefect_registry.storage.probe import ProbeCheck, ProbeReport

    exported = ", ".join(f"`{n}`" for n in prefect_registry.__all__)
    yield f"`prefect_registry` exports {exported}.\n"
    functions = [getattr(prefect_registry, n) for n in ("registry_run", "current_run", "acurrent_run")]
    functions += [resolve_registry, aresolve_registry, prefect_registry.registry_sandbox]
    for thing in functions:
        name = thing.__name__
        where = "" if name in prefect_registry.__all__ else "From `prefect_registry.resolve`. "
        yield f"## {name}\n\n```text\n{_signature(thing, name)}\n```\n\n{where}{_doc(thing)}\n"
    for cls in (prefect_registry.Registry, prefect_registry.RegistryProtocol, Run, DatasetWriter, Dataset, Table,
                Snapshot, Catalog, Page, RunInfo, DatasetInfo, EventInfo, IncidentInfo, CellInfo, Total, Edge,
                SyncReport, Closed, ReapReport, CollectReport, RetentionRule, ReleaseReport, Released,
                ReleasedObject, RevertReport, CopyReport, FsckReport, Finding,
                ProbeReport, ProbeCheck, LedgerSettings):  # fmt: skip
        yield from _class(cls)
    yield from _of_objects()
    for model in (FileEntry, Failure, Doc, DoctagsAsset):
        yield from _model(model, "From `prefect_registry.records`. " if model in (Doc, DoctagsAsset) else "")
    yield from _ingestion()


def _of_objects() -> Iterator[str]:
    """What goes with versioned objects; errors have a page of their own."""
    import prefect_registry.objects as module

    names = ", ".join(f"`{n}`" for n in module.__all__)
    yield f"## prefect_registry.objects\n\n{_doc(module)}\n\nIt exports {names}.\n"
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isclass(thing) and not issubclass(thing, BaseException):
            yield from _class(thing, f"From `{module.__name__}`. ")
        elif inspect.isfunction(thing) and thing.__name__ != name:
            yield f"## {name}\n\nFrom `{module.__name__}`. Another name of `{thing.__name__}`.\n"
        elif inspect.isfunction(thing):
            where = f"From `{module.__name__}`. "
            yield f"## {name}\n\n```text\n{_signature(thing, name)}\n```\n\n{where}{_doc(thing)}\n"
        elif not inspect.isclass(thing):
            values = ", ".join(f"`{value!r}`" for value in thing.__args__)
            yield f"## {name}\n\nFrom `{module.__name__}`. One of {values}.\n"


def models() -> Iterator[str]:
    """What ``prefect_registry.models`` exports; errors have a page of their own."""
    import prefect_registry.models as module

    names = ", ".join(f"`{n}`" for n in module.__all__)
    yield f"`prefect_registry.models` exports {names}.\n"
    first = ["ModelRegistry", "ModelRegistryAPIClient"]
    for name in [*first, *(n for n in module.__all__ if n not in first)]:
        thing = getattr(module, name)
        if inspect.isclass(thing) and issubclass(thing, BaseException):
            continue
        if hasattr(thing, "model_fields"):
            yield from _model(thing, "")
        elif inspect.isclass(thing):
            yield from _class(thing)
            yield from _asynchronous(thing)
        elif inspect.isfunction(thing):
            yield f"## {name}\n\n```text\n{_signature(thing, name)}\n```\n\n{_doc(thing)}\n"
        else:
            yield f"## {name}\n\n`{thing!r}`, the only instance of its class. In an update: clear this field.\n"


def provenance() -> Iterator[str]:
    """What ``prefect_registry.provenance`` exports."""
    import prefect_registry.provenance as module

    yield f"`prefect_registry.provenance` exports {', '.join(f'`{n}`' for n in module.__all__)}.\n"
    first = ["ProvenanceClient", "Provenance", "ProvenanceAdmin", "ProvClient", "ProvAdminClient"]
    linked = [name for name in module.__all__ if hasattr(getattr(module, name), "model_fields")]
    of_clients = {
        module.ProvClient: module.Provenance,
        module.ProvAdminClient: module.ProvenanceAdmin,
    }
    for name in [*first, *(n for n in module.__all__ if n not in first)]:
        thing = getattr(module, name)
        if getattr(thing, "__name__", name) != name:
            yield f"## {name}\n\nAnother name of [{thing.__name__}](#{thing.__name__.lower()}).\n"
        elif thing is module.ProvenanceClient:
            yield f"## {name}\n\n{_doc(thing)}\n\nAll else is that of [Provenance](#provenance-1).\n"
        elif thing in of_clients:
            yield f"## {name}\n\n{_doc(thing)}\n\n{_same_names(thing, of_clients[thing])}\n"
        elif inspect.isclass(thing) and issubclass(thing, enum.Enum):
            yield f"## {name}\n\n{_doc(thing)}\n\nValues: {', '.join(f'`{each.value}`' for each in thing)}.\n"
        elif hasattr(thing, "model_fields"):
            yield f"## {name}\n\n{_doc(thing)}\n"
            yield from _fields(thing, {}, linked=linked)
        elif inspect.isfunction(thing):
            yield f"## {name}\n\n```text\n{_signature(thing, name)}\n```\n\n{_doc(thing)}\n"
        else:
            yield from _class(thing)


def _same_names(client: type, told: type) -> str:
    """The asynchronous methods of a client, each with a link to the synchronous one that it stands for."""
    found = []
    for name, value in inspect.getmembers(client):
        sync = getattr(value, "__wrapped_sync__", None)
        if sync is not None:
            found.append(f"[`{name}`](#{told.__name__.lower()}{sync.__name__})")
    return f"Asynchronous, and otherwise as in `{told.__name__}`: {', '.join(found)}."


def _asynchronous(cls: type) -> Iterator[str]:
    """The methods that are asynchronous forms of another class's, under the same names."""
    for name, value in inspect.getmembers(cls):
        told = getattr(value, "__wrapped_sync__", None)
        if told is not None and told.__name__ == name:
            yield f"### {cls.__name__}.{name}\n\n```text\nasync {_signature(told, name)}\n```\n\n{_doc(told)}\n"


def blocks() -> Iterator[str]:
    """Every block type with its fields."""
    import prefect_registry

    for name in prefect_registry.__all__:
        cls = getattr(prefect_registry, name)
        if not name.endswith("Registry") or not hasattr(cls, "_block_type_slug"):
            continue
        yield f"## {cls._block_type_name}\n\n`{name}`, slug `{cls._block_type_slug}`. {cls.get_description()}\n"
        yield cls.get_code_example().replace("```python", "\n```python no-run").strip() + "\n"
        yield "| field | type | meaning |\n|---|---|---|"
        for field, info in cls.model_fields.items():
            kind = getattr(info.annotation, "__name__", str(info.annotation))
            needed = ", required" if info.is_required() else ""
            yield f"| `{field}` | {kind}{needed} | {(info.description or '').replace('|', '/')} |"
        yield ""


def tasks() -> Iterator[str]:
    """Every task with its parameters."""
    import prefect

    import prefect_registry.tasks as module

    for name, task in sorted(vars(module).items()):
        if isinstance(task, prefect.Task):
            text = re.sub(r"See `Registry\.(\w+)`\.", r"See [`Registry.\1`](api.md#registry\1).", _doc(task.fn))
            text = re.sub(r"See\s`(ModelRegistry\w*)\.(\w+)`\.", _link_to_models, text)
            text = re.sub(r"[Ss]ee\s`Provenance\.(\w+)`\.", r"See [`Provenance.\1`](provenance.md#provenance\1).", text)
            yield f"## {name}\n\n```text\n{_signature(task.fn, name)}\n```\n\n{text}\n"


def _link_to_models(found: re.Match[str]) -> str:
    return f"See [`{found[1]}.{found[2]}`](models.md#{found[1].lower()}{found[2]})."


def events() -> Iterator[str]:
    """Every Prefect event that is emitted."""
    import prefect_registry.events.names as names
    from prefect_registry.events import MOST_SINGLE

    told = {
        "RUN_COMMITTED": ("a run was published", "run.<run id>",
                          "run_id, purpose, datasets (their number), objects (their number), "
                          "models (the number of versions registered), url"),
        "RUN_ROLLED_BACK": ("a run was rolled back", "run.<run id>",
                            "run_id, purpose, error_class, message, kind, url"),
        "DATASET_COMMITTED": ("a dataset became READY", "dataset.<kind>",
                              "kind, dataset_id, run_id, rows, bytes, mode, partition, url, registry"),
        "OBJECT_SAVED": ("a version of an object became visible", "object.<name>",
                         "name, version, class, size, run_id, url, registry"),
        "ALIAS_MOVED": ("an alias was moved or removed", "object.<name>",
                        "name, alias, version, run_id, url, registry"),
        "MODEL_REGISTERED": ("a version of a model was registered", "model.<name>",
                             "model, version, version_id, by, run_id, url, registry"),
        "MODEL_ALIAS_MOVED": ("an alias of a model was moved or removed", "model.<name>",
                              "model, alias, version, version_id, previous, by, run_id, url, registry"),
        "MODEL_ARCHIVED": ("a model, or a version, was archived", "model.<name>",
                           "model, version, version_id, by, run_id, url, registry"),
        "MODEL_RESTORED": ("a model, or a version, was restored", "model.<name>",
                           "model, version, version_id, by, run_id, url, registry"),
        "INCIDENT_RAISED": ("an incident was recorded", "incident.<incident id>",
                            "incident_id, event, error_class, message, run_id, url"),
    }  # fmt: skip
    yield "| event | when | resource id | payload |\n|---|---|---|---|"
    for name, value in sorted(vars(names).items()):
        if isinstance(value, str) and value.startswith("prefect-registry."):
            when, resource, payload = told[name]
            fields = re.sub(r"\b(\w+)(,|$| \()", r"`\1`\2", payload)
            yield f"| `{value}` | {when} | `prefect-registry.{resource}` | {fields} |"
    yield f"""
Up to {MOST_SINGLE} datasets of a run have an event each. Of more, each kind has one: `dataset_id` is null in it,
`datasets` is their number, `rows` and `bytes` are sums, and `url` is that of the registry.

In `prefect-registry.dataset.committed`, `url` is the dataset's folder, and `registry` is what the triggered flow passes
to `resolve_registry`: the saved block that the registry was opened from (`data-registry-s3/prod`), whose credentials it
needs; otherwise the URL of the registry, without credentials.

Up to {MOST_SINGLE} objects of a run have an event each. Of more, each folder of names (`team` of `team/model`)
has one: its resource id is `prefect-registry.object.team%2F`, `name`, `version` and `class` are null in it, `prefix` is
the folder, `objects` is their number, and `size` is a sum. If there are more than {MOST_SINGLE} folders, all
share one with an empty `prefix`. Deletions have no event.

In `prefect-registry.alias.moved`, `version` is where the alias points now; null: it was removed. The resource has the
label `prefect-registry.alias` with the alias, so that a trigger can match one of them. `run_id` is null for what was
moved, or saved as a small object, outside any run; `url` is that of the registry.

In the events of models, `version` is null for the model itself, and for an alias that was removed; `previous` is the
version that the alias pointed at before, null if at none; `by` is who did it. The resource has the labels
`prefect-registry.version` and, when an alias moved, `prefect-registry.alias`, so that a trigger can match `champion`
alone. Each tells how things are when the run is published: an alias that a run moves twice has one event, one that it
moves there and back has none. Up to {MOST_SINGLE} versions of a run have an event each. Of more, each model has one:
`version` is null in it, and `versions` is their number. Other changes, of a description, a property or a card, have no
event, and neither has a `revert`.

Nothing of a run that was rolled back is visible, except what `publish="on_commit"` had published by itself.
"""


def all_errors() -> dict[str, list[type]]:
    """Every error of the package, by the module that users import it from."""
    import prefect_registry
    from prefect_registry.errors import RegistryError

    # Materializers have no errors of their own, and import half of what there is for machine learning.
    left_out = ("prefect_registry.testing", "prefect_registry.objects.materializers.")
    for module in pkgutil.walk_packages(prefect_registry.__path__, "prefect_registry."):
        if not module.name.startswith(left_out) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: dict[str, list[type]] = {"prefect_registry.errors": []}
    todo = [RegistryError]
    while todo:
        cls = todo.pop(0)
        todo += cls.__subclasses__()
        if cls.__module__.partition(".")[0] == "prefect_registry" and not cls.__name__.startswith("_"):
            known = found.setdefault(_home(cls), [])
            known += [cls] if cls not in known else []
    own = list(vars(sys.modules["prefect_registry.errors"]).values())
    found["prefect_registry.errors"].sort(key=own.index)
    return {home: classes for home, classes in found.items() if classes}


def _home(cls: type) -> str:
    """The outermost module that has a class; ``errors`` for what is there."""
    parts = cls.__module__.split(".")
    names = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
    return next(name for name in names if getattr(sys.modules[name], cls.__name__, None) is cls)


def errors() -> Iterator[str]:
    """The tree of errors."""
    from prefect_registry.cli.output import EXIT_CODES, NOT_DONE

    for home, classes in sorted(
        all_errors().items(), key=lambda found: (found[0] != "prefect_registry.errors", found[0])
    ):
        if home != "prefect_registry.errors":
            yield f"Those of `{home}`:\n"
        yield "| error | kind | bases | meaning | what usually helps | exit code |\n|---|---|---|---|---|---|"
        for cls in classes:
            bases = ", ".join(f"`{b.__name__}`" for b in cls.__bases__)
            meaning = " ".join(_doc(cls).split("\n\n")[0].split())
            code = next((code for family, code in EXIT_CODES.items() if issubclass(cls, family)), NOT_DONE)
            yield f"| `{cls.__name__}` | `{cls.kind}` | {bases} | {meaning} | {cls.usual_todo}. | {code} |"
        yield ""


def settings() -> Iterator[str]:
    """Every setting."""
    from prefect_registry.settings import OPENLINEAGES_OWN, PREFIX, SHORT_PREFIX, RegistrySettings

    yield f"## The settings\n\n{_doc(RegistrySettings)}\n"
    yield "| setting | default | environment | meaning |\n|---|---|---|---|"
    for name, info in RegistrySettings.model_fields.items():
        names = [f"{PREFIX}{name}".upper()]
        choices = [str(c) for c in getattr(info.validation_alias, "choices", [])]
        if any(c.startswith(SHORT_PREFIX.lower()) for c in choices):
            names.append(f"{SHORT_PREFIX}{name}".upper())
        names += [name.upper()] if name in OPENLINEAGES_OWN else []
        default = info.default.get_secret_value() if hasattr(info.default, "get_secret_value") else info.default
        where = ", ".join(f"`{n}`" for n in names)
        yield f"| `{name}` | `{default!r}` | {where} | {info.description} |"
    yield ""


def cli() -> Iterator[str]:
    """The help of every command, as a user sees it."""
    program = (
        "from prefect_registry.cli.app import run; from prefect_registry.cli.commands import all_commands\n"
        "for name in ['', *sorted(name for name, _, _ in all_commands())]:\n"
        "    print(f'\\0{name}', flush=True)\n"
        "    run([*name.split(), '--help'])\n"
    )
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100", "TERM": "dumb", "PYTHONUTF8": "1"}
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    ).stdout
    for section in shown.split("\0")[1:]:
        name, _, help_text = section.partition("\n")
        text = "\n".join(line.rstrip() for line in help_text.strip("\n").split("\n"))
        yield f"## {f'prefect-registry {name}'.strip()}\n\n```text\n{text}\n```\n"


def fsck() -> Iterator[str]:
    """Every kind of finding."""
    from prefect_registry.catalog.fsck.report import KINDS

    yield "| finding | severity | meaning | what to do |\n|---|---|---|---|"
    for name, kind in KINDS.items():
        yield f"| `{name}` | {kind.severity} | {kind.meaning}. | {kind.todo}. |"
    yield ""


def publications() -> Iterator[str]:
    """Every field of ``publications.yaml``."""
    from prefect_registry.ingestion.callables import CallableTask
    from prefect_registry.ingestion.definitions import Definition
    from prefect_registry.ingestion.exporting.task import ExportOptions
    from prefect_registry.ingestion.gates import definitions as gates
    from prefect_registry.ingestion.http.request import Limits
    from prefect_registry.ingestion.http.task import HeaderSource, HttpOptions
    from prefect_registry.ingestion.http.unpacking import UnpackLimits
    from prefect_registry.ingestion.models import STATE, Collection
    from prefect_registry.ingestion.plans import PlannedTask
    from prefect_registry.publications import DeploymentTask

    yield "## A publication\n"
    yield from _fields(Definition, _told(Collection), STATE)
    yield "## A task of a plan\n"
    yield from _fields(PlannedTask, _told(PlannedTask))
    for title, model in (
        ("Options of `http`", HttpOptions),
        ("A header of `http`", HeaderSource),
        ("`limits` of `http`", Limits),
        ("`unpack` of `http`", UnpackLimits),
        ("Options of `export`", ExportOptions),
    ):
        yield f"## {title}\n"
        if not _told(model):
            yield f"{_doc(model)}\n"
        yield from _fields(model, _told(model))
    for title, manager in (("callable", CallableTask), ("deployment", DeploymentTask)):
        yield f"## Options of `{title}`\n\n{_doc(manager)}\n"
    yield "## Gates\n"
    for gate in (gates.RowsGate, gates.SchemaGate, gates.NullsGate, gates.UniqueGate, gates.RangeGate,
                 gates.FreshnessGate, gates.CustomGate):  # fmt: skip
        yield f"### {gate.model_fields['gate'].default}\n\n{_doc(gate)}\n"
        yield from _fields(gate, {}, frozenset({"gate"}))


SEE_BELOW = {
    "gates": "#gates",
    "plan": "#a-task-of-a-plan",
    "limits": "#limits-of-http",
    "unpack": "#unpack-of-http",
}


def _told(model: Any) -> dict[str, str]:
    """What the docstring of a class says of its fields."""
    section = re.search(r"^(?:Args|Attributes):\n(.*)", inspect.getdoc(model) or "", re.M | re.S)
    found = re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", f"{section[1]}\n" if section else "", re.M | re.S)
    return {name: _plain(text) for name, text in found}


def _plain(text: str) -> str:
    text = re.sub(r":(?:class|meth):`~?([^`]+)`", r"`\1`", " ".join(text.split()))
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def _fields(
    model: Any, told: dict[str, str], left_out: frozenset[str] = frozenset(), linked: Iterable[str] = ()
) -> Iterator[str]:
    """A table of the fields of a pydantic model: how each is written, its default, and what it means.

    Fields that are models named in ``linked`` lead to their headings.
    """
    schema = model.model_json_schema()
    known = {k: {"linked": k} if k in linked else v for k, v in schema.get("$defs", {}).items()}
    columns = ["field", "type", "default", "meaning"] if told else ["field", "type", "default"]
    yield f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"
    for name, field in schema["properties"].items():
        if name in left_out:
            continue
        default = "needed" if name in schema.get("required", ()) else ""
        if field.get("default") not in (None, "", [], {}) and not isinstance(field["default"], dict):
            default = f"`{json.dumps(field['default'])}`"
        meaning = told.get(name, "")
        if name in SEE_BELOW:
            meaning = f"{meaning} [More]({SEE_BELOW[name]})"
        cells = [f"`{name}`", _type(field, known), default, meaning]
        yield f"| {' | '.join(cells[: len(columns)])} |"
    yield ""


def _type(field: dict[str, Any], known: dict[str, Any]) -> str:
    """A type of a JSON schema in words."""
    if "$ref" in field:
        return _type(known[field["$ref"].rpartition("/")[2]], known)
    if "linked" in field:
        return f"[{field['linked']}](#{field['linked'].lower()})"
    if "oneOf" in field:
        return "gate"
    if "anyOf" in field:
        several = [_type(each, known) for each in field["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(t for t in several if t != '`""`'))
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {_type(field['items'], known)}" if "items" in field else "list"
    if field.get("type") == "object":
        more = field.get("additionalProperties")
        return f"mapping to {_type(more, known)}" if isinstance(more, dict) else "mapping"
    if field.get("type") == "string":
        return {"date": "date", "date-time": "time"}.get(field.get("format", ""), "text")
    return {"boolean": "true or false"}.get(str(field.get("type")), str(field.get("type", "any")))


def _whole(name: str, page: Callable[[], Iterable[str]]) -> str:
    """The introduction that the page has, and below it what follows from the code."""
    introduction = (REFERENCE / name).read_text("utf-8").partition(NOTE)[0].rstrip("\n")
    return "\n".join([f"{introduction}\n", NOTE, *page()])


PAGES: dict[str, Callable[[], str]] = {
    f"{page.__name__}.md": functools.partial(_whole, f"{page.__name__}.md", page)
    for page in (api, models, provenance, blocks, tasks, events, errors, settings, cli, fsck, publications)
}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")
        print(f"docs/reference/{name}")


if __name__ == "__main__":
    main()
