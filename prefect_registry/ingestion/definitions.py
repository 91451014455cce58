"""Publications as code: ``publications.yaml``, checked as a whole, with the line of everything that is wrong."""

from __future__ import annotations

from collections.abc import Collection as Several
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ConfigDict, ValidationError

from prefect_registry.errors import InvalidInput
from prefect_registry.ingestion.enums import RetrievalFrequency
from prefect_registry.ingestion.managers import TYPES_WITH_OPTIONS, options_model
from prefect_registry.ingestion.models import STATE, Collection
from prefect_registry.ingestion.periods import placeholders_in
from prefect_registry.ingestion.plans import PlannedTask, plan_problems
from prefect_registry.names import name_problems

MOST_BYTES = 4 << 20
MOST_PUBLICATIONS = 10_000
VERSION = 1
_TOP = ("version", "defaults", "publications")
Path = tuple[str | int, ...]


class Definition(Collection):
    """A publication as it is defined: nothing that jobs write, and no field that there is not."""

    model_config = ConfigDict(extra="forbid")


@dataclass
class Document:
    """A YAML document: its values, and the line (from 1) of each by its path."""

    name: str
    value: Any
    lines: Mapping[Path, int]
    problems: list[tuple[int, str]]

    def line_of(self, path: Path) -> int:
        """The line of a value; of the nearest one around it, if it is not there."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)

    def add(self, path: Path, problem: str) -> None:
        """Note what is wrong with the value at ``path``."""
        where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")
        self.problems.append((self.line_of(path), f"{where}: {problem}" if where else problem))

    def refuse(self) -> None:
        """Raise ``InvalidInput`` with every problem, by line, if there is any."""
        if self.problems:
            found = [f"{self.name}:{line}: {problem}" for line, problem in sorted(self.problems)]
            raise InvalidInput.of(self.name, found, todo="Nothing was changed; correct the file and apply it again")


def load_definitions(text: str | bytes, name: str = "publications.yaml", types: Several[str] = ()) -> list[Collection]:
    """The publications that a file defines, in its order. ``defaults`` hold for every publication that does not say
    otherwise.

    Args:
        name: What the file is called in messages.
        types: The task types that there are; none are checked when empty.

    Raises:
        InvalidInput: ``problems`` has everything that is wrong, each as ``name:line: path: what``.
    """
    document = _parsed(text, name)
    document.refuse()
    top = document.value
    for key in top if isinstance(top, dict) else ():
        if key not in _TOP:
            document.add((key,), f"there is no such key; there are {', '.join(_TOP)}")
    if not isinstance(top, dict) or not isinstance(top.get("publications"), list):
        document.add(("publications",), "a list of publications is needed")
        document.refuse()
    if top.get("version", VERSION) != VERSION:
        document.add(("version",), f"this release reads version {VERSION}, not {top['version']!r:.20}")
    defaults = top.get("defaults") or {}
    if not isinstance(defaults, dict):
        document.add(("defaults",), "a mapping is needed")
        defaults = {}
    if len(top["publications"]) > MOST_PUBLICATIONS:
        document.add(("publications",), f"at most {MOST_PUBLICATIONS:,} publications")
        document.refuse()
    found: list[Collection] = []
    lines: dict[str, int] = {}
    for i, value in enumerate(top["publications"]):
        made = _definition(document, ("publications", i), value, defaults)
        if made is None:
            continue
        _check(document, ("publications", i), made, types)
        line = document.line_of(("publications", i, "id"))
        if made.id in lines:
            document.add(("publications", i, "id"), f"{made.id!r:.80} is defined in line {lines[made.id]} already")
        lines.setdefault(made.id, line)
        found.append(made)
    document.refuse()
    return found


def _definition(document: Document, path: Path, value: Any, defaults: Mapping[str, Any]) -> Definition | None:
    if not isinstance(value, dict):
        document.add(path, "a mapping is needed")
        return None
    for key in STATE & set(value):
        document.add((*path, key), "this is what jobs write; leave it out")
    try:
        return Definition.model_validate({**defaults, **value})
    except ValidationError as error:
        # Of a field that takes one of several types there is an error for each: the longest one says most.
        found = error.errors(include_url=False, include_input=False)
        wrong = {_path_of(e["loc"]): e for e in sorted(found, key=lambda e: len(e["msg"]))}
        for inner, each in wrong.items():
            here = bool(inner) and inner[0] not in value and inner[0] in defaults
            document.add(("defaults", *inner) if here else (*path, *inner), _words(each["msg"], each["type"]))
        return None


def _path_of(loc: Path) -> Path:
    return tuple(p for p in loc if not (isinstance(p, str) and p.startswith(("literal[", "str-enum"))))


def _words(message: str, kind: str) -> str:
    if kind == "extra_forbidden":
        return "there is no such field"
    return message[:1].lower() + message[1:]


def _check(document: Document, path: Path, made: Definition, types: Several[str]) -> None:
    for problem in name_problems(made.id, "id"):
        document.add((*path, "id"), problem)
    if "/" in made.id:
        document.add((*path, "id"), "an id has no slash")
    plan = (*path, "plan") if (*path, "plan") in document.lines else ("defaults", "plan")
    if not made.plan and not made.no_data_rationale:
        document.add((*path, "plan"), "a plan of at least one task is needed, or a no_data_rationale")
    for i, problem in plan_problems(made.plan).items():
        document.add((*plan, i), problem)
    for i, task in enumerate(made.plan):
        needed = sorted(_unanswered(made, task))
        if needed:
            problem = f"{', '.join(needed)} is known only of jobs that are made for a period: leave out the frequency"
            document.add((*plan, i, "options"), problem)
        if types and task.type not in types:
            document.add((*plan, i, "type"), f"unknown task type {task.type!r:.80}; there are {', '.join(types)}")
        model = options_model(task.type)
        if model is not None:
            try:
                model.model_validate(task.options)
            except ValidationError as error:
                for each in error.errors(include_url=False, include_input=False):
                    document.add((*plan, i, "options", *each["loc"]), _words(each["msg"], each["type"]))


def _unanswered(made: Definition, task: PlannedTask) -> set[str]:
    """Placeholders in a task's options that jobs on a schedule have no answer to."""
    if made.retrieval_frequency in ("", RetrievalFrequency.NEVER):
        return set()
    known = {"{date_from}": made.date_from, "{date_to}": made.date_to}
    return {placeholder for placeholder in placeholders_in(task.options) if known.get(placeholder) is None}


