"""From the bytes of a table to its text."""

from __future__ import annotations

import codecs

from prefect_registry.errors import InvalidInput

MOST_BYTES = 256 << 20
HOW_TO_SAVE = (
    "Save the file as 'CSV UTF-8', or say in which encoding it is: encoding='cp1252' (in a terminal: --encoding cp1252)"
)
_NO_TEXT = {
    b"PK\x03\x04": "a workbook or another zip file",
    b"\xd0\xcf\x11\xe0": "a workbook",
    b"\x1f\x8b": "compressed with gzip",
}
"""What people give by mistake, by how it begins."""
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF_32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)


def text_of(content: str | bytes, encoding: str | None = None) -> str:
    """The text of a table, without a byte order mark.

    Without an ``encoding``, bytes are UTF-16 if they begin with its byte order mark, else UTF-8. What is not valid
    there becomes half surrogates, so that whoever has found rows and columns can say where it is. Single-byte encodings
    cannot be told from each other, so none is guessed.

    Raises:
        InvalidInput: It is too long, or bytes that are not valid in the given ``encoding``.
    """
    if not isinstance(content, (str, bytes, bytearray, memoryview)):
        raise InvalidInput.of("the CSV", [f"str or bytes are needed, not {type(content).__name__}"])
    if len(content) > MOST_BYTES:
        raise InvalidInput.of("the CSV", [f"it has {len(content):,} bytes; at most {MOST_BYTES:,} are read"])
    text = content if isinstance(content, str) else _decoded(bytes(content), encoding)
    return text.removeprefix("\ufeff")


def _decoded(data: bytes, encoding: str | None) -> str:
    for beginning, what in _NO_TEXT.items():
        if data.startswith(beginning):
            raise InvalidInput.of("the CSV", [f"it is {what}, and no table in text"], todo="Save it as 'CSV UTF-8'")
    if encoding is not None:
        return _as_told(data, encoding)
    if data.startswith(_UTF_32):  # before UTF-16: the one mark begins with the other
        raise InvalidInput.of("the CSV", ["it is UTF-32"], todo=HOW_TO_SAVE.replace("cp1252", "utf-32"))
    if data.startswith(_UTF_16):
        if len(data) % 2:
            raise InvalidInput.of("the CSV", [f"it is UTF-16 and ends in half a character (byte {len(data):,})"])
        return data.decode("utf-16", "surrogatepass")
    return data.decode("utf-8", "surrogateescape")


def _as_told(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = len(data[: error.start].decode(encoding, "replace").splitlines() or [""])
        what = f"line {line:,}: byte 0x{data[error.start]:02X} (the {error.start + 1:,}th) is not valid {encoding}"
        raise InvalidInput.of("the CSV", [what], todo=HOW_TO_SAVE) from error
    except (LookupError, UnicodeError, ValueError) as error:
        raise InvalidInput.of("the CSV", [f"it cannot be read as {encoding!r:.40}: {error}"]) from error


def spoilt(text: str) -> str:
    """What is wrong with a cell of which a part could not be decoded, or which has a NUL."""
    char = next(c for c in text if c == "\0" or "\ud800" <= c <= "\udfff")
    if char == "\0":
        return "there is a NUL (if the file is UTF-16, say so: encoding='utf-16-le')"
    if "\udc80" <= char <= "\udcff":
        return f"byte 0x{ord(char) - 0xDC00:02X} is not valid UTF-8. {HOW_TO_SAVE}"
    return f"there is half a character, U+{ord(char):04X}"
