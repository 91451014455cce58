"""Lineage in the words of others: W3C PROV, and OpenLineage run events. Nothing here reads or writes a store."""
