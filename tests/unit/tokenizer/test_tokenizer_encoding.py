import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import images, telling_tokenizer, tokenizer, tokenizer_config

from alit import CodeLoss, ReconstructionLoss, TokenSet
from alit.errors import ConfigError, TokenFileError

CONFIGS = [
    tokenizer_config(),
    tokenizer_config(quantize=False),
    tokenizer_config({"kind": "vae"}),
    tokenizer_config({"kind": "vae"}, quantize=False, linear_path=True),
    tokenizer_config({"kind": "vae"}, quantize=False, linear_path=True, growth="nested"),
    tokenizer_config(prediction="similarity"),
]


def mean_l1(model, batch):
    """The L1 (b, lengths) of clipped reconstructions, from the plain rollout."""
    with torch.no_grad():
        steps = list(model.rollout(batch))
    return torch.stack([(s.reconstruction.clamp(0, 1) - batch).abs().mean(dim=(1, 2, 3)) for s in steps], dim=1)


def widest_gap(losses):
    """A threshold in the middle of the widest gap between losses, so that rounding decides nothing."""
    ordered = losses.flatten().sort().values
    place = ordered.diff().argmax()
    return float(ordered[place : place + 2].mean())


@pytest.mark.parametrize("config", CONFIGS)
def test_a_fixed_length_gives_the_tokens_of_that_iteration(config):
    model, batch = tokenizer(config), images(3)
    with torch.no_grad():
        steps = list(model.rollout(batch))
    for step in steps:
        tokens = model.encode(batch, length=step.length)
        assert tokens.lengths.tolist() == [step.length] * 3
        expected = step.codes if step.ids is None else step.ids
        got = tokens.values.reshape(expected.shape)
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", CONFIGS)
def test_decoding_gives_the_rollouts_reconstructions_for_any_mixture_of_lengths(config):
    model, batch = tokenizer(config), images(3)
    parts = [model.encode(batch[i : i + 1], length=length) for i, length in enumerate((6, 2, 4))]
    decoded = model.decode(TokenSet.concatenate(parts))
    with torch.no_grad():
        steps = list(model.rollout(batch))
    expected = torch.stack([steps[t].reconstruction[i].clamp(0, 1) for i, t in enumerate((2, 0, 1))])
    torch.testing.assert_close(decoded, expected, atol=1e-3, rtol=0)


def test_until_gives_each_image_the_first_length_that_satisfies_it():
    model, batch = tokenizer(), images(6)
    losses = mean_l1(model, batch)
    threshold = widest_gap(losses)
    tokens = model.encode(batch, until=ReconstructionLoss(l1=threshold))
    passes = losses < threshold
    first = torch.where(passes.any(dim=1), passes.int().argmax(dim=1), 2)
    assert tokens.lengths.tolist() == [model.lengths[i] for i in first]
    assert torch.equal(tokens.satisfied, passes.any(dim=1))
    assert 0 < int(tokens.satisfied.sum()) < 6


@pytest.fixture(scope="module", params=["length", "until"])
def each_alone(request):
    """Images, a tokenizer that tells them apart, how it is asked, and the tokens of each image on its own."""
    everything = images(8)
    model = telling_tokenizer(everything)
    until = ReconstructionLoss(l1=widest_gap(mean_l1(model, everything)))
    options = {"length": 4} if request.param == "length" else {"until": until}
    alone = [model.encode(image[None], **options) for image in everything]
    assert len({tuple(tokens.values.tolist()) for tokens in alone}) == 8
    return everything, model, options, alone


@settings(max_examples=20, deadline=None)
@given(rows=st.lists(st.integers(0, 7), min_size=2, max_size=6), batch_size=st.integers(1, 6))
def test_tokens_of_an_image_do_not_depend_on_its_companions(rows, batch_size, each_alone):
    everything, model, options, alone = each_alone
    together = model.encode(everything[rows], batch_size=batch_size, **options)
    assert together == TokenSet.concatenate([alone[row] for row in rows])


