"""The query side: a local index that follows the journal; never a source of truth (DESIGN.md 6)."""
