"""Listings come in the order of keys from servers of both kinds."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from prefect_registry.storage.base import ObjectInfo
from prefect_registry.storage.ordering import in_key_order, safe_start

PREFIX = "p/"
NOW = datetime.now(UTC)
# Names that sort differently as names and as parts of keys: "-", "." and "!" are below "/".
names = st.sampled_from(["m", "m-1", "m.x", "m!", "mz", "m-1-2", "a b", "a", "-x", ".x", "%41", "ü"])
keys = st.builds(lambda parts: PREFIX + "/".join(parts), st.lists(names, min_size=1, max_size=4))


@given(st.sets(keys, max_size=30), st.one_of(st.just(""), keys))
def test_both_kinds_of_servers_give_the_same_listing(found: set[str], start_after: str) -> None:
    """Whether a server sorts whole keys or folder by folder, the listing is complete and ascends by key."""
    found = {key for key in found if not any(key.startswith(other + "/") for other in found | {start_after})}
    start = safe_start(PREFIX, start_after)
    by_bytes = sorted((key for key in found if key > start), key=str.encode)
    by_folder = sorted(
        (key for key in found if not start or key.split("/") > start.split("/")), key=lambda k: k.split("/")
    )
    expected = sorted((key for key in found if key > start_after), key=str.encode)
    for listing in (by_bytes, by_folder):
        infos = in_key_order((ObjectInfo(key, 0, NOW) for key in listing), PREFIX, start_after)
        assert [info.key for info in infos] == expected


def test_a_flat_listing_streams() -> None:
    """Objects directly below the prefix are passed on one by one, not held back."""
    taken: list[str] = []

    def listing() -> object:
        for i in range(1000):
            taken.append(f"p/{i:03}")
            yield ObjectInfo(taken[-1], 0, NOW)

    ordered = in_key_order(listing(), PREFIX)  # type: ignore[arg-type]
    assert next(ordered).key == "p/000"
    assert len(taken) == 1


def test_folders_stream_one_by_one() -> None:
    """Of folders only one is held back at a time."""
    taken: list[str] = []

    def listing() -> object:
        for i in range(1000):
            taken.append(f"p/{i // 10:02}/{i % 10}")
            yield ObjectInfo(taken[-1], 0, NOW)

    ordered = in_key_order(listing(), PREFIX)  # type: ignore[arg-type]
    assert next(ordered).key == "p/00/0"
    assert len(taken) == 11
