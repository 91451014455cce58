"""Download of one URL for scheduled ingestion: resumed when it breaks, stopped at limits, only from listed hosts."""

from prefect_registry.ingestion.http.fetching import Fetched, NotModified, fetch
from prefect_registry.ingestion.http.problems import (
    ChecksumMismatch,
    LimitExceeded,
    NotAllowed,
    SourceError,
    SourceUnavailable,
    TimeLimitExceeded,
)
from prefect_registry.ingestion.http.receiving import Progress
from prefect_registry.ingestion.http.request import HttpRequest, Limits, Validators
from prefect_registry.ingestion.http.unpacking import Member, UnpackLimits, members, unpack

__all__ = [
    "ChecksumMismatch",
    "Fetched",
    "HttpRequest",
    "LimitExceeded",
    "Limits",
    "Member",
    "NotAllowed",
    "NotModified",
    "Progress",
    "SourceError",
    "SourceUnavailable",
    "TimeLimitExceeded",
    "UnpackLimits",
    "Validators",
    "fetch",
    "members",
    "unpack",
]
