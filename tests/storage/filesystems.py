"""Filesystems of fsspec that are not ours: one that keeps its word, and several that do not."""

from __future__ import annotations

import os
import secrets
from typing import Any

from fsspec.implementations.local import LocalFileSystem


class LinkingFileSystem(LocalFileSystem):
    """A third party's filesystem with a real create: written beside, then linked."""

    protocol = ("linking",)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        beside = f"{os.path.dirname(os.path.dirname(path))}/.{secrets.token_hex(8)}"
        with open(beside, "wb") as file:
            file.write(value)
        try:
            if mode == "create":
                os.link(beside, path)
                os.unlink(beside)
            else:
                os.replace(beside, path)
        except BaseException:
            os.unlink(beside)
            raise

    def find(self, path: str, **kwargs: Any) -> Any:
        found = super().find(path, **kwargs)
        return {name: entry for name, entry in found.items() if not os.path.basename(name).startswith(".")}


class LookingFirstFileSystem(LocalFileSystem):
    """Looks whether the file exists, and then writes it: right when alone, wrong in a race."""

    protocol = ("looking",)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        if mode == "create" and self.exists(path):
            raise FileExistsError(path)
        with self.open(path, "wb") as file:
            file.write(value)


class IgnoringFileSystem(LocalFileSystem):
    """Takes the mode and ignores it."""

    protocol = ("ignoring",)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        with self.open(path, "wb") as file:
            file.write(value)


class UnwillingFileSystem(LocalFileSystem):
    """Does not know the mode."""

    protocol = ("unwilling",)

    def pipe_file(self, path: str, value: bytes) -> None:
        with self.open(path, "wb") as file:
            file.write(value)
