"""Images of Pillow, pixel by pixel: PNG, else TIFF, else the bare pixels, by mode."""

from __future__ import annotations

import io
import json
import zlib
from typing import Any

from PIL import Image

from prefect_registry.errors import InvalidInput
from prefect_registry.objects.materializers.builtin import BuiltIn, damaged, fact, lossy, refused
from prefect_registry.objects.materializers.decoding import Decoder
from prefect_registry.objects.materializers.encoding import Encoder, dumps
from prefect_registry.objects.payload import Part, Payload, StoredPayload

_FORMATS = {
    **dict.fromkeys(("1", "L", "LA", "RGB", "RGBA", "P", "I;16"), "png"),
    **dict.fromkeys(("F", "I", "CMYK"), "tiff"),
}
MOST_FACTS_BYTES = 60 * 1024


def handled() -> dict[type, type[BuiltIn]]:
    """Types of Pillow."""
    return {Image.Image: ImageMaterializer}


class ImageMaterializer(BuiltIn):
    """Images: the same mode, size, pixels, palette and ``info``."""

    name = "pillow"

    def refuses(self, value: Any) -> str | None:
        """Images that are still files, and other subclasses."""
        return lossy(value, (Image.Image,), "save image.copy(), or the file itself as a Path")

    def save(self, value: Any) -> Payload:
        """One file, and ``info.json``.

        Raises:
            InvalidInput: Something in ``info``, or EXIF that was changed, would be lost.
        """
        if why := self.refuses(value):
            raise refused(value, why)
        if (exif := getattr(value, "_exif", None)) is not None and _exif_bytes(exif) != _exif_bytes(
            _as_read(value.info)
        ):
            todo = 'Set image.info["exif"] = image.getexif().tobytes(), and save image.copy()'
            raise refused(value, "Its EXIF, which was changed, is not what its info has, and would be lost", todo)
        palette = value.palette and [value.palette.mode, bytes(value.palette.palette)]
        facts = self._encoded(value, {"info": dict(value.info), "palette": palette})
        form, data = self._file(value)
        init = {"mode": value.mode, "size": list(value.size), "format": form}
        return Payload([Part(f"image.{form}", data), Part("info.json", facts)], init)

    def load(self, payload: StoredPayload) -> Any:
        """The image."""
        mode, form = fact(payload, self.name, "mode", str), fact(payload, self.name, "format", str)
        image = _read(form, payload.read(f"image.{form}"), mode, tuple(fact(payload, self.name, "size", list)))
        facts = Decoder(self.context, None).decode(json.loads(payload.read("info.json")))
        if facts["palette"] is not None:
            image.putpalette(facts["palette"][1], facts["palette"][0])
        image.info = facts["info"]
        return image

    def _encoded(self, value: Any, facts: dict[str, Any]) -> bytes:
        encoder = Encoder(self.context)
        try:
            tree = encoder.encode(facts)
        except InvalidInput as error:
            raise refused(value, f"Its info cannot be kept: {error}", "Remove it from image.info") from error
        if encoder.parts:
            raise refused(value, "Its info holds objects that have files of their own", "Remove them from image.info")
        return dumps(tree)

    def _file(self, value: Any) -> tuple[str, bytes]:
        form = _FORMATS.get(value.mode) if all(value.size) else None
        if form is not None:
            written = io.BytesIO()
            bare = Image.frombytes(value.mode, value.size, value.tobytes())
            if value.palette:
                bare.putpalette(value.palette.palette, value.palette.mode)
            bare.save(written, form, compression=None if form == "png" else "tiff_deflate")
            back = _read(form, written.getvalue(), value.mode, value.size)
            if back.tobytes() == value.tobytes():
                return form, written.getvalue()
        return "pixels", zlib.compress(value.tobytes())


def _as_read(info: dict[Any, Any]) -> Image.Exif:
    """The EXIF of an image that has this ``info`` and nothing else; none where Pillow can make nothing of it."""
    blank = Image.new("1", (1, 1))
    blank.info = dict(info)
    try:
        return blank.getexif()
    except Exception:  # bytes that are no EXIF; Pillow raises what its parsers do
        return Image.Exif()


def _exif_bytes(exif: Image.Exif) -> bytes:
    """What tells one EXIF from another; it is never written."""
    try:
        return exif.tobytes() if len(exif) or exif._ifds else b""
    except Exception:  # entries that cannot be written: they differ from any that can, so the image is refused
        return repr(sorted(exif.items(), key=repr)).encode()


def _read(form: str, data: bytes, mode: str, size: tuple[int, int]) -> Any:
    try:
        if form == "pixels":
            return Image.frombytes(mode, size, zlib.decompress(data)) if all(size) else Image.new(mode, size)
        with Image.open(io.BytesIO(data), formats=[form]) as file:
            image = file.copy()
    except (OSError, ValueError, zlib.error) as error:
        raise damaged("pillow", str(error)) from error
    if image.mode != mode or image.size != size:
        image = image.convert(mode) if (image.mode, mode) == ("I", "I;16") else image
    return image
