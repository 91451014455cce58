"""Modules of torch: the class by its key, what its constructor is called with, and the numbers as safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from prefect_registry.errors import ConfigurationError
from prefect_registry.objects.materializers.builtin import BuiltIn, Context, fact, refused
from prefect_registry.objects.materializers.classes import dotted
from prefect_registry.objects.materializers.decoding import Decoder
from prefect_registry.objects.materializers.encoding import Encoder
from prefect_registry.objects.materializers.tensors import FACTS, TensorMaterializer, loaded_tensors, stored_tensors
from prefect_registry.objects.materializers.torch_attributes import changed_attributes, hooked, shapes, state_of
from prefect_registry.objects.payload import Part, Payload, StoredPayload


def handled() -> dict[type, type[BuiltIn]]:
    """Modules, except those of TorchScript."""
    return {torch.nn.Module: ModuleMaterializer}


class ModuleMaterializer(BuiltIn):
    """A module that its registered class makes again from ``arguments``, and what it has learnt.

    Args:
        arguments: Keyword arguments of the constructor: values that the format ``python`` has.
    """

    name = "torch.module"

    def __init__(self, context: Context | None = None, *, arguments: Mapping[str, Any] | None = None) -> None:
        super().__init__(context)
        self._arguments = dict(arguments or {})

    def bound(self, context: Context) -> ModuleMaterializer:
        """This materializer, for one call."""
        return ModuleMaterializer(context, arguments=self._arguments)

    def refuses(self, value: Any) -> str | None:
        """TorchScript, which is code."""
        if isinstance(value, torch.jit.ScriptModule):
            return "it is TorchScript, which is code: save the module that it was made from, or its state_dict()"
        return None

    def save(self, value: Any) -> Payload:
        """The numbers, and how to make the module that holds them.

        Raises:
            InvalidInput: Its class cannot make it from the arguments; says what would differ.
        """
        if why := self.refuses(value):
            raise refused(value, why)
        key = self.context.finder.classes.meet(type(value))
        encoder = Encoder(self.context)
        arguments = encoder.encode(self._arguments)
        state = state_of(value)
        problem = TensorMaterializer(self.context).refuses(state)
        if encoder.parts or problem:
            raise refused(value, problem or "Its arguments hold objects that have files of their own")
        if differences := _differences(value, _made(type(value), self._arguments, value)):
            raise refused(
                value,
                "Its class would not make it again: " + "; ".join(differences[:10]),
                "Pass materializer=ModuleMaterializer(arguments={…}) with what its constructor was given, or save its "
                "state_dict()",
            )
        facts, part = stored_tensors(state)
        facts["training"] = [name for name, module in value.named_modules() if module.training]
        return Payload([part, Part(FACTS, json.dumps(facts).encode())], {"class": key, "arguments": arguments})

    def load(self, payload: StoredPayload) -> Any:
        """A new module of the registered class, with what was learnt, on the CPU."""
        cls = self.context.finder.classes.get(fact(payload, self.name, "class", str))
        if not issubclass(cls, torch.nn.Module):
            raise _changed(cls, "it is no module of torch")
        arguments = Decoder(self.context, None).decode(fact(payload, self.name, "arguments", dict))
        facts = json.loads(payload.read(FACTS))
        made, state = _made(cls, arguments), loaded_tensors(payload, facts)
        try:
            made.load_state_dict({n: t for n, t in state.items() if n in made.state_dict()}, strict=True, assign=True)
        except RuntimeError as error:
            raise _changed(cls, str(error)) from error
        for name, parameter in made.named_parameters():
            parameter.requires_grad_(name in facts["requires_grad"])  # assigning kept what the new module wanted
        buffers, training = dict(made.named_buffers(remove_duplicate=False)), set(facts["training"])
        for name, tensor in state.items():
            if name in buffers and name not in made.state_dict():
                owner, _, attribute = name.rpartition(".")
                made.get_submodule(owner).register_buffer(attribute, tensor, persistent=False)
        for name, module in made.named_modules():
            module.training = name in training
        return made


def _made(cls: type, arguments: Mapping[str, Any], value: Any = None) -> Any:
    """A fresh module; the state of torch's random numbers is as before."""
    try:
        with torch.random.fork_rng(devices=[]):
            return cls(**arguments)
    except Exception as error:
        if value is None:
            raise _changed(cls, f"{type(error).__name__}: {error}") from error
        raise refused(
            value,
            f"Its class cannot be called with the arguments {sorted(arguments)}: {type(error).__name__}: {error}",
            "Pass materializer=ModuleMaterializer(arguments={…}) with what its constructor was given, or save its "
            "state_dict()",
        ) from error


def _differences(value: Any, other: Any) -> list[str]:
    if extra := sorted(set(value.state_dict()) - set(state_of(value))):
        return [f"its state has {', '.join(extra)}, which are no tensors of its own"]
    one, two = shapes(value), shapes(other)
    found = [
        f"{name} would be {two.get(name)} and is {one.get(name)}"
        for name in {**one, **two}
        if one.get(name) != two.get(name)
    ]
    left, right = dict(value.named_modules()), dict(other.named_modules())
    known = frozenset(id(tensor) for module in (value, other) for tensor in state_of(module).values())
    for name in left.keys() | right.keys():
        if type(left.get(name)) is not type(right.get(name)):
            found.append(f"the module {name!r} would be a {type(right.get(name)).__name__}")
            continue
        changed = changed_attributes(left[name], right[name], known)
        found.extend(f"{name}.{attribute}".strip(".") + " would differ" for attribute in changed)
        if hooked(left[name]):
            found.append(f"the module {name!r} has hooks, which would be lost")
    return found


def _changed(cls: type, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"A module of {dotted(cls)} cannot be made from what was saved",
        why=f"The class has changed: {why}",
        todo="Register the class as it was when the module was saved",
    )
