"""Versioned objects: any Python object or folder under ``name@version`` (reference system 3)."""
