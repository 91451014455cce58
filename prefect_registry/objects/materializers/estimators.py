"""Estimators of scikit-learn through skops, which makes only objects of types that are trusted."""

from __future__ import annotations

import warnings
from typing import Any

import sklearn
import skops.io
from sklearn.base import BaseEstimator
from skops.io.exceptions import UnsupportedTypeException, UntrustedTypesFoundException

from prefect_registry.errors import ConfigurationError, InvalidInput
from prefect_registry.objects.materializers.builtin import BuiltIn, damaged, refused
from prefect_registry.objects.materializers.classes import LOCAL, dotted
from prefect_registry.objects.payload import Part, Payload, StoredPayload

DATA = "estimator.skops"


def handled() -> dict[type, type[BuiltIn]]:
    """Everything that is fitted: estimators, transformers, pipelines."""
    return {BaseEstimator: EstimatorMaterializer}


class EstimatorMaterializer(BuiltIn):
    """An estimator that is made only of types which skops trusts, and of classes that were registered."""

    name = "sklearn"

    def save(self, value: Any) -> Payload:
        """One file.

        Raises:
            InvalidInput: It holds types that would not be trusted when it is loaded; names them.
        """
        try:
            data = skops.io.dumps(value)
            if untrusted := self._untrusted(data):
                raise refused(
                    value,
                    f"It holds {', '.join(untrusted)}, which skops does not trust: loading could run their code",
                    "If you trust them, call registry.register_materializer with each, here and where it is loaded",
                )
            back = skops.io.loads(data, trusted=self._trusted())
        except (UnsupportedTypeException, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, InvalidInput):
                raise
            raise refused(value, f"skops cannot keep it: {error}") from error
        if type(back) is not type(value):
            raise refused(value, f"skops would give back {dotted(type(back))}")
        return Payload([Part(DATA, data)], {"sklearn": sklearn.__version__})

    def load(self, payload: StoredPayload) -> Any:
        """The estimator; warns if another version of scikit-learn has saved it.

        Raises:
            ConfigurationError: It holds types that are not trusted here; names them.
        """
        saved = payload.init.get("sklearn")
        if saved != sklearn.__version__:
            warnings.warn(
                f"scikit-learn {saved} has saved this estimator, and {sklearn.__version__} loads it: "
                "compare what it predicts",
                UserWarning,
                stacklevel=2,
            )
        data = payload.read(DATA)
        try:
            if untrusted := self._untrusted(data):
                raise ConfigurationError(
                    f"The estimator holds {', '.join(untrusted)}, which are not trusted here",
                    why="Making objects of them may run their code",
                    todo="If you trust them, call registry.register_materializer with each class, and load again",
                )
            return skops.io.loads(data, trusted=self._trusted())
        except (UntrustedTypesFoundException, ValueError, KeyError, ImportError, AttributeError, OSError) as error:
            if isinstance(error, ConfigurationError):
                raise
            raise damaged(self.name, f"{type(error).__name__}: {error}") from error

    def _untrusted(self, data: bytes) -> list[str]:
        return sorted(set(skops.io.get_untrusted_types(data=data)) - set(self._trusted()))

    def _trusted(self) -> list[str]:
        classes = self.context.finder.classes.registered().values()
        return [dotted(cls) for cls in classes if LOCAL not in cls.__qualname__]
