"""`make check`: everything that a profile needs is named at once, before anything runs."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml
from checkout import ROOT
from safetensors.numpy import save_file

from alit.data.locate import WHOLE
from alit.data.prepare import DataConfig
from alit.data.sources.folder import folder_source
from alit.errors import DataError
from alit.paths import RunPaths
from alit.settings import parse_settings
from alit.tasks import weights
from experiments import link_imagenet100
from experiments.check import find_needs, require_all, table
from experiments.needs import checkpoints, machine, published
from experiments.needs.image_sets import image_set_needs
from experiments.needs.machine import device_needs
from experiments.needs.need import BASELINE_STAGES, Need
from experiments.needs.networks import network_needs


@pytest.fixture(autouse=True)
def _nothing_is_asked(monkeypatch, tmp_path):
    """No host, no cache of this machine and no GPU of it."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("ALIT_DATA", str(tmp_path / "sets"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(published, "_ask", lambda address: pytest.fail(f"{address} was asked"))
    monkeypatch.setattr(published, "_ANSWERS", {})
    monkeypatch.setattr(machine, "find_gpus", list)


def project(tmp_path: Path, name: str, **changes) -> RunPaths:
    """Return a checkout with one profile of this one, with some sections changed."""
    content = yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text()) | changes
    (tmp_path / "configs").mkdir(exist_ok=True)
    (tmp_path / "configs" / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return RunPaths(tmp_path, name)


def pictures(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}.JPEG").touch()


def image_sets(tmp_path: Path, **changes) -> list[Need]:
    content = {"image_size": 32, "rejected_share": 0.0, "flip": False, "crop_scale": 1.0}
    one = {"name": "one", "role": "evaluate", "source": "folder", "path": "imagenet100", "variant": "base"}
    one |= {"split": "val", "images": None, "pack": False} | changes
    data = parse_settings(DataConfig, content | {"sets": [one]}, source="test")
    return list(image_set_needs(data, RunPaths(tmp_path, "tiny")))


def test_everything_that_the_papers_profile_lacks_is_named_at_once(tmp_path):
    paths = project(tmp_path, "paper")
    needs = find_needs(paths)
    profile = yaml.safe_load(paths.config.read_text())
    names = {need.name for need in needs if need.remedy}
    assert {one["name"] for one in profile["data"]["sets"]} <= names
    assert {model["name"] for model in profile["task_models"]} <= names
    assert {"devices", "lpips_vgg (losses)"} <= names
    with pytest.raises(DataError, match=f"{len(names)} missing: imagenet100, imagenet100_val"):
        require_all("paper", needs)
    text = table("paper", needs)
    for part in ("126,689 images", "timm/resnet18.a1_in1k, 47 MB", "weights of the task model", "link_imagenet100"):
        assert part in text


def test_profiles_without_published_weights_or_real_images_need_nothing(tmp_path):
    require_all("smoke", find_needs(project(tmp_path, "smoke")))


def test_an_incomplete_set_is_refused_by_name_and_count_unless_the_profile_says_so(tmp_path):
    pictures(tmp_path / "sets/imagenet100/val/n01558993", 48)
    (need,) = image_sets(tmp_path)
    assert (need.name, need.needed, need.found) == ("one", "5,000 images", "48 images")
    assert "write images: 48" in need.remedy
    (need,) = image_sets(tmp_path, images=48)
    assert not need.remedy
    (need,) = image_sets(tmp_path, images=49)
    assert need.remedy


def test_a_set_that_nobody_knows_needs_one_image(tmp_path):
    pictures(tmp_path / "sets/holiday", 1)
    (need,) = image_sets(tmp_path, path="holiday")
    assert not need.remedy
    (tmp_path / "sets/holiday/0.JPEG").unlink()
    (need,) = image_sets(tmp_path, path="holiday")
    assert need.remedy


def test_images_of_another_split_do_not_count(tmp_path):
    pictures(tmp_path / "sets/imagenet100/train/n01558993", 3)
    (need,) = image_sets(tmp_path)
    assert need.found == "0 images"


def test_packed_sets_that_are_made_need_their_files_no_more(tmp_path):
    paths = RunPaths(tmp_path, "tiny")
    (need,) = image_sets(tmp_path, pack=True)
    assert need.remedy
    (paths.data / "one").mkdir(parents=True)
    (paths.data / "one/manifest.csv").write_text("image_id\n1\n2\n")
    content = {"image_size": 32, "rejected_share": 0.0, "flip": False, "crop_scale": 1.0}
    one = {"name": "one", "role": "evaluate", "source": "folder", "path": "imagenet100", "variant": "base"}
    one |= {"split": "val", "images": None, "pack": True}
    data = parse_settings(DataConfig, content | {"sets": [one]}, source="test")
    (paths.data / "settings.json").write_text(data.model_dump_json(indent=2) + "\n")
    (need,) = image_sets(tmp_path, pack=True)
    assert (need.found, need.remedy) == ("2 images, packed by the stage data", "")


def network(**changes) -> weights.TaskModelConfig:
    content = {"name": "one", "kind": "classifier", "architecture": "timm/resnet18", "weights": "pretrained"}
    content |= {"input_size": 224, "train_on": None, "test_on": None, "steps": 0, "batch_size": 1, "learning_rate": 1.0}
    return weights.TaskModelConfig(**(content | changes))


def test_weights_in_a_cache_or_on_this_machine_are_found(tmp_path):
    (need,) = network_needs([network()], {"init_from": "zoo/x"}, tmp_path)
    assert need.remedy
    cached = tmp_path / "hub/models--timm--resnet18.a1_in1k"
    (cached / "snapshots/abc").mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text("abc")
    (cached / "snapshots/abc/model.safetensors").touch()
    (need,) = network_needs([network()], {"init_from": "zoo/x"}, tmp_path)
    assert not need.remedy
    alexnet = network(architecture="torchvision/alexnet")
    (need,) = network_needs([alexnet], {"init_from": "zoo/x"}, tmp_path)
    assert need.remedy
    (tmp_path / "torch/hub/checkpoints").mkdir(parents=True)
    (tmp_path / "torch/hub/checkpoints/alexnet-owt-7be5be79.pth").touch()
    (need,) = network_needs([alexnet], {"init_from": "zoo/x"}, tmp_path)
    assert not need.remedy
    (tmp_path / "mine.pth").touch()
    (need,) = network_needs([network(weights="mine.pth")], {"init_from": "zoo/x"}, tmp_path)
    assert not need.remedy
    (need,) = network_needs([network(weights="pretraned")], {"init_from": "zoo/x"}, tmp_path)
    assert (
        "expected train, fine-tune, pretrained, shared or a file or folder as weights, found pretraned" in need.remedy
    )


def test_what_a_network_is_tuned_from_is_needed_where_it_is_trained(tmp_path):
    tuned = network(weights="fine-tune", train_on="one", steps=1)
    (need,) = network_needs([tuned], {"init_from": "zoo/x"}, tmp_path)
    assert need.needed.startswith("timm/resnet18.a1_in1k")
    assert "name a" not in need.remedy  # no file of the user's own takes its place
    assert need.stages == {"task_models"}
    (need,) = network_needs([network()], {"init_from": "zoo/x"}, tmp_path)
    assert "task_models" not in need.stages
    assert not list(network_needs([network(weights="train")], {"init_from": "zoo/x"}, tmp_path))


def test_published_base_tokenizers_are_found_beside_the_data_or_in_the_cache(tmp_path):
    base = {"kind": "diffusers", "pretrained": "owner/sd-vae/vae"}
    profile = {"init_from": "scratch", "tokenizer": {"base": base}}
    profile["variants"] = {"trainings": [{"name": "tiny", "set": {"tokenizer.base.pretrained": "owner/tiny"}}]}
    needs = {need.name: need for need in checkpoints.base_needs(profile, tmp_path)}
    assert set(needs) == {"owner/sd-vae/vae", "owner/tiny"}
    assert all(need.remedy for need in needs.values())
    (tmp_path / "sets/autoencoders/tiny").mkdir(parents=True)
    (tmp_path / "sets/autoencoders/tiny/config.json").touch()
    snapshot = tmp_path / "hub/models--owner--sd-vae/snapshots/abc"
    (snapshot / "vae").mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs/main").write_text("abc")
    for file in ("config.json", "diffusion_pytorch_model.safetensors"):
        (snapshot / "vae" / file).touch()
    if not weights.is_installed("diffusers"):
        pytest.skip("needs diffusers")
    assert not any(need.remedy for need in checkpoints.base_needs(profile, tmp_path))
    assert not list(checkpoints.base_needs(profile | {"init_from": "zoo/some", "variants": None}, tmp_path))


def test_autoencoders_among_the_baselines_are_found_too(tmp_path):
    listed = [{"target": "owner/tiny"}, {"target": "base"}, {"target": "module:Class"}, {"target": "variants/fixed/0"}]
    profile = {"init_from": "scratch", "baselines": {"tokenizers": listed}}
    (need,) = checkpoints.base_needs(profile, tmp_path)
    assert need.name == "owner/tiny"
    assert need.stages == BASELINE_STAGES


def test_a_folder_of_the_checkout_among_the_baselines_is_no_hub_id(tmp_path):
    folder = tmp_path / "zoo/one"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"base": {"kind": "diffusers", "pretrained": "owner/tiny"}}')
    save_file({"distillation.x": np.zeros(1, np.float32)}, folder / "model.safetensors")
    listed = [{"target": "zoo/one"}, {"target": "zoo/two"}, {"target": "base"}, {"target": "owner/other"}]
    profile = {"init_from": "scratch", "baselines": {"tokenizers": listed}}
    found = {need.name: need.remedy for need in checkpoints.baseline_needs(profile, tmp_path)}
    assert list(found) == ["zoo/one", "zoo/two"]
    assert not found["zoo/one"]
    assert f"expected a checkpoint folder at {tmp_path / 'zoo/two'} (baselines.tokenizers)" in found["zoo/two"]
    assert {need.name for need in checkpoints.base_needs(profile, tmp_path)} == {"owner/other", "owner/tiny"}


