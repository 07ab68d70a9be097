"""Checkpoint folders come back the same, damage is named, and the fingerprint follows the weights."""

import copy
import re

import pytest
import torch
from huggingface_hub import ModelCard, hub_mixin
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import images, tokenizer, tokenizer_config
from torch.optim import AdamW

from alit import AdaptiveTokenizer
from alit.errors import CheckpointError, ConfigError
from alit.models import hub
from alit.models.weights import checksum, weights_digest
from alit.tokenizer import checkpoint
from alit.tokenizer.checkpoint import Fingerprint


@pytest.fixture
def folder(tmp_path):
    tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    "config",
    [tokenizer_config(), tokenizer_config({"kind": "vae"}, quantize=False), tokenizer_config(prediction="similarity")],
)
def test_a_saved_tokenizer_comes_back_the_same(config, tmp_path):
    model = tokenizer(config)
    model.save_pretrained(tmp_path)
    loaded = AdaptiveTokenizer.from_pretrained(tmp_path)
    assert loaded.config == model.config
    assert loaded.fingerprint == model.fingerprint
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert torch.equal(
        loaded.decode(loaded.encode(images(2), length=4)), model.decode(model.encode(images(2), length=4))
    )


def test_loading_draws_nothing_at_random(folder):
    before = torch.random.get_rng_state()
    AdaptiveTokenizer.from_pretrained(folder)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_weights_in_half_precision_are_computed_with_in_float32(folder):
    path = folder / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(path).items()}, path)
    loaded = AdaptiveTokenizer.from_pretrained(folder)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert loaded.base.encoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert len(loaded.encode(images(1), length=2)) == 1


def test_damage_is_named(folder):
    weights, config = folder / "model.safetensors", folder / "config.json"
    whole, text = weights.read_bytes(), config.read_text()

    def refuse(error, words):
        with pytest.raises(error, match=words):
            AdaptiveTokenizer.from_pretrained(folder)
        weights.write_bytes(whole)
        config.write_text(text)

    weights.write_bytes(whole[:1000])
    refuse(CheckpointError, r"model\.safetensors cannot be read as weights \(truncated")
    weights.unlink()
    refuse(CheckpointError, r"found no model\.safetensors")
    config.unlink()
    refuse(CheckpointError, r"found no config\.json")
    config.write_text(text.replace('"width"', '"widht"'))
    refuse(ConfigError, r"unknown key distillation\.widht")
    config.write_text(text.replace('"width": 16', '"width": 32'))
    refuse(CheckpointError, r"class_token has shape \(1, 16\), expected \(1, 32\)")
    for content in ("{", "[1, 2]", "[" * 100_000, "3"):
        config.write_text(content)
        refuse((CheckpointError, ConfigError), r"config\.json")


def test_a_path_that_is_not_there_is_refused_without_asking_the_hub(folder, monkeypatch):
    monkeypatch.setattr(hub, "hf_hub_download", None)
    monkeypatch.chdir(folder.parent)
    for missing in (folder.parent / "nothing", "model/nothing", "./nothing"):
        with pytest.raises(CheckpointError, match=r"nothing, found no config\.json"):
            AdaptiveTokenizer.from_pretrained(missing)


def test_a_hub_id_is_fetched_with_the_options_given(folder, monkeypatch):
    asked = []

    def download(model, name, **options):
        asked.append((model, name, options))
        if not (folder / name).is_file():
            raise LocalEntryNotFoundError(f"no {name}")
        return str(folder / name)

    monkeypatch.setattr(hub, "fault_of_hub", lambda _: "")
    monkeypatch.setattr(hub, "hf_hub_download", download)
    loaded = AdaptiveTokenizer.from_pretrained("someone/model", revision="v2", local_files_only=True)
    assert loaded.fingerprint == tokenizer().fingerprint
    options = {"revision": "v2", "local_files_only": True}
    names = ("config.json", "model.safetensors", "length_predictor/config.json")  # the last is no part of most
    assert asked == [("someone/model", name, options) for name in names]
    assert loaded.length_predictor is None


def test_a_hub_that_does_not_answer_is_one_line(monkeypatch):
    def download(*_, **__):
        raise LocalEntryNotFoundError("no connection\nand a second line")

    monkeypatch.setattr(hub, "fault_of_hub", lambda _: "")
    monkeypatch.setattr(hub, "hf_hub_download", download)
    with pytest.raises(CheckpointError, match=r"found none at someone/model: no connection; give a folder"):
        AdaptiveTokenizer.from_pretrained("someone/model")


def test_the_card_says_what_the_checkpoint_is(folder):
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "alit-suite"
    assert card.data.license is None
    parameters = sum(parameter.numel() for parameter in tokenizer().parameters())
    for words in (f"{parameters:,} parameters", "16 px", "VQGAN, 16 image tokens", "2 + 2 layers of width 16"):
        assert words in card.text
    assert "| 2 | 8 | 0.031 |" in card.text  # 2 tokens of 4 bits over 256 pixels
    assert "Not stated by whoever saved these weights" in card.text


def test_the_cards_five_lines_run(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    Image.new("RGB", (20, 30), "teal").save("picture.jpg")
    tokenizer().save_pretrained("own", model_card_kwargs={"source": "own"})
    code = re.search(r"```python\n(.*?)```", (folder.parent / "own" / "README.md").read_text(), re.DOTALL)[1]
    names = {}
    exec(code, names)
    assert names["rebuilt"].shape == (1, 3, 16, 16)


def test_licence_and_notes_are_told_to_the_card_and_a_card_that_is_there_stays(folder):
    told = {"license": "apache-2.0", "notes": "Trained on scenes."}
    tokenizer().save_pretrained(folder.parent / "told", model_card_kwargs=told)
    card = ModelCard.load(folder.parent / "told" / "README.md")
    assert card.data.license == "apache-2.0"
    assert "Trained on scenes." in card.text
    assert "The weights: apache-2.0." in card.text
    tokenizer().save_pretrained(folder.parent / "told")
    assert ModelCard.load(folder.parent / "told" / "README.md").text == card.text


def test_pushing_uploads_weights_settings_and_card(monkeypatch):
    uploads = []

    class Hub:
        def __init__(self, **_):
            pass

        def create_repo(self, repo_id, **_):
            return type("Repository", (), {"repo_id": repo_id})

        def upload_folder(self, *, repo_id, folder_path, **_):
            uploads.append((repo_id, {path.name: path.read_bytes() for path in folder_path.iterdir()}))

    monkeypatch.setattr(hub_mixin, "HfApi", Hub)
    tokenizer().push_to_hub("someone/model", model_card_kwargs={"source": "someone/model"})
    ((repository, files),) = uploads
    assert repository == "someone/model"
    assert sorted(files) == ["README.md", "config.json", "model.safetensors"]
    assert b'from_pretrained("someone/model")' in files["README.md"]


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
