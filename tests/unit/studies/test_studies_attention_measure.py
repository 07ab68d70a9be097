"""Attention maps, what is kept of them, how it fits masks, and the controls that fit by chance."""

import math

import numpy as np
import pytest
import tiny
import torch

from alit.data.sources import UNKNOWN_SEGMENT
from alit.errors import ConfigError
from alit.studies.attention.measure.maps import (
    LatentMaps,
    centered_blobs,
    cluster_maps,
    cluster_numbers,
    covariances,
    entropy,
    gini,
    grid_places,
    placed_blobs,
    random_maps,
    rollout_maps,
    to_pixels,
)
from alit.studies.attention.measure.overlap import (
    Segments,
    descending_order,
    fit_maps,
    jaccard,
    keep_mass,
    keep_pixels,
    mean_best,
    rank_pixels,
    rule_scores,
    segment_masks,
)
from benchmarks.attention_overlap import SHARES, current_scores, reference_scores

PLACES, LATENTS, IMAGES = 36, 5, 4


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_maps(places: int = PLACES, seed: int = 0) -> torch.Tensor:
    return torch.rand(IMAGES, LATENTS, places, generator=generator(seed)) ** 3


def some_segments(size: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 4, (IMAGES, size, size), generator=generator(seed), dtype=torch.uint8)


# Maps


def test_a_latents_map_is_its_column_of_the_chosen_layer_counted_from_one():
    tokenizer, images = tiny.tokenizer(), tiny.images(2)
    steps = zip(rollout_maps(tokenizer, images, 2), tokenizer.rollout(images, attention=True), strict=True)
    for place, (step, rolled) in enumerate(steps, start=1):
        assert (step.iteration, step.layers.shape) == (place, (2, 2, rolled.length, 16))
        assert torch.equal(step.maps[1, 1], rolled.attention[1, 1, :, 1])


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="expected one of 2, found 3"):
        next(rollout_maps(tiny.tokenizer(), tiny.images(1), 3))


def test_pixels_keep_the_range_and_the_place_of_a_map():
    maps = torch.zeros(1, 2, 16)
    maps[0, 0, 0] = 1  # first row, first column
    maps[0, 1] = 0.25
    pixels = to_pixels(maps, 8).reshape(1, 2, 8, 8)
    assert pixels[0, 0, 0, 0] == 1
    assert pixels[0, 0, 4:].abs().max() == 0
    assert torch.allclose(pixels[0, 1], torch.tensor(0.25))


def test_entropy_and_gini_tell_even_maps_from_sparse_ones_whatever_their_scale():
    even, single = torch.full((PLACES,), 0.3), torch.zeros(PLACES)
    single[7] = 5.0
    assert entropy(even).item() == pytest.approx(1)
    assert entropy(single).item() == pytest.approx(0)
    assert gini(even).item() == pytest.approx(0, abs=1e-6)
    assert gini(single).item() == pytest.approx((PLACES - 1) / PLACES)
    maps = some_maps()
    assert torch.allclose(entropy(maps), entropy(7 * maps))
    assert torch.allclose(gini(maps), gini(7 * maps), atol=1e-6)


def test_gini_is_half_the_relative_mean_difference():
    values = some_maps()[0, 0].double()
    differences = (values[:, None] - values).abs().mean()
    assert gini(values).item() == pytest.approx((differences / (2 * values.mean())).item())


# Masks


def test_segments_become_masks_without_background_unknown_and_small_ones():
    segments = torch.zeros(2, 4, 4, dtype=torch.uint8)
    segments[0, :2] = 1  # 8 of 16 pixels
    segments[0, 3, 0] = 2  # 1 of 16
    segments[1, 0] = UNKNOWN_SEGMENT
    found = segment_masks(segments, smallest=0.1)
    assert found.masks.shape == (2, 2, 16)
    assert found.counted.tolist() == [[True, False], [False, False]]
    assert found.masks[0, 1].sum() == 1
    assert found.known[1].tolist() == [False] * 4 + [True] * 12
    assert segment_masks(segments, smallest=0).counted.tolist() == [[True, True], [False, False]]


