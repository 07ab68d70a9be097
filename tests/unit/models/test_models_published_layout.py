"""Our VQGAN and KL-VAE compute what published files of theirs mean: golden tensors, diffusers, and names both ways."""

import pytest
import torch
from checkout import GOLDEN
from published_layout_files import base_part, published_file
from safetensors.torch import load_file
from tiny import base_config, images

from alit.errors import CheckpointError
from alit.models.loading import build_base, is_published, load_base, load_published, save_base
from alit.tokenizer.published import load_published as load_published_tokenizer

needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no golden tensors at {GOLDEN.name}/")


@needs_golden
@torch.no_grad()
def test_a_published_vqgan_gives_the_golden_ids(tmp_path):
    weights = base_part(load_file(GOLDEN / "vqgan_quantized.weights.safetensors"), "vqgan")
    golden = load_file(GOLDEN / "vqgan_quantized.golden.safetensors")
    config = load_published_tokenizer(GOLDEN / "vqgan_quantized.weights.safetensors", heads=4).config.base
    path = tmp_path / "vqgan.ckpt"
    torch.save({"state_dict": weights | {"loss.discriminator.weight": torch.zeros(2)}}, path)
    base = load_published(config.model_copy(update={"pretrained": str(path)}))
    assert torch.equal(base.encode(golden["images"]).ids, golden["base_ids"])


@needs_golden
@torch.no_grad()
def test_a_published_vae_is_the_one_inside_the_authors_checkpoint(tmp_path):
    path = GOLDEN / "vae_quantized.weights.safetensors"
    expected = load_published_tokenizer(path, heads=4).base
    torch.save({"model": base_part(load_file(path), "vae")}, tmp_path / "kl16.ckpt")
    base = load_published(expected.config.model_copy(update={"pretrained": str(tmp_path)}))
    batch = images(2, 64)
    assert torch.equal(base.encode(batch).codes, expected.encode(batch).codes)


MUSE = (("mid.block_1.", "mid.0."), ("mid.block_2.", "mid.1."), ("upsample.conv.", "upsample_conv."))


@pytest.mark.parametrize(
    ("changes", "renaming"),
    [
        ({"kind": "vqgan", "multipliers": (1, 1, 2), "blocks": 2}, ()),
        ({"kind": "vqgan", "multipliers": (1, 1, 2), "blocks": 2}, MUSE),
        ({"kind": "vae", "multipliers": (1, 2, 2), "blocks": 2, "level_attention": True}, ()),
    ],
)
def test_every_tensor_of_a_published_file_is_read(tmp_path, changes, renaming):
    base = build_base(base_config(**changes))
    loaded = load_published(published_file(base, tmp_path / "model.safetensors", renaming))
    for name, value in base.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_a_file_of_another_network_is_refused_by_the_name_of_a_tensor(tmp_path):
    config = published_file(build_base(base_config()), tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"quantizer.embedding has shape \(16, 4\), expected \(32, 4\)"):
        load_published(config.model_copy(update={"codebook_size": 32}))
    published_file(build_base(base_config(blocks=2)), tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"unknown tensor decoder.levels.0.1.conv1.weight \(36 in all\)"):
        load_published(config)


def test_the_folder_of_a_stage_names_the_published_file(tmp_path):
    config = published_file(build_base(base_config()), tmp_path / "model.safetensors")
    base = load_published(config)
    (tmp_path / "base").mkdir()
    save_base(base, tmp_path / "base")
    assert load_file(tmp_path / "base/model.safetensors") == {}
    loaded = load_base(tmp_path / "base")
    assert loaded.config == base.config
    assert is_published(loaded)
    torch.testing.assert_close(loaded.encode(images(2)).features, base.encode(images(2)).features)


def test_settings_without_an_origin_are_written_as_before():
    assert not {"pretrained", "sha256", "dtype"} & set(base_config().model_dump(mode="json"))
    named = base_config(pretrained="owner/name/file.ckpt").model_dump(mode="json")
    assert named["pretrained"] == "owner/name/file.ckpt"


DIFFUSERS_PARTS = (
    ("downsamplers.0.conv", "downsample"),
    ("upsamplers.0.conv", "upsample"),
    ("conv_shortcut", "shortcut"),
    ("conv_norm_out", "norm_out"),
    ("quant_conv", "moments"),
    ("post_moments", "latents_in"),
    ("group_norm", "norm"),
    ("to_q", "query"),
    ("to_k", "key"),
    ("to_v", "value"),
    ("to_out.0", "out"),
)


def our_name(name):
    """Translate a tensor's name in diffusers' AutoencoderKL, whose last encoder level has attention."""
    for theirs, ours in DIFFUSERS_PARTS:
        name = name.replace(theirs, ours)
    side, *rest = name.split(".")
    if rest[0] == "mid_block":
        place = {("resnets", "0"): 0, ("attentions", "0"): 1, ("resnets", "1"): 2}[rest[1], rest[2]]
        return ".".join([side, "middle", str(place), *rest[3:]])
    if rest[0] in ("down_blocks", "up_blocks"):
        level = int(rest[1])
        if rest[2] in ("downsample", "upsample"):
            return f"{side}.{rest[2]}s.{level}.conv.{rest[3]}"
        attended = side == "encoder" and level == 2
        slot = int(rest[3]) * (2 if attended else 1) + (rest[2] == "attentions")
        return ".".join([side, "levels", str(level), str(slot), *rest[4:]])
    return name


@torch.no_grad()
def test_our_vae_is_the_autoencoder_kl_of_diffusers():
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    network = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 32, 64),
        layers_per_block=2,
        latent_channels=4,
    ).eval()
    settings = {"channels": 32, "multipliers": (1, 1, 2), "blocks": 2, "level_attention": True, "latent_scale": 0.5}
    base = build_base(base_config(kind="vae", **settings)).eval()
    shapes = {name: value.shape for name, value in base.state_dict().items()}
    weights = {our_name(name): value for name, value in network.state_dict().items()}
    base.load_state_dict({name: value.reshape(shapes[name]) for name, value in weights.items()})  # linear to 1x1
    batch = images(2, 32)
    posterior, tokens = network.encode(batch).latent_dist, base.encode(batch)
    torch.testing.assert_close(tokens.codes, 0.5 * posterior.mode().flatten(2).transpose(1, 2), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(tokens.loss, posterior.kl().mean(), atol=1e-3, rtol=1e-4)
    expected = network.decode(posterior.mode()).sample
    torch.testing.assert_close(base.decode(tokens.codes), expected, atol=1e-4, rtol=1e-4)
