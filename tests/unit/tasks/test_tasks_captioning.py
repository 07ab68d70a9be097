"""Captions: what a dual encoder can say, what it learns, and how captions are compared."""

import numpy as np
import pytest
import torch
from task_cases import CPU, batch_of, model, pictures
from training_cases import MemoryImages

from alit.errors import ConfigError
from alit.tasks.captioning import CaptionTask, DualEncoder
from alit.tasks.registry import build_task_models, load_trained, new_network, save_trained
from alit.training.engine.fabric import build_fabric
from alit.training.supervised import contrastive_loss, loss_for, supervised_optimization, train_supervised

CAPTIONS = ("a red ball on grass", "two blue cubes on sand", "a red ball on grass", "a cat")


def captioner(captions=CAPTIONS):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = DualEncoder(captions, (4, 4, 6, 6, 8), input_size=16).eval().requires_grad_(False)
    network.remember()
    return network


def test_it_says_only_what_it_knows_each_caption_once():
    network = captioner()
    assert network.known_captions == ("a red ball on grass", "two blue cubes on sand", "a cat")
    assert set(network.captions(pictures(20))) <= set(network.known_captions)


def test_vectors_are_of_length_one_and_words_without_order():
    network = captioner()
    captions = network.read(["two blue cubes on sand", "on blue sand two cubes", "Sand, on two blue cubes!"])
    torch.testing.assert_close(captions[1:], captions[:1].expand(2, -1))
    lengths = torch.cat([captions, network(pictures(3))]).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(6))


def test_words_that_no_known_caption_has_are_skipped():
    network = captioner()
    known, other, none = network.read(["a cat", "a sleeping cat", "zebras"])
    torch.testing.assert_close(known, other)
    assert none.isfinite().all()


def test_the_nearest_caption_is_that_of_the_largest_similarity():
    network, images = captioner(), pictures(6)
    similarities = network(images) @ network.read(network.known_captions).T
    expected = [network.known_captions[best] for best in similarities.argmax(dim=1)]
    assert network.nearest(images) == expected
    assert [network.nearest(image[None])[0] for image in images] == expected


def test_it_learns_which_caption_belongs_to_which_image(tmp_path):
    images = MemoryImages()
    rows = torch.arange(len(images))
    network = captioner(images.captions(rows)).requires_grad_(True)
    config = supervised_optimization(120, 8, 1e-2)
    fabric, loss = build_fabric("cpu", 1), loss_for("caption", network)
    train_supervised(network, loss, images, config, name="task", flip=True, fabric=fabric, seed=0, scratch=tmp_path)
    network.remember()
    found = network.nearest(images.images(rows))
    assert np.mean([a == b for a, b in zip(found, images.captions(rows), strict=True)]) > 0.8


def test_the_loss_is_lowest_where_each_image_is_nearest_to_its_own_caption():
    vectors, scale = torch.eye(4), torch.tensor(10.0)
    right, wrong = contrastive_loss(vectors, vectors, scale), contrastive_loss(vectors, vectors.roll(1, 0), scale)
    assert right < 0.01 < 9 < wrong
    assert contrastive_loss(vectors, vectors.roll(1, 0), torch.tensor(0.0)) == pytest.approx(np.log(4))


def test_a_trained_captioner_comes_back_with_its_captions(tmp_path):
    config = model(name="pairs", kind="caption", architecture="small_dual_encoder")
    network = new_network(config, (), CAPTIONS).eval()
    network.remember()
    save_trained(tmp_path / "pairs", config, network, None)
    loaded = load_trained(tmp_path / "pairs", config).eval()
    assert isinstance(loaded, DualEncoder)
    assert loaded.nearest(pictures(8)) == network.nearest(pictures(8))
    (task,) = build_task_models([config], tmp_path, CPU).tasks[1:]
    assert task.columns == ("caption_score_pairs", "caption_true_score_pairs")
    assert task.record["decoding"].startswith("nearest")


def test_the_stronger_captioner_is_the_larger_network():
    sizes = [
        sum(
            weight.numel()
            for weight in new_network(model(kind="caption", architecture=name), (), CAPTIONS).parameters()
        )
        for name in ("small_dual_encoder", "dual_encoder")
    ]
    assert sizes[0] < sizes[1]


def test_the_stronger_depth_network_is_the_larger_network():
    configs = [model(kind="depth", architecture=name, input_size=32) for name in ("small_unet", "unet")]
    networks = [new_network(config, ()) for config in configs]
    assert [network(pictures(1, 32)).shape for network in networks] == [(1, 32, 32)] * 2
    assert len({sum(weight.numel() for weight in network.parameters()) for network in networks}) == 2


@pytest.mark.parametrize(("captions", "found"), [((), "found 0 of 0"), (("a cat", None), "found 1 of 2")])
def test_images_without_captions_cannot_train_a_captioner(captions, found):
    with pytest.raises(ConfigError, match=f"a caption of each training image, {found}"):
        new_network(model(kind="caption", architecture="dual_encoder"), (), captions)


def test_captions_are_compared_with_those_of_the_originals_and_with_the_reference_where_there_is_one():
    network = captioner()
    task = CaptionTask("pairs", network, {})
    batch = batch_of(pictures(3))._replace(captions=["a blue cat", None, "two blue cubes on sand"])
    own = task.reference(batch)
    scores = task.score(batch.images, own, batch)
    assert scores["caption_score_pairs"].tolist() == [1, 1, 1]
    assert np.isnan(scores["caption_true_score_pairs"]).tolist() == [False, True, False]
    without = task.score(batch.images, own, batch._replace(captions=None))
    assert np.isnan(without["caption_true_score_pairs"]).all()
    assert task.score(batch.images, ["zebra"] * 3, batch)["caption_score_pairs"].tolist() == [0, 0, 0]


def test_an_images_scores_do_not_depend_on_its_batch():
    task = CaptionTask("pairs", captioner(), {})
    batch = batch_of(pictures(4))._replace(captions=["a cat", None, "a ball", "sand"])
    together = task.score(batch.images.flip(-1), task.reference(batch), batch)
    for row in range(4):
        alone = batch_of(batch.images[row : row + 1])._replace(captions=batch.captions[row : row + 1])
        scores = task.score(batch.images[row : row + 1].flip(-1), task.reference(alone), alone)
        for column in task.columns:
            np.testing.assert_array_equal(scores[column], together[column][row : row + 1])
