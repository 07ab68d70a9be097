"""FLOPs of encoding one image at the published small size: `python benchmarks/encode_cost.py [-o FILE]`.

Counted by torch's FLOP counter while a tokenizer with random weights runs: width 1024, 8 + 8 layers, 256 px, VQGAN.
Takes minutes on a CPU. `bars` are what the encoding must not exceed; exits with 1 where it does.
"""

from common import gigaflops, read_profile, write_result  # isort: skip - before torch

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alit.tokenizer.encoding import Rollout, encode_to_length, encode_until
from alit.tokenizer.tokenizer import AdaptiveTokenizer

FIXED_BARS = {32: 190, 64: 258, 128: 415, 160: 505, 256: 818}  # GFLOP
UNTIL_BARS = {32: 439, 64: 764, 128: 1456, 160: 1824, 256: 3017}
EAGER = 3017  # every iteration with latent and pixel decode, whatever length is asked for
SCREENED_GAIN = 1.5  # at 160 tokens, latent screening against decoding pixels each iteration


class StopAt:
    """A criterion that is satisfied at a length, whatever the image: what a rollout to that length costs."""

    sees_image_tokens = False

    def __init__(self, length: int, screen: "StopAt | None" = None, *, sees_pixels: bool = True) -> None:
        self.length = length
        self.screen = screen
        self.sees_pixels = sees_pixels

    def __call__(self, images: Tensor, rollout: Rollout) -> Tensor:
        """Return (b,) bool."""
        return torch.full((len(images),), rollout.length >= self.length)


@torch.no_grad()
def measure() -> dict[str, Any]:
    """Return the table that is written."""
    config = read_profile("paper").tokenizer
    tokenizer = AdaptiveTokenizer(config).eval()
    image = torch.rand(1, 3, config.image_size, config.image_size, generator=torch.Generator().manual_seed(0))
    fixed = {n: gigaflops(lambda n=n: encode_to_length(tokenizer, image, n)) for n in FIXED_BARS}
    until = {n: gigaflops(lambda n=n: encode_until(tokenizer, image, StopAt(n))) for n in UNTIL_BARS}
    screened = {n: gigaflops(lambda n=n: encode_until(tokenizer, image, StopAt(n, StopAt(n)))) for n in UNTIL_BARS}
    return {
        "command": "python benchmarks/encode_cost.py",
        "unit": "GFLOP for one image of 256 px",
        "fixed_length": fixed,
        "until_l1": until,
        "until_l1_screened": screened,
        "eager_all_iterations": EAGER,
        "bars": {"fixed_length": FIXED_BARS, "until_l1": UNTIL_BARS, "screened_gain_at_160": SCREENED_GAIN},
    }


def main() -> None:
    """Measure, print, write, and compare with the bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    result = measure()
    write_result(result, arguments.output)
    over = [n for n, bar in FIXED_BARS.items() if result["fixed_length"][n] > bar]
    over += [n for n, bar in UNTIL_BARS.items() if result["until_l1"][n] > bar]
    gain = result["until_l1"][160] / result["until_l1_screened"][160]
    sys.exit(1 if over or gain < SCREENED_GAIN else 0)


if __name__ == "__main__":
    main()
