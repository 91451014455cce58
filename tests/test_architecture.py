"""The shape of the package: its layers, the size of its modules, and what is shipped."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path

import importlinter.cli  # configures import-linter
import pytest
from importlinter.application import use_cases

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "prefect_registry"
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 400


def test_layers() -> None:
    """The contracts of pyproject.toml; what import-linter prints says which import breaks which."""
    assert importlinter.cli
    assert use_cases.lint_imports(config_filename=str(ROOT / "pyproject.toml"), cache_dir=None, no_logo=True)


def test_modules_are_short() -> None:
    lengths = {str(module.relative_to(ROOT)): len(module.read_text("utf-8").splitlines()) for module in MODULES}
    assert not {name: lines for name, lines in lengths.items() if lines > LONGEST}, f"longer than {LONGEST}: split them"


def imported_by(statement: str) -> set[str]:
    """The top-level packages in a fresh interpreter after a statement."""
    code = f"{statement}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import prefect_registry", "from prefect_registry import Registry"])
def test_the_core_does_not_import_prefect_or_clients(statement: str) -> None:
    heavy = {"prefect", "fsspec", "s3fs", "gcsfs", "adlfs", "aiobotocore", "pyarrow", "pandas"}
    assert not heavy & imported_by(statement)


@pytest.mark.skipif(not find_spec("prefect_registry.testing.plugin"), reason="there is no plugin")
def test_the_pytest_plugin_imports_prefect_only_when_used() -> None:
    """A user's conftest sets PREFECT_HOME and the like, after plugins were loaded and before prefect reads them."""
    assert "prefect" not in imported_by("import prefect_registry.testing.plugin")


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, check=True)
    return folder


def test_the_wheel_holds_the_package_and_nothing_else(distributions: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert {name.partition("/")[0].partition("-")[0] for name in names} == {"prefect_registry"}
        assert {str(path.relative_to(ROOT)) for path in MODULES} <= names
        assert "prefect_registry/py.typed" in names
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)

        (entry_points,) = (name for name in names if name.endswith("/entry_points.txt"))
        parser = ConfigParser(delimiters=["="])
        parser.read_string(archive.read(entry_points).decode())
    assert parser["console_scripts"]["prefect-registry"] == "prefect_registry.cli:main"
    for group in ("prefect.collections", "pytest11"):
        if parser.has_section(group):
            assert all(find_spec(module) for module in parser[group].values()), group


def test_the_source_distribution_holds_nothing_else(distributions: Path) -> None:
    (source,) = distributions.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        tops = {Path(name).parts[1] for name in archive.getnames() if len(Path(name).parts) > 1}
    files = {path.name for path in ROOT.glob("*.md")}
    assert tops <= {"prefect_registry", "tests", "docs", "LICENSE", "constraints.txt", "Makefile"} | files | {
        "pyproject.toml",
        "PKG-INFO",
        ".gitignore",
    }
