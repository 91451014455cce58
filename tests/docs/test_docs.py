"""Documentation that cannot lie: its code runs, its links resolve, and what the code offers is in it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import prefect_registry
from prefect_registry import ingestion, models, provenance
from prefect_registry.catalog.checkpoints.ranges import TABLES
from prefect_registry.catalog.checkpoints.tables import key_of, schema_of

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.M | re.S)
NOT_RUN = {
    "README.md": 1,  # the sketch on top: read_month is the reader's own
    "docs/how-to/publish-on-a-schedule.md": 2,  # a deployment and a service of the reader's
    "docs/how-to/schedule-ingestion.md": 1,  # serves for ever
    "docs/how-to/test-your-flows.md": 1,  # a test of the reader's project
    "docs/how-to/move-an-existing-flow.md": 2,  # Spark and dbt
    "docs/how-to/read-what-was-published.md": 2,  # a bucket and a block of the reader's, DuckDB and Spark
    "docs/how-to/query-with-duckdb.md": 3,  # a bucket of the reader's, Spark, Athena
    "docs/how-to/s3.md": 1,  # clouds and other people's servers
    "docs/how-to/gcs.md": 1,
    "docs/how-to/azure.md": 1,
    "docs/how-to/minio-and-other-s3.md": 1,
    "docs/how-to/dask-and-ray.md": 1,  # tests/prefect runs a real Dask cluster
    "docs/reference/blocks.md": 5,  # each loads a block that the reader has saved
}


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """The code blocks of a language: what stands behind its name, and the code."""
    return [(m.group(2).strip(), m.group(3)) for m in FENCE.finditer(page.read_text("utf-8")) if m.group(1) == language]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.prefect
@pytest.mark.parametrize(
    "page", [p for p in PAGES if any(how != "no-run" for how, _ in blocks(p, "python"))], ids=name_of
)
def test_code_blocks_run(page: Path, prefect_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python block of a page runs, in order, in one namespace and an empty folder; a block that names a file is
    written to it, and in a tutorial every command is given too.
    """
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "page.py"
    script.write_text("\n".join(steps(page)), encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()):
        runpy.run_path(str(script), {"shell": shell}, run_name="page")


def steps(page: Path) -> Iterator[str]:
    """What a reader of the page does, as Python. A port of ours takes the place of 8000."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for match in FENCE.finditer(page.read_text("utf-8").replace(":8000", f":{port}").replace(", 8000", f", {port}")):
        language, how, code = match[1], match[2].strip(), match[3]
        if "." in how:
            yield f"__import__('pathlib').Path({how!r}).write_text({code!r})"
        elif language == "python" and how != "no-run":
            yield code
        elif language == "bash" and page.parent.name == "tutorial":
            yield f"shell({code!r})"


def shell(code: str) -> None:
    """Run commands as in a terminal; every one must succeed, in four minutes."""
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    process = subprocess.Popen(["bash", "-eu", "-c", code], env=environment, start_new_session=True)
    try:
        assert process.wait(240) == 0, code
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_what_does_not_run_is_known() -> None:
    """A block is left out only if it is in the list above, which says why."""
    left_out = {name_of(p): sum(how == "no-run" for how, _ in blocks(p, "python")) for p in PAGES}
    assert {k: v for k, v in left_out.items() if v} == NOT_RUN


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    """Every relative link leads to a file that is there."""
    text = FENCE.sub("", page.read_text("utf-8"))
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert missing == []


def generator() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "generate.py"))["PAGES"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", sorted(generator()))
def test_the_reference_is_what_the_code_says(name: str) -> None:
    """Public names, tasks, block fields, error kinds, events, settings, commands and options: none is missing."""
    written = (ROOT / "docs" / "reference" / name).read_text("utf-8")
    assert written == generator()[name](), "run: python docs/generate.py"


def test_every_error_is_documented() -> None:
    """Each class that is an error of the registry has a row, wherever it is defined, and a kind of its own."""
    source = "\n".join(p.read_text("utf-8") for p in (ROOT / "prefect_registry").rglob("*.py"))
    names = {"RegistryError"}
    while found := set(re.findall(rf"^class (\w+)\((?:.*\b)?(?:{'|'.join(names)})\b.*\):", source, re.M)) - names:
        names |= found
    assert {"TimeLimitExceeded", "LockFileError"} <= names, "the search finds none of what it is for"
    page = (ROOT / "docs" / "reference" / "errors.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", page, re.M)
    assert sorted(name for name, _ in rows) == sorted(n for n in names if not n.startswith("_"))
    assert len({kind for _, kind in rows}) == len(rows)


def test_every_public_name_is_in_the_reference() -> None:
    """Each name that the package, or a domain of it, exports has a heading, or a row, there."""
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    for module in (prefect_registry, ingestion, models, provenance):
        missing = [n for n in module.__all__ if not re.search(rf"^(## {n}$|\| `{n}` \||`{n}`, slug)", pages, re.M)]
        assert missing == []


def test_every_command_in_the_documentation_exists() -> None:
    """A command line in a page names a command and options that there are."""
    known = (ROOT / "docs" / "reference" / "cli.md").read_text("utf-8")
    for page in PAGES:
        for _, code in blocks(page, "bash"):
            for line in re.findall(r"^(?:until )?prefect-registry (.*?)(?:\s*[#|].*)?$", code, re.M):
                words = line.split()
                assert f"## prefect-registry {words[0]}" in known, f"{name_of(page)}: {line}"
                assert all(w in known for w in words if w.startswith("--")), f"{name_of(page)}: {line}"


def test_the_tables_of_the_catalog_are_what_the_page_says() -> None:
    """Every table with its columns, their Parquet types, and which are its key."""
    page = (ROOT / "docs" / "reference" / "catalog-tables.md").read_text("utf-8")
    written = {}
    for section in re.split(r"^## ", page, flags=re.M)[1:]:
        rows = re.findall(r"^\| (\*{0,2})`(\w+)`\*{0,2} \| ([^|]+) \|", section, re.M)
        written[section.partition("\n")[0]] = [(name, kind, bool(bold)) for bold, name, kind in rows]
    assert written == {
        table: [(f.name, str(f.type), f.name in key_of(table)) for f in schema_of(table)]
        for table in (*TABLES, "unsettled", "watched")
    }


def test_every_page_is_in_the_index() -> None:
    """Nobody finds a page that is not listed in docs/README.md (decisions have an index of their own)."""
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    decisions = (ROOT / "docs" / "decisions" / "README.md").read_text("utf-8")
    for page in sorted((ROOT / "docs").rglob("*.md")):
        if page.name == "README.md":
            continue
        assert page.name in (decisions if page.parent.name == "decisions" else index), name_of(page)
