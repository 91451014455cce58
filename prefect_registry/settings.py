"""Every setting of the package, in one class that Prefect reads like its own.

From the environment, ``.env``, ``prefect.toml`` (table ``[integrations.registry]``), ``pyproject.toml`` (table
``[tool.prefect.integrations.registry]``) and Prefect's profiles. (``prefect config set`` refuses settings of
integrations; write them into one of the files.)
"""

from __future__ import annotations

import json
import os
from typing import Any

from prefect.settings.base import PrefectBaseSettings, build_settings_config
from pydantic import AliasChoices, AliasPath, Field, SecretStr, field_validator, model_validator

from prefect_registry.errors import ConfigurationError

PREFIX = "PREFECT_INTEGRATIONS_REGISTRY_"
SHORT_PREFIX = "PREFECT_REGISTRY_"

OPENLINEAGES_OWN = ("openlineage_url", "openlineage_api_key", "openlineage_namespace", "openlineage_disabled")
"""Settings that, where they are not set, are taken from the variables which OpenLineage's own clients read."""


def _with_short_form(name: str) -> AliasChoices:
    long, short = f"{PREFIX}{name}".lower(), f"{SHORT_PREFIX}{name}".lower()
    return AliasChoices(AliasPath(name), long, short)


class RegistrySettings(PrefectBaseSettings):
    """Which registry a call means when it names none, and how names are looked up.

    Each setting ``x`` is read from ``PREFECT_INTEGRATIONS_REGISTRY_X``; ``override``, ``block``, ``url`` and
    ``storage_options`` also from the short form ``PREFECT_REGISTRY_X``, and those of OpenLineage also from that and
    from the variables of OpenLineage's own clients (``OPENLINEAGE_URL`` …). Empty means "not set".
    """

    model_config = build_settings_config(("integrations", "registry")) | {"hide_input_in_errors": True}

    override: str = Field(
        default="",
        validation_alias=_with_short_form("override"),
        description="Registry that every call means, whatever it names: a URL, a block or its name. For tests and "
        "rehearsals.",
    )
    block: str = Field(
        default="",
        validation_alias=_with_short_form("block"),
        description="Block of the registry that a call means when it names none, such as data-registry-s3/prod.",
    )
    url: str = Field(
        default="",
        validation_alias=_with_short_form("url"),
        description="URL of the registry that a call means when it names none, and there is no such block.",
    )
    storage_options: SecretStr = Field(
        default=SecretStr(""),
        validation_alias=_with_short_form("storage_options"),
        description="Options of the filesystem for the URL of these settings, as a JSON object.",
    )
    lookup_seconds: float = Field(
        default=60.0,
        ge=0,
        description="How long a block that was looked up by its name is used before it is looked up again. Each flow "
        "run looks it up at least once.",
    )

    openlineage_url: SecretStr = Field(
        default=SecretStr(""),
        validation_alias=_with_short_form("openlineage_url"),
        description="Where OpenLineage events of runs are posted, such as https://marquez.example.com; "
        "/api/v1/lineage where it has no path.",
    )
    openlineage_api_key: SecretStr = Field(
        default=SecretStr(""),
        validation_alias=_with_short_form("openlineage_api_key"),
        description="Sent to that URL as Authorization: Bearer.",
    )
    openlineage_file: str = Field(
        default="",
        validation_alias=_with_short_form("openlineage_file"),
        description="A file to which OpenLineage events of runs are added, a line of JSON each.",
    )
    openlineage_namespace: str = Field(
        default="",
        validation_alias=_with_short_form("openlineage_namespace"),
        description="Namespace of the jobs in those events; the URL of the registry, unless set.",
    )
    openlineage_disabled: bool = Field(
        default=False,
        validation_alias=_with_short_form("openlineage_disabled"),
        description="Send no OpenLineage events, whatever else is set.",
    )
    openlineage_seconds: float = Field(
        default=5.0,
        gt=0,
        le=60,
        validation_alias=_with_short_form("openlineage_seconds"),
        description="How long an OpenLineage endpoint is given for each answer, and how long a flow run that is over "
        "waits for events that are on their way.",
    )

    @model_validator(mode="before")
    @classmethod
    def _as_openlineages_clients_are_told(cls, given: Any) -> Any:
        """Prefect looks for variables with its own prefix alone."""
        found = dict(given) if isinstance(given, dict) else {}
        for name in OPENLINEAGES_OWN:
            names = (name, f"{PREFIX}{name}".lower(), f"{SHORT_PREFIX}{name}".lower())
            told = os.environ.get(name.upper())
            if told and not any(found.get(each) for each in names):
                found[name] = told
        return found or given

    @field_validator("override", "block", "url", "openlineage_file", "openlineage_namespace", mode="before")
    @classmethod
    def _stripped(cls, value: Any) -> Any:
        return value.strip() if isinstance(value, str) else value

    def options(self) -> dict[str, Any]:
        """``storage_options`` as a dictionary. Holds secrets: never log it."""
        text = self.storage_options.get_secret_value()
        try:
            options = json.loads(text) if text else {}
        except ValueError:
            options = None
        if not isinstance(options, dict):
            raise ConfigurationError(
                f"{SHORT_PREFIX}STORAGE_OPTIONS is not a JSON object",
                todo='Write it like {"endpoint_url": "https://minio.example.com"}',
            )
        return options


def current_settings() -> RegistrySettings:
    """The settings as they are now.

    Raises:
        ConfigurationError: Names the setting that cannot be read.
    """
    from pydantic import ValidationError

    try:
        return RegistrySettings()
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False, include_context=False)
        ]
        raise ConfigurationError(
            f"A setting of the registry is wrong: {'; '.join(problems)}",
            todo=f"Correct the environment variable {PREFIX}… or Prefect's settings files",
            problems=problems,
        ) from None
