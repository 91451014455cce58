"""A virtual environment for each peer, below ``.build/peers``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).parents[2] / ".build" / "peers"
_INSTALL_SECONDS = 3600.0
_NEWER = ("python3.14", "python3.13", "python3.12")


class NotThere(Exception):
    """The peer cannot be measured here; says why."""


@dataclass(frozen=True)
class Peer:
    """What to install, and which of that has the version to tell. ``least`` is the oldest Python that it runs on."""

    name: str
    packages: tuple[str, ...]
    least: tuple[int, int] = (3, 11)

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return HOME / self.name / "bin" / "python"


PEERS = (
    Peer("mindtrace-registry", ("mindtrace-registry", "numpy"), least=(3, 12)),  # its syntax; it declares none
    Peer("mlflow", ("mlflow", "numpy")),
    Peer("pins", ("pins", "numpy")),
    Peer("dvc", ("dvc", "numpy")),
    Peer("icechunk", ("icechunk", "zarr", "numpy")),
)


def ensure(peer: Peer) -> str:
    """Make the environment unless it is there. Returns the installed version, or raises :class:`NotThere`."""
    done = HOME / peer.name / "installed"
    if not done.exists():
        shutil.rmtree(HOME / peer.name, ignore_errors=True)
        HOME.mkdir(parents=True, exist_ok=True)
        _run([_interpreter(peer), "-m", "venv", str(HOME / peer.name)], peer)
        _run([str(peer.python), "-m", "pip", "install", "--disable-pip-version-check", *peer.packages], peer)
        done.touch()
    code = f"from importlib.metadata import version; print(version({peer.name!r}))"
    return subprocess.run([str(peer.python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def _interpreter(peer: Peer) -> str:
    if sys.version_info[:2] >= peer.least:
        return sys.executable
    found = next((path for path in map(shutil.which, _NEWER) if path and _works(path)), None)
    if found is None:
        needed = ".".join(map(str, peer.least))
        raise NotThere(f"it needs Python {needed}; this one is {sys.version.split()[0]}, and none newer is on the path")
    return found


def _works(python: str) -> bool:
    """A name on the path may stand for a Python that is not installed (pyenv's do)."""
    return subprocess.run([python, "-c", "import venv"], capture_output=True).returncode == 0


def _run(command: Sequence[str], peer: Peer) -> None:
    log = HOME / f"{peer.name}.log"
    try:
        with open(log, "ab") as out:
            subprocess.run(command, check=True, stdout=out, stderr=subprocess.STDOUT, timeout=_INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise NotThere(f"its installation took more than {_INSTALL_SECONDS:.0f} seconds; see {log}") from None
    except (subprocess.CalledProcessError, OSError) as error:
        raise NotThere(f"it cannot be installed: {last_line(log, 'ERROR') or error}") from None


def last_line(log: Path, containing: str = "") -> str:
    """The last line that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()] if log.exists() else []
    return next((line for line in reversed(lines) if line and containing in line), "")[:300]
