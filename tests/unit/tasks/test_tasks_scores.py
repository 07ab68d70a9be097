import numpy as np
import pytest
import torch
from task_cases import seeded, tiny_tasks

from alit.errors import DataError
from alit.models.losses import perceptual_distance
from alit.tasks.captioning import token_f1
from alit.tasks.classification import ClassificationTask, Classifier, class_ranks
from alit.tasks.depth import BlindDepthRules, DepthTask, relative_depth_error
from alit.tasks.networks import SmallCNN
from alit.tasks.perceptual import ReconstructionTask, build_trunk
from alit.tasks.protocol import SweepBatch, memoize_last, resize, round_to_8_bit


def pictures(count, size=16, seed=0):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def batch_of(images, labels=None, class_names=("a", "b", "c"), depth=None):
    labels = torch.zeros(len(images), dtype=torch.int64) if labels is None else torch.tensor(labels)
    return SweepBatch(images, labels, class_names, depth)


@pytest.mark.parametrize("task", tiny_tasks(), ids=lambda task: type(task).__name__)
def test_an_images_scores_do_not_depend_on_its_batch(task):
    originals, images = pictures(5), pictures(5, seed=1)
    depth = 1 + pictures(5, seed=2)[:, 0]
    labels = [0, 1, 2, -1, 1]
    batch = batch_of(originals, labels, depth=depth)
    together = task.score(images, task.reference(batch), batch)
    assert tuple(together) == task.columns
    for row in range(5):
        alone = batch_of(originals[row : row + 1], labels[row : row + 1], depth=depth[row : row + 1])
        scores = task.score(images[row : row + 1], task.reference(alone), alone)
        for column in task.columns:
            np.testing.assert_allclose(scores[column], together[column][row : row + 1], rtol=1e-4, atol=1e-6)


def test_pixel_errors_have_their_textbook_values():
    originals = torch.full((2, 3, 16, 16), 0.5)
    images = originals.clone()
    images[0] += 0.1
    batch = batch_of(originals)
    scores = ReconstructionTask().score(images, originals, batch)
    np.testing.assert_allclose(scores["l1"], [0.1, 0], atol=1e-6)
    np.testing.assert_allclose(scores["l2"], [0.01, 0], atol=1e-6)
    np.testing.assert_allclose(scores["psnr"], [20, np.inf], rtol=1e-4)
    luminance = (2 * 0.5 * 0.6 + 1e-4) / (0.5**2 + 0.6**2 + 1e-4)  # constant images: contrast and structure are 1
    np.testing.assert_allclose(scores["ssim"], [luminance, 1], rtol=1e-3)


@pytest.mark.parametrize("size", [3, 4, 7, 10])
def test_ssim_has_a_window_for_small_images(size):
    images = pictures(2, size)
    scores = ReconstructionTask().score(images, images, batch_of(images))
    np.testing.assert_allclose(scores["ssim"], 1, atol=1e-3)


def test_ssim_of_too_small_images_is_an_error_that_says_so():
    images = pictures(1, 2)
    with pytest.raises(DataError, match="at least 3 px"):
        ReconstructionTask().score(images, images, batch_of(images))


def test_rounding_to_8_bit_clips_and_rounds_halves_to_even():
    values = torch.tensor([-1.0, 0.5 / 255, 1.5 / 255, 2.4 / 255, 1.0, 7.0])
    assert (round_to_8_bit(values) * 255).round().tolist() == [0, 0, 2, 2, 255, 255]
    levels = torch.arange(256) / 255
    assert torch.equal(round_to_8_bit(levels), levels)


def test_resize_averages_when_it_shrinks():
    checks = ((torch.arange(8)[:, None] + torch.arange(8)) % 2).float().expand(1, 3, 8, 8)
    assert (resize(checks, 2) - 0.5).abs().max() < 0.05  # without antialiasing single pixels would show


def test_rank_counts_the_classes_ahead_of_the_true_one():
    logits = torch.tensor([[0.1, 0.9, 0.5], [0.1, 0.9, 0.5], [0.1, 0.9, 0.5]])
    assert class_ranks(logits, torch.tensor([1, 2, 0])).tolist() == [0, 1, 2]


def test_rank_of_tied_logits_follows_the_order_of_classes():
    logits = torch.zeros(3, 3)
    ranks = class_ranks(logits, torch.arange(3))
    assert ranks.tolist() == [0, 1, 2]  # one of three is top-1: a network that cannot tell is at chance
    assert ((ranks == 0) == (logits.argmax(dim=1) == torch.arange(3))).all()


def test_unknown_labels_and_broken_logits_have_no_rank():
    logits = torch.tensor([[1.0, 0.0], [torch.nan, 0.0], [1.0, 0.0]])
    assert torch.isnan(class_ranks(logits, torch.tensor([-1, 0, 0]))).tolist() == [True, True, False]


def test_classes_are_matched_by_name_between_set_and_classifier():
    classifier = seeded(lambda: Classifier(SmallCNN(3), input_size=16, class_names=("c", "a", "b")))
    task = ClassificationTask("cnn", classifier, {})
    batch = batch_of(pictures(4), [0, 1, 2, -1], class_names=("a", "unheard of", "c"))
    reference = task.reference(batch)
    assert reference.targets.tolist() == [1, -1, 0, -1]
    assert reference.in_set.tolist() == [True, True, False]
    scores = task.score(batch.images, reference, batch)
    assert np.isnan(scores["class_rank_cnn"]).tolist() == [False, True, False, True]
    assert np.isnan(scores["class_rank_in_set_cnn"]).tolist() == [False, True, False, True]


