"""Source documents and doctags assets (reference system 1), as cells with history."""
