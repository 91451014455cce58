"""The tables of the index: what they hold, and the number of their form.

Times are microseconds since 1970 in UTC; what the store has as JSON is JSON text. The checkpoints in the store have the
same tables and columns.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

INDEX_FORMAT = 3
"""Raised with every change of the tables: an index of another form is thrown away and built anew."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

DDL = """
CREATE TABLE state (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE seen (key TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE unsettled (run_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE watched (type TEXT, key TEXT, gen INTEGER, PRIMARY KEY (type, key, gen)) WITHOUT ROWID;
CREATE TABLE parts (name TEXT PRIMARY KEY, low TEXT, high TEXT) WITHOUT ROWID;

CREATE TABLE runs (
    id TEXT PRIMARY KEY, purpose TEXT, model_id TEXT, revision TEXT, config TEXT, started_at INTEGER,
    parent TEXT, isolated INTEGER, publish TEXT, implicit INTEGER, lease_seconds REAL, flow_run TEXT, prefect TEXT,
    ancestors TEXT, finished_at INTEGER, outcome TEXT, notes TEXT, failure TEXT, left_out TEXT,
    state TEXT, settled_at INTEGER, publication TEXT, rank INTEGER
) WITHOUT ROWID;
CREATE INDEX runs_by_time ON runs (started_at, id);
CREATE INDEX runs_by_purpose ON runs (purpose, started_at, id);
CREATE INDEX runs_by_state ON runs (state, started_at, id);
CREATE INDEX runs_by_flow_run ON runs (flow_run) WHERE flow_run IS NOT NULL;

CREATE TABLE datasets (
    id TEXT PRIMARY KEY, run_id TEXT, kind TEXT, gen INTEGER, step TEXT, mode TEXT, partition TEXT, key TEXT,
    own_run INTEGER, parent_run TEXT, created_at INTEGER, staged_at INTEGER, rolled_back_at INTEGER, root TEXT,
    external INTEGER, rows INTEGER, bytes INTEGER, file_count INTEGER, partitioning TEXT, tags TEXT, task_run TEXT,
    reason TEXT, member INTEGER, ended_at INTEGER, outcome TEXT, settled_at INTEGER, publication TEXT, state TEXT,
    rank INTEGER
) WITHOUT ROWID;
CREATE INDEX datasets_by_time ON datasets (created_at, id);
CREATE INDEX datasets_by_kind ON datasets (kind, created_at, id);
CREATE INDEX datasets_by_state ON datasets (state, created_at, id);
CREATE INDEX datasets_by_run ON datasets (run_id);
CREATE INDEX datasets_published ON datasets (kind, settled_at, publication, id) WHERE outcome = 'committed';

CREATE TABLE events (
    id TEXT PRIMARY KEY, record TEXT, name TEXT, subject_id TEXT, payload TEXT, created_at INTEGER, run_id TEXT,
    error_class TEXT, message TEXT, visible_at INTEGER
) WITHOUT ROWID;
CREATE INDEX events_by_time ON events (record, created_at, id);
CREATE INDEX events_by_subject ON events (subject_id, created_at, id);

CREATE TABLE cells (
    type TEXT, key TEXT, gen INTEGER, name TEXT, tx TEXT, base INTEGER, at INTEGER, deleted INTEGER, reason TEXT,
    value TEXT, visible_at INTEGER, PRIMARY KEY (type, key, gen)
) WITHOUT ROWID;
CREATE INDEX cells_by_name ON cells (type, name, gen);

CREATE TABLE edges (
    source TEXT, relation TEXT, target TEXT, asserted_by TEXT, at INTEGER, ended_at INTEGER,
    PRIMARY KEY (source, relation, target, asserted_by)
) WITHOUT ROWID;
CREATE INDEX edges_by_target ON edges (target, relation, source, asserted_by, at, ended_at);
"""

INDEXES = {
    statement.split()[2]: statement.strip()
    for statement in DDL.split(";")
    if statement.strip().startswith("CREATE INDEX")
}
"""What makes each index, by its name."""


def micros(moment: datetime) -> int:
    """A moment as the index has it."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """The moment that :func:`micros` made."""
    return _EPOCH + value * _MICROSECOND
