"""How each of the compared programs saves, loads and lists versions, as its own documentation does it.

Runs in the peer's environment, where nothing of ours is installed: standard library and numpy only. Each save makes a
new version of ``name``; each load reads the newest one whole. Values are bytes and numpy arrays.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
from pathlib import Path
from typing import Any


class Bare:
    """The baseline: a temporary file, synced, linked to its name, and the folder synced; arrays are hashed too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "bare"
        self.folder.mkdir()
        self.newest: dict[str, tuple[Path, Any]] = {}

    def save(self, name: str, value: Any) -> None:
        small = isinstance(value, bytes)
        data = value if small else memoryview(value).cast("B")
        temporary, final = self.folder / f".{secrets.token_hex(8)}", self.folder / f"{name}-{secrets.token_hex(8)}"
        with open(temporary, "xb", buffering=0) as file:
            for start in range(0, len(data), 1 << 20):
                file.write(data[start : start + (1 << 20)])
            if not small:
                hashlib.sha256(data)
            os.fsync(file.fileno())
        os.link(temporary, final)
        temporary.unlink()
        descriptor = os.open(self.folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        if name in self.newest and not small:
            self.newest[name][0].unlink()  # 64 MiB a time are enough
        self.newest[name] = (final, None if small else (value.dtype, value.shape))

    def load(self, name: str) -> Any:
        path, shape = self.newest[name]
        data = path.read_bytes()
        if shape is None:
            return data
        import numpy as np

        hashlib.sha256(data)
        return np.frombuffer(data, shape[0]).reshape(shape[1])

    def versions(self, name: str) -> int:
        with os.scandir(self.folder) as entries:
            return sum(entry.name.startswith(f"{name}-") for entry in entries)


class PrefectRegistry:
    """Ours."""

    def __init__(self, folder: Path) -> None:
        from prefect_registry import Registry

        self.registry: Any = Registry(str(folder / "store"), version_objects=True)

    def save(self, name: str, value: Any) -> None:
        self.registry.save(name, value)

    def load(self, name: str) -> Any:
        return self.registry.load(name)

    def versions(self, name: str) -> int:
        return len(self.registry.list_versions(name))


class Mindtrace:
    """mindtrace-registry on a folder."""

    def __init__(self, folder: Path) -> None:
        from mindtrace.registry import Registry

        self.registry = Registry(str(folder / "store"), version_objects=True)

    def save(self, name: str, value: Any) -> None:
        self.registry.save(name, value)

    def load(self, name: str) -> Any:
        return self.registry.load(name)

    def versions(self, name: str) -> int:
        return len(self.registry.list_versions(name))


class MLflow:
    """An artifact of a run, registered as a model version: SQLite and a folder, without a server."""

    def __init__(self, folder: Path) -> None:
        os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
        import mlflow

        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        self.mlflow, self.client = mlflow, mlflow.MlflowClient()
        location = (folder / "artifacts").as_uri()
        self.experiment = self.client.create_experiment("bench", artifact_location=location)
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.known: set[str] = set()

    def save(self, name: str, value: Any) -> None:
        if name not in self.known:
            self.client.create_registered_model(name)
            self.known.add(name)
        path = write_file(self.scratch, name, value)
        run = self.client.create_run(self.experiment)
        self.client.log_artifact(run.info.run_id, str(path))
        source = f"{run.info.artifact_uri}/{path.name}"
        self.client.create_model_version(name, source=source, run_id=run.info.run_id)
        self.client.set_terminated(run.info.run_id)

    def load(self, name: str) -> Any:
        newest = ["version_number DESC"]
        (found,) = self.client.search_model_versions(f"name='{name}'", max_results=1, order_by=newest)
        return read_file(Path(self.mlflow.artifacts.download_artifacts(artifact_uri=found.source)))

    def versions(self, name: str) -> int:
        count, token = 0, None
        while True:
            page = self.client.search_model_versions(f"name='{name}'", max_results=1000, page_token=token)
            count, token = count + len(page), page.token
            if not token:
                return count


class Pins:
    """A board in a folder. Its way with arrays and bytes is joblib, that is pickle.

    The version to load is named: of two that were written within a second, the newest is not always the later one.
    """

    def __init__(self, folder: Path) -> None:
        import pins

        (folder / "board").mkdir()
        self.board = pins.board_folder(str(folder / "board"), versioned=True, allow_pickle_read=True)
        self.newest: dict[str, str] = {}

    def save(self, name: str, value: Any) -> None:
        self.newest[name] = self.board.pin_write(value, name, type="joblib").version.version

    def load(self, name: str) -> Any:
        return self.board.pin_read(name, version=self.newest[name])

    def versions(self, name: str) -> int:
        return len(self.board.pin_versions(name))


class DVC:
    """A file in a git repository: added, committed, and pushed to a remote that is a folder."""

    def __init__(self, folder: Path) -> None:
        os.environ |= {"DVC_NO_ANALYTICS": "1", "GIT_CONFIG_NOSYSTEM": "1"}
        from dvc.repo import Repo

        self.work = folder / "work"
        self.work.mkdir()
        self._git("init", "-q", "-b", "main")
        self._git("config", "user.name", "bench")
        self._git("config", "user.email", "bench@localhost")
        Repo.init(str(self.work)).close()
        remote = f"[core]\n    remote = store\n    analytics = false\n['remote \"store\"']\n    url = {folder}/remote\n"
        (self.work / ".dvc" / "config").write_text(remote)
        self._git("add", ".dvc")
        self._git("commit", "-q", "-m", "begin")
        self.repo = Repo(str(self.work))
        self.files: dict[str, Path] = {}

    def _git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.work, check=True, capture_output=True, text=True)
        return done.stdout

    def save(self, name: str, value: Any) -> None:
        path = self.files[name] = write_file(self.work, name, value)
        self.repo.add(str(path))
        self._git("add", f"{path.name}.dvc", ".gitignore")
        self._git("commit", "-q", "-m", name)
        self.repo.push(targets=[f"{path}.dvc"])

    def load(self, name: str) -> Any:
        path = self.files[name]
        path.unlink()
        self.repo.pull(targets=[f"{path}.dvc"])
        return read_file(path)

    def versions(self, name: str) -> int:
        return len(self._git("log", "--format=%H", "--", f"{self.files[name].name}.dvc").split())


