"""The page on paper and published code: its code runs and does what it says, and the options that it names exist."""

import re

import pytest
import torch
import yaml
from checkout import ROOT
from tiny import images, tokenizer, tokenizer_config

from alit import ReconstructionLoss
from alit.models.distillation import Halting

PAGE = (ROOT / "docs" / "paper-or-code.md").read_text(encoding="utf-8")
PUBLISHED, HARD = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run(code, **changes):
    names = {"torch": torch, "Halting": Halting, "tokenizer": tokenizer(), "images": images(4)} | changes
    with torch.no_grad():
        exec(code, names)
    return names


@pytest.mark.parametrize(("threshold", "length", "satisfied"), [(10.0, 2, True), (0.0, 6, False)])
def test_the_mean_of_the_batch_gives_all_images_one_length(threshold, length, satisfied):
    tokens = run(PUBLISHED.replace("0.07", str(threshold)))["tokens"]
    assert tokens.lengths.tolist() == [length] * 4
    assert tokens.satisfied.tolist() == [satisfied] * 4


def test_halting_changes_what_is_encoded_and_repeats_under_its_seed():
    model = tokenizer(tokenizer_config(quantize=False))

    def encoded(seed):
        code = PUBLISHED.replace("0.07", "0.0").replace("Halting()", "Halting(probability=0.0)")
        return run(code.replace("manual_seed(0)", f"manual_seed({seed})"), tokenizer=model)["tokens"]

    assert encoded(0) == encoded(0)
    assert encoded(0) != encoded(1)
    assert encoded(0) != model.encode(images(4), until=ReconstructionLoss(l1=1e-9))


def test_hard_codes_are_the_codebooks():
    names = run(HARD)
    codebook = names["tokenizer"].base.codebook
    chosen = names["step"].prediction.argmax(dim=-1)
    assert torch.equal(names["hard"], names["tokenizer"].base.decode(codebook[chosen]).detach())
    assert not torch.equal(names["hard"], names["tokenizer"].base.decode(names["step"].predicted_codes).detach())


def test_every_setting_that_the_page_names_is_in_every_profile():
    named = set(re.findall(r"`((?:tokenizer|distill|finetune)\.[\w.]+)`", PAGE))
    assert len(named) > 8
    for path in (ROOT / "configs").glob("*.yaml"):
        for keys in named:
            content = yaml.safe_load(path.read_text())
            for key in keys.split("."):
                content = content[key]
                published = isinstance(content, dict) and content.get("kind") == "diffusers"
                if content is None or published:  # left out by this profile, or a base of another kind
                    break
