"""``publications.yaml``: what it means, and what is said of one that is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ingestion_support import Scene

from prefect_registry import Registry
from prefect_registry.errors import InvalidInput
from prefect_registry.ingestion import RetrievalFrequency
from prefect_registry.ingestion.definitions import json_schema, load_definitions
from prefect_registry.ingestion.managers import task_types

GOOD = """\
version: 1
defaults:
  retrieval_frequency: MONTHLY
publications:
  - id: flights
    title: Flights from New York City
    last_reviewed: 2026-01-31
    plan:
      - {type: callable, name: derive, after: [retrieve], options: {function: "x:derive"}}
      - type: callable
        name: retrieve
        options: {function: "x:retrieve"}
        time_limit_seconds: 600
  - id: weather
    retrieval_frequency: WEEKLY
    plan: [{type: callable}]
"""


def test_good() -> None:
    """Defaults hold where a publication does not say otherwise; dates are dates."""
    flights, weather = load_definitions(GOOD, types=task_types())
    assert (flights.retrieval_frequency, weather.retrieval_frequency) == ("MONTHLY", RetrievalFrequency.WEEKLY)
    assert str(flights.last_reviewed) == "2026-01-31"
    assert flights.plan[1].time_limit_seconds == 600


def test_after_orders_a_plan(registry: Registry) -> None:
    """Tasks come behind those that they name."""
    scene = Scene(registry)
    (flights, _) = load_definitions(GOOD)
    scene.ingestion.put(flights)
    scene.ingestion.tick()
    assert [t.name for t in scene.ingestion.jobs("flights")[0].tasks] == ["retrieve", "derive"]


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidInput) as raised:
        load_definitions(text, types=task_types())
    return raised.value.problems


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("publications: [\n  {id: a\n", "publications.yaml:3: expected ',' or '}', but got '<stream end>'"),
        ("a: b: c", "publications.yaml:1: mapping values are not allowed here"),
        ("", "publications.yaml:1: the file is empty"),
        ("- 1", "publications.yaml:1: publications: a list of publications is needed"),
        ("version: 2\npublications: []", "publications.yaml:1: version: this release reads version 1, not 2"),
        ("publications: []\npublication: []", "publications.yaml:2: publication: there is no such key"),
        ("publications:\n  - 7", "publications.yaml:2: publications[0]: a mapping is needed"),
        ("publications:\n  - id: a\n    id: b", "publications.yaml:3: 'id' stands here a second time"),
        ("a: &x [1]\nb: *x", "publications.yaml:2: aliases (*name) are not read"),
        ("x: !!python/object:os.system {}", "publications.yaml:1: could not determine a constructor"),
        (
            "publications:\n  - title: x\n    plan: [{type: callable}]",
            "publications.yaml:2: publications[0].id: field req",
        ),
    ],
)
def test_broken(text: str, problem: str) -> None:
    """The message has the file, the line, and the path."""
    (found,) = problems(text)
    assert found.startswith(problem)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    """Unknown fields and types, wrong values, names that come twice: each with its line."""
    text = """\
defaults:
  region: XX
publications:
  - id: a/b
    frequency: MONTHLY
    plan: [{type: callable}]
  - id: c
    region: EU
    active_job: c/7
    retrieval_frequency: OFTEN
    plan:
      - type: kingfisher
  - id: d
    region: EU
    plan:
      - type: kingfisher
      - {type: callable, after: [nothing]}
  - {id: d, region: EU, plan: [{type: callable, max_attempts: -1}]}
  - {id: e, region: EU, plan: [{type: callable, after: [z]}, {type: http, name: z, after: [callable]}]}
  - {id: d, region: EU, plan: [{type: callable}]}
  - {id: f, region: EU}
