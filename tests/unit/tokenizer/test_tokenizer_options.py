"""What a tokenizer says of itself beside the protocol: range, size, batch, precision, draws, version."""

import json

import pytest
import torch
from toy_sweep import CONFIG, SIZE, FadingTokenizer, ToySet

from alit.errors import ConfigError, DataError
from alit.sweep.engine import SweepConfig, sweep
from alit.sweep.schema import read_table
from alit.tasks.perceptual import ReconstructionTask
from alit.tokenizer.protocol import Reconstruction, checked_reconstructions, image_generators, options_of

IMAGES = torch.rand((5, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0))


def run(tokenizer, tmp_path, config=CONFIG, name="out"):
    sweep(
        tokenizer,
        [ToySet("a", 7)],
        [ReconstructionTask()],
        [],
        config=config,
        scratch=tmp_path / "s",
        out=tmp_path / name,
    )
    return read_table(tmp_path / name / "table.parquet"), json.loads((tmp_path / name / "config.json").read_text())


class Signed(FadingTokenizer):
    """Works in [-1, 1], and would give nonsense for other values."""

    value_range = (-1.0, 1.0)

    def reconstructions(self, images):
        for step in super().reconstructions((images + 1) / 2):
            yield step._replace(images=step.images * 2 - 1)


def test_images_go_in_and_come_out_in_the_tokenizers_range():
    plain, signed = (list(checked_reconstructions(each(), IMAGES)) for each in (FadingTokenizer, Signed))
    for one, other in zip(plain, signed, strict=True):
        torch.testing.assert_close(one.images, other.images)


def test_answers_outside_of_the_stated_range_are_named():
    class Wrong(Signed):
        def reconstructions(self, images):
            yield from (step._replace(images=step.images - 1) for step in super().reconstructions(images))

    with pytest.raises(DataError, match=r"expected reconstructions in \[-1, 1\]"):
        list(checked_reconstructions(Wrong(), IMAGES))


class Counting(FadingTokenizer):
    batch_size = 2

    def __init__(self):
        super().__init__()
        self.seen = []

    def reconstructions(self, images):
        self.seen.append(len(images))
        yield from super().reconstructions(images)


def test_no_more_images_at_once_than_it_takes_and_all_come_back_in_order():
    tokenizer = Counting()
    found = list(checked_reconstructions(tokenizer, IMAGES))
    assert tokenizer.seen == [2, 2, 1]
    for one, other in zip(found, checked_reconstructions(FadingTokenizer(), IMAGES), strict=True):
        assert one.length == other.length
        assert torch.equal(one.bits, other.bits)
        assert torch.equal(one.images, other.images)
        assert one.tokens.tolist() == [one.length] * 5


class Double(FadingTokenizer):
    """Wants images of twice the size; keeps them as they are."""

    image_size, resize_images = 2 * SIZE, True

    def reconstructions(self, images):
        assert images.shape[-1] == 2 * SIZE
        for length in self.lengths:
            yield Reconstruction(length, torch.full((len(images),), 1.0), images)


def test_another_size_is_refused_unless_it_is_asked_for(tmp_path):
    class Unwilling(Double):
        resize_images = False

    with pytest.raises(DataError, match="resize_images: true in its options"):
        run(Unwilling(), tmp_path)
    smooth = torch.nn.functional.interpolate(IMAGES[:, :, :2, :2], (SIZE, SIZE), mode="bilinear")
    for step in checked_reconstructions(Double(), smooth):
        assert step.images.shape == smooth.shape
        assert (step.images - smooth).abs().max() < 0.02
    _, record = run(Double(), tmp_path)
    assert record["tokenizer"]["resize_images"] is True
    assert record["tokenizer"]["image_size"] == 2 * SIZE


class Drawing(FadingTokenizer):
    """Adds noise that it draws from what it is given."""

    draws = True

    def reconstructions(self, images, generators):
        assert len(generators) == len(images)
        for step in super().reconstructions(images):
            noise = torch.stack([torch.rand(images.shape[1:], generator=each) for each in generators])
            yield step._replace(images=(step.images + noise) / 2)


def test_a_decoder_that_draws_gives_each_image_the_same_in_any_batch_and_order(tmp_path):
    one, record = run(Drawing(), tmp_path, name="one")
    other, _ = run(Drawing(), tmp_path, SweepConfig(chunk_size=7, tokenizer_batch=1), name="other")
    assert one["l1"].tolist() == pytest.approx(other["l1"].tolist(), rel=1e-5)
    assert record["seed"] == "the 8-bit pixels of each image"
    backward = [step.images.flip(0) for step in checked_reconstructions(Drawing(), IMAGES.flip(0))]
    for step, same in zip(checked_reconstructions(Drawing(), IMAGES), backward, strict=True):
        torch.testing.assert_close(step.images, same)


def test_images_that_differ_draw_differently():
    seeds = {each.initial_seed() for each in image_generators(IMAGES)}
    assert len(seeds) == len(IMAGES)


def test_low_precision_is_that_of_the_tokenizer_alone():
    class Casting(FadingTokenizer):
        precision = "bfloat16"

        def reconstructions(self, images):
            for step in super().reconstructions(images):
                product = torch.ones(2, 2) @ torch.ones(2, 2)
                self.dtype = product.dtype
                yield step

    tokenizer = Casting()
    for _ in checked_reconstructions(tokenizer, IMAGES):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    assert tokenizer.dtype == torch.bfloat16


def test_tokens_may_differ_between_images_and_stand_in_the_table(tmp_path):
    class Ragged(FadingTokenizer):
        def reconstructions(self, images):
            for step in super().reconstructions(images):
                yield step._replace(tokens=step.length - (images.mean(dim=(1, 2, 3)) > 0.5).float())

    table, _ = run(Ragged(), tmp_path)
    assert table.loc[table["length"] == 0, "tokens"].isna().all()
    kept = table[table["length"] > 0]
    assert set((kept["length"] - kept["tokens"]).unique()) == {0.0, 1.0}


def test_a_version_stands_in_the_record_and_begins_a_sweep_again(tmp_path):
    class Versioned(FadingTokenizer):
        version = "1"

    with pytest.raises(RuntimeError, match="killed"):
        run(Versioned(fail_at=2), tmp_path)
    Versioned.version, second = "2", Versioned()
    _, record = run(second, tmp_path)
    assert second.images == 7
    assert record["tokenizer"]["version"] == "2"


@pytest.mark.parametrize(
    ("name", "value"),
    [("value_range", (1.0, 0.0)), ("precision", "int8"), ("batch_size", 0), ("version", 3), ("draws", "sometimes")],
)
def test_an_option_of_another_kind_is_one_line(name, value):
    tokenizer = FadingTokenizer()
    setattr(tokenizer, name, value)
    with pytest.raises(ConfigError, match=name) as caught:
        options_of(tokenizer)
    assert "\n" not in str(caught.value)
