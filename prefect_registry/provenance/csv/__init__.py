"""Model runs as tables: a template to fill in, what was filled in, and what became of it."""

from prefect_registry.provenance.csv.converting import Conversion, CsvLookups, convert_csv
from prefect_registry.provenance.csv.regenerating import BatchRow, regenerate_csv
from prefect_registry.provenance.csv.template import template_csv

__all__ = ["BatchRow", "Conversion", "CsvLookups", "convert_csv", "regenerate_csv", "template_csv"]
