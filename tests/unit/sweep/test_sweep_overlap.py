"""Which judged images a judge was trained on, by the names of files and the record of the judge."""

import json

import pandas as pd
import pytest
from checkout import ROOT, run_of_record

from alit.sweep.overlap import (
    IMAGENET,
    OWN_SETS,
    describe_judges,
    describe_overlap,
    images_seen,
    shared_classes,
    training_images,
    training_overlap,
)

KEPT = run_of_record().table
TRAINING = ["n01440764/n01440764_10162.jpg", "n02102040_3.JPEG"]
VALIDATION = ["n01440764/ILSVRC2012_val_00009111.jpg", "n01795545_ILSVRC2012_val_00023344.jpg"]


def judge(name="net", architecture="timm/resnet18", weights="pretrained", **more):
    return {"name": name, "architecture": architecture, "weights": weights, **more}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (judge(), IMAGENET),
        (judge(architecture="torchvision/alexnet"), IMAGENET),
        (judge(architecture="efficientnet_lite0"), IMAGENET),
        (judge(architecture="inception"), IMAGENET),
        (judge(architecture="timm/some_clip"), ""),
        (judge(architecture="blip_base"), ""),
        (judge(weights="local: resnet18.pth"), ""),
        (judge(weights="train", train_on="scenes"), "image set scenes"),
        (judge(weights="train", train_on=None), OWN_SETS),
        (judge(weights="fine-tune", train_on="near"), f"{IMAGENET} and then image set near"),
        (judge(architecture="timm/some_clip", weights="fine-tune", train_on="near"), ""),
    ],
)
def test_what_a_judge_was_trained_on(entry, expected):
    assert training_images(entry) == expected


@pytest.mark.parametrize(
    ("trained_on", "ids", "seen"),
    [
        (IMAGENET, TRAINING, 2),
        (IMAGENET, VALIDATION, 0),
        (IMAGENET, TRAINING + VALIDATION, 2),
        (IMAGENET, [*TRAINING, "n01440764.jpg"], None),  # a name that tells nothing
        ("image set val", TRAINING, 2),
        ("image set train", TRAINING, 0),
        (OWN_SETS, TRAINING, 0),
        (f"{IMAGENET} and then image set near", TRAINING + VALIDATION, 2),
        (f"{IMAGENET} and then image set near", ["a.png"], None),
        (f"{IMAGENET} and then image set val", ["a.png"], 1),
        (f"{IMAGENET} and then {OWN_SETS}", VALIDATION, 0),
        ("", TRAINING, None),
    ],
)
def test_how_many_images_it_has_seen(trained_on, ids, seen):
    assert images_seen(trained_on, "val", ids) == seen


def test_features_of_a_task_model_have_its_training_images():
    shared = judge("features", "task/net", "shared")
    found = training_overlap({"val": TRAINING, "own": ["a.png"]}, [judge(), shared, {"kind": "reconstruction"}])
    assert {(each.judge, each.dataset): each.seen for each in found} == {
        ("net", "val"): 2,
        ("net", "own"): None,
        ("features", "val"): 2,
        ("features", "own"): None,
    }


def test_it_is_said_in_words():
    sets = {"val": [*TRAINING * 2, VALIDATION[0]], "midas": VALIDATION, "own": ["a.png"]}
    judges = [judge(), judge("other"), judge("depth", "unet", "train", train_on="scenes"), judge("clip", "clip")]
    assert describe_overlap(training_overlap(sets, judges)) == [
        "net, other were trained on ImageNet-1K: 4 of the 5 of val (80%) are among them; no image of midas is; "
        "of own the names of the files do not tell.",
        "depth was trained on image set scenes: no image of val, midas, own is.",
        "What clip was trained on is not recorded.",
    ]
    tuned = judge(weights="fine-tune", train_on="near")
    assert describe_overlap(training_overlap(sets, [tuned])) == [
        "net was trained on ImageNet-1K and then image set near: 4 of the 5 of val (80%) are among them; no image of "
        "midas is; of own the names of the files do not tell.",
    ]


def test_sets_share_classes():
    sets = [
        {"dataset": "val", "class_names": ["n1", "n2", "n3"]},
        {"dataset": "near", "class_names": ["n3", "n1", "n9"]},
        {"dataset": "far"},
    ]
    assert shared_classes(sets, "val") == {"near": 2}


def test_a_sweep_is_described_from_its_table_and_record():
    rows = [("val", name, length) for name in TRAINING for length in (0, 4)] + [("near", "a.png", 0)]
    table = pd.DataFrame(rows, columns=["dataset", "image_id", "length"])
    sets = [{"dataset": "val", "class_names": ["n1"]}, {"dataset": "near", "class_names": ["n1", "n2"]}]
    assert describe_judges(table, {"tasks": [judge()], "images": sets}, "val") == [
        "net was trained on ImageNet-1K: 2 of the 2 of val (100%) are among them; of near the names of the files do "
        "not tell.",
        "near shares 1 of its classes with val.",
    ]
    assert describe_judges(table, {}, "val") == []


@pytest.mark.skipif(not KEPT.is_file(), reason="no kept results")
def test_judges_of_the_kept_run_had_seen_3791_of_3925_images():
    table = pd.read_parquet(KEPT, columns=["dataset", "image_id", "length"])
    record = json.loads(KEPT.with_name("config.json").read_text(encoding="utf-8"))
    sentences = " ".join(describe_judges(table, record, "imagenette_val"))
    assert "3,791 of the 3,925 of imagenette_val (97%) are among them" in sentences
    assert "imagenet1k_one_per_class shares 4 of its classes with imagenette_val." in sentences
    rule = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    assert "3,791 (97 %)" in rule
    assert "shares four classes with Imagenette" in rule
