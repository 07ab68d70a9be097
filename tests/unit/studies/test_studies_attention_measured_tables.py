"""What the attention stage writes: every image, iteration, rule and source of maps once, the same each time."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from PIL import Image
from scene_project import save_tokenizer, scene_project

from alit.data.imageset import ImageSet, open_set
from alit.data.prepare import ImageSetConfig, build_source, write_set
from alit.errors import ConfigError, DataError
from alit.studies.attention import measure as attention
from alit.studies.attention.measure import AttentionConfig, AttentionTables, measure_attention
from experiments import measure as stage

SOURCES = ["latents", "first_latents", "shuffled", "clusters", "placed_blobs", "centered_blobs", "random", "masks"]


def config(**changes) -> AttentionConfig:
    settings = {"sets": ("val",), "images": None, "layer": 2, "shares": (0.4, 0.8), "smallest_mask": 0.01}
    return AttentionConfig.model_validate(settings | {"examples": 2, "batch_size": 2} | changes)


def image_set(folder: Path, **changes) -> ImageSet:
    fields = {"name": "val", "role": "evaluate", "source": "scenes", "path": None, "variant": "base", "split": "val"}
    settings = ImageSetConfig.model_validate(fields | {"images": 5, "pack": True} | changes)
    write_set(build_source(settings, 16, (folder,)), settings, 16, folder / settings.name)
    return open_set(folder / settings.name)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> ImageSet:
    return image_set(tmp_path_factory.mktemp("scenes"))


def measure(read: ImageSet, scratch: Path, shown=("val",), **changes) -> AttentionTables:
    found = measure_attention(tiny.tokenizer(), [read], shown, config(**changes), 0, scratch)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def tables(scenes, tmp_path_factory) -> AttentionTables:
    return measure(scenes, tmp_path_factory.mktemp("scratch"))


def test_each_image_is_scored_once_by_iteration_source_rule_and_share(tables):
    table = tables.overlap
    assert list(table) == ["dataset", "image_id", "rule", "share", "miou", "iteration", "source"]
    assert len(table) == 5 * 3 * (len(SOURCES) * (2 + 2 + 1) - 2)
    assert set(table.loc[table["source"] == "masks", "rule"]) == {"pixels", "best"}  # a bound under these alone
    assert list(table["source"].unique()) == SOURCES
    fixed = table[table["rule"] != "best"]
    assert not fixed.duplicated(["image_id", "iteration", "source", "rule", "share"]).any()
    assert sorted(set(fixed["share"])) == [0.4, 0.8]
    assert table["miou"].between(0, 1).all()
    assert table["miou"].max() > 0


def test_the_share_that_fits_an_image_best_is_its_own_and_never_worse_than_a_fixed_one(tables):
    wide = tables.overlap.pivot_table(
        index=["image_id", "iteration", "source"], columns=["rule", "share"], values="miou", aggfunc="max"
    )
    best = wide["best"].max(axis=1)
    assert (best >= wide["pixels"].max(axis=1) - 1e-6).all()
    assert tables.overlap.loc[tables.overlap["rule"] == "best", "share"].nunique() > 1


def test_at_the_first_iteration_all_latents_are_the_first_ones(tables):
    first = tables.overlap[tables.overlap["iteration"] == 1]
    parts = [first.loc[first["source"] == name, "miou"].to_numpy() for name in ("latents", "first_latents")]
    assert np.array_equal(*parts)


def test_no_source_of_maps_gets_above_the_masks_themselves_under_the_papers_rule(tables):
    table = tables.overlap[tables.overlap["rule"] != "mass"]
    table = table.assign(share=table["share"].where(table["rule"] == "pixels", 0))
    wide = table.pivot(index=["image_id", "iteration", "rule", "share"], columns="source", values="miou")
    assert (wide.to_numpy() <= wide[["masks"]].to_numpy() + 1e-6).all()


def test_sparsity_has_a_row_per_image_iteration_layer_and_group_of_latents(tables):
    table = tables.sparsity
    assert list(table) == ["dataset", "image_id", "source", "entropy", "gini", "iteration", "layer", "shown"]
    assert len(table) == 5 * 3 * 2 * 2
    assert not table.duplicated(["image_id", "source", "iteration", "layer"]).any()
    assert table.groupby("layer")["shown"].unique().map(list).to_dict() == {1: [False], 2: [True]}
    assert table[["entropy", "gini"]].to_numpy().min() >= 0
    assert table[["entropy", "gini"]].to_numpy().max() <= 1


def test_examples_follow_two_latents_of_each_picture_from_where_they_appear(tables):
    table = tables.examples
    assert table["image_id"].nunique() == 2
    for (_, among), trace in table.groupby(["image_id", "among"]):
        latent = trace["latent"].iloc[0]
        assert list(trace["iteration"]) == list(range((latent + 1) // 2, 4))
        assert among == "latents" or latent <= 2
        assert {len(values) for values in trace["map"]} == {16}
    with Image.open(io.BytesIO(table["picture"].iloc[0])) as picture:
        assert (picture.size, picture.mode) == ((16, 16), "RGB")
    with Image.open(io.BytesIO(table["outline"].iloc[0])) as outline:
        assert set(np.unique(np.asarray(outline))) == {0, 255}
    assert table["publishable"].all()


def test_halting_has_a_row_per_image_and_iteration_and_pictures_of_the_first(scenes, tmp_path):
    found = measure(scenes, tmp_path, halting=3)
    table = found.halting
    assert len(table) == 3 * 3
    assert not table.duplicated(["image_id", "iteration"]).any()
    assert set(table["image_id"]) <= set(found.overlap["image_id"])
    first = table[table["iteration"] == 1]
    assert (first["masked"] == 0).all()
    assert first["l1"].equals(first["l1_halting"])
    assert table[["masked", "l1", "open_error"]].to_numpy().max() <= 1
    pictures = found.halted
    assert pictures["image_id"].nunique() == 2
    assert set(pictures["iteration"]) == {2, 3}
    shares = table.set_index(["image_id", "iteration"])["masked"]
    for row in pictures.itertuples():
        assert np.mean(row.halted) == pytest.approx(shares[row.image_id, row.iteration])
        assert row.publishable
    again = measure(scenes, tmp_path / "again", halting=3)
    assert again.halting.equals(table)


def test_halting_is_measured_where_it_is_asked_for_and_the_tokenizer_allows_it(scenes, tables, tmp_path):
    assert tables.halting.empty
    assert tables.halted.empty
    nested = tiny.tokenizer(tiny.tokenizer_config(growth="nested"))
    found = measure_attention(nested, [scenes], (), config(halting=3), 0, tmp_path)
    assert found is not None
    assert found.halting.empty
    assert not found.overlap.empty


def test_the_same_seed_gives_the_same_tables_and_pictures_of_other_sets_are_marked(scenes, tables, tmp_path):
    again = measure(scenes, tmp_path, shown=("another",))
    assert again.overlap.equals(tables.overlap)
    assert again.sparsity.equals(tables.sparsity)
    assert not again.examples["publishable"].any()


def test_latents_scores_do_not_depend_on_the_batch(scenes, tables, tmp_path):
    whole = measure(scenes, tmp_path, batch_size=5).overlap
    keys = ["image_id", "iteration", "source", "rule", "share"]
    for source in ("latents", "masks"):
        ours, theirs = (
            table[table["source"] == source].sort_values(keys)["miou"].to_numpy() for table in (tables.overlap, whole)
        )
        assert ours == pytest.approx(theirs, abs=1e-5)


def test_a_sample_of_images_is_drawn_from_the_whole_set(scenes, tmp_path):
    names = measure(scenes, tmp_path, images=3).overlap["image_id"].unique()
    assert len(names) == 3
    assert list(names) != [f"base-val-{number:06d}" for number in range(3)]


def test_images_without_a_large_enough_mask_are_left_out(scenes, tmp_path):
    areas = [np.bincount(masks.ravel(), minlength=2)[1:].max() / 256 for masks in scenes.masks(range(5)).numpy()]
    limit = float(np.median(areas))
    table = measure(scenes, tmp_path, smallest_mask=limit).overlap
    assert table["image_id"].nunique() == sum(area >= limit for area in areas)


def test_sets_that_cannot_be_measured_are_refused(scenes, tmp_path):
    with pytest.raises(DataError, match=r"expected masks of 99\.0% of an image in val, found none"):
        measure(scenes, tmp_path / "large", smallest_mask=0.99)
    with pytest.raises(DataError, match="at least two images in val"):
        measure(scenes, tmp_path / "one", images=1)
    pixels = np.zeros((2, 16, 16, 3), np.uint8)
    np.save(tmp_path / "plain.npy", pixels)
    plain = image_set(tmp_path, source="packed", path="plain.npy", images=None)
    with pytest.raises(DataError, match=r"expected masks in val, found none; attention\.sets takes"):
        measure(plain, tmp_path / "plain")


def test_a_killed_measurement_continues_and_gives_the_same_tables(scenes, tables, tmp_path, monkeypatch):
    measured, batch = [], attention._measure_batch

    def measure_until_killed(*arguments):
        if len(measured) == 1:
            raise KeyboardInterrupt
        measured.append(arguments)
        return batch(*arguments)

    monkeypatch.setattr(attention, "_measure_batch", measure_until_killed)
    with pytest.raises(KeyboardInterrupt):
        measure(scenes, tmp_path)
    monkeypatch.setattr(attention, "_measure_batch", lambda *arguments: measured.append(arguments) or batch(*arguments))
    resumed = measure(scenes, tmp_path)
    assert len(measured) == 2  # batches of three and of two images
    assert resumed.overlap.equals(tables.overlap)
    assert resumed.sparsity.equals(tables.sparsity)


@pytest.mark.slow
def test_the_stage_writes_one_file_per_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = scene_project(tmp_path)
    save_tokenizer(paths)
    for _ in range(2):
        stage.main(["tiny", "attention"])
    written = {path.stem: pd.read_parquet(path) for path in paths.measured("attention").iterdir()}
    names = ("overlap", "sparsity", "examples", "halting", "halted")
    assert set(written) == {f"attention_{name}" for name in names}
    assert all(set(table["dataset"]) == {"val"} for table in written.values())
    assert written["attention_examples"]["publishable"].all()


class Foreign(torch.nn.Module):
    """Somebody else's tokenizer, which looks exactly where one of ours does."""

    name, base_tokens = "foreign", 6

    def __init__(self, **changes) -> None:
        super().__init__()
        self.inner = tiny.tokenizer()
        self.image_size, self.lengths = self.inner.image_size, self.inner.lengths
        self.changes = changes

    def attention_maps(self, images):
        for found in self.inner.attention_maps(images):
            yield found._replace(**{name: change(getattr(found, name)) for name, change in self.changes.items()})


def test_any_tokenizer_that_says_where_it_looks_is_measured_like_ours(tables, scenes, tmp_path):
    found = measure_attention(Foreign(), [scenes], ("val",), config(halting=3), 0, tmp_path)
    assert found.overlap.equals(tables.overlap)
    assert found.sparsity.equals(tables.sparsity)
    assert found.halting.empty


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"layers": lambda maps: maps[0]}, "expected maps"),
        ({"layers": lambda maps: -maps}, "finite maps of at least 0"),
        ({"layers": lambda maps: maps[..., 1:]}, "of a square grid"),
        ({"features": lambda features: features[:, 1:]}, "expected features"),
    ],
)
def test_maps_of_another_form_are_named(scenes, tmp_path, changes, reason):
    with pytest.raises(DataError, match=reason):
        measure_attention(Foreign(**changes), [scenes], (), config(), 0, tmp_path)


def test_a_layer_that_a_tokenizer_does_not_have_is_named(scenes, tmp_path):
    with pytest.raises(ConfigError, match=r"attention\.layer: expected one of"):
        measure_attention(Foreign(), [scenes], (), config(layer=9), 0, tmp_path)
