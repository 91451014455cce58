"""Tensors and state dicts of torch as safetensors files: numbers only, nothing that runs."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, BinaryIO

import safetensors
import torch
from safetensors import SafetensorError, safe_open

from prefect_registry.errors import InvalidInput
from prefect_registry.objects.materializers.builtin import BuiltIn, damaged, fact, lossy, refused
from prefect_registry.objects.materializers.decoding import Decoder
from prefect_registry.objects.materializers.encoding import Encoder
from prefect_registry.objects.materializers.moments import is_unicode
from prefect_registry.objects.payload import Part, Payload, StoredPayload

DATA, FACTS = "tensors.safetensors", "facts.json"
_TYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.uint16: "U16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int32: "I32",
    torch.uint32: "U32",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.uint64: "U64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
"""How safetensors names the types that both have."""
if tuple(map(int, safetensors.__version__.split(".")[:2])) >= (0, 7):  # older ones cannot read it
    _TYPES[torch.complex64] = "C64"
_ALIGNMENT = 8


def handled() -> dict[type, type[BuiltIn]]:
    """Tensors and parameters."""
    return {torch.Tensor: TensorMaterializer}


class TensorMaterializer(BuiltIn):
    """A tensor, a parameter, or a state dict. They come back on the CPU; gradients are not kept.

    Entries of a state dict that are the same memory are stored once, and are the same memory again.
    """

    name = "torch"

    def refuses(self, value: Any) -> str | None:
        """What safetensors has no form for."""
        tensors = value if isinstance(value, Mapping) else {"": value}
        problems = [f"the key {name!r} is none of a file of safetensors" for name in tensors if not _is_key(name)]
        problems += [f"{name}: {why}" if name else why for name, t in tensors.items() if (why := _problem(t))]
        return "; ".join(problems[:20]) or None

    def save(self, value: Any) -> Payload:
        """One file, written without a copy in memory, and ``facts.json``.

        Raises:
            InvalidInput: safetensors has no form for a tensor.
        """
        if why := self.refuses(value):
            raise refused(value, why)
        tensors = dict(value) if isinstance(value, Mapping) else {"tensor": value}
        kind = {dict: "dict", OrderedDict: "ordered_dict"}.get(type(value), "tensor")
        facts, part = stored_tensors(tensors)
        if kind == "ordered_dict":
            facts["attributes"] = self._attributes(value)
        return Payload([part, Part(FACTS, json.dumps(facts).encode())], {"kind": kind})

    def load(self, payload: StoredPayload) -> Any:
        """The tensor or state dict, on the CPU. Lazily, the memory is that of the file, and read when used."""
        kind, facts = fact(payload, self.name, "kind", str), json.loads(payload.read(FACTS))
        tensors = loaded_tensors(payload, facts)
        if kind == "tensor":
            return tensors["tensor"]
        if kind == "dict":
            return tensors
        made = OrderedDict(tensors)
        for name, value in Decoder(self.context, None).decode(facts["attributes"]).items():
            setattr(made, name, value)
        return made

    def _attributes(self, value: Any) -> Any:
        encoder = Encoder(self.context)
        try:
            tree = encoder.encode(vars(value))
        except InvalidInput as error:
            raise refused(value, f"Its attributes cannot be kept: {error}") from error
        if encoder.parts:
            raise refused(value, "Its attributes hold objects that have files of their own")
        return tree


def stored_tensors(tensors: Mapping[str, Any]) -> tuple[dict[str, Any], Part]:
    """The facts and the file of named tensors; those that are the same memory are written once."""
    first: dict[Any, str] = {}
    same: dict[str, str] = {}
    for name, tensor in tensors.items():
        memory = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, type(tensor), tensor.requires_grad)
        known = first.setdefault(memory, name) if tensor.numel() else name
        if known != name:
            same[name] = known
    facts = {
        "order": list(tensors),
        "same": same,
        "parameters": [n for n, t in tensors.items() if type(t) is torch.nn.Parameter],
        "requires_grad": [n for n, t in tensors.items() if t.requires_grad],
    }
    unique = {name: tensor.detach() for name, tensor in tensors.items() if name not in same}
    return facts, Part(DATA, lambda file: _write(file, unique))


def loaded_tensors(payload: StoredPayload, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of a payload, by name."""
    grads, parameters, made = set(facts["requires_grad"]), set(facts["parameters"]), {}
    try:
        with safe_open(payload.local(DATA), framework="pt", device="cpu") as file:
            for name in file.keys():  # noqa: SIM118 (it is no mapping)
                tensor = file.get_tensor(name) if payload.lazy else file.get_tensor(name).clone()
                if name in parameters:
                    made[name] = torch.nn.Parameter(tensor, requires_grad=name in grads)
                else:
                    made[name] = tensor.requires_grad_(name in grads)
    except SafetensorError as error:
        raise damaged("torch", str(error)) from error
    same = facts["same"]
    try:
        return {name: made[same.get(name, name)] for name in facts["order"]}
    except KeyError as error:
        raise damaged("torch", f"The tensor {error} is missing") from error


def _write(file: BinaryIO, tensors: Mapping[str, Any]) -> None:
    """The file as its specification has it: length, JSON header, then the numbers; wider types first, for alignment."""
    names = sorted(tensors, key=lambda n: (-tensors[n].element_size(), n))
    header, offset = {}, 0
    for name in names:
        tensor = tensors[name]
        size = tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _TYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in names:
        flat = tensors[name].cpu().contiguous().reshape(-1)
        file.write(memoryview(flat.view(torch.uint8).numpy()))


def _is_key(name: str) -> bool:
    """Whether a file can have a tensor of that name: one name is taken, and UTF-8 has no halves of characters."""
    return name != "__metadata__" and is_unicode(name)


def _problem(tensor: Any) -> str | None:
    if why := lossy(tensor, (torch.Tensor, torch.nn.Parameter)):
        return why
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_nested:
        return "it is sparse, quantized, nested or without memory, for which safetensors has no form"
    if tensor.dtype not in _TYPES:
        return f"safetensors has no form for {tensor.dtype}"
    if tensor.grad_fn is not None:
        return "it is a result that gradients are computed through: save tensor.detach()"
    if tensor.is_conj() or tensor.is_neg():
        return "it is a view that is conjugated or negated: save tensor.resolve_conj().resolve_neg()"
    return None
