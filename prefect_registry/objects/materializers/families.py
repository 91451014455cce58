"""Which module of ours knows which library. Nothing here imports one: that happens when a value of it is met, or when a
record names its format.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, NamedTuple

from prefect_registry.errors import ConfigurationError
from prefect_registry.objects.materializers.builtin import BuiltIn

_HERE = "prefect_registry.objects.materializers"


class Format(NamedTuple):
    """Where a format of ours is implemented: module and class, and which packages it needs."""

    module: str
    implementation: str
    needs: tuple[str, ...] = ()


FORMATS: dict[str, Format] = {
    "python": Format("python", "PythonMaterializer"),
    "bytes": Format("raw", "BytesMaterializer"),
    "files": Format("files", "FilesMaterializer"),
    "pickle": Format("pickled", "PickleMaterializer"),
    "numpy": Format("arrays", "ArrayMaterializer", ("numpy",)),
    "arrow": Format("arrow", "ArrowMaterializer", ("pyarrow",)),
    "arrow.dataset": Format("arrow_datasets", "ArrowDatasetMaterializer", ("pyarrow",)),
    "pandas": Format("frames", "PandasMaterializer", ("pandas", "pyarrow")),
    "polars": Format("polars_frames", "PolarsMaterializer", ("polars",)),
    "pillow": Format("images", "ImageMaterializer", ("pillow",)),
    "torch": Format("tensors", "TensorMaterializer", ("torch", "safetensors")),
    "torch.module": Format("torch_modules", "ModuleMaterializer", ("torch", "safetensors")),
    "onnx": Format("onnx_models", "OnnxMaterializer", ("onnx",)),
    "sklearn": Format("estimators", "EstimatorMaterializer", ("scikit-learn", "skops")),
    "transformers": Format("huggingface", "PretrainedMaterializer", ("transformers", "torch", "safetensors")),
    "datasets": Format("huggingface_datasets", "HuggingFaceDatasetMaterializer", ("datasets",)),
}
"""Every format of ours by the name that records keep."""

_FAMILIES: dict[str, tuple[str, ...]] = {
    "numpy": ("arrays",),
    "pyarrow": ("arrow", "arrow_datasets"),
    "pandas": ("frames",),
    "polars": ("polars_frames",),
    "PIL": ("images",),
    "torch": ("tensors", "torch_modules"),
    "onnx": ("onnx_models",),
    "sklearn": ("estimators",),
    "transformers": ("huggingface",),
    "datasets": ("huggingface_datasets",),
}
"""Top-level packages, and the modules here that know their types; each has ``handled()``."""


def implementation(name: str) -> type[BuiltIn]:
    """The materializer of a format of ours.

    Raises:
        ConfigurationError: A library that it needs is not installed.
    """
    form = FORMATS[name]
    try:
        found: type[BuiltIn] = getattr(import_module(f"{_HERE}.{form.module}"), form.implementation)
    except ImportError as error:
        raise missing(name, error) from error
    return found


def missing(name: str, error: ImportError) -> ConfigurationError:
    """The error for a format whose library is not installed."""
    needs = FORMATS[name].needs
    return ConfigurationError(
        f"The format {name!r} needs {' and '.join(needs) or 'this package'}, which cannot be imported",
        why=str(error),
        todo=f"pip install {' '.join(needs)}" if needs else "Reinstall prefect-registry",
    )


def handled(cls: type) -> dict[type, type[BuiltIn]]:
    """Which materializer of ours a class, or a base of it, has, for all libraries that the class descends from."""
    found: dict[type, type[BuiltIn]] = {}
    for package in {base.__module__.partition(".")[0] for base in cls.__mro__}:
        for module in _FAMILIES.get(package, ()) if package in sys.modules else ():
            try:
                found |= import_module(f"{_HERE}.{module}").handled()
            except ImportError as error:
                name = next(name for name, form in FORMATS.items() if form.module == module)
                raise missing(name, error) from error
    return found


def is_state_dict(value: Any) -> bool:
    """Whether an ``OrderedDict`` or ``dict`` holds tensors of torch under texts, and nothing else."""
    first = next(iter(value.values()), None)
    if type(first).__module__.partition(".")[0] != "torch":
        return False
    tensor = sys.modules["torch"].Tensor
    return all(type(key) is str and isinstance(v, tensor) for key, v in value.items())
