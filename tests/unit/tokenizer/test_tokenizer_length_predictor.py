"""Encoding at a predicted length: one pass, the same in any batch, saved with the checkpoint, refused in one line."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from fuzz_readers import length_predictor_files, read_predictor
from safetensors.torch import load, save
from tiny import images, tokenizer, tokenizer_config

from alit import AdaptiveTokenizer, Halting, PredictedLoss
from alit.errors import CheckpointError, ConfigError
from alit.models.weights import WEIGHTS_FILE
from alit.tokenizer.length_predictor import (
    FOLDER,
    Examples,
    LengthPredictor,
    first_iteration,
    fit_length_predictor,
    load_length_predictor,
    measure_examples,
    moved_views,
)
from alit.tokenizer.promise import choose_lengths, outcome


def graded_images(count, size=16, seed=0):
    """Noise of many strengths around gray: images whose losses differ by far more than a prediction's error."""
    generator = torch.Generator().manual_seed(seed)
    strength = torch.rand(count, 1, 1, 1, generator=generator)
    return 0.5 + strength * (torch.rand(count, 3, size, size, generator=generator) - 0.5)


def fit(model, examples=None, **changes):
    options = {"tokenizer": model.fingerprint, "lengths": model.lengths, "data": "noise"}
    examples = examples or measure_examples(model, graded_images(120, model.image_size))
    return fit_length_predictor(examples, **(options | {"seed": 0} | changes))


def spread_out(predictor, lengths=3):
    """A predictor whose chosen lengths differ between images: those of random weights hardly lower a loss."""
    predicted = predictor.tensors["predicted"]
    falling = torch.linspace(0, -float(predicted[:, 0].log().std()), lengths)
    losses = predicted * falling.exp()
    changes = {"bias": predictor.tensors["bias"] + falling, "predicted": losses, "losses": losses.clone()}
    return LengthPredictor(predictor.record, predictor.tensors | changes)


@pytest.fixture(scope="module")
def predicting():
    """A tokenizer with a predictor, and a promise under which images get all of its lengths; codes have no ties."""
    model = tokenizer(tokenizer_config(quantize=False))
    model.length_predictor = spread_out(fit(model))
    batch = graded_images(24, seed=1)
    return model, batch, PredictedLoss(l1=float(model.predicted_losses(batch).quantile(0.5)))


def test_the_regression_finds_what_losses_follow_from():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(600, 5)).astype(np.float32)
    losses = np.exp(-2 + features @ np.array([[0.1], [0.2], [0], [0], [-0.1]]) + np.array([0.2, 0.0, -0.2]))
    examples = Examples(features, losses.astype(np.float32))
    predictor = fit(tokenizer(), examples)
    assert (predictor.record.fitted, predictor.record.calibrated) == (600, 600)
    torch.testing.assert_close(predictor.tensors["predicted"], predictor.tensors["losses"], rtol=0.01, atol=0)
    torch.testing.assert_close(
        predictor.predict(torch.from_numpy(features)).numpy(), examples.losses, rtol=0.01, atol=0
    )