@pytest.mark.parametrize(("tensor", "needed"), [("distillation.x", ["owner/tiny"]), ("base.x", [])])
def test_a_checkpoint_needs_the_published_base_that_it_names_and_does_not_hold(tmp_path, tensor, needed):
    folder = tmp_path / "zoo/some"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"base": {"kind": "diffusers", "pretrained": "owner/tiny"}}')
    save_file({tensor: np.zeros(1, np.float32)}, folder / "model.safetensors")
    needs = list(checkpoints.base_needs({"init_from": "zoo/some"}, tmp_path))
    assert [need.name for need in needs] == needed
    assert all("pretrained" in need.stages for need in needs)


def test_finished_variants_are_looked_for_with_the_published_base_that_they_name(tmp_path):
    entry = {"name": "again", "set": {}, "seeds": [0, 1], "checkpoints": {0: "zoo/one", 1: "zoo/two"}}
    profile = {"init_from": "scratch", "variants": {"trainings": [entry, {"name": "brief", "set": {}, "seeds": [0]}]}}
    folder = tmp_path / "zoo/one"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"base": {"kind": "diffusers", "pretrained": "owner/tiny"}}')
    save_file({"distillation.x": np.zeros(1, np.float32)}, folder / "model.safetensors")
    found = {need.name: need.remedy for need in checkpoints.variant_needs(profile, tmp_path)}
    assert list(found) == ["zoo/one", "zoo/two"]
    assert not found["zoo/one"]
    assert "expected a checkpoint folder" in found["zoo/two"]
    assert [need.name for need in checkpoints.base_needs(profile, tmp_path)] == ["owner/tiny"]


