"""The linear path around the distillation: principal components of image tokens, whatever the networks add."""

import pytest
import torch
from einops import rearrange
from tiny import images, tokenizer, tokenizer_config

from alit.models.linear_path import LatentLinearPath

LINEAR = {"quantize": False, "linear_path": True}
BASES = [({"kind": "vae"}, {}), ({"kind": "vqgan"}, {"prediction": "regression"})]


def image_tokens(count, seed=0):
    """Correlated image tokens (count, 16, 4)."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(64, 64, generator=generator) * torch.logspace(1, -2, 64)
    return rearrange(torch.randn(count, 64, generator=generator) @ mixing.T + 3, "b (n c) -> b n c", n=16)


@pytest.mark.parametrize("length", [2, 4, 6])
def test_each_length_keeps_the_largest_components_that_fit_it(length):
    path, tokens = LatentLinearPath(16, 4, latents=6, latent_code_size=6), image_tokens(500)
    path.fit(tokens.split(90))
    numbers = path.encode(tokens, length)
    assert numbers.shape == (500, length, 6)
    flat = tokens.flatten(1)
    mean = flat.mean(dim=0)
    components = torch.linalg.svd((flat - mean).double(), full_matrices=False).Vh[: 6 * length].float()
    kept = (flat - mean) @ components.T @ components + mean
    torch.testing.assert_close(path.decode(numbers).flatten(1), kept, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(numbers.std(dim=0, correction=0), torch.ones(length, 6), atol=1e-3, rtol=1e-3)


def test_fewer_images_than_components_leave_the_others_silent():
    path, tokens = LatentLinearPath(16, 4, latents=6, latent_code_size=6), image_tokens(10)
    path.fit([tokens])
    rebuilt = path.decode(path.encode(tokens, 6))
    torch.testing.assert_close(rebuilt, tokens, atol=1e-2, rtol=1e-3)
    assert torch.isfinite(path.encode(image_tokens(4, seed=1), 6)).all()


@pytest.mark.parametrize(("base", "changes"), BASES)
def test_at_first_the_path_acts_nearly_alone(base, changes):
    model, batch = tokenizer(tokenizer_config(base, **LINEAR, **changes)), images(8, seed=3)
    with torch.no_grad():
        features = model.base.encode(batch).features
        for step in model.rollout(batch):
            alone = model.distillation.linear.encode(features, step.length)
            assert (step.codes - alone).abs().mean() < 0.05
            near = (step.predicted_codes - model.distillation.linear.decode(step.codes)).abs().mean()
            assert near < 0.05 * features.std()


@pytest.mark.parametrize(("base", "changes"), BASES)
def test_gradients_reach_every_parameter_but_those_of_the_path(base, changes):
    model, batch = tokenizer(tokenizer_config(base, **LINEAR, **changes)), images(2)
    tokens = model.base.encode(batch)
    steps = model.distillation.iterate(batch, tokens, model.base.codebook)
    sum((step.prediction.codes - tokens.codes.detach()).square().mean() for step in steps).backward()
    untouched = {
        name for name, p in model.distillation.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    }
    path = {f"linear.{name}" for name in ("mean", "components", "deviations")}
    assert untouched == path | {"encoder.mask_token"}  # which halting alone uses


def test_it_travels_with_the_checkpoint(tmp_path):
    model, batch = tokenizer(tokenizer_config({"kind": "vae"}, **LINEAR)), images(3)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(str(tmp_path))
    assert torch.equal(again.encode(batch, length=4).values, model.encode(batch, length=4).values)
    assert not any(parameter.requires_grad for parameter in again.distillation.linear.parameters())


def test_settings_without_a_linear_path_are_written_as_before():
    assert "linear_path" not in tokenizer_config().distillation.model_dump()
    assert tokenizer_config({"kind": "vae"}, **LINEAR).distillation.model_dump()["linear_path"] is True


@pytest.mark.parametrize(
    ("base", "changes", "reason"),
    [
        ({"kind": "vae"}, {"quantize": True}, "quantize: false"),
        ({"kind": "vqgan"}, {"prediction": "logits"}, "prediction: regression"),
        ({"kind": "vae"}, {"latent_code_size": 11}, "at most 64 numbers in all, found 66"),
        ({"kind": "vae", "code_size": 4}, {"image_size": 256}, "at most 8192 numbers in all, found 16384"),
    ],
)
def test_settings_that_no_linear_path_fits_are_refused(base, changes, reason):
    with pytest.raises(ValueError, match=reason):
        tokenizer_config(base, **LINEAR | changes)
