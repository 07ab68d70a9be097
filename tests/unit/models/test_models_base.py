import pytest
import torch
from tiny import base_config, images

from alit.models.loading import build_base

KINDS = ["vqgan", "vae"]


def build(**changes):
    torch.manual_seed(0)
    return build_base(base_config(**changes)).eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("stem", "multipliers", "size"),
    [(1, (1,), 8), (1, (1, 2), 12), (1, (1, 1, 2, 2), 32), (2, (1, 2), 12), (4, (1,), 8)],
)
def test_any_patch_and_size_gives_a_raster_of_tokens_and_the_image_size_back(kind, stem, multipliers, size):
    base = build(kind=kind, stem=stem, multipliers=multipliers)
    patch = stem * 2 ** (len(multipliers) - 1)
    assert base.config.patch == patch
    tokens = base.encode(images(2, size))
    assert tokens.features.shape == tokens.codes.shape == (2, (size // patch) ** 2, 4)
    assert base.decode(tokens.codes).shape == (2, 3, size, size)


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_of_an_image_do_not_depend_on_its_batch(kind):
    base, batch = build(kind=kind), images(3)
    together, alone = base.encode(batch), base.encode(batch[1:2])
    torch.testing.assert_close(together.features[1:2], alone.features, atol=1e-5, rtol=1e-5)
    if kind == "vqgan":
        assert torch.equal(together.ids[1:2], alone.ids)


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_in_raster_order(kind):
    base, batch = build(kind=kind), images(1)
    maps = base.encoder(batch)
    if kind == "vae":
        maps = base.moments(maps)[:, :4] * 0.2325
    features = base.encode(batch).features
    for row in range(4):
        for column in range(4):
            torch.testing.assert_close(features[:, 4 * row + column], maps[:, :, row, column])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter(kind):
    base = build(kind=kind, level_attention=kind == "vae")
    tokens = base.encode(images(2))
    (base.decode(tokens.codes).square().mean() + tokens.loss).backward()
    missing = [name for name, p in base.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert missing == []


def test_vqgan_codes_are_rows_of_the_codebook_and_unit_codes_have_norm_one():
    base = build(unit_codes=True)
    tokens = base.encode(images(2))
    torch.testing.assert_close(base.codebook[tokens.ids], tokens.codes, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(tokens.features.norm(dim=-1), torch.ones(2, 16))


def test_the_vae_encodes_its_mode_deterministically_and_samples_when_asked():
    mode, sampling = build(kind="vae"), build(kind="vae", sample_posterior=True)
    batch = images(1)
    assert torch.equal(mode.encode(batch).codes, mode.encode(batch).codes)
    assert not torch.equal(sampling.encode(batch).codes, sampling.encode(batch).codes)


def test_rescaled_decoding_undoes_the_latent_scale():
    plain, rescaled = build(kind="vae", rescale_decode=False), build(kind="vae", rescale_decode=True)
    codes = torch.randn(1, 16, 4)
    torch.testing.assert_close(rescaled.decode(codes * 0.2325), plain.decode(codes), atol=1e-4, rtol=1e-4)


def test_the_kl_loss_is_zero_for_a_standard_normal_posterior():
    base = build(kind="vae")
    torch.nn.init.zeros_(base.moments.weight)
    torch.nn.init.zeros_(base.moments.bias)
    assert base.encode(images(2)).loss == 0


def test_a_width_changing_vqgan_block_drops_its_input_as_published():
    base = build(multipliers=(1, 2))
    block = base.encoder.levels[1][0]
    torch.nn.init.zeros_(block.conv2.weight)
    assert torch.count_nonzero(block(torch.randn(1, 4, 8, 8))) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_with_a_linear_path_the_networks_start_near_principal_components(kind):
    base = build(kind=kind, linear_path=True, latent_scale=1.0)
    plain = base_config(kind=kind)
    patch, batch = plain.patch, images(64)
    base.linear.fit(batch.split(24))
    patches = torch.nn.functional.pixel_unshuffle(batch, patch).permute(0, 2, 3, 1).flatten(0, 2)
    centered = patches - patches.mean(dim=0)
    components = torch.linalg.svd(centered.double(), full_matrices=False).Vh[:4].float()
    kept = centered @ components.T @ components + patches.mean(dim=0)
    rebuilt = base.linear.decode(base.linear.encode(batch))
    rebuilt = torch.nn.functional.pixel_unshuffle(rebuilt, patch).permute(0, 2, 3, 1).flatten(0, 2)
    torch.testing.assert_close(rebuilt, kept, atol=1e-4, rtol=1e-4)
    assert (base.encode(batch).features - base.linear.encode(batch).flatten(2).mT).abs().mean() < 0.05
    codes = base.linear.encode(batch).flatten(2).mT
    assert (base.decode(codes) - base.linear.decode(base.linear.encode(batch))).abs().mean() < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_a_code_error_of_the_linear_path_is_a_pixel_error(kind):
    base = build(kind=kind, linear_path=True)
    codes = torch.randn(2, 4, 4, 4)
    moved = codes + torch.randn(2, 4, 4, 4)
    pixels = (base.linear.decode(moved) - base.linear.decode(codes)).square().sum()
    torch.testing.assert_close(pixels, (moved - codes).square().sum())


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter_around_a_linear_path(kind):
    base = build(kind=kind, linear_path=True)
    tokens = base.encode(images(2))
    (base.decode(tokens.codes).square().mean() + tokens.loss).backward()
    assert [name for name, p in base.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_settings_without_a_linear_path_are_written_as_before():
    assert "linear_path" not in base_config().model_dump()
    assert base_config(linear_path=True).model_dump()["linear_path"] is True


def test_a_linear_path_needs_plain_codes_no_longer_than_a_patch():
    with pytest.raises(ValueError, match="unit_codes"):
        base_config(linear_path=True, unit_codes=True)
    with pytest.raises(ValueError, match="at most"):
        base_config(linear_path=True, code_size=10_000)
    with pytest.raises(ValueError, match="rescale_decode"):
        base_config(kind="vae", linear_path=True, rescale_decode=False)


def test_a_posterior_sample_around_a_linear_path_starts_near_its_mode():
    base = build(kind="vae", linear_path=True, sample_posterior=True)  # latent_scale is the published 0.2325
    batch = images(4)
    rebuilt, plain = base.decode(base.encode(batch).codes), base.linear.decode(base.linear.encode(batch))
    assert (rebuilt - plain).abs().mean() < 0.05
