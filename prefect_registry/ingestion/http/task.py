"""Tasks that download a file and stage its rows."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from prefect_registry.ingestion.enums import Status
from prefect_registry.ingestion.errors import ConfigurationError
from prefect_registry.ingestion.http.fetching import Fetched, NotModified, fetch
from prefect_registry.ingestion.http.request import HttpRequest, Limits, Validators, shown
from prefect_registry.ingestion.http.request import parse as parse_url
from prefect_registry.ingestion.http.scratch import Scratch, drop_scratch, scratch_of
from prefect_registry.ingestion.http.unpacking import UnpackLimits
from prefect_registry.ingestion.managers import TaskManager, options_of
from prefect_registry.ingestion.models import Job, Task
from prefect_registry.records.datasets import Mode

log = logging.getLogger("prefect_registry")
_PROGRESS_SECONDS = 10.0
_SECRETS = "prefect_registry.publications.secrets"
"""The module that knows Prefect's Secret blocks. It is imported only where a header names one."""


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HeaderSource(_Options):
    """Where the value of a header comes from when the task runs: it is in no file, no store and no log.

    Attributes:
        env: Name of an environment variable of the process that ticks.
        secret: Name of a Prefect Secret block.
        prefix: What stands before the value, such as ``"Bearer "``.
    """

    env: str = ""
    secret: str = ""
    prefix: str = ""

    @model_validator(mode="after")
    def _one(self) -> HeaderSource:
        if bool(self.env) == bool(self.secret):
            raise ValueError("give env or secret: the value itself does not belong here")
        return self


class HttpOptions(_Options):
    """Options of :class:`HttpTask`.

    Attributes:
        url: What is downloaded; without user and password.
        hosts: Every host that may be asked, redirects included; a port other than the scheme's is named.
        schemes: ``https`` alone by default.
        kind: The table that the rows go to.
        format: Of the file, or of what is packed in it (gzip, zstd, zip).
        headers: By name, where their values come from.
        sha256: What the file must have, hexadecimal.
        md5: The same, for publishers who give only that.
        limits: What the download may take.
        unpack: What unpacking may give.
        members: Which members of a zip, as a glob.
        mode: Whether the rows replace the table, are appended to it, or replace what has the same ``partition``.
        partition: Column values by which they do.
        columns: Types by column, as pyarrow names them (``int64``, ``string``, ``date32``, ``timestamp[us]``); the
            others are found out from the first megabytes.
        delimiter: Of CSV.
        encoding: Of CSV.
        null_values: What CSV writes for no value.
    """

    url: Annotated[str, Field(min_length=1, max_length=4_000)]
    hosts: Annotated[tuple[str, ...], Field(min_length=1)]
    schemes: tuple[Literal["https", "http"], ...] = ("https",)
    kind: Annotated[str, Field(min_length=1)]
    format: Literal["csv", "jsonl", "parquet"]
    headers: dict[str, HeaderSource] = Field(default_factory=dict)
    sha256: str | None = None
    md5: str | None = None
    limits: Limits = Limits()
    unpack: UnpackLimits = UnpackLimits()
    members: str = "*"
    mode: Mode = "replace"
    partition: dict[str, Any] | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: str = "utf-8"
    null_values: tuple[str, ...] = ("", "NA")

    @model_validator(mode="after")
    def _may_be_asked(self) -> HttpOptions:
        self.request(dict.fromkeys(self.headers, "x"))
        return self

    def request(self, headers: Mapping[str, str]) -> HttpRequest:
        """What to ask for, with these headers. Raises ``ValueError``."""
        values = {"url": self.url, "hosts": self.hosts, "schemes": self.schemes, "sha256": self.sha256, "md5": self.md5}
        try:
            return HttpRequest.model_validate({**values, "headers": headers})
        except ValidationError as error:
            raise ValueError(
                "; ".join(e["msg"] for e in error.errors(include_url=False, include_input=False))
            ) from None


