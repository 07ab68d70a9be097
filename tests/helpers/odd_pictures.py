"""Picture files put together byte by byte: kinds that Pillow cannot write, with values that are known."""

import struct
import zlib
from collections.abc import Sequence

SHORT, LONG, RATIONAL, SSHORT = 3, 4, 5, 8


def png(
    width: int,
    height: int,
    bits: int,
    color: int,
    rows: Sequence[bytes],
    before: Sequence[tuple[bytes, bytes]] = (),
    after: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """Return a PNG of packed rows; `before` and `after` its pixels stand other chunks."""
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
    pixels = (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    chunks = [header, *before, pixels, *after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    """Return one chunk of a PNG, with its own checksum unless another is given."""
    checksum = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def tiff(
    width: int,
    height: int,
    pixels: bytes,
    *,
    bits: Sequence[int] = (8,),
    photometric: int = 1,
    big: bool = False,
    tags: Sequence[tuple[int, int, Sequence[int]]] = (),
) -> bytes:
    """Return an uncompressed TIFF of one strip; `tags` are more of (tag, type, values)."""
    order = ">" if big else "<"
    entries = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, list(bits)),
        259: (SHORT, [1]),
        262: (SHORT, [photometric]),
        273: (LONG, [8]),
        277: (SHORT, [len(bits)]),
        278: (LONG, [height]),
        279: (LONG, [len(pixels)]),
    } | {tag: (kind, list(values)) for tag, kind, values in tags}
    start = 8 + len(pixels) + len(pixels) % 2
    extra_start = start + 2 + 12 * len(entries) + 4
    directory, extra = struct.pack(order + "H", len(entries)), b""
    for tag, (kind, values) in sorted(entries.items()):
        code = {SHORT: "H", LONG: "I", RATIONAL: "I", SSHORT: "h"}[kind]
        content = struct.pack(f"{order}{len(values)}{code}", *values)
        count = len(values) // 2 if kind == RATIONAL else len(values)
        place = content.ljust(4, b"\0")
        if len(content) > 4:
            place, extra = struct.pack(order + "I", extra_start + len(extra)), extra + content + bytes(len(content) % 2)
        directory += struct.pack(order + "HHI", tag, kind, count) + place
    head = (b"MM\0*" if big else b"II*\0") + struct.pack(order + "I", start)
    return head + pixels.ljust(start - 8, b"\0") + directory + bytes(4) + extra


def exif(orientation: int, *, make_is_rational: bool = True) -> bytes:
    """Return an EXIF block whose Make, a text by the standard, is a rational number."""
    fields = [(271, RATIONAL, [1, 3])] if make_is_rational else []
    block = tiff(1, 1, b"\0", tags=[(274, SHORT, [orientation]), *fields])
    return b"Exif\0\0" + block
