"""What the calls on objects make of their arguments: a version in a name counts, or is refused; nothing fails bare."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from prefect_registry import Registry
from prefect_registry.errors import InvalidInput
from prefect_registry.objects.errors import RegistryObjectNotFound
from prefect_registry.objects.materializers.base import Materializer
from prefect_registry.objects.payload import Part, Payload, StoredPayload


@pytest.fixture
def three(tmp_path: Path) -> Registry:
    """A registry with three versions of one object."""
    registry = Registry(tmp_path / "registry", version_objects=True)
    for n in range(1, 4):
        registry.save("m", n)
    return registry


def refused(call: Callable[[], Any]) -> InvalidInput:
    """The error of a call that is wrong: it tells everything, and nothing was published."""
    with pytest.raises(InvalidInput) as caught:
        call()
    error = caught.value
    assert error.committed == "no"
    assert all((error.what, error.why, error.todo))
    return error


# -- name@version ----------------------------------------------------------------------------------------------------


def test_an_alias_is_set_to_the_version_in_the_name(three: Registry) -> None:
    """Number, alias or ``latest``, as beside the name; and both only when they say the same."""
    assert three.set_alias("m@1", "c") is None
    assert three.aliases("m") == {"c": "1"}
    assert three.set_alias("m@c", "same") is None
    assert three.set_alias("m@latest", "c") == "1"
    assert three.set_alias("m@v2.0", "c", "2") == "3"
    assert three.set_alias("m", "newest") is None
    assert three.aliases("m") == {"c": "2", "newest": "3", "same": "1"}
    for other in ("1", "latest", "same"):
        assert "is another one" in refused(partial(three.set_alias, "m@2", "c", other)).why
    with pytest.raises(RegistryObjectNotFound):
        three.set_alias("m@9", "c")
    assert three.aliases("m")["c"] == "2"


@pytest.mark.parametrize("name", ["m@1", "m@latest", "m@c"])
def test_a_version_is_refused_where_none_can_be_meant(three: Registry, name: str) -> None:
    """These calls are about the object as a whole: the error names the call, and what to give instead."""
    three.set_alias("m", "c", "2")
    calls: dict[str, Callable[[], Any]] = {
        "remove_alias": lambda: three.remove_alias(name, "c"),
        "alias_history": lambda: three.alias_history(name, "c"),
        "list_versions": lambda: three.list_versions(name),
        "aliases": lambda: three.aliases(name),
    }
    for call, made in calls.items():
        error = refused(made)
        assert f"{name!r} names a version, and {call}" in error.why
        assert error.todo.endswith("'m'")
    assert three.aliases("m") == {"c": "2"}


# -- bare errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [3, b"x", ["x"]])
def test_a_reason_is_a_text(three: Registry, reason: Any) -> None:
    """Wherever one is given; nothing is deleted, pointed at or removed."""
    three.set_alias("m", "c", "2")
    for call in (
        lambda: three.delete("m@1", reason=reason),
        lambda: three.delete("m", reason=reason),
        lambda: three.set_alias("m", "c", "3", reason=reason),
        lambda: three.remove_alias("m", "c", reason=reason),
    ):
        assert "reason must be a string" in refused(call).why
    assert (three.list_versions("m"), three.aliases("m")) == (["1", "2", "3"], {"c": "2"})


@pytest.mark.parametrize("prefix", [None, 3, b"m", ["m"]])
def test_a_prefix_is_a_text(three: Registry, prefix: Any) -> None:
    """Of both lists of names."""
    for call in (three.list_objects, three.list_objects_and_versions):
        assert "prefix must be a string" in refused(partial(call, prefix)).why


@pytest.mark.parametrize("source", ["path", None, 3, Path("path")])
def test_what_is_downloaded_from_is_a_registry(three: Registry, source: Any) -> None:
    """The error says how to have one."""
    error = refused(lambda: three.download(source, "m"))
    assert f"not {type(source).__name__}" in error.why
    assert "Registry(" in error.todo


@pytest.mark.parametrize("output_dir", [3, b"out", ["out"], "a\0b"], ids=repr)
def test_where_files_are_put_is_a_path(three: Registry, tmp_path: Path, output_dir: Any) -> None:
    """Told before anything is loaded."""
    assert "output_dir" in refused(lambda: three.load("m", output_dir=output_dir)).why


def test_two_places_are_refused(tmp_path: Path) -> None:
    """A registry has one, under either name: what is saved must not lie elsewhere than was meant."""
    error = refused(lambda: Registry(tmp_path / "a", backend=tmp_path / "b"))
    assert "two names of one argument" in error.why
    assert list(tmp_path.iterdir()) == []
    assert Registry(backend=tmp_path / "b").url == Registry(tmp_path / "b").url


# -- batches ---------------------------------------------------------------------------------------------------------


class Bad:
    """An object that cannot be saved, or not be loaded."""

    def __init__(self, fails: str) -> None:
        self.fails = fails


class BadForm(Materializer):
    """Raises what no error of the registry is."""

    name = "test.bad"
    raised: ClassVar[type[BaseException]] = ValueError

    def save(self, value: Bad) -> Payload:
        if value.fails == "save":
            raise self.raised("it is bad")
        return Payload([Part("data", b"x")])

    def load(self, payload: StoredPayload) -> Any:
        raise self.raised("it is bad")


@pytest.fixture
def bad(three: Registry) -> Registry:
    """A registry that knows a materializer that fails."""
    three.register_materializer(Bad, BadForm)
    return three


def test_whatever_one_item_raises_the_others_are_told(bad: Registry) -> None:
    """What is published is in the result, and so is the exception, in the item's place."""
    saved = bad.save(["ok1", "bad", "ok2"], [1, Bad("save"), 2])
    assert (saved.results, saved.failed) == (["1", None, "1"], [("bad", None)])
    assert [bad.load(n) for n in ("ok1", "ok2")] == [1, 2]
    assert not bad.has_object("bad")
    bad.save("bad", Bad("load"))
    loaded = bad.load(["ok1", "bad", "ok2"])
    assert (loaded.results, loaded.failed) == ([1, None, 2], [("bad", None)])
    for result in (saved, loaded):
        error = result.errors["bad", None]
        assert (error["kind"], error["what"], error["committed"]) == ("registry_error", "ValueError: it is bad", None)
        assert error["why"]
        assert error["todo"]
        with pytest.raises(ValueError, match=r"^it is bad$"):
            result.raise_for_errors()


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_ends_a_batch(bad: Registry, monkeypatch: pytest.MonkeyPatch, interrupt: Any) -> None:
    """It is about the whole call."""
    monkeypatch.setattr(BadForm, "raised", interrupt)
    with pytest.raises(interrupt):
        bad.save(["ok", "bad"], [1, Bad("save")])


def test_what_cannot_be_a_key_is_told_by_its_text(three: Registry) -> None:
    """Names and versions of any type are an item's error, and nobody else's."""
    result = three.save(["a", "b", "c"], 1, version=[["1"], {}, "1"])
    assert result.results == [None, None, "1"]
    assert list(result.errors) == [("a", "['1']"), ("b", "{}")]
    assert {e["kind"] for e in result.errors.values()} == {"invalid_input"}
    names: Any = [["a"], {}, ("c", []), "m"]
    assert list(three.load(names).errors) == [("['a']", None), ("{}", None), ("('c', [])", None)]
    deleted = three.delete(names, "1")
    assert deleted is not None
    assert deleted.succeeded == [("m", "1")]
