"""The tables of the page on speed: one for each place that is measured, written by the benchmarks themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.__main__ import PLACES
from benchmarks.measure import Result


def test_every_place_has_one_table() -> None:
    """Those that are measured, and no others."""
    found = re.findall(r"^<!-- measured: (\w+) -->$", page.PAGE.read_text("utf-8"), re.M)
    assert sorted(found) == sorted(PLACES)


def test_a_table_takes_the_place_of_the_one_before() -> None:
    """Of its place only; a budget that was missed stands out, and what a cell holds stays in it."""
    met = Result("a|b", 1.234, "of bare", "at most 2", True, "5 ms")
    made = page.table([met, Result("c", 9, "ms", "under 5 ms", False), Result("d", 2, "s", "", None)], "On a day.")
    text = page.PAGE.read_text("utf-8")
    once = page.replaced(text, "cache", made)
    twice = page.replaced(page.replaced(once, "cache", "other\n"), "cache", made)
    assert once == twice
    start = "<!-- measured: cache -->\n"
    assert once.partition(start)[2].startswith(made)
    for part in (0, 2):
        end = "<!-- until here -->"
        kept = [(t.partition(start)[0], t.partition(start)[2].partition(end)[2])[part // 2] for t in (text, once)]
        assert kept[0] == kept[1]
    assert made.splitlines()[4:] == [
        "| a\\|b | 1.23 of bare (5 ms) | at most 2 | met |",
        "| c | 9 ms | under 5 ms | **missed** |",
        "| d | 2 s |  |  |",
    ]
    with pytest.raises(ValueError, match="has 0 tables of 'nowhere'"):
        page.replaced(text, "nowhere", made)


def test_the_page_names_files_that_are_there() -> None:
    """Those of the benchmarks and of the tests that it speaks of."""
    for name in re.findall(r"`((?:benchmarks|tests)/[\w/.]+)`", page.PAGE.read_text("utf-8")):
        assert (Path(page.PAGE).parents[2] / name).exists(), name