def test_images_that_are_done_leave_the_batch():
    model, batch, seen = tokenizer(), images(4), []
    model.distillation.encoder.transformer.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))

    def all_but_one(images, rollout):
        done = torch.ones(len(images), dtype=torch.bool)
        done[0] = rollout.iteration == 2
        return done

    tokens = model.encode(batch, until=all_but_one)
    assert seen == [4, 1]
    assert tokens.lengths.tolist() == [4, 2, 2, 2]


@pytest.mark.parametrize("looks", [True, False])
def test_the_last_iteration_computes_image_tokens_only_for_a_criterion_that_looks_at_them(looks):
    model, batch, rows, seen = tokenizer(), images(3), [], []
    last_layer = model.distillation.encoder.transformer.blocks[-1].mlp
    last_layer.register_forward_hook(lambda _, inputs, __: rows.append(inputs[0].shape[1]))

    class Never:
        sees_pixels = False
        sees_image_tokens = looks

        def __call__(self, images, rollout):
            seen.append(rollout.image_tokens)
            return torch.zeros(len(images), dtype=torch.bool)

    tokens = model.encode(batch, until=Never())
    assert rows == [19, 21, 23 if looks else 6]
    assert [values is not None for values in seen] == [True, True, looks]
    assert torch.equal(tokens.values, model.encode(batch, length=6).values)


def test_a_latent_criterion_never_decodes_pixels():
    model, calls = tokenizer(), []
    model.base.decoder.register_forward_hook(lambda *_: calls.append(1))
    tokens = model.encode(images(3), until=CodeLoss(error=0.0))
    assert calls == []
    assert not tokens.satisfied.any()
    assert model.encode(images(3), until=CodeLoss(probability=0.0)).lengths.tolist() == [2, 2, 2]


def test_a_screen_decodes_pixels_only_of_images_that_pass_it():
    model, decoded = tokenizer(), []
    model.base.decoder.register_forward_pre_hook(lambda _, inputs: decoded.append(len(inputs[0])))

    class SecondImageFromTheSecondIteration:
        def __call__(self, images, rollout):
            passed = torch.zeros(len(images), dtype=torch.bool)
            passed[min(1, len(images) - 1)] = rollout.iteration > 1
            return passed

    criterion = ReconstructionLoss(l1=10.0, screen=SecondImageFromTheSecondIteration())
    tokens = model.encode(images(2), until=criterion)
    assert decoded == [1, 1]
    assert tokens.lengths.tolist() == [6, 4]


def test_a_budget_is_kept_and_beats_uniform_allocation():
    model, batch = tokenizer(), images(8)
    tokens = model.encode(batch, budget=4.0, batch_size=3)
    assert tokens.lengths.float().mean() <= 4.0
    losses = mean_l1(model, batch)
    spent = losses[torch.arange(8), torch.tensor([model.lengths.index(n) for n in tokens.lengths.tolist()])]
    assert spent.sum() <= losses[:, 1].sum() + 1e-6


def test_continuous_tokens_survive_a_file(tmp_path):
    model = tokenizer(tokenizer_config(quantize=False))
    tokens = model.encode(images(2), length=4)
    tokens.save(tmp_path / "t.alit")
    assert torch.equal(model.decode(TokenSet.load(tmp_path / "t.alit")), model.decode(tokens))


def test_tokens_of_another_model_are_refused():
    tokens = tokenizer(seed=0).encode(images(1), length=2)
    with pytest.raises(TokenFileError, match="checkpoint that encoded them"):
        tokenizer(seed=1).decode(tokens)


def test_the_three_ways_to_say_how_many_tokens_exclude_each_other():
    model = tokenizer()
    for how in ({}, {"length": 2, "budget": 3.0}):
        with pytest.raises(ConfigError, match="exactly one"):
            model.encode(images(1), **how)
    for batch in (images(1), images(0)):
        with pytest.raises(ConfigError, match="2, 4, 6"):
            model.encode(batch, length=3)
    with pytest.raises(ConfigError, match="exactly one"):
        ReconstructionLoss()
    with pytest.raises(ConfigError, match="exactly one"):
        CodeLoss(error=1.0, probability=1.0)
    with pytest.raises(ConfigError, match="codebook"):
        tokenizer(tokenizer_config({"kind": "vae"})).encode(images(1), until=CodeLoss(probability=0.5))
