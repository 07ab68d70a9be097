import pytest
import tiny
import torch
from training_cases import SEED, MemoryImages, distill_config, finetune_config, optimization

from alit.models.loading import build_base
from alit.training.base import start_linear_path
from alit.training.distill import train_distillation
from alit.training.engine.fabric import build_fabric
from alit.training.engine.loader import Augmentation
from alit.training.finetune import select_trained


def started(kind):
    torch.manual_seed(0)
    base = build_base(tiny.base_config(kind=kind, linear_path=True, code_size=8, latent_scale=1.0)).eval()
    images = MemoryImages()
    start_linear_path(base, images, seed=4)
    return base, images.images(range(24))


@pytest.mark.parametrize("kind", ["vqgan", "vae"])
def test_a_linear_path_starts_from_the_training_images_alike_in_each_process(kind):
    base, images = started(kind)
    again, _ = started(kind)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in base.state_dict().items())
    with torch.no_grad():
        untrained = torch.nn.functional.l1_loss(base.decode(base.encode(images).codes), images)
        gray = torch.nn.functional.l1_loss(images.mean(dim=(0, 2, 3), keepdim=True).expand_as(images), images)
    assert untrained < gray * 2 / 3  # sixteen codes for all patches


def test_a_codebook_starts_from_the_centers_of_training_patches():
    base, images = started("vqgan")
    tokens = base.encode(images)
    assert len(tokens.ids.unique()) == base.quantizer.size
    with torch.no_grad():
        around = base.linear.encode(images).flatten(2).mT.flatten(0, 1)
        error = torch.cdist(around, base.codebook).min(dim=1).values.square().mean()
    assert error < 0.5 * around.var(dim=0).sum()


def new_vae():
    torch.manual_seed(0)
    return build_base(tiny.base_config(kind="vae", latent_scale=1.0)).eval()


def train_continuous(base, folder, *, flip, steps):
    """Return the distillation of a continuous tokenizer around a linear path, after so many steps of stage 1."""
    tokenizer = train_distillation(
        tiny.tokenizer_config({"kind": "vae", "latent_scale": 1.0}, quantize=False, linear_path=True),
        distill_config(optimization=optimization(steps=steps)),
        base,
        MemoryImages(),
        augmentation=Augmentation(flip, 1.0),
        fabric=build_fabric("cpu", 1),
        seed=SEED,
        scratch=folder,
    )
    return tokenizer.distillation


@pytest.mark.parametrize("flip", [False, True])
def test_latents_start_from_the_components_of_training_images_and_their_mirror_images(flip, tmp_path):
    base, views = new_vae(), MemoryImages().images(range(24))
    with torch.no_grad():
        features = base.encode(torch.cat([views, views.flip(-1)] if flip else [views])).features.flatten(1)
    path = train_continuous(base, tmp_path, flip=flip, steps=0).linear
    torch.testing.assert_close(path.mean, features.mean(dim=0), atol=1e-4, rtol=1e-4)
    variances = torch.linalg.svdvals((features - features.mean(dim=0)).double()).square()[:20] / len(features)
    torch.testing.assert_close(path.deviations[:20], variances.sqrt().float(), atol=1e-4, rtol=1e-2)


def test_training_leaves_the_path_of_latents_as_it_is(tmp_path):
    before = train_continuous(new_vae(), tmp_path / "start", flip=True, steps=0)
    after = train_continuous(new_vae(), tmp_path / "trained", flip=True, steps=6)
    path = before.linear.state_dict()
    assert all(torch.equal(tensor, path[name]) for name, tensor in after.linear.state_dict().items())
    assert not torch.equal(after.encoder.to_code.weight, before.encoder.to_code.weight)


def test_stage_2_does_not_train_the_path_of_latents_either():
    tokenizer = tiny.tokenizer(tiny.tokenizer_config({"kind": "vae"}, quantize=False, linear_path=True))
    tokenizer.requires_grad_(True)  # as stage 2 leaves it
    trained = {id(parameter) for parameter in select_trained(tokenizer, finetune_config())}
    path = {id(parameter) for parameter in tokenizer.distillation.linear.parameters()}
    assert trained
    assert trained.isdisjoint(path)
