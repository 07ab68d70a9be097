"""Networks with published weights, exercised on tiny random instances of the same classes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from network_cache import depth_anything
from safetensors.torch import save_file
from task_cases import batch_of, model, pictures

from alit.errors import CheckpointError, ConfigError, MissingPackageError
from alit.models.losses import perceptual_distance
from alit.models.weights import weights_sha256
from alit.tasks import pretrained
from alit.tasks.captioning import CaptionTask
from alit.tasks.classification import ConvolutionalBackbone
from alit.tasks.depth import DepthTask
from alit.tasks.features import ClassifierFeatures, InceptionFeatures, reference_inception
from alit.tasks.perceptual import LpipsTrunk, build_trunk, lpips_vgg
from alit.tasks.registry import build_task_models, new_network


@pytest.mark.parametrize(("size", "stages"), [(0, 5), (1, 5), (2, 5)])
def test_efficientnet_lite_takes_the_published_weights_in_order(size, stages):
    classifier = pretrained.efficientnet_lite(size, input_size=64).eval()
    assert len(classifier.class_names) == 1000
    assert classifier.class_names[0] == "n01440764"
    weights = torch.load(pretrained._lite_file(size), weights_only=True)
    own = classifier.backbone.state_dict()
    assert torch.equal(own["conv_stem.weight"], weights["_conv_stem.weight"])
    assert torch.equal(own["classifier.bias"], weights["_fc.bias"])
    with torch.no_grad():
        output = classifier.features_and_logits(pictures(2, 64))
    assert output.logits.shape == (2, 1000)
    assert len(output.maps) == stages
    published = (pictures(1) * 255 - 127) / 128
    torch.testing.assert_close(classifier.normalize(pictures(1)), published)


def test_weights_of_another_network_are_refused_by_shape():
    weights = torch.load(pretrained._lite_file(0), weights_only=True)
    network = pretrained.efficientnet_lite(1, input_size=64).backbone
    with pytest.raises(CheckpointError, match="expected 386 tensors"):
        pretrained.weights_in_order(weights, network, "EfficientNet-Lite1")
    network = pretrained.efficientnet_lite(0, input_size=64).backbone
    weights["_conv_stem.weight"] = weights["_conv_stem.weight"][:8]
    with pytest.raises(CheckpointError, match=r"conv_stem.weight .* found \(8, 3, 3, 3\)"):
        pretrained.weights_in_order(weights, network, "EfficientNet-Lite0")


def test_a_failed_download_is_one_line():
    def fail():
        raise OSError("no such host\nand a long story")

    with pytest.raises(CheckpointError, match=r"weights of timm/x, found none \(no such host\)"):
        pretrained.download("timm/x", fail)


def test_the_lite_trunk_sees_images_at_their_own_size():
    trunk = build_trunk("efficientnet_lite1")
    assert [maps.shape[-1] for maps in trunk(pictures(1, 32))] == [16, 8, 4, 2, 1]
    assert not any(weight.requires_grad for weight in trunk.parameters())
    with pytest.raises(ConfigError, match="perceptual trunk among"):
        build_trunk("vgg")


def test_distance_on_the_lpips_trunk_is_lpips():
    from torchmetrics.functional.image.lpips import _NoTrainLpips

    lpips = _NoTrainLpips(net="squeeze", pnet_rand=True)  # LPIPS's own channel weights on a random network
    trunk = LpipsTrunk(lpips)
    images, others = pictures(2, 32), pictures(2, 32).flip(-1)
    with torch.no_grad():
        expected = lpips(images, others, normalize=True).flatten()
        found = perceptual_distance(trunk(images), trunk(others), trunk.channel_weights)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_depth_anything_measures_relative_error_and_order_but_no_metres():
    network = pretrained.wrap_depth_anything(depth_anything(28), input_size=28).eval()
    task = DepthTask("depth_anything_v2", network, {})
    assert task.columns == ("depth_error_depth_anything_v2", "depth_rank_agreement_depth_anything_v2")
    with torch.no_grad():
        batch = batch_of(pictures(2, 20))
        assert task.reference(batch).shape == (2, 28, 28)
        same = task.score(batch.images, task.reference(batch), batch)[task.columns[0]]
        other = task.score(1 - batch.images, task.reference(batch), batch)[task.columns[0]]
    known = ~np.isnan(same)
    assert (same[known] == 0).all()
    assert known.any()
    assert (other[known] > 0).all()
    with pytest.raises(ConfigError, match="multiple of 14"):
        pretrained.wrap_depth_anything(network.backbone, input_size=30)


def test_blip_scores_captions_against_those_of_the_originals(tmp_path: Path):
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "a", "red", "blue", "ball", "cube", "on", "grass"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizer(str(tmp_path / "vocab.txt"))
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    special = {"bos_token_id": 5, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0}
    text = {"vocab_size": len(words), "encoder_hidden_size": 16, "max_position_embeddings": 32}
    config = BlipConfig(
        text_config=size | special | text, vision_config=size | {"image_size": 16, "patch_size": 8}, projection_dim=8
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = BlipForConditionalGeneration(config).eval()
    captioner = pretrained.wrap_blip(network, tokenizer, input_size=16)
    task = CaptionTask("blip", captioner, {})
    batch = batch_of(pictures(3, 20))
    captions = task.reference(batch)
    assert len(captions) == 3
    assert all(set(caption.split()) <= set(words) for caption in captions)
    assert task.score(batch.images, captions, batch)["caption_score_blip"].tolist() == [1, 1, 1]
    assert task.score(batch.images, ["zebra"] * 3, batch)["caption_score_blip"].tolist() == [0, 0, 0]
    with pytest.raises(ConfigError, match="input_size 16"):
        pretrained.wrap_blip(network, tokenizer, input_size=32)


def test_classifier_features_are_those_before_its_last_layer():
    network = new_network(model(), ("a", "b")).eval()
    extractor = ClassifierFeatures("cnn", network, {})
    with torch.no_grad():
        features = extractor.features(pictures(2))
        torch.testing.assert_close(network.backbone.classifier(features), network(pictures(2)))


@pytest.mark.slow
def test_inception_features_come_from_the_reference_network(monkeypatch):
    from torch_fidelity import feature_extractor_inceptionv3 as inception

    monkeypatch.setattr(inception, "load_state_dict_from_url", lambda *a, **k: {})
    monkeypatch.setattr(inception.FeatureExtractorInceptionV3, "load_state_dict", lambda *a, **k: None)
    extractor = InceptionFeatures("fid", reference_inception(), {})  # the reference's code on random weights
    features = extractor.features(pictures(2, 20))
    assert features.shape == (2, 2048)
    torch.testing.assert_close(features[:1], extractor.features(pictures(2, 20)[:1]), rtol=1e-3, atol=1e-3)


def test_a_library_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr("alit.errors.find_spec", lambda module: None)
    for load in (lambda: pretrained.timm_classifier("resnet18", 64), lambda: pretrained.blip("base", 384)):
        with pytest.raises(MissingPackageError, match=r"alit-suite\[tasks\]"):
            load()


def timm_file(folder: Path, name: str) -> tuple[Path, Any]:
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = timm.create_model("resnet10t", pretrained=False).eval()
    path = folder / name
    folder.mkdir(exist_ok=True)
    save = save_file if path.suffix == ".safetensors" else torch.save
    save(network.state_dict(), path)
    return path, network


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth", "hub/model.safetensors"])
def test_a_timm_classifier_takes_the_weights_of_a_local_file_or_folder(tmp_path, name):
    path, network = timm_file((tmp_path / name).parent, Path(name).name)
    local = path.parent if path.parent != tmp_path else path
    classifier = pretrained.timm_classifier("resnet10t", 64, local).eval()
    with torch.no_grad():
        expected = network(classifier.normalize(pictures(2, 64)))
        torch.testing.assert_close(classifier(pictures(2, 64)), expected)


def test_a_local_file_that_is_not_the_networks_is_refused_in_one_line(tmp_path):
    path, _ = timm_file(tmp_path, "weights.pth")
    with pytest.raises(CheckpointError, match=r"expected weights of timm/resnet18 in .*, found others: Error"):
        pretrained.timm_classifier("resnet18", 64, path)
    for content in ({"model": pretrained.Path("x")}, {"epoch": 3}):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match="found other objects; refused"):
            pretrained.timm_classifier("resnet10t", 64, path)
    path.write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"expected .* in .*, found"):
        pretrained.timm_classifier("resnet10t", 64, path)
    with pytest.raises(CheckpointError, match=r"expected model\.safetensors or pytorch_model\.bin in"):
        pretrained.timm_classifier("resnet10t", 64, tmp_path)
    with pytest.raises(CheckpointError, match=r"with config\.json at .* found none"):
        pretrained.blip("base", 384, tmp_path)
    with pytest.raises(CheckpointError, match=r"expected a file of weights at .*, found none"):
        reference_inception(tmp_path / "none.pth")


@pytest.mark.slow
def test_alexnet_of_torchvision_is_a_classifier_with_features(tmp_path):
    from torchvision.models import alexnet

    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = alexnet(weights=None).eval()
    torch.save(network.state_dict(), tmp_path / "alexnet.pth")
    config = model(name="alexnet", architecture="torchvision/alexnet", input_size=64)
    config = config.model_copy(update={"weights": str(tmp_path / "alexnet.pth")})
    models = build_task_models([config], tmp_path, torch.device("cpu"))
    assert models.tasks[1].record["weights"] == "local: alexnet.pth"
    classifier = pretrained.torchvision_classifier("alexnet", 64, tmp_path / "alexnet.pth").eval()
    assert models.tasks[1].record["weights_sha256"] == weights_sha256(classifier)
    with torch.no_grad():
        output = classifier.features_and_logits(pictures(2, 64))
        torch.testing.assert_close(output.logits, network(classifier.normalize(pictures(2, 64))))
        torch.testing.assert_close(classifier(pictures(2, 64)), output.logits)
    assert output.features.shape == (2, classifier.feature_size) == (2, 4096)
    assert [maps.shape[-1] for maps in output.maps] == [15, 7, 3, 1]


def test_a_torchvision_network_of_another_form_is_refused():
    with pytest.raises(ConfigError, match="of a torchvision model>, found alexnett"):
        pretrained.torchvision_classifier("alexnett", 64)
    network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with pytest.raises(ConfigError, match="features, avgpool and a linear classifier, found resnet18"):
        ConvolutionalBackbone(network, "resnet18")


@pytest.mark.slow
def test_lpips_takes_vgg16_from_a_local_file(tmp_path):
    from torchvision.models import vgg16

    with torch.device("meta"):
        network = vgg16(weights=None)
    features = network.features.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    named = features.state_dict().items()
    weights = {f"features.{name}": tensor.normal_(0, 0.02, generator=generator) for name, tensor in named}
    save_file(weights, tmp_path / "vgg16.safetensors")
    trunk = lpips_vgg(tmp_path / "vgg16.safetensors")
    view = trunk.lpips.scaling_layer(2 * pictures(1, 32) - 1)
    with torch.no_grad():
        torch.testing.assert_close(trunk(pictures(1, 32))[-1], features[:30](view))
    assert trunk.channel_weights[0].min() >= 0  # LPIPS's own, from torchmetrics
    del weights["features.0.weight"]
    save_file(weights, tmp_path / "vgg16.safetensors")
    with pytest.raises(CheckpointError, match="expected torchvision's VGG16"):
        lpips_vgg(tmp_path / "vgg16.safetensors")
