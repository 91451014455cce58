"""Names and versions: each round-trips through everything, or is refused with the reason; nothing leaves the root."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from prefect_registry import Registry
from prefect_registry.errors import InvalidInput
from prefect_registry.objects.errors import RegistryObjectNotFound
from prefect_registry.objects.versions import LARGEST_NUMBER, Version, Wanted

HOSTILE = [
    "/abs", "//abs", "../esc", "a/../../esc", ".", "..", "...", "a/b", "p/q/r", "a/", "/", "\\", "..\\esc", "C:\\x",
    "C:x", "my_meta_model", "x%3Ay", "x:y", "a*", "a?", "[a]", "a/1.0.0", "a/1", "a|b", "~", "$HOME", "`id`", "a;b",
    "a&b=c",
    "-rf", "--", "é", "é", "É", "CASE", "case", "Case", "con", "CON", "nul.txt", "aux", "COM1", "lpt9.tar", "a.", ".a",
    "name with spaces", "日本語", "😀", "%", "%h", "%2F", "%2e%2e", "_manifest-x", "latest", "1", "1.0.0", "v2", "None",
    "cells", "object", "registry.json", "end.json", "0000000000.json", "n" * 200, "n" * 2_000, "é" * 2_000, "a" * 180,
    "a" * 181, "x" * 179 + "é", "ﬁ", "İ", "ß", "ẞ", "\u200b", "a\u202eb", "<script>", "'; DROP TABLE", '"', "'",
    "{}", "a#b", "a+b", "a=b", "a,b", "!", "a^b",
]  # fmt: skip
REFUSED = ["", " ", " a", "a ", "\t", "a\nb", "a\x00b", "a\x7f", "a\x85b", "\ud800", "n" * 2_001, "a@", "@1", "a@b@c",
           7, None, b"a", ["a", 7]]  # fmt: skip


def tree(folder: Path, besides: Path) -> dict[str, int | None]:
    """Everything around the root of a registry, and how large each file is."""
    found = [p for p in sorted(folder.rglob("*")) if besides not in (p, *p.parents)]
    return {str(p): None if p.is_dir() and not p.is_symlink() else p.lstat().st_size for p in found}


def refusal_of(call: Callable[[], object]) -> InvalidInput | None:
    """The error of a call that is refused."""
    try:
        call()
    except InvalidInput as error:
        return error
    return None


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the registry lies, deep in a folder of which nothing else may change."""
    place = tmp_path / "outside" / "root"
    for beside in ("esc", "abs", "outside/esc"):
        (tmp_path / beside).parent.mkdir(exist_ok=True)
        (tmp_path / beside).write_text("untouched")
    return place


# -- names -----------------------------------------------------------------------------------------------------------


