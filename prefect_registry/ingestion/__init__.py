"""Scheduled ingestion: what is fetched when, judged before it is published, kept, and exported (DESIGN.md 8)."""
