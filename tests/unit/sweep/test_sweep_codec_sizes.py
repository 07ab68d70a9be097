"""The codec baseline beside each image's complexity."""

import torch

from alit.sweep.engine import CODEC_QUALITY, file_sizes
from alit.tokenizer.adapters import compress


def test_a_busy_image_makes_a_larger_file_than_a_flat_one():
    flat = torch.full((1, 3, 32, 32), 0.5)
    busy = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for codec in ("jpeg", "webp"):
        small, large = file_sizes(torch.cat([flat, busy]), codec)
        assert 0 < small < large


def test_sizes_are_those_of_the_files_of_the_8_bit_images():
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    pixels = (image[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    assert file_sizes(image, "jpeg").tolist() == [len(compress(pixels, "jpeg", CODEC_QUALITY))]
