"""Pooled features: the means that they are said to be, whatever the batch, also after a stop."""

import numpy as np
import pytest
import torch
from probe_cases import CONFIG
from tiny import images, tokenizer, tokenizer_config

from alit.data.imageset import ImageSet
from alit.studies.probe import CONTROLS, FeaturePoint
from alit.studies.probe.features import compute_features, gather
from alit.studies.probe.measure import feature_points
from alit.training.engine.fabric import build_fabric

ROWS = np.array([0, 2, 3, 5, 6, 8, 9])


class TinySet(ImageSet):
    """Ten random images; reading them fails after `fail_after` batches."""

    name = "train"

    def __init__(self, fail_after: int | None = None) -> None:
        self.pixels = images(10)
        self.fail_after = fail_after
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, rows):
        if self.fail_after is not None and len(self.read) > self.fail_after:
            raise KeyboardInterrupt
        self.read += rows.tolist()
        return self.pixels[rows]


@pytest.fixture(scope="module")
def network():
    return tokenizer()


@pytest.fixture(scope="module")
def arrays(network, tmp_path_factory):
    return compute_features(network, TinySet(), ROWS, 3, tmp_path_factory.mktemp("features"), build_fabric("cpu", 1))


def rollout(network):
    with torch.no_grad():
        return list(network.rollout(images(10)[ROWS], reconstruct=False))


def test_every_point_is_the_mean_of_its_tokens(network, arrays):
    steps = rollout(network)
    for point in feature_points(CONFIG.model_copy(update={"pooling": ("mean",)}), network.config):
        if point.features != "tokenizer":
            continue
        step = steps[point.iteration - 1]
        every = step.latents if point.stage == "encoder" else step.codes
        latents = every[:, : point.latents]
        tokens = {"image": step.image_tokens, "latents": latents, "last latents": every[:, -point.latents :]}
        if point.tokens == "both":
            tokens["both"] = torch.cat([step.image_tokens, latents], dim=1)
        expected = tokens[point.tokens].mean(dim=1)
        np.testing.assert_allclose(gather(arrays, point, network.config), expected, atol=1e-5)


def test_concatenated_latents_are_one_mean_per_iteration_side_by_side(network, arrays):
    point = FeaturePoint("tokenizer", 3, "latents", 6, "encoder", "concatenated")
    with torch.no_grad():
        latents = list(network.rollout(images(10)[ROWS], reconstruct=False))[2].latents
    expected = torch.cat([block.mean(dim=1) for block in latents.split(2, dim=1)], dim=1)
    np.testing.assert_allclose(gather(arrays, point, network.config), expected, atol=1e-5)


def test_controls_are_the_image_itself_and_the_base_tokenizer(network, arrays):
    seen = {name: gather(arrays, FeaturePoint(name), network.config) for name in CONTROLS}
    pixels = images(10)[ROWS]
    assert np.ptp(seen["constant"]) == 0
    np.testing.assert_allclose(seen["pixels"], pixels.flatten(1))  # as coarse as the image itself
    np.testing.assert_allclose(seen["colors"][:, :3], pixels.mean(dim=(2, 3)), atol=1e-6)
    with torch.no_grad():
        base = network.base.encode(pixels).features
    np.testing.assert_allclose(seen["base"], base.mean(dim=1), atol=1e-6)
    np.testing.assert_allclose(seen["base grid"], base.flatten(1), atol=1e-6)


def test_features_do_not_depend_on_the_batch(network, arrays, tmp_path):
    whole = compute_features(network, TinySet(), ROWS, 100, tmp_path, build_fabric("cpu", 1))
    for one, other in zip(whole, arrays, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_rollout_that_ends_early_has_the_features_of_its_iterations(network, arrays, tmp_path):
    short = compute_features(network, TinySet(), ROWS, 3, tmp_path, build_fabric("cpu", 1), iterations=2)
    assert short.image.shape[1] == 2
    for point in feature_points(CONFIG, network.config):
        if point.iteration in (1, 2):
            expected = gather(arrays, point, network.config)
            np.testing.assert_allclose(gather(short, point, network.config), expected, atol=1e-5)


def test_a_stop_costs_the_batches_that_are_not_finished(network, arrays, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        compute_features(network, TinySet(fail_after=5), ROWS, 3, tmp_path, build_fabric("cpu", 1))
    rest = TinySet()
    resumed = compute_features(network, rest, ROWS, 3, tmp_path, build_fabric("cpu", 1))
    assert rest.read == [ROWS[6]]
    for one, other in zip(resumed, arrays, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_points_are_listed_once_each_and_make_sense():
    points = feature_points(CONFIG, tokenizer_config())
    assert len(points) == len(set(points))
    assert {point.tokens for point in points if point.stage == "quantizer"} == {"latents"}
    assert all(point.latents <= 2 * point.iteration for point in points)
    image = [point for point in points if point.tokens == "image"]
    assert [(point.iteration, point.latents, point.pooling) for point in image] == [(t, 0, "mean") for t in (1, 2, 3)]
    assert [point.features for point in points[-5:]] == list(CONTROLS)
    # mean: 3 image, 6 latents, 6 both, 6 quantized; concatenated: 3 latents, 3 quantized
    assert [(point.iteration, point.latents) for point in points if point.tokens == "last latents"] == [(3, 2), (3, 4)]
    assert len(points) == 21 + 6 + 2 + 5


def test_iterations_that_the_tokenizer_lacks_are_left_out():
    some = CONFIG.model_copy(update={"iterations": (2, 3, 9)})
    assert {point.iteration for point in feature_points(some, tokenizer_config())} == {0, 2, 3}
