"""Checkpoints under the authors' names, made by the project itself: every layout is read, every fault is named."""

import argparse
import json

import pytest
import torch
from checkout import FIXTURES, ROOT
from published_names import published_name
from safetensors.torch import save_file
from tiny import images, tokenizer, tokenizer_config

from alit import load_published
from alit.cli import main
from alit.config import load_profile
from alit.errors import CheckpointError
from alit.tokenizer.published import SIZES, published_config

HEADS = 2
PAPER = ROOT / "configs" / "paper.yaml"
EXPECTED = FIXTURES / "published.json"
CONFIGS = {
    "vqgan_quantized": tokenizer_config(),
    "vqgan_continuous": tokenizer_config(quantize=False),
    "vae_quantized": tokenizer_config({"kind": "vae", "level_attention": True, "rescale_decode": False}),
    "vae_continuous": tokenizer_config({"kind": "vae", "rescale_decode": False}, quantize=False),
}


def their_tensors(variant):
    """The state dict of a tiny tokenizer under the authors' names."""
    config = CONFIGS[variant]
    state = tokenizer(config).state_dict()
    return {published_name(name, config): tensor.contiguous() for name, tensor in state.items()}


@pytest.fixture(params=list(CONFIGS))
def variant(request):
    return request.param


@pytest.mark.parametrize("layout", ["ema", "model", "plain", "safetensors"])
def test_every_layout_gives_the_tokenizer_back(variant, layout, tmp_path):
    tensors = their_tensors(variant)
    path = tmp_path / ("model.safetensors" if layout == "safetensors" else "model.pth")
    if layout == "safetensors":
        save_file(tensors, path)
    elif layout == "plain":
        torch.save(tensors, path)
    else:
        judges = {"gan_losses.0.discriminator.main.0.weight": torch.zeros(2)}
        wrong = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
        content = {"model": wrong if layout == "ema" else tensors | judges, "epoch": 3}
        content |= {"ema": tensors | judges} if layout == "ema" else {}
        torch.save({**content, "args": argparse.Namespace(lr=1e-4)}, path)
    loaded, original = load_published(path, heads=HEADS), tokenizer(CONFIGS[variant])
    assert loaded.state_dict().keys() == original.state_dict().keys()
    for name, tensor in original.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    batch = images(1)
    with torch.no_grad():
        for one, two in zip(loaded.rollout(batch), original.rollout(batch), strict=True):
            torch.testing.assert_close(one.reconstruction, two.reconstruction)


def summary(variant):
    """A few numbers of what each variant computes."""
    with torch.no_grad():
        last = list(tokenizer(CONFIGS[variant]).rollout(images(1), attention=True))[-1]
    tensors = {"latents": last.latents, "reconstruction": last.reconstruction, "attention": last.attention}
    return {name: [float(tensor.mean()), float(tensor.std())] for name, tensor in tensors.items()}


def test_what_is_computed_has_not_changed_since_it_agreed_with_the_authors_model(variant):
    expected = json.loads(EXPECTED.read_text())[variant]
    for name, numbers in summary(variant).items():
        assert numbers == pytest.approx(expected[name], rel=1e-3, abs=1e-5), name


def test_a_missing_a_misshapen_and_an_unknown_tensor_are_named(tmp_path):
    def refuse(words, **changes):
        tensors = {**their_tensors("vqgan_quantized"), **changes}
        torch.save({name: tensor for name, tensor in tensors.items() if tensor is not None}, tmp_path / "m.pth")
        with pytest.raises(CheckpointError, match=words):
            load_published(tmp_path / "m.pth", heads=HEADS)

    refuse("missing tensor timestep_embedding", timestep_embedding=None)
    refuse("mask_token", encoder_mask_token=None)
    refuse(r"shape \(3, 3\), expected", encoder_class_embedding=torch.zeros(3, 3))
    refuse("unknown tensor surprise", surprise=torch.zeros(1))


def test_files_that_are_no_checkpoint_are_refused_in_one_line(tmp_path):
    path = tmp_path / "m.pth"
    with pytest.raises(CheckpointError, match="found none"):
        load_published(path)
    whole = tmp_path / "whole.pth"
    torch.save(their_tensors("vqgan_quantized"), whole)
    contents = [b"", b"not a checkpoint", whole.read_bytes()[:5000]]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"m\.pth"):
            load_published(path, heads=HEADS)
    torch.save({"ema": {"a": 1}}, path)
    with pytest.raises(CheckpointError, match="expected tensors"):
        load_published(path)


class Hostile:
    """What unpickling must never run."""

    def __reduce__(self):
        return (print, ("a pickle was run",))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, capsys):
    torch.save({"ema": Hostile()}, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match="refused"):
        load_published(tmp_path / "m.pth")
    assert "a pickle was run" not in capsys.readouterr().out


def test_heads_that_do_not_show_in_the_tensors_are_asked_for(tmp_path):
    torch.save(their_tensors("vqgan_quantized"), tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match="pass heads="):
        load_published(tmp_path / "m.pth")


def test_a_converted_checkpoint_loads_without_unpickling(tmp_path, capsys):
    torch.save(their_tensors("vae_quantized"), tmp_path / "m.pth")
    main(["convert", str(tmp_path / "m.pth"), str(tmp_path / "out"), "--heads", "2"])
    main(["info", str(tmp_path / "out")])
    assert "vae base" in capsys.readouterr().out


def test_the_published_sizes_are_those_of_the_paper_profile():
    assert published_config("small") == load_profile(PAPER).tokenizer
    for size, (width, layers, heads) in SIZES.items():
        distillation = published_config(size).distillation
        assert (distillation.width, distillation.layers, distillation.heads) == (width, layers, heads)
