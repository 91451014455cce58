"""Writes the reference pages that follow from the code, so that they cannot lie: ``python docs/generate.py``.

The tests run it and compare: a public name, task, block field, error kind, event, setting, command or option that is
missing in ``docs/reference`` fails them.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/generate.py from the code. Do not edit. -->\n"


def _doc(thing: Any) -> str:
    """The docstring as Markdown: roles become code, sections become bold words, examples become code blocks."""
    text = inspect.getdoc(thing) or ""
    text = re.sub(
        r":(?:class|meth|func|mod|attr|data):`~?([^`]+)`", lambda m: f"`{m.group(1).rpartition('.')[2]}`", text
    )
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    text = re.sub(r"^(Args|Raises|Returns|Attributes):$", r"**\1**\n", text, flags=re.M)
    text = re.sub(r"^    (\*{0,2}\w[\w., ]*): ", r"- `\1`: ", text, flags=re.M)
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
    try:
        signature = str(inspect.signature(thing))
    except (TypeError, ValueError):
        return name
    signature = re.sub(r"'([^']*)'", r"\1", signature.replace("self, ", "").replace("(self)", "()"))
    signature = re.sub(r"<object object at 0x[0-9a-f]+>", "UNSET", signature)
    return f"{name}{signature}"


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties, without the asynchronous twins."""
    for name, value in inspect.getmembers(cls):
        if name.startswith("_") or hasattr(value, "__wrapped_sync__"):
            continue
        if inspect.isfunction(value) or inspect.ismethod(value) or isinstance(value, property):
            yield name, value


def _class(cls: type, title: str = "") -> Iterator[str]:
    yield f"## {title or cls.__name__}\n\n{_doc(cls)}\n"
    if dataclasses.is_dataclass(cls):
        fields = [f.name for f in dataclasses.fields(cls) if not f.name.startswith("_") and f.name != "store"]
        yield "Fields: " + ", ".join(f"`{f}`" for f in fields) + ".\n"
    twins = {v.__wrapped_sync__.__name__ for _, v in inspect.getmembers(cls) if hasattr(v, "__wrapped_sync__")}
    for name, value in _members(cls):
        head = name if isinstance(value, property) else _signature(value, name)
        twin = f" Asynchronous: `a{name}`." if name in twins else ""
        yield f"### {name}\n\n```text\n{head}\n```\n\n{_doc(value)}{twin}\n"


def api() -> str:
    """Everything that ``prefect_registry`` exports, and what those things return."""
    import prefect_registry
    from prefect_registry.datasets.reading import Dataset
    from prefect_registry.datasets.revert import RevertReport
    from prefect_registry.datasets.tables import Table
    from prefect_registry.datasets.writing import DatasetWriter
    from prefect_registry.ledger.reaping import CollectReport, ReapReport
    from prefect_registry.records import Doc, DoctagsAsset
    from prefect_registry.registry import EventInfo, IncidentInfo, Run, RunInfo, Snapshot

    parts = [NOTE, "# API\n", "Every method that touches the store has an asynchronous twin with the prefix `a`.\n"]
    exported = ", ".join(f"`{n}`" for n in prefect_registry.__all__)
    parts.append(f"`prefect_registry` exports {exported}. The blocks have [a page of their own](blocks.md).\n")
    for name in ("registry_run", "current_run", "acurrent_run", "registry_sandbox"):
        thing = getattr(prefect_registry, name)
        parts.append(f"## {name}\n\n```text\n{_signature(thing, name)}\n```\n\n{_doc(thing)}\n")
    for cls in (prefect_registry.Registry, prefect_registry.RegistryProtocol, Run, DatasetWriter, Dataset, Table,
                Snapshot, RunInfo, EventInfo, IncidentInfo, ReapReport, CollectReport, RevertReport):  # fmt: skip
        parts += _class(cls)
    for model in (Doc, DoctagsAsset):
        fields = ", ".join(f"`{n}`" for n in model.model_fields)
        parts.append(f"## {model.__name__}\n\nFrom `prefect_registry.records`. {_doc(model)}\n\nFields: {fields}.\n")
    return "\n".join(parts)


def blocks() -> str:
    """Every block type with its fields."""
    import prefect_registry

    parts = [NOTE, "# Blocks\n", "Register the types once per Prefect server: `prefect block register -m "
             "prefect_registry.blocks`, or `prefect-registry init`. An empty field means \"not set\".\n"]  # fmt: skip
    for name in prefect_registry.__all__:
        cls = getattr(prefect_registry, name)
        if not name.endswith("Registry") or not hasattr(cls, "_block_type_slug"):
            continue
        parts.append(f"## {cls._block_type_name}\n\n`{name}`, slug `{cls._block_type_slug}`. {cls.get_description()}\n")
        parts.append(f"```python no-run\n{cls.get_code_example()}\n```\n")
        parts.append("| field | type | meaning |\n|---|---|---|")
        for field, info in cls.model_fields.items():
            kind = getattr(info.annotation, "__name__", str(info.annotation))
            needed = ", required" if info.is_required() else ""
            parts.append(f"| `{field}` | {kind}{needed} | {(info.description or '').replace('|', '/')} |")
        parts.append("")
    return "\n".join(parts)


