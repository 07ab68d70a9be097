import subprocess
import sys

import pytest
import torch
from task_cases import CPU, model, pictures

from alit.errors import CheckpointError, ConfigError
from alit.models.weights import weights_sha256
from alit.tasks.classification import Classifier
from alit.tasks.registry import build_task_models, load_trained, new_network, save_trained


@pytest.mark.slow
def test_importing_the_tasks_loads_no_heavy_library():
    code = (
        "import sys, alit.tasks.registry, alit.tasks.perceptual, alit.sweep.engine;"
        "print([name for name in ('timm', 'transformers', 'torchvision', 'torchmetrics', 'torch_fidelity')"
        " if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("input_size", [32, 64])
@pytest.mark.parametrize("architecture", ["small_cnn", "timm/resnet18"])
def test_classifiers_train_on_small_images(architecture, input_size):
    network = new_network(model(architecture=architecture, input_size=input_size), ("a", "b", "c"))
    images = pictures(4, 24)
    network(images).square().sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())
    network.eval()
    output = network.features_and_logits(images)
    assert output.logits.shape == (4, 3)
    assert output.features.shape == (4, network.feature_size)
    torch.testing.assert_close(output.logits, network(images))
    assert len(output.maps) == 5


def test_the_depth_network_answers_in_positive_metres_at_its_own_size():
    network = new_network(model(kind="depth", architecture="small_unet", input_size=32), ())
    depth = network(pictures(2, 40))
    assert depth.shape == (2, 32, 32)
    assert (depth > 0).all()


def test_a_trained_network_comes_back_as_it_was_saved(tmp_path):
    config = model()
    network = new_network(config, ("a", "b")).eval()
    save_trained(tmp_path / "cnn", config, network, {"accuracy": 0.5})
    loaded = load_trained(tmp_path / "cnn", config)
    assert isinstance(loaded, Classifier)
    assert loaded.class_names == ("a", "b")
    assert weights_sha256(loaded) == weights_sha256(network)


def test_a_missing_damaged_or_foreign_network_is_one_line(tmp_path):
    config = model()
    with pytest.raises(CheckpointError, match="task_models"):
        load_trained(tmp_path / "cnn", config)
    save_trained(tmp_path / "cnn", config, new_network(config, ("a", "b")), None)
    with pytest.raises(CheckpointError, match="expected timm/resnet18"):
        load_trained(tmp_path / "cnn", model(architecture="timm/resnet18"))
    weights = tmp_path / "cnn" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(CheckpointError):
        load_trained(tmp_path / "cnn", config)


def test_the_profile_decides_columns_and_extractors(tmp_path):
    configs = [
        model(),
        model(name="unet", kind="depth", architecture="small_unet"),
        model(name="cnn_features", kind="features", architecture="task/cnn", weights="shared"),
    ]
    for config in configs[:2]:
        save_trained(tmp_path / config.name, config, new_network(config, ("a", "b")), None)
    built = build_task_models(configs, tmp_path, CPU)
    columns = [column for task in built.tasks for column in task.columns]
    assert columns == [
        *("l1", "l2", "psnr", "ssim", "depth_rank_agreement_blind_lower", "depth_rank_agreement_blind_center"),
        *(
            "class_rank_cnn",
            "class_rank_in_set_cnn",
            "depth_error_unet",
            "depth_rank_agreement_unet",
            "depth_true_error_unet",
        ),
        "perceptual_cnn_features",
    ]
    assert [(extractor.name, extractor.size) for extractor in built.extractors] == [("cnn_features", 96)]
    assert built.extractors[0].features(pictures(3)).shape == (3, 96)
    assert built.tasks[2].record["weights_sha256"] == built.extractors[0].record["weights_sha256"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "vgg", "weights": "pretrained"}, "efficientnet_lite0"),
        ({"kind": "features", "architecture": "task/other", "weights": "shared"}, "earlier in the list"),
        ({"name": "lpips_lite", "kind": "features"}, "the word lpips is kept for lpips_vgg"),
        ({"name": "fid", "kind": "features"}, "the word fid is kept for inception"),
        ({"name": "in_set_cnn"}, "in_set_ names ranks"),
        ({"name": "blind_lower"}, "blind_ names rules"),
    ],
)
def test_a_wrong_task_model_is_one_line(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        build_task_models([model(**changes)], tmp_path, CPU)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "resnet"}, "small_cnn or timm"),
        ({"architecture": "timm/resnet19"}, "found resnet19"),
        ({"kind": "depth", "architecture": "small_unet", "input_size": 20}, "multiple of 16"),
        ({"kind": "features"}, "small_cnn for a features"),
    ],
)
def test_what_cannot_be_trained_here_is_one_line(changes, message):
    with pytest.raises(ConfigError, match=message):
        new_network(model(**changes), ("a",))


def test_two_task_models_of_one_name_are_refused(tmp_path):
    save_trained(tmp_path / "cnn", model(), new_network(model(), ("a",)), None)
    with pytest.raises(ConfigError, match="cnn twice"):
        build_task_models([model(), model()], tmp_path, CPU)
