"""`ls`, `show`, `log`, `events`, `incidents`, `table`: what people and programs see of a registry."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prefect_registry.registry import Registry

Command = Callable[..., Any]


def ids(said: Any) -> list[str]:
    return [item["id"] for item in said.data["items"]]


def test_ls_lists_datasets_in_every_state_newest_first(command: Command, history: Any) -> None:
    """With one line each, in which the whole id can be copied."""
    said = command("ls", "--registry", history.url, "--json")
    assert [item["state"] for item in said.data["items"]] == ["ROLLED_BACK", "READY", "READY", "READY"]
    assert ids(said)[1:] == [history.report, history.flights, history.flights_before]
    lines = command("ls", "-r", history.url).out.splitlines()
    assert lines[0].split()[:3] == ["DATASET", "KIND", "STATE"]
    assert [line.split()[0] for line in lines[1:]] == ids(said)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--kind", "report"], ["report"]),
        (["--state", "ready", "--kind", "flights"], ["flights", "flights_before"]),
        (["--tag", "by=hand"], ["flights_before"]),
        (["--text", "job"], ["flights"]),
        (["--since", "1h", "--kind", "report"], ["report"]),
        (["--until", "1h"], []),
        (["--as-of", "2020-01-01"], []),
        (["--order", "-rows", "--limit", "1", "--state", "READY"], ["flights"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_ls_filters(options: list[str], found: list[str], command: Command, history: Any) -> None:
    """By kind, state, label, text, time and the past."""
    said = command("ls", "--registry", history.url, "--json", *options)
    assert ids(said) == [getattr(history, name) for name in found]


def test_what_a_run_made_is_listed(command: Command, history: Any) -> None:
    """Also through `ls --run`."""
    assert ids(command("ls", "--run", history.nightly, "-r", history.url, "--json")) == [history.flights]


def test_pages_follow_each_other(command: Command, history: Any) -> None:
    """A person is told the cursor on stderr, a program finds it as `next`; together the pages are the whole."""
    whole = ids(command("ls", "-r", history.url, "--json"))
    first = command("ls", "-r", history.url, "--limit", "3", "--json")
    second = command("ls", "-r", history.url, "--limit", "3", "--cursor", first.data["next"], "--json")
    assert ids(first) + ids(second) == whole
    assert second.data["next"] is None
    assert first.data["next"] in command("ls", "-r", history.url, "--limit", "3").err


def test_pages_of_an_age_are_pages_of_one_query(command: Command, history: Any) -> None:
    """`7d` is another moment when the next page is asked for: the cursor remembers which it was."""
    for arguments in (["ls", "--since", "7d"], ["log", "--since", "1h"], ["ls", "runs", "--as-of", "0s"]):
        call = [*arguments, "--limit", "2", "-r", history.url, "--json"]
        first = command(*call).data
        said = command(*call, "--cursor", first["next"])
        assert said.code == 0, said.out
        assert len(said.data["items"]) >= 1
        assert not [item for item in said.data["items"] if item in first["items"]]
    assert command("ls", "-r", history.url, "--cursor", first["next"]).code == 6


def test_what_a_run_published_by_itself_is_shown(command: Command, tmp_path: Path) -> None:
    """With publish="on_commit" each dataset has a run of its own; `show` of the outer one has them."""
    registry = Registry(tmp_path)
    with registry.run("bit by bit", publish="on_commit") as run:
        with run.dataset("notes") as first, first.open("x.txt", "w") as file:
            file.write("x")
        with run.dataset("notes") as second, second.open("x.txt", "w") as file:
            file.write("y")
    data = command("show", run.id, "-r", str(tmp_path), "--json").data
    assert [d["id"] for d in data["datasets"]] == sorted([first.id, second.id])


def test_what_need_not_be_fresh_comes_from_the_index_of_this_machine(command: Command, tmp_path: Path) -> None:
    """`ls`, `log`, `lineage` and `stats`, with --no-fresh."""
    registry = Registry(tmp_path / "registry", use_cache=False)
    where = ["-r", registry.url, "--json"]
    with registry.run("first") as run, run.dataset("flights") as ds:
        ds.set_rows(0)
    assert ids(command("ls", "--no-fresh", *where)) == [ds.id]
    with registry.run("second"):
        registry.table("flights").to_table()
    assert ids(command("ls", "runs", "--no-fresh", *where)) == [run.id]
    assert [item["run"]["id"] for item in command("log", "--no-fresh", *where).data["items"]] == [run.id]
    assert command("stats", "--quick", "--no-fresh", *where).data["runs"]["COMMITTED"] == 1
    assert len(command("lineage", ds.id, "--no-fresh", *where).data["edges"]) == 1
    assert len(command("lineage", ds.id, *where).data["edges"]) == 2
    assert len(ids(command("ls", "runs", "--no-fresh", *where))) == 2


def test_ls_lists_other_things(command: Command, history: Any) -> None:
    """Runs, kinds with their sums, events, incidents, documents."""
    runs = command("ls", "runs", "--purpose", "reporting", "-r", history.url, "--json")
    assert ids(runs) == [history.reporting]
    kinds = command("ls", "kinds", "-r", history.url, "--json").data["items"]
    assert [(k["kind"], k["datasets"], k["rows"]) for k in kinds] == [("flights", 2, 19), ("report", 1, 0)]
    assert ids(command("ls", "events", "-r", history.url, "--json", "--run", history.reporting)) == [history.event]
    assert ids(command("ls", "incidents", "-r", history.url, "--json")) == [history.incident]
    assert "urn:doc:1  On delays" in command("ls", "documents", "-r", history.url).out
    for what in ("runs", "kinds", "events", "incidents", "documents", "doctags"):
        assert command("ls", what, "-r", history.url).code == 0


def test_a_filter_that_means_nothing_is_refused(command: Command, history: Any) -> None:
    """Instead of an answer that is empty for the wrong reason; all of what is wrong is named, with exit code 6."""
    for options, words in (
        (["runs", "--kind", "x", "--tag", "a=b"], ["--kind does not go with runs", "--tag does not go with runs"]),
        (["--state", "COMMITTED"], ["'COMMITTED' is none of PENDING"]),
        (["--since", "yesterday"], ["is no time", "7d"]),
        (["--tag", "by"], ["name=value"]),
        (["--limit", "0"], ["limit must be"]),
        (["--cursor", "x"], ["cursor"]),
        (["--order", "beauty"], ["cannot be ordered by"]),
    ):
        said = command("ls", *options, "--registry", history.url)
        assert (said.code, said.out) == (6, "")
        assert all(word in said.err for word in words), said.err


def test_show_tells_all_of_one_thing(command: Command, history: Any) -> None:
    """Found by what its id begins with; any other word is a kind."""
    for wanted, of in (
        (history.nightly, "run"), (history.flights, "dataset"), (history.event, "event"),
        (history.incident, "incident"), ("flights", "table"),
    ):  # fmt: skip
        data = command("show", wanted, "-r", history.url, "--json").data
        assert data["of"] == of
        assert wanted in data["item"].values()
    assert [d["id"] for d in command("show", history.nightly, "-r", history.url, "--json").data["datasets"]] == [
        history.flights
    ]
    text = command("show", history.flights, "-r", history.url).out
    assert "tags.by" in text
    assert "a.parquet" in text


def test_lineage_is_a_tree_for_people(command: Command, history: Any) -> None:
    """What it came from and what it led to, by name and id; one direction alone, so many steps."""
    both = command("lineage", history.reporting, "-r", history.url).out
    assert both.index("came from") < both.index(f"flights  {history.flights}") < both.index("led to")
    assert both.index("led to") < both.index(f"report  {history.report}")
    assert history.report not in command("lineage", history.reporting, "--upstream", "-r", history.url).out
    near = command("lineage", history.report, "--depth", "1", "-r", history.url).out
    assert history.reporting in near
    assert history.flights not in near


def test_lineage_for_other_programs(command: Command, history: Any) -> None:
    """As Mermaid and Graphviz draw it, from what came first to what came of it; as JSON in the words of PROV."""
    call = ["lineage", history.report, "-r", history.url, "--format"]
    mermaid = command(*call, "mermaid").out
    assert mermaid.startswith("flowchart LR\n")
    assert f"{history.flights} -->|used by| {history.reporting}" in mermaid
    assert f"{history.reporting} -->|generated| {history.report}" in mermaid
    dot = command(*call, "dot").out
    assert dot.startswith("digraph")
    assert f'"{history.flights}" -> "{history.reporting}" [label="used by"]' in dot
    edges = command(*call, "json").data["edges"]
    assert [(e["source"], e["relation"], e["target"]) for e in edges if e["depth"] == 2] == [
        (history.reporting, "used", history.flights)
    ]
    assert command(*call[:-1], "--json").data["edges"] == edges


def test_lineage_is_of_what_exists(command: Command, history: Any) -> None:
    """Neither a kind nor an id that nobody has; and a depth of at least one."""
    assert command("lineage", "flights", "-r", history.url).code == 6
    assert command("lineage", "run_00000000000000000000000000", "-r", history.url).code == 3
    assert command("lineage", history.report, "--depth", "0", "-r", history.url).code == 6


@pytest.mark.parametrize("wanted", ["flihgts", "run_00000000000000000000000000", "ds_what", "ev_what", "inc_what"])
def test_what_does_not_exist_is_not_found(wanted: str, command: Command, history: Any) -> None:
    """Exit code 3, for a kind that was misspelt too; a malformed id is not found either."""
    said = command("show", wanted, "-r", history.url)
    assert said.code == 3
    assert said.out == ""


def test_log_tells_what_happened(command: Command, history: Any) -> None:
    """Newest first: how each run ended and why, and what it made."""
    said = command("log", "-r", history.url)
    order = [history.open_run, history.failed, history.reporting, history.nightly]
    places = [said.out.index(run) for run in order]
    assert places == sorted(places)
    assert "ValueError (error): no way" in said.out
    assert "flights: 1 dataset(s), 11 rows" in said.out
    data = command("log", "--state", "ABORTED", "-r", history.url, "--json").data
    assert [(item["run"]["id"], item["made"][0]["rows"]) for item in data["items"]] == [(history.failed, 1000)]


def test_events_and_incidents(command: Command, history: Any) -> None:
    """By name, subject, run and class of the error."""
    for options in (["--name", "ReportWritten"], ["--subject", history.flights], ["--run", history.reporting]):
        said = command("events", *options, "--text", "pages", "-r", history.url)
        assert history.event in said.out
        assert '{"pages":3}' in said.out
    assert command("events", "--name", "Nothing", "-r", history.url, "--json").data["items"] == []
    assert "no way" in command("incidents", "--error", "ValueError", "-r", history.url).out
    assert history.incident not in command("incidents", "--error", "KeyError", "-r", history.url).out


def test_table_files_are_what_other_engines_read(command: Command, history: Any) -> None:
    """One URL a line, and nothing else on stdout; as of a time too."""
    said = command("table", "flights", "--files", "-r", history.url)
    expected = Registry(history.url).table("flights").files()
    assert said.out.splitlines() == expected
    assert all(Path(url).is_file() for url in expected)
    assert command("table", "flights", "--files", "--as-of", "2020-01-01", "-r", history.url).out == ""
    assert history.flights in command("table", "flights", "-r", history.url).out


def test_names_cannot_command_the_terminal(command: Command, tmp_path: Path) -> None:
    """Control characters in what others wrote are shown as such, and brackets are no markup."""
    registry = Registry(tmp_path)
    registry.incident("broken", "x", "Error", "\x1b[31mred[/] [bold]")
    out = command("incidents", "-r", str(tmp_path)).out
    assert "\x1b" not in out
    assert "red[/] [bold]" in out


def test_each_row_is_one_line_in_a_pipe(command: Command, tmp_path: Path) -> None:
    """Also of a text that has several."""
    registry = Registry(tmp_path)
    registry.save("model", 1)
    registry.set_alias("model", "champion", "1", reason="better,\nand smaller")
    lines = command("alias", "model", "champion", "--history", "-r", registry.url).out.splitlines()
    assert len(lines) == 2
    assert lines[1].endswith("better, and smaller")


def test_looking_makes_no_registry(command: Command, tmp_path: Path) -> None:
    """A misspelt folder is not found, rather than a new, empty registry."""
    for arguments in (["ls"], ["log"], ["gc", "--yes"], ["get", "flights"]):
        assert command(*arguments, "-r", str(tmp_path / "mispelt")).code == 3
    assert not (tmp_path / "mispelt").exists()


def test_a_url_needs_no_prefect(history: Any, tmp_path: Path) -> None:
    """Neither a server nor even the import, unless something speaks of other settings."""
    code = (
        "import sys; from prefect_registry.cli.app import run;"
        f"assert run(['ls', '-r', {history.url!r}, '--json']) == 0; assert 'prefect' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["items"]) == 4


def test_the_override_wins_over_the_command_line(history: Any, tmp_path: Path) -> None:
    """As over every call, also when it stands in a file of Prefect's settings."""
    (tmp_path / "prefect.toml").write_text(f'[integrations.registry]\noverride = "{history.url}"\n')
    program = [sys.executable, "-m", "prefect_registry", "config", "-r", "./other", "--json"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert (said["registry"], said["said_by"]) == (history.url, f"PREFECT_REGISTRY_OVERRIDE={history.url}")


def test_whoever_stops_reading_is_no_error(history: Any, tmp_path: Path) -> None:
    """`prefect-registry ls | true` ends without a traceback."""
    shell = f"{sys.executable} -m prefect_registry log -r {history.url} | true"
    done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