"""
    found = [p.removeprefix("publications.yaml:") for p in problems(text)]
    told = "\n".join(found)
    for line in (
        "2: defaults.region: ",
        "5: publications[0].frequency: there is no such field",
        "9: publications[1].active_job: this is what jobs write; leave it out",
        "10: publications[1].retrieval_frequency: input should be 'WEEKLY', 'BIWEEKLY', 'MONTHLY'",
        "16: publications[2].plan[0].type: unknown task type 'kingfisher'; there are callable, deployment",
        "17: publications[2].plan[1]: after: there is no task 'nothing'",
        "18: publications[3].plan[0].max_attempts: ",
        "19: publications[4].plan[0]: after: the tasks wait for each other: callable -> z -> callable",
        "20: publications[5].id: 'd' is defined in line 13 already",
        "21: publications[6].plan: a plan of at least one task is needed",
    ):
        assert line in told, told


def test_too_large() -> None:
    """A file beyond the limit is not parsed."""
    (found,) = problems("#" * (5 << 20))
    assert "at most 4,194,304 are read" in found


def test_applying(registry: Registry) -> None:
    """What is defined is put, what is equal is left alone, and what jobs and people did to a publication stays."""
    scene = Scene(registry)
    scene.finish()
    definitions = load_definitions(GOOD)
    assert [(d.id, d.action) for d in scene.ingestion.compare(definitions)] == [
        ("flights", "create"),
        ("p", "absent"),
        ("weather", "create"),
    ]
    for each in definitions:
        scene.ingestion.put(each)
    scene.ingestion.pause("flights")
    again = load_definitions(GOOD.replace("from New York City", "from NYC"))
    changed = [(d.id, d.action, d.fields) for d in scene.ingestion.compare(again)]
    assert changed[0] == ("flights", "update", ("title",))
    assert changed[2] == ("weather", "unchanged", ())
    for each in again:
        scene.ingestion.put(each)
    assert scene.ingestion.publication("flights").frozen
    assert len(scene.ingestion.history("weather")) == 1
    assert len(scene.ingestion.history("flights")) == 3


def test_the_schema_knows_every_field() -> None:
    """Editors complete the fields of a publication, and not those that jobs write."""
    fields = json_schema(task_types())["properties"]["publications"]["items"]["properties"]
    assert {"id", "retrieval_frequency", "plan", "frozen"} <= set(fields)
    assert "active_job" not in fields


TASKS = """publications:
  - id: p
    plan:
      - type: http
        options:
          url: https://data.example.org/f.csv
          hosts: [example.org]
          kind: n
          format: csv
      - type: http
        name: b
        options:
          kind: n
          hosts: [data.example.org]
          url: https://data.example.org/f.csv
          format: xlsx
          headers:
            X-Key:
              env: A
              secret: b
          limits:
            size: -1
      - type: export
        options: {kinds: n}
    gates:
      n:
        - {gate: rows}
        - {gate: nonsense}
"""


def test_options_and_gates_are_checked_too() -> None:
    """What is wrong with the options of built-in tasks has its line, before any job fails of it."""
    with pytest.raises(InvalidInput) as caught:
        load_definitions(TASKS.partition("    gates")[0], types=task_types())
    found = [(p.split(":")[1], p.split(":")[2].strip()) for p in caught.value.problems]
    assert found == [
        ("5", "publications[0].plan[0].options"),
        ("16", "publications[0].plan[1].options.format"),
        ("18", "publications[0].plan[1].options.headers.X-Key"),
        ("22", "publications[0].plan[1].options.limits.size"),
        ("24", "publications[0].plan[2].options.kind"),
        ("24", "publications[0].plan[2].options.kinds"),
    ]
    assert "data.example.org is not in the list of hosts" in caught.value.problems[0]
    with pytest.raises(InvalidInput) as caught:
        load_definitions(TASKS, types=task_types())
    assert [p.split(":")[1] for p in caught.value.problems] == ["27", "28"]


def test_an_export_into_the_table_itself_is_refused() -> None:
    """It would replace the rows that it is an export of, by all of them twice."""
    for options in ("{kind: n, into: n}", "{kind: n, into: n, formats: [csv]}"):
        text = f"publications: [{{id: p, plan: [{{type: export, options: {options}}}]}}]"
        assert "into is the table itself" in problems(text)[0]


def test_the_schema_knows_options_and_gates() -> None:
    """Editors complete the options of built-in tasks, and gates; every reference in the schema leads somewhere."""
    schema = json_schema(task_types())
    text = str(schema)
    assert {"HttpOptions", "ExportOptions", "HeaderSource", "RowsGate"} <= set(schema["$defs"])
    assert set(re.findall(r"#/\$defs/(\w+)", text)) <= set(schema["$defs"])


def test_the_definitions_in_the_documentation_are_right() -> None:
    """Every publications.yaml that a page shows whole can be applied."""
    pages = [p for p in (Path(__file__).parents[2] / "docs").rglob("*.md") if "publications" in p.read_text("utf-8")]
    found = [block for p in pages for block in re.findall(r"^```yaml\n(.*?)^```$", p.read_text("utf-8"), re.M | re.S)]
    whole = [block for block in found if re.search(r"^publications:", block, re.M) and "[...]" not in block]
    assert len(whole) >= 3
    for block in whole:
        assert load_definitions(block, types=task_types())
