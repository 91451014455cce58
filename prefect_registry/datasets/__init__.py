"""Datasets: files of one kind made by a run, and the tables that readers see (DESIGN.md 2, 8, P15)."""
