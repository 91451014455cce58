"""Models, tokenizers, processors and configurations of transformers: the folders of ``save_pretrained``.

Loaded with ``from_pretrained`` of the class that saved them: one of transformers' own, or a registered one; from the
files only, without remote code, and weights from safetensors.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from typing import Any

import torch
import transformers
from transformers.feature_extraction_utils import FeatureExtractionMixin
from transformers.image_processing_base import ImageProcessingMixin

from prefect_registry.errors import ConfigurationError
from prefect_registry.objects.materializers import temporary
from prefect_registry.objects.materializers.builtin import BuiltIn, damaged, fact, refused
from prefect_registry.objects.materializers.classes import dotted
from prefect_registry.objects.materializers.torch_attributes import hooked, shapes
from prefect_registry.objects.payload import Part, Payload, StoredPayload

_KINDS: dict[str, type] = {
    "model": transformers.PreTrainedModel,
    "tokenizer": transformers.PreTrainedTokenizerBase,
    "processor": transformers.ProcessorMixin,
    "image_processor": ImageProcessingMixin,
    "feature_extractor": FeatureExtractionMixin,
    "config": transformers.PretrainedConfig,
}
_CODE = (".py", ".bin", ".pt", ".pth", ".pkl", ".pickle", ".joblib", ".h5", ".msgpack", ".so")
FACTS = "prefect-registry.json"


def handled() -> dict[type, type[BuiltIn]]:
    """Everything that has ``save_pretrained``."""
    return dict.fromkeys(_KINDS.values(), PretrainedMaterializer)


class PretrainedMaterializer(BuiltIn):
    """What ``from_pretrained`` gives: models with their weights, tokenizers, processors, configurations."""

    name = "transformers"

    def save(self, value: Any) -> Payload:
        """The files of ``save_pretrained``, from a temporary folder.

        Raises:
            InvalidInput: It would be loaded with code of its own, its class is defined inside a function, or the model
                was changed since its class made it.
        """
        cls, kind = type(value), next(kind for kind, base in _KINDS.items() if isinstance(value, base))
        key = f"transformers:{cls.__name__}" if _own(cls.__name__) is cls else self.context.finder.classes.meet(cls)
        if kind == "model" and (differences := _differences(value)):
            raise refused(
                value,
                f"Its class would not make it again from its config: {'; '.join(differences[:10])}",
                "Save its state_dict(), or change the config, or the class, as the model was changed",
            )
        folder = temporary.Kept()
        value.save_pretrained(str(folder.path), **({"safe_serialization": True} if kind == "model" else {}))
        files = sorted(p for p in folder.path.rglob("*") if p.is_file())
        paths = [p.relative_to(folder.path).as_posix() for p in files]
        if code := _code(paths):
            raise refused(value, f"Its folder holds {', '.join(code)}, which may run code when it is loaded")
        parts = [Part(path, source) for path, source in zip(paths, files, strict=True)]
        facts = _flags(value) if kind == "model" else {}
        facts["name_or_path"] = getattr(value, "name_or_path", None)
        parts.append(Part(FACTS, json.dumps(facts).encode()))
        return Payload(parts, {"kind": kind, "class": key}, keep=folder)

    def load(self, payload: StoredPayload) -> Any:
        """The same, by the same class."""
        kind, key = fact(payload, self.name, "kind", str), fact(payload, self.name, "class", str)
        module, _, name = key.partition(":")
        cls: Any = _own(name) if module == "transformers" else self.context.finder.classes.get(key)
        if cls is None or kind not in _KINDS or not issubclass(cls, _KINDS[kind]):
            raise ConfigurationError(
                f"The object is a {key}, which this version of transformers ({transformers.__version__}) does not have",
                why=f"It is no {kind} of transformers",
                todo="Install the version that has saved it",
            )
        if code := _code(payload.paths()):
            raise damaged(self.name, f"It holds {', '.join(code)}, which may run code")
        folder = temporary.Kept()
        payload.export(folder.path)
        options: dict[str, Any] = {"local_files_only": True}
        if kind != "config":
            options["trust_remote_code"] = False
        if kind == "model":
            options |= {"use_safetensors": True, "dtype": "auto"}
        try:
            made: Any = cls.from_pretrained(str(folder.path), **options)
        except (OSError, ValueError, RuntimeError) as error:
            raise damaged(self.name, str(error)) from error
        facts = json.loads(payload.read(FACTS))
        if kind == "model":
            _restore(made, facts)
        if facts["name_or_path"] is not None:  # and not the temporary folder
            made.name_or_path = facts["name_or_path"]
            if kind == "model":
                made.config.name_or_path = facts["name_or_path"]
        if type(made) is not cls:
            raise damaged(self.name, f"{dotted(cls)} gave back {dotted(type(made))}")
        return made


def _own(name: str) -> Any:
    """A class of transformers itself, by its name."""
    found = getattr(transformers, name, None)
    return found if isinstance(found, type) and found.__module__.partition(".")[0] == "transformers" else None


def _code(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if path.lower().endswith(_CODE)]


def _differences(model: Any) -> list[str]:
    """What ``from_pretrained`` would leave out, change, or stumble over; a fresh model without memory tells."""
    try:
        with torch.device("meta"):
            fresh = type(model)(copy.deepcopy(model.config))
    except Exception as error:  # constructors are anyone's
        return [f"it raises {type(error).__name__}: {error}"]
    left, right = dict(model.named_modules()), dict(fresh.named_modules())
    found = [
        f"the module {name!r} would be a {type(right.get(name)).__name__}"
        for name in {**left, **right}
        if type(left.get(name)) is not type(right.get(name))
    ]
    one, two = shapes(model), shapes(fresh)
    nothing = ("nothing", "")
    for name in {**one, **two}:
        (was, _), (would, _) = one.get(name, nothing), two.get(name, nothing)
        found += [f"{name} would be {would} and is {was}"] * (was != would)
    found += [f"the module {name!r} has hooks, which would be lost" for name in left if hooked(left[name])
              and not hooked(right.get(name))]  # fmt: skip
    types = {str(p.dtype) for p in model.parameters() if p.is_floating_point()}
    keeps = getattr(model, "_keep_in_fp32_modules", None) or getattr(model, "_keep_in_fp32_modules_strict", None)
    if len(types) > 1 and not keeps:
        found.append(f"its numbers are {', '.join(sorted(types))}, and would be of one type")
    return found


def _flags(model: Any) -> dict[str, Any]:
    return {
        "training": [name for name, module in model.named_modules() if module.training],
        "frozen": [name for name, parameter in model.named_parameters() if not parameter.requires_grad],
    }


def _restore(model: Any, flags: dict[str, Any]) -> None:
    training, frozen = set(flags["training"]), set(flags["frozen"])
    for name, module in model.named_modules():
        module.training = name in training
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
