"""Entropy-coded token files: bit for bit, as small as the model says, and refused where the model does not fit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alit import TokenSet
from alit.errors import DataError, TokenFileError
from alit.tokenizer.code_model import CodeModel, count_ids
from alit.tokenizer.entropy_coding import decode_ids, encode_ids, least_bits
from alit.tokenizer.tokens import VERSION, pack, unpack

LENGTHS = (2, 4, 8)


def draws(images: int, length: int, codes: int, seed: int = 0) -> np.ndarray:
    """Ids (images, length), some codes far more frequent than others."""
    return np.minimum(np.random.default_rng(seed).geometric(0.2, (images, length)) - 1, codes - 1)


def fitted(codes: int, images: int = 200) -> CodeModel:
    return CodeModel({length: count_ids(draws(images, length, codes, seed=9), codes) for length in LENGTHS})


def token_set(lengths: list[int], codes: int, seed: int = 0) -> TokenSet:
    ids = [torch.from_numpy(draws(1, length, codes, seed + place)[0]) for place, length in enumerate(lengths)]
    return TokenSet(
        torch.tensor(lengths, dtype=torch.int64),
        torch.cat([torch.zeros(0, dtype=torch.int64), *ids]),
        torch.rand(len(lengths), generator=torch.Generator().manual_seed(seed)) < 0.5,
        codes,
        "m",
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(LENGTHS), max_size=20), st.sampled_from([1, 2, 16, 300]), st.integers(0, 50))
def test_a_coded_file_decodes_bit_for_bit(lengths, codes, seed):
    tokens, model = token_set(lengths, codes, seed), fitted(codes)
    assert unpack(pack(tokens, entropy=model), source="x", entropy=model) == (tokens, None)
    names = tuple(map(str, range(len(tokens))))
    assert unpack(pack(tokens, names, entropy=model), source="x", entropy=model) == (tokens, names)


def test_ids_that_training_never_had_are_coded_too():
    tokens = TokenSet(torch.tensor([2]), torch.tensor([299, 150]), torch.tensor([True]), 300, "m")
    model = fitted(300)
    assert unpack(pack(tokens, entropy=model), source="x", entropy=model).tokens == tokens


def test_a_file_survives_the_disk_with_its_model(tmp_path):
    tokens, model = token_set([2, 8, 4], 16), fitted(16)
    model.save(tmp_path, {})
    tokens.save(tmp_path / "x.alit", entropy=model)
    assert TokenSet.load(tmp_path / "x.alit", entropy=CodeModel.load(tmp_path)) == tokens


@pytest.mark.parametrize("codes", [16, 300])
def test_the_file_is_as_small_as_the_model_says(codes):
    tokens, model = token_set([8] * 500 + [4] * 300, codes), fitted(codes, images=2000)
    ids = {8: tokens.values[:4000].reshape(500, 8).numpy(), 4: tokens.values[4000:].reshape(300, 4).numpy()}
    expected = sum(model.bits(each, length).by_position.sum() for length, each in ids.items())
    spent = 32 * len(encode_ids(model, tokens.lengths.numpy(), tokens.values.numpy()))
    assert expected - 32 < spent < 1.001 * expected + 64
    assert len(pack(tokens, entropy=model)) < len(pack(tokens))


def test_without_a_code_model_the_file_is_as_before():
    content = pack(token_set([2, 8], 16))
    assert int.from_bytes(content[8:10], "little") == VERSION == 1


def test_another_model_or_none_is_refused_by_name():
    tokens, model = token_set([2, 8, 4], 16), fitted(16)
    content = pack(tokens, entropy=model)
    for other, found in ((None, "found none"), (fitted(16, images=50), "found that of sha256")):
        with pytest.raises(TokenFileError, match=rf"x: its ids are entropy-coded; .*{model.sha256[:16]}.*{found}"):
            unpack(content, source="x", entropy=other)


def test_what_a_model_knows_nothing_of_is_refused_before_a_file_is_written(tmp_path):
    tokens, model = token_set([2, 8], 16), fitted(16)
    continuous = TokenSet(torch.tensor([2]), torch.zeros(2, 3), torch.tensor([True]), None, "m")
    for part, wrong, message in (
        (tokens, fitted(17), "16 codes, found 2 of 17"),
        (tokens, CodeModel({2: model.counts[2]}), "found 8 tokens"),
        (continuous, model, "found continuous codes"),
    ):
        with pytest.raises(DataError, match=message):
            part.save(tmp_path / "x.alit", entropy=wrong)
    assert not list(tmp_path.iterdir())


def test_a_strength_is_read_and_not_computed_again(tmp_path):
    model = CodeModel(fitted(16).counts, dict.fromkeys(LENGTHS, 3.0))
    model.save(tmp_path, {})
    again = CodeModel.load(tmp_path)
    assert again.strengths == dict.fromkeys(LENGTHS, 3.0)
    assert again.sha256 == model.sha256 != fitted(16).sha256


def test_words_that_do_not_fit_are_none():
    tokens, model = token_set([8] * 40, 16), fitted(16)
    lengths = tokens.lengths.numpy()
    words = encode_ids(model, lengths, tokens.values.numpy())
    assert (decode_ids(model, lengths, words) == tokens.values.numpy()).all()
    assert decode_ids(model, lengths[:20], words) is None  # too many
    assert decode_ids(model, lengths, words[:2]) is None  # too few
    assert least_bits(model, lengths) <= 32 * len(words)
