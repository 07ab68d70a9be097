"""The README's picture: scenes chosen by their complexity alone, each at the fewest tokens that keep the threshold."""

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from alit.data.images import to_images, to_pixels
from alit.data.scenes.scene import SceneSource
from experiments import picture
from experiments.picture import NO_LICENSE, choose, draw, main

THRESHOLDS = (0.2, 0.25, 0.3)


@pytest.fixture(scope="module")
def scenes() -> SceneSource:
    return SceneSource("val", "base", "val", 40, 16)


@pytest.fixture(scope="module")
def chosen(scenes) -> tuple[float, list[picture.Example]]:
    return choose(tiny.tokenizer(), scenes, THRESHOLDS)


def test_scenes_go_from_plain_to_crowded_and_none_has_a_photograph_without_a_license(scenes, chosen):
    rows = {scenes.read(row).tobytes(): row for row in range(len(scenes))}
    shown = [rows[each.original.tobytes()] for each in chosen[1]]
    complexity = [scenes.record(row).complexity for row in shown]
    assert len(set(shown)) == len(shown) == 8
    assert complexity == sorted(complexity)
    assert any(scenes.photographs(row) & NO_LICENSE for row in range(len(scenes)))
    for row, each in zip(shown, chosen[1], strict=True):
        assert each.photographs == scenes.photographs(row)
        assert not each.photographs & NO_LICENSE


def test_each_is_rebuilt_from_the_fewest_tokens_that_keep_the_threshold(chosen):
    threshold, examples = chosen
    tokenizer = tiny.tokenizer()
    assert threshold in THRESHOLDS
    for each in examples:
        image = to_images(each.original[None])
        with torch.no_grad():
            steps = {step.length: to_pixels(step.images)[0] for step in tokenizer.reconstructions(image)}
        losses = {length: np.abs(pixels / 255 - each.original / 255).mean() for length, pixels in steps.items()}
        met = [length for length, loss in losses.items() if loss < threshold]
        assert each.length == (met[0] if met else tokenizer.lengths[-1])
        assert each.satisfied == bool(met)
        assert (each.rebuilt == steps[each.length]).all()


def test_a_bar_is_as_long_as_the_tokens_and_words_say_which_kept_no_threshold():
    black = np.zeros((4, 4, 3), np.uint8)
    examples = [
        picture.Example(black, black, 4, True, frozenset()),
        picture.Example(black, black, 6, False, frozenset()),
    ]
    bars = draw(examples, 0.07, most=6).axes[4:]
    assert [bar.patches[1].get_width() for bar in bars] == [4, 6]
    assert [bar.texts[0].get_text() for bar in bars] == ["4 tokens", "all 6"]


def test_the_command_writes_a_picture_in_which_nothing_shines_through(tmp_path, monkeypatch, capsys):
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    monkeypatch.setattr(picture, "CHECKPOINT", tmp_path / "model")
    monkeypatch.setattr(picture, "SCENES", 20)
    main(["-o", str(tmp_path / "new" / "lengths.png")])
    assert capsys.readouterr().out.startswith("L1 below ")
    with Image.open(tmp_path / "new" / "lengths.png") as written:
        assert written.mode == "RGB"
        assert written.size == (round(picture.WIDTH * picture.DOTS), round(picture.HEIGHT * picture.DOTS))
