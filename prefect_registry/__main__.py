"""``python -m prefect_registry`` is the command line."""

from prefect_registry.cli import main

if __name__ == "__main__":
    main()