# Overlap


def everything(places: int = PLACES) -> torch.Tensor:
    return torch.ones(places, dtype=torch.bool)


def fits_of(maps: torch.Tensor, masks: Segments, shares: tuple[float, ...]) -> torch.Tensor:
    """Return the Jaccard indices (b, k, q, s) with some shares of the known pixels kept."""
    found = []
    for image, values in enumerate(maps):
        ranked = rank_pixels(values, masks.known[image])
        found.append(jaccard(ranked, masks.of(image), keep_pixels(ranked, torch.tensor(shares))))
    return torch.stack(found)


def test_jaccard_agrees_with_counting_sets_as_if_unknown_pixels_were_not_there():
    maps, segments = some_maps(), some_segments()
    segments[:, 0, :3] = UNKNOWN_SEGMENT
    masks, shares = segment_masks(segments, 0), (0.25, 0.6)
    found = fits_of(maps, masks, shares)
    assert found.shape == (IMAGES, LATENTS, 3, 2)
    places = np.flatnonzero(masks.known[0].numpy())
    for image, latent, mask, share in np.ndindex(*found.shape):
        values = maps[image, latent].numpy()[places]
        kept = set(places[np.argsort(-values, kind="stable")[: round(len(places) * shares[share])]])
        inside = set(np.flatnonzero(masks.masks[image, mask].numpy()))
        assert found[image, latent, mask, share].item() == pytest.approx(len(kept & inside) / len(kept | inside))


def test_a_map_gains_nothing_by_lying_on_unknown_pixels():
    segments = torch.zeros(1, 2, 4, dtype=torch.uint8)
    segments[0, 0, :2], segments[0, 1] = 1, UNKNOWN_SEGMENT  # two of four known pixels are the mask
    masks = segment_masks(segments, 0)
    on_unknown = torch.tensor([[0.4, 0.3, 0.2, 0.1, 9.0, 8.0, 7.0, 6.0]])
    elsewhere = torch.tensor([[0.4, 0.3, 0.2, 0.1, 0.0, 0.0, 0.0, 0.0]])
    for maps in (on_unknown, elsewhere):
        for share, expected in ((0.25, 1 / 2), (0.5, 1.0), (0.75, 2 / 3)):
            assert fits_of(maps[None], masks, (share,)).item() == pytest.approx(expected)


def test_a_share_of_the_mass_is_held_by_the_fewest_highest_pixels():
    ranked = rank_pixels(torch.tensor([[0.1, 0.5, 0.1, 0.3]]), everything(4))
    assert keep_mass(ranked, torch.tensor([0.4, 0.6, 0.85, 1.0])).tolist() == [[1, 2, 3, 4]]
    assert keep_pixels(ranked, torch.tensor([0.01, 0.5, 0.75])).tolist() == [[1, 2, 3]]
    partly = rank_pixels(torch.tensor([[0.1, 0.5, 0.1, 0.3]]), torch.tensor([True, False, True, True]))
    assert partly.order.tolist() == [[3, 0, 2]]
    assert keep_mass(partly, torch.tensor([0.5, 0.7])).tolist() == [[1, 2]]
    assert keep_pixels(partly, torch.tensor([0.34, 0.7, 1.0])).tolist() == [[1, 2, 3]]


def test_a_map_that_is_the_mask_fits_it_whole_at_the_masks_own_share():
    masks = segment_masks(some_segments(), 0)
    for image, own in enumerate(masks.masks):
        fits = jaccard(rank_pixels(own, masks.known[image]), masks.of(image), own.sum(-1, keepdim=True).long())[..., 0]
        assert torch.allclose(torch.diagonal(fits), torch.ones(3))


