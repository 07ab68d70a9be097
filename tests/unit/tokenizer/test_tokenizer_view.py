"""`alit view`: the sheet shows reconstructions at their lengths, each beside the picture that it was made from."""

import io
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from alit.cli import main
from alit.data.images import read_view, to_pixels
from alit.errors import ConfigError, DataError
from alit.tokenizer.tokens import pack
from alit.view import GAP, LINE, TILE, Cell, draw_sheet, pair_with_originals, shortened, tile_side, to_tile

LENGTHS = (2, 6, 4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tiny.tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    (folder := tmp_path / "pictures").mkdir()
    for number, pixels in enumerate(to_pixels(tiny.images(3))):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A token file of the pictures, each at a length of its own."""
    images, tokenizer = tiny.images(3), tiny.tokenizer()
    sets = [tokenizer.encode(images[row : row + 1], length=length) for row, length in enumerate(LENGTHS)]
    joined = sets[0].concatenate(sets)
    (path := tmp_path / "t.alit").write_bytes(pack(joined, ["0.png", "1.png", "2.png"]))
    return path


def tile(sheet: np.ndarray, place: int, *, per_image: int, which: int) -> np.ndarray:
    """Return one picture of a sheet's first row, in the size of the tokenizer's images."""
    cell = per_image * TILE + (GAP // 3) * (per_image - 1)
    left = GAP + place * (cell + GAP) + which * (TILE + GAP // 3)
    top = 2 * GAP + LINE
    return sheet[top : top + TILE, left : left + TILE][:: TILE // 16, :: TILE // 16]


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.mode == "RGB"
        return np.array(picture)


@torch.no_grad()
def rebuilt(number: int) -> np.ndarray:
    tokenizer = tiny.tokenizer()
    return to_pixels(tokenizer.decode(tokenizer.encode(tiny.images(3)[number : number + 1], length=LENGTHS[number])))[0]


def test_a_sheet_shows_each_original_beside_its_reconstruction(tokens, pictures, model, tmp_path, capsys):
    output = tmp_path / "out" / "sheet.png"
    arguments = ["view", str(tokens), "-m", model, "-o", str(output), "--batch-size", "2"]
    main([*arguments, "--originals", str(pictures)])
    assert capsys.readouterr().out == f"3 images of {tokens}: {output}\n"
    sheet = opened(output)
    for number in range(3):
        expected = read_view(pictures / f"{number}.png", 16)
        assert (tile(sheet, number, per_image=2, which=0) == expected).all()
        assert (tile(sheet, number, per_image=2, which=1) == rebuilt(number)).all()


def test_without_originals_there_are_reconstructions_alone_and_the_line_says_so(
    tokens, model, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    main(["view", str(tokens), "-m", model])
    assert "without originals, which --originals names" in capsys.readouterr().out
    sheet = opened(tmp_path / "sheet.png")
    for number in range(3):
        assert (tile(sheet, number, per_image=1, which=0) == rebuilt(number)).all()


def test_an_original_that_is_missing_is_marked_named_and_ends_with_an_error(tokens, pictures, model, tmp_path):
    (pictures / "1.png").unlink()
    (pictures / "2.png").write_bytes(b"no picture")
    output = tmp_path / "sheet.png"
    with pytest.raises(
        DataError, match=r"of 3 images, found 1; .*1\.png: no picture of this name, or several; 2\.png: .*not an image"
    ):
        main(["view", str(tokens), "-m", model, "-o", str(output), "--originals", str(pictures)])
    sheet = opened(output)
    assert (tile(sheet, 0, per_image=2, which=0) == read_view(pictures / "0.png", 16)).all()
    assert (tile(sheet, 1, per_image=2, which=0)[0] == (0xE4, 0xE7, 0xEB)).all()
    assert (tile(sheet, 1, per_image=2, which=1) == rebuilt(1)).all()


def test_of_many_images_some_are_shown_evenly(tokens, model, tmp_path, capsys):
    main(["view", str(tokens), "-m", model, "-o", str(tmp_path / "s.png"), "--most", "2"])
    assert capsys.readouterr().out.startswith("2 of 3 images")
    assert (tile(opened(tmp_path / "s.png"), 1, per_image=1, which=0) == rebuilt(1)).all()


def test_what_leads_to_no_sheet_is_one_line(tokens, pictures, model, tmp_path):
    tiny.tokenizer().encode(tiny.images(0), length=2).save(tmp_path / "empty.alit")
    (tmp_path / "notes.png").write_text("of somebody else")
    for arguments, error, words in (
        ([str(tmp_path / "empty.alit")], DataError, "expected images in .*, found none"),
        ([str(tokens), "-o", str(tmp_path / "notes.png")], ConfigError, "a PNG picture"),
        ([str(tokens), "--originals", str(pictures), "-o", str(pictures / "0.png")], ConfigError, "none of the inputs"),
        ([str(tokens), "--originals", str(tmp_path / "nowhere")], DataError, "expected pictures at"),
    ):
        output = [] if "-o" in arguments else ["-o", str(tmp_path / "s.png")]
        with pytest.raises(error, match=words):
            main(["view", *arguments, *output, "-m", model])
    assert not (tmp_path / "s.png").exists()


def test_names_tell_originals_apart_by_folder_and_equal_ones_by_order():
    paths = [Path(name) for name in ("in/a/0.png", "in/a/1.png", "in/b/0.png", "in/caf\udce9.png")]
    assert pair_with_originals(["a/0.png", "b/0.png", "caf\\xe9.png", ""], paths) == {
        0: paths[0],
        1: paths[2],
        2: paths[3],
    }
    assert pair_with_originals(["0.png", "1.png", "0.png"], paths) == {0: paths[0], 1: paths[1], 2: paths[2]}
    assert pair_with_originals(["0.png", "xa/0.png"], paths) == {}


def test_words_say_what_the_pictures_are():
    original = np.zeros((4, 4, 3), np.uint8)
    cell = Cell("x", original + 51, original, 16, satisfied=False)
    assert cell.words == "16 tokens, L1 0.200"
    assert cell._replace(original=None).words == "16 tokens"
    met, not_met = (draw_sheet([cell._replace(satisfied=value)], "1 image", pairs=True) for value in (True, False))
    red = (not_met[..., 0] > 120) & (not_met[..., 1] < 60)
    assert red.any()
    assert (met != not_met).any(axis=2)[red].all()


def test_small_pictures_are_enlarged_by_a_whole_number_and_large_ones_shrunk():
    assert [tile_side(side) for side in (16, 48, 64, 128, 200, 256, 512)] == [128, 96, 128, 128, 200, 256, 256]
    pixels = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    assert (np.array(to_tile(pixels, 12))[::3, ::3] == pixels).all()


def test_long_names_keep_their_ends_and_fit():
    from PIL import ImageFont

    font = ImageFont.load_default(13)
    name = "x" * 5000 + "12.png"
    short = shortened(name, font, 100)
    assert short.endswith(".png")
    assert font.getlength(short) <= 100
    assert shortened("a.png", font, 100) == "a.png"


def test_a_sheet_is_written_to_standard_output_alone(tokens, model, capfdbinary):
    main(["view", str(tokens), "-m", model, "-o", "/dev/stdout"])
    found = capfdbinary.readouterr()
    with Image.open(io.BytesIO(found.out)) as picture:
        assert picture.format == "PNG"
    assert b"3 images of" in found.err
