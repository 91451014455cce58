"""``prefect-registry init``: from nothing to a registry that a flow can use."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from prefect_registry.cli.output import talk, write, write_json
from prefect_registry.errors import AlreadyExists, ConfigurationError, InvalidInput

if TYPE_CHECKING:
    from prefect_registry.blocks.base import RegistryBlock
    from prefect_registry.storage.probe import ProbeReport

Kind = Literal["local", "s3", "gcs", "azure", "fsspec"]
Flag = Annotated[bool, Parameter(negative="")]


def init(
    kind: Kind | None = None,
    /,
    *,
    name: str | None = None,
    replace: Flag = False,
    no_check: Flag = False,
    no_input: Flag = False,
    version_objects: Flag = False,
    mutable_objects: Flag = False,
    json: Flag = False,
    **settings: str,
) -> int:
    """Configure a registry: ask for its store, try it, save it as a block in Prefect, and print a flow that works.

    With a terminal it asks for what is missing. Without one, or with --no-input, everything comes from options, which
    are named after the fields of the block; a field that is not given is taken from the environment:

    $ prefect-registry init s3 --bucket my-bucket --prefix team --endpoint-url https://minio.example.com

    reads the keys from REGISTRY_S3_ACCESS_KEY_ID and REGISTRY_S3_SECRET_ACCESS_KEY. Give no secret as an option: other
    users of the machine would see it. The flow goes to stdout, all talk to stderr:

    $ prefect-registry init local --path ~/registry > flow.py && python flow.py

    Parameters
    ----------
    kind
        Kind of storage.
    name
        Name of the block. A block named "default" is what flows use that name no registry. [default: default]
    replace
        Replace a block of that name.
    no_check
        Save the block without trying the store.
    no_input
        Ask nothing.
    version_objects
        Keep every version of saved objects, instead of one of each.
    mutable_objects
        Let saved objects be overwritten.
    json
        Write one JSON document to stdout. Asks nothing.
    settings
        A field of the block, such as --bucket, --endpoint-url, --path-style true.
    """
    from prefect_registry.cli.asking import ask_for_block, confirm

    asks = not (no_input or json) and sys.stdin.isatty()
    given = {option.replace("-", "_"): value for option, value in settings.items()}
    of_objects = {"version_objects": version_objects, "mutable_objects": mutable_objects}
    given |= {field: "true" for field, wanted in of_objects.items() if wanted}
    if asks:
        name, block = ask_for_block(kind, name, given)
    else:
        name, block = name or "default", _block(kind, given)
    if not no_check:
        report = _tried(block)
        if not report.ok and not (asks and confirm("Save it nevertheless?")):
            report.raise_unless_ok()
    if asks and not replace and _exists(block, name):
        replace = confirm(f"{_reference(block, name)} exists. Replace it?")
    _save(block, name, replace)
    if json:
        write_json("init/1", block=block.label, url=block.get_url(), flow=flow_for(block))
    else:
        console = talk()
        console.print(f"Saved as {block.label}. This flow works on it:\n", markup=False)
        write(flow_for(block))
        console.print(
            "\nSee what is in the registry's way, any time: prefect-registry doctor " + block.label, markup=False
        )
    return 0


GROUP = "Setting up"
COMMANDS = {"init": init}


def flow_for(block: RegistryBlock) -> str:
    """A program that publishes a small dataset in the block's registry and reads it back."""
    named = "" if block.document_name == "default" else f'"{block.label}"'
    return _FLOW.format(type=type(block).__name__, name=block.document_name, decorator=f"registry_run({named})")


_FLOW = """\
import pyarrow as pa
from prefect import flow, task

from prefect_registry import current_run, registry_run
from prefect_registry.blocks import {type}


@task
def squares(count: int) -> str:
    with current_run().dataset("squares") as ds:
        ds.write_table(pa.table({{"n": range(count), "square": [n * n for n in range(count)]}}))
    return ds.id


@{decorator}
@flow(log_prints=True)
def publish(count: int = 10):
    squares(count)  # visible when the flow has succeeded, and never if it fails


if __name__ == "__main__":
    publish()
    registry = {type}.load("{name}").get_registry()
    print(registry.table("squares").to_table().num_rows, "rows are published in", registry.url)
"""


def _block(kind: Kind | None, given: dict[str, str]) -> RegistryBlock:
    from prefect_registry.blocks.environment import block_of, variables
    from prefect_registry.cli.asking import option
    from prefect_registry.resolve.lookup import registry_types

    if kind is None:
        raise InvalidInput(
            "The kind of storage is missing",
            why="Nothing is asked without a terminal, or with --no-input or --json",
            todo="Write it, as in: prefect-registry init s3 --bucket my-bucket",
            committed="no",
        )
    cls = registry_types()[f"data-registry-{kind}"]
    from_environment = {field: os.environ[name] for name, field in variables(cls).items() if os.environ.get(name)}
    return block_of(cls, from_environment | given, option)


def _tried(block: RegistryBlock) -> ProbeReport:
    console = talk()
    with console.status(f"Trying {block.get_url()} …"):
        report = block.check()
    for check in report.checks:
        console.print(f"  {'ok    ' if check.ok else 'failed'}  {check.detail}", markup=False)
    return report


def _reference(block: RegistryBlock, name: str) -> str:
    return f"{block.get_block_type_slug()}/{name}"


def _exists(block: RegistryBlock, name: str) -> bool:
    from prefect_registry.blocks.documents import find

    return bool(find(name, [block.get_block_type_slug()]))


def _save(block: RegistryBlock, name: str, replace: bool) -> None:
    from prefect_registry.resolve.lookup import registry_types

    if not replace and _exists(block, name):
        raise AlreadyExists(
            f"There is a block {_reference(block, name)}",
            why="It was saved before, here or in the Prefect UI",
            todo="Take another --name, or --replace it",
            committed="no",
        )
    try:
        for block_type in registry_types().values():
            block_type.register_type_and_schema()
        block.save(name, overwrite=replace)
    except ValueError as error:  # Prefect's word for a name that it does not take
        raise ConfigurationError(
            f"The block {name!r} could not be saved", why=str(error), todo="Take another --name"
        ) from None