class Icechunk:
    """A Zarr array in a repository on a folder, one commit a version."""

    def __init__(self, folder: Path) -> None:
        import icechunk
        import numpy as np
        import zarr

        self.np, self.zarr = np, zarr
        self.repo = icechunk.Repository.create(icechunk.local_filesystem_storage(str(folder / "repo")))
        self.bytes: set[str] = set()

    def save(self, name: str, value: Any) -> None:
        if isinstance(value, bytes):
            self.bytes.add(name)
            value = self.np.frombuffer(value, "u1")
        session = self.repo.writable_session("main")
        self.zarr.open_group(session.store, mode="a").create_array(name, data=value, overwrite=True)
        session.commit(f"save {name}")

    def load(self, name: str) -> Any:
        session = self.repo.readonly_session("main")
        value = self.zarr.open_group(session.store, mode="r")[name][:]
        return value.tobytes() if name in self.bytes else value

    def versions(self, name: str) -> int:
        return sum(snapshot.message == f"save {name}" for snapshot in self.repo.ancestry(branch="main"))


def write_file(folder: Path, name: str, value: Any) -> Path:
    """For programs that take files."""
    if isinstance(value, bytes):
        path = folder / f"{name}.bin"
        path.write_bytes(value)
        return path
    import numpy as np

    path = folder / f"{name}.npy"
    np.save(path, value)
    return path


def read_file(path: Path) -> Any:
    """What :func:`write_file` wrote."""
    if path.suffix == ".bin":
        return path.read_bytes()
    import numpy as np

    return np.load(path)


ADAPTERS = {
    "prefect-registry": PrefectRegistry,
    "mindtrace-registry": Mindtrace,
    "mlflow": MLflow,
    "pins": Pins,
    "dvc": DVC,
    "icechunk": Icechunk,
}
