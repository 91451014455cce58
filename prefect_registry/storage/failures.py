"""The storage errors in one wording, so that every backend says the same thing about the same trouble."""

from __future__ import annotations

import errno
import os

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


def no_bucket(url: str, bucket: str) -> StorageError:
    """The bucket or container itself is missing, which is never "not found"."""
    return StorageError(
        f"The bucket {bucket!r} of {url} does not exist",
        why="The store knows the credentials but not this bucket, or it is in another account or region",
        todo="Create the bucket, or correct its name",
        bucket=bucket,
    )


def unavailable(url: str, key: str, said: str) -> StorageUnavailable:
    """No certain answer: what was sent may have landed."""
    return StorageUnavailable(
        f"{url} gave no answer" + (f" for {key!r}" if key else ""),
        why=said,
        todo="Check that the store can be reached, and try again",
        key=key,
    )


def denied(url: str, key: str, said: str) -> AccessDenied:
    """The credentials are missing, wrong, expired, or not allowed to do it."""
    return AccessDenied(
        f"Access to {url} was denied" + (f" for {key!r}" if key else ""),
        why=said,
        todo="Check the credentials, and that their policy allows to read, write, list and delete below this URL",
        key=key,
    )


def full(url: str, key: str, said: str) -> StorageError:
    """No room is left."""
    return StorageError(
        f"{key!r} could not be written to {url}",
        why=f"The disk, the quota or the size limit is full. {said}",
        todo="Free some space and run again; nothing of this object was stored",
        key=key,
    )


def refused(url: str, key: str, said: str) -> StorageError:
    """The store understood and refused, for none of the reasons above."""
    return StorageError(
        f"{url} refused the request" + (f" for {key!r}" if key else ""),
        why=said,
        todo="Check the settings of the storage against what the store said",
        key=key,
    )


def of_local_target(target: os.PathLike[str], error: OSError) -> StorageError:
    """A download could not be written to this machine's disk."""
    return StorageError(
        f"{os.fspath(target)} could not be written",
        why=f"The operating system said: {error.strerror or error}",
        todo="Check the folder, its permissions and the free space, and download again",
    )


def of_os_error(url: str, key: str, error: OSError, said: str = "") -> StorageError | NotFound:
    """What an operating system's error means for ``key`` (local disks and mounted network folders)."""
    said = said or f"The operating system said: {error.strerror or error}"
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR) or isinstance(error, FileNotFoundError):
        return not_found(url, key)
    if error.errno in _FULL:
        return full(url, key, said)
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
