"""Stage `length_predictor`: fits on training images, continues after a kill, takes a checkpoint's own, says why not."""

import json

import numpy as np
import pytest
import yaml
from scene_project import save_tokenizer, scene_project

from alit.data.imageset import open_set
from alit.models.weights import WEIGHTS_FILE
from alit.sweep.schema import read_table
from alit.tokenizer.length_predictor import find_length_predictor, load_length_predictor, moved_views
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from experiments import length_predictor, sweep, task_models


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ALIT_SCRATCH", raising=False)
    found = scene_project(tmp_path)
    content = yaml.safe_load(found.config.read_text())
    content["length_predictor"]["batch_size"] = 4
    found.config.write_text(yaml.safe_dump(content))
    save_tokenizer(found)
    return found


def test_it_predicts_the_losses_of_training_images_and_a_killed_run_continues(paths, monkeypatch):
    length_predictor.main(["tiny"])
    whole = load_length_predictor(paths.length_predictor)
    tokenizer = AdaptiveTokenizer.from_pretrained(paths.tokenizer)
    assert (whole.record.tokenizer, whole.record.fitted, whole.record.calibrated) == (tokenizer.fingerprint, 16, 16)
    assert whole.record.data == "embedded scenes, split train"
    images = open_set(paths.data / "train").images(np.arange(16))
    moved = whole.record.moved
    assert moved == tokenizer.config.base.patch // 2
    losses = length_predictor.measure_examples(tokenizer, moved_views(images, moved, range(16))).losses
    assert all(np.isclose(row, losses, atol=1e-5).all(axis=1).any() for row in whole.tensors["losses"].numpy())
    measured = []
    measure = length_predictor.measure_examples

    def measure_until_killed(tokenizer, batch):
        measured.append(len(batch))
        if len(measured) == 3:
            raise KeyboardInterrupt
        return measure(tokenizer, batch)

    monkeypatch.setattr(length_predictor, "measure_examples", measure_until_killed)
    with pytest.raises(KeyboardInterrupt):
        length_predictor.main(["tiny"])
    length_predictor.main(["tiny"])
    assert measured == [4, 4, 4, 4, 4]  # the third is measured again
    assert load_length_predictor(paths.length_predictor).digest == whole.digest
    assert not any(paths.scratch.iterdir())


def test_the_sweep_has_its_predictions(paths):
    length_predictor.main(["tiny"])
    task_models.main(["tiny"])
    sweep.main(["tiny"])
    table = read_table(paths.table)
    assert (table["predicted_l1"].isna() == (table["length"] == 0)).all()
    record = json.loads((paths.sweep / "config.json").read_text())["tokenizer"]["length_predictor"]
    assert record["digest"] == load_length_predictor(paths.length_predictor).digest


def test_the_one_that_a_checkpoint_brings_is_taken_if_it_is_of_these_weights(paths):
    length_predictor.main(["tiny"])
    tokenizer = AdaptiveTokenizer.from_pretrained(paths.tokenizer)
    brought = load_length_predictor(paths.length_predictor)
    changed = {**brought.tensors, "bias": brought.tensors["bias"] + 1}
    tokenizer.length_predictor = type(brought)(brought.record, changed)
    tokenizer.save_pretrained(paths.tokenizer)
    length_predictor.main(["tiny"])
    assert load_length_predictor(paths.length_predictor).digest == tokenizer.length_predictor.digest
    stale = brought.record.model_copy(update={"tokenizer": "0" * 16})
    type(brought)(stale, changed).save(paths.tokenizer / "length_predictor")
    length_predictor.main(["tiny"])
    assert load_length_predictor(paths.length_predictor).digest == brought.digest
    assert (paths.tokenizer / WEIGHTS_FILE).is_file()


@pytest.mark.parametrize(
    ("images", "reason"), [(6, "6 images are too few"), (0, "asks for none"), (None, "no training images")]
)
def test_without_enough_training_images_it_says_so(paths, images, reason, capsys):
    content = yaml.safe_load(paths.config.read_text())
    if images is not None:
        content["length_predictor"]["images"] = images
        paths.config.write_text(yaml.safe_dump(content))
    else:
        (paths.data / "train" / "set.json").unlink()
    length_predictor.main(["tiny"])
    assert reason in capsys.readouterr().out
    assert reason in (paths.length_predictor / length_predictor.NOT_FITTED).read_text()
    assert find_length_predictor(paths.length_predictor) is None
