"""The acceptance cases of reference system 3 on versions, conflicts, concurrency, failures, batches and the mapping.

Each test names the cases it shows. Those on names are in ``test_object_names.py``, those on kills in
``tests/protocol/test_object_crashes.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest

from prefect_registry import Registry
from prefect_registry.errors import InvalidInput, NotFound, RegistryError, StorageError, StorageUnavailable
from prefect_registry.objects.errors import RegistryObjectNotFound, RegistryVersionConflict
from prefect_registry.objects.materializers.base import Materializer
from prefect_registry.objects.payload import Part, Payload, StoredPayload
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.faults import FaultyStorage, SimulatedCrash, crash, error_before

LARGE = "x" * 20_000


@pytest.fixture
def plain(tmp_path: Path) -> Registry:
    """One version of each object, which never changes."""
    return Registry(tmp_path / "registry")


@pytest.fixture
def versioned(tmp_path: Path) -> Registry:
    """Versions that never change."""
    registry = Registry(tmp_path / "registry", version_objects=True)
    registry.parts.objects.settings.fixed()  # others who open it take what is stored
    return registry


@pytest.fixture
def mutable(tmp_path: Path) -> Registry:
    """Versions that can be overwritten."""
    return Registry(tmp_path / "registry", version_objects=True, mutable=True)


class Parts(dict[str, bytes]):
    """An object of several files."""


class PartsForm(Materializer):
    """Each item as a file."""

    name = "test.parts"

    def save(self, value: Parts) -> Payload:
        return Payload([Part(path, data) for path, data in value.items()])

    def load(self, payload: StoredPayload) -> Parts:
        return Parts({path: payload.read(path) for path in payload.paths()})


def keys(registry: Registry, prefix: str = "") -> list[str]:
    return [found.key for found in registry.storage.list(prefix)]


# -- versions --------------------------------------------------------------------------------------------------------


def test_1_and_3_numbers_ascend_as_numbers(versioned: Registry) -> None:
    assert [versioned.save("m", n) for n in range(11)] == [str(n) for n in range(1, 12)]
    assert versioned.list_versions("m") == [str(n) for n in range(1, 12)]
    assert (versioned.load("m"), versioned.load("m", "latest"), versioned.resolve("m")) == (10, 10, "m@11")
    versioned.save("m", "old line", version="2.1")
    assert versioned.load("m") == 10
    assert versioned.save("m", "next") == "12"


@pytest.mark.parametrize("version", ["latest", "1.2.3.4", "1.0.0-alpha", "-1", "", "1.x", 1, "champion"])
def test_4_and_5_what_is_no_version_is_refused_and_named(versioned: Registry, version: Any) -> None:
    before = keys(versioned)
    with pytest.raises(ValueError, match="version") as caught:
        versioned.save("m", 1, version=version)
    assert repr(version) in str(caught.value)
    if isinstance(version, str) and version:
        with pytest.raises(ValueError, match="version"):
            versioned.save(f"m@{version}", 1)
    assert [k for k in keys(versioned) if k not in before and "setting" not in k] == []


def test_latest_names_one_version_to_delete_and_none_to_restore(versioned: Registry) -> None:
    """It never means all of them."""
    for n in range(3):
        versioned.save("m", n)
    versioned.delete("m@latest")
    assert versioned.list_versions("m") == ["1", "2"]
    versioned.delete("m", "latest")
    assert versioned.list_versions("m") == ["1"]
    with pytest.raises(InvalidInput):
        versioned.restore("m@latest")
    versioned.set_alias("m", "best", "1")
    versioned.delete("m@best")
    assert versioned.list_versions("m") == []
    assert versioned.restore("m@best") == ["m@1"]
    assert versioned.list_versions("m") == ["1"]
    with pytest.raises(RegistryObjectNotFound):
        versioned.restore("m@nobody")


def test_7_a_number_is_never_used_again(versioned: Registry) -> None:
    for n in range(3):
        versioned.save("m", n)
    with pytest.raises(ZeroDivisionError), versioned.run("bad") as run:
        assert versioned.save("m", "dropped", run_id=run.id) == "4"
        raise ZeroDivisionError
    versioned.delete("m")
    assert not versioned.has_object("m")
    assert versioned.save("m", "new") == "5"
    assert versioned.list_versions("m") == ["5"]
    for version in ("1", "2", "3"):
        with pytest.raises(RegistryVersionConflict, match="deleted"):
            versioned.save("m", "another", version=version)


@pytest.mark.parametrize("asked", [{"version_objects": False}, {"mutable": True}])
def test_8_other_settings_than_the_registrys_are_refused_and_both_named(
    versioned: Registry, asked: dict[str, bool]
) -> None:
    versioned.save("m", 1)
    (name, value), stored = next(iter(asked.items())), {"version_objects": True, "mutable": False}
    for use in (lambda r: r.save("m", 2), lambda r: r.load("m")):
        with pytest.raises(ValueError, match=f"{name} is {stored[name]}.*{value} was asked for"):
            use(Registry(versioned.url, **asked))  # type: ignore[arg-type]
    assert Registry(versioned.url).load("m") == 1


# -- conflicts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), [(1, 2), (LARGE, LARGE + "2"), (1, LARGE), (LARGE, 1), (1, True), (1, 1.0)])
def test_10_what_is_there_stays(plain: Registry, old: Any, new: Any) -> None:
    plain.save("m", old)
    with pytest.raises(RegistryVersionConflict) as caught:
        plain.save("m", new)
    assert caught.value.committed == "no"
    assert (plain.load("m"), type(plain.load("m"))) == (old, type(old))
    assert plain.save("m", new, on_conflict="skip") == "1"
    assert plain.load("m") == old


def test_11_in_a_batch_one_conflict_is_one_items(plain: Registry) -> None:
    plain.save("b", "old")
    result = plain.save(["a", "b", "c"], [1, 2, 3])
    assert (result.results, result.failed, result.succeeded) == (
        ["1", None, "1"],
        [("b", None)],
        [("a", None), ("c", None)],
    )
    skipped = plain.save(["b", "d"], [9, 9], on_conflict="skip")
    assert (skipped.results, skipped.skipped, skipped.succeeded) == (["1", "1"], [("b", None)], [("d", None)])
    assert [plain.load(n) for n in "abcd"] == [1, "old", 3, 9]


@pytest.mark.parametrize("conflict", ["overwrite", "replace", "", 1])
def test_12_and_15_what_is_not_allowed_is_refused_before_anything_is_written(plain: Registry, conflict: Any) -> None:
    plain.save("m", 1)
    before = keys(plain)
    with pytest.raises(ValueError, match="on_conflict"):
        plain.save("m", 1, on_conflict=conflict)
    with pytest.raises(ValueError, match="on_conflict"):
        plain.save("new", 1, on_conflict=conflict)
    assert keys(plain) == before


def test_13_overwritten_is_overwritten_for_everybody(mutable: Registry) -> None:
    other = Registry(mutable.url)
    for n, value in enumerate([1, LARGE, 2, LARGE + "2"]):
        mutable.save("m", value, version="1", on_conflict="overwrite", metadata={"n": n})
        assert other.load("m") == other.load("m@1") == value
        assert other.info("m@1")["metadata"] == {"n": n}
    assert mutable.list_versions("m") == ["1"]
    assert mutable.collect(dry_run=False).objects == 0  # nothing is dead: what was is retention's


@pytest.mark.parametrize("value", [1, LARGE])
def test_14_the_same_again_is_no_conflict_and_nothing_new(versioned: Registry, value: Any) -> None:
    versioned.save("m", value, version="1")
    data = keys(versioned, "data/")
    for registry in (versioned, Registry(versioned.url)):
        assert registry.save("m", value, version="1.0") == "1"
    assert keys(versioned, "cells/object/") == ["cells/object/m/1/0000000000.json"]
    versioned.collect(dry_run=False)
    assert keys(versioned, "data/") == data
    result = versioned.save(["m", "n"], value, version="1")
    assert (result.skipped, result.succeeded) == ([("m", "1")], [("n", "1")])


def test_overwriting_with_the_same_content_keeps_the_new_metadata(mutable: Registry) -> None:
    """What a caller was told is saved is what is there."""
    mutable.save("m", 1, version="1", metadata={"a": 1})
    mutable.save("m", 1, version="1", metadata={"a": 2}, on_conflict="overwrite")
    assert mutable.info("m@1")["metadata"] == {"a": 2}
    generations = keys(mutable, "cells/object/")
    mutable.save("m", 1, version="1", metadata={"a": 2}, on_conflict="overwrite")
    assert keys(mutable, "cells/object/") == generations


@pytest.mark.parametrize("value", [1, LARGE])
@pytest.mark.parametrize("met", [True, False])
def test_the_same_content_with_other_metadata_is_a_conflict(versioned: Registry, value: Any, met: bool) -> None:
    """What was asked to be kept would be lost; ``skip`` accepts that, and who gives no metadata asks for none."""
    versioned.save("m", value, version="1", metadata={"a": 1})
    other = versioned if met else Registry(versioned.url)
    with pytest.raises(RegistryVersionConflict, match="this content and other metadata") as caught:
        other.save("m", value, version="1", metadata={"a": 2})
    assert caught.value.committed == "no"
    assert "on_conflict='skip'" in caught.value.todo
    assert other.save("m", value, version="1", metadata={"a": 2}, on_conflict="skip") == "1"
    assert other.save("m", value, version="1", metadata={"a": 1}) == "1"
    assert other.save("m", value, version="1") == "1"
    assert versioned.info("m@1")["metadata"] == {"a": 1}
    assert keys(versioned, "cells/object/") == ["cells/object/m/1/0000000000.json"]


def test_other_metadata_is_a_conflict_within_a_run_too(versioned: Registry) -> None:
    """The run publishes what it was told first."""
    with versioned.run("work"):
        versioned.save("m", 1, version="1", metadata={"a": 1})
        with pytest.raises(RegistryVersionConflict):
            versioned.save("m", 1, version="1", metadata={"a": 2})
        assert versioned.save("m", 1, version="1", metadata={"a": 2}, on_conflict="skip") == "1"
        assert versioned.save("m", 1, version="1", metadata={"a": 1}) == "1"
    assert versioned.info("m@1")["metadata"] == {"a": 1}


# -- at the same time ------------------------------------------------------------------------------------------------


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """What each call returned, or its error."""

    def attempt(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except RegistryError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(attempt, calls))


@pytest.mark.parametrize("size", [1, 20_000])
def test_16_of_many_savers_of_one_version_one_wins(versioned: Registry, size: int) -> None:
    found = at_once([lambda n=n: Registry(versioned.url).save("m", str(n) * size, version="1") for n in range(8)])
    assert sum(outcome == "1" for outcome in found) == 1
    assert sum(isinstance(outcome, RegistryVersionConflict) for outcome in found) == 7
    assert versioned.load("m@1") == str(found.index("1")) * size
    versioned.collect(dry_run=False)
    assert len(keys(versioned, "data/")) == (size > 1)


def test_17_savers_of_different_versions_do_not_meet(versioned: Registry) -> None:
    assert at_once([lambda n=n: versioned.save("m", n, version=f"{n}.1") for n in range(16)]) == [
        f"{n}.1" for n in range(16)
    ]
    assert len(versioned.list_versions("m")) == 16


def test_19_a_writer_with_an_old_view_gets_a_new_number(versioned: Registry) -> None:
    old = Registry(versioned.url)
    assert old.save("m", 0) == "1"
    for n in range(5):
        versioned.save("m", n)
    assert old.save("m", "mine") == "7"
    assert old.load("m") == "mine"


def test_21_and_22_readers_agree_and_deleters_do_not_meet(versioned: Registry) -> None:
    for n in range(8):
        versioned.save("m", LARGE + str(n))
    assert at_once([lambda: Registry(versioned.url).load("m@3")] * 8) == [LARGE + "2"] * 8
    assert at_once([lambda n=n: versioned.delete(f"m@{n}") for n in range(1, 9)]) == [None] * 8
    assert versioned.list_versions("m") == []
    assert at_once([lambda: versioned.restore("m@1")] * 4).count(["m@1"]) >= 1
    assert versioned.list_versions("m") == ["1"]


def test_23_the_last_of_two_overwriters_wins(mutable: Registry) -> None:
    """And both are told that they have saved it, since both have."""
    mutable.save("m", 0, version="1")
    calls = [lambda n=n: Registry(mutable.url).save("m", n, version="1", on_conflict="overwrite") for n in range(1, 7)]
    assert at_once(calls) == ["1"] * 6
    history = keys(mutable, "cells/object/m/1/")
    assert len(history) == 7
    assert mutable.load("m") in range(1, 7)


def test_24_and_25_and_28_nothing_is_locked(mutable: Registry) -> None:
    """A writer that stands still in the middle of an upload keeps nobody from saving, and overwrites nobody later."""
    mutable.save("m", "old", version="1")
    slow = Registry(mutable.url)
    real = slow.parts.objects._saver._create

    def late(*args: Any, **kwargs: Any) -> Any:
        mutable.save("m", "meanwhile", version="1", on_conflict="overwrite")
        return real(*args, **kwargs)

    slow.parts.objects._saver._create = late  # type: ignore[method-assign]
    assert slow.save("m", LARGE, version="1", on_conflict="overwrite") == "1"
    assert mutable.load("m") == LARGE
    assert len(keys(mutable, "cells/object/m/1/")) == 3
    assert [k for k in keys(mutable) if "lock" in k] == []


def test_26_materializers_are_registered_from_many_threads(plain: Registry) -> None:
    classes = [type(f"C{n}", (Parts,), {}) for n in range(50)]
    found = at_once([lambda c=c: plain.register_materializer(c, PartsForm) for c in classes])
    assert found == [None] * 50
    for c in classes:
        plain.save(c.__name__, c({"f": b"x"}))
        assert plain.load(c.__name__) == Parts({"f": b"x"})


def test_27_registries_that_are_opened_while_settings_are_written_agree(tmp_path: Path) -> None:
    asked = [{"version_objects": bool(n % 2)} for n in range(8)]
    found = at_once([lambda a=a: Registry(tmp_path / "new", **a).save("m", "x") for a in asked])
    assert all(outcome == "1" or isinstance(outcome, (InvalidInput, RegistryVersionConflict)) or a["version_objects"]
               for outcome, a in zip(found, asked, strict=True))  # fmt: skip
    kept = Registry(tmp_path / "new").parts.objects.settings.fixed().version_objects
    saved = [a["version_objects"] for outcome, a in zip(found, asked, strict=True) if isinstance(outcome, str)]
    assert saved
    assert set(saved) == {kept}


# -- failures --------------------------------------------------------------------------------------------------------


def faulty(*faults: Any) -> tuple[Registry, Registry]:
    """A registry that meets faults from now on, and one on the same store that does not."""
    memory = MemoryStorage()
    whole = Registry(memory, heartbeats=False, version_objects=True, use_cache=False)
    whole.save("other", 1)
    storage = FaultyStorage(memory)
    registry = Registry(ResolvingStorage(storage, attempts=1, timeout=0.1), heartbeats=False, use_cache=False)
    registry.parts.objects.settings.fixed()
    registry.ledger.store.know_time()
    storage.plan[:] = faults
    for each in (registry, whole):
        each.register_materializer(Parts, PartsForm)
    return registry, whole


@pytest.mark.parametrize("key", ["cells/*", "*/end.json", "*/begin.json", "data/*"])
def test_30_and_31_what_fails_in_the_middle_leaves_nothing(key: str) -> None:
    registry, whole = faulty(error_before(key=key, at=3 if key == "data/*" else 1, times=10_000))
    with pytest.raises(StorageError) as caught:
        registry.save("m", Parts({f"{n}.bin": bytes([n]) * 20_000 for n in range(5)}))
    assert caught.value.committed in ("no", "unknown")
    assert whole.list_versions("m") == []
    assert "m" not in whole.list_objects()
    assert whole.save("m", 1) in ("1", "2")


@pytest.mark.parametrize("at", range(1, 8))
def test_32_a_crash_before_the_decision_is_invisible_and_collected_when_nobody_writes(at: int) -> None:
    registry, whole = faulty(crash(at=at, where="after"))
    with pytest.raises(SimulatedCrash):
        for _ in range(3):
            registry.save("m", LARGE)
    visible = whole.list_versions("m")
    assert [whole.load("m", v) for v in visible] == [LARGE] * len(visible)
    whole.collect(dry_run=False)
    assert [whole.load("m", v) for v in visible] == [LARGE] * len(visible)


def test_34_what_cannot_be_kept_on_this_machine_is_saved_all_the_same(tmp_path: Path, monkeypatch: Any) -> None:
    blocked = tmp_path / "cache"
    blocked.write_text("a file where the cache should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    registry = Registry(ResolvingStorage(MemoryStorage()), heartbeats=False)
    object.__setattr__(registry.parts.objects.reading, "_use_cache", True)
    assert registry.save("m", LARGE) == "1"
    assert registry.load("m") == LARGE


def test_what_was_saved_is_told_even_when_its_list_of_files_cannot_be_read_back() -> None:
    """Nothing is asked of the store after the decision."""
    registry, whole = faulty(error_before(method="get", key="*_manifest*", times=10_000))
    parts = Parts({f"{n:05}-{'n' * 60}": b"%06d" % n for n in range(4_000)})
    assert registry.save("m", parts) == "1"
    assert whole.info("m@1")["file_count"] == len(parts)
    assert whole.load("m") == parts


def test_the_settings_that_cannot_be_written_are_no_saved_object() -> None:
    """Their touch fails when they are there already: the object is not, and that is what is told."""
    memory = MemoryStorage()
    storage = FaultyStorage(memory, error_before(method="put", key="*/touch/setting/*", times=10_000))
    registry = Registry(ResolvingStorage(storage, attempts=1, timeout=0.1), heartbeats=False)
    with pytest.raises(StorageUnavailable) as caught:
        registry.save("m", 1)
    assert caught.value.committed == "no"
    assert not Registry(memory).has_object("m")


# -- batches and the mapping -----------------------------------------------------------------------------------------


def test_54_what_fails_in_a_batch_is_told_in_its_place(versioned: Registry) -> None:
    result = versioned.save(["a", "b@@", "c"], [1, 2, 3])
    assert result.results == ["1", None, "1"]
    assert not result.all_succeeded
    assert result.errors["b@@", None]["kind"] == "invalid_input"
    loaded = versioned.load(["a", "nothing", "c"])
    assert loaded.results == [1, None, 3]
    assert isinstance(loaded.exceptions["nothing", None], RegistryObjectNotFound)
    with pytest.raises(RegistryObjectNotFound):
        loaded.raise_for_errors()
    assert versioned.delete(["a", "nothing"]).failed == [("nothing", None)]
    twice = versioned.save(["t", "t", "t"], ["x", "x", "y"])
    assert sorted(twice.results) == ["1", "2", "3"]
    assert twice.succeeded == [("t", None)] * 3


def test_55_and_59_batches_of_wrong_or_no_length(versioned: Registry) -> None:
    with pytest.raises(ValueError, match="obj has 1 items"):
        versioned.save(["a", "b"], [1])
    with pytest.raises(ValueError, match="version has 3 items"):
        versioned.load(["a", "b"], ["1", "2", "3"])
    for result in (versioned.save([], []), versioned.load([]), versioned.delete([])):
        assert result.results == []
        assert result.all_succeeded
    assert versioned.list_objects() == []


def test_57_and_58_a_registry_is_used_as_a_mapping(mutable: Registry) -> None:
    with pytest.raises(KeyError):
        mutable["missing"]
    with pytest.raises(KeyError):
        del mutable["missing"]
    with pytest.raises(KeyError):
        mutable.pop("missing")
    assert (mutable.get("missing"), mutable.get("missing", 7), mutable.pop("missing", None)) == (None, 7, None)
    assert (len(mutable), list(mutable), bool(mutable)) == (0, [], True)
    mutable["a"] = None
    mutable["b@2"] = LARGE
    mutable.update({"c": [1], "d": 4}, e=5)
    assert mutable["a"] is None
    assert (mutable["b"], mutable["b@2"], "b@2" in mutable, "b@3" in mutable, "a" in mutable) == (
        LARGE,
        LARGE,
        True,
        False,
        True,
    )
    assert (list(mutable), mutable.keys(), len(mutable)) == (list("abcde"), list("abcde"), 5)
    assert dict(mutable.items()) == {"a": None, "b": LARGE, "c": [1], "d": 4, "e": 5}
    assert list(mutable.values())[2:] == [[1], 4, 5]
    assert mutable.setdefault("a", 9) is None
    assert mutable.setdefault("f", None) is None
    assert "f" in mutable
    mutable["b@2"] = "other"
    assert mutable["b"] == "other"
    assert mutable.pop("b") == "other"
    assert "b" not in mutable
    assert mutable[["c", "d"]].results == [[1], 4]
    mutable.clear()
    assert len(mutable) == 0
    assert mutable.restore("d") == ["d@1"]


def test_of_keys_that_are_deleted_together_a_missing_one_is_told(mutable: Registry) -> None:
    """As one that is set; the others are deleted."""
    mutable.save(["z1", "z2"], 1)
    with pytest.raises(RegistryObjectNotFound, match="nope"):
        del mutable[["z1", "nope", "z2"]]
    assert list(mutable) == []


def test_update_takes_what_a_dict_takes(mutable: Registry) -> None:
    """Nothing, a mapping, pairs, keywords, and any of these names."""
    mutable.update()
    assert list(mutable) == []
    mutable.update(w=2)
    mutable.update({}, other=3, self=4)
    mutable.update([("p", 5)])
    mutable.update({"w": 6}, objects=7)
    assert dict(mutable.items()) == {"objects": 7, "other": 3, "p": 5, "self": 4, "w": 6}


@pytest.mark.parametrize("key", ["", "a@", "a@1.2.3.4", "a@b@c", " ", "\x00", "a@la\ntest", 3, None, ["a"], b"a"])
def test_what_cannot_be_a_name_is_not_in_a_registry(mutable: Registry, key: object) -> None:
    """It is asked whether it is there, and it is not."""
    mutable.save("a", 1)
    assert key not in mutable
    assert "a@1" in mutable


def test_whether_a_key_is_there_is_not_answered_by_another_error(versioned: Registry) -> None:
    """Settings that differ are told, whatever the key."""
    with pytest.raises(InvalidInput, match="mutable"):
        "a" in Registry(versioned.url, mutable=True)  # noqa: B015


def test_a_batch_belongs_to_the_run_around_it(versioned: Registry) -> None:
    """It is saved by several threads, and published by one decision."""
    reader = Registry(versioned.url)
    with versioned.run("batch"):
        assert versioned.save(["a", "b", "c"], [1, LARGE, 3]).results == ["1", "1", "1"]
        versioned["d"] = 4
        assert versioned.load(["a", "b", "d"]).results == [1, LARGE, 4]
        assert versioned.list_objects() == list("abcd")
        assert Context().run(reader.list_objects) == []
    assert reader.list_objects() == list("abcd")
    with pytest.raises(ZeroDivisionError), versioned.run("bad"):
        versioned.delete(["a", "b"])
        versioned.save(["a", "e"], [5, 6])
        assert versioned.list_objects_and_versions() == {"a": ["2"], "c": ["1"], "d": ["1"], "e": ["1"]}
        raise ZeroDivisionError
    assert reader.list_objects_and_versions() == {n: ["1"] for n in "abcd"}


def test_the_one_version_of_an_object_can_be_deleted_and_saved_anew(plain: Registry) -> None:
    """Where there are no versions there are no numbers to be used twice."""
    plain.save("m", 1)
    plain.delete("m")
    assert plain.save("m", 2) == "1"
    assert plain.load("m") == 2
    with pytest.raises(RegistryVersionConflict):
        plain.save("m", 1)
    with pytest.raises(InvalidInput, match="keeps one version"):
        plain.save("m", 1, version="2")
    assert not plain.has_object("m", "2")
    assert plain.restore("m") == []


def test_of_two_that_set_a_default_one_has_it(plain: Registry) -> None:
    """And both are told which."""
    found = at_once([lambda n=n: Registry(plain.url).setdefault("m", n) for n in range(8)])
    assert set(found) == {plain["m"]}


def test_a_key_error_is_never_about_anything_else(plain: Registry) -> None:
    """Damage is no missing key."""
    plain["m"] = LARGE
    (file,) = [k for k in keys(plain, "data/") if "_manifest" not in k]
    plain.storage.put(file, b"damaged" + b"x" * 19_000)
    with pytest.raises(RegistryError) as caught:
        plain["m"]
    assert not isinstance(caught.value, (KeyError, NotFound))
    assert file.rpartition("/")[2] in str(caught.value)
    assert plain.get("nothing", "default") == "default"


def test_a_run_lists_what_runs_nested_in_it_have_changed(versioned: Registry) -> None:
    """Deleting several versions in a run is a run of its own inside it."""
    versioned.save("m", 1)
    versioned.save("n", 1)
    with versioned.run("outer") as run:
        versioned.save("m", 2)
        versioned.delete("m")
        with versioned.run("inner", parent=run.id):
            versioned.save("inner", 3)
        assert versioned.list_objects_and_versions() == {"inner": ["1"], "n": ["1"]}
        assert list(versioned.info()) == ["inner", "n"]
    assert versioned.list_objects_and_versions() == {"inner": ["1"], "n": ["1"]}
