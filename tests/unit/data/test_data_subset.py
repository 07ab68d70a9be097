"""Part of an image set: evenly chosen rows, read like the whole."""

import numpy as np
import pytest
import torch

from alit.data.imageset import Subset, open_set
from alit.data.prepare import DataConfig, ImageSetConfig, materialize_sets


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    scenes = {"name": "val", "role": "evaluate", "source": "scenes", "path": None, "variant": "base", "split": "val"}
    part = ImageSetConfig.model_validate({**scenes, "images": 10, "pack": True})
    config = DataConfig(image_size=32, rejected_share=0.0, flip=False, crop_scale=1.0, sets=(part,))
    materialize_sets(config, folder, folder / "rejected.csv", ())
    return open_set(folder / "val")


def test_rows_are_spread_over_the_whole_and_read_as_there(whole):
    part = Subset(whole, 4)
    rows = np.array([0, 2, 5, 7])
    assert len(part) == 4
    assert part.manifest["image_id"].tolist() == whole.manifest["image_id"].iloc[rows].tolist()
    order = [3, 1]
    assert torch.equal(part.images(order), whole.images(rows[order]))
    assert torch.equal(part.labels(order), whole.labels(rows[order]))
    assert torch.equal(part.depth(order), whole.depth(rows[order]))
    assert part.inverse_depth(order) is whole.inverse_depth(rows[order]) is None
    assert part.captions(order) == whole.captions(rows[order])
    assert (part.name, part.image_size, part.class_names) == (whole.name, whole.image_size, whole.class_names)


@pytest.mark.parametrize("limit", [None, 10, 99])
def test_no_limit_or_a_large_one_takes_all(whole, limit):
    assert torch.equal(Subset(whole, limit).images(range(10)), whole.images(range(10)))
