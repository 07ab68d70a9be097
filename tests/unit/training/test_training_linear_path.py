import pytest
import tiny
import torch
from training_cases import MemoryImages

from alit.models.loading import build_base
from alit.training.base import start_linear_path


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
