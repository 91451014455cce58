"""The protocol: runs, cells, decisions, visibility, leases, reaping, collection (DESIGN.md 4)."""
