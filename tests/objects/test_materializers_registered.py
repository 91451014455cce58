"""Which materializer an object has, which one a record names, and what is imported for it."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from folder_payload import there_and_back

from prefect_registry.errors import ConfigurationError, InvalidInput
from prefect_registry.objects.materializers.base import Materializer
from prefect_registry.objects.materializers.families import FORMATS
from prefect_registry.objects.materializers.registered import Materializers
from prefect_registry.objects.payload import Part, Payload, StoredPayload


class Mesh:
    def __init__(self, points: bytes = b"") -> None:
        self.points = points

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.points == self.points  # type: ignore[attr-defined]

    __hash__ = None  # type: ignore[assignment]


class FineMesh(Mesh):
    pass


class Finest(FineMesh):
    pass


class MeshMaterializer(Materializer):
    """Gives back a Mesh, whatever it was."""

    name = "acme.mesh"

    def save(self, value: Mesh) -> Payload:
        return Payload([Part("points", lambda file: file.write(value.points))])

    def load(self, payload: StoredPayload) -> Mesh:
        return Mesh(payload.read("points"))


class ExactMaterializer(MeshMaterializer):
    """Gives back the class that it was given, one of those it knows."""

    name = "acme.exact"

    def save(self, value: Mesh) -> Payload:
        return Payload(super().save(value).parts, {"class": type(value).__name__})

    def load(self, payload: StoredPayload) -> Mesh:
        known = {cls.__name__: cls for cls in (Mesh, FineMesh, Finest)}
        return known[payload.init["class"]](payload.read("points"))


class Scaled(MeshMaterializer):
    name = "acme.scaled"

    def __init__(self, scale: int) -> None:
        self.scale = scale


@dataclass
class Settings:
    a: int


@pytest.mark.parametrize("given", [MeshMaterializer, MeshMaterializer(), f"{__name__}.MeshMaterializer"])
@pytest.mark.parametrize("target", [Mesh, f"{__name__}.Mesh", f"{__name__}:Mesh"])
def test_a_materializer_is_registered_by_class_object_or_name(target: Any, given: Any) -> None:
    """All forms save and load, also by a reader that has only registered the same."""
    writer, reader = Materializers(), Materializers()
    writer.register(target, given)
    reader.register(target, given)
    assert there_and_back(writer, Mesh(b"abc"), reader=reader) == Mesh(b"abc")


def test_the_argument_comes_first_then_what_is_registered_then_ours() -> None:
    """An explicit materializer beats a registered one, which beats the form of the family."""
    both = Materializers()
    assert both.find(Settings(1)).name == "python"
    both.register(Settings, MeshMaterializer)
    assert both.find(Settings(1)).name == "acme.mesh"
    for given in (ExactMaterializer, ExactMaterializer(), f"{__name__}.ExactMaterializer"):
        assert both.find(Settings(1), materializer=given).name == "acme.exact"
    assert isinstance(both.named("acme.exact"), ExactMaterializer)


def test_a_subclass_is_saved_like_its_base_if_its_type_comes_back() -> None:
    """The nearest base by the order of methods counts; a materializer that loses the type is refused."""
    both = Materializers()
    both.register(Mesh, MeshMaterializer)
    with pytest.raises(InvalidInput, match=r"'acme.mesh', registered for a base class, gives back .*\.Mesh"):
        both.find(FineMesh(b"1")).save(FineMesh(b"1"))
    both.register(FineMesh, ExactMaterializer)
    assert there_and_back(both, Finest(b"1")) == Finest(b"1")
    assert there_and_back(both, Mesh(b"1")) == Mesh(b"1")


def test_what_was_registered_last_loads() -> None:
    """A materializer that replaces another of the same name is used from then on, though the other was used before."""
    both = Materializers()
    replacing = type("Replacing", (MeshMaterializer,), {"load": lambda self, payload: Mesh(b"new")})
    both.register(Mesh, MeshMaterializer)
    assert there_and_back(both, Mesh(b"1")) == Mesh(b"1")
    both.register(Mesh, replacing)
    assert there_and_back(both, Mesh(b"1")) == Mesh(b"new")


def test_a_class_that_was_defined_again_is_the_one_that_loads() -> None:
    """As in a notebook, where a cell is run twice."""
    again = type("Settings", (), {"__module__": __name__, "__qualname__": "Settings", "__annotations__": {"a": int}})
    again = dataclass(again)
    both = Materializers()
    both.register(Settings)
    assert type(there_and_back(both, again(1))) is again


def test_defaults_of_the_process_hold_for_registries_opened_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a registry registers itself comes before them."""
    monkeypatch.setattr(Materializers, "defaults", {})
    Materializers.register_default(Mesh, MeshMaterializer)
    both = Materializers()
    assert both.find(Mesh()).name == "acme.mesh"
    both.register(Mesh, ExactMaterializer)
    assert (both.find(Mesh()).name, Materializers().find(Mesh()).name) == ("acme.exact", "acme.mesh")


