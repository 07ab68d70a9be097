"""What the header of a JPEG 2000 file says about its values, and Pillow does not regard."""

from collections.abc import Iterator, Sequence

from alit.errors import DataError

_SIZES = b"\xff\x4f\xff\x51"  # start of the code stream, with the depth of each component behind
_CMYK, _SRGB, _GRAY, _SYCC = 12, 16, 17, 18
_COLOR, _OPACITY = 0, 1  # types of a channel; 2 is opacity that the colors are multiplied by


def require_plain_values(header: bytes) -> None:
    """Check that the values of a JPEG 2000 file are what Pillow takes them for.

    Args:
        header: the beginning of the file, up to the code stream at least.

    Raises:
        DataError: a component has fewer than 8 bits or a sign, which Pillow would not scale; the colors are of a space
            that it takes for RGB; channels stand in another order or are of unknown meaning; or it rounds values of
            more than 8 bits beyond white: those of colors, and gray of 9 in a JP2.
    """
    start = header.find(_SIZES)
    if start < 0:
        raise DataError("no size of the components where it is expected")
    count = int.from_bytes(header[start + 40 : start + 42], "big")
    depths = header[start + 42 : start + 42 + 3 * count : 3]
    if not depths or any(depth & 0x80 or depth + 1 < 8 or depth + 1 > 16 for depth in depths):
        found = ", ".join(f"{(depth & 0x7F) + 1} bits{' signed' if depth & 0x80 else ''}" for depth in depths)
        raise DataError(f"JPEG 2000 components of {found or 'unknown depth'}, only 8 to 16 bits are read")
    boxes = [box for kind, content in _boxes(header[:start]) if kind == b"jp2h" for box in _boxes(content)]
    largest = max(depths) + 1
    if (count > 1 and largest > 8) or (boxes and largest == 9):
        raise DataError(f"JPEG 2000 values of {largest} bits, of which white would become black")
    _require_plain_colors(boxes)
    if count == 2 and not any(kind == b"cdef" for kind, _ in boxes):
        raise DataError("a second channel of a JPEG 2000, of which it does not say that it is opacity")


def _require_plain_colors(boxes: Sequence[tuple[bytes, bytes]]) -> None:
    for kind, box in boxes:
        if kind == b"colr" and box[:1] == b"\1":
            space = int.from_bytes(box[3:7], "big")
            if space not in (_CMYK, _SRGB, _GRAY, _SYCC):
                raise DataError(f"JPEG 2000 colors of the space {space}, only sRGB, gray, sYCC and CMYK are read")
        if kind == b"cmap" and any(box[place + 3] != place // 4 for place in range(0, len(box) - 3, 4)):
            raise DataError("columns of a JPEG 2000 palette in another order")
        if kind == b"cdef":
            _require_plain_channels(box)


def _require_plain_channels(box: bytes) -> None:
    for place in range(2, len(box) - 5, 6):
        channel, kind, color = (int.from_bytes(box[place + each : place + each + 2], "big") for each in (0, 2, 4))
        if kind == _COLOR and color != channel + 1:
            raise DataError("channels of a JPEG 2000 in another order")
        if kind not in (_COLOR, _OPACITY):
            raise DataError("JPEG 2000 colors that are multiplied by their opacity, or of an unknown channel")


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of the boxes of a file, or of those in a box."""
    place = 0
    while place + 8 <= len(content):
        length, start = int.from_bytes(content[place : place + 4], "big"), 8
        if length == 1:
            length, start = int.from_bytes(content[place + 8 : place + 16], "big"), 16
        end = len(content) if length == 0 else place + length
        yield content[place + 4 : place + 8], content[place + start : end]
        if end < place + start:
            return
        place = end
