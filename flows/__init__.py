"""Flows to deploy: ``prefect.yaml`` names them. They are no part of the installed package."""