def test_containers_hold_what_is_registered() -> None:
    """An object that has files of its own lies beside the text of the container."""
    both = Materializers()
    both.register(Mesh, MeshMaterializer)
    value = {"meshes": [Mesh(b"1"), Mesh(b"2")], "settings": Settings(1)}
    assert there_and_back(both, value) == value


@pytest.mark.parametrize(
    ("target", "given", "why"),
    [
        (5, MeshMaterializer, "must be a class, or its dotted name"),
        ("Mesh", MeshMaterializer, "must be a class, or its dotted name"),
        (Mesh, Mesh, "must be a subclass of Materializer"),
        (Mesh, "mesh", "must be a subclass of Materializer"),
        (Mesh, type("Nameless", (MeshMaterializer,), {"name": ""}), "has no 'name'"),
        (Mesh, type("Taken", (MeshMaterializer,), {"name": "numpy"}), "is one of ours; prefix yours"),
    ],
)
def test_what_cannot_be_registered_is_refused(target: Any, given: Any, why: str) -> None:
    """Each problem is told when it is registered, not when the first object is saved."""
    with pytest.raises(InvalidInput, match=why):
        Materializers().register(target, given)
    if target is Mesh:
        with pytest.raises(InvalidInput, match=why):
            Materializers().find(Mesh(), materializer=given)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("no_such_module_of_mine.Materializer", "No module named 'no_such_module_of_mine'"),
        (f"{__name__}.Nothing", "has no attribute 'Nothing'"),
        (f"{__name__}.Mesh", "must be a subclass of Materializer"),
        (Scaled, "Register an object instead of the class"),
    ],
)
def test_a_name_that_cannot_be_imported_is_told_at_first_use(given: Any, why: str) -> None:
    """Registering imports nothing; saving and loading say which name is wrong."""
    both = Materializers()
    both.register(Mesh, given)
    with pytest.raises(ConfigurationError, match=re.escape(why)):
        both.find(Mesh())
    if isinstance(given, str):
        with pytest.raises(ConfigurationError, match=re.escape(why)):
            both.named("acme.mesh", saved="acme.Mesh")


def test_an_unknown_name_says_what_was_saved_and_what_to_register() -> None:
    """The reader learns the class, the materializer, and what to do."""
    with pytest.raises(
        ConfigurationError, match=r"acme\.Mesh was saved by the materializer 'acme\.mesh'.*register_materializer\('acme"
    ):
        Materializers().named("acme.mesh", saved="acme.Mesh")