def test_other_trainings_are_looked_for_with_the_published_base_that_they_name(tmp_path):
    targets = {1: "zoo/one", 2: "zoo/two", 3: "variants/another_seed/3"}
    baselines = {"trainings": [{"seed": seed, "target": target} for seed, target in targets.items()]}
    paths = project(tmp_path, "smoke")
    profile = yaml.safe_load(paths.config.read_text())
    profile["baselines"] |= baselines
    paths.config.write_text(yaml.safe_dump(profile))
    folder = tmp_path / "zoo/one"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"base": {"kind": "diffusers", "pretrained": "owner/tiny"}}')
    save_file({"distillation.x": np.zeros(1, np.float32)}, folder / "model.safetensors")
    needs = {need.name: need for need in find_needs(paths)}
    assert (needs["zoo/one"].found, needs["variants/another_seed/3"].found) == (
        "on this machine",
        "trained by the stage variants",
    )
    assert [name for name, need in needs.items() if need.remedy] == ["zoo/two", "owner/tiny"]
    assert "train the profile with seed: 2 and init_from: scratch" in needs["zoo/two"].remedy
    assert needs["zoo/two"].stages == {"baselines"}


def test_each_host_is_asked_once_and_one_that_answers_will_send_the_weights(tmp_path, monkeypatch):
    asked = []
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(published, "_ask", lambda address: not asked.append(address))
    models = [network(), network(architecture="timm/vgg16"), network(architecture="torchvision/alexnet")]
    needs = list(network_needs(models, {"perceptual_trunk": "lpips_vgg"}, tmp_path))
    assert [need.remedy for need in needs] == [""] * 4
    assert all("will be fetched" in need.found for need in needs)
    assert asked == ["https://huggingface.co", "https://download.pytorch.org"]


