"""Pillow: mode, size, every pixel, palette and info."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from folder_payload import stored, there_and_back
from PIL import Image

from prefect_registry.errors import FormatError, InvalidInput
from prefect_registry.objects.materializers.registered import Materializers

MODES = {
    **dict.fromkeys(("1", "L", "LA", "RGB", "RGBA", "P", "I;16"), "png"),
    **dict.fromkeys(("I", "F", "CMYK"), "tiff"),
    **dict.fromkeys(("PA", "La", "RGBa", "RGBX", "LAB", "HSV", "YCbCr", "I;16B"), "pixels"),
}


def image(mode: str, size: tuple[int, int] = (7, 5)) -> Image.Image:
    length = len(Image.new(mode, size).tobytes())
    made = Image.frombytes(mode, size, np.random.default_rng(0).integers(0, 256, length, dtype="u1").tobytes())
    if mode in ("P", "PA"):
        made.putpalette(bytes(range(255, -1, -1)) * 3)
    return made


def check(back: Any, value: Any) -> None:
    assert (type(back), back.mode, back.size, back.info) == (Image.Image, value.mode, value.size, value.info)
    assert back.tobytes() == value.tobytes()
    assert (back.palette is None) == (value.palette is None)
    if value.palette:
        assert (back.palette.mode, bytes(back.palette.palette)) == (value.palette.mode, bytes(value.palette.palette))


@pytest.mark.parametrize(("mode", "form"), MODES.items())
def test_images_come_back(mode: str, form: str) -> None:
    """In each mode, in the format that other programs open if there is one."""
    value = image(mode)
    value.info = {"dpi": (72, 72.5), "exif": b"x", 1: None}
    name, payload = stored(Materializers(), value)
    assert payload.paths()[0] == f"image.{form}"
    check(Materializers().named(name).load(payload), value)


@pytest.mark.parametrize("mode", ["L", "P", "F"])
def test_images_without_pixels_come_back(mode: str) -> None:
    """A width of nothing is a size, too."""
    value = Image.new(mode, (0, 3))
    back = there_and_back(Materializers(), value)
    assert (back.mode, back.size) == (mode, (0, 3))


def test_an_opened_file_is_refused_and_its_copy_saved() -> None:
    """It is of a class of its own, which knows the file; the copy has the same pixels and info."""
    file = io.BytesIO()
    image("RGB").save(file, "jpeg", dpi=(100, 100))
    with Image.open(file) as opened:
        with pytest.raises(
            InvalidInput, match=r"JpegImageFile would come back as PIL.Image.Image: save image.copy\(\)"
        ):
            stored(Materializers(), opened)
        copied = opened.copy()
    check(there_and_back(Materializers(), copied), copied)
    assert copied.info["dpi"] == (100, 100)


def test_info_that_cannot_be_kept_is_refused() -> None:
    """It says which type it is."""
    value = image("L")
    value.info = {"x": object()}
    with pytest.raises(InvalidInput, match=r"Its info cannot be kept.*Remove it from image\.info"):
        stored(Materializers(), value)


def test_exif_that_was_changed_is_not_lost() -> None:
    """It lies outside of ``info``: refused with what to do, which then keeps it."""
    value = image("RGB")
    assert not value.getexif()
    check(there_and_back(Materializers(), value), value)
    value.getexif()[271] = "Canon"
    with pytest.raises(InvalidInput, match=r"EXIF.*would be lost.*image\.info\[\"exif\"\] = image.getexif\(\)"):
        stored(Materializers(), value)
    value.info["exif"] = value.getexif().tobytes()
    for kept in (value, value.copy()):
        assert dict(there_and_back(Materializers(), kept).getexif()) == {271: "Canon"}
    value.getexif().get_ifd(34665)[36867] = "2020"
    with pytest.raises(InvalidInput, match="EXIF"):
        stored(Materializers(), value)


def test_damage_is_a_format_error() -> None:
    """Pixels of another length, or no PNG at all."""
    for mode in ("L", "HSV"):
        name, payload = stored(Materializers(), image(mode))
        (payload.folder / payload.paths()[0]).write_bytes(b"nothing")
        with pytest.raises(FormatError):
            Materializers().named(name).load(payload)