def test_a_missing_library_is_told_with_what_to_install() -> None:
    """A record in the format of a library that is not there names it (in an interpreter that cannot import polars)."""
    code = (
        "import sys; sys.modules['polars'] = None\n"
        "from prefect_registry.objects.materializers.registered import Materializers\n"
        "try: Materializers().named('polars')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    assert re.search(r"ConfigurationError .*'polars' needs polars.*pip install polars", run(code))


def test_it_is_pickled_with_what_was_registered() -> None:
    """Dotted names stay names; classes that were only met are left out, since a local one cannot be pickled."""
    both = Materializers()
    both.register(Mesh, f"{__name__}.MeshMaterializer")
    both.register("no_such_module_of_mine.A", "no_such_module_of_mine.B")
    both.register(Settings)
    both.find([Settings(1)]).save([Settings(1)])
    back = pickle.loads(pickle.dumps(both))
    assert there_and_back(back, [Mesh(b"1"), Settings(2)]) == [Mesh(b"1"), Settings(2)]
    assert back.classes.registered() == {f"{__name__}:Settings": Settings}


def test_threads_register_and_find_at_once() -> None:
    """Nothing that was registered is lost."""
    both = Materializers()
    classes = [type(f"Class{n}", (Mesh,), {}) for n in range(50)]

    def work(cls: type) -> str:
        both.register(cls, MeshMaterializer)
        return both.find(cls()).name

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(work, classes)) == {"acme.mesh"}
    assert {both.find(cls()).name for cls in classes} == {"acme.mesh"}


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={**os.environ, **environment}
    )
    return done.stdout


def test_plain_values_import_no_library() -> None:
    """Saving and loading an int, or a dict, imports none of the optional libraries."""
    heavy = "numpy pandas pyarrow polars PIL torch onnx sklearn skops transformers datasets safetensors pickle5"
    code = (
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent)]!r}\n"
        "from folder_payload import there_and_back\n"
        "from prefect_registry.objects.materializers.registered import Materializers\n"
        "assert there_and_back(Materializers(), 5) == 5\n"
        "assert there_and_back(Materializers(), {'a': (1, b'x')}) == {'a': (1, b'x')}\n"
        f"print(*(set('{heavy}'.split()) & sys.modules.keys()))"
    )
    assert run(code).strip() == ""


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Two installed packages: one that brings a materializer, and one that is broken."""
    for name, point, source in [
        ("acme", "acme.Thing = acme:ThingMaterializer", THING),
        ("broken", "broken.Thing = broken:Nothing", "class Thing: pass"),
    ]:
        (tmp_path / f"{name}.py").write_text(source, "utf-8")
        info = tmp_path / f"{name}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n", "utf-8")
        (info / "entry_points.txt").write_text(f"[prefect_registry.materializers]\n{point}\n", "utf-8")
    return tmp_path


THING = """
from prefect_registry.objects.materializers.base import Materializer
from prefect_registry.objects.payload import Part, Payload
class Thing: pass
class ThingMaterializer(Materializer):
    name = "acme.thing"
    def save(self, value): return Payload([Part("x", b"1")])
    def load(self, payload): return Thing()
"""


def test_installed_packages_bring_materializers(packages: Path) -> None:
    """They are found for a class and by name; a broken one names its distribution, and stands in nobody's way."""
    code = (
        f"import sys; sys.path[:0] = {[str(packages), str(Path(__file__).parent)]!r}\n"
        "from folder_payload import there_and_back\n"
        "from prefect_registry.objects.materializers.registered import Materializers\n"
        "def attempt(call, *arguments):\n"
        "    try: print(type(call(*arguments)).__name__)\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
        "attempt(Materializers().named, 'acme.thing')\n"
        "import acme, broken\n"
        "attempt(there_and_back, Materializers(), acme.Thing())\n"
        "attempt(Materializers().find, broken.Thing())\n"
        "attempt(Materializers().named, 'acme.other')\n"
    )
    found, made, named, unknown = run(code).splitlines()
    assert (found, made) == ("ThingMaterializer", "Thing")
    assert re.search(r"ConfigurationError .*broken\.Thing, which broken 1\.5 brings.*'Nothing'", named)
    assert re.search(r"ConfigurationError .*'acme\.other', not known here.*broken 1\.5", unknown)


def test_every_format_is_in_the_reference() -> None:
    """A name that stands in records is documented, with what it needs."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "materializers.md").read_text("utf-8")
    assert set(re.findall(r"^\| `([a-z.]+)` \|", page, re.M)) == set(FORMATS)
