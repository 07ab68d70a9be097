"""The table of a real tokenizer and real networks: it does not depend on batches, and says how images are seen."""

import json

import numpy as np
import pandas as pd
import pytest
import tiny
from task_cases import seeded, tiny_tasks
from toy_sweep import ToySet

from alit.sweep.engine import SweepConfig, sweep
from alit.sweep.schema import read_table
from alit.tasks.classification import Classifier
from alit.tasks.features import ClassifierFeatures
from alit.tasks.networks import SmallCNN


class Pictures(ToySet):
    """Random images of the tiny tokenizer's size, with depth."""

    image_size = 16
    class_names = ("a", "b", "c")

    def __init__(self, count: int) -> None:
        super().__init__("val", count)
        self.pixels = (tiny.images(count) * 255).byte().numpy()

    def depth(self, indices):
        return 1 + self.images(indices)[:, 0]


def measured(folder, config):
    classifier = seeded(lambda: Classifier(SmallCNN(3), input_size=16, class_names=("a", "b", "c")))
    sweep(
        tiny.tokenizer(),
        [Pictures(7)],
        tiny_tasks(),
        [ClassifierFeatures("cnn_features", classifier, {"resize": "bilinear, antialiased", "input_size": 16})],
        config=config,
        scratch=folder / "scratch",
        out=folder / "sweep",
    )
    return folder / "sweep"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return measured(tmp_path_factory.mktemp("whole"), SweepConfig(chunk_size=7, tokenizer_batch=7))


@pytest.mark.parametrize("batch", [1, 3])
def test_no_column_and_no_feature_depends_on_the_batch_size(whole, batch, tmp_path):
    parts = measured(tmp_path, SweepConfig(chunk_size=4, tokenizer_batch=batch))
    one, other = (read_table(folder / "table.parquet") for folder in (whole, parts))
    assert {
        "l1",
        "ssim",
        "class_rank_cnn",
        "class_rank_in_set_cnn",
        "depth_error_unet",
        "perceptual_random",
        "jpeg_bytes",
    } <= set(one)
    # A pixel between two 8-bit values may be rounded either way, which is seen in the fifth digit.
    order = "depth_rank_agreement_unet"  # of 256 pixels, which change places all at once
    np.testing.assert_allclose(one[order], other[order], atol=1e-3)
    pd.testing.assert_frame_equal(one.drop(columns=order), other.drop(columns=order), rtol=1e-4, atol=1e-4)
    first, second = (np.load(folder / "features_cnn_features.npy") for folder in (whole, parts))
    np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-4)


def test_the_record_states_resize_crop_and_rounding(whole):
    record = json.loads((whole / "config.json").read_text())
    assert record["images"][0]["view"] == "short side resized (bicubic, antialiased), center crop"
    assert record["reconstructions"] == "clip to [0, 1], times 255, round half to even"
    assert record["extractors"] == [
        {"resize": "bilinear, antialiased", "input_size": 16, "features": "before the last layer"}
    ]


def test_reconstructions_are_seen_as_8_bit_files_would_be(whole):
    table = read_table(whole / "table.parquet")
    levels = table["l1"].to_numpy(dtype=np.float64) * 255 * 3 * 16 * 16  # a sum of whole differences of 8-bit values
    np.testing.assert_allclose(levels, levels.round(), atol=0.05)
