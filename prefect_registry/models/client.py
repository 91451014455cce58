"""``ModelRegistry``: the high-level client of reference system 4, synchronous; each method has a twin with ``a``."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from prefect_registry.asynchronous import function_twin, twin
from prefect_registry.errors import InvalidInput
from prefect_registry.models.exceptions import StoreError, UnsupportedType
from prefect_registry.models.governing import Governing
from prefect_registry.models.lists import ModelLists
from prefect_registry.models.opening import certificates_from, connected, is_server, token_from
from prefect_registry.models.paging import ListOptions, Pager
from prefect_registry.models.paging_twins import pager_twin
from prefect_registry.models.registrations import Registering
from prefect_registry.models.resources import Artifact, ModelArtifact, ModelVersion, RegisteredModel
from prefect_registry.models.uploading import save_to_s3


class ModelRegistry(Registering, Governing):
    """Registered models, their versions and artifacts, in one registry.

    Args:
        server_address: The name of a block, the URL of a registry, a block or a ``Registry``: then the rest but
            ``author`` can be left out. Or the host of an S3 server, with the bucket in the path or in
            ``MODEL_REGISTRY_BUCKET``.
        port: Of that server.
        author: Who registers and changes; the user's login name, unless given.
        is_secure: Over TLS.
        user_token: ``access_key:secret_key`` for that server; ``user_token_envvar`` names a variable that holds it.
        custom_ca: A file with the certificates of authorities to trust; ``custom_ca_envvar`` names a variable.
        log_level: Of the logger ``prefect_registry.models``.
        async_runner: Accepted for those who come from the reference system, and not needed: nothing here runs an event
            loop.

    Raises:
        ConfigurationError: It is not clear which store is meant.
        StoreError: A secure connection to a server, and no token.

    >>> from prefect_registry import Registry
    >>> models = ModelRegistry(Registry("memory://docs-model-registry"), author="me")
    >>> model = models.register_model("HAL", "s3://models/hal.onnx", version="9000", model_format_name="onnx")
    >>> models.get_model_version("HAL", "9000").author
    'me'
    """

    def __init__(
        self,
        server_address: Any = None,
        port: int | str = 443,
        *,
        author: str | None = None,
        is_secure: bool = True,
        user_token: str | None = None,
        user_token_envvar: str | None = None,
        custom_ca: str | None = None,
        custom_ca_envvar: str | None = None,
        log_level: int = logging.WARNING,
        async_runner: Callable[..., Any] | None = None,
    ) -> None:
        if async_runner is not None and not inspect.isroutine(async_runner):
            raise InvalidInput.of("async_runner", ["it must be a function or a bound method"])
        logging.getLogger("prefect_registry.models").setLevel(log_level)
        custom_ca = certificates_from(custom_ca, custom_ca_envvar)
        token = token_from(user_token, user_token_envvar) if is_server(server_address, port) else user_token
        registry = connected(server_address, port, secure=is_secure, user_token=token, custom_ca=custom_ca)
        self.models = ModelLists(registry, by=author)

    def __repr__(self) -> str:
        return f"<ModelRegistry {self.models.registry.url}>"

    save_to_s3 = staticmethod(save_to_s3)
    asave_to_s3 = staticmethod(function_twin(save_to_s3))

    # -- getting, in the reference's words -------------------------------------------------------------------------

    def get_registered_model(self, name: str, *, run_id: str | None = None) -> RegisteredModel | None:
        """A registered model; None when there is none of that name."""
        return self.models.get_registered_model_by_params(name, run_id=run_id)

    def get_model_version(self, name: str, version: str, *, run_id: str | None = None) -> ModelVersion | None:
        """A version; None when there is none. Raises ``StoreError`` when there is no such model."""
        model = self._model(name, self.models.run_of(run_id)).record.id
        return self.models.get_model_version_by_params(model, version, run_id=run_id)

    def get_model_artifact(self, name: str, version: str, *, run_id: str | None = None) -> ModelArtifact | None:
        """The trained model of a version: of several, that which is named like the model, or else the first.

        Raises ``StoreError`` when there is no such model or version.
        """
        found = self.get_model_version(name, version, run_id=run_id)
        if found is None:
            raise StoreError(f"Version {version!r:.250} does not exist", committed="no")
        made = [a for a in self.artifacts_of(found, run_id=run_id) if isinstance(a, ModelArtifact)]
        return next((a for a in made if a.name == name), made[0] if made else None)

    def get_registered_models(self, /, **asked: Any) -> Pager[RegisteredModel]:
        """All registered models; ``asked`` is what :meth:`ModelLists.get_registered_models` takes beside options."""
        return Pager(partial(self.models.get_registered_models, **asked))

    def get_model_versions(self, /, name: str, **asked: Any) -> Pager[ModelVersion]:
        """The versions of a model; ``asked`` is what :meth:`ModelLists.get_model_versions` takes beside options.

        Each page asks the registry; the first one raises ``StoreError`` when there is no such model.
        """
        return Pager(partial(self._versions, name, **asked))

    def _versions(
        self,
        name: str,
        options: ListOptions,
        *,
        as_of: datetime | None = None,
        run_id: str | None = None,
        **asked: Any,
    ) -> list[ModelVersion]:
        model = self._model(name, self.models.run_of(run_id), as_of).record.id
        return self.models.get_model_versions(model, options, as_of=as_of, run_id=run_id, **asked)

    def update(self, model: Any, *, reason: str | None = None, run_id: str | None = None) -> Any:
        """Update a model, a version or an artifact that was registered. Raises ``StoreError`` for one without an id."""
        if not isinstance(model, (RegisteredModel, ModelVersion, Artifact)):
            raise UnsupportedType.of(
                "the model", [f"it must be a RegisteredModel, ModelVersion or Artifact, not a {type(model).__name__}"]
            )
        if model.id is None:
            raise StoreError(
                "Model must have an ID",
                why="It is not registered",
                todo="Register it, or get it first",
                committed="no",
            )
        if isinstance(model, RegisteredModel):
            return self.models.upsert_registered_model(model, reason=reason, run_id=run_id)
        if isinstance(model, ModelVersion):
            return self.models.upsert_model_version(model, reason=reason, run_id=run_id)
        return self.models.upsert_model_artifact(model, reason=reason, run_id=run_id)

    aget_registered_model = twin(get_registered_model)
    aget_model_version = twin(get_model_version)
    aget_model_artifact = twin(get_model_artifact)
    aget_registered_models = pager_twin(get_registered_models)
    aget_model_versions = pager_twin(get_model_versions)
    aupdate = twin(update)
