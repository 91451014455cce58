"""The parts of :mod:`prefect_registry.testing.contract`, one subject each."""