def test_a_host_that_never_answers_costs_seconds_and_no_more(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(published, "SECONDS", 0.05)
    monkeypatch.setattr(published, "_ask", lambda address: threading.Event().wait(30))
    assert not published.answers("huggingface.co")


@pytest.mark.parametrize(
    ("asked", "cards", "remedy"),
    [
        (("cuda", 1), [], "set device to cpu and devices to 1, or run where 1 GPUs are"),
        (("cuda", 8), ["H100"], "set devices to 1, or run where 8 GPUs are"),
        (("auto", 2), ["H100"], "set devices to 1, or run where 2 GPUs are"),
        (("auto", 1), ["H100"], ""),
        (("auto", 1), [], ""),
        (("cpu", 1), [], ""),
    ],
)
def test_devices_that_are_not_there_are_one_line(monkeypatch, asked, cards, remedy):
    monkeypatch.setattr(machine, "find_gpus", lambda: cards)
    monkeypatch.setattr("importlib.metadata.version", lambda package: "2.14.0")
    (need,) = device_needs(dict(zip(("device", "devices"), asked, strict=True)))
    assert need.remedy == remedy


def test_what_is_known_by_name_is_what_the_packages_say():
    import timm
    from torchvision.models import get_model_weights

    for model, (repository, _) in weights.TIMM_HUB.items():
        assert timm.get_pretrained_cfg(model).hf_hub_id == repository
    for model, (file, megabytes) in weights.TORCHVISION_FILES.items():
        published = get_model_weights(model).DEFAULT
        assert published.url.endswith(f"/{file}")
        assert megabytes == round(published.meta["_file_size"] * 2**20 / 1e6)
    assert weights.published_weights("timm/resnet34").source == "timm/resnet34.a1_in1k"
    assert weights.published_weights("torchvision/vgg11").files == (("vgg11-8a719046.pth",),)
    assert weights.published_weights("random") is None


def test_asking_what_is_needed_loads_no_network_library():
    code = "import sys, experiments.check; print([m for m in ('torch', 'timm', 'transformers') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_imagenet100_is_linked_out_of_imagenet(tmp_path):
    ids = (ROOT / link_imagenet100.LIST).read_text().split()
    assert len(set(ids)) == 100 == len(ids)
    for split in link_imagenet100.SPLITS:
        for one in (*ids, "n01440764"):
            pictures(tmp_path / "imagenet" / split / one, 1)
    out = tmp_path / "sets/imagenet100"
    link_imagenet100.main([str(tmp_path / "imagenet"), str(out)])
    link_imagenet100.main([str(tmp_path / "imagenet"), str(out)])
    source = folder_source("imagenet100", out, "val")
    assert source.class_names == tuple(sorted(ids))
    assert len(source) == 100
    (need,) = image_sets(tmp_path)
    assert need.found == "100 images"
    shutil.rmtree(tmp_path / "imagenet/val" / ids[0])
    with pytest.raises(DataError, match=r"expected 100 class folders in train/ and val/ of .*, 1 missing"):
        link_imagenet100.main([str(tmp_path / "imagenet"), str(out)])


def test_the_sizes_of_known_sets_are_those_of_the_papers():
    assert WHOLE["imagenet100"] == {"train": 126_689, "val": 5_000}  # 494 steps of 256 an epoch, as published
    assert sum(WHOLE["savoias"].values()) == 1_420  # Saraee et al., 2018
    assert WHOLE["imagenet-s/imagenets919"]["validation"] == 12_419  # Gao et al., 2022


def test_memory_that_a_card_does_not_have_is_named_with_the_key_to_change():
    there = machine.card_gigabytes("NVIDIA H100 80GB HBM3, 81559 MiB")
    assert there == pytest.approx(85.5, abs=0.1)
    assert machine.card_gigabytes("some card, [N/A]") is None
    assert not machine.memory_need("distill", 67.3, 32, there).remedy
    assert not machine.memory_need("distill", 67.3, 32, None).remedy
    need = machine.memory_need("distill", 132.5, 32, there)
    assert need.remedy == "set execution.micro_batch.distill below 32, or execution.checkpoint_activations: true"


@pytest.mark.slow
def test_the_papers_trainings_are_estimated_as_they_were_counted():
    training, memory = machine.estimates(RunPaths(ROOT, "paper"))
    assert "GPU-hours at 350 TFLOP/s" in training.needed
    assert "8 such GPUs, an assumption for an H100" in training.found
    assert memory.needed == "not planned"
    (nothing,) = machine.estimates(RunPaths(ROOT, "published"))
    assert nothing.needed == "none"
