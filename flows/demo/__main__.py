"""The demo from its beginning to its end. ``--s3`` puts the registry into a bucket, ``--keep`` leaves all running."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from flows.demo.environment import BLOCK, Prefect, adopt, prefect_server
from flows.demo.processes import DidNotStart, end_politely

REPOSITORY = Path(__file__).resolve().parents[2]

NEXT = """
[bold]What to try next[/]
  the same, with the registry in a bucket:  [cyan].venv/bin/python -m flows.demo --s3[/]
  look around in Prefect's UI:              [cyan].venv/bin/python -m flows.demo --keep[/]
  your own storage:                         [cyan].venv/bin/prefect-registry init[/]
  your own files, on a schedule:            [cyan]flows/ingest.py[/], [cyan]prefect.yaml[/]
  your own flow: [cyan]@registry_run[/] above [cyan]@flow[/], and in its tasks
    [cyan]with current_run().dataset("sales") as ds:[/]
    [cyan]    ds.write_table(table)[/]
"""


def main() -> int:
    """Run the demo. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.demo", description=__doc__)
    parser.add_argument("--s3", action="store_true", help="keep the registry in a bucket of a SeaweedFS server")
    parser.add_argument("--keep", action="store_true", help="leave everything running at the end, until Ctrl-C")
    options = parser.parse_args()
    end_politely()
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="prefect-registry-demo-"))
    from flows.demo import show

    try:
        with ExitStack() as stack:
            _play(stack, folder, options.s3)
            show.console.print(f"\nAll of it took {time.monotonic() - started:.0f} seconds.")
            show.console.print(NEXT, soft_wrap=True)
            if options.keep:
                _wait(folder)
    except KeyboardInterrupt:
        show.console.print("\nInterrupted. Everything that was started is being ended.")
        return 130
    except (DidNotStart, RuntimeError) as error:
        show.console.print(f"\n[red]✗ The demo stopped:[/] {error}", markup=True)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _play(stack: ExitStack, folder: Path, s3: bool) -> None:
    from flows.demo import show

    show.act(
        1, "What it needs", "A Prefect server, a store, a block that names it, deployments. All of it is temporary."
    )
    began = time.monotonic()
    with show.working("Starting a Prefect server, with a new database"):
        prefect = stack.enter_context(prefect_server(folder))
        adopt(prefect)
        import flows.demo.story  # noqa: F401 - imports prefect, with the settings just made, while the server starts

        prefect.wait()
    show.done(f"Prefect server {prefect.ui} ({time.monotonic() - began:.0f} s)")
    _acts(stack, prefect, s3)


def _acts(stack: ExitStack, prefect: Prefect, s3: bool) -> None:
    from flows.demo import show, stores
    from flows.demo.story import Demo

    block = stack.enter_context(stores.s3_block() if s3 else stores.folder_block(prefect.folder))
    registry = stores.save(block)
    show.done(f"Registry in {registry.url}, named by the block {block.get_block_type_slug()}/{BLOCK}")
    demo = Demo(prefect, registry, stack)
    demo.serve()
    show.act(2, "The main job", "A year of flights in 16 datasets by mapped tasks, and the delays derived from them.")
    demo.publish()
    show.act(3, "It fails at month 7", "Fifteen other datasets were staged, or nearly. One decision says: none of it.")
    demo.fail()
    show.act(4, "It is killed", "With kill -9, when all flights are staged, together with the process that serves it.")
    killed = demo.kill()
    show.act(
        5,
        "Maintenance",
        "Reaps what is dead beyond doubt, tells Prefect, and deletes the bytes of what was rolled back.",
    )
    demo.serve()
    demo.tidy(killed)
    show.runs(list(registry.runs(newest_first=False)), registry)
    show.console.print(f"Visible in all: {demo.totals()}.")


def _wait(folder: Path) -> None:
    from flows.demo import show

    show.console.print(f"All keeps running, with its files in {folder}. Press Ctrl-C to end it.")
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    sys.exit(main())
