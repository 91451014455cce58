"""The storage errors in one wording, so that every backend says the same thing about the same trouble."""

from __future__ import annotations

import errno

from prefect_registry.errors import (
    AccessDenied,
    AlreadyExists,
    IntegrityError,
    NotFound,
    StorageError,
    StorageUnavailable,
)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_PASSING = {
    errno.EMFILE,
    errno.ENFILE,
    errno.EAGAIN,
    errno.EBUSY,
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EINTR,
}


def not_found(url: str, key: str) -> NotFound:
    """Nothing is stored under ``key``."""
    return NotFound(
        f"Nothing is stored under {key!r} in {url}",
        why="It was never written, or it was deleted",
        todo="Check the name",
        key=key,
    )


def already_exists(url: str, key: str, existing: bytes | None = None) -> AlreadyExists:
    """``key`` is taken; ``existing`` are the bytes there, when they were read."""
    return AlreadyExists(
        f"{key!r} already exists in {url}",
        why="Another writer created it first",
        todo="Read what is there and decide again",
        committed="no",
        key=key,
        **({} if existing is None else {"existing": existing}),
    )


def corrupt(url: str, key: str, why: str) -> IntegrityError:
    """The bytes under ``key`` are not those that were recorded."""
    return IntegrityError(
        f"{key!r} in {url} is not what was stored there",
        why=why,
        todo="Somebody changed the store behind the registry's back; restore the object from a backup",
        key=key,
    )


def of_os_error(url: str, key: str, error: OSError) -> StorageError | NotFound:
    """What an operating system's error means for ``key`` (local disks and mounted network folders)."""
    said = f"The operating system said: {error.strerror or error}"
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
        return not_found(url, key)
    if error.errno in _FULL:
        return StorageError(
            f"{key!r} could not be written to {url}",
            why=f"The disk, the quota or the file size limit is full. {said}",
            todo="Free some space and run again; nothing of this object was stored",
            key=key,
        )
    if error.errno in _DENIED:
        return AccessDenied(
            f"Access to {key!r} in {url} was denied",
            why=said,
            todo="Give this user read and write permission on the folder, or use another one",
            key=key,
        )
    if error.errno in _PASSING:
        return StorageUnavailable(f"{url} did not serve {key!r}", why=said, todo="Try again later", key=key)
    return StorageError(f"{url} failed on {key!r}", why=said, todo="Check the folder and its filesystem", key=key)
