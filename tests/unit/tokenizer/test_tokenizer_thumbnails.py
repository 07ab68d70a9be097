"""Thumbnails: the frames are the tokenizer's reconstructions, the maps its attention."""

import io

import numpy as np
import pytest
import tiny
from PIL import Image

from alit.data.images import to_8_bit
from alit.errors import ConfigError
from alit.tokenizer import thumbnails
from alit.tokenizer.adapters import CodecTokenizer
from alit.tokenizer.thumbnails import thumbnails_of


def opened(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("changes", [{}, {"quantize": False}])
def test_small_images_are_kept_exactly_at_every_length(changes):
    tokenizer, images = tiny.tokenizer(tiny.tokenizer_config(**changes)), tiny.images(2)
    made = thumbnails_of(tokenizer, images, layer=1)
    frames = [images, *(step.images for step in tokenizer.reconstructions(images))]
    for row, each in enumerate(made):
        strip = opened(each.strip)
        assert strip.shape == (16, 16 * len(frames), 3)
        for place, frame in enumerate(frames):
            expected = to_8_bit(frame[row]).transpose(1, 2, 0)
            assert (strip[:, 16 * place : 16 * (place + 1)] == expected).all()


def test_maps_are_the_attention_to_each_latent_at_the_longest_length():
    tokenizer, images = tiny.tokenizer(), tiny.images(2)
    made = thumbnails_of(tokenizer, images, layer=2)
    *_, last = tokenizer.rollout(images, attention=True)
    assert made[1].latents == (1, 2, 3, 4, 5, 6)
    maps = opened(made[1].maps)
    assert maps.shape == (4, 6 * 4)
    for latent in range(6):
        weights = last.attention[1, 1, :, latent].detach().numpy().reshape(4, 4)
        np.testing.assert_allclose(
            maps[:, 4 * latent : 4 * latent + 4], 255 * np.sqrt(weights / weights.max()), atol=0.51
        )


def test_a_tokenizer_that_does_not_say_where_it_looks_has_no_maps():
    codec = CodecTokenizer("jpeg", image_size=16, qualities=(10, 90))
    made = thumbnails_of(codec, tiny.images(2), layer=1)
    assert [(each.maps, each.latents) for each in made] == [(b"", ())] * 2
    assert opened(made[0].strip).shape == (16, 16 * 3, 3)


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="expected one of 2, found 3"):
        thumbnails_of(tiny.tokenizer(), tiny.images(1), layer=3)


def test_many_latents_are_thinned_evenly(monkeypatch):
    monkeypatch.setattr(thumbnails, "MOST_MAPS", 3)
    (made,) = thumbnails_of(tiny.tokenizer(), tiny.images(1), layer=1)
    assert made.latents == (1, 3, 6)
    assert opened(made.maps).shape == (4, 12)


def test_large_images_are_shrunk(monkeypatch):
    monkeypatch.setattr(thumbnails, "LOSSLESS_SIDE", 4)
    monkeypatch.setattr(thumbnails, "LARGEST_SIDE", 8)
    (made,) = thumbnails_of(tiny.tokenizer(), tiny.images(1), layer=1)
    assert opened(made.strip).shape == (8, 8 * 4, 3)
