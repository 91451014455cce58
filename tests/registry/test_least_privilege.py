"""The policies of docs/how-to/least-privilege.md, enforced on a real server by a proxy that knows IAM's rules."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pytest
from registry_support import FAST, asset, doc, rows, write

from prefect_registry import Registry
from prefect_registry.errors import AccessDenied
from prefect_registry.ingestion import Collection, Ingestion
from prefect_registry.ledger import membership
from prefect_registry.ledger.paths import end_key
from prefect_registry.models import Metric, ModelRegistry
from prefect_registry.storage import Storage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.proxies import Proxy, Request
from prefect_registry.testing.servers import Server

pytestmark = pytest.mark.server
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "least-privilege.md"
PREFIX = "policy"
Statement = dict[str, Any]
READERS: list[Statement] = [
    {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::BUCKET"},
    {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::BUCKET/PREFIX/*"},
]
COLLECTOR: Statement = {
    "Effect": "Allow", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::BUCKET/PREFIX/data/*"
}  # fmt: skip
EMPTY = "(/heartbeat.json|/touch/.*|/nested/.*|/see/.*)$"
"""Keys below ``runs/`` that are written by plain PUTs."""


def writers() -> list[Statement]:
    """The policy that the page shows."""
    found = re.findall(r"```json\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    assert len(found) == 1
    statements: list[Statement] = json.loads(found[0])["Statement"]
    return statements


class Policy:
    """What AWS would answer, and what it was asked."""

    def __init__(self, statements: list[Statement], bucket: str) -> None:
        text = json.dumps(statements).replace("BUCKET", bucket).replace("PREFIX", PREFIX)
        self.statements: list[Statement] = json.loads(text)
        self.bucket = bucket
        self.refused: list[str] = []
        self.conditional: set[str] = set()
        self.plain: set[str] = set()
        self.actions: set[str] = set()
        self.deleted: set[str] = set()

    def allows_overwriting(self, key: str) -> bool:
        """Whether a plain PUT of the key, below the registry's prefix, is allowed."""
        return self._allows("s3:PutObject", f"arn:aws:s3:::{self.bucket}/{PREFIX}/{key}", False)

    def refuses(self, request: Request) -> bool:
        """Whether one of the actions that the request needs is not allowed. Notes it."""
        condition = request.header("If-None-Match") == "*"
        needed = list(self._needed(request))
        for action, resource in needed:
            self.actions.add(action)
            if action == "s3:PutObject" and request.method == "PUT":
                (self.conditional if condition else self.plain).add(resource.partition(f"{PREFIX}/")[2])
            if action == "s3:DeleteObject":
                self.deleted.add(resource)
            if not self._allows(action, resource, condition):
                self.refused.append(f"{action} {resource}")
                return True
        return False

    def _needed(self, request: Request) -> Iterator[tuple[str, str]]:
        parts = urlsplit(request.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        query, here = parse_qs(parts.query, keep_blank_values=True), f"arn:aws:s3:::{bucket}"
        if request.method == "POST" and "delete" in query:
            for each in re.findall(rb"<Key>(.*?)</Key>", request.body):
                yield "s3:DeleteObject", f"{here}/{each.decode()}"
        elif not key:
            yield "s3:ListBucket", here
        elif request.method in ("GET", "HEAD"):
            yield "s3:GetObject", f"{here}/{key}"
        elif request.method == "DELETE":
            yield "s3:AbortMultipartUpload" if "uploadId" in query else "s3:DeleteObject", f"{here}/{key}"
        else:
            yield "s3:PutObject", f"{here}/{key}"
            if source := request.header("x-amz-copy-source"):
                yield "s3:GetObject", f"arn:aws:s3:::{unquote(source).lstrip('/')}"

    def _allows(self, action: str, resource: str, condition: bool) -> bool:
        matching = [s for s in self.statements if _matches(s["Action"], action) and _matches(s["Resource"], resource)]
        for statement in matching:
            if statement["Effect"] == "Deny":
                assert statement["Condition"] == {"Null": {"s3:if-none-match": "true"}}
                if not condition:
                    return False
        return any(s["Effect"] == "Allow" for s in matching)


def _matches(patterns: str | list[str], text: str) -> bool:
    given = [patterns] if isinstance(patterns, str) else patterns
    return any(fnmatch.fnmatchcase(text, pattern.replace("[", "[[]")) for pattern in given)


Under = Callable[[list[Statement]], Any]


@pytest.fixture
def under(seaweedfs: Server) -> Under:
    """Opens the server's storage for somebody whom a policy binds. On AWS nobody is asked before the first write."""

    @contextmanager
    def open_under(statements: list[Statement]) -> Iterator[tuple[Storage, Policy]]:
        policy = Policy(statements, seaweedfs.bucket)
        with Proxy(seaweedfs.endpoint).running() as proxy:
            proxy.fail_next("403", times=30, which=policy.refuses)
            yield ResolvingStorage(seaweedfs.through(proxy.endpoint).storage(PREFIX), timeout=3), policy

    seaweedfs.storage(PREFIX).delete_many([info.key for info in seaweedfs.storage(PREFIX).list("")])
    return open_under


def live(registry: Registry) -> str:
    """One of everything that writers do. Returns a run that has published."""
    first = registry.begin_attempt("flow", flow_run="fr").begin
    run = registry.attach(registry.begin_attempt("flow", flow_run="fr").begin.run_id)
    assert registry.get_run(first.run_id).state == "ABORTED"
    write(run, "k", 1, 2)
    write(run, "keyed", 1, key="a")
    with run.dataset("large") as ds, ds.open("large.bin") as file:
        file.write(bytes(20 << 20))
    registry.rollback_dataset(run.dataset("dropped").id)
    run.register_documents([doc("a"), doc("events"), doc("datasets")])  # whose touches have folders of these names
    run.emit_event("e", "s", {})
    run.save("inside", {"n": 1})
    with registry.run("inner", parent=run.id) as inner:
        write(inner, "inner", 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(membership, "MOST_INLINE_BYTES", 0)  # as if the members did not fit the decision
        registry.close_run(run.id, True)
    with pytest.raises(ZeroDivisionError), registry.run("fails") as failing:
        write(failing, "k", 9)
        raise ZeroDivisionError
    with registry.run("one by one", publish="on_commit") as single:
        write(single, "k", 3)
        write(single, "k", 4, key="b")
    registry.register_documents([doc("a", title="new")])
    registry.register_doctags([asset("a")])
    registry.emit_event("e", "s", {})
    registry.incident("i", "s", "E", "m")
    registry.save("array", pa.table({"n": list(range(5_000))}))
    registry.save("array", pa.table({"n": list(range(5_001))}))
    registry.set_alias("array", "best", "1")
    registry.delete("array@2")
    models = ModelRegistry(registry)
    models.register_model("m", model={"weights": [1]}, artifacts=[Metric("accuracy", value=1.0)])
    models.set_alias("m", "champion", "1")
    ingestion = Ingestion(registry)
    ingestion.put(Collection(id="weekly", retrieval_frequency="WEEKLY", plan=[{"type": "callable"}]))
    registry.set_retention("k", keep_last=1)
    bad = registry.insert_run("bad")
    write(registry.attach(bad), "k", 5, mode="append")
    registry.close_run(bad, True)
    registry.revert(bad, "a mistake")
    registry.release(dry_run=False)
    registry.reap()
    registry.checkpoint(unsealed=True)
    return run.id


def test_writers_need_no_more_than_their_policy(under: Under) -> None:
    """Everything that writes works under it, and it covers every key that is only ever created."""
    with under(writers()) as (storage, policy):
        registry = Registry(storage, settings=FAST, version_objects=True)
        run = live(registry)
        assert sorted(rows(registry, "k")) == [1, 2, 3, 4]
        assert policy.refused == []
        assert [key for key in policy.conditional if policy.allows_overwriting(key)] == []
        below_runs = {key for key in policy.plain if key.startswith("runs/")}
        assert [key for key in below_runs if not re.search(EMPTY, key)] == []
        assert {key.split("/")[0] for key in policy.plain} == {"runs", "data", "catalog", ".probe"}
        decision = storage.get(end_key(run))
        with pytest.raises(AccessDenied):  # whatever a program does, it cannot replace a decision
            storage.put(end_key(run), b"{}")
        assert storage.get(end_key(run)) == decision
        swept = registry.collect(dry_run=True)
        assert swept.objects > 0
        with pytest.raises(AccessDenied):
            registry.collect(dry_run=False)
        assert registry.collect(dry_run=True).objects == swept.objects
    with under([*writers(), COLLECTOR]) as (storage, policy):
        collector = Registry(storage, settings=FAST)
        assert collector.collect(dry_run=False).objects > 0
        assert sorted(rows(collector, "k")) == [1, 2, 3, 4]
        assert policy.refused == []
        assert all("/data/" in key or "/.probe/" in key for key in policy.deleted)


def test_readers_need_to_list_and_to_get(under: Under, seaweedfs: Server) -> None:
    """Tables, runs, objects, documents, the catalog: nothing else is even tried. What writes is denied, and says so."""
    run = live(Registry(seaweedfs.storage(PREFIX), settings=FAST, version_objects=True))
    with under(READERS) as (storage, policy):
        registry = Registry(storage, settings=FAST, create=False)
        assert sorted(rows(registry, "k")) == [1, 2, 3, 4]
        assert registry.get_run(run).state == "COMMITTED"
        assert registry.load("array@best").num_rows == 5_000
        assert run in {found.id for found in registry.catalog.runs()}
        assert {d.id for d in registry.documents()} == {"a", "events", "datasets"}
        assert policy.actions == {"s3:ListBucket", "s3:GetObject"}
        assert policy.refused == []
        for write_something in (lambda: registry.insert_run("p"), lambda: registry.register_documents([doc("c")])):
            with pytest.raises(AccessDenied) as caught:
                write_something()
            assert caught.value.committed == "no"
