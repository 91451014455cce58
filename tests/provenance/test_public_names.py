"""What ``prefect_registry.provenance`` exports."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

from prefect_registry import provenance


def test_every_name_is_there_and_none_is_a_module() -> None:
    """A function with the name of a module of the package would be that module once anything has imported it."""
    modules = {module.name for module in pkgutil.iter_modules(provenance.__path__)}
    assert modules.isdisjoint(provenance.__all__)
    assert [name for name in provenance.__all__ if getattr(provenance, name).__class__.__name__ == "module"] == []
    assert set(provenance.__all__) <= set(dir(provenance))


def test_importing_the_package_imports_nothing_of_it() -> None:
    """Who only begins runs does not pay for reports, pictures and standards."""
    program = (
        "import sys, prefect_registry, prefect_registry.provenance\n"
        "print([m for m in sys.modules if m.startswith('prefect_registry.provenance.')])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
