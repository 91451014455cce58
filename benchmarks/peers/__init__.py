"""The same small job done by other registries and version stores, each in a virtual environment of its own."""
