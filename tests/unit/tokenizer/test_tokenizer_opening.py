"""Checkpoints in every form: a folder, a hub id, a file of the authors'; each with where its weights come from."""

import hashlib
from argparse import Namespace
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from published_names import published_name
from tiny import tokenizer, tokenizer_config

from alit.cli import main
from alit.errors import CheckpointError
from alit.models.weights import WEIGHTS_FILE
from alit.tokenizer.opening import open_checkpoint, require_same_networks
from alit.tokenizer.origin import read_origin

HEADS = 2


def authors_file(path: Path, layout: str = "ema", prefix: str = "", **settings) -> Path:
    """Write a tiny tokenizer as the authors write theirs."""
    state = tokenizer().state_dict()
    tensors = {prefix + published_name(name, tokenizer_config()): value for name, value in state.items()}
    torch.save({layout: tensors, "epoch": 199, "args": Namespace(**settings)}, path)
    return path


def hub_cache(folder: Path, name: str) -> None:
    """Lay a checkpoint out as the hub's client keeps what it has downloaded."""
    repository = folder / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("0" * 40)
    tokenizer().save_pretrained(snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)


@pytest.mark.parametrize("content", ["[]", '{"name": "x"}', "{", "\x00"])
def test_somebody_elses_card_in_the_folder_says_nothing(tmp_path, content):
    tokenizer().save_pretrained(tmp_path / "mine")
    (tmp_path / "mine" / "card.json").write_text(content)
    assert open_checkpoint(str(tmp_path / "mine"), tmp_path).origin.trained is None


def is_whole(opened) -> bool:
    """Whether every weight of the tiny tokenizer came back; inert settings may differ."""
    state = opened.tokenizer.state_dict()
    return all(torch.equal(state[name], value) for name, value in tokenizer().state_dict().items())


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_folder_opens_by_a_path_from_the_root_or_from_anywhere(tmp_path):
    tokenizer().save_pretrained(tmp_path / "zoo" / "tiny")
    for source in ("zoo/tiny", str(tmp_path / "zoo" / "tiny")):
        opened = open_checkpoint(source, tmp_path)
        assert is_whole(opened)
        assert opened.origin.checkpoint == "tiny"
        assert opened.origin.sha256 == sha256(tmp_path / "zoo" / "tiny" / WEIGHTS_FILE)
        assert opened.origin.trained is None
        assert str(tmp_path) not in opened.origin.model_dump_json()


def test_a_hub_id_opens_from_the_cache_of_the_hubs_client(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub_cache(tmp_path, "someone/alit-tiny")
    opened = open_checkpoint("someone/alit-tiny", tmp_path / "elsewhere")
    assert is_whole(opened)
    assert opened.origin.checkpoint == "someone/alit-tiny"
    assert len(opened.origin.sha256) == 64
    with pytest.raises(CheckpointError, match="hub id, found none at someone/other"):
        open_checkpoint("someone/other", tmp_path / "elsewhere")


def test_a_file_of_the_authors_opens_and_says_what_it_knows(tmp_path):
    path = authors_file(tmp_path / "alit_tiny.pth", lr=1e-4)
    opened = open_checkpoint("alit_tiny.pth", tmp_path, heads=HEADS)
    assert is_whole(opened)
    assert opened.origin.converted_from == opened.origin.checkpoint == "alit_tiny.pth"
    assert opened.origin.sha256 == sha256(path)
    assert "to epoch 199" in opened.origin.describe()


def test_a_converted_folder_still_says_what_it_was_converted_from(tmp_path):
    path = authors_file(tmp_path / "alit_tiny.pth")
    main(["convert", str(path), str(tmp_path / "converted"), "--heads", "2"])
    opened = open_checkpoint("converted", tmp_path)
    assert (opened.origin.checkpoint, opened.origin.converted_from) == ("converted", "alit_tiny.pth")
    assert opened.origin.sha256 == sha256(tmp_path / "converted" / WEIGHTS_FILE)
    kept = read_origin(tmp_path / "converted")
    assert kept is not None
    assert kept.sha256 == sha256(path)


@pytest.mark.parametrize("layout", ["ema", "model_ema", "model", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module."])
def test_wrapped_networks_and_every_layout_are_read(layout, prefix, tmp_path):
    authors_file(tmp_path / "m.pth", layout, prefix)
    opened = open_checkpoint("m.pth", tmp_path, heads=HEADS)
    assert is_whole(opened)


def test_settings_may_hold_paths_numbers_of_numpy_and_devices(tmp_path):
    settings = {
        "output": tmp_path / "somewhere",
        "lr": np.float64(1e-4),
        "epochs": np.int64(200),
        "resume": np.bool_(True),
        "scale": np.float32(2),
        "device": torch.device("cuda"),
        "betas": [0.9, (0.95,)],
        "dist": {"url": "env://", "rank": None},
    }
    authors_file(tmp_path / "m.pth", **settings)
    assert is_whole(open_checkpoint("m.pth", tmp_path, heads=HEADS))


class Custom:
    """A class of the authors' own code that a pickle would need."""


def test_what_is_refused_is_named_in_one_short_line(tmp_path):
    authors_file(tmp_path / "m.pth", criterion=Custom())
    with pytest.raises(CheckpointError, match=r"found \S+\.Custom, which could run code; refused") as refusal:
        open_checkpoint("m.pth", tmp_path, heads=HEADS)
    assert len(str(refusal.value).splitlines()) == 1
    assert len(str(refusal.value)) < 300
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="expected a dict of tensors, found a list"):
        open_checkpoint("list.pth", tmp_path)
    torch.save({"ema": {"weight": torch.zeros(1), "steps": 3}}, tmp_path / "mixed.pth")
    with pytest.raises(CheckpointError, match="a plain state dict of tensors, found int"):
        open_checkpoint("mixed.pth", tmp_path)


@pytest.mark.parametrize("source", ["missing.pth", "folder/missing", "./a/b", "no such thing", "folder/m.safetensors"])
def test_what_is_not_there_is_said_with_all_forms_that_would_do(source, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(
        CheckpointError, match=r"expected a checkpoint at .*, found none; it may be a folder of .* \.pth"
    ):
        open_checkpoint(source, tmp_path)
    with pytest.raises(CheckpointError, match=r"found no config\.json"):
        open_checkpoint("folder", tmp_path)


def test_keys_without_effect_may_differ_and_others_may_not():
    def difference(base=None, other=None, **changes):
        common = {"latent_scale": 1.0, "sample_posterior": True, "level_attention": True, **(base or {})}
        require_same_networks(
            tokenizer_config(base), tokenizer_config({**common, **(other or {})}, **changes), "somewhere"
        )

    difference(similarity_scale=1.0)  # with logits and a codebook, none of these is read
    difference({"kind": "vqgan"}, quantize=True)
    words = r"somewhere: expected tokenizer\.distillation\.layers 2 as in the profile, found 3; make"
    with pytest.raises(CheckpointError, match=words):
        difference(layers=3)
    with pytest.raises(CheckpointError, match=r"tokenizer\.base\.channels 4 as in the profile, found 8"):
        difference(other={"channels": 8})
    with pytest.raises(CheckpointError, match=r"tokenizer\.base\.latent_scale 0\.2325 as in the profile, found 1\.0"):
        difference({"kind": "vae", "sample_posterior": True, "level_attention": True}, {"latent_scale": 1.0})
    with pytest.raises(CheckpointError, match=r"tokenizer\.base\.kind vqgan as in the profile, found vae"):
        require_same_networks(tokenizer_config(), tokenizer_config({"kind": "vae"}), "somewhere")