def test_no_image_is_predicted_by_a_regression_that_has_seen_it():
    """Whatever the loss of one image is, what was predicted of it stays; of those in other folds it changes."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(40, 5)).astype(np.float32)
    losses = np.exp(-2 + 0.1 * features[:, :3] + generator.normal(0, 0.01, (40, 3))).astype(np.float32)
    examples, other = Examples(features, losses), losses.copy()
    other[7] *= 1.05
    first, second = (fit(tokenizer(), Examples(examples.features, losses)) for losses in (examples.losses, other))
    assert first.record.penalty == second.record.penalty
    same = (first.tensors["predicted"] == second.tensors["predicted"]).all(dim=1)
    assert same[7]
    assert same.sum() == 4  # its fold's
    assert not torch.equal(first.tensors["weight"], second.tensors["weight"])


def test_cross_validated_margins_keep_the_stated_share_of_new_images():
    """600 images to fit and to calibrate on, 30 features: the share is over 40 draws of them, and 400 new ones each."""
    kept = []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        weight = generator.normal(0, 0.1, (30, 1))
        features = generator.normal(size=(1000, 30)).astype(np.float32)
        spread = np.array([0.3, 0.0, -0.3]) + generator.normal(0, 0.1, (1000, 3))
        losses = np.exp(-2 + features @ weight + spread).astype(np.float32)
        predictor = fit(tokenizer(), Examples(features[:600], losses[:600]), tokenizer="0" * 16, lengths=(2, 4, 6))
        margin = predictor.margin(PredictedLoss(l1=0.12))
        new = outcome(predictor.predict(torch.from_numpy(features[600:])).numpy(), losses[600:], 0.12, margin)
        kept.append(new.keeps[new.able].mean())
    assert abs(np.mean(kept) - 0.9) < 0.01


def test_predictions_never_rise_with_the_length_and_stay_in_range():
    predictor = fit(tokenizer())
    wild = predictor.predict(100 * torch.randn(50, len(predictor.tensors["mean"]), generator=torch.Generator()))
    assert ((wild >= 0) & (wild <= 1)).all()
    assert (wild.diff(dim=1) <= 0).all()


def test_each_image_gets_the_tokens_of_its_predicted_length(predicting):
    model, batch, promise = predicting
    tokens = model.encode(batch, until=promise)
    margin = model.length_predictor.margin(promise)
    chosen = choose_lengths(model.predicted_losses(batch).numpy(), promise.l1, margin)
    assert tokens.lengths.tolist() == [model.lengths[place] for place in chosen.positions]
    assert tokens.satisfied.tolist() == chosen.satisfied.tolist()
    assert len(set(tokens.lengths.tolist())) == 3
    for row, image in enumerate(batch):
        alone = model.encode(image[None], length=int(tokens.lengths[row]))
        torch.testing.assert_close(tokens[row].values, alone.values, atol=1e-5, rtol=1e-5)


def test_the_result_for_an_image_does_not_depend_on_its_companions(predicting):
    model, batch, promise = predicting
    together = model.encode(batch, until=promise)
    alone = [model.encode(image[None], until=promise) for image in batch]
    backwards = model.encode(batch.flip(0), until=promise, batch_size=5)
    for row in range(len(batch)):
        for other in (alone[row][0], backwards[len(batch) - 1 - row]):
            assert together[row].lengths.tolist() == other.lengths.tolist()
            assert together[row].satisfied.tolist() == other.satisfied.tolist()
            torch.testing.assert_close(together[row].values, other.values, atol=1e-5, rtol=1e-5)


def test_one_pass_and_no_decoder(predicting, monkeypatch):
    """The base encodes once, and an image's transformer runs as often as its length takes; nothing is decoded."""
    model, batch, promise = predicting
    calls, images_seen = Counter(), Counter()

    def count(name):
        def hook(module, arguments, output):
            calls[name] += 1
            images_seen[name] += len(arguments[0])

        return hook

    names = ("base.encoder", "base.decoder", "distillation.encoder.transformer", "distillation.decoder.transformer")
    handles = [model.get_submodule(name).register_forward_hook(count(name)) for name in names]
    tokens = model.encode(batch, until=promise)
    for handle in handles:
        handle.remove()
    iterations = sum(model.lengths.index(length) + 1 for length in tokens.lengths.tolist())
    assert images_seen == {"base.encoder": len(batch), "distillation.encoder.transformer": iterations}
    assert calls["base.encoder"] == 1


@pytest.mark.parametrize(
    "config",
    [
        tokenizer_config(quantize=False),
        tokenizer_config({"kind": "vae"}),
        tokenizer_config({"kind": "vae"}, quantize=False, linear_path=True),
        tokenizer_config(growth="nested"),
        tokenizer_config(iterations=1, tokens_per_iteration=4),
    ],
)
def test_every_kind_of_tokenizer_can_have_one(config):
    model, batch = tokenizer(config), graded_images(5, seed=2)
    model.length_predictor = fit(model)
    tokens = model.encode(batch, until=PredictedLoss(l1=0.9))
    for row in range(len(batch)):
        alone = model.encode(batch[row : row + 1], length=int(tokens.lengths[row]))
        torch.testing.assert_close(tokens[row].values, alone.values.reshape(tokens[row].values.shape))


def test_no_images_give_no_tokens(predicting):
    model, _, promise = predicting
    assert len(model.encode(images(0), until=promise)) == 0


def test_it_travels_with_the_checkpoint_and_changes_nothing_else(predicting, tmp_path):
    model, batch, promise = predicting
    model.save_pretrained(tmp_path / "with")
    again = AdaptiveTokenizer.from_pretrained(tmp_path / "with")
    assert again.length_predictor.record == model.length_predictor.record
    first, second = model.encode(batch, until=promise), again.encode(batch, until=promise)
    assert torch.equal(first.values, second.values)
    assert first.model == second.model
    before = model.length_predictor
    model.length_predictor = None
    model.save_pretrained(tmp_path / "without")
    model.length_predictor = before
    assert not (tmp_path / "without" / FOLDER).exists()
    assert AdaptiveTokenizer.from_pretrained(tmp_path / "without").length_predictor is None
    for name in ("config.json", WEIGHTS_FILE):
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()
    assert set(again.state_dict()) == set(tokenizer(tokenizer_config(quantize=False)).state_dict())


