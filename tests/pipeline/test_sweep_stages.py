"""The stages around the sweep, on a few tiny scenes: task models, sweep, examples."""

import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from scene_project import save_tokenizer, scene_project

from alit.analysis.pictures import COLUMNS
from alit.config import load_profile
from alit.data.imageset import SetCard, open_set
from alit.data.prepare import materialize_sets
from alit.errors import ConfigError
from alit.sweep.schema import read_table
from alit.tasks.protocol import round_to_8_bit
from alit.tokenizer.code_model import CodeModel
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from experiments import examples, sweep, task_models, thumbnails


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ALIT_SCRATCH", raising=False)
    return scene_project(tmp_path)


def test_a_killed_training_stage_keeps_its_finished_models_even_if_another_one_changes(paths, monkeypatch):
    trained = []
    train = task_models.train_supervised

    def train_until_killed(network, *args, name, **settings):
        trained.append(name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        train(network, *args, name=name, **settings)

    monkeypatch.setattr(task_models, "train_supervised", train_until_killed)
    with pytest.raises(KeyboardInterrupt):
        task_models.main(["tiny"])
    assert not paths.task_models.exists()
    content = yaml.safe_load(paths.config.read_text())
    content["task_models"][-1]["learning_rate"] *= 2  # of one alone: the others need no training for it
    paths.config.write_text(yaml.safe_dump(content))
    task_models.main(["tiny"])
    names = [model.name for model in load_profile(paths.config).task_models if model.weights == "train"]
    assert trained == [*names[:2], *names[1:]]
    assert {path.name for path in paths.task_models.iterdir()} == set(names)
    assert not any(paths.scratch.iterdir())
    results = json.loads((paths.task_models / "resnet18" / "config.json").read_text())["results"]
    assert 0 <= results["accuracy"] <= 1
    results = json.loads((paths.task_models / "small_unet" / "config.json").read_text())["results"]
    assert results["relative_depth_error"] > 0
    results = json.loads((paths.task_models / "dual_encoder" / "config.json").read_text())["results"]
    assert 0 <= results["caption_score"] <= 1
    assert (paths.task_models / "small_cnn" / "log.csv").is_file()


def test_a_model_learns_from_the_set_that_it_names(paths, monkeypatch):
    content = yaml.safe_load(paths.config.read_text())
    fields = {"source": "scenes", "path": None, "variant": "base", "images": 5, "pack": True}
    for name, split in (("lessons", "train"), ("exam", "val")):
        content["data"]["sets"].append({"name": name, "role": "task", "split": split, **fields})
    content["task_models"] = [
        model | ({"train_on": "lessons", "test_on": "exam"} if model["name"] == "unet" else {})
        for model in content["task_models"]
    ]
    paths.config.write_text(yaml.safe_dump(content))
    materialize_sets(load_profile(paths.config).data, paths.data, paths.rejected, ())
    seen = {}

    def train(model, train, test, *rest):
        seen[model.name] = (train.name, test.name)
        rest[-1].mkdir(parents=True)

    monkeypatch.setattr(task_models, "_train", train)
    task_models.main(["tiny"])
    assert seen.pop("unet") == ("lessons", "exam")
    assert set(seen.values()) == {("train", "val")}


def test_a_depth_network_is_not_trained_where_depth_is_unknown(paths):
    (paths.data / "train" / "depth.npy").unlink()
    depth = next(model for model in load_profile(paths.config).task_models if model.kind == "depth")
    images = open_set(paths.data / "train")
    with pytest.raises(ConfigError, match="expected a set with depth in meters to train on, found train"):
        task_models._train(depth, images, images, None, 0, paths.scratch, paths.task_models)


@pytest.mark.slow
def test_the_sweep_stage_writes_a_table_features_and_record(paths):
    task_models.main(["tiny"])
    save_tokenizer(paths)
    sweep.main(["tiny"])
    table = read_table(paths.table)
    profile = load_profile(paths.config)
    assert sorted(table["dataset"].unique()) == sorted(s.name for s in profile.data.sets if s.role == "evaluate")
    assert sorted(table["length"].unique()) == [0, *profile.tokenizer.lengths]
    ranks = table[["class_rank_small_cnn", "class_rank_resnet18"]]
    assert ranks.notna().any().all()
    own = table[["class_rank_in_set_small_cnn", "class_rank_in_set_resnet18"]]  # trained on the scenes' classes
    known = ranks.notna().to_numpy()
    assert (own.to_numpy()[known] == ranks.to_numpy()[known]).all()
    assert table["depth_true_error_small_unet"].notna().all()
    scenes = table["dataset"] != "far"  # whose patterns may all be at one distance, which orders nothing
    assert table.loc[scenes, "depth_rank_agreement_small_unet"].notna().all()
    assert table["caption_true_score_dual_encoder"].notna().all()
    assert (table.loc[table["length"] == 0, "caption_score_dual_encoder"] == 1).all()
    features = np.load(paths.sweep / f"features_{profile.analysis.feature_extractor}.npy", mmap_mode="r")
    assert len(features) == len(table)
    record = json.loads((paths.sweep / "config.json").read_text())
    assert record["tokenizer"]["lengths"] == list(profile.tokenizer.lengths)
    assert {task.get("weights_sha256") for task in record["tasks"]} > {None}
    known = record["training_images"]
    assert (known["dataset"], known["of"], known["distances"]["images"]) == ("train", 16, 8)
    assert known["code_model"] | {"images": 6, "sha256": CodeModel.load(paths.sweep).sha256} == known["code_model"]
    assert (table[f"training_distance_{profile.analysis.feature_extractor}"] >= 0).all()
    assert (table["entropy_bits"].isna() == (table["length"] == 0)).all()
    assert not [path for path in paths.scratch.iterdir() if path.name.startswith(("sweep", "training"))]


@pytest.fixture
def tokenizers(paths):
    """A tokenizer of random weights as the profile's own and as one variant, and a codec as its only baseline."""
    save_tokenizer(paths)
    shutil.copytree(paths.tokenizer, paths.variants / "again" / "3")
    content = yaml.safe_load(paths.config.read_text())
    codec = {"image_format": "jpeg", "image_size": content["data"]["image_size"], "qualities": [10, 90]}
    target = {"name": "jpeg", "target": "alit.tokenizer.adapters:CodecTokenizer", "arguments": codec}
    content["baselines"] = {"sets": ["val"], "tokenizers": [target]}
    paths.config.write_text(yaml.safe_dump(content))


@pytest.mark.usefixtures("tokenizers")
def test_the_examples_stage_keeps_pictures_and_their_errors(paths):
    examples.main(["tiny"])
    kept = np.load(paths.examples / "examples.npz")
    lengths = load_profile(paths.config).tokenizer.lengths
    assert kept["lengths"].tolist() == list(lengths)
    size = load_profile(paths.config).data.image_size
    assert kept["originals"].shape == (2, size, size, 3)
    assert kept["reconstructions"].shape == (2, len(lengths), size, size, 3)
    table = pd.read_csv(paths.examples / "examples.csv")
    assert table["image_id"].nunique() == 2
    tokenizer = AdaptiveTokenizer.from_pretrained(paths.tokenizer).eval()
    originals = torch.from_numpy(kept["originals"]).permute(0, 3, 1, 2) / 255
    first = next(iter(tokenizer.reconstructions(originals))).images
    expected = (round_to_8_bit(first) - originals).abs().mean(dim=(1, 2, 3))
    np.testing.assert_allclose(table.loc[table["length"] == lengths[0], "l1"], expected, rtol=1e-4)


@pytest.mark.usefixtures("tokenizers")
def test_scenes_are_kept_as_every_tokenizer_rebuilds_them(paths):
    examples.main(["tiny"])
    table = pd.read_parquet(paths.pictures)
    assert tuple(table.columns.sort_values()) == tuple(sorted(COLUMNS))
    lengths = load_profile(paths.config).tokenizer.lengths
    sizes = table.groupby(["kind", "tokenizer"]).size().to_dict()
    per_image = len(lengths) + 1
    assert sizes == {("own", "own"): 2 * per_image, ("variant", "again"): 2 * per_image, ("baseline", "jpeg"): 2 * 3}
    assert (table["dataset"] == "val").all()
    known = open_set(paths.data / "val").manifest.set_index("image_id")["complexity"]
    assert known.loc[table["image_id"]].tolist() == table["complexity"].tolist()
    own = table.loc[table["kind"] == "own"].set_index(["image_id", "length"])
    for (image_id, length), row in own.iterrows():
        original, rebuilt = (
            np.asarray(Image.open(io.BytesIO(own.loc[(image_id, at), "picture"]))) / 255 for at in (0, length)
        )
        assert np.abs(original - rebuilt).mean() == pytest.approx(row["l1"], abs=1e-9)
    assert own["bits"].groupby("length").first()[lengths[1]] == 2 * own["bits"].groupby("length").first()[lengths[0]]


@pytest.mark.usefixtures("tokenizers")
def test_the_thumbnails_stage_keeps_images_from_all_over_the_evaluation_set(paths):
    thumbnails.main(["tiny"])
    kept = pd.read_parquet(paths.thumbnails)
    known = open_set(paths.data / "val").manifest["image_id"].astype(str)
    assert set(kept["image_id"]) <= set(known)
    assert len(kept) == min(len(known), load_profile(paths.config).report.explorer_images)
    assert kept["publishable"].all()
    profile = load_profile(paths.config).tokenizer
    strip = Image.open(io.BytesIO(kept["strip"].iat[0]))
    assert strip.size == ((1 + len(profile.lengths)) * profile.image_size, profile.image_size)


def test_no_picture_but_of_composed_scenes_is_kept_for_the_studies():
    def card(name, source, role, split="val", variant="base"):
        fields = {"path": None, "variant": variant, "split": split, "image_size": 32, "packed": True}
        return SetCard(name=name, source=source, role=role, class_names=(), **fields)

    photographs = card("photographs", "folder", "evaluate")
    tasks = [card("lessons", "scenes", "task", "train"), card("exam", "scenes", "task")]
    controlled, scenes = card("steps", "scenes", "evaluate", variant="objects"), card("scenes", "scenes", "evaluate")
    assert examples.publishable_set([photographs, controlled, *tasks[:1]], "photographs") is None
    assert examples.publishable_set([photographs, *tasks], "photographs") == "exam"
    assert examples.publishable_set([photographs, *tasks, scenes], "photographs") == "scenes"
    assert examples.publishable_set([photographs, *tasks, scenes], "exam") == "exam"


def test_examples_of_an_unknown_set_are_refused(paths):
    content = yaml.safe_load(paths.config.read_text())
    content["report"]["example_set"] = "nowhere"
    paths.config.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match="nowhere"):
        examples.main(["tiny"])


@pytest.mark.parametrize(("total", "wanted", "rows"), [(10, 4, [0, 2, 5, 7]), (3, 8, [0, 1, 2]), (500, 2, [0, 250])])
def test_examples_come_from_all_over_the_set(total, wanted, rows):
    assert examples.spread_rows(total, wanted).tolist() == rows
