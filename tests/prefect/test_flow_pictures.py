"""The picture on a run's page in Prefect's UI: what it has read, the run, and what it has published."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from prefect import flow
from prefect_support import Server, ended, rows_of, stage

from prefect_registry.artifacts.lineage import section
from prefect_registry.models import ModelRegistry
from prefect_registry.registry import Registry
from prefect_registry.runs import current_run, registry_run
from prefect_registry.runs.publication import publication_of
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.testing.counting import CountingStorage


def picture_of(server: Server, state: Any) -> str:
    """The Mermaid text in the page that a flow run has left; a page holds one."""
    [page] = [a for a in server.artifacts(str(state.state_details.flow_run_id)) if a["key"].endswith("-run")]
    [text] = re.findall(r"^```mermaid\n(.*?)^```$", page["data"], re.DOTALL | re.MULTILINE)
    return str(text)


def boxes(text: str) -> dict[str, str]:
    """The labels of a picture by the keys of its boxes."""
    found = re.findall(r'^    (\w+)(?:\(\[|\[|\{\{)"(.*?)<br/>', text, re.MULTILINE)
    return {key: re.sub(r"#(\d+);", lambda m: chr(int(m[1])), label) for key, label in found}


def arrows(text: str) -> set[tuple[str, str, str]]:
    """Source, relation and target by their labels."""
    named = boxes(text)
    found = re.findall(r'^    (\w+) -->\|"(.*?)"\| (\w+)$', text, re.MULTILINE)
    return {(named[source], relation, named[target]) for source, relation, target in found}


def test_the_page_of_a_run_shows_what_it_read_and_published(store: Registry, server: Server) -> None:
    """Datasets, objects and versions of models, with those of the runs inside it, in the page that there was anyway."""
    with store.run("given") as run:
        with run.dataset("raw") as raw:
            raw.write_table(rows_of(3))
        run.save("rate", 7, version="1")

    @registry_run
    @flow
    def inner() -> None:
        current_run().load("rate")
        stage("inside")

    @registry_run(store, purpose="fit {year}")
    @flow
    def fit(year: int) -> None:
        assert current_run().table("raw").rows == 3
        current_run().table("raw").to_table()
        inner()
        with current_run().dataset("clean") as clean:
            clean.write_table(rows_of(2))
        current_run().save("fitted", 8, version="1")
        ModelRegistry(store).register_model("m", "s3://bucket/m", version="v1")

    state = ended(fit(2013, return_state=True))
    assert arrows(picture_of(server, state)) == {
        ("fit 2013", "used", "raw"),
        ("fit 2013", "used", "rate@1"),
        ("inside", "wasGeneratedBy", "fit 2013"),
        ("clean", "wasGeneratedBy", "fit 2013"),
        ("fitted@1", "wasGeneratedBy", "fit 2013"),
        ("m v1", "wasGeneratedBy", "fit 2013"),
    }
    assert (
        len(server.artifacts(str(state.state_details.flow_run_id))) == 4
    )  # as before: tables, page, page of the model


def test_names_are_no_markup_and_many_of_them_are_a_number() -> None:
    """Whatever a kind is called, the block ends where it should; of many datasets the picture has a few."""
    registry = Registry("memory://pictures")
    hostile = '```"]<script>%%{init}'
    with registry.run(hostile) as run:
        for n in range(45):
            with run.dataset("many" if n else hostile, mode="append") as made:
                made.write_table(rows_of(1))
    lines = section(run, hostile, [], [*registry.datasets()], [], [])
    text = "\n".join(lines)
    assert "<script>" not in text
    assert text.count("```") == 2
    assert "+37 more" in boxes(text).values()
    assert len(text) < 5_000


def test_what_this_process_wrote_and_read_is_drawn_without_asking_the_store() -> None:
    """What was read is told by events that travelled with the run."""
    counting = CountingStorage(MemoryStorage())
    registry = Registry(counting, heartbeats=False)
    with registry.run("given") as given, given.dataset("raw") as raw:
        raw.write_table(rows_of(3))
    with registry.run("made") as run:
        registry.get_dataset(raw.id).to_table()
        with run.dataset("clean") as clean:
            clean.write_table(rows_of(2))
    end = registry.ledger.store.decision(run.id)
    assert end is not None
    before = counting.calls.total
    found = publication_of(run, end)
    lines = section(run, "made", found.event_keys, found.datasets, [], [])
    assert arrows("\n".join(lines)) == {("made", "used", "raw"), ("clean", "wasGeneratedBy", "made")}
    assert counting.calls.total == before


@pytest.mark.prefect
def test_a_run_that_publishes_nothing_draws_nothing(tmp_path: Any, server: Server) -> None:
    """What draws is not even imported."""
    code = (
        "import sys\nfrom prefect import flow\nfrom prefect_registry import registry_run\n"
        f"@registry_run({str(tmp_path / 'store')!r})\n@flow\ndef empty():\n    pass\n"
        "empty()\nprint(*(name for name in sys.modules if name.startswith('prefect_registry.provenance')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert [name for name in done.stdout.split() if "drawing" in name or name.endswith(("graph", "captured"))] == []
