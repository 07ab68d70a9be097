"""Damaged files: whatever the damage, the documented error or something that still checks out."""

import pytest
from fuzz_readers import outcome, readers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import CHANGES, mutate, mutate_json
from numpy.random import default_rng
from tiny import images, tokenizer

from alit.tokenizer.tokens import pack

pytestmark = pytest.mark.slow

NAMES = (
    *("picture", "mask", "npz", "npy", "inverse depth", "scores.csv", "manifest", "set.json", "profile"),
    *("profile values", "path list", "Parquet of pictures", "shard"),
    *("table", "tokenized part", "unfinished tokens", "record of a sweep", "result file", "claims.json"),
    *("token file", "signed token file", "coded token file", "signed coded file", "code_model.json"),
    *(
        "code_model.safetensors",
        "length predictor",
        "its weights",
        "its tensors",
        "published pth",
        "published safetensors",
        "published tensors",
    ),
    *("model.safetensors", "own tensors", "config.json", "origin.json"),
)
INPUTS = 20  # of each reader: a tenth of a per cent of the run in docs/reliability.md


@pytest.fixture(scope="module")
def by_name(tmp_path_factory):
    """The readers of the fuzz run."""
    return {reader.name: reader for reader in readers(tmp_path_factory.mktemp("readers"))}


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=INPUTS, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1))
def test_a_damaged_file_gives_the_documented_error_at_most(name, by_name, seed):
    assert outcome(by_name[name], seed) in ("read", "refused")


def test_the_readers_of_the_fuzz_run_are_those_tested_here_and_read_what_is_whole(by_name):
    assert tuple(by_name) == NAMES
    for reader in by_name.values():
        for original in reader.originals:
            reader.read(original)


def test_every_change_damages_and_none_depends_on_more_than_its_generator():
    content = pack(tokenizer().encode(images(2), length=4))
    for change in CHANGES:
        assert any(change(content, default_rng(seed)) != content for seed in range(20)), change
    assert mutate(content, default_rng(5)) == mutate(content, default_rng(5))
    text = b'{"a": [1, {"b": null}], "c": "d"}'
    assert mutate_json(text, default_rng(5)) == mutate_json(text, default_rng(5))
    assert len({mutate_json(text, default_rng(seed)) for seed in range(50)}) > 40
