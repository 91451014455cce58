"""URIs of artifacts: objects in S3 as the reference system writes them, and references to what this registry holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Literal, NamedTuple
from urllib.parse import quote, unquote, unquote_to_bytes

from prefect_registry.errors import InvalidInput
from prefect_registry.ids import parse_inner_id
from prefect_registry.models.exceptions import MissingMetadata
from prefect_registry.names import check_name
from prefect_registry.storage.secrets import without_credentials

# RFC 3986: what may stand for itself in a path and in a query, without what separates the two and their parts.
_PLAIN_IN_PATHS = "/:@!$&'()*+,;="
_PLAIN_IN_QUERIES = "/:@"
_REGISTRY = "registry://"
_OBJECT, _DATASET = f"{_REGISTRY}object/", f"{_REGISTRY}dataset/"


class S3Parts(NamedTuple):
    """What a URI of S3 says. ``path`` is a key or the beginning of keys, decoded; None is what it does not say."""

    bucket: str
    path: str
    endpoint: str | None = None
    region: str | None = None


def s3_uri_from(path: str, bucket: str | None = None, *, endpoint: str | None = None, region: str | None = None) -> str:
    """``s3://<bucket>/<path>?endpoint=<endpoint>``, and ``&defaultRegion=<region>`` if one is known.

    What a URI cannot hold as it is, is percent-encoded; :func:`s3_parts_of` is the inverse.

    Args:
        path: A key, or the beginning of keys.
        bucket: ``AWS_S3_BUCKET`` when None.
        endpoint: ``AWS_S3_ENDPOINT`` when None. That is the default bucket's: any other needs one of its own.
        region: ``AWS_DEFAULT_REGION`` when None.

    Raises:
        MissingMetadata: The bucket or the endpoint is neither given nor in the environment.
        InvalidInput: The bucket cannot be one, or a text is not valid Unicode.
    """
    default_bucket = os.environ.get("AWS_S3_BUCKET")
    if not bucket and not default_bucket:
        raise _missing("Custom environment requires all arguments: no bucket is known", "AWS_S3_BUCKET", "bucket")
    if bucket and bucket != default_bucket and not endpoint:
        raise MissingMetadata(
            "endpoint must be provided for non-default bucket",
            why=f"{bucket!r:.80} is not AWS_S3_BUCKET, whose endpoint AWS_S3_ENDPOINT is",
            todo="Pass endpoint, or set AWS_S3_BUCKET and AWS_S3_ENDPOINT",
            committed="no",
        )
    bucket, endpoint = bucket or default_bucket, endpoint or os.environ.get("AWS_S3_ENDPOINT")
    if not endpoint:
        raise _missing("Missing environment variable: `AWS_S3_ENDPOINT` is required", "AWS_S3_ENDPOINT", "endpoint")
    region = region or os.environ.get("AWS_DEFAULT_REGION")
    assert bucket
    if problems := [*_problems(bucket=bucket, path=path, endpoint=endpoint, region=region or "")]:
        raise InvalidInput.of("The URI", problems)
    uri = f"s3://{bucket}/{quote(path, _PLAIN_IN_PATHS)}?endpoint={quote(endpoint, _PLAIN_IN_QUERIES)}"
    return f"{uri}&defaultRegion={quote(region, _PLAIN_IN_QUERIES)}" if region else uri


def s3_parts_of(uri: str) -> S3Parts:
    """What :func:`s3_uri_from` was given. URIs that the reference system has written are understood as well.

    Raises:
        InvalidInput: It is no such URI.
    """
    scheme, _, rest = uri.partition("://") if isinstance(uri, str) else ("", "", "")
    address, _, query = rest.partition("?")
    bucket, _, path = address.partition("/")
    if scheme.lower() != "s3" or not bucket:
        raise _malformed(
            uri, "it does not begin with s3:// and a bucket", "for example s3://bucket/key?endpoint=https://host"
        )
    given = {name: unquote(value) for name, _, value in (part.partition("=") for part in query.split("&"))}
    return S3Parts(bucket, unquote(path), given.get("endpoint") or None, given.get("defaultRegion") or None)


def object_uri(name: str, version: str | None = None) -> str:
    """``registry://object/<name@version>``, percent-encoded: an object of the registry in which this is written.

    Args:
        name: As ``save`` takes it; it has no ``@``.
        version: The newest, whenever somebody looks, when None.

    Raises:
        InvalidInput: There can be no such object.
    """
    for text, noun in ((name, "name"), (version, "version")):
        if text is not None and "@" in check_name(text, noun):
            problem = f"{noun} {text!r:.80} contains '@', which separates a name from its version"
            raise InvalidInput.of("The reference", [problem])
    return _OBJECT + quote(name if version is None else f"{name}@{version}", "@:")


def dataset_uri(id: str) -> str:
    """``registry://dataset/<id>``: a dataset of the registry in which this is written.

    Raises:
        MalformedId: It does not have the form of a dataset's id.
    """
    parse_inner_id(id, "ds", "dataset")
    return _DATASET + id


def reference_of(uri: str) -> tuple[Literal["object", "dataset"], str] | None:
    """What of this registry a URI names: an object's name, with ``@version`` if it says one, or a dataset's id.

    None for every URI of another scheme.

    Raises:
        InvalidInput: It begins with ``registry://``, and is none of the two.
    """
    if not uri.lower().startswith(_REGISTRY):
        return None
    if uri.startswith(_DATASET):
        id_ = uri.removeprefix(_DATASET)
        parse_inner_id(id_, "ds", "dataset")
        return "dataset", id_
    if uri.startswith(_OBJECT) and (found := _decoded(uri.removeprefix(_OBJECT))) is not None:
        name, at, version = found.partition("@")
        spelled = object_uri(name, version if at else None)
        if spelled == uri:
            return "object", found
        raise _malformed(uri, "it is spelled in another way, and one object has one URI", spelled)
    raise _malformed(uri, "it names no object and no dataset", "for example registry://object/name@version")


def _decoded(text: str) -> str | None:
    try:
        return unquote_to_bytes(text).decode() or None
    except UnicodeError:
        return None


def _problems(**texts: str) -> Iterator[str]:
    for noun, text in texts.items():
        if not isinstance(text, str):
            yield f"{noun} must be a string, not {type(text).__name__}"
        elif any(0xD800 <= ord(c) <= 0xDFFF for c in text):
            yield f"{noun} {text!r:.80} is not valid Unicode"
        elif noun == "bucket":
            yield from bucket_problems(text, noun)


def bucket_problems(bucket: object, noun: str) -> Iterator[str]:
    """What is wrong with the name of a bucket; ``noun`` is what messages call it."""
    if not isinstance(bucket, str) or not bucket or any(map(_is_in_no_bucket, bucket)):
        yield f"{noun} {bucket!r:.80} cannot be the name of a bucket"


def _is_in_no_bucket(character: str) -> bool:
    return character in "/?#%@\\" or character.isspace() or character < " " or "\ud800" <= character <= "\udfff"


def _missing(what: str, variable: str, argument: str) -> MissingMetadata:
    return MissingMetadata(
        what,
        why=f"{argument} was not given, and {variable} is not set",
        todo=f"Pass {argument}, or set {variable}",
        committed="no",
    )


def _malformed(uri: object, problem: str, example: str) -> InvalidInput:
    return InvalidInput.of(f"The URI {without_credentials(str(uri))!r:.200}", [problem], todo=f"Write {example}")


__all__ = ["S3Parts", "dataset_uri", "object_uri", "reference_of", "s3_parts_of", "s3_uri_from"]
