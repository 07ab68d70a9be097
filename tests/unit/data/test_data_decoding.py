"""Pixels of odd files are right or refused with the reason, and neither metadata nor a decoder's bug ends a run."""

import io
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from odd_pictures import RATIONAL, SHORT, chunk, exif, png, tiff
from PIL import Image, features

from alit.data import decoding
from alit.data.decoding import decode
from alit.data.images import read_image
from alit.errors import DataError

COLORS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


def read(content: bytes) -> np.ndarray:
    return read_image(io.BytesIO(content))


def written(image_format: str, image: Image.Image | None = None, **options) -> bytes:
    target = io.BytesIO()
    (Image.fromarray(COLORS) if image is None else image).save(target, image_format, **options)
    return target.getvalue()


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_read_though_another_field_is_odd(image_format, orientation):
    options = {"lossless": True} if image_format == "WEBP" else {}
    plain = read(written(image_format, **options))
    if image_format == "TIFF":
        tags = [(274, SHORT, [orientation]), (271, RATIONAL, [1, 3])]
        found = read(tiff(20, 12, COLORS.tobytes(), bits=(8, 8, 8), photometric=2, tags=tags))
    else:
        found = read(written(image_format, exif=exif(orientation), **options))
    turned = {
        1: plain,
        2: plain[:, ::-1],
        3: plain[::-1, ::-1],
        4: plain[::-1],
        5: plain.transpose(1, 0, 2),
        6: np.rot90(plain, 3),
        7: plain[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(plain),
    }
    assert np.array_equal(found, turned[orientation])


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_how_an_avif_is_turned_is_no_metadata():
    fields = Image.Exif()
    fields[0x0112], fields[0x010F] = 6, "maker"
    whole = written("AVIF", exif=fields.tobytes())
    make = b"\x01\x0f\0\x02\0\0\0\x06" if b"MM\0*" in whole else b"\x0f\1\2\0\6\0\0\0"
    assert make in whole
    rational = b"\x01\x0f\0\x05\0\0\0\x01" if b"MM\0*" in whole else b"\x0f\1\5\0\1\0\0\0"
    assert read(whole).shape == (20, 12, 3)
    assert np.array_equal(read(whole.replace(make, rational)), read(whole))


@pytest.mark.parametrize("block", [b"", b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0" + bytes(range(200)), exif(9)])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_exif_that_cannot_be_read_turns_nothing(image_format, block):
    options = {"lossless": True} if image_format == "WEBP" else {}
    assert np.array_equal(read(written(image_format, exif=block, **options)), read(written(image_format, **options)))


@pytest.mark.parametrize("kind", [b"eXIf", b"zTXt"])
@pytest.mark.parametrize("behind", [False, True])
def test_a_png_may_say_how_it_is_turned_behind_its_pixels(kind, behind):
    block = exif(6)
    digits = f"\nexif\n{len(block):8d}\n{block.hex()}\n".encode()
    contents = {b"eXIf": block[6:], b"zTXt": b"Raw profile type exif\0\0" + zlib.compress(digits)}
    place = {"after" if behind else "before": [(kind, contents[kind])]}
    assert read(png(3, 1, 8, 0, [bytes([10, 20, 30])], **place))[:, 0, 0].tolist() == [10, 20, 30]


def test_xmp_turns_no_tiff():
    turned = b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    assert np.array_equal(read(written("TIFF", tiffinfo={700: turned})), COLORS)


GRAY = [bytes([10, 20, 30])]
BAD_TEXT = chunk(b"tEXt", b"Comment\0hello", checksum=0)


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"Comment\0\0not compressed"),
        chunk(b"iTXt", b"Comment"),
        chunk(b"iCCP", b"profile\0\0not compressed"),
        chunk(b"iCCP", b"profile\0\1"),
        chunk(b"pHYs", b"\0"),
        chunk(b"gAMA", b""),
        chunk(b"cHRM", b"\0"),
        chunk(b"sRGB", b""),
        chunk(b"acTL", b"\0"),
        chunk(b"fcTL", b"\0"),
        chunk(b"eXIf", b"\0"),
        BAD_TEXT,
    ],
)
@pytest.mark.parametrize("behind", [False, True])
def test_damaged_metadata_of_a_png_do_not_matter(extra, behind):
    whole = png(3, 1, 8, 0, GRAY)
    place = whole.index(b"IEND" if behind else b"IDAT") - 4
    assert read(whole[:place] + extra + whole[place:])[0, :, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("marker", [0xE1, 0xE2, 0xEB, 0xED, 0xFE])
@pytest.mark.parametrize("body", [b"", b"MPF\0" + bytes(9), b"ICC_PROFILE\0", b"Photoshop 3.0\0" + b"8BIM" * 3])
def test_damaged_metadata_of_a_jpeg_do_not_matter(marker, body):
    whole = written("JPEG")
    segment = bytes([0xFF, marker]) + struct.pack(">H", 2 + len(body)) + body
    assert np.array_equal(read(whole[:2] + segment + whole[2:]), read(whole))


class OddError(Exception):
    """Of a class that no decoder documents."""


@pytest.mark.parametrize(
    "error",
    [
        *(NotImplementedError, ZeroDivisionError, AssertionError, AttributeError, RecursionError, RuntimeError),
        *(OddError, UnicodeDecodeError, MemoryError, struct.error, StopIteration, BufferError),
        Image.DecompressionBombError,
    ],
)
def test_every_exception_of_a_decoder_is_that_pictures_rejection(error, monkeypatch):
    def fail(*_, **__):
        raise error("utf-8", b"", 0, 1, "odd") if error is UnicodeDecodeError else error("odd")

    monkeypatch.setattr(decoding.Image, "open", fail)
    with pytest.raises(DataError, match="odd"):
        read(written("PNG"))
    with pytest.raises(DataError, match="odd"):
        decoding.read_pixels(io.BytesIO(written("PNG")))


def test_12_bit_gray_is_scaled_by_its_own_white():
    values = [0, 4095, 2048, 16]
    packed = b"".join(struct.pack(">I", a << 12 | b)[1:] for a, b in zip(values[::2], values[1::2], strict=True))
    found = read(tiff(4, 1, packed, bits=(12,)))
    assert found[0, :, 0].tolist() == [round(value * 255 / 4095) for value in values]


@pytest.mark.parametrize("big", [False, True])
def test_16_bit_gray_is_scaled_and_zero_may_be_white(big):
    pixels = struct.pack(">4H" if big else "<4H", 0, 65535, 257 * 100, 129)
    assert read(tiff(4, 1, pixels, bits=(16,), big=big))[0, :, 0].tolist() == [0, 255, 100, 1]
    if not big:  # Pillow refuses the other order
        found = read(tiff(4, 1, pixels, bits=(16,), photometric=0))
        assert found[0, :, 0].tolist() == [255, 0, 155, 254]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("photometric", [0, 1])
def test_gray_of_fewer_bits_spans_black_to_white(bits, photometric):
    values = [0, 2**bits - 1]
    packed = bytes(values) if bits == 8 else bytes([values[1] << (8 - 2 * bits)])
    found = read(tiff(2, 1, packed, bits=(bits,), photometric=photometric))
    assert found[0, :, 0].tolist() == ([0, 255] if photometric else [255, 0])


@pytest.mark.parametrize("white", [1, 3, 15, 100, 255, 256, 1023, 4095, 65534, 65535])
def test_a_portable_map_of_any_depth_spans_black_to_white(white):
    values = [0, white // 2, white]
    packed = bytes(values) if white < 256 else struct.pack(">3H", *values)
    expected = [round(value * 255 / white) for value in values]
    assert read(b"P5 3 1 %d\n" % white + packed)[0, :, 0].tolist() == expected
    assert read(b"P2 3 1 %d\n" % white + b" ".join(b"%d" % value for value in values))[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (tiff(2, 1, bytes(4), bits=(16,), tags=[(339, SHORT, [2])]), "signed integers of unknown range"),
        (tiff(2, 1, bytes(2), bits=(8,), tags=[(339, SHORT, [2])]), "signed integers of unknown range"),
        (tiff(2, 1, bytes(8), bits=(32,)), "integers of unknown range"),
        (tiff(2, 1, bytes(8), bits=(32,), tags=[(339, SHORT, [3])]), "floating-point pixels of unknown range"),
        (tiff(2, 2, bytes(12), bits=(8, 8, 8), photometric=6), "subsampled YCbCr"),
        (tiff(2, 1, bytes(8), bits=(8, 8, 8, 8), photometric=2, tags=[(338, SHORT, [0])]), "a further channel"),
        (tiff(2, 1, bytes(4), bits=(8, 8), tags=[(338, SHORT, [0])]), "a further channel"),
        (tiff(2, 1, bytes(8), bits=(8, 8, 8, 8), photometric=5, tags=[(332, SHORT, [2])]), "inks"),
        (tiff(2, 1, bytes(12), bits=(16, 16, 16), photometric=2, tags=[(284, SHORT, [2])]), "planes of 16 bits"),
        (
            tiff(
                2,
                1,
                bytes(6),
                bits=(8, 8, 8),
                photometric=6,
                tags=[(530, SHORT, [1, 1]), (529, RATIONAL, [2126, 10000, 7152, 10000, 722, 10000])],
            ),
            "weights",
        ),
    ],
)
def test_values_of_a_tiff_that_pillow_takes_for_others_are_refused(file, reason):
    with pytest.raises(DataError, match=reason):
        read(file)


@pytest.mark.parametrize(("kind", "colors"), [(1, (255, 227, 177)), (2, (227, 177, 152))])
def test_alpha_of_a_tiff_may_be_multiplied_into_its_colors(kind, colors):
    pixels = bytes([200, 100, 50, 128, 10, 20, 30, 255])
    found = read(tiff(2, 1, pixels, bits=(8, 8, 8, 8), photometric=2, tags=[(338, SHORT, [kind])]))
    assert np.abs(found[0].astype(int) - (colors, (10, 20, 30))).max() <= 1


def test_a_color_map_of_8_bits_is_not_black():
    entries = [200, 10, *[0] * 14, 100, 20, *[0] * 14, 50, 30, *[0] * 14]
    found = read(tiff(2, 1, b"\x01", bits=(4,), photometric=3, tags=[(320, SHORT, entries)]))
    assert found[0].tolist() == [[200, 100, 50], [10, 20, 30]]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_gray_of_any_depth_becomes_white(bits):
    white = 2**bits - 1
    chosen, other = white // 3, white  # the value that is transparent is neither black nor white but for one bit
    if bits == 16:
        row = struct.pack(">2H", chosen, other)
    else:
        row = bytes([chosen, other]) if bits == 8 else bytes([(chosen << bits | other) << 8 - 2 * bits])
    plain = read(png(2, 1, bits, 0, [row]))
    assert plain[0, 0, 0] == round(chosen * 255 / white)
    beyond = chosen + 2**bits if bits in (2, 4, 8) else chosen  # only as many bits count as a pixel has
    for value in (chosen, beyond):
        found = read(png(2, 1, bits, 0, [row], before=[(b"tRNS", struct.pack(">H", value))]))
        assert found[0, 0].tolist() == [255, 255, 255]
        assert np.array_equal(found[0, 1], plain[0, 1])


def test_a_transparent_color_is_told_from_others_or_refused():
    row = bytes([1, 2, 3, 1, 2, 4])
    found = read(png(2, 1, 8, 2, [row], before=[(b"tRNS", struct.pack(">3H", 1, 2, 3))]))
    assert found[0].tolist() == [[255, 255, 255], [1, 2, 4]]
    with pytest.raises(DataError, match="16 bits"):
        read(png(1, 1, 16, 2, [bytes(6)], before=[(b"tRNS", bytes(6))]))


def test_an_index_without_a_color_is_refused():
    with pytest.raises(DataError, match="a pixel without a color"):
        read(png(2, 1, 8, 3, [bytes([0, 7])], before=[(b"PLTE", bytes(9))]))
    with pytest.raises(DataError, match="indices without a palette"):
        read(png(2, 1, 8, 3, [bytes([0, 7])]))


def test_cmyk_is_inverted_where_adobe_says_so_alone():
    ours = written("JPEG", Image.new("CMYK", (16, 16), (0, 255, 255, 0)), quality=100)
    start = ours.index(b"\xff\xee")
    plain = ours[:start] + ours[start + 2 + int.from_bytes(ours[start + 2 : start + 4], "big") :]
    assert np.abs(read(ours)[8, 8].astype(int) - (255, 0, 0)).max() <= 3
    assert np.abs(read(plain)[8, 8].astype(int) - (0, 0, 0)).max() <= 3  # inks (255, 0, 0, 255)


@pytest.mark.parametrize("frame", [(1, 0, 1, 2), (0, 0, 2, 1), (1, 1, 2, 2)])
def test_a_gif_whose_first_frame_leaves_some_of_it_open_is_refused(frame):
    whole = written("GIF", Image.new("P", (2, 2)))
    place = whole.index(b",\0\0\0\0\2\0\2\0") + 1
    assert read(whole).shape == (2, 2, 3)
    with pytest.raises(DataError, match=r"does not cover|truncated"):
        read(whole[:place] + struct.pack("<4H", *frame) + whole[place + 8 :])


def jpeg_2000(mode: str = "RGB", *, space: int | None = None, box: bytes = b"", hidden: bytes = b"") -> bytes:
    """Return a lossless JP2 with another color space, with one more box in its header, or with one `hidden`."""
    whole = written("JPEG2000", Image.fromarray(COLORS).convert(mode))
    if hidden:
        return whole.replace(hidden, b"free")
    if space is not None:
        place = whole.index(b"colr") + 7
        whole = whole[:place] + struct.pack(">I", space) + whole[place + 4 :]
    place = whole.index(b"jp2h") - 4
    (length,) = struct.unpack_from(">I", whole, place)
    header = struct.pack(">I", length + len(box)) + whole[place + 4 : place + length] + box
    return whole[:place] + header + whole[place + length :]


def jpeg_2000_box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        *((jpeg_2000(space=space), f"space {space}") for space in (14, 15, 20, 24)),
        (jpeg_2000("LA", hidden=b"cdef"), "a second channel"),
        (jpeg_2000("RGB").replace(b"\7\1\1" * 3, b"\x0b\1\1" * 3), "values of 12 bits"),
        (jpeg_2000("L").replace(b"\0\1\7\1\1", b"\0\1\x08\1\1"), "values of 9 bits"),
        (jpeg_2000(box=jpeg_2000_box(b"cdef", struct.pack(">10H", 3, 0, 0, 3, 1, 0, 2, 2, 0, 1))), "channels of a"),
        (jpeg_2000(box=jpeg_2000_box(b"cdef", struct.pack(">4H", 1, 2, 2, 0))), "multiplied by their opacity"),
        (jpeg_2000("L", box=jpeg_2000_box(b"cmap", bytes([0, 0, 1, 2, 0, 0, 1, 1, 0, 0, 1, 0]))), "columns"),
    ],
)
def test_colors_of_a_jpeg_2000_that_pillow_takes_for_others_are_refused(file, reason):
    for mode in ("RGB", "RGBA"):
        assert np.array_equal(read(jpeg_2000(mode)), COLORS)
    with pytest.raises(DataError, match=reason):
        read(file)


