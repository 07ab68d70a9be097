"""What `encode` does with every odd input: the table of docs/reliability.md, one case a row."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny import images, tokenizer

from alit import CodeLoss, ReconstructionLoss, load_images
from alit.errors import ConfigError, DataError

GRAY = torch.full((1, 3, 16, 16), 0.5)


def changed(value):
    """Gray images of which one number is another."""
    batch = GRAY.repeat(2, 1, 1, 1)
    batch[1, 2, 7, 7] = value
    return batch


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (torch.zeros(1, 3, 16, 8), "resize and center-crop"),
        (torch.zeros(1, 3, 1, 1), r"found torch.float32 \(1, 3, 1, 1\)"),
        (torch.zeros(1, 3, 0, 0), r"\(1, 3, 0, 0\)"),
        (torch.zeros(1, 3, 1, 1).expand(1, 3, 50_000, 50_000), "50000"),
        (torch.zeros(3, 16, 16), "expected float images"),
        (torch.zeros(1, 1, 16, 16), r"\(1, 1, 16, 16\)"),
        (torch.zeros(1, 4, 16, 16), r"\(1, 4, 16, 16\)"),
        (torch.zeros(1, 16, 16, 3), r"\(1, 16, 16, 3\)"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), "torch.uint8"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.bool), "torch.bool"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.complex64), "torch.complex64"),
        (changed(float("nan")), "found nan"),
        (changed(float("inf")), "found 0.5 to inf"),
        (changed(-float("inf")), "found -inf"),
        (changed(255.0), "1 / 255"),
        (changed(1.001), "to 1.001"),
        (changed(-0.1), "found -0.1"),
        (np.zeros((1, 3, 16, 16), dtype=np.float32), "found ndarray.*load_images"),
        ([GRAY, "picture.png"], "found str"),
    ],
)
def test_images_that_cannot_be_encoded_say_why(batch, words):
    with pytest.raises(DataError, match=words):
        tokenizer().encode(batch, length=2)


@pytest.mark.parametrize("how", [{"length": 2}, {"until": CodeLoss(error=1.0)}, {"budget": 4.0}])
@pytest.mark.parametrize("nothing", [torch.empty(0, 3, 16, 16), [], [torch.empty(0, 3, 16, 16)]])
def test_no_images_give_an_empty_set_that_decodes_to_no_images(how, nothing):
    model = tokenizer()
    tokens = model.encode(nothing, **how)
    assert len(tokens) == 0
    assert model.decode(tokens).shape == (0, 3, 16, 16)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_floats_of_other_precision_are_encoded_as_float32(dtype):
    model, batch = tokenizer(), images(2).to(dtype)
    assert model.encode(batch, length=4) == model.encode(batch.float(), length=4)


def test_images_need_not_be_contiguous_or_without_gradient():
    model, batch = tokenizer(), images(2)
    strided = batch.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2).requires_grad_(True)
    assert model.encode(strided, length=4) == model.encode(batch, length=4)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 6), max_size=3), how=st.sampled_from(["length", "until", "budget"]))
def test_batches_one_after_another_give_what_one_tensor_gives(cuts, how):
    model, batch = tokenizer(), images(6)
    options = {"length": {"length": 4}, "until": {"until": ReconstructionLoss(l1=0.3)}, "budget": {"budget": 4.0}}[how]
    parts = torch.tensor_split(batch, sorted(cuts))
    assert model.encode(iter(parts), **options) == model.encode(batch, **options)


def test_a_batch_size_below_one_is_refused():
    with pytest.raises(ConfigError, match="batch_size of at least 1"):
        tokenizer().encode(images(1), length=2, batch_size=0)


def picture(size, mode="RGB", **options):
    content = io.BytesIO()
    Image.new(mode, size, **options).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize("size", [(1, 1), (3, 1000), (2000, 1), (16, 16), (4000, 3000)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_pictures_of_any_shape_become_images(size, mode, tmp_path):
    (tmp_path / "p.png").write_bytes(picture(size, mode))
    batch = load_images([tmp_path / "p.png"] * 2, size=16)
    assert batch.shape == (2, 3, 16, 16)
    assert len(tokenizer().encode(batch, length=2)) == 2


def test_no_pictures_are_an_empty_batch():
    assert load_images([], size=16).shape == (0, 3, 16, 16)


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "bad.png").write_bytes(picture((9, 9))[:40])
    for name in ("bad.png", "missing.png"):
        with pytest.raises(DataError, match=name):
            load_images([tmp_path / name], size=16)
