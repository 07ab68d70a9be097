"""The three kinds of probe, and the tables and the stage around them."""

import numpy as np
import pandas as pd
import pytest
import torch
from probe_cases import CONFIG, ColoredSet
from scene_project import save_fixed_length_pair, save_tokenizer, scene_project
from tiny import tokenizer, tokenizer_config
from torch import nn

from alit.errors import DataError
from alit.studies.probe import CONTROLS, FeaturePoint, FixedLengthPair
from alit.studies.probe import measure as probe_measure
from alit.studies.probe.measure import (
    draw_images,
    feature_points,
    fit_probe,
    labeled_images,
    mae_learning_rate,
    mae_optimizer,
    measure_probes,
    pair_points,
)
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from experiments import measure

CPU = torch.device("cpu")
MAE = CONFIG.mae.model_copy(update={"epochs": 60, "base_learning_rate": 30.0})
METHODS = [CONFIG.model_copy(update={"method": method, "mae": MAE}) for method in ("ridge", "logistic", "mae")]


@pytest.fixture(params=METHODS, ids=lambda config: config.method)
def config(request):
    return request.param


def blobs(count: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes far apart along one of four features."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    features = generator.normal(size=(count, 4))
    features[:, 1:] += 10 * np.eye(3)[labels]
    return features.astype(np.float32), labels


def test_classes_that_are_apart_are_told_apart(config):
    features, labels = blobs()
    others, truth = blobs(seed=1)
    assert (fit_probe(features, labels, config, 0, CPU)(others) == truth).mean() > 0.95


def test_units_of_the_features_do_not_matter(config):
    features, labels = blobs()
    others, _ = blobs(seed=1)
    scale = np.array([1, 1e-3, 50, 7], np.float32)
    one = fit_probe(features, labels, config, 0, CPU)(others)
    np.testing.assert_array_equal(fit_probe(scale * features + 3, labels, config, 0, CPU)(scale * others + 3), one)


def test_a_constant_feature_gives_the_most_frequent_class(config):
    labels = np.array([0, 1, 1, 2] * 8)
    predicted = fit_probe(np.zeros((32, 1), np.float32), labels, config, 0, CPU)(np.zeros((5, 1), np.float32))
    assert predicted.tolist() == [1] * 5


def test_the_same_seed_gives_the_same_probe(config):
    features, labels = blobs()
    noise = np.random.default_rng(3).normal(size=(200, 4)).astype(np.float32) * 10
    first, second = (fit_probe(features, labels, config, 5, CPU)(noise) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_the_published_rate_warms_up_to_its_peak_and_ends_at_zero():
    published = MAE.model_copy(update={"epochs": 90, "warmup_epochs": 10, "base_learning_rate": 0.1})
    rates = [mae_learning_rate(epoch, 16384, published) for epoch in (0, 5, 10, 50, 90)]
    np.testing.assert_allclose(rates, [0, 3.2, 6.4, 3.2, 0], atol=1e-9)


def test_lars_scales_the_step_of_the_weights_and_not_of_the_bias():
    head = nn.Linear(4, 3)
    before = [parameter.detach().clone() for parameter in head.parameters()]
    head.weight.grad, head.bias.grad = torch.full((3, 4), 5.0), torch.full((3,), 5.0)
    optimizer = mae_optimizer(head)
    for group in optimizer.param_groups:
        group["lr"] = 2.0
    optimizer.step()
    moved = [(parameter - old).detach() for parameter, old in zip(head.parameters(), before, strict=True)]
    assert float(moved[0].norm()) == pytest.approx(2.0 * 1e-3 * float(before[0].norm()), rel=1e-4)
    torch.testing.assert_close(moved[1], torch.full((3,), -10.0))


def test_seeds_draw_different_images_without_repeats():
    first, second = draw_images(100, 0.5, 0), draw_images(100, 0.5, 1)
    assert len(first) == len(set(first.tolist())) == 50
    assert set(first.tolist()) != set(second.tolist())
    assert draw_images(3, 0.01, 0).size == 1


def test_only_labeled_images_are_taken_and_a_limit_spreads_over_the_set():
    rows, labels = labeled_images(ColoredSet("train"))
    assert len(rows) == len(labels) == 36
    assert (rows % 5 != 4).all()
    some, _ = labeled_images(ColoredSet("train"), 6)
    assert len(some) == 6
    assert some[0] == 0
    assert some[-1] > 30


def test_tables_hold_every_point_seed_split_and_test_image(tmp_path):
    few = CONFIG.model_copy(update={"pooling": ("mean",), "stages": ("encoder",), "iterations": (1, 3)})
    network = tokenizer()
    tables = measure_probes(network, ColoredSet("train"), ColoredSet("val", 30, 1), few, 7, tmp_path)
    points = feature_points(few, network.config)
    assert len(tables.accuracy) == len(points) * 2 * 2
    assert set(tables.accuracy["seed"]) == {7, 8}
    assert set(tables.accuracy.loc[tables.accuracy["split"] == "train", "n"]) == {18}
    assert len(tables.correct) == len(points) * 24
    means = tables.correct.groupby("features", observed=True)["correct"].mean()
    assert means["colors"] == 1
    assert means["constant"] == pytest.approx(1 / 3)
    on_test = tables.accuracy[tables.accuracy["split"] == "test"]
    expected = on_test.groupby(list(FeaturePoint._fields))["accuracy"].mean()
    found = tables.correct.groupby(list(FeaturePoint._fields), observed=True)["correct"].mean()
    np.testing.assert_allclose(found.sort_index(), expected.sort_index())


def test_fits_of_a_killed_measurement_are_kept(tmp_path, monkeypatch):
    few = CONFIG.model_copy(update={"pooling": ("mean",), "stages": ("encoder",), "iterations": (1,)})
    network, train, test = tokenizer(), ColoredSet("train"), ColoredSet("val", 30, 1)
    whole = measure_probes(network, train, test, few, 7, tmp_path / "whole")
    fitted, fit = [], probe_measure._fit_point

    def fit_until_killed(*arguments):
        if len(fitted) == 2:
            raise KeyboardInterrupt
        fitted.append(arguments)
        return fit(*arguments)

    monkeypatch.setattr(probe_measure, "_fit_point", fit_until_killed)
    with pytest.raises(KeyboardInterrupt):
        measure_probes(network, train, test, few, 7, tmp_path)
    monkeypatch.setattr(probe_measure, "_fit_point", lambda *arguments: fitted.append(arguments) or fit(*arguments))
    resumed = measure_probes(network, train, test, few, 7, tmp_path)
    assert len(fitted) == len(feature_points(few, network.config))
    assert resumed.accuracy.equals(whole.accuracy)
    assert resumed.correct.equals(whole.correct)


def test_variants_are_compared_where_they_have_as_many_tokens(tmp_path):
    few = CONFIG.model_copy(update={"iterations": (1,), "tokens": ("image", "both"), "compared_images": 12})
    one_pass = tokenizer_config()
    one_pass = one_pass.model_copy(
        update={"distillation": one_pass.distillation.model_copy(update={"tokens_per_iteration": 4, "iterations": 1})}
    )
    variants = {"variants/grows/0": tokenizer(), "variants/four/0": AdaptiveTokenizer(one_pass).eval()}
    pairs = [FixedLengthPair("variants/grows/0", "variants/four/0")]
    sets = ColoredSet("train"), ColoredSet("val", 30, 1)
    tables = measure_probes(tokenizer(), *sets, few, 7, tmp_path, None, variants, pairs)
    trained_on = tables.accuracy[tables.accuracy["split"] == "train"].groupby("features")["n"].first()
    assert trained_on[["tokenizer", *variants]].tolist() == [18, 6, 6]  # half of each
    assert tables.pairs.to_numpy().tolist() == [["variants/grows/0", "variants/four/0"]]
    points = tables.correct[list(FeaturePoint._fields)].drop_duplicates()
    points = points[~points["features"].isin([*CONTROLS, "tokenizer"])]
    assert sorted(zip(points["features"], points["iteration"], points["tokens"], points["latents"], strict=True)) == [
        ("variants/four/0", 1, "both", 4),
        ("variants/four/0", 1, "image", 0),
        ("variants/grows/0", 2, "both", 4),
        ("variants/grows/0", 2, "image", 0),
    ]


def test_a_variant_without_that_many_tokens_is_not_compared():
    pair = FixedLengthPair("variants/grows/0", "variants/five/0")
    assert pair_points(CONFIG, {"variants/grows/0": (2, 4, 6), "variants/five/0": (5,)}, [pair]) == {}


def test_images_without_labels_give_empty_tables_of_the_same_columns(tmp_path):
    bare = ColoredSet("val")
    bare.labels = lambda rows: torch.full((len(rows),), -1)
    tables = measure_probes(tokenizer(), ColoredSet("train"), bare, CONFIG, 0, tmp_path)
    assert all(table.empty for table in tables)
    assert {"features", "accuracy", "split"} <= set(tables.accuracy.columns)
    assert {"features", "correct", "image_id"} <= set(tables.correct.columns)


def test_sets_of_other_classes_are_refused(tmp_path):
    other = ColoredSet("val")
    other.class_names = ("cat", "dog", "cow")
    with pytest.raises(DataError, match=r"expected the classes of train in val, found cat"):
        measure_probes(tokenizer(), ColoredSet("train"), other, CONFIG, 0, tmp_path)


def test_the_stage_writes_its_tables_with_the_profiles_variants_and_leaves_no_features(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ALIT_SCRATCH", raising=False)
    paths = scene_project(tmp_path)
    save_tokenizer(paths)
    save_fixed_length_pair(paths)
    measure.main(["tiny", "probe"])
    written = {path.stem: pd.read_parquet(path) for path in paths.measured("probe").iterdir()}
    assert set(written) == {"probe_accuracy", "probe_correct", "probe_pairs"}
    pair = {"variants/recurrent/0", "variants/fixed_32/0"}
    assert set(written["probe_accuracy"]["features"]) == {*CONTROLS, "tokenizer", *pair}
    assert set(written["probe_pairs"].to_numpy().ravel()) == pair
    assert not any(paths.scratch.iterdir())