def _options_of(type_: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """What the options of tasks of a type are like, for a schema whose ``definitions`` get their parts."""
    model = options_model(type_)
    assert model is not None
    schema = model.model_json_schema()
    definitions |= schema.pop("$defs", {})
    definitions[model.__name__] = schema
    then = {"properties": {"options": {"$ref": f"#/$defs/{model.__name__}"}}, "required": ["options"]}
    return {"if": {"properties": {"type": {"const": type_}}}, "then": then}


# -- YAML with lines -------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """Dates stay texts: fields say what they are."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _parsed(text: str | bytes, name: str) -> Document:
    document = Document(name, None, {}, [])
    if len(text) > MOST_BYTES:
        document.add((), f"the file has {len(text):,} bytes; at most {MOST_BYTES:,} are read")
        return document
    try:
        aliases = [e for e in yaml.parse(text, _Loader) if isinstance(e, yaml.AliasEvent)]
        if aliases:  # a few of them can mean terabytes
            mark: Any = aliases[0].start_mark
            document.problems.append((mark.line + 1, "aliases (*name) are not read; put what is common into defaults"))
            return document
        node = yaml.compose(text, _Loader)
        if node is None:
            document.add((), "the file is empty")
            return document
        document.lines = dict(_lines(node, (), document))
        document.value = _Loader(b"").construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.problems.append((mark.line + 1 if mark is not None else 1, error.problem or "it is no YAML"))
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError) as error:
        document.add(
            (), f"it cannot be read as YAML: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        )
    return document


def _lines(node: yaml.Node, path: Path, document: Document) -> Iterator[tuple[Path, int]]:
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            yield from _lines(item, (*path, i), document)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, item in node.value:
            name = str(key.value)
            if name in seen:
                document.problems.append((key.start_mark.line + 1, f"{name!r:.80} stands here a second time"))
            seen.add(name)
            yield (*path, name), key.start_mark.line + 1
            for inner, line in _lines(item, (*path, name), document):
                if inner != (*path, name):
                    yield inner, line


# -- for editors ---------------------------------------------------------------------------------------------------


def json_schema(types: Sequence[str] = ()) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of ``publications.yaml``, for editors."""
    schema = Definition.model_json_schema()
    definitions = schema.pop("$defs", {})
    properties = {name: value for name, value in schema["properties"].items() if name not in STATE}
    if types:
        definitions[PlannedTask.__name__]["properties"]["type"]["examples"] = list(types)
    definitions[PlannedTask.__name__]["allOf"] = [
        _options_of(type_, definitions) for type_ in sorted(TYPES_WITH_OPTIONS)
    ]
    publication = {"type": "object", "additionalProperties": False, "properties": properties, "required": ["id"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "publications.yaml",
        "type": "object",
        "additionalProperties": False,
        "required": ["publications"],
        "properties": {
            "version": {"const": VERSION},
            "defaults": {**publication, "required": []},
            "publications": {"type": "array", "maxItems": MOST_PUBLICATIONS, "items": publication},
        },
        "$defs": definitions,
    }
