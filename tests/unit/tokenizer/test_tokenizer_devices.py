"""Any device, any surrounding precision, compiled or not: the same tokens, or close to them."""

import shutil

import pytest
import torch
from tiny import images, tokenizer, tokenizer_config

from alit import CodeLoss, ReconstructionLoss
from alit.tokenizer.encoding import encode_to_length

CONFIGS = [
    tokenizer_config(),
    tokenizer_config(prediction="similarity"),
    tokenizer_config({"kind": "vae"}, quantize=False),
]
WAYS = [{"length": 4}, {"until": ReconstructionLoss(l1=0.3, screen=CodeLoss(error=9.0))}, {"budget": 4.0}]


def test_the_networks_run_on_whatever_device_they_are_moved_to():
    model, batch = tokenizer(CONFIGS[2]).to("meta"), images(2).to("meta")
    with torch.no_grad():
        steps = list(model.rollout(batch, attention=True))
        tokens = encode_to_length(model, batch, 4)
    tensors = [part for step in steps for part in step if isinstance(part, torch.Tensor)]
    assert {tensor.device.type for tensor in [*tensors, tokens[0].values]} == {"meta"}


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("config", CONFIGS)
def test_the_default_device_does_not_matter(config, how):
    model, batch = tokenizer(config), images(4)
    expected = model.encode(batch, **how)
    with torch.device("meta"):  # a tensor made without naming its device would be one of these
        tokens = model.encode(batch, **how)
        rebuilt = model.decode(tokens)
        assert tokens[1:] == expected[1:]
    assert rebuilt.device.type == "cpu"
    assert tokens == expected


@pytest.fixture
def float64_by_default():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("how", WAYS)
def test_the_default_dtype_neither_matters_nor_changes(how, float64_by_default):
    model, batch = tokenizer(CONFIGS[2]).float(), images(4)
    tokens = model.encode(batch, **how)
    assert torch.get_default_dtype() == torch.float64
    assert tokens.values.dtype == torch.float32
    assert model.decode(tokens).dtype == torch.float32
    torch.set_default_dtype(torch.float32)
    assert model.encode(batch, **how) == tokens


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("config", CONFIGS)
def test_under_autocast_tokens_and_images_are_float32_and_close(config, dtype):
    model, batch = tokenizer(config), images(8)
    exact = model.encode(batch, length=6)
    with torch.autocast("cpu", dtype=dtype):
        tokens = model.encode(batch, length=6)
        rebuilt = model.decode(exact)
        last = list(model.reconstructions(batch))[-1]
        for how in WAYS[1:]:
            assert len(model.encode(batch, **how)) == 8
    assert rebuilt.dtype == last.images.dtype == torch.float32
    assert (rebuilt - model.decode(exact)).abs().mean() < 0.05
    if config.quantize:
        assert (tokens.values == exact.values).float().mean() > 0.9
    else:
        assert tokens.values.dtype == torch.float32
        torch.testing.assert_close(tokens.values, exact.values, atol=0.05, rtol=0.05)


@pytest.fixture
def small_case():
    """The smallest networks that have every part, and images for them: compiling takes seconds an operator."""
    config = tokenizer_config({"multipliers": (1,)}, image_size=4, layers=1, iterations=2)
    yield tokenizer(config), images(2, 4)
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="torch.compile needs a C++ compiler, found no gcc")
def test_compiled_networks_give_the_same_tokens_and_images(small_case):
    model, batch = small_case
    tokens = model.encode(batch, length=2)
    rebuilt, names = model.decode(tokens), model.state_dict().keys()
    model.compile()
    assert model.encode(batch, length=2) == tokens
    torch.testing.assert_close(model.decode(tokens), rebuilt, atol=1e-3, rtol=0)
    assert model.state_dict().keys() == names


@pytest.mark.slow
def test_encode_and_decode_can_themselves_be_compiled(small_case):
    model, batch = small_case
    encode, decode = (torch.compile(method, backend="eager") for method in (model.encode, model.decode))
    tokens = encode(batch, length=4)
    assert tokens == model.encode(batch, length=4)
    torch.testing.assert_close(decode(tokens), model.decode(tokens))
