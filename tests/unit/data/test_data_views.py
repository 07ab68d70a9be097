"""Views of images, and the order in which training sees them."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alit.data.images import center_map, center_view, read_image, to_images, to_png
from alit.training.engine.loader import batch_indices


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 3), st.integers(0, 5))
def test_an_epoch_visits_each_image_at_most_once_and_misses_only_a_remainder(batch_size, length, epoch, seed):
    batches = length // batch_size
    if batches == 0:
        return
    steps = range(epoch * batches, (epoch + 1) * batches)
    seen = torch.cat([batch_indices(step, batch_size, length, seed) for step in steps])
    assert len(seen) == batches * batch_size
    assert len(set(seen.tolist())) == len(seen)
    assert set(seen.tolist()) <= set(range(length))
    assert length - len(seen) < batch_size


def test_batches_depend_on_the_step_alone():
    forward = [batch_indices(step, 4, 30, seed=1) for step in range(20)]
    backward = [batch_indices(step, 4, 30, seed=1) for step in reversed(range(20))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True))


def test_epochs_and_seeds_give_other_orders():
    first = torch.cat([batch_indices(step, 10, 100, 0) for step in range(10)])
    second = torch.cat([batch_indices(step, 10, 100, 0) for step in range(10, 20)])
    other = torch.cat([batch_indices(step, 10, 100, 1) for step in range(10)])
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)


def test_changing_a_batch_leaves_later_ones_alone():
    batch_indices(0, 4, 8, 0).fill_(-1)
    assert batch_indices(0, 4, 8, 0).min() >= 0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(0, 30))
def test_a_batch_larger_than_the_set_cycles_through_whole_permutations(length, step):
    batch_size = 3 * length + 2
    before, batch = (batch_indices(one, batch_size, length, 3) for one in (step, step + 1))
    assert batch.shape == (batch_size,)
    assert batch.dtype == torch.int64
    stream = torch.cat([batch_indices(one, batch_size, length, 3) for one in range(length)])
    assert torch.bincount(stream, minlength=length).tolist() == [batch_size] * length
    assert np.ptp(torch.bincount(torch.cat([before, batch]), minlength=length).numpy()) <= 2


@pytest.mark.parametrize(("batch_size", "length"), [(4, 0), (0, 4)])
def test_an_empty_set_or_batch_is_refused(batch_size, length):
    with pytest.raises(ValueError, match="expected"):
        batch_indices(0, batch_size, length, 0)


def test_views_take_the_center_square():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    assert (center_view(wide, 10) == 200).all()
    assert (center_view(wide.transpose(1, 0, 2).copy(), 10) == 200).all()


def test_a_view_of_the_right_size_is_untouched():
    square = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(center_view(square, 8), square)


@pytest.mark.parametrize("shape", [(1, 5000, 3), (5000, 1, 3), (1, 1, 3)])
def test_extremely_thin_images_give_a_view(shape):
    view = center_view(np.full(shape, 77, np.uint8), 32)
    assert view.shape == (32, 32, 3)
    assert (view == 77).all()


def test_views_of_maps_invent_no_value():
    instances = np.random.default_rng(0).integers(0, 4, (40, 50), dtype=np.uint8) * 50
    assert set(np.unique(center_map(instances, 16))) <= set(np.unique(instances))
    assert center_map(instances.astype(np.float32), 16).dtype == np.float32


def test_images_become_channels_first_in_the_unit_range():
    array = np.zeros((2, 4, 4, 3), np.uint8)
    array[1, 0, 3, 2] = 255
    tensor = to_images(array)
    assert tensor.shape == (2, 3, 4, 4)
    assert tensor[1, 2, 0, 3] == 1
    assert tensor.sum() == 1


@pytest.mark.parametrize("shape", [(3, 5, 3), (3, 5)])
def test_a_picture_is_read_back_from_its_png_file_as_it_was(shape):
    pixels = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    found = read_image(io.BytesIO(to_png(pixels)))
    np.testing.assert_array_equal(found, pixels if len(shape) == 3 else np.repeat(pixels[..., None], 3, axis=2))
