"""Checkpoints: the index as typed Parquet tables in the store, so that a cold reader need not walk the journal."""
