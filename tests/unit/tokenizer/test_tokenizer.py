import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import images, telling_tokenizer, tokenizer, tokenizer_config

from alit.errors import ConfigError
from alit.models.distillation import Halting, TokenizerConfig
from alit.tokenizer.protocol import Tokenizer


def rolled(model, batch, **options):
    with torch.no_grad():
        return list(model.rollout(batch, **options))


@pytest.mark.parametrize(
    "config",
    [
        tokenizer_config(),
        tokenizer_config({"kind": "vae"}),
        tokenizer_config(quantize=False),
        tokenizer_config(prediction="similarity"),
        tokenizer_config({"multipliers": (1, 2)}, image_size=10, tokens_per_iteration=3, iterations=2),
    ],
)
def test_every_iteration_has_the_declared_shapes(config):
    model = tokenizer(config)
    size, n, v = config.image_size, config.image_tokens, config.base.codebook_size or config.base.code_size
    steps = rolled(model, images(2, size), attention=True)
    assert [step.length for step in steps] == list(config.lengths)
    for index, step in enumerate(steps):
        assert step.iteration == index + 1
        assert step.image_tokens.shape == (2, n, 16)
        assert step.latents.shape == (2, step.length, 16)
        assert step.codes.shape == (2, step.length, 6)
        assert step.prediction.shape == (2, n, v)
        assert step.reconstruction.shape == (2, 3, size, size)
        assert step.attention.shape == (2, 2, n, step.length)
        assert (step.ids is None) == (not config.quantize)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), companions=st.integers(1, 4))
def test_ids_of_an_image_do_not_depend_on_its_batch(seed, companions):
    batch = images(1 + companions, seed=seed)
    model = telling_tokenizer(batch)
    together, alone = rolled(model, batch, reconstruct=False), rolled(model, batch[:1], reconstruct=False)
    for whole, single in zip(together, alone, strict=True):
        assert torch.equal(whole.ids[:1], single.ids)
        assert len(whole.ids.unique(dim=0)) == 1 + companions


def test_a_caller_that_stops_pays_for_no_further_iteration():
    model, passes = tokenizer(), []
    model.distillation.encoder.transformer.register_forward_hook(lambda *_: passes.append(1))
    with torch.no_grad():
        next(model.rollout(images(1)))
    assert len(passes) == 1


def test_the_rollout_is_deterministic_without_halting():
    model = tokenizer()
    for one, two in zip(rolled(model, images(2)), rolled(model, images(2)), strict=True):
        assert torch.equal(one.reconstruction, two.reconstruction)


def test_halting_changes_later_iterations_and_repeats_under_its_generator():
    model, halting = tokenizer(), Halting(probability=0.0)

    def run(seed):
        return rolled(model, images(2), halting=halting, generator=torch.Generator().manual_seed(seed))

    plain, one, again = rolled(model, images(2)), run(1), run(1)
    assert torch.equal(one[0].latents, plain[0].latents)
    assert not torch.equal(one[1].latents, plain[1].latents)
    assert torch.equal(one[2].latents, again[2].latents)


def test_halting_without_a_generator_is_refused():
    with pytest.raises(ConfigError, match="expected generator="):
        rolled(tokenizer(), images(1), halting=Halting())


def test_pixels_are_decoded_only_when_asked_for():
    assert all(step.reconstruction is None for step in rolled(tokenizer(), images(1), reconstruct=False))


def test_reconstructions_follow_the_protocol():
    model = tokenizer()
    assert isinstance(model, Tokenizer)
    steps = list(model.reconstructions(images(2)))
    assert [step.length for step in steps] == list(model.lengths) == [2, 4, 6]
    for step in steps:
        assert not step.images.requires_grad
        assert 0 <= step.images.min() <= step.images.max() <= 1
        assert step.bits.tolist() == [4.0 * step.length] * 2  # 16 codes: 4 bits a token


def test_parts_that_do_not_fit_are_named():
    content = tokenizer_config().model_dump()
    for change, words in [
        ({"image_size": 18}, "multiple of the patch"),
        ({"base": content["base"] | {"kind": "vae"}}, "codebook_size"),
        ({"distillation": content["distillation"] | {"heads": 3}}, "multiple of heads"),
        ({"base": content["base"] | {"code_size": 16}}, "patch embedding"),
    ]:
        with pytest.raises(ValueError, match=words):
            TokenizerConfig.model_validate(content | change)