def test_a_format_that_is_not_checked_is_refused_by_name():
    for image_format in ("TGA", "XBM", "PCX", "SGI"):
        image = Image.new("1" if image_format == "XBM" else "L", (8, 8))
        with pytest.raises(DataError, match=f"{image_format} files are not read"):
            read(written(image_format, image))


def test_a_jpeg_may_be_decoded_smaller_in_either_orientation():
    image = Image.fromarray(np.zeros((400, 800, 3), np.uint8))
    for orientation, size in ((1, (800, 400)), (6, (400, 800))):
        seen = []
        content = io.BytesIO(written("JPEG", image, exif=exif(orientation)))
        found = decode(content, lambda upright, seen=seen: seen.append(upright) or (upright[0] // 4, upright[1] // 4))
        assert seen == [size]
        assert found.reduction == 4
        assert found.image.size == (size[0] // 4, size[1] // 4)


COLLECTION = os.environ.get("ALIT_PILLOW_IMAGES") or None
EXPECTED = json.loads((Path(__file__).parents[2] / "fixtures" / "pillow_images.json").read_text())


@pytest.mark.skipif(COLLECTION is None, reason="set ALIT_PILLOW_IMAGES to Tests/images of Pillow's source archive")
@pytest.mark.parametrize("name", EXPECTED if COLLECTION else ["of none"])
def test_a_picture_of_pillows_collection_is_right_or_refused(name):
    """Expected values are ImageMagick's: the mean color of each quarter; None where the file is to be refused."""
    assert COLLECTION is not None
    expected = EXPECTED[name]
    if expected is None:
        with pytest.raises(DataError, match=r"\w"):
            read_image(Path(COLLECTION) / name)
        return
    found = read_image(Path(COLLECTION) / name)
    assert [*found.shape[:2]] == expected["size"]
    assert np.abs(quarters(found) - np.array(expected["quarters"])).max() <= 2


def quarters(pixels: np.ndarray) -> np.ndarray:
    """Return the mean color of each quarter, (4, 3)."""
    rows, columns = (pixels.shape[0] + 1) // 2, (pixels.shape[1] + 1) // 2
    parts = [
        part[:, places]
        for part in (pixels[:rows], pixels[-rows:])
        for places in (slice(columns), slice(-columns, None))
    ]
    return np.array([part.reshape(-1, 3).mean(axis=0) for part in parts])
