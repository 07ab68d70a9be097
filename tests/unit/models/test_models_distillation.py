import pytest
import torch
from tiny import images, tokenizer, tokenizer_config

from alit.models.distillation import Halting, Prediction, build_head, draw_halted

BASES = [{"kind": "vqgan"}, {"kind": "vae"}]


def iterate(model, batch, **options):
    tokens = model.base.encode(batch)
    return list(model.distillation.iterate(batch, tokens, model.base.codebook, **options))


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("quantize", [True, False])
def test_gradients_reach_every_trained_parameter(base, quantize):
    model = tokenizer(tokenizer_config(base, quantize=quantize))
    loss = sum(step.prediction.scores.square().mean() + step.quantizer_loss for step in iterate(model, images(2)))
    loss.backward()
    missing = {
        name for name, p in model.distillation.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    }
    assert missing == {"encoder.mask_token"}  # the only one that halting alone uses


def test_the_encoder_mask_token_learns_through_halting():
    model = tokenizer()
    everything = Halting(probability=0.0)
    tokens = model.base.encode(images(2))
    steps = model.distillation.iterate(
        images(2), tokens, model.base.codebook, halting=everything, generator=torch.Generator().manual_seed(0)
    )
    sum(step.prediction.scores.square().mean() for step in steps).backward()
    assert model.distillation.encoder.mask_token.grad.abs().sum() > 0


def test_only_the_iterations_asked_for_are_decoded():
    steps = iterate(tokenizer(), images(1), decode={2})
    assert [step.prediction is not None for step in steps] == [False, True, False]


def rows_of_last_layer(transformer):
    """Return the list to which each pass adds how many rows its last layer computed."""
    rows = []
    transformer.blocks[-1].mlp.register_forward_hook(lambda _, inputs, __: rows.append(inputs[0].shape[1]))
    return rows


@pytest.mark.parametrize("last", [1, 2, 3])
def test_the_last_iteration_computes_latents_only_and_the_decoder_image_tokens_only(last):
    model = tokenizer()
    encoder_rows = rows_of_last_layer(model.distillation.encoder.transformer)
    decoder_rows = rows_of_last_layer(model.distillation.decoder.transformer)
    steps = iterate(model, images(2), last=last)
    n = model.config.image_tokens
    assert encoder_rows == [*(1 + n + k for k in model.lengths[: last - 1]), model.lengths[last - 1]]
    assert decoder_rows == [n] * last
    assert [step.image_tokens is None for step in steps] == [False] * (last - 1) + [True]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("quantize", [True, False])
def test_what_a_rollout_that_ends_early_yields_and_learns_is_unchanged(base, quantize):
    def outputs_and_gradients(**options):
        model = tokenizer(tokenizer_config(base, quantize=quantize))
        step = iterate(model, images(2), **options)[1]
        (step.prediction.scores.square().mean() + step.quantizer_loss).backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        return {"latents": step.latents, "codes": step.codes, "scores": step.prediction.scores, **gradients}

    whole, ended = outputs_and_gradients(), outputs_and_gradients(last=2)
    assert set(whole) == set(ended)
    for name, value in whole.items():
        torch.testing.assert_close(ended[name], value, atol=1e-5, rtol=1e-5, msg=lambda text, name=name: name + text)


def test_bypassing_the_quantizer_passes_codes_on_at_the_length_of_quantized_ones():
    steps = iterate(tokenizer(), images(1), quantize=False)
    for step in steps:
        assert step.ids is None
        torch.testing.assert_close(step.codes, torch.nn.functional.normalize(step.raw_codes, dim=-1))
        assert step.quantizer_loss == 0


def test_old_latents_are_rewritten_not_kept_as_prefixes():
    first, second, _ = iterate(tokenizer(), images(1))
    assert not torch.allclose(second.latents[:, :2], first.latents)


def test_a_token_is_masked_with_the_probability_of_its_base_id():
    model = tokenizer()
    tokens = model.base.encode(images(4))
    sure = torch.full((4, 16, 16), -30.0).scatter(-1, tokens.ids[..., None], 30.0)
    unsure = torch.zeros(4, 16, 16)
    draw = torch.Generator().manual_seed(0)
    assert draw_halted(Prediction(sure, sure), tokens, Halting(), draw).all()
    assert not draw_halted(Prediction(unsure, unsure), tokens, Halting(), draw).any()
    even = torch.full((4, 16, 16), -30.0).scatter(-1, tokens.ids[..., None], 0.0)
    even = even.scatter(-1, (tokens.ids[..., None] + 1) % 16, -0.4)  # probability of the base id: 0.6
    share = torch.stack([draw_halted(Prediction(even, even), tokens, Halting(), draw) for _ in range(50)])
    assert 0.55 < share.float().mean() < 0.65


def test_a_continuous_token_is_masked_when_its_code_is_close():
    model = tokenizer(tokenizer_config({"kind": "vae"}))
    tokens = model.base.encode(images(1))
    codes = tokens.codes.clone()
    codes[:, 3] += 1
    halted = draw_halted(Prediction(codes, codes), tokens, Halting(), None)
    assert not halted[0, 3]
    assert halted.sum() == 15


def test_halted_tokens_become_the_mask_token_at_their_place():
    encoder = tokenizer().distillation.encoder
    sequence = torch.randn(1, 1 + 16 + 2, 16)
    halted = torch.zeros(1, 16, dtype=torch.bool)
    halted[0, 5] = True
    masked = encoder.mask(sequence, halted)
    torch.testing.assert_close(masked[0, 6], encoder.mask_token[0, 0] + encoder.positions[6])
    kept = [i for i in range(19) if i != 6]
    assert torch.equal(masked[:, kept], sequence[:, kept])


@pytest.mark.parametrize("prediction", ["logits", "similarity"])
def test_heads_over_a_codebook_prefer_the_code_they_predict(prediction):
    torch.manual_seed(0)
    head = build_head(tokenizer_config(prediction=prediction))
    codebook = torch.nn.functional.normalize(torch.randn(16, 4), dim=-1)
    hidden = torch.randn(2, 5, 16)
    answer = head(hidden, codebook)
    assert answer.scores.shape == (2, 5, 16)
    assert answer.codes.shape == (2, 5, 4)
    if prediction == "similarity":
        assert torch.equal(answer.scores.argmax(-1), torch.cdist(answer.codes, codebook).argmin(-1))
    else:
        torch.testing.assert_close(answer.codes, answer.scores.softmax(-1) @ codebook)
