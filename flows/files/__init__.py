"""What the ingestion flow does with files, without Prefect: find them, claim each for one run, read and stage it."""
