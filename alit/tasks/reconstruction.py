"""Pixel errors: mean absolute and squared error, PSNR and SSIM, each per image."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alit.errors import DataError, require
from alit.tasks.protocol import ROUNDING, SweepBatch


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
