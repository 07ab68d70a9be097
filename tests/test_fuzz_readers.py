"""Damaged checkpoints: whatever the damage, the documented error or a checkpoint that still checks out."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published_names import published_name
from safetensors.torch import save_file
from tiny import tokenizer, tokenizer_config

from alit import AdaptiveTokenizer, load_published
from alit.errors import AlitError

EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
damage = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8)


def spoil(content, changes, cut):
    """Replace bytes at relative places, then keep a share `cut` of the content."""
    spoiled = bytearray(content)
    for place, value in changes:
        spoiled[int(place * len(spoiled))] = value
    return bytes(spoiled[: max(1, round(cut * len(spoiled)))])


def message(read, otherwise):
    """What the documented error says, or `otherwise` where reading succeeds; any other error fails the test."""
    try:
        read()
    except AlitError as error:
        return str(error)
    return otherwise


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """The bytes of one tiny checkpoint in each layout."""
    folder = tmp_path_factory.mktemp("checkpoints")
    config = tokenizer_config()
    tensors = {published_name(name, config): tensor.contiguous() for name, tensor in tokenizer().state_dict().items()}
    torch.save({"ema": tensors}, folder / "m.pth")
    save_file(tensors, folder / "m.safetensors")
    tokenizer().save_pretrained(folder / "ours")
    return folder


@pytest.mark.parametrize("name", ["m.pth", "m.safetensors"])
@EXAMPLES
@given(changes=damage, cut=st.sampled_from([1.0, 1.0, 0.9, 0.3, 0.01]))
def test_a_damaged_published_checkpoint_gives_the_documented_error_at_most(name, checkpoints, tmp_path, changes, cut):
    path = tmp_path / name
    path.write_bytes(spoil((checkpoints / name).read_bytes(), changes, cut))
    assert name in message(lambda: load_published(path, heads=2), otherwise=name)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@EXAMPLES
@given(changes=damage, cut=st.sampled_from([1.0, 1.0, 0.9, 0.3]))
def test_a_damaged_checkpoint_of_ours_gives_the_documented_error_at_most(name, checkpoints, tmp_path, changes, cut):
    for file in ("model.safetensors", "config.json"):
        content = (checkpoints / "ours" / file).read_bytes()
        (tmp_path / file).write_bytes(spoil(content, changes, cut) if file == name else content)
    assert message(lambda: AdaptiveTokenizer.from_pretrained(tmp_path), otherwise="none")
