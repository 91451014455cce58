"""Every setting of the package, in one class that Prefect reads like its own.

From the environment, ``.env``, ``prefect.toml`` (table ``[integrations.registry]``), ``pyproject.toml`` (table
``[tool.prefect.integrations.registry]``) and Prefect's profiles. (``prefect config set`` refuses settings of
integrations; write them into one of the files.)
"""

from __future__ import annotations

import json
from typing import Any

from prefect.settings.base import PrefectBaseSettings, build_settings_config
from pydantic import AliasChoices, AliasPath, Field, SecretStr, field_validator

from prefect_registry.errors import ConfigurationError

PREFIX = "PREFECT_INTEGRATIONS_REGISTRY_"
SHORT_PREFIX = "PREFECT_REGISTRY_"


def _with_short_form(name: str) -> AliasChoices:
    long, short = f"{PREFIX}{name}".lower(), f"{SHORT_PREFIX}{name}".lower()
    return AliasChoices(AliasPath(name), long, short)


class RegistrySettings(PrefectBaseSettings):
    """Which registry a call means when it names none, and how names are looked up.

    Each setting ``x`` is read from ``PREFECT_INTEGRATIONS_REGISTRY_X``; ``override``, ``block``, ``url`` and
    ``storage_options`` also from the short form ``PREFECT_REGISTRY_X``. Empty means "not set".
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

    @field_validator("override", "block", "url", mode="before")
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
