"""The questions of ``prefect-registry init``, asked and answered in a terminal (on stderr)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr
from rich.prompt import Confirm, Prompt

from prefect_registry.cli.output import talk
from prefect_registry.errors import ConfigurationError

if TYPE_CHECKING:
    from prefect_registry.blocks.base import RegistryBlock

KINDS = {
    "local": "a folder",
    "s3": "Amazon S3, MinIO, SeaweedFS, Ceph …",
    "gcs": "Google Cloud Storage",
    "azure": "Azure Blob Storage",
    "fsspec": "any other filesystem of fsspec",
}


def confirm(question: str) -> bool:
    """Yes or no; no by default."""
    return Confirm.ask(question, console=talk(), default=False)


def option(field: str) -> str:
    """A field as it is written on the command line."""
    return f"--{field.replace('_', '-')}"


def ask_for_block(kind: str | None, name: str | None, given: Mapping[str, str]) -> tuple[str, RegistryBlock]:
    """The name and the block that somebody describes. Asks again until the fields fit together."""
    from prefect_registry.blocks.environment import block_of, check_given
    from prefect_registry.resolve.lookup import registry_types

    console = talk()
    kind = kind or _kind()
    cls = registry_types()[f"data-registry-{kind}"]
    check_given(cls, given, option)  # what is wrong with an option is not asked for, so asking again is of no use
    if not name:
        question = "Name of the block (flows that name no registry use 'default')"
        name = str(Prompt.ask(question, console=console, default="default"))
    answers = dict(given)
    while True:
        for field in _fields(kind, answers):
            if field not in answers:
                answers[field] = _answer(cls, field)
        try:
            return name, block_of(cls, {field: text for field, text in answers.items() if text})
        except ConfigurationError as error:
            console.print(f"\n{error.what}", style="red", markup=False)
            console.print("Once more, please; what is in brackets is kept by pressing Enter.\n")
            answers = {**given, **_asked_again(cls, kind, answers)}


def _kind() -> str:
    console = talk()
    for kind, words in KINDS.items():
        console.print(f"  {kind:<7} {words}", markup=False)
    return Prompt.ask("Where shall the registry live?", console=console, choices=list(KINDS), default="local")


def _fields(kind: str, answers: Mapping[str, str]) -> Iterator[str]:
    """The fields that most people need, in order. Each is decided when it is its turn, by the answers so far."""
    if kind == "local":
        yield "path"
    elif kind == "s3":
        yield from ("bucket", "prefix", "endpoint_url")
        yield "path_style" if answers.get("endpoint_url") else "region"
        yield "access_key_id"
        yield "secret_access_key" if answers.get("access_key_id") else "credentials_block"
    elif kind == "gcs":
        yield from ("bucket", "prefix", "service_account_file")
        if not answers.get("service_account_file"):
            yield "credentials_block"
    elif kind == "azure":
        yield from ("container", "prefix", "account_name")
        yield "account_key" if answers.get("account_name") else "connection_string"
    else:
        yield from ("url", "storage_options", "secret_options")


def _asked_again(cls: type[RegistryBlock], kind: str, before: Mapping[str, str]) -> dict[str, str]:
    answers: dict[str, str] = {}
    for field in _fields(kind, answers):
        answers[field] = _answer(cls, field, before.get(field, ""))
    return answers


def _answer(cls: type[RegistryBlock], field: str, before: str = "") -> str:
    info = cls.model_fields[field]
    secret = info.annotation is SecretStr
    title = info.title or field.replace("_", " ").capitalize()
    console = talk()
    console.print(f"[dim]{info.description}[/]")
    if info.annotation is bool:
        return str(Confirm.ask(title, console=console, default=before == "True")).lower()
    default: Any = before if before and not secret else ""
    optional = "" if info.is_required() else " (Enter for none)" if not (before and not secret) else ""
    answer = Prompt.ask(
        f"{title}{optional}", console=console, password=secret, default=default, show_default=bool(default)
    )
    return (answer or "").strip()
