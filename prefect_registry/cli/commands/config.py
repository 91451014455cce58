"""``config``: which registry a call would use, and who says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_registry.cli.commands.show import write_fields
from prefect_registry.cli.opening import where
from prefect_registry.cli.options import Json, RegistryName
from prefect_registry.cli.output import say, write_json
from prefect_registry.errors import NotFound, RegistryError

if TYPE_CHECKING:
    from prefect_registry.cli.opening import Where


def config(*, registry: RegistryName = None, json: Json = False) -> None:
    """Show which registry this command line would use, who says so, the settings, and where the index lies.

    Nothing is made, and no secret is shown.
    """
    from prefect_registry.storage.secrets import Scrubber

    found = where(registry)
    scrub = Scrubber(found.options)
    known = {
        "registry": scrub(found.url),
        "said_by": scrub(found.said_by),
        "block": found.reference or None,
        "storage_options": sorted(found.options),
        **_contents(found),
        "settings": _settings(scrub),
    }
    if json:
        write_json("config/1", **known)
        return
    write_fields(known)


GROUP = "Setting up"
COMMANDS = {"config": config}


def _contents(found: Where) -> dict[str, Any]:
    from prefect_registry.catalog.place import cache_folder, index_file
    from prefect_registry.registry import Registry

    try:
        registry = Registry(found.url, storage_options=found.options, create=False)
    except RegistryError as error:
        if not isinstance(error, NotFound):  # who says so is what people look for when it cannot be reached
            say(f"It cannot be opened: {error}")
        return {"registry_id": None, "index": None, "index_bytes": None, "cache": str(cache_folder())}
    file = index_file(registry.registry_id, registry.url)
    there = file is not None and file.exists()
    return {
        "registry_id": registry.registry_id,
        "index": str(file) if file is not None else None,
        "index_bytes": file.stat().st_size if file is not None and there else None,
        "cache": str(cache_folder()),
    }


def _settings(scrub: Any) -> dict[str, Any]:
    """Every setting; of one that holds secrets only whether it is set."""
    from pydantic import SecretStr

    from prefect_registry.settings import RegistrySettings, current_settings

    values = current_settings()
    shown: dict[str, Any] = {}
    for name in RegistrySettings.model_fields:
        value = getattr(values, name)
        secret = isinstance(value, SecretStr)
        shown[name] = (
            ("set" if value.get_secret_value() else "") if secret else scrub(value) if isinstance(value, str) else value
        )
    return shown