def test_rank_in_the_set_counts_only_the_sets_classes_ahead():
    logits = torch.tensor([[0.9, 0.1, 0.5, 0.7]] * 2)
    among = torch.tensor([False, True, True, False])
    assert class_ranks(logits, torch.tensor([1, 2])).tolist() == [3, 2]
    assert class_ranks(logits, torch.tensor([1, 2]), among).tolist() == [1, 0]


def both_ranks(network_classes, set_classes, label):
    classifier = seeded(lambda: Classifier(SmallCNN(len(network_classes)), input_size=16, class_names=network_classes))
    task = ClassificationTask("cnn", classifier, {})
    batch = batch_of(pictures(12), [label] * 12, class_names=set_classes)
    scores = task.score(batch.images, task.reference(batch), batch)
    return scores["class_rank_cnn"], scores["class_rank_in_set_cnn"]


def test_ranks_agree_where_the_classifiers_classes_are_the_sets():
    among_all, in_set = both_ranks(("c", "a", "b"), ("a", "b", "c"), 2)
    np.testing.assert_array_equal(in_set, among_all)


def test_rank_in_the_set_is_smaller_where_other_classes_lead():
    every, few = tuple("abcdefgh"), ("b", "g", "unheard of")
    ranks = [both_ranks(every, few, label) for label in (0, 1)]
    assert all((in_set <= np.minimum(among_all, 1)).all() for among_all, in_set in ranks)
    # Of two classes one leads: its rank in the set is 0, and that of the other 1.
    np.testing.assert_array_equal(ranks[0][1] + ranks[1][1], np.ones(12))
    assert max(among_all.max() for among_all, _ in ranks) > 1


def test_one_known_class_of_a_set_is_no_choice():
    among_all, in_set = both_ranks(("a", "b", "c"), ("b", "unheard of"), 0)
    assert np.isfinite(among_all).all()
    assert np.isnan(in_set).all()


def test_depth_error_of_an_identical_image_is_zero_and_true_error_is_not():
    (task,) = [task for task in tiny_tasks() if isinstance(task, DepthTask)]
    images = pictures(3)
    batch = batch_of(images, depth=torch.full((3, 8, 8), 50.0))
    scores = task.score(images, task.reference(batch), batch)
    assert (scores["depth_error_unet"] == 0).all()
    assert (scores["depth_true_error_unet"] > 0.5).all()
    unknown = batch_of(images)
    assert np.isnan(task.score(images, task.reference(unknown), unknown)["depth_true_error_unet"]).all()


def test_rules_that_look_at_no_picture_agree_with_the_depth_that_they_describe():
    row, column = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    floor, bowl = 9 - row, 1 + (row - 3.5) ** 2 + (column - 3.5) ** 2
    task, images = BlindDepthRules(), pictures(3)
    batch = batch_of(images, depth=torch.stack([floor, bowl, torch.full((8, 8), 2.0)]))
    lower, center = task.score(images, task.reference(batch), batch).values()
    assert lower[:2] == pytest.approx([1, 0], abs=1e-6)
    assert center[:2] == pytest.approx([0, 1], abs=1e-6)
    assert np.isnan([lower[2], center[2]]).all()  # everything is equally far
    unknown = task.reference(batch_of(images))
    assert np.isnan(list(unknown.values())).all()


def test_relative_depth_error_leaves_unknown_pixels_out():
    reference = torch.tensor([[[2.0, 4.0], [0.0, torch.nan]], [[0.0, 0.0], [0.0, 0.0]]])
    depth = torch.tensor([[[3.0, 4.0], [9.0, 9.0]], [[1.0, 1.0], [1.0, 1.0]]])
    error = relative_depth_error(depth, reference)
    assert error[0].item() == pytest.approx(0.25)
    assert torch.isnan(error[1])


def test_nearly_zero_references_do_not_decide_a_depth_error():
    reference = torch.tensor([[[1.0, 1e-9]]])
    error = relative_depth_error(reference + 0.001, reference)
    assert error.item() < 0.2  # the floor is 1 % of the mean, not 1e-9


def test_perceptual_distance_is_zero_for_equal_images_and_grows_with_noise():
    trunk = build_trunk("random")
    images = pictures(1, 32).expand(3, -1, -1, -1)
    noise = pictures(3, 32, seed=1) - 0.5
    noisy = images + noise * torch.tensor([0.0, 0.2, 0.8])[:, None, None, None]
    distances = perceptual_distance(trunk(noisy), trunk(images))
    assert distances[0] == 0
    assert distances[0] < distances[1] < distances[2]


def test_the_random_trunk_is_the_same_everywhere():
    first = seeded(lambda: build_trunk("random"))
    torch.rand(3)  # whatever was drawn in between
    for a, b in zip(first.parameters(), build_trunk("random").parameters(), strict=True):
        assert torch.equal(a, b)
        assert not a.requires_grad


@pytest.mark.parametrize(
    ("caption", "reference", "score"),
    [
        ("a red ball", "A red ball", 1.0),
        ("a dog", "the cat", 0.0),
        ("a red ball", "a blue ball", 2 / 3),
        ("ball ball", "ball", 2 / 3),
        ("", "", 1.0),
        ("", "a ball", 0.0),
    ],
)
def test_token_f1_counts_shared_words(caption, reference, score):
    assert token_f1(caption, reference) == pytest.approx(score)


def test_a_network_runs_once_for_the_same_tensor():
    calls = []
    count = memoize_last(lambda images: calls.append(1) or len(calls))
    first, equal = torch.zeros(2), torch.zeros(2)
    assert [count(first), count(first), count(equal), count(first)] == [1, 1, 2, 3]