@pytest.mark.parametrize("unknown", [0.0, 0.2, 0.6])
@pytest.mark.parametrize("seed", range(5))
def test_no_map_fits_better_than_the_masks_themselves_where_the_rule_fixes_how_much_is_kept(seed, unknown):
    generate = generator(seed)
    segments = torch.randint(0, 4, (IMAGES, 12, 12), generator=generate, dtype=torch.uint8)
    segments[torch.rand(segments.shape, generator=generate) < unknown] = UNKNOWN_SEGMENT
    masks = segment_masks(segments, 0)
    noise = torch.rand(IMAGES, 40, 144, generator=generate) ** 3
    drawn = torch.where(masks.known[:, None], noise, noise + 1)  # lies on what is unknown
    around = masks.masks + 0.9 * noise[:, :3]  # nearly the masks
    bound, *others = (
        rule_scores(mean_best(fit_maps(maps, (masks,), SHARES)[0], masks), SHARES).miou[:, : len(SHARES) + 1]
        for maps in (masks.masks, noise, drawn, around)
    )
    for scores in others:
        assert (scores <= bound + 1e-6).all()
    assert (others[0] < bound - 1e-3).any()
    assert bound.isfinite().all()


def test_an_image_of_unknown_pixels_alone_has_no_score_and_spoils_no_other():
    segments = some_segments()
    segments[1] = UNKNOWN_SEGMENT
    masks = segment_masks(segments, 0)
    scores = mean_best(fit_maps(some_maps(), (masks,), SHARES)[0], masks)
    assert scores.isnan().all(dim=1).tolist() == [False, True, False, False]
    assert scores[[0, 2, 3]].isfinite().all()


def test_each_mask_is_answered_by_its_best_map_and_uncounted_masks_by_none():
    indices = torch.zeros(2, 2, 3, 1)
    indices[0, :, :, 0] = torch.tensor([[0.2, 0.9, 1.0], [0.6, 0.1, 1.0]])
    masks = segment_masks(some_segments()[:2], 0)._replace(
        counted=torch.tensor([[True, True, False], [False, False, False]])
    )
    scores = mean_best(indices, masks)
    assert scores[0].item() == pytest.approx((0.6 + 0.9) / 2)
    assert math.isnan(scores[1].item())


def test_more_maps_never_fit_worse_which_is_why_controls_have_as_many():
    masks = segment_masks(some_segments(), 0)
    fits = fits_of(some_maps(), masks, (0.4,))
    few, many = mean_best(fits[:, :2], masks), mean_best(fits, masks)
    assert (many >= few).all()
    assert (many > few).any()


@pytest.mark.parametrize("kind", ["random", "plateaus", "zeros", "tiny"])
def test_pixels_are_ordered_from_the_highest_and_equal_ones_as_they_come(kind):
    values = torch.rand(3, 2, 5000, generator=generator())
    if kind == "plateaus":
        values = (values * 20).round() / 20
    if kind == "zeros":
        values = torch.zeros_like(values)
    if kind == "tiny":
        values = values**40 * 1e-30  # down to numbers below the normal ones
    expected = torch.sort(values, dim=-1, descending=True, stable=True).indices
    assert torch.equal(descending_order(values), expected)
    assert torch.equal(descending_order(values.double()), expected)


