"""Training a base tokenizer: when each loss takes part."""

import csv

import pytest
from training_cases import optimization, train

from alit.training.engine.loop import LOG_FILE


@pytest.mark.parametrize("kind", ["vqgan", "vae"])
def test_the_perceptual_loss_joins_in_where_the_settings_say(tmp_path, kind):
    steps = {"optimization": optimization(steps=6, log_every=1)}
    train("base", tmp_path, kind=kind, perceptual_start=0.5, **steps)
    with (tmp_path / LOG_FILE).open() as file:
        distances = [float(row["perceptual"]) for row in csv.DictReader(file)]
    assert [distance > 0 for distance in distances] == [False, False, False, True, True, True]
