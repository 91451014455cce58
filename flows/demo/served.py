"""``python -m flows.demo.served FILE``: serve the deployments of the demo, and make FILE when they can be run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

from prefect import serve

from flows.demo.environment import BLOCK
from flows.flights import flights
from flows.maintenance import maintenance


def main(ready: Path) -> None:
    """Serve until ended."""
    deployments = [cast(Any, f).to_deployment("demo", parameters={"registry": BLOCK}) for f in (flights, maintenance)]
    for deployment in deployments:
        deployment.apply()
    ready.touch()
    serve(*deployments, pause_on_shutdown=False, print_starting_message=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
