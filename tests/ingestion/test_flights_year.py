"""The flights of New York City, served over HTTP and retrieved every month of a year in which much goes wrong."""

from __future__ import annotations

import gzip
import hashlib
import io
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pytest
from ingestion_support import Time
from web_support import Request, Server

from flows import nycflights
from prefect_registry import Registry
from prefect_registry.ingestion import Export, Ingestion, Job
from prefect_registry.ingestion.definitions import load_definitions
from prefect_registry.ingestion.managers import task_types

FIRST_DAY = datetime(2013, 2, 3, 6, 0, tzinfo=UTC)
COLUMNS = ["year", "month", "day", "carrier", "flight", "origin", "dest", "dep_delay", "time_hour"]
EACH = 40
"""Of so many flights, one is served: the year has 8,420."""

DEFINITION = """
publications:
  - id: flights
    title: Flights from New York City
    retrieval_frequency: MONTHLY
    public: true
    plan:
      - type: http
        max_attempts: 3
        backoff_seconds: 3600
        options:
          url: {url}/flights.csv.gz
          hosts: ["{host}"]
          schemes: [http]
          kind: flights
          format: csv
          limits: {{attempts: 1}}
      - type: export
        options: {{kind: flights, formats: [csv, jsonl], date_field: time_hour}}
    gates:
      flights:
        - {{gate: schema}}
        - {{gate: rows, min_ratio: 1}}
        - {{gate: nulls, column: carrier}}
        - {{gate: freshness, column: time_hour, max_age_days: 70}}
"""


class Publisher:
    """Publishes all flights up to the end of the last month, two days late."""

    def __init__(self, site: Server, time: Time) -> None:
        table = nycflights.read_kind("flights").select(COLUMNS)
        self.flights = table.take(list(range(0, table.num_rows, EACH)))
        self.time = time
        self.files: dict[tuple[int, bool, bool], bytes] = {}
        site.pages["/flights.csv.gz"] = self.answer

    @property
    def month(self) -> int:
        """Up to which month there are data; July's come in September."""
        now = self.time.at
        last = (now - timedelta(days=2)).month - 1 if now.year == 2013 else 12
        return 6 if now.month == 8 else last

    def in_(self, month: int, until: int = 31) -> bool:
        return (self.time.at.year, self.time.at.month) == (2013, month) and self.time.at.day <= until

    def answer(self, request: Request) -> None:
        if self.in_(4, until=20):
            return request.whole(b"", 500)
        if self.in_(5, until=25):
            return request.whole(b"<html>\n<p>We are moving, please come back</p>\n</html>\n")
        body = self.file(self.month, renamed=self.in_(10, until=28), only=self.in_(12, until=10))
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        if request.headers.get("If-None-Match") == etag:
            return request.whole(b"", 304, ETag=etag)
        return request.whole(body, ETag=etag)

    def file(self, month: int, renamed: bool = False, only: bool = False) -> bytes:
        if (month, renamed, only) not in self.files:
            compare = pc.equal if only else pc.less_equal
            found = self.flights.filter(compare(self.flights["month"], pa.scalar(month)))
            if renamed:
                found = found.rename_columns([c if c != "dep_delay" else "delay" for c in COLUMNS])
            out = io.BytesIO()
            pcsv.write_csv(found, out)
            self.files[month, renamed, only] = gzip.compress(out.getvalue(), 1, mtime=0)
        return self.files[month, renamed, only]

    def rows(self, month: int) -> int:
        return self.flights.filter(pc.less_equal(self.flights["month"], pa.scalar(month))).num_rows


def reason(job: Job) -> str:
    """Why it failed, in a word."""
    note = next(t.note for t in job.tasks if t.note)
    words = {"answers 500": "down", "cannot be read": "damaged", "flights: schema": "schema", "flights: rows": "rows"}
    return next((word for text, word in words.items() if text in note), note)


@pytest.fixture
def time() -> Time:
    return Time(FIRST_DAY)


def test_a_year(registry: Registry, site: Server, time: Time) -> None:
    """Every day readers see one complete job, whose export says the same; what failed is tried again after a week, what
    is unchanged makes no job, what a gate refuses is not seen, and of old jobs there is what the rules keep.
    """
    publisher = Publisher(site, time)
    ingestion = Ingestion(registry, now=time)
    for definition in load_definitions(DEFINITION.format(url=site.url, host=site.host), types=task_types()):
        ingestion.put(definition)
    made: dict[str, Job] = {}
    published: list[int] = []
    checked: list[date] = []
    while time.at < FIRST_DAY + timedelta(days=364):
        midnight = time.at + timedelta(days=1)
        while (report := ingestion.tick()).created or report.changes:
            months = seen(registry)
            if months and months != published[-1:]:
                assert registry.table("flights").rows == publisher.rows(months[0])
                published += months
            made |= {j.id: j for j in ingestion.jobs("flights")}
            time.pass_(minutes=5)
        checked += [time.at.date() for _ in report.unchanged]
        time.at = midnight
    assert published == [1, 2, 3, 4, 5, 6, 8, 9, 11, 12], "never the same twice, and never less than before"
    jobs = sorted(made.values(), key=lambda j: j.number)
    failed = [j for j in jobs if j.is_unsuccessful()]
    assert len([j for j in jobs if j.successful]) == len(published)
    assert list(dict.fromkeys(map(reason, failed))) == ["down", "damaged", "schema", "rows"]
    starts = [j.start for j in failed if j.start is not None]
    assert all((b - a).days >= 7 for a, b in pairwise(starts))
    assert len(checked) == 1
    last_checked = ingestion.publication("flights").last_checked
    assert last_checked is not None
    assert (last_checked.date(), last_checked.month) == (checked[0], 8)
    assert len(list(registry.incidents())) == len(failed)
    # What the rules keep: the active job, the one before, and failures of the 180 days before the last success.
    active = ingestion.get_job(str(ingestion.publication("flights").active_job))
    assert active is not None
    assert active.end is not None
    line = active.end - timedelta(days=180)
    kept = [j.id for j in jobs if j.successful][-2:] + [j.id for j in failed if j.start is not None and j.start >= line]
    assert sorted(j.id for j in ingestion.jobs("flights")) == sorted(kept)
    files = Export(ingestion.publication("flights")).files
    assert [entry["year"] for entry in files["csv"]["by_year"]] == [2013, 2014], "the last evening is next year in UTC"
    assert (files["csv"]["undated"], files["xlsx"]["full"]) == (False, False)
    assert lines(registry, "2013.csv.gz") + lines(registry, "2014.csv.gz") == publisher.rows(12)


def lines(registry: Registry, path: str) -> int:
    """The rows of a file of the export."""
    with registry.latest("flights-export").open(path) as file:
        return gzip.decompress(file.read()).count(b"\n") - 1


def seen(registry: Registry) -> list[int]:
    """The last month that readers see, in one state with its export; none when nothing is published."""
    now = registry.snapshot()
    flights = now.table("flights")
    if not len(flights):
        return []
    with now.latest("flights-export").open("full.csv.gz") as file:
        assert gzip.decompress(file.read()).count(b"\n") == (flights.rows or 0) + 1
    return [pc.max(flights.to_table(["month"])["month"]).as_py()]
