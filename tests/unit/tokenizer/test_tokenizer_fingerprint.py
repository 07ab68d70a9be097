"""A tokenizer's fingerprint follows its weights however they are changed, and is not worked out twice for the same."""

import copy

import pytest
import torch
from tiny import tokenizer
from torch.optim import AdamW

from alit.models.weights import checksum, weights_digest
from alit.tokenizer import checkpoint
from alit.tokenizer.checkpoint import Fingerprint


def swap_rows(model):
    table = model.distillation.quantizer.embedding
    table.data = table.data.flip(0).contiguous()


def swap_columns(model):
    table = model.distillation.quantizer.embedding
    table.data = table.data.flip(1).contiguous()


def nudge(model):
    model.distillation.encoder.to_code.bias.data[3] += 1e-6


def train(model):
    sum(p.sum() for p in model.parameters()).backward()
    AdamW(model.parameters(), fused=True).step()


def load(model):
    model.load_state_dict(tokenizer(seed=5).state_dict())


@pytest.mark.parametrize("change", [swap_rows, swap_columns, nudge, train, load])
def test_it_changes_with_the_weights(change):
    model = tokenizer()
    before = model.fingerprint
    change(model)
    after = model.fingerprint
    assert after != before
    assert after == weights_digest(model.config.model_dump_json(), model.state_dict())


def test_it_is_the_same_for_the_same_weights_wherever_they_lie():
    model = tokenizer()
    before = model.fingerprint
    assert copy.deepcopy(model).fingerprint == before
    assert tokenizer().to(memory_format=torch.channels_last).fingerprint == before
    assert tokenizer().double().fingerprint == before
    assert tokenizer().bfloat16().fingerprint != before


def test_unchanged_weights_are_digested_once(monkeypatch):
    calls = []
    monkeypatch.setattr(checkpoint, "weights_digest", lambda *inputs: calls.append(inputs) or "digest")
    model = tokenizer()
    assert [model.fingerprint for _ in range(3)] == ["digest"] * 3
    assert len(calls) == 1
    nudge(model)
    assert model.fingerprint == "digest"
    assert len(calls) == 2


def test_other_settings_have_another_fingerprint():
    weights = {"table": torch.ones(2, 3), "scalar": torch.tensor(1.0), "none": torch.empty(0, 3)}
    one = Fingerprint()
    assert one("a", weights) == weights_digest("a", weights)
    assert one("b", weights) == weights_digest("b", weights) != weights_digest("a", weights)
    assert checksum(weights) == checksum({name: value.clone() for name, value in weights.items()})
