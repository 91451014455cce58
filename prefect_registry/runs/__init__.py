"""Flows as runs: ``registry_run`` makes a flow publish everything or nothing, ``current_run`` finds its run anywhere.

``registry_run`` is a decorator, above or below ``@flow``, and a context manager. See DESIGN.md 8.
"""

from prefect_registry.runs import attempts as _attempts  # noqa: F401 - observes the ledger from here on
from prefect_registry.runs.current import acurrent_run, current_run
from prefect_registry.runs.hooks import roll_back_registry_run
from prefect_registry.runs.wrapping import RegistryRun, registry_run

__all__ = ["RegistryRun", "acurrent_run", "current_run", "registry_run", "roll_back_registry_run"]
