"""What a run records of the program that begins it: its code, and what is installed.

Nothing here imports Prefect, asks anybody over a network, or records an environment variable.
"""

from prefect_registry.capture.code import Capture, Capturing, commit_of, remember_caller

__all__ = ["Capture", "Capturing", "commit_of", "remember_caller"]
