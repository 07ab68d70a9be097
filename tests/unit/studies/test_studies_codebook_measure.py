"""Token ids as the tokenizer writes them, and the stage that keeps them."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scene_project import save_tokenizer, scene_project
from tiny import images, tokenizer, tokenizer_config

from alit.config import load_profile
from alit.data.imageset import ImageSet
from alit.errors import DataError
from alit.studies.codebook.measure import (
    ABSENT,
    CodebookConfig,
    closest_pairs,
    measure_codebook,
    nearest_images,
    rollout_ids,
)
from alit.tokenizer.protocol import Reconstruction
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from experiments import measure

CODES = 256  # enough for every image to have ids of its own
CONFIG = CodebookConfig(batch_size=4, pairs=2)


class TinySet(ImageSet):
    """Random images; the last one is the first again."""

    def __init__(self, name: str = "val", count: int = 9) -> None:
        self.name = name
        pixels = images(count)
        self.pixels = torch.cat([pixels[:-1], pixels[:1]])
        self.manifest = pd.DataFrame({"image_id": [f"{name}-{row}" for row in range(count)]})

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, rows):
        return self.pixels[rows]

    def view(self, row, crop=None):
        return self.pixels[row].mul(255).round().byte().permute(1, 2, 0).numpy()


@pytest.fixture(scope="module")
def network() -> AdaptiveTokenizer:
    """A tokenizer whose attention is so sharp that untrained weights tell images apart."""
    untrained = tokenizer(tokenizer_config(latent_codebook_size=CODES))
    with torch.no_grad():
        for parameter in untrained.distillation.encoder.transformer.parameters():
            parameter.mul_(3)
    return untrained


@pytest.fixture(scope="module")
def tables(network, tmp_path_factory):
    return measure_codebook(network, [TinySet(), TinySet("far")], ["val"], CONFIG, tmp_path_factory.mktemp("scratch"))


def test_ids_are_those_of_encoding_at_each_length(network):
    shown = TinySet()
    ids = rollout_ids(network, shown.pixels)
    for iteration, length in enumerate(network.lengths):
        encoded = network.encode(shown.pixels, length=length)
        np.testing.assert_array_equal(ids[:, iteration, :length].ravel(), encoded.values)
        assert (ids[:, iteration, length:] == ABSENT).all()


def test_the_table_has_one_row_per_image_iteration_and_token(tables):
    ids = tables.ids
    assert len(ids) == 2 * 9 * (2 + 4 + 6)
    assert not ids.duplicated(["dataset", "image_id", "iteration", "position"]).any()
    assert ids.groupby("iteration")["position"].max().to_dict() == {1: 2, 2: 4, 3: 6}


def test_every_code_is_counted_even_one_that_never_occurs(tables):
    counts = tables.usage.groupby(["dataset", "iteration"])["tokens"]
    assert (counts.size() == CODES).all()
    assert counts.sum().unstack().loc["val"].tolist() == [9 * 2, 9 * 4, 9 * 6]
    assert (tables.usage["tokens"] == 0).any()


def test_equal_images_are_each_others_nearest(tables):
    nearest = tables.neighbors[tables.neighbors["dataset"] == "val"].set_index(["iteration", "image_id"])
    for iteration in (1, 2, 3):
        assert nearest.loc[(iteration, "val-0"), ["neighbor_id", "shared"]].tolist() == ["val-8", 1.0]
    assert nearest.loc[(3, "val-8"), "neighbor_id"] == "val-0"
    first = tables.pairs.iloc[0]
    assert (first["dataset"], first["shared"]) == ("val", 1.0)
    assert {first["image_id"], first["neighbor_id"]} == {"val-0", "val-8"}


def test_pictures_are_kept_of_sets_that_may_be_shown_only(tables):
    by_set = tables.pairs.groupby("dataset")[["image", "neighbor"]]
    assert by_set.get_group("far").isna().all(axis=None)
    with Image.open(io.BytesIO(by_set.get_group("val")["image"].iloc[0])) as picture:
        expected = (TinySet().pixels[0] * 255).round().byte().permute(1, 2, 0)
        np.testing.assert_array_equal(np.asarray(picture), expected)


@pytest.mark.parametrize("batch_size", [1, 100])
def test_a_killed_measurement_continues_and_batches_change_nothing(network, tables, batch_size, tmp_path):
    read, some = [], TinySet()
    config = CONFIG.model_copy(update={"batch_size": batch_size})

    def images(rows):
        if len(read) == 5:
            raise KeyboardInterrupt
        read.extend(rows.tolist())
        return some.pixels[rows]

    some.images = images
    if batch_size == 1:
        with pytest.raises(KeyboardInterrupt):
            measure_codebook(network, [some, TinySet("far")], [], config, tmp_path)
    some.images = lambda rows: read.extend(rows.tolist()) or some.pixels[rows]
    again = measure_codebook(network, [some, TinySet("far")], [], config, tmp_path)
    assert read == list(range(9))
    assert again.ids.equals(tables.ids)
    assert again.neighbors.equals(tables.neighbors)


def test_continuous_latents_give_empty_tables_of_the_same_columns(tables, tmp_path):
    continuous = tokenizer(tokenizer_config(quantize=False))
    for empty, full in zip(measure_codebook(continuous, [TinySet()], [], CONFIG, tmp_path), tables, strict=True):
        assert empty.empty
        assert list(empty.columns) == list(full.columns)


def test_ids_count_at_their_own_position_only():
    nearest = nearest_images(np.array([[1, 2, 3, 4], [4, 3, 2, 1], [1, 2, 9, 9]]))
    assert nearest.rows[0] == 2
    np.testing.assert_allclose(nearest.shared[[0, 2]], 0.5)


def test_pairs_are_the_closest_with_no_image_twice():
    ids = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 2], [5, 6, 7], [5, 6, 8]])
    pairs = closest_pairs(nearest_images(ids), 10)
    assert sorted(map(sorted, pairs.tolist())) == [[0, 1], [3, 4]]
    assert len(closest_pairs(nearest_images(ids), 1)) == 1


def test_one_image_alone_has_no_nearest():
    with pytest.raises(DataError, match="at least two images"):
        nearest_images(np.zeros((1, 4)))


def test_the_stage_writes_one_file_per_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = scene_project(tmp_path)
    save_tokenizer(paths)
    for _ in range(2):
        measure.main(["tiny", "codebook"])
    written = {path.stem: pd.read_parquet(path) for path in paths.measured("codebook").iterdir()}
    assert set(written) == {"codebook_ids", "codebook_usage", "codebook_neighbors", "codebook_pairs"}
    evaluated = {
        part.name for part in load_profile(paths.config).data.sets if part.role == "evaluate" and not part.controlled
    }
    assert all(set(table["dataset"]) == evaluated for table in written.values())
    assert written["codebook_pairs"]["image"].notna().all()


class Dots:
    """Somebody else's tokenizer: brightness of a corner, of two, as ids; two numbers a token at the second length."""

    name, lengths, base_tokens, codebook_size = "dots", (1, 2), 2, 5

    def __init__(self, image_size):
        self.image_size = image_size

    def reconstructions(self, images):
        for length, ids in zip(self.lengths, (3, 4), strict=True):
            code = (images[:, 0, 0, :ids] * 4).round().long()
            yield Reconstruction(length, torch.full((len(images),), 3.0 * ids), torch.zeros_like(images), code)


def test_any_tokenizer_that_gives_its_ids_is_measured(tmp_path):
    some = TinySet()
    found = measure_codebook(Dots(some.pixels.shape[-1]), [some], [], CONFIG, tmp_path)
    assert found.ids.groupby("iteration")["position"].max().to_dict() == {1: 3, 2: 4}
    ids = found.ids.loc[found.ids["iteration"] == 2].sort_values(["image_id", "position"])["id"].to_numpy()
    np.testing.assert_array_equal(ids, (some.pixels[:, 0, 0, :4] * 4).round().flatten().numpy())
    assert found.usage.groupby("iteration")["tokens"].sum().to_dict() == {1: 27, 2: 36}
    assert found.usage["code"].max() == 4