def test_weights_that_have_changed_since_are_refused_and_not_saved(tmp_path):
    model = tokenizer()
    model.length_predictor = fit(model)
    with torch.no_grad():
        next(model.parameters()).add_(0.1)
    with pytest.raises(ConfigError, match=r"found one of [0-9a-f]{16}; fit it again"):
        model.encode(images(1), until=PredictedLoss(l1=0.5))
    model.save_pretrained(tmp_path)
    assert not (tmp_path / FOLDER).exists()


def test_a_checkpoint_without_one_says_so():
    with pytest.raises(ConfigError, match="expected a length predictor for PredictedLoss, found none"):
        tokenizer().encode(images(1), until=PredictedLoss(l1=0.1))


def test_a_promise_that_it_cannot_make_is_refused(predicting):
    model, batch, _ = predicting
    with pytest.raises(ConfigError, match=r"takes 9 calibration images .* found 0 of 120"):
        model.encode(batch, until=PredictedLoss(l1=0.0001))
    with pytest.raises(ConfigError, match="halting"):
        model.encode(batch, until=PredictedLoss(l1=0.5), halting=Halting(), generator=torch.Generator())


@pytest.mark.parametrize("options", [{"l1": 0.0}, {"l1": -1.0}, {"l1": 1.5}, {"l1": 0.1, "confidence": 1.0}])
def test_impossible_promises_are_refused(options):
    with pytest.raises(ConfigError, match="PredictedLoss expects"):
        PredictedLoss(**options)


@pytest.mark.parametrize("fault", ["no weights", "cut short", "other lengths", "unknown key", "no settings"])
def test_damaged_files_are_refused_in_a_line(tmp_path, fault):
    folder = tmp_path / FOLDER
    fit(tokenizer()).save(folder)
    content = json.loads((folder / "config.json").read_text())
    if fault == "no weights":
        (folder / WEIGHTS_FILE).unlink()
    elif fault == "no settings":
        (folder / "config.json").unlink()
    elif fault == "cut short":
        (folder / WEIGHTS_FILE).write_bytes((folder / WEIGHTS_FILE).read_bytes()[:100])
    else:
        changes = {"lengths": [2, 4]} if fault == "other lengths" else {"speed": 1}
        (folder / "config.json").write_text(json.dumps(content | changes))
    with pytest.raises((CheckpointError, ConfigError), match="length_predictor"):
        load_length_predictor(folder)


def test_moved_views_are_the_images_one_step_further_in_four_directions():
    batch = images(4)
    views = moved_views(batch, 2, range(4))
    assert torch.equal(views[0][:, 2:, 2:], batch[0][:, :-2, :-2])
    assert torch.equal(views[1][:, :-2, 2:], batch[1][:, 2:, :-2])
    assert torch.equal(views[2][:, 2:, :-2], batch[2][:, :-2, 2:])
    assert torch.equal(views[3][:, :-2, :-2], batch[3][:, 2:, 2:])
    assert torch.equal(views[0][:, 1, 2:], batch[0][:, 1, :-2])  # mirrored at the border
    assert torch.equal(moved_views(batch, 0, range(4)), batch)
    assert moved_views(images(0), 2, []).shape == (0, 3, 16, 16)


def test_features_are_finite_for_images_without_any_detail():
    flat = torch.stack([torch.zeros(3, 16, 16), torch.ones(3, 16, 16)])
    with torch.no_grad():
        assert first_iteration(tokenizer(), flat).features.isfinite().all()


@pytest.mark.parametrize("images", [2**62, 2**70, 6])
def test_a_predictor_of_impossible_sizes_is_one_line(images, tmp_path):
    record, weights = length_predictor_files(tmp_path / "whole")
    assert read_predictor(tmp_path / "same", record, weights).record.calibrated == 5
    with pytest.raises((CheckpointError, ConfigError)):
        read_predictor(tmp_path / "x", record.replace(b'"calibrated": 5', b'"calibrated": %d' % images), weights)
    with pytest.raises(CheckpointError):
        read_predictor(tmp_path / "y", record, save(load(weights) | {"mean": torch.tensor(1.0)}))
