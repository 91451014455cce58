"""The exceptions of reference system 4, in the tree of :mod:`prefect_registry.errors`."""

from __future__ import annotations

from prefect_registry.errors import AlreadyExists, InvalidInput, NotFound, RegistryError


class StoreError(RegistryError):
    """What the high-level client could not do with the registry."""

    kind = "model_store_error"
    usual_why = "The registry holds something else than the call needs"
    usual_todo = "Look at what is registered, and call again"


class MissingMetadata(InvalidInput):
    """Something that an address needs was not given, and no environment variable gives it."""

    kind = "missing_metadata"


class UnsupportedType(StoreError, InvalidInput):
    """A value of a type that is not registered here."""

    kind = "unsupported_type"


class TypeNotFound(StoreError, NotFound):
    """No such type of artifact."""

    kind = "type_not_found"


class ServerError(StoreError):
    """The store answered something that cannot be."""

    kind = "model_server_error"


class DuplicateError(StoreError, AlreadyExists):
    """A model, version, artifact or external id of that name is registered already. Nothing was written."""

    kind = "duplicate_model"
    usual_why = "Names are unique: of models, of the versions of a model, of the artifacts of one type in a version"
    usual_todo = "Choose another name, or get what is there and update it"


class ModelNotFound(StoreError, NotFound):
    """No registered model, version or artifact of that name or id is visible."""

    kind = "model_not_found"
    usual_why = "Nothing visible has that name or id"
    usual_todo = "Check the spelling, and that it is the right registry"


__all__ = [
    "DuplicateError",
    "MissingMetadata",
    "ModelNotFound",
    "ServerError",
    "StoreError",
    "TypeNotFound",
    "UnsupportedType",
]
