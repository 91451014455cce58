"""Errors of reference system 3 by their own names, as members of our one tree."""

from __future__ import annotations

from prefect_registry.errors import NotFound, VersionConflict


class RegistryObjectNotFound(NotFound):
    """No object, version or alias of that name is visible. Never raised because a store could not be reached."""

    kind = "object_not_found"
    usual_why = "Nothing visible has that name and version"
    usual_todo = "See list_objects() and list_versions(name)"


class RegistryVersionConflict(VersionConflict):
    """That version of the object exists with other content or metadata, or was deleted, and the registry keeps what it
    has.
    """

    kind = "object_version_conflict"
