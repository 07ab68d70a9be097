"""Metadata of picture files: their EXIF orientation, and a file without all that its pixels do not need."""

import struct

_ORIENTATION = 0x0112
_PNG = b"\x89PNG\r\n\x1a\n"
# Tags of a TIFF file that its pixels depend on.
_PIXEL_TAGS = frozenset(
    (
        *(254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332),
        *(338, 339, 347, 512, 513, 514, 515, 519, 520, 521, 529, 530, 531, 532),
    )
)


def exif_orientation(block: object) -> int | None:
    """Return the orientation, 1 to 8, of an EXIF block; None where there is none that can be read.

    Only this one tag is read, so that no other field can hide it.
    """
    return _tag_of(block.removeprefix(b"Exif\0\0")) if isinstance(block, bytes) else None


def file_orientation(content: bytes) -> int | None:
    """Return the EXIF orientation of a JPEG, PNG or WebP file."""
    if content.startswith(_PNG):
        name, skipped = b"eXIf", 0
    elif content.startswith(b"\xff\xd8"):
        name, skipped = b"Exif\0\0", 0
    elif content[:4] == b"RIFF":
        name, skipped = b"EXIF", 4  # the length of the chunk
    else:
        return None
    place = content.find(name)
    return None if place < 0 else exif_orientation(content[place + len(name) + skipped :])


def _tag_of(block: bytes) -> int | None:
    """Return the orientation of a TIFF structure's first directory."""
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 8:
        return None
    (start,) = struct.unpack_from(order + "I", block, 4)
    if start + 2 > len(block):
        return None
    (count,) = struct.unpack_from(order + "H", block, start)
    for place in range(start + 2, min(start + 2 + 12 * count, len(block) - 11), 12):
        tag, kind, values = struct.unpack_from(order + "HHI", block, place)
        if tag == _ORIENTATION:
            if kind not in (3, 4) or values != 1:
                return None
            (value,) = struct.unpack_from(order + ("H" if kind == 3 else "I"), block, place + 8)
            return value if 1 <= value <= 8 else None
    return None


def without_metadata(content: bytes) -> bytes:
    """Return a PNG, JPEG, WebP, AVIF or TIFF file with what its pixels need alone; any other file as it is."""
    if content.startswith(_PNG):
        return _bare_png(content)
    if content.startswith(b"\xff\xd8"):
        return _bare_jpeg(content)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _bare_webp(content)
    if content[:4] in (b"II*\0", b"MM\0*"):
        return _bare_tiff(content)
    if content[4:8] == b"ftyp":
        return _bare_avif(content)
    return content


def _bare_png(content: bytes) -> bytes:
    kept, place = [_PNG], len(_PNG)
    while place + 8 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        kind = content[place + 4 : place + 8]
        if kind[:1].isupper() or kind == b"tRNS":
            kept.append(content[place : place + 12 + length])
        place += 12 + length
        if kind == b"IEND":
            break
    return b"".join(kept)


def _bare_jpeg(content: bytes) -> bytes:
    """Drop comments and application segments but JFIF (0) and Adobe's (14), up to the first scan."""
    kept, place = [content[:2]], 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        if marker == 0xDA:
            break
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        application = 0xE0 <= marker <= 0xEF and marker not in (0xE0, 0xEE)
        if not application and marker != 0xFE:
            kept.append(content[place:end])
        place = end
    return b"".join([*kept, content[place:]])


def _bare_webp(content: bytes) -> bytes:
    kept, place = [], 12
    while place + 8 <= len(content):
        kind = content[place : place + 4]
        end = place + 8 + (length := int.from_bytes(content[place + 4 : place + 8], "little")) + length % 2
        chunk = content[place:end]
        if kind == b"VP8X" and len(chunk) > 8:
            chunk = chunk[:8] + bytes([chunk[8] & ~0b101100]) + chunk[9:]  # says that there is none
        if kind not in (b"EXIF", b"XMP ", b"ICCP"):
            kept.append(chunk)
        place = end
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _bare_avif(content: bytes) -> bytes:
    """Empty the directory of EXIF, which stays where it is; how the picture is turned is no metadata in AVIF."""
    for head in (b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"):
        start = content.find(head)
        if start >= 0:
            content = content[: start + 8] + bytes(2) + content[start + 10 :]
    return content


def _bare_tiff(content: bytes) -> bytes:
    """Keep the first directory alone, and in it the entries that pixels depend on."""
    order = "<" if content[:1] == b"I" else ">"
    if len(content) < 8:
        return content
    (start,) = struct.unpack_from(order + "I", content, 4)
    if start + 2 > len(content):
        return content
    (count,) = struct.unpack_from(order + "H", content, start)
    entries = [content[place : place + 12] for place in range(start + 2, start + 2 + 12 * count, 12)]
    kept = [entry for entry in entries if len(entry) == 12 and _is_needed(entry, order)]
    directory = struct.pack(order + "H", len(kept)) + b"".join(kept) + bytes(4)
    return content[:start] + directory + content[start + len(directory) :]


def _is_needed(entry: bytes, order: str) -> bool:
    tag, kind, count = struct.unpack_from(order + "HHI", entry)
    return tag in _PIXEL_TAGS and (tag != _ORIENTATION or (kind, count) == (3, 1))
