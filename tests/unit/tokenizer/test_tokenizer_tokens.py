import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alit import TokenSet
from alit.errors import DataError, TokenFileError
from alit.tokenizer.tokens import DIGEST_BYTES, MAGIC, pack, unpack


def token_set(lengths, *, codebook_size=1000, code_size=3, seed=0, model="m"):
    draw = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    values = (
        torch.randn(total, code_size, generator=draw)
        if codebook_size is None
        else torch.randint(codebook_size, (total,), generator=draw)
    )
    satisfied = torch.rand(len(lengths), generator=draw) < 0.5
    return TokenSet(torch.tensor(lengths, dtype=torch.int64), values, satisfied, codebook_size, model)


sets = st.builds(
    token_set,
    st.lists(st.integers(0, 40), max_size=12),
    codebook_size=st.none() | st.integers(1, 70_000),
    code_size=st.integers(1, 5),
    seed=st.integers(0, 100),
    model=st.text(max_size=20),
)


@settings(max_examples=200, deadline=None)
@given(sets)
def test_what_is_packed_is_unpacked(tokens):
    assert unpack(pack(tokens), source="x") == (tokens, None)
    names = tuple(f"bild {index} \N{LATIN SMALL LETTER U WITH DIAERESIS}.png" for index in range(len(tokens)))
    assert unpack(pack(tokens, names), source="x") == (tokens, names)


@settings(max_examples=300, deadline=None)
@given(sets, st.data())
def test_any_changed_byte_or_cut_gives_one_error_naming_the_file(tokens, data):
    content = bytearray(pack(tokens))
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    with pytest.raises(TokenFileError, match="holiday"):
        unpack(bytes(content), source="holiday.alit")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_token_file_are_refused(content):
    with pytest.raises(TokenFileError):
        unpack(content, source="x")


def test_ids_take_their_bits_and_little_more():
    tokens = token_set([32] * 100, codebook_size=4096)
    assert tokens.bits.tolist() == [32 * 12] * 100
    assert len(pack(tokens)) < 100 * 32 * 12 / 8 * 1.02 + 200


def test_indexing_selects_images_in_the_order_asked_for():
    tokens = token_set([2, 0, 5, 1])
    parts = tokens.values.split([2, 0, 5, 1])
    assert torch.equal(tokens[2].values, parts[2])
    assert tokens[-1].lengths.tolist() == [1]
    assert tokens[1:3].lengths.tolist() == [0, 5]
    assert torch.equal(tokens[[3, 0]].values, torch.cat([parts[3], parts[0]]))
    assert tokens[torch.tensor([False, True, True, False])].lengths.tolist() == [0, 5]
    with pytest.raises(IndexError):
        tokens[4]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 8))
def test_cutting_and_concatenating_gives_the_set_back(lengths, cut):
    tokens = token_set(lengths)
    assert TokenSet.concatenate([tokens[:cut], tokens[cut:]]) == tokens
    assert TokenSet.concatenate(list(tokens)) == tokens


def test_images_are_chosen_by_place_by_mask_or_not_at_all():
    tokens = token_set([2, 3, 0, 4])
    assert tokens[[2, 0]] == tokens[torch.tensor([2, 0])] == TokenSet.concatenate([tokens[2], tokens[0]])
    assert tokens[[True, False, False, True]] == tokens[torch.tensor([True, False, False, True])] == tokens[[0, 3]]
    assert len(tokens[[]]) == len(tokens[torch.tensor([], dtype=torch.int64)]) == 0


def test_equality_sees_every_part():
    tokens = token_set([2, 3])
    assert tokens == token_set([2, 3])
    assert tokens != token_set([3, 2])
    assert tokens != token_set([2, 3], model="other")
    assert tokens != token_set([2, 3], seed=1)
    assert tokens != "tokens"


def test_sets_of_different_tokenizers_do_not_mix():
    with pytest.raises(DataError, match="one tokenizer"):
        TokenSet.concatenate([token_set([1]), token_set([1], model="other")])
    with pytest.raises(DataError, match="none"):
        TokenSet.concatenate([])


def test_parts_that_do_not_belong_together_are_refused():
    with pytest.raises(DataError, match="expected 3 tokens"):
        TokenSet(torch.tensor([3]), torch.zeros(2, dtype=torch.int64), torch.tensor([True]), 4, "m")


def test_files_round_trip_and_a_missing_one_is_named(tmp_path):
    tokens = token_set([4, 4])
    tokens.save(tmp_path / "a.alit")
    assert TokenSet.load(tmp_path / "a.alit") == tokens
    with pytest.raises(TokenFileError, match="found none"):
        TokenSet.load(tmp_path / "b.alit")


def signed(content):
    return content + hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


@pytest.mark.parametrize("header", [b"[" * 100_000, b"null", b"{}", b"\xff", b'{"images": 1e999}'])
def test_a_header_that_is_none_is_refused_whatever_its_checksum(header):
    prefix = MAGIC + (1).to_bytes(2, "little") + len(header).to_bytes(4, "little")
    with pytest.raises(TokenFileError, match="header is malformed"):
        unpack(signed(prefix + header), source="x")


def test_text_that_cannot_be_printed_is_refused():
    content = pack(token_set([2], model="abcdef"), ["ghijkl"])[:-DIGEST_BYTES]
    assert unpack(signed(content), source="x").tokens.model == "abcdef"
    for text in (b"abcdef", b"ghijkl"):
        with pytest.raises(TokenFileError, match="malformed"):
            unpack(signed(content.replace(text, b"\\ud800")), source="x")
