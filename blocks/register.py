"""Register the block types of prefect-registry with the Prefect server, so that its UI offers them.

    python -m blocks.register

It may run as often as you like; a type that is there is brought up to date.
"""

from __future__ import annotations

from prefect_registry.resolve.lookup import registry_types


def main() -> None:
    """Register every type."""
    for slug, block_type in sorted(registry_types().items()):
        block_type.register_type_and_schema()
        print(f"{slug} is registered as {block_type.get_block_type_name()!r}")


if __name__ == "__main__":
    main()
