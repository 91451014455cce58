"""ONNX models as the file that every runtime reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.message import DecodeError, EncodeError

from prefect_registry.objects.materializers.builtin import BuiltIn, damaged, lossy, refused
from prefect_registry.objects.payload import Part, Payload, StoredPayload

MODEL = "model.onnx"
MOST_BYTES = (2 << 30) - 1
"""What one protobuf message can have."""


def handled() -> dict[type, type[BuiltIn]]:
    """Models."""
    return {onnx.ModelProto: OnnxMaterializer}


class OnnxMaterializer(BuiltIn):
    """A model whose numbers lie in it."""

    name = "onnx"

    def refuses(self, value: Any) -> str | None:
        """Models of which a part lies in other files."""
        if why := lossy(value, (onnx.ModelProto,)):
            return why
        if outside := [t.name for t in _tensors(value) if t.data_location == onnx.TensorProto.EXTERNAL]:
            return (
                f"the numbers of {', '.join(outside[:10])} lie in other files: load them first "
                "(onnx.external_data_helper.load_external_data_for_model), or save the folder as a Path"
            )
        if value.ByteSize() > MOST_BYTES:
            return "it has more than 2 GiB: write it with external data to a folder, and save that as a Path"
        return None

    def save(self, value: Any) -> Payload:
        """One file.

        Raises:
            InvalidInput: A part of it lies in other files.
        """
        if why := self.refuses(value):
            raise refused(value, why)
        try:
            return Payload([Part(MODEL, value.SerializeToString(deterministic=True))])
        except (EncodeError, ValueError) as error:
            raise refused(value, str(error)) from error

    def load(self, payload: StoredPayload) -> Any:
        """The model."""
        try:
            return onnx.ModelProto.FromString(payload.read(MODEL))
        except DecodeError as error:
            raise damaged(self.name, str(error)) from error


def _tensors(message: Any) -> Iterator[Any]:
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if not hasattr(value, "ListFields") else [value]:
                if hasattr(inner, "ListFields"):
                    yield from _tensors(inner)