def test_hostile_names_live_side_by_side_and_touch_nothing_outside(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved, listed, loaded, pointed at, deleted and restored, each its own, inline and with files."""
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path, root)
    registry = Registry(root, version_objects=True)
    names = list(dict.fromkeys([*HOSTILE, unicodedata.normalize("NFD", "é"), unicodedata.normalize("NFC", "é")]))
    large = names[::7]
    for name in names:
        assert registry.save(name, name) == "1"
        assert registry.save(name, f"{name} 2" * (2_000 if name in large else 1), version="2.0") == "2"
    assert registry.list_objects() == sorted(names)
    other = Registry(root)
    for name in names:
        assert other.load(f"{name}@1") == name
        assert other.load(name) == f"{name} 2" * (2_000 if name in large else 1)
        assert other.list_versions(name) == ["1", "2"]
        assert name in other
    for name in names[::5]:
        other.set_alias(name, "best", "1")
        assert other.load(f"{name}@best") == name
        other.delete(f"{name}@1")
        assert other.list_versions(name) == ["2"]
        assert other.restore(f"{name}@1") == [f"{name}@1"]
    for name in names:
        other.delete(name)
        assert not registry.has_object(name)
    assert registry.list_objects() == []
    assert tree(tmp_path, root) == before


@pytest.mark.parametrize("name", REFUSED, ids=repr)
def test_what_cannot_be_a_name_is_refused_with_the_reason_before_anything_is_written(name: object, root: Path) -> None:
    """Everywhere in the same way."""
    registry = Registry(root)
    stored = tree(root, root / "none")
    if isinstance(name, list):
        result = registry.save(name, 1)
        assert [str(e).count("must be a string") for e in result.exceptions.values()] == [1]
        return
    for call in (registry.load, registry.has_object, registry.delete, registry.restore, registry.resolve,
                 lambda n: registry.save(n, 1), lambda n: registry.set_alias(n, "best", "1")):  # fmt: skip
        with pytest.raises(InvalidInput) as caught:
            call(name)  # type: ignore[arg-type]
        assert len(caught.value.why) > 5
    assert tree(root, root / "none") == stored


def test_the_versions_of_a_name_are_not_those_of_a_longer_one(root: Path) -> None:
    """Cases 49 and 53: no name is a prefix of another one to a listing."""
    registry = Registry(root, version_objects=True)
    for name in ("m", "m2", "m/1", "m/1/2", "M", "m:1", "m_1"):
        registry.save(name, name, version="3")
    registry.save("m", 1)
    assert registry.list_versions("m") == ["3", "4"]
    assert registry.list_objects("m") == ["m", "m/1", "m/1/2", "m2", "m:1", "m_1"]
    assert registry.list_objects("m/") == ["m/1", "m/1/2"]


@settings(max_examples=60)
@given(st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=4, unique=True))
@example(["a", "A"])
@example(["é", "e\u0301"])
@example(["a@1"])
def test_any_text_is_a_name_that_round_trips_or_is_refused(names: list[str]) -> None:
    """Whatever the text, alone and beside others."""
    registry = Registry(f"memory://names-{abs(hash(tuple(names)))}", version_objects=True)
    kept = []
    for name in names:
        refusal = refusal_of(lambda name=name: Wanted.of(name))  # type: ignore[misc]
        if refusal is not None:
            assert "@" in name or name != name.strip() or any(unicodedata.category(c) in ("Cc", "Cs") for c in name)
            assert refusal.why
            continue
        if "@" in name:
            wanted = Wanted.of(name)
            assert wanted.name == name.partition("@")[0]
            assert wanted.version or wanted.alias or wanted.latest
            continue
        registry.save(name, {"is": name})
        kept.append(name)
    assert registry.list_objects() == sorted(kept)
    for name in kept:
        assert registry.load(name) == {"is": name}
        registry.delete(name)
        with pytest.raises(RegistryObjectNotFound):
            registry.load(name)


@given(st.text(min_size=1, max_size=30))
@example("latest")
@example("1.0")
@example("champion/../x")
def test_any_text_is_an_alias_that_round_trips_or_is_refused(alias: str) -> None:
    """Never a version, never ``latest``."""
    registry = Registry("memory://aliases", version_objects=True)
    if "m" not in registry:
        registry.save("m", 0)
    refusal = refusal_of(lambda: registry.set_alias("m", alias, "1"))
    if refusal is not None:
        assert refusal.why
        return
    assert registry.aliases("m")[alias] == "1"
    assert registry.load(f"m@{alias}") == registry.load("m", alias) == 0
    registry.remove_alias("m", alias)
    assert alias not in registry.aliases("m")


# -- versions --------------------------------------------------------------------------------------------------------

NUMBERS = st.integers(0, LARGEST_NUMBER)


@given(st.tuples(NUMBERS, NUMBERS, NUMBERS), st.tuples(NUMBERS, NUMBERS, NUMBERS))
def test_versions_are_ordered_as_numbers_and_survive_their_text(
    one: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    """The shortest spelling is the one that is written."""
    first, second = Version(one), Version(other)
    assert Version.parse(str(first)) == Version.of_key(str(first)) == first
    assert Version.parse(f"v{one[0]}.{one[1]}.{one[2]}") == first
    assert (first < second, first == second) == (one < other, one == other)
    assert not str(first).endswith(".0")


@given(st.text(max_size=12) | st.from_regex(r"\A[vV]?[0-9. +_-]{1,12}\Z"))
@example("1.2.3.4")
@example("1.0.0-alpha")
@example("\u0665")
@example("1_0")
@example("+6")
@example(" 4 ")
@example("1.")
@example(f"{LARGEST_NUMBER + 1}")
def test_any_text_is_a_version_or_is_refused_by_its_name(text: str) -> None:
    """One to three numbers of plain digits, and nothing else."""
    refusal = refusal_of(lambda: Version.parse(text))
    if refusal is not None:
        assert repr(text)[:20] in refusal.what
        assert Version.of_key(text) is None
        return
    version = Version.parse(text)
    given_ = text.lower().removeprefix("v").split(".")
    assert [int(n) for n in given_] == list(version.numbers[: len(given_)])
    assert all(n.isascii() and n.isdigit() for n in given_)


@pytest.mark.parametrize("same", ["1", "1.0", "1.0.0", "v1", "V1.0.0", "007", "01.0"])
def test_one_version_has_many_spellings(same: str, root: Path) -> None:
    """Case 2: all address the same one."""
    registry = Registry(root, version_objects=True)
    number = same if "7" in same else "1"
    assert registry.save("m", "x", version=same) == str(int(number))
    assert registry.load(f"m@{same}") == registry.load("m", str(int(number))) == "x"
    assert registry.load(f"m@{same}", same) == "x"


def test_the_largest_number_ends_the_automatic_ones_and_nothing_else(root: Path) -> None:
    """What is behind it is refused, and the object goes on to be listed, loaded and saved."""
    registry = Registry(root, version_objects=True)
    registry.save("m", 1, version=str(LARGEST_NUMBER))
    with pytest.raises(InvalidInput, match="no next version"):
        registry.save("m", 2)
    with pytest.raises(InvalidInput):
        registry.save("m", 2, version=str(LARGEST_NUMBER + 1))
    registry.save("m", 3, version="2")
    assert registry.list_versions("m") == ["2", str(LARGEST_NUMBER)]
    assert registry.load("m") == 1
