"""A folder that is reached by two paths is one store: a run around the code is found by either."""

from __future__ import annotations

from pathlib import Path

import pytest
from registry_support import doc

from prefect_registry import Registry


@pytest.fixture
def linked(tmp_path: Path) -> tuple[Registry, Registry]:
    """A registry in a folder, and the same by way of a link."""
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    return Registry(str(tmp_path / "folder")), Registry(str(tmp_path / "link"))


def test_what_is_written_by_another_path_is_staged_in_the_run_around_it(linked: tuple[Registry, Registry]) -> None:
    """Else it would be visible at once, and stay so when the run fails."""
    for registry, other in (linked, linked[::-1]):
        with pytest.raises(ZeroDivisionError), registry.run("work"):
            other.register_documents([doc("a")])
            assert list(other.documents()) == []
            raise ZeroDivisionError
        assert list(other.documents()) == []
    with linked[0].run("work"):
        linked[1].register_documents([doc("a")])
    assert [d.id for d in linked[1].documents()] == ["a"]
