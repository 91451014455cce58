"""The pytest fixture ``registry``, there for every test of a project that has this package installed.

::

    def test_ingest(registry):
        ingest(2013)                       # a flow; whatever registry it names, it gets an empty one
        assert registry.table("flights").to_table().num_rows == 336_776
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from prefect_registry.registry import Registry


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A fresh, empty registry, which the code under test gets too, whatever registry it names."""
    # Not before it is used: a project's conftest may still set what Prefect reads when it is imported.
    from prefect_registry.sandbox import registry_sandbox

    with registry_sandbox() as fresh:
        yield fresh