def test_scores_are_those_of_comparing_every_map_with_every_mask_at_every_share():
    segments = some_segments(size=24)
    segments[:, :2] = UNKNOWN_SEGMENT
    masks = segment_masks(segments, 0.01)
    features = torch.randn(IMAGES, PLACES, 5, generator=generator(1))
    steps = []
    for iteration, latents in enumerate((4, 8), 1):
        logits = 2 * torch.randn(IMAGES, latents, PLACES, generator=generator(iteration))
        steps.append(LatentMaps(iteration, logits.softmax(-1)[None], 1, features))
    expected = list(reference_scores(steps, masks, generator(), first=4))
    for ours, theirs in zip(current_scores(steps, masks, generator(), first=4), expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
        assert theirs.std(dim=0).min() > 1e-3


def test_maps_are_fitted_alike_in_blocks_of_any_size(monkeypatch):
    maps, masks = some_maps(), segment_masks(some_segments(size=12), 0)
    whole = fit_maps(maps, (masks,), SHARES)[0]
    monkeypatch.setattr("alit.studies.attention.measure.overlap.BLOCK", 2 * 144)
    assert torch.equal(fit_maps(maps, (masks,), SHARES)[0], whole)


def test_the_best_share_is_chosen_for_each_image():
    scores = torch.zeros(2, 1 + 12 + 1)
    scores[0, 1 + 3] = 0.5
    scores[1, 1 + 11] = 0.7
    found = rule_scores(scores, (0.4,))
    assert found.share.tolist() == [[0.4, 0.15, 0.4], [0.4, 0.9, 0.4]]
    assert found.miou[:, 1].tolist() == pytest.approx([0.5, 0.7])


# Controls


@pytest.mark.parametrize("control", ["random", "centered", "placed", "clusters"])
def test_a_control_has_as_many_maps_as_there_are_latents(control):
    maps, features = some_maps(), torch.rand(IMAGES, PLACES, 3)
    made = {
        "random": lambda: random_maps(maps, generator()),
        "centered": lambda: centered_blobs(maps),
        "placed": lambda: placed_blobs(maps, generator()),
        "clusters": lambda: cluster_maps(features, LATENTS, 0),
    }[control]()
    assert made.shape == maps.shape
    assert made.dtype == maps.dtype
    assert (made >= 0).all()


def test_blobs_are_as_wide_as_the_maps_and_lie_in_the_center_or_anywhere():
    places = grid_places(some_maps(places=400))
    wide = torch.exp(-((places - torch.tensor([6.0, 11.0])) ** 2 / torch.tensor([2.0, 8.0])).sum(-1)).expand(1, 2, 400)
    centered = centered_blobs(wide)
    assert torch.allclose(covariances(centered, places), covariances(wide, places), rtol=0.15, atol=0.1)
    middle = (centered / centered.sum(-1, keepdim=True)) @ places
    assert torch.allclose(middle, torch.full((1, 2, 2), 9.5), atol=1e-3)
    placed = placed_blobs(wide, generator())
    assert placed[0, 0].argmax() != placed[0, 1].argmax()
    assert torch.equal(placed, placed_blobs(wide, generator()))


def test_a_map_in_one_place_has_a_blob_of_that_place_and_no_infinite_one():
    maps = torch.zeros(1, 1, PLACES)
    maps[0, 0, 3] = 1
    assert torch.isfinite(centered_blobs(maps)).all()


def test_cluster_maps_are_highest_where_features_are_alike():
    features = torch.zeros(1, PLACES, 2)
    features[0, 10:20] = torch.tensor([5.0, 0.0])
    features[0, 20:] = torch.tensor([0.0, 9.0])
    maps = cluster_maps(features, 5, seed=0)  # of two clusters, and of three
    regions = {tuple(torch.nonzero(one > 0.9).flatten().tolist()) for one in maps[0, 2:]}
    assert regions == {tuple(range(10)), tuple(range(10, 20)), tuple(range(20, PLACES))}


def test_clusters_are_regions_of_every_size_and_no_single_places():
    assert cluster_numbers(14, most=8) == [(0, 2), (0, 3), (0, 4), (0, 5)]
    assert cluster_numbers(9, most=3) == [(0, 2), (0, 3), (1, 2), (1, 3)]
    features = torch.rand(2, 64, 4, generator=generator())
    maps = cluster_maps(features, 64, seed=0)
    assert maps.shape == (2, 64, 64)  # as many maps as places
    close = (maps > 0.5).sum(-1).float()  # places that are much like the center
    assert close.mean() > 4
    assert torch.equal(cluster_maps(features, 20, seed=0), maps[:, :20])


def test_a_cluster_has_four_places_in_the_mean_at_least():
    maps = cluster_maps(torch.rand(1, 16, 3, generator=generator()), 30, seed=0)
    assert maps.shape == (1, 30, 16)
    assert len(maps.unique(dim=1)[0]) > 9  # 2, 3 and 4 clusters, and then others of another seed


def test_there_may_be_more_clusters_than_different_features():
    assert cluster_maps(torch.zeros(2, 9, 4), 5, seed=0).shape == (2, 5, 9)
    assert cluster_maps(torch.rand(2, 9, 4), 20, seed=0).shape == (2, 20, 9)
