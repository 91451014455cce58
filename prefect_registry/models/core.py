"""``ModelRegistryAPIClient``: every call of reference system 4, asynchronous, with the document's names.

Each method is the synchronous one of :class:`~prefect_registry.models.service.Models` in a thread: no event loop is
blocked, nested or patched, so it works in Jupyter, in asynchronous flows and in Ray.
"""

from __future__ import annotations

from typing import Any

from prefect_registry.asynchronous import through
from prefect_registry.models.lists import ModelLists
from prefect_registry.models.opening import connected, opened


class ModelRegistryAPIClient:
    """An asynchronous client of the model registry in one registry.

    Args:
        registry: Its name (a block's), URL or folder, a block, or a ``Registry``.
        author: Who registers and changes; the user's login name, unless given.

    >>> import asyncio
    >>> from prefect_registry import Registry
    >>> from prefect_registry.models.types import RegisteredModel
    >>> client = ModelRegistryAPIClient(Registry("memory://docs-models-client"))
    >>> model = asyncio.run(client.upsert_registered_model(RegisteredModel("HAL", owner="me")))
    >>> asyncio.run(client.get_registered_model_by_params("HAL")) == model
    True
    """

    def __init__(self, registry: Any = None, *, author: str | None = None) -> None:
        self.models = ModelLists(opened(registry), by=author)

    def __repr__(self) -> str:
        return f"<ModelRegistryAPIClient {self.models.registry.url}>"

    @classmethod
    def secure_connection(
        cls,
        server_address: Any,
        port: int | str = 443,
        *,
        user_token: str | None = None,
        custom_ca: str | None = None,
        author: str | None = None,
    ) -> ModelRegistryAPIClient:
        """A client over TLS.

        Args:
            server_address: The name of a block, or the URL of a registry: its own settings hold. Or the host of an S3
                server, with the bucket in the path or in ``MODEL_REGISTRY_BUCKET``.
            port: Of that server, where the address has none.
            user_token: ``access_key:secret_key`` for that server.
            custom_ca: A file with the certificates of authorities to trust.

        Raises:
            ConfigurationError: It is not clear which store is meant.
            StoreError: A server was named, and no token given.
        """
        registry = connected(server_address, port, secure=True, user_token=user_token, custom_ca=custom_ca)
        return cls(registry, author=author)

    @classmethod
    def insecure_connection(
        cls, server_address: Any, port: int | str, user_token: str | None = None, *, author: str | None = None
    ) -> ModelRegistryAPIClient:
        """A client without TLS, or without looking at certificates; otherwise as :meth:`secure_connection`."""
        return cls(connected(server_address, port, secure=False, user_token=user_token), author=author)

    upsert_registered_model = through("models", ModelLists.upsert_registered_model)
    upsert_model_version = through("models", ModelLists.upsert_model_version)
    upsert_model_artifact = through("models", ModelLists.upsert_model_artifact)
    upsert_model_version_artifact = through("models", ModelLists.upsert_model_version_artifact)
    get_registered_model_by_id = through("models", ModelLists.get_registered_model_by_id)
    get_registered_model_by_params = through("models", ModelLists.get_registered_model_by_params)
    get_registered_models = through("models", ModelLists.get_registered_models)
    get_model_version_by_id = through("models", ModelLists.get_model_version_by_id)
    get_model_version_by_params = through("models", ModelLists.get_model_version_by_params)
    get_model_versions = through("models", ModelLists.get_model_versions)
    get_model_artifact_by_id = through("models", ModelLists.get_model_artifact_by_id)
    get_model_artifact_by_params = through("models", ModelLists.get_model_artifact_by_params)
    get_model_artifacts = through("models", ModelLists.get_model_artifacts)
    get_model_version_artifacts = through("models", ModelLists.get_model_version_artifacts)
    get_artifacts = through("models", ModelLists.get_artifacts)
