"""What a module of torch holds: its tensors, and beside them what its class, called again, might make otherwise."""

from __future__ import annotations

import types
import weakref
from collections import OrderedDict, deque
from functools import cached_property
from typing import Any

import torch

from prefect_registry.objects.materializers.structured import same

_OF_TORCH = frozenset(vars(torch.nn.Module()))
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_DEEPEST = 8
_ABSENT = object()


def state_of(module: Any) -> dict[str, Any]:
    """Parameters and buffers, those too that a state dict leaves out."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    return parameters | dict(module.named_buffers(remove_duplicate=False))


def shapes(module: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type of each parameter and buffer."""
    return {name: (tuple(tensor.shape), str(tensor.dtype)) for name, tensor in state_of(module).items()}


def hooked(module: Any) -> bool:
    """Whether functions are called when it is, or when gradients pass."""
    return any(getattr(module, hooks, None) for hooks in _HOOKS)


def changed_attributes(one: Any, other: Any, known: frozenset[int]) -> list[str]:
    """The names of what two modules hold and that is not the same.

    Args:
        one: The module.
        other: A fresh one.
        known: The ids of the tensors of both that are kept: parameters and buffers.
    """
    left, right = vars(one), vars(other)
    names = (left.keys() | right.keys()) - _OF_TORCH
    names = {n for n in names if not isinstance(getattr(type(one), n, None), cached_property)}
    return sorted(n for n in names if _differ(left.get(n, _ABSENT), right.get(n, _ABSENT), known))


def _differ(one: Any, other: Any, known: frozenset[int], depth: int = 0) -> bool:
    if one is other or isinstance(one, weakref.ref) or (id(one) in known and id(other) in known):
        return False
    if type(one) is not type(other):
        return True
    if isinstance(one, torch.Tensor):
        return bool(one.dtype != other.dtype or not torch.equal(one, other))
    if isinstance(one, _FUNCTIONS):
        return bool(_named(one) != _named(other))
    if depth >= _DEEPEST:  # it may lead back to where it began
        return False
    if type(one) in (list, tuple, deque):
        return len(one) != len(other) or any(_differ(a, b, known, depth + 1) for a, b in zip(one, other, strict=True))
    if type(one) in (dict, OrderedDict):
        return not same([*one], [*other]) or any(_differ(one[key], other[key], known, depth + 1) for key in one)
    if type(one).__module__ == "numpy":
        return bool(
            repr(one.dtype) != repr(other.dtype) or one.shape != other.shape or one.tobytes() != other.tobytes()
        )
    if "__eq__" in {name for cls in type(one).__mro__[:-1] for name in vars(cls)}:
        return not same(one, other)
    return _differ(getattr(one, "__dict__", None), getattr(other, "__dict__", None), known, depth + 1)


def _named(function: Any) -> Any:
    """What tells one function from another: two lambdas have one name."""
    code = getattr(function, "__code__", None)
    return function.__module__, function.__qualname__, code
