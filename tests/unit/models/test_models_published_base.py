"""Published base tokenizers: TAESD and TAESD3 with their real weights, diffusers' other classes at random."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import images
from training_cases import MemoryImages, distill_config, finetune_config, perceptual

from alit.errors import CheckpointError, ConfigError
from alit.models.diffusers_base import DiffusersBaseConfig
from alit.models.distillation import TokenizerConfig
from alit.models.loading import is_published, load_base, load_published, save_base
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.base import published_base
from alit.training.distill import train_distillation
from alit.training.engine.fabric import build_fabric
from alit.training.engine.loader import Augmentation
from alit.training.finetune import train_finetune

pytest.importorskip("diffusers")

SHARED = Path(__file__).parents[4] / "shared/data"
needs_taesd = pytest.mark.skipif(
    not (SHARED / "autoencoders/taesd").is_dir(), reason="no TAESD in ../shared/data/autoencoders"
)
KINDS = ("AutoencoderKL", "AutoencoderTiny", "VQModel")
SIZES = {"AutoencoderKL": (2, 4, None), "AutoencoderTiny": (2, 4, None), "VQModel": (2, 3, 8)}


def random_autoencoder(kind, **changes):
    """A tiny network of a class of diffusers, patch 2, with random weights."""
    import diffusers

    common = {"block_out_channels": (8, 8), "norm_num_groups": 4}
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    settings = {
        "AutoencoderKL": common | blocks | {"latent_channels": 4},
        "AutoencoderTiny": {
            "encoder_block_out_channels": (8, 8),
            "decoder_block_out_channels": (8, 8),
            "num_encoder_blocks": (1, 1),
            "num_decoder_blocks": (1, 1),
        },
        "VQModel": common | blocks | {"latent_channels": 3, "num_vq_embeddings": 8},
    }[kind]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return getattr(diffusers, kind)(**(settings | changes)).eval()


def config(folder, kind="AutoencoderKL", **changes):
    patch, code_size, codebook_size = SIZES[kind]
    settings = {"patch": patch, "code_size": code_size, "codebook_size": codebook_size}
    return DiffusersBaseConfig(kind="diffusers", pretrained=str(folder), **(settings | changes))


def saved(tmp_path, kind="AutoencoderKL", **changes):
    folder = tmp_path / "published"
    random_autoencoder(kind, **changes).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_tokens_and_images_are_those_of_diffusers(tmp_path, kind):
    network = random_autoencoder(kind, scaling_factor=0.5)
    network.save_pretrained(tmp_path)
    base, batch = load_published(config(tmp_path, kind)), images(2, 8)
    encoded = network.encode(2 * batch - 1)
    latents = encoded.latent_dist.mode() if kind == "AutoencoderKL" else encoded.latents
    tokens = base.encode(batch)
    scale = 1.0 if kind == "VQModel" else 0.5
    torch.testing.assert_close(tokens.features, scale * latents.flatten(2).transpose(1, 2))
    expected = (network.decode(latents).sample + 1) / 2
    torch.testing.assert_close(base.decode(tokens.codes), expected, atol=1e-5, rtol=1e-5)
    if kind == "VQModel":
        assert torch.equal(tokens.ids.flatten(), network.quantize(latents)[2][2].flatten())
        torch.testing.assert_close(tokens.codes, base.codebook[tokens.ids])


def test_a_published_scale_and_shift_count_and_others_are_measured_on_images(tmp_path):
    folder = saved(tmp_path, scaling_factor=0.5, shift_factor=0.25)
    stated = load_published(config(folder)).config
    assert (stated.latent_scale, stated.latent_shift) == (0.5, 0.25)
    own = load_published(config(folder, latent_scale=3.0)).config
    assert (own.latent_scale, own.latent_shift) == (3.0, 0.0)
    content = json.loads((folder / "config.json").read_text())
    del content["scaling_factor"], content["shift_factor"]
    (folder / "config.json").write_text(json.dumps(content))
    base = published_base(config(folder), MemoryImages(), build_fabric("cpu", 1))
    features = base.encode(MemoryImages().tensor).features.detach()
    assert float(features.mean()) == pytest.approx(0, abs=1e-4)
    assert float(features.var(correction=0)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("key", "value"), [("patch", 4), ("code_size", 5), ("codebook_size", 16)])
def test_a_stated_size_that_is_not_the_published_one_is_named(tmp_path, key, value):
    with pytest.raises(ConfigError, match=rf"tokenizer.base.{key}: expected \w+ for .*, found {value}"):
        load_published(config(saved(tmp_path), **{key: value}))


def test_other_weights_than_those_recorded_are_refused(tmp_path):
    folder = saved(tmp_path)
    recorded = load_published(config(folder)).config
    path = folder / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["decoder.conv_out.bias"] = weights["decoder.conv_out.bias"] + 1e-3
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match=f"with the sha256 {recorded.sha256}, found"):
        load_published(recorded)


def test_a_copy_in_float32_of_weights_recorded_in_float16_gives_the_same_network(tmp_path):
    network = random_autoencoder("AutoencoderKL")
    network.save_pretrained(tmp_path / "exact")
    network.half().save_pretrained(tmp_path / "half")
    recorded = load_published(config(tmp_path / "half"))
    assert recorded.config.dtype == "float16"
    again = load_published(recorded.config.model_copy(update={"pretrained": str(tmp_path / "exact")}))
    assert all(
        torch.equal(a, b) for a, b in zip(recorded.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_a_hub_id_is_found_as_a_local_copy_and_otherwise_the_message_says_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("ALIT_DATA", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        CheckpointError, match=r"someone/kl as a path, .* put config.json and .* at data/autoencoders/kl,"
    ):
        load_published(config("someone/kl"))
    random_autoencoder("AutoencoderKL").save_pretrained(tmp_path / "autoencoders/kl")
    assert load_published(config("someone/kl")).config.pretrained == "someone/kl"


def test_a_folder_without_all_weights_is_refused(tmp_path):
    folder = saved(tmp_path)
    path = folder / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    del weights["quant_conv.bias"]
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"missing keys: quant_conv.bias"):
        load_published(config(folder))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="expected an autoencoder of diffusers in"):
        load_published(config(folder))


def test_a_class_that_is_no_base_tokenizer_is_refused(tmp_path):
    folder = saved(tmp_path)
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"_class_name": "UNet2DModel"}))
    with pytest.raises(CheckpointError, match=r"AutoencoderKL, AutoencoderTiny, VQModel in .*, found UNet2DModel"):
        load_published(config(folder))


def tokenizer_config(base):
    quantized = base.codebook_size is not None
    settings = {
        "width": 16,
        "layers": 1,
        "heads": 2,
        "tokens_per_iteration": 2,
        "iterations": 3,
        "quantize": True,
        "latent_codebook_size": 16,
        "latent_code_size": 4,
        "prediction": "logits" if quantized else "regression",
        "similarity_scale": 10.0,
    }
    return TokenizerConfig(image_size=16, base=base, distillation=settings)


def distilled(base_config, scratch):
    fabric, images = build_fabric("cpu", 1), MemoryImages()
    base = published_base(base_config, images, fabric)
    return train_distillation(
        tokenizer_config(base_config),
        distill_config(),
        base,
        images,
        augmentation=Augmentation(True, 1.0),
        fabric=fabric,
        seed=0,
        scratch=scratch,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_stage_1_on_a_published_base_and_a_checkpoint_that_names_it(tmp_path, kind):
    folder = saved(tmp_path, kind)
    tokenizer = distilled(config(folder, kind), tmp_path / "scratch")
    assert is_published(tokenizer.base)
    tokenizer.save_pretrained(tmp_path / "checkpoint")
    names = load_file(tmp_path / "checkpoint/model.safetensors")
    assert names
    assert all(name.startswith("distillation.") for name in names)
    loaded = AdaptiveTokenizer.from_pretrained(tmp_path / "checkpoint")
    tokens = tokenizer.encode(images(2), length=4)
    torch.testing.assert_close(loaded.decode(tokens), tokenizer.decode(tokens), atol=1e-5, rtol=1e-5)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="expected the base tokenizer"):
        AdaptiveTokenizer.from_pretrained(tmp_path / "checkpoint")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("train_base", [False, True])
def test_stage_2_leaves_a_frozen_base_out_of_the_checkpoint_and_keeps_a_trained_one(tmp_path, kind, train_base):
    folder = saved(tmp_path, kind)
    tokenizer = distilled(config(folder, kind), tmp_path / "scratch")
    train_finetune(
        tokenizer,
        finetune_config(train_base=train_base),
        MemoryImages(),
        perceptual(),
        augmentation=Augmentation(True, 1.0),
        fabric=build_fabric("cpu", 1),
        seed=0,
        scratch=tmp_path / "scratch 2",
    )
    assert is_published(tokenizer.base) == (not train_base)
    tokenizer.save_pretrained(tmp_path / "checkpoint")
    kept = any(name.startswith("base.") for name in load_file(tmp_path / "checkpoint/model.safetensors"))
    assert kept == train_base
    if train_base:  # then nothing else is needed
        folder.rename(tmp_path / "elsewhere")
    loaded = AdaptiveTokenizer.from_pretrained(tmp_path / "checkpoint")
    tokens = tokenizer.encode(images(2), length=4)
    torch.testing.assert_close(loaded.decode(tokens), tokenizer.decode(tokens), atol=1e-5, rtol=1e-5)


def test_the_folder_of_a_stage_names_a_published_base_and_holds_a_changed_one(tmp_path):
    base = load_published(config(saved(tmp_path)))
    for name in ("as_published", "halved", "changed"):
        (tmp_path / name).mkdir()
    save_base(base, tmp_path / "as_published")
    assert load_file(tmp_path / "as_published/model.safetensors") == {}
    assert is_published(load_base(tmp_path / "as_published"))
    with torch.no_grad():
        base.last_layer.add_(1e-3)
    save_base(base, tmp_path / "changed")
    assert torch.equal(load_base(tmp_path / "changed").last_layer, base.last_layer)
    save_base(load_base(tmp_path / "as_published").half(), tmp_path / "halved")
    assert load_file(tmp_path / "halved/model.safetensors") == {}


def imagenette(count, size):
    from alit.data.images import load_images

    files = sorted((SHARED / "imagenette96/val").glob("*/*.jpg"))
    return load_images(files[:: len(files) // count][:count], size=size)


@needs_taesd
@pytest.mark.parametrize(("name", "code_size", "error"), [("taesd", 4, 0.072), ("taesd3", 16, 0.042)])
@torch.no_grad()
def test_taesd_rebuilds_photographs_as_well_as_published(monkeypatch, name, code_size, error):
    monkeypatch.setenv("ALIT_DATA", str(SHARED))
    batch = imagenette(64, 64)
    stated = {"patch": 8, "code_size": code_size, "codebook_size": None}
    base = load_published(DiffusersBaseConfig(kind="diffusers", pretrained=f"madebyollin/{name}", **stated))
    tokens = base.encode(batch)
    assert tokens.features.shape == (64, 64, code_size)
    assert float((base.decode(tokens.codes).clamp(0, 1) - batch).abs().mean()) == pytest.approx(error, abs=0.004)
    assert 0.5 < float(tokens.features.std()) < 2


def test_a_hub_id_is_found_in_the_hubs_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ALIT_DATA", str(tmp_path / "nothing"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--someone--pipeline/snapshots" / ("0" * 40)
    random_autoencoder("AutoencoderKL").save_pretrained(snapshot / "vae")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs/main").write_text("0" * 40)
    assert load_published(config("someone/pipeline/vae")).config.dtype == "float32"
