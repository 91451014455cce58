"""JSON schemas of OpenLineage events, made from the classes of the installed ``openlineage-python``.

Its classes are generated from the published schemas and name them by their URLs; which field is needed, of what type
and in what form is read from them. So an event is held against the very version of the client that wrote it.
"""

from __future__ import annotations

import importlib
import pkgutil
import types
import typing
from enum import Enum
from functools import cache
from typing import Any

import attr
from jsonschema import Draft202012Validator, FormatChecker
from openlineage.client import generated
from openlineage.client.generated import base
from referencing import Registry, Resource

FORMATS = {"runId": "uuid", "eventTime": "date-time", "nominalStartTime": "date-time", "nominalEndTime": "date-time"}
FORMATS |= dict.fromkeys(("producer", "schemaURL", "_producer", "_schemaURL", "url", "uri"), "uri-of-any-scheme")
JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}
CHECKER = FormatChecker(["uuid", "date-time"])
CHECKER.checks("uri-of-any-scheme")(
    lambda text: ":" in text and text.isascii() and not any(c in text for c in ' <>"{}|\\^`')
)


def modules() -> list[types.ModuleType]:
    """All modules of generated classes."""
    return [
        importlib.import_module(f"{generated.__name__}.{found.name}")
        for found in pkgutil.iter_modules(generated.__path__)
    ]


def classes(module: types.ModuleType) -> list[type]:
    return [each for each in vars(module).values() if attr.has(each) and each.__module__ == module.__name__]


def name_of(cls: type) -> str:
    return f"urn:class:{cls.__module__}.{cls.__qualname__}"


def schema_of(cls: type) -> dict[str, Any]:
    """Of one class: the fields without a default are needed, others may be there."""
    hints = typing.get_type_hints(cls)
    fields = attr.fields(cls)
    properties = {field.name: of_type(hints[field.name]) | of_format(field.name) for field in fields}
    always = {"producer", "schemaURL", "_producer", "_schemaURL"}
    needed = [field.name for field in fields if field.default is attr.NOTHING or field.name in always]
    open_to_more = issubclass(cls, base.BaseFacet)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": name_of(cls),
        "type": "object",
        "properties": properties,
        "required": needed,
        "additionalProperties": open_to_more,
    }


def of_format(name: str) -> dict[str, str]:
    return {"format": FORMATS[name]} if name in FORMATS else {}


def of_type(hint: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):  # what is None is left out of the JSON
        found = [of_type(each) for each in arguments if each is not type(None)]
        return found[0] if len(found) == 1 else {"anyOf": found}
    if origin is list:
        return {"type": "array", "items": of_type(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": of_type(arguments[1])}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [each.value for each in hint]}
    if attr.has(hint):
        return {"$ref": name_of(hint)}
    return {"type": JSON_TYPES[hint]} if hint in JSON_TYPES else {}


@cache
def schemas() -> tuple[Registry[Any], dict[str, str]]:
    """All schemas, and by the published URL of a facet the name of its own."""
    found = {cls: schema_of(cls) for module in modules() for cls in classes(module)}
    resources = [(schema["$id"], Resource.from_contents(schema)) for schema in found.values()]
    urls = {cls._get_schema(): name_of(cls) for cls in found if hasattr(cls, "_get_schema")}
    return Registry().with_resources(resources), urls


def validate(event: dict[str, Any]) -> list[str]:
    """Check a run event and every facet in it; return the keys of the facets.

    Raises:
        jsonschema.ValidationError: It is not such an event.
    """
    registry, urls = schemas()

    def check(value: Any, name: str) -> None:
        Draft202012Validator({"$ref": name}, registry=registry, format_checker=CHECKER).validate(value)

    check(event, urls[event["schemaURL"]])
    return list(_facets(event, lambda facet: check(facet, urls[facet["_schemaURL"]])))


def _facets(value: Any, check: typing.Callable[[Any], None]) -> typing.Iterator[str]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        if isinstance(inner, dict) and "_schemaURL" in inner:
            check(inner)
            assert key.lower().replace("_", "") in inner["_schemaURL"].lower(), "a facet stands under its own key"
            yield str(key)
        yield from _facets(inner, check)
