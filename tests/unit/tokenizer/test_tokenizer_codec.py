import pytest
import torch
from PIL import features
from tiny import images

from alit.errors import ConfigError
from alit.tokenizer.adapters import CodecTokenizer
from alit.tokenizer.protocol import Tokenizer

FORMATS = [
    pytest.param(name, marks=pytest.mark.skipif(name != "jpeg" and not features.check(name), reason=f"no {name}"))
    for name in ("jpeg", "webp", "avif")
]


@pytest.fixture
def smooth():
    coarse = images(3, 4)
    return torch.nn.functional.interpolate(coarse, size=32, mode="bilinear")


@pytest.mark.parametrize("name", FORMATS)
def test_a_codec_follows_the_protocol_and_pays_bits_for_quality(name, smooth):
    codec = CodecTokenizer(name, image_size=32)
    assert isinstance(codec, Tokenizer)
    steps = list(codec.reconstructions(smooth))
    assert tuple(step.length for step in steps) == codec.lengths
    assert all(step.images.shape == smooth.shape for step in steps)
    first, last = steps[0], steps[-1]
    assert (last.bits > first.bits).all()
    assert (last.images - smooth).abs().mean() < (first.images - smooth).abs().mean()
    assert (last.images - smooth).abs().mean() < 0.03


def test_an_images_file_does_not_depend_on_its_batch(smooth):
    codec = CodecTokenizer("jpeg", image_size=32)
    for together, alone in zip(codec.reconstructions(smooth), codec.reconstructions(smooth[1:2]), strict=True):
        assert together.bits[1] == alone.bits[0]
        assert torch.equal(together.images[1], alone.images[0])


def test_qualities_that_do_not_ascend_are_refused():
    for qualities in ((5, 5), (10, 5), (50, 101)):
        with pytest.raises(ConfigError, match="ascending"):
            CodecTokenizer("jpeg", image_size=32, qualities=qualities)
