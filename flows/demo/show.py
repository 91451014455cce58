"""What the demo puts on the terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

if TYPE_CHECKING:  # what imports prefect is imported once the demo's own server is in the settings
    from prefect_registry.registry import Registry, RunInfo

Say = Callable[[str], None]
console = Console(highlight=False)
_SECONDS_BETWEEN_LINES = 5.0


def act(number: int, title: str, what: str) -> None:
    """Begin a part of the demo."""
    console.print()
    console.rule(f"[bold]{number}. {title}", align="left", style="cyan")
    console.print(what, style="dim", soft_wrap=True)


def done(text: str) -> None:
    """Something went as it should."""
    console.print(f"[green]✓[/] {text}", soft_wrap=True)


def told(line: str) -> None:
    """A line of somebody's log."""
    console.print(Text(f"  │ {line}", style="dim"), soft_wrap=True)


@contextlib.contextmanager
def working(text: str) -> Iterator[Say]:
    """Show that work goes on; call the result to say how far it is. In a file or pipe, a line now and then."""
    if console.is_terminal:
        with console.status(text) as status:
            yield lambda more: status.update(f"{text}: {more}" if more else text)
        return
    console.print(f"… {text}")

    said_at, said = time.monotonic(), ""

    def say(more: str) -> None:
        nonlocal said_at, said
        if more and more != said and time.monotonic() - said_at >= _SECONDS_BETWEEN_LINES:
            said_at, said = time.monotonic(), more
            console.print(f"… {text}: {more}")

    yield say


def datasets(registry: Registry) -> None:
    """The tables that readers see, and where each came from."""
    from prefect_registry.artifacts import readable

    grid = _grid("visible now", "kind", "datasets", "rows", "bytes", "came from")
    snapshot = registry.snapshot()
    for kind in snapshot.kinds():
        table = snapshot.table(kind)
        sources = sorted({d.tags.get("source", "") for d in table.datasets()})
        source = sources[0] if len(sources) == 1 else f"{sources[0].rpartition(', ')[0]}, {len(sources)} months"
        grid.add_row(kind, f"{len(table)}", f"{table.rows:,}", readable(table.bytes), source)
    console.print(grid)


def decision(registry: Registry, run_id: str) -> None:
    """The one object that decided a run."""
    from prefect_registry.ledger import paths

    store = registry.ledger.store
    end = store.decision(run_id)
    assert end is not None
    members = store.members(end)
    grid = _grid("the run's decision", "", "")
    grid.show_header = False
    grid.add_row("object", paths.end_key(run_id))
    grid.add_row("outcome", f"[green]{end.outcome}[/]" if end.committed else f"[red]{end.outcome}[/]")
    grid.add_row("at", f"{end.closed_at:%Y-%m-%d %H:%M:%S} UTC")
    grid.add_row("datasets in it", f"{len(members.datasets)}")
    if end.failure is not None:
        grid.add_row("failure", f"{end.failure.cls} ({end.failure.kind}): {end.failure.message}")
    console.print(grid)


def runs(found: Sequence[RunInfo], registry: Registry) -> None:
    """All runs, and what became of each."""
    grid = _grid("all runs", "run", "state", "why", "visible")
    for run in found:
        colour = {"COMMITTED": "green", "ABORTED": "red"}.get(run.state, "yellow")
        why = f"{run.failure.kind}: {run.failure.message}" if run.failure is not None else ""
        visible = sum(1 for d in registry.datasets(run_id=run.id) if d.state == "READY")
        grid.add_row(run.id, f"[{colour}]{run.state}[/]", why, str(visible))
    console.print(grid)


def _grid(title: str, *columns: str) -> Grid:
    grid = Grid(title=title, title_justify="left", title_style="bold")
    for column in columns:
        numeric = column in ("datasets", "rows", "bytes", "visible")
        grid.add_column(column, justify="right" if numeric else "left", no_wrap=numeric or column == "run")
    return grid
