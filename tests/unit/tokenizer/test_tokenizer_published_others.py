"""Published tokenizers of others: diffusers' classes for real, and stand-ins of the same signatures for the rest.

A stand-in has the names, signatures and shapes of a repository that no package index has, and nothing of its networks.
"""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from alit.errors import CheckpointError, ConfigError
from alit.models.loading import local_copy
from alit.tokenizer.adapters import load_tokenizer
from alit.tokenizer.adapters.autoencoder import AutoencoderTokenizer
from alit.tokenizer.adapters.flextok import FlexTokTokenizer
from alit.tokenizer.adapters.karl import KARLTokenizer
from alit.tokenizer.adapters.titok import OneDPieceTokenizer, TATiTokTokenizer, TiTokTokenizer
from alit.tokenizer.protocol import checked_reconstructions, features_of, require_protocol

diffusers = pytest.importorskip("diffusers")

SMALL = {"block_out_channels": (8, 8), "down_block_types": ("DownEncoderBlock2D",) * 2, "norm_num_groups": 4}
SMALL |= {"up_block_types": ("UpDecoderBlock2D",) * 2}
BLOCKS = {
    "encoder_block_types": ("ResBlock", "EfficientViTBlock"),
    "decoder_block_types": ("ResBlock", "EfficientViTBlock"),
}
LAYERS = {f"{part}_layers_per_block": (1, 1) for part in ("encoder", "decoder")}
SCALES = {f"{part}_qkv_multiscales": ((), (5,)) for part in ("encoder", "decoder")}
CHANNELS = {f"{part}_block_out_channels": (8, 16) for part in ("encoder", "decoder")}
NETWORKS = {
    "AutoencoderKL": {**SMALL, "latent_channels": 4},
    "VQModel": {**SMALL, "latent_channels": 4, "num_vq_embeddings": 32},
    "AutoencoderTiny": {**CHANNELS, "encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
    | {"num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1)},
    "AutoencoderDC": {**BLOCKS, **LAYERS, **SCALES, **CHANNELS, "latent_channels": 4, "attention_head_dim": 8},
}
BITS = {"AutoencoderKL": 16 * 4, "VQModel": 5, "AutoencoderTiny": 16 * 4, "AutoencoderDC": 16 * 4}
IMAGES = torch.rand((2, 3, 16, 16), generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=NETWORKS)
def network(request, tmp_path):
    torch.manual_seed(0)
    made = getattr(diffusers, request.param)(**NETWORKS[request.param]).eval()
    made.save_pretrained(tmp_path)
    return made


@torch.no_grad()
def test_an_autoencoder_of_diffusers_is_measured_as_its_own_calls_rebuild(network, tmp_path):
    tokenizer = AutoencoderTokenizer(str(tmp_path), image_size=16, number_bits=32)
    require_protocol(tokenizer, "it")
    (step,) = checked_reconstructions(tokenizer, IMAGES)
    assert step.length == 64
    encoded = network.encode(2 * IMAGES - 1)
    if "latent_dist" in encoded:
        latents = encoded.latent_dist.mode()
    else:
        latents = encoded.latent if "latent" in encoded else encoded.latents
    expected = (network.decode(latents).sample.clamp(-1, 1) + 1) / 2
    torch.testing.assert_close(step.images, expected, atol=1e-5, rtol=1e-5)
    (known,) = features_of(tokenizer, IMAGES)
    if type(network).__name__ == "VQModel":
        latents = network.quantize.embedding(tokenizer._encode(2 * IMAGES - 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(known.tokens, latents.flatten(2).transpose(1, 2))


def test_bits_are_those_of_ids_or_of_rounded_numbers(network, tmp_path):
    name = type(network).__name__
    tokenizer = AutoencoderTokenizer(str(tmp_path), image_size=16)
    (step,) = checked_reconstructions(tokenizer, IMAGES)
    assert step.bits.tolist() == [64.0 * BITS[name]] * 2
    stored = tokenizer._encode(2 * IMAGES - 1)
    assert stored.dtype == (torch.int64 if name == "VQModel" else torch.float16)
    assert stored[0].numel() * (5 if name == "VQModel" else 16) == step.bits[0]


def test_a_width_that_a_network_does_not_have_is_refused(tmp_path):
    diffusers.AutoencoderKL(**NETWORKS["AutoencoderKL"]).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="number_bits: expected 16 or 32"):
        AutoencoderTokenizer(str(tmp_path), image_size=16, number_bits=8)
    with pytest.raises(ConfigError, match="image_size: expected a multiple of 2"):
        AutoencoderTokenizer(str(tmp_path), image_size=17)


def test_a_folder_of_another_class_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    with pytest.raises(CheckpointError, match="expected an autoencoder of class AutoencoderKL"):
        AutoencoderTokenizer(str(tmp_path), image_size=16)


@pytest.mark.parametrize(("hub_id", "numbers"), [("madebyollin/taesd", 4), ("madebyollin/taesd3", 16)])
@torch.no_grad()
def test_published_weights_are_taken_by_their_hub_id_and_stored_as_their_own_forward_does(hub_id, numbers, tmp_path):
    if local_copy(hub_id) is None:
        pytest.skip(f"no local copy of {hub_id}")
    options = {"folder": tmp_path, "image_size": 64, "device": torch.device("cpu")}
    tokenizer = load_tokenizer(hub_id, {"number_bits": 8}, **options)
    smooth = torch.nn.functional.interpolate(IMAGES[:, :, :4, :4], 64, mode="bicubic").clamp(0, 1)
    (step,) = checked_reconstructions(tokenizer, smooth)
    assert step.length == 64
    assert step.bits.tolist() == [64.0 * 8 * numbers] * 2
    assert (step.images - smooth).abs().mean() < 0.1
    own = (tokenizer.network(2 * smooth - 1).sample.clamp(-1, 1) + 1) / 2
    torch.testing.assert_close(step.images, own, atol=1e-4, rtol=0)


def stand_in(monkeypatch, module, name, made):
    """Put a module on Python's path whose `name` has a `from_pretrained` that gives `made`."""
    for part in (module.partition(".")[0], module):
        monkeypatch.setitem(sys.modules, part, ModuleType(part))
    kind = type(name, (), {"from_pretrained": classmethod(lambda cls, source: made)})
    setattr(sys.modules[module], name, kind)


class TiTok(nn.Module):
    """`encode` -> (vectors, {min_encoding_indices (b, 1, k)}); `decode_tokens(ids (b, 1, k))` -> images; 8 latents."""

    num_latent_tokens, quantize_mode = 8, "vq"

    def __init__(self, mode="vq"):
        super().__init__()
        settings = SimpleNamespace(codebook_size=4096, token_size=12)
        self.quantize_mode = mode
        self.config = SimpleNamespace(model=SimpleNamespace(vq_model=settings))
        self.decoder = nn.Identity()
        self.decoder.strict_length_assertion = True

    def encode(self, images):
        gray = images.mean(dim=(1, 2, 3))
        if self.quantize_mode == "vae":
            return None, SimpleNamespace(mode=lambda: gray[:, None, None, None].expand(-1, 12, 1, 8))
        vectors = torch.arange(8.0).expand(len(images), 12, 1, 8)
        return vectors, {"min_encoding_indices": (gray * 4095).long()[:, None, None].expand(-1, 1, 8)}

    def decode_tokens(self, tokens):
        if self.quantize_mode == "vae":
            assert tokens.shape[1:] == (12, 1, 8)
            return tokens[:, :1, :, :1].expand(-1, 3, 16, 16)
        assert tokens.ndim == 3
        assert self.decoder.strict_length_assertion is False or tokens.shape[2] == 8
        return (tokens[..., 0] / 4095)[..., None, None].expand(-1, 3, 16, 16)


def test_titok_has_one_length_of_ids(monkeypatch):
    stand_in(monkeypatch, "modeling.titok", "TiTok", TiTok())
    tokenizer = TiTokTokenizer("owner/titok", image_size=16)
    (step,) = checked_reconstructions(tokenizer, IMAGES)
    assert (step.length, step.bits.tolist()) == (8, [96.0, 96.0])
    torch.testing.assert_close(step.images.mean(dim=(1, 2, 3)), IMAGES.mean(dim=(1, 2, 3)), atol=1e-3, rtol=0)
    (known,) = features_of(tokenizer, IMAGES)
    assert torch.equal(known.tokens, torch.arange(8.0)[None, :, None].expand(2, 8, 12))


def test_a_continuous_titok_pays_for_its_numbers(monkeypatch):
    stand_in(monkeypatch, "modeling.titok", "TiTok", TiTok("vae"))
    tokenizer = TiTokTokenizer("owner/titok", image_size=16)
    (step,) = checked_reconstructions(tokenizer, IMAGES)
    assert step.bits.tolist() == [8 * 12 * 32.0] * 2
    (known,) = features_of(tokenizer, IMAGES)
    torch.testing.assert_close(known.tokens[:, 0, 0], IMAGES.mean(dim=(1, 2, 3)))


def test_one_d_piece_cuts_its_tokens_anywhere(monkeypatch):
    stand_in(monkeypatch, "modeling.one_d_piece", "OneDPiece", TiTok())
    tokenizer = OneDPieceTokenizer("owner/piece", image_size=16, lengths=(1, 4, 8))
    assert [step.bits[0].item() for step in checked_reconstructions(tokenizer, IMAGES)] == [12.0, 48.0, 96.0]
    assert [step.tokens.shape for step in features_of(tokenizer, IMAGES)] == [(2, 1, 12), (2, 4, 12), (2, 8, 12)]
    with pytest.raises(ConfigError, match="at most 8"):
        OneDPieceTokenizer("owner/piece", image_size=16, lengths=(16,))
    for lengths in ((), (0, 8), (8, 4)):
        with pytest.raises(ConfigError, match="expected ascending numbers from 1"):
            OneDPieceTokenizer("owner/piece", image_size=16, lengths=lengths)


def test_ta_titok_reads_one_text_for_all_images(monkeypatch):
    class TATiTok(TiTok):
        def decode_tokens(self, tokens, text_guidance):
            assert text_guidance.shape == (len(tokens), 77, 5)
            return super().decode_tokens(tokens)

    stand_in(monkeypatch, "modeling.tatitok", "TATiTok", TATiTok())
    monkeypatch.setattr("alit.tokenizer.adapters.titok.clip_features", lambda text: torch.ones(1, 77, 5))
    (step,) = checked_reconstructions(TATiTokTokenizer("owner/tatitok", image_size=16), IMAGES)
    assert step.length == 8


class FlexTok(nn.Module):
    """`tokenize(images)` -> list of (1, 256) ids; `detokenize(list of (1, l) ids, generator=, ...)` -> (b, 3, h, w)."""

    downsample_factor, regularizer = 8, SimpleNamespace(codebook_size=64000)

    def tokenize(self, images):
        return [torch.full((1, 256), int(1000 * (1 + each.mean()))) for each in images]

    def detokenize(
        self, token_ids_list, vae_image_sizes, timesteps, generator, verbose, guidance_scale, perform_norm_guidance
    ):
        assert (vae_image_sizes, timesteps, guidance_scale, perform_norm_guidance, verbose) == (2, 20, 7.5, True, False)
        gray = torch.cat([ids[:, 0] for ids in token_ids_list]) / 1000 - 1
        noise = torch.rand((len(gray), 3, 16, 16), generator=generator) - 0.5
        return gray[:, None, None, None] + noise / token_ids_list[0].shape[1]


def test_flextok_draws_alike_for_an_image_in_any_batch(monkeypatch):
    stand_in(monkeypatch, "flextok.flextok_wrapper", "FlexTokFromHub", FlexTok())
    tokenizer = FlexTokTokenizer("owner/flextok", image_size=16, lengths=(1, 16, 256))
    together = list(checked_reconstructions(tokenizer, IMAGES))
    alone = list(checked_reconstructions(tokenizer, IMAGES[1:]))
    assert [step.bits[0].item() for step in together] == [16.0, 256.0, 4096.0]
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(one.images[1:], other.images)
    with pytest.raises(ConfigError, match="at most 256"):
        list(checked_reconstructions(FlexTokTokenizer("owner/f", image_size=16, lengths=(512,)), IMAGES))


class KARL(nn.Module):
    """`encode(images, input_token_budget=[t], desired_reconstruction_quality=)` -> ([], [images], logs); one image."""

    def __init__(self):
        super().__init__()
        self.halting_mlp, self.quantize = nn.Linear(1, 1), SimpleNamespace(codebook_size=4096)
        nn.init.ones_(self.halting_mlp.weight)
        nn.init.zeros_(self.halting_mlp.bias)

    def encode(self, imgs, input_token_budget, desired_reconstruction_quality):
        assert len(imgs) == 1
        print("approx. kolmogorov complexity")
        kept = round(1 / desired_reconstruction_quality)
        logits = torch.where(torch.arange(input_token_budget[0]) < kept, -5.0, 5.0)
        self.halting_mlp(logits[None, :, None])
        return [], [imgs * (1 - desired_reconstruction_quality)], []


def test_karl_keeps_as_many_tokens_as_its_wanted_loss_takes(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "kolmogorov_tokenizers", ModuleType("kolmogorov_tokenizers"))
    sys.modules["kolmogorov_tokenizers"].karl_small = lambda **arguments: KARL()
    torch.save({"ema": KARL().state_dict()}, tmp_path / "karl.pth")
    tokenizer = KARLTokenizer(str(tmp_path / "karl.pth"), image_size=16, losses=(0.1, 0.05), budget=64)
    steps = list(checked_reconstructions(tokenizer, IMAGES))
    assert [step.length for step in steps] == [1, 2]
    assert [step.tokens.tolist() for step in steps] == [[10.0, 10.0], [20.0, 20.0]]
    assert steps[1].bits.tolist() == [20 * 12 + 64.0] * 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("make", "repository"),
    [
        (lambda: TiTokTokenizer("a/b"), "bytedance/1d-tokenizer"),
        (lambda: OneDPieceTokenizer("a/b"), "turingmotors/One-D-Piece"),
        (lambda: FlexTokTokenizer("a/b"), "apple/ml-flextok"),
        (lambda: KARLTokenizer("karl.pth"), "ShivamDuggal4/karl"),
    ],
)
def test_a_repository_that_is_not_there_is_one_line_that_names_it(make, repository):
    with pytest.raises(ConfigError, match=f"put a checkout of {repository} on PYTHONPATH"):
        make()
