import io

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tokenizer

from alit.cli import main
from alit.errors import CheckpointError, DataError, TokenFileError


@pytest.fixture
def model(tmp_path):
    tokenizer().save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures" / "deep"
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for index, size in enumerate([(16, 16), (40, 20), (1, 30)]):
        Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f"p{index}.png")
    return tmp_path / "pictures"


@pytest.mark.parametrize("how", [["--length", "4"], ["--until-l1", "0.3"], ["--mean-length", "4"]])
def test_a_folder_is_encoded_described_and_decoded(how, model, pictures, tmp_path, capsys):
    tokens, out = tmp_path / "t.alit", tmp_path / "out"
    main(["encode", str(pictures), "-o", str(tokens), "-m", model, *how, "--batch-size", "2"])
    main(["info", str(tokens)])
    main(["decode", str(tokens), "-o", str(out), "-m", model])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == lines[1]
    assert lines[0].startswith("3 images")
    assert sorted(path.name for path in out.iterdir()) == ["00000-p0.png", "00001-p1.png", "00002-p2.png"]
    with Image.open(out / "00001-p1.png") as image:
        assert image.size == (16, 16)


def test_globs_and_paths_on_standard_input_are_inputs_too(model, pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{pictures}/deep/p0.png\n"))
    arguments = ["-o", str(tmp_path / "t.alit"), "-m", model, "--length", "2"]
    main(["encode", "-", f"{pictures}/**/p[12].png", *arguments])
    assert capsys.readouterr().out.startswith("3 images")


def test_an_unreadable_picture_is_named_and_the_others_are_kept(model, pictures, tmp_path, capsys):
    (pictures / "bad.png").write_bytes(b"not a picture")
    tokens = tmp_path / "t.alit"
    with pytest.raises(DataError, match=r"1 of 4 pictures could not be read.*bad\.png: not an image"):
        main(["encode", str(pictures), "-o", str(tokens), "-m", model, "--length", "2"])
    main(["info", str(tokens)])
    assert capsys.readouterr().out.splitlines()[-1].startswith("3 images")


def test_only_unreadable_pictures_give_an_empty_file_and_an_error(model, pictures, tmp_path):
    bad = pictures / "bad.png"
    bad.write_bytes(b"")
    with pytest.raises(DataError, match="1 of 1"):
        main(["encode", str(bad), "-o", str(tmp_path / "t.alit"), "-m", model, "--length", "2"])


def test_what_is_missing_is_named(model, tmp_path):
    with pytest.raises(DataError, match="found none"):
        main(["encode", str(tmp_path / "nowhere"), "-o", str(tmp_path / "t"), "-m", model, "--length", "2"])
    with pytest.raises(DataError, match="found none"):
        main(["info", str(tmp_path / "nothing.alit")])
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        main(["info", str(tmp_path)])


def test_tokens_of_another_model_are_not_decoded(model, pictures, tmp_path):
    tokens = tmp_path / "t.alit"
    main(["encode", str(pictures), "-o", str(tokens), "-m", model, "--length", "2"])
    tokenizer(seed=1).save_pretrained(tmp_path / "other")
    with pytest.raises(TokenFileError, match="checkpoint that encoded"):
        main(["decode", str(tokens), "-o", str(tmp_path / "out"), "-m", str(tmp_path / "other")])


def test_info_describes_a_checkpoint(model, capsys):
    main(["info", model])
    output = capsys.readouterr().out
    assert "lengths 2, 4, 6" in output
    assert f"{sum(p.numel() for p in tokenizer().parameters()):,} parameters" in output


def test_a_published_checkpoint_is_converted(tmp_path, capsys):
    torch.save({"something": 1}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match="expected tensors under"):
        main(["convert", str(tmp_path / "bad.pth"), str(tmp_path / "out")])
