"""Pickle: only where the registry and the call allow it, and in one module only."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from folder_payload import FolderPayload, stored, there_and_back

import prefect_registry
from prefect_registry.errors import FormatError, InvalidInput
from prefect_registry.objects.materializers.pickled import PickleMaterializer
from prefect_registry.objects.materializers.registered import Materializers


class Opaque:
    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and other.value == self.value

    __hash__ = None  # type: ignore[assignment]


class Text(str):
    pass


def test_without_leave_nothing_is_pickled_or_unpickled() -> None:
    """Saving names the way out; loading refuses the record; asking for it by name does not help."""
    both = Materializers()
    with pytest.raises(InvalidInput, match="allow pickle for the registry and for this call"):
        both.find(Opaque(1))
    with pytest.raises(InvalidInput, match="not allowed for this registry and this call"):
        both.find(Opaque(1), materializer=PickleMaterializer).save(Opaque(1))
    name, payload = stored(both, Opaque(1), allow_pickle=True)
    assert name == "pickle"
    with pytest.raises(InvalidInput, match="A pickle runs code of whoever wrote it"):
        both.named(name).load(payload)


@pytest.mark.parametrize("value", [Opaque((1, 2)), [Opaque(1), {"a": Opaque(2)}], Text("a"), {"a": Text("a")}])
def test_with_leave_what_has_no_form_is_pickled(value: object) -> None:
    """Only that: a container keeps its own form around what is pickled."""
    back = there_and_back(Materializers(), value, allow_pickle=True)
    assert (back, type(back)) == (value, type(value))
    assert stored(Materializers(), {"a": 1}, allow_pickle=True)[0] == "python"


def test_a_container_holds_no_pickle_without_leave() -> None:
    """A record of ours that names a pickle inside is refused like the pickle itself."""
    name, payload = stored(Materializers(), [Opaque(1)], allow_pickle=True)
    with pytest.raises(InvalidInput, match="A pickle runs code"):
        Materializers().named(name).load(payload)


def test_what_cannot_be_pickled_is_refused() -> None:
    """A lambda, for example."""
    with pytest.raises(InvalidInput, match="cannot be pickled"):
        stored(Materializers(), Opaque(lambda: 1), allow_pickle=True)


def test_a_damaged_pickle_is_a_format_error(tmp_path: Path) -> None:
    """Its class is gone, or it is no pickle."""
    (tmp_path / "object.pickle").write_bytes(b"cno_such_module\nA\n.")
    with pytest.raises(FormatError, match="no_such_module"):
        Materializers().named("pickle", allow_pickle=True).load(FolderPayload(tmp_path, {}))


def test_nothing_else_unpickles() -> None:
    """No module but one imports pickle, or calls what unpickles under another name."""
    calls = re.compile(
        r"\bimport (pickle|dill|joblib|cloudpickle|marshal|shelve)\b|\b(torch\.load|read_pickle|to_pickle)\("
        r"|allow_pickle=True[,)]|weights_only=False|trust_remote_code\W+True"
    )
    root = Path(prefect_registry.__file__).parent
    found = {p.relative_to(root).as_posix() for p in root.rglob("*.py") if calls.search(_code(p))}
    assert found == {"objects/materializers/pickled.py"}


def _code(path: Path) -> str:
    """A module without its texts: error messages name what they warn of."""
    return re.sub(r'"""[\s\S]*?"""|"[^"\n]*"', '""', path.read_text("utf-8"))