class HttpTask(TaskManager):
    """Downloads a file and stages its rows as a dataset. :class:`HttpOptions` tells the options.

    What cannot be reached is tried again later; what is refused, too large, damaged or not what it should be fails the
    job. When the file is what the active job has downloaded, by the server's word or by its checksum, there is no job.

    What has come of a file stays on this host until its rows are staged, or the task has failed: a task that is started
    again, after a failure that has passed or because its process was killed, asks for the rest if the server can send
    that and the file has not changed.
    """

    remote = False

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.given = options_of(task, HttpOptions)
        self._told = time.monotonic()

    @property
    def final_output(self) -> bool:
        """The rows are published with the job."""
        return True

    def run(self) -> None:
        """Download, unpack, and stage the rows."""
        with self._scratch() as scratch:
            fetched = self._fetch(scratch, None)
            assert isinstance(fetched, Fetched), "nothing is known that it could be compared with"
            rows = self._stage(scratch, fetched)
        known = {**fetched.validators.model_dump(exclude_none=True), "definition": self._definition(), "rows": rows}
        self._remember(self.job, known)
        log.info("%s: %s rows in %s bytes of %s", self.task.id, f"{rows:,}", f"{fetched.size:,}", fetched.url)

    def _stage(self, scratch: Scratch, fetched: Fetched) -> int:
        from prefect_registry.ingestion.http.rows import Format, tables, together, unpacked

        given, url = self.given, parse_url(self.given.url)
        form = Format(given.format, _types(given.columns), given.delimiter, given.encoding, given.null_values)
        tags = {"source": shown(url), "sha256": fetched.sha256}
        rows = 0
        with self.attempt.dataset(given.kind, mode=given.mode, partition=given.partition, tags=tags) as ds:
            schema = None
            for file in unpacked(scratch.file, url.path.rpartition("/")[2], given.members, given.unpack):
                for table in tables(file, form, shown(url)):
                    schema = together(schema, table.schema, shown(url))
                    rows += table.num_rows
                    if table.num_rows:
                        ds.write_table(table)
            if not rows and schema is not None:
                ds.write_table(schema.empty_table())
        return rows

    def has_changed(self) -> bool | None:
        """Whether the source has another file than the active job has staged, by ETag, Last-Modified or checksum.

        True also when that job had no such file, or another definition. A server that knows neither ETag nor
        Last-Modified is asked for the whole file; so is one that names others than before. What came then stays for the
        job, which asks only whether it is still the same.
        """
        before = self.previous
        known = before.context.get("sources", {}).get(self._name()) if before is not None else None
        if before is None or known is None or known.get("definition") != self._definition():
            return True
        validators = Validators.model_validate({k: v for k, v in known.items() if k in Validators.model_fields})
        with self._scratch() as scratch:
            found = self._fetch(scratch, validators)
            scratch.keep = isinstance(found, Fetched)
        if isinstance(found, NotModified):
            others = {name: value for name, value in known.items() if name not in Validators.model_fields}
            self._remember(before, {**found.validators.model_dump(exclude_none=True), **others})
        return isinstance(found, Fetched)

    def get_status(self) -> tuple[Status, str | None]:
        """Done: :meth:`run` returns when the rows are staged."""
        return Status.COMPLETED, None

    def wipe(self) -> None:
        """Drop what has come of the file. The rows belong to the registry, which drops what is not published."""
        drop_scratch(self.registry.registry_id, self.registry.url, self.task.id)

    # -- help ----------------------------------------------------------------------------------------------------

    def _scratch(self) -> AbstractContextManager[Scratch]:
        return scratch_of(self.registry.registry_id, self.registry.url, self.task.id)

    def _remember(self, job: Job, known: dict[str, Any]) -> None:
        """Keep with a job what tells its file from others."""
        job.context["sources"] = {**job.context.get("sources", {}), self._name(): known}

    def _fetch(self, scratch: Scratch, known: Validators | None) -> Fetched | NotModified:
        headers = {name: source.prefix + _value_of(name, source) for name, source in self.given.headers.items()}
        return fetch(self.given.request(headers), scratch, self.given.limits, known, progress=self._progress)

    def _progress(self, received: int, expected: int | None) -> None:
        """Tell how far the download is; in the log only when it takes long."""
        if expected:
            self.progress(received / expected)
        now = time.monotonic()
        if now - self._told >= _PROGRESS_SECONDS:
            self._told = now
            log.info("%s: %s of %s bytes", self.task.id, f"{received:,}", f"{expected:,}" if expected else "unknown")

    def _name(self) -> str:
        return self.task.name or str(self.task.order)

    def _definition(self) -> str:
        """Tells apart definitions that read the same file in different ways."""
        options = self.given.model_dump(mode="json", exclude={"limits", "headers"})
        return hashlib.sha256(orjson.dumps(options, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _types(columns: Mapping[str, str]) -> dict[str, Any]:
    import pyarrow as pa

    types = {}
    for name, alias in columns.items():
        try:
            types[name] = pa.type_for_alias(alias)  # type: ignore[call-overload]
        except ValueError as error:
            raise ConfigurationError(
                f"The column {name!r:.80} has the unknown type {alias!r:.80}",
                why=str(error),
                todo="Give one of pyarrow's, like int64",
            ) from error
    return types


def _value_of(name: str, source: HeaderSource) -> str:
    """The value of a header. Raises ``ConfigurationError`` when it is not there."""
    if source.secret:
        return str(import_module(_SECRETS).secret(source.secret))
    value = os.environ.get(source.env)
    if value is None:
        raise ConfigurationError(
            f"The header {name} is in the environment variable {source.env}, which is not set",
            why="Values of headers are never in the plan",
            todo="Set it where the tick runs",
        )
    return value
