"""The one-pass tokenizer: nested latents, made once, whatever their number."""

import pytest
import torch
from pydantic import ValidationError
from tiny import images, tokenizer, tokenizer_config

from alit.tokenizer.encoding import ReconstructionLoss


def nested(**changes):
    return tokenizer(tokenizer_config(growth="nested", **changes))


def passes_of(model):
    """Return the list to which each pass of the encoder's transformer adds the rows that its last layer computed."""
    rows = []
    last = model.distillation.encoder.transformer.blocks[-1].mlp
    last.register_forward_hook(lambda _, inputs, __: rows.append(inputs[0].shape[1]))
    return rows


def test_a_shorter_encoding_is_a_prefix_of_a_longer_one():
    steps = list(nested().rollout(images(3)))
    assert [step.length for step in steps] == [2, 4, 6]
    for step in steps:
        assert step.latents.shape[1] == step.length
        torch.testing.assert_close(step.latents, steps[-1].latents[:, : step.length])


def test_a_recurrent_tokenizer_rewrites_its_latents_instead():
    first, *_, last = tokenizer().rollout(images(3))
    assert not torch.allclose(first.latents, last.latents[:, : first.length])


@pytest.mark.parametrize("passes", [1, 3])
def test_all_lengths_take_the_same_passes_and_the_last_layer_computes_latents_only(passes):
    model = nested(passes=passes)
    rows = passes_of(model)
    list(model.rollout(images(1)))
    n = model.config.image_tokens
    assert rows == [1 + n + 6] * (passes - 1) + [6]


def test_more_passes_of_the_same_weights_give_another_encoding_and_no_more_parameters():
    once, thrice = nested(), nested(passes=3)
    thrice.load_state_dict(once.state_dict())
    first, second = (next(iter(model.rollout(images(2)))).latents for model in (once, thrice))
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("length", [2, 4, 6])
def test_encoding_to_a_length_gives_the_tokens_of_the_rollout(length):
    model = nested()
    tokens = model.encode(images(3), length=length)
    step = next(step for step in model.rollout(images(3)) if step.length == length)
    assert torch.equal(tokens.values, step.ids.flatten())


def test_encoding_until_a_criterion_holds_gives_the_fewest_tokens_that_satisfy_it():
    model = nested()
    losses = torch.stack(
        [(step.images - images(6)).abs().mean(dim=(1, 2, 3)) for step in model.reconstructions(images(6))]
    )
    limit = float(losses[:2].median())
    tokens = model.encode(images(6), until=ReconstructionLoss(l1=limit))
    below = losses < limit
    expected = torch.where(below.any(dim=0), below.int().argmax(dim=0), 2)
    assert torch.equal(tokens.lengths, torch.tensor([2, 4, 6])[expected])
    assert torch.equal(tokens.satisfied, below.any(dim=0))


def test_decoding_gives_the_reconstruction_of_that_length():
    model = nested()
    for step in model.reconstructions(images(2)):
        torch.testing.assert_close(
            model.decode(model.encode(images(2), length=step.length)), step.images, atol=1e-4, rtol=0
        )


def test_a_checkpoint_comes_back_as_what_it_was(tmp_path):
    model = nested(passes=2)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert again.config == model.config
    assert again.fingerprint == model.fingerprint


def test_passes_belong_to_nested_latents():
    with pytest.raises(ValidationError, match="growth: recurrent makes one pass an iteration, found passes: 2"):
        tokenizer_config(passes=2)
