"""Every unusual kind of image file is either read on purpose or refused with a reason."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from alit.data.images import read_image
from alit.errors import DataError


def gradient(height=12, width=20):
    return np.arange(height * width, dtype=np.uint8).reshape(height, width)


def colors(height=12, width=20):
    return np.stack([gradient(height, width), gradient(height, width)[::-1], 255 - gradient(height, width)], -1)


def save(tmp_path, image, name="image.png", **options):
    image.save(tmp_path / name, **options)
    return read_image(tmp_path / name)


def test_plain_color_is_read_as_it_is(tmp_path):
    found = save(tmp_path, Image.fromarray(colors()))
    assert found.dtype == np.uint8
    assert np.array_equal(found, colors())


def test_greyscale_fills_three_channels(tmp_path):
    found = save(tmp_path, Image.fromarray(gradient()))
    assert np.array_equal(found, np.stack([gradient()] * 3, -1))


def test_bilevel_becomes_black_and_white(tmp_path):
    found = save(tmp_path, Image.fromarray(gradient() > 128))
    assert set(np.unique(found)) == {0, 255}


def test_transparency_is_composited_over_white(tmp_path):
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[:, 0] = (200, 100, 0, 255)
    pixels[:, 1] = (200, 100, 0, 0)
    pixels[:, 2] = (0, 0, 0, 128)
    found = save(tmp_path, Image.fromarray(pixels))
    assert found[0, 0].tolist() == [200, 100, 0]
    assert found[0, 1].tolist() == [255, 255, 255]
    assert np.abs(found[0, 2].astype(int) - 127).max() <= 1


def test_grey_with_alpha_is_composited_over_white(tmp_path):
    pixels = np.array([[[10, 255], [10, 0]]], np.uint8)
    assert save(tmp_path, Image.fromarray(pixels))[0, :, 0].tolist() == [10, 255]


def test_a_palette_is_looked_up(tmp_path):
    image = Image.fromarray(colors()).quantize(256)
    found = save(tmp_path, image, "image.gif")
    assert np.array_equal(found, np.asarray(image.convert("RGB")))


def test_a_transparent_palette_entry_becomes_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((1, 0), 1)
    found = save(tmp_path, image, transparency=1)
    assert found[0].tolist() == [[0, 0, 0], [255, 255, 255]]


def test_cmyk_becomes_rgb(tmp_path):
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    found = save(tmp_path, image, "image.jpg", quality=100)
    assert np.abs(found[8, 8].astype(int) - (255, 0, 0)).max() <= 3


def test_16_bit_grey_is_scaled_to_8_bit(tmp_path):
    values = np.array([[0, 128, 129, 257 * 100, 65535]], np.uint16)
    found = save(tmp_path, Image.fromarray(values))
    assert found[0, :, 0].tolist() == [0, 0, 1, 100, 255]
    assert found.shape == (1, 5, 3)


def test_16_bit_color_keeps_the_high_byte(tmp_path):
    """Pillow cannot write 16-bit color, so the PNG is put together here."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    row = b"\0" + struct.pack(">6H", 0x1234, 0xFF00, 0x00FF, 0x8000, 0, 0xFFFF)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    content = header + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    assert read_image(tmp_path / "deep.png")[0].tolist() == [[0x12, 0xFF, 0], [0x80, 0, 0xFF]]


@pytest.mark.parametrize(("orientation", "turn"), [(3, 2), (6, 3), (8, 1)])
def test_exif_rotation_is_applied(tmp_path, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = save(tmp_path, Image.fromarray(colors()), exif=exif)
    assert np.array_equal(found, np.rot90(colors(), turn))


def test_an_image_one_pixel_wide_is_read(tmp_path):
    assert save(tmp_path, Image.fromarray(colors(300, 1))).shape == (300, 1, 3)


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    found = save(tmp_path, frames[0], "image.gif", save_all=True, append_images=frames[1:])
    assert found[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("name", ["image.jpg", "image.png", "image.gif", "image.bmp", "image.tif", "image.webp"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_a_truncated_file_is_refused(tmp_path, name, share):
    generator = np.random.default_rng(0)
    path = tmp_path / name
    Image.fromarray(generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"\w"):
        read_image(path)


@pytest.mark.parametrize(
    "content", [b"", b"not an image at all", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n" + b"\0" * 40]
)
def test_what_is_no_image_is_refused(tmp_path, content):
    (tmp_path / "image.jpg").write_bytes(content)
    with pytest.raises(DataError):
        read_image(tmp_path / "image.jpg")


def test_a_damaged_png_is_refused(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(colors(64, 64)).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(DataError):
        read_image(path)


@pytest.mark.parametrize("values", [np.ones((2, 2), np.float32), np.full((2, 2), 70000, np.int32)])
def test_pixels_of_unknown_range_are_refused(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "image.tif")
    with pytest.raises(DataError, match="unknown range"):
        read_image(tmp_path / "image.tif")


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path / "gone.png")
