"""What a storage must do, as a pytest suite to inherit: ours pass it against real servers, and so must anybody's.

::

    class TestMyStorage(StorageContract):
        @pytest.fixture
        def storage(self):
            return MyStorage(f"mine://somewhere/{uuid4()}")  # raw, empty, and used by nobody else

Add :class:`BucketContract`, :class:`AccessContract`, :class:`ServerContract` or :class:`CapacityContract` where they
make sense. Nothing is skipped: what a backend cannot do is a class attribute, and says so.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("prefect_registry.testing.contracts")

from prefect_registry.testing.contracts.concurrency import (  # noqa: E402
    AnswerContract,
    ConcurrencyContract,
    FaceContract,
)
from prefect_registry.testing.contracts.copies import CopyContract  # noqa: E402
from prefect_registry.testing.contracts.documents import DocumentContract, KeyContract  # noqa: E402
from prefect_registry.testing.contracts.files import FileContract  # noqa: E402
from prefect_registry.testing.contracts.listings import ListingContract  # noqa: E402
from prefect_registry.testing.contracts.troubles import (  # noqa: E402
    AccessContract,
    BucketContract,
    CapacityContract,
    ServerContract,
)

__all__ = ["AccessContract", "BucketContract", "CapacityContract", "ServerContract", "StorageContract"]


class StorageContract(
    DocumentContract,
    KeyContract,
    ListingContract,
    FileContract,
    CopyContract,
    ConcurrencyContract,
    AnswerContract,
    FaceContract,
):
    """Every storage, whatever it stands on. The class attributes are those of ``ContractSettings``."""
