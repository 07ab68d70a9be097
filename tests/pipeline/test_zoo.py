"""A trained profile kept as a checkpoint: the weights, and a card that says what they are."""

import hashlib
import json
import shutil

import pytest
import torch
import yaml
from checkout import ROOT
from tiny import images as random_images

from alit.config import load_profile
from alit.data.prepare import materialize_sets
from alit.errors import CheckpointError, ConfigError, DataError
from alit.models.loading import load_base, local_copy
from alit.models.weights import save_network, weights_sha256
from alit.paths import RunPaths
from alit.tokenizer.length_predictor import PredictedLoss
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.checkpoint import plain
from experiments import pretrained, release, release_checkpoint, release_predictor, variants


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The checkpoint of a smoke profile whose three training stages have run, as far as files tell."""
    root = tmp_path_factory.mktemp("checkout")
    (root / "dvc.yaml").touch()
    (root / "configs").mkdir()
    content = yaml.safe_load((ROOT / "configs" / "smoke.yaml").read_text())
    for part in content["data"]["sets"]:
        part["images"] = 40 if part["role"] == "train" else 5
    shutil.copy(ROOT / "configs" / "paper.yaml", root / "configs")
    paths = RunPaths(root, "tiny")
    paths.config.write_text(yaml.safe_dump(content))
    profile = load_profile(paths.config)
    materialize_sets(profile.data, paths.data, paths.rejected, ())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = AdaptiveTokenizer(profile.tokenizer)
    tokenizer.save_pretrained(paths.tokenizer)
    for folder, section in ((paths.base, "base_training"), (paths.distilled, "distill"), (paths.tokenizer, "finetune")):
        folder.mkdir(exist_ok=True)
        settings = {
            "training": getattr(profile, section),
            "tokenizer": profile.tokenizer,
            "data": profile.data,
            "perceptual_trunk": profile.perceptual_trunk,
        }
        (folder / "training.json").write_text(json.dumps(plain(settings)))
        (folder / "log.csv").write_text("step,images,seconds\n1,8,1.0\n10,80,360.0\n")
    save_network(tokenizer.base, tokenizer.config.base, paths.base)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(
            release_checkpoint.subprocess, "run", lambda *_, **__: type("Head", (), {"stdout": "0123456789ab\n"})
        )
        release.main(["tiny", "--checkpoint", "alit-tiny", "--threads", "2"])
    return paths


def test_it_loads_and_rebuilds_what_was_trained(checkpoint):
    images = random_images(2, AdaptiveTokenizer.from_pretrained(checkpoint.tokenizer).image_size)
    trained, kept = (
        AdaptiveTokenizer.from_pretrained(folder)
        for folder in (checkpoint.tokenizer, checkpoint.root / "zoo/alit-tiny")
    )
    assert {parameter.dtype for parameter in kept.parameters()} == {torch.float32}
    pairs = zip(trained.parameters(), kept.parameters(), strict=True)
    assert all(torch.equal(a.half().float(), b) for a, b in pairs)
    assert kept.decode(kept.encode(images, length=kept.lengths[0])).shape == images.shape
    in_base = {path.name for path in (checkpoint.root / "zoo/alit-tiny/base").iterdir()}
    assert in_base == {"training.json", "log.csv"}  # its weights are the checkpoint's own


def test_its_card_says_what_was_measured(checkpoint):
    folder = checkpoint.root / "zoo" / "alit-tiny"
    card = json.loads((folder / "card.json").read_text())
    assert [cost["visits"] for cost in card["costs"]] == [80, 80, 80]
    assert card["costs"][0]["core_hours"] == pytest.approx(0.2)
    tokenizer = AdaptiveTokenizer.from_pretrained(folder)
    assert [score["tokens"] for score in card["scores"]] == list(tokenizer.lengths)
    assert all(0 < score["l1"] < 1 for score in [*card["scores"], card["base"]])
    text = (folder / "README.md").read_text()
    assert f"| {card['scores'][0]['tokens']} |" in text
    assert card["sha256"]["model.safetensors"] in text
    assert "`OMP_NUM_THREADS=2 make repro PROFILE=tiny INIT_FROM=scratch`" in text


def test_a_card_names_what_each_stage_ran_on_and_what_else_there_is_to_know(checkpoint, monkeypatch):
    monkeypatch.chdir(checkpoint.root)
    monkeypatch.setattr(release_checkpoint, "keep_length_predictor", lambda *_: None)
    told = [
        "--commit",
        "abc1234",
        "--device",
        "distill=one GPU",
        "--device",
        "base=a TPU",
        "--remark",
        "It was Monday.",
    ]
    release.main(["tiny", "--checkpoint", "alit-told", "--threads", "2", *told])
    folder = checkpoint.root / "zoo" / "alit-told"
    card, text = json.loads((folder / "card.json").read_text()), (folder / "README.md").read_text()
    assert card["commit"] == "abc1234"
    assert [(cost.get("device"), cost["core_hours"]) for cost in card["costs"]] == [
        ("a TPU", pytest.approx(0.1)),
        ("one GPU", pytest.approx(0.1)),
        (None, pytest.approx(0.2)),
    ]
    assert "| Trained on | a TPU; one GPU;" in text
    assert "| distill | 80 | 0.10 | one GPU |" in text
    assert "\nIt was Monday.\n" in text
    shutil.rmtree(folder)


@pytest.mark.parametrize("wrong", ["one GPU", "sweep=one GPU", "distill="])
def test_a_device_of_no_stage_is_refused(checkpoint, monkeypatch, capsys, wrong):
    monkeypatch.chdir(checkpoint.root)
    with pytest.raises(SystemExit):
        release.main(["tiny", "--checkpoint", "alit-tiny", "--device", wrong])
    assert "expected STAGE=DEVICE with one of base, distill, finetune" in capsys.readouterr().err


@pytest.fixture(scope="module")
def with_variants(checkpoint, tmp_path_factory):
    """The profile with a variant of two seeds: one trained by stage `variants`, one taken from a folder."""
    root = tmp_path_factory.mktemp("varied")
    (root / "dvc.yaml").touch()
    shutil.copytree(checkpoint.config.parent, root / "configs")
    paths = RunPaths(root, "varied")
    content = yaml.safe_load(checkpoint.config.read_text())
    taken = {"name": "other", "set": {}, "seeds": [0, 1], "checkpoints": {1: "finished"}}
    content["variants"] = {"common": {"distill.optimization.steps": 1}, "trainings": [taken]}
    content["ablations"]["comparisons"], content["baselines"]["tokenizers"] = [], []
    paths.config.write_text(yaml.safe_dump(content))
    profile = load_profile(paths.config)
    variant = variants.variants.vary_training(profile.training, profile.variants, "other")
    shutil.copytree(checkpoint.data, paths.data)
    shutil.copytree(checkpoint.base, paths.base)
    for seed, folder in enumerate((paths.variants / "other" / "0", paths.root / "finished")):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            AdaptiveTokenizer(profile.tokenizer).save_pretrained(folder)
        record = variants.variants.variant_settings(variant, seed)
        (folder / "training.json").write_text(json.dumps(plain(record)))
        (folder / "log.csv").write_text("step,images,seconds\n1,24,36.0\n")
    return paths


@pytest.mark.parametrize(("seed", "folder"), [(0, "runs/varied/variants/other/0"), (1, "finished")])
def test_a_training_of_a_variant_is_kept_with_its_own_settings_and_the_base_they_share(
    with_variants, monkeypatch, seed, folder
):
    monkeypatch.chdir(with_variants.root)
    kept = with_variants.root / "zoo" / "alit-other"
    release.main(["varied", "--checkpoint", kept.name, "--variant", f"other/{seed}", "--commit", "abc1234"])
    trained, packed = (AdaptiveTokenizer.from_pretrained(each) for each in (with_variants.root / folder, kept))
    pairs = zip(trained.parameters(), packed.parameters(), strict=True)
    assert all(torch.equal(a.half().float(), b) for a, b in pairs)
    assert not (kept / "length_predictor").exists()
    assert (kept / "base" / "model.safetensors").is_file() == (seed == 1)  # whose own is another than the shared one
    card = json.loads((kept / "card.json").read_text())
    assert card["variant"] == f"other/{seed}"
    assert card["settings"]["distill"]["training"]["optimization"]["steps"] == 1
    assert card["settings"]["distill"]["seed"] == card["settings"]["finetune"]["seed"] == seed
    assert card["settings"]["base"] == json.loads((with_variants.base / "training.json").read_text())
    assert [(cost["stage"], cost["visits"]) for cost in card["costs"]] == [("base", 80), ("distill", 24)]
    text = (kept / "README.md").read_text()
    assert "INIT_FROM=scratch` without `checkpoints` of that variant, then" in text
    assert f"release varied --checkpoint alit-other --variant other/{seed}`" in text


def test_a_base_that_another_checkpoint_holds_is_named_there_and_not_copied_again(with_variants, monkeypatch, tmp_path):
    monkeypatch.chdir(with_variants.root)
    zoo = with_variants.root / "zoo"
    shutil.rmtree(zoo, ignore_errors=True)  # what other tests have left
    for name in ("alit-first", "alit-second"):
        release.main(["varied", "--checkpoint", name, "--variant", "other/1", "--commit", "abc1234"])
    assert (zoo / "alit-first/base/model.safetensors").is_file()
    assert {path.name for path in (zoo / "alit-second/base").iterdir()} == {"training.json", "log.csv"}
    first, second = (json.loads((zoo / name / "card.json").read_text()) for name in ("alit-first", "alit-second"))
    assert second["base"] == first["base"]
    own, named = "base/model.safetensors", "../alit-first/base/model.safetensors"
    assert second["sha256"] == {"model.safetensors": first["sha256"]["model.safetensors"], named: first["sha256"][own]}
    text = (zoo / "alit-second/README.md").read_text()
    assert "that it was distilled from is that of `alit-first`, which holds it as `base/`." in text
    found = release_checkpoint.trained(with_variants, "other/1")
    packed = tmp_path / "alit-second"  # as `--check` does, beside no other checkpoint
    assert release_checkpoint.pack(found, packed, zoo / "alit-second") == zoo / "alit-first/base"
    release.main(["varied", "--checkpoint", "alit-first", "--variant", "other/1", "--commit", "abc1234"])
    assert (zoo / "alit-first" / own).is_file()  # the one that holds it keeps it
    shutil.rmtree(zoo)


def test_a_variant_is_checked_against_what_was_trained_again_alone(with_variants, monkeypatch, capsys):
    monkeypatch.chdir(with_variants.root)
    release.main(["varied", "--checkpoint", "alit-other", "--variant", "other/0", "--commit", "abc1234"])
    release.main(["varied", "--checkpoint", "alit-other", "--check"])
    assert "the same weights, byte for byte" in capsys.readouterr().out
    release.main(["varied", "--checkpoint", "alit-other", "--variant", "other/1", "--commit", "abc1234"])
    with pytest.raises(ConfigError, match="takes other/1 from finished; remove that line"):
        release.main(["varied", "--checkpoint", "alit-other", "--check"])


def test_an_unknown_variant_or_one_that_was_not_trained_is_named(with_variants, monkeypatch):
    monkeypatch.chdir(with_variants.root)
    with pytest.raises(ConfigError, match=r"\(other/0, other/1\), found other/2"):
        release.main(["varied", "--checkpoint", "alit-new", "--variant", "other/2", "--commit", "abc1234"])
    shutil.rmtree(with_variants.variants)
    with pytest.raises(DataError, match="found none; run stage `variants`"):
        release.main(["varied", "--checkpoint", "alit-new", "--variant", "other/0", "--commit", "abc1234"])


def test_its_length_predictor_travels_with_what_became_of_its_promises(checkpoint, monkeypatch):
    monkeypatch.chdir(checkpoint.root)
    monkeypatch.setattr(release_predictor, "PROMISES", (0.9, 1e-4))  # what random weights keep, and what they cannot
    folder = checkpoint.root / "zoo" / "alit-tiny"
    weights = (folder / "model.safetensors").read_bytes()
    release.main(["tiny", "--checkpoint", "alit-tiny", "--length-predictor"])
    tokenizer = AdaptiveTokenizer.from_pretrained(folder)
    assert len(tokenizer.encode(random_images(2, tokenizer.image_size), until=PredictedLoss(l1=0.9))) == 2
    checks = json.loads((folder / "length_predictor" / "promises.json").read_text())
    assert [each["data"] for each in (*checks["same"], *checks["others"])] == ["val", "near", "far"]
    assert [(each["images"], each["able"], each["kept"]) for each in checks["same"]] == [(5, 5, 5)]
    text = (folder / "README.md").read_text()
    assert "### Lengths in one pass" in text
    assert "| 5 of val | 0.9 | 100.0 % | 100.0 %" in text
    assert text == release_checkpoint.readme(folder, ROOT)
    assert (folder / "model.safetensors").read_bytes() == weights


@pytest.fixture
def kept_card(checkpoint, monkeypatch):
    """The path of the card, whose content comes back after the test."""
    monkeypatch.chdir(checkpoint.root)
    path = checkpoint.root / "zoo" / "alit-tiny" / "card.json"
    text = path.read_text()
    yield path
    path.write_text(text)


def edited(path, edit):
    """Change the JSON in a file."""
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_a_training_that_gives_the_same_weights_agrees_with_its_card(kept_card, capsys):
    before = sorted(kept_card.parent.rglob("*"))
    edited(kept_card, lambda card: card["settings"]["base"]["data"]["sets"].pop())  # not one that it trains on
    release.main(["tiny", "--checkpoint", "alit-tiny", "--check"])
    assert "the same weights, byte for byte" in capsys.readouterr().out
    assert sorted(kept_card.parent.rglob("*")) == before


def test_other_weights_agree_with_a_card_if_every_error_is_near_it(kept_card, capsys):
    edited(kept_card, lambda card: card["sha256"].update({"model.safetensors": "0" * 64}))
    edited(kept_card, lambda card: card["scores"][0].update(l1=card["scores"][0]["l1"] * 1.02))
    release.main(["tiny", "--checkpoint", "alit-tiny", "--check"])
    assert "other weights, every L1 within 3%" in capsys.readouterr().out


@pytest.mark.parametrize("factor", [1.05, 0.95])
def test_an_error_far_from_the_cards_is_named(kept_card, factor):
    length = json.loads(kept_card.read_text())["scores"][1]["tokens"]
    edited(kept_card, lambda card: card["scores"][1].update(l1=card["scores"][1]["l1"] * factor))
    with pytest.raises(DataError, match=f"within 3%.*{length} latent tokens [-+]"):
        release.main(["tiny", "--checkpoint", "alit-tiny", "--check"])


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (lambda card: card["settings"]["base"]["training"]["optimization"].update(steps=7), "settings"),
        (lambda card: card["settings"]["base"]["data"]["sets"][0].update(images=7), "settings"),
        (lambda card: card.update(images=4), "images"),
    ],
)
def test_a_card_of_other_settings_is_not_compared(kept_card, edit, what):
    edited(kept_card, edit)
    with pytest.raises(DataError, match=f"expected {what} as on the card.*INIT_FROM=scratch"):
        release.main(["tiny", "--checkpoint", "alit-tiny", "--check"])


def test_a_checkpoint_that_is_not_there_is_named_with_those_that_are(kept_card):
    with pytest.raises(DataError, match=r"\(alit-tiny\), found alit-other"):
        release.main(["tiny", "--checkpoint", "alit-other", "--check"])


@pytest.mark.parametrize("folder", sorted((ROOT / "zoo").glob("alit-*")), ids=lambda folder: folder.name)
def test_the_cards_of_this_repository_are_those_of_their_files(folder):
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    base = card["settings"]["base"]["base"].get("pretrained")
    if base is not None and local_copy(base) is None:
        pytest.skip(f"{base} is not on this machine")
    assert release_checkpoint.readme(folder, ROOT) == (folder / "README.md").read_text(encoding="utf-8")
    assert card["sha256"] == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in card["sha256"]}
    profile = load_profile(ROOT / "configs" / f"{card['profile']}.yaml")
    name = card.get("variant", "").partition("/")[0]
    settings = variants.variants.vary_training(profile.training, profile.variants, name) if name else profile.training
    for stage, section in (("base", "base_training"), ("distill", "distill"), ("finetune", "finetune")):
        if stage != "base" or base is None:  # a published base was not trained
            assert card["settings"][stage]["training"] == plain(getattr(settings, section)), stage
    assert card["settings"]["distill"]["tokenizer"] == plain(settings.tokenizer)


PROFILES = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_finished_variants_are_trainings_by_the_settings_of_their_profile(path):
    profile = load_profile(path)
    for entry in profile.variants.trainings:
        for seed, folder in entry.checkpoints.items():
            variant = variants.variants.vary_training(profile.training, profile.variants, entry.name)
            taken = variants.take(ROOT / folder, entry, variant, seed)
            assert taken.log is not None
            with pytest.raises(CheckpointError, match=f"expected seed {seed + 100} of stage distill"):
                variants.variants.require_trained_by(variant, seed + 100, variants.records(ROOT / folder), folder)


def test_a_profile_goes_on_from_it(checkpoint, monkeypatch):
    monkeypatch.chdir(checkpoint.root)
    again = RunPaths(checkpoint.root, "again")
    again.config.write_text(checkpoint.config.read_text().replace("init_from: scratch", "init_from: zoo/alit-tiny"))
    pretrained.main(["again"])
    tokenizer = AdaptiveTokenizer.from_pretrained(again.pretrained / "tokenizer")
    base = load_base(again.pretrained / "base")
    assert weights_sha256(base) == weights_sha256(tokenizer.base)
    for part in ("base", "distilled", "tokenizer"):
        assert {"training.json", "log.csv"} <= {path.name for path in (again.pretrained / part).iterdir()}
