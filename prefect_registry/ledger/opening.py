"""Making a folder a registry, and refusing what is none or is newer (DESIGN.md 3)."""

from __future__ import annotations

from prefect_registry.errors import AccessDenied, AlreadyExists, FormatError, NotFound
from prefect_registry.ledger import paths
from prefect_registry.ledger.store import Store
from prefect_registry.records.store import FORMAT, KNOWN_FEATURES, RegistryDocument


def open_registry(store: Store, create: bool) -> RegistryDocument:
    """The store's ``registry.json``; written now if it is absent and ``create``. Reading it needs no right to write.

    Raises:
        NotFound: There is no registry and ``create`` is False, or the credentials may not write one.
        FormatError: It has a format or a feature that this version does not know.
    """
    try:
        return _checked(store.read(paths.REGISTRY, RegistryDocument))
    except NotFound as missing:
        if not create:
            raise NotFound(
                f"There is no registry at {store.storage.url}",
                todo="Open it with create=True to make one, or check the URL",
                committed="no",
            ) from missing
    now = store.clock.now()
    document = RegistryDocument(
        write_id=store.ids.write_id(),
        format=FORMAT,
        registry_id=store.ids.typeid("reg", now),
        created_at=now,
    )
    try:
        return store.create(paths.REGISTRY, document)
    except AlreadyExists:
        return _checked(store.read(paths.REGISTRY, RegistryDocument))
    except AccessDenied as error:
        raise NotFound(
            f"There is no registry at {store.storage.url}, and these credentials may not make one",
            why=error.what,
            todo="Create it once with credentials that may write, or check the URL",
            committed="no",
        ) from error


def _checked(document: RegistryDocument) -> RegistryDocument:
    unknown = sorted(set(document.features) - KNOWN_FEATURES)
    if document.format != FORMAT or unknown:
        what = f"features {', '.join(unknown)}" if document.format == FORMAT else f"format {document.format}"
        raise FormatError(
            f"This registry uses {what}, which this version of prefect-registry does not know",
            why=f"It reads format {FORMAT}",
            todo="Upgrade prefect-registry",
        )
    return document