def tasks() -> str:
    """Every task with its parameters."""
    import prefect

    import prefect_registry.tasks as module

    what = "From `prefect_registry.tasks`: the registry's operations as Prefect tasks. `registry=None` is that of the "
    what += "surrounding run, or the configured one; `run_id=None` the current run.\n"
    parts = [NOTE, "# Tasks\n", what]
    for name, task in sorted(vars(module).items()):
        if isinstance(task, prefect.Task):
            parts.append(f"## {name}\n\n```text\n{_signature(task.fn, name)}\n```\n\n{_doc(task.fn)}\n")
    return "\n".join(parts)


def events() -> str:
    """Every Prefect event that is emitted."""
    import prefect_registry.events as module

    parts = [NOTE, "# Events\n", f"{_doc(module)}\n", "| event | when |\n|---|---|"]
    when = {
        "RUN_COMMITTED": "a run was published",
        "RUN_ROLLED_BACK": "a run was rolled back: nothing of it is visible",
        "DATASET_COMMITTED": "a dataset became READY; payload: kind, dataset id, run id, rows, url",
        "INCIDENT_RAISED": "an incident was recorded",
    }
    for name, value in sorted(vars(module).items()):
        if isinstance(value, str) and value.startswith("prefect-registry."):
            parts.append(f"| `{value}` | {when[name]} |")
    parts.append(f"\nUp to {module.MOST_SINGLE} datasets of a run have an event each; of more, each kind has one.\n")
    parts.append("Use them in a trigger; see [schedule ingestion](../how-to/schedule-ingestion.md).\n")
    return "\n".join(parts)


def errors() -> str:
    """The tree of errors."""
    import prefect_registry.errors as module

    parts = [NOTE, "# Errors\n", "Each message says what happened, why, and what to do. `kind` is stable; "
             "`committed` is `yes`, `no` or `unknown` where it matters; `context` has ids.\n",
             "| error | kind | bases | meaning |", "|---|---|---|---|"]  # fmt: skip
    for name, cls in vars(module).items():
        if isinstance(cls, type) and issubclass(cls, module.RegistryError):
            bases = ", ".join(f"`{b.__name__}`" for b in cls.__bases__)
            parts.append(f"| `{name}` | `{cls.kind}` | {bases} | {' '.join(_doc(cls).split(chr(10))[0].split())} |")
    return "\n".join([*parts, ""])


def settings() -> str:
    """Every setting."""
    from prefect_registry.settings import PREFIX, SHORT_PREFIX, RegistrySettings

    parts = [NOTE, "# Settings\n", f"{_doc(RegistrySettings)}\n", "| setting | default | environment | meaning |",
             "|---|---|---|---|"]  # fmt: skip
    for name, info in RegistrySettings.model_fields.items():
        names = [f"{PREFIX}{name}".upper()]
        choices = [str(c) for c in getattr(info.validation_alias, "choices", [])]
        if any(c.startswith(SHORT_PREFIX.lower()) for c in choices):
            names.append(f"{SHORT_PREFIX}{name}".upper())
        default = info.default.get_secret_value() if hasattr(info.default, "get_secret_value") else info.default
        where = ", ".join(f"`{n}`" for n in names)
        parts.append(f"| `{name}` | `{default!r}` | {where} | {info.description} |")
    return "\n".join([*parts, ""])


def cli() -> str:
    """The help of every command, as a user sees it."""
    parts = [NOTE, "# Command line\n"]
    for command in ([], ["init"], ["doctor"]):
        words = " ".join(["prefect-registry", *command])
        environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100", "TERM": "dumb", "PYTHONUTF8": "1"}
        shown = subprocess.run(
            [sys.executable, "-m", "prefect_registry", *command, "--help"],
            capture_output=True, text=True, check=True, env=environment,
        ).stdout  # fmt: skip
        text = "\n".join(line.rstrip() for line in shown.strip("\n").split("\n"))
        parts.append(f"## {words}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


PAGES: dict[str, Callable[[], str]] = {
    f"{page.__name__}.md": page for page in (api, blocks, tasks, events, errors, settings, cli)
}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")
        print(f"docs/reference/{name}")


if __name__ == "__main__":
    main()
