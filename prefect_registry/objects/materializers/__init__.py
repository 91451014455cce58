"""How Python objects become files, and files objects: one module per family of types."""
