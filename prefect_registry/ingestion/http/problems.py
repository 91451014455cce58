"""What can go wrong with a source: what may pass, and what stays wrong until somebody changes something."""

from __future__ import annotations

from prefect_registry.errors import RecoverableError, RegistryError


class SourceError(RegistryError):
    """The source answered in a way that will not pass by itself. Nothing was kept."""

    kind = "source_error"
    usual_why = "The source refuses, or does not keep to HTTP"
    usual_todo = "Look at the URL in a browser, and correct the definition or tell the publisher"


class NotAllowed(SourceError):
    """A URL, or a redirect, leads to a scheme or host that is not in the list."""

    kind = "source_not_allowed"
    usual_why = "Only the schemes and hosts in the definition's lists are ever asked"
    usual_todo = "Add the host to the list if it is one of the publisher's"


class LimitExceeded(SourceError):
    """The source sent, or said that it would send, more than the definition's limits allow."""

    kind = "source_limit_exceeded"
    usual_why = "It is larger than it may be, or an attack"
    usual_todo = "Raise the limit if the size is meant"


class ChecksumMismatch(SourceError):
    """What came is not what the definition's checksum says."""

    kind = "source_checksum_mismatch"
    usual_why = "The file was damaged on its way, replaced, or cut short by the server"
    usual_todo = "Download it again, and compare the checksum with the publisher's"


class SourceUnavailable(RecoverableError):
    """The source could not be reached, broke off, or is overloaded; all attempts were used.

    ``context`` has ``retry_after`` in seconds where the server named one.
    """

    kind = "source_unavailable"
    usual_why = "The network or the server failed"
    usual_todo = "Try again later"


class TimeLimitExceeded(SourceUnavailable):
    """The download took longer than it may."""

    kind = "source_time_limit_exceeded"
    usual_why = "The source is slow, or sends without end"
    usual_todo = "Try again later; raise the limit if the source is always this slow"
