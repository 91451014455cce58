"""What a backend tells the contract about itself."""

from __future__ import annotations

from typing import ClassVar

import pytest

from prefect_registry.storage.base import (
    Storage,
)

WAIT_SECONDS = 300.0


class ContractSettings:
    """What a backend tells the contract about itself.

    Attributes:
        race_threads: Contenders per process in the race for one key.
        race_processes: Processes in that race; 0 for threads of this process only, as memory is not shared.
        race_keys: How many keys are raced for. 0 for a server that is known not to be atomic: then nothing is.
        many: How many objects are listed and deleted: more than two pages.
        shared: Whether other processes see the same objects.
        has_filesystem: Whether ``fs()`` gives a filesystem of fsspec.
        part_bytes: A size that is more than one part of an upload.
    """

    race_threads: ClassVar[int] = 8
    race_processes: ClassVar[int] = 4
    race_keys: ClassVar[int] = 200
    many: ClassVar[int] = 2_501
    shared: ClassVar[bool] = True
    has_filesystem: ClassVar[bool] = True
    part_bytes: ClassVar[int] = 20 << 20

    @pytest.fixture
    def storage(self) -> Storage:
        """A raw storage, empty, that nobody else uses."""
        raise NotImplementedError("override the fixture 'storage': the contract tests what it returns")
