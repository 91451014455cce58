"""``fsck``: holds journal, cells, data and index against each other, and tells what does not fit (DESIGN.md 6).

It reads the store and never writes to it; what it may repair is the index of this machine.
"""

from prefect_registry.catalog.fsck.report import Finding, FsckReport

__all__ = ["Finding", "FsckReport"]
