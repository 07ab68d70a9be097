"""What a sweep knows of the training images: distances to the nearest, entropy-coded bits, resumption, records."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from toy_sweep import SIZE, FadingTokenizer, MeanColor, ToySet

from alit.errors import DataError
from alit.sweep.engine import SweepConfig, SweepJob, sweep, sweep_many
from alit.sweep.schema import ENTROPY_BITS, read_table
from alit.sweep.training_reference import NEIGHBORS, choose_training_images, training_distance
from alit.tasks.perceptual import ReconstructionTask
from alit.tokenizer.adapters import CodecTokenizer
from alit.tokenizer.code_model import CodeModel
from alit.tokenizer.protocol import Reconstruction

CONFIG = SweepConfig(chunk_size=4, tokenizer_batch=3, training_images=20, code_model_images=16)
CODES = 5


class IdTokenizer(FadingTokenizer):
    """Its code is the mean brightness of columns of pixels, in `CODES` steps, cut at the length."""

    codebook_size = CODES

    def __init__(self, fail_at: int | None = None) -> None:
        super().__init__(fail_at)
        self.coded = 0

    def ids(self, images: torch.Tensor, length: int) -> torch.Tensor:
        return (images.mean(dim=(1, 2)) * CODES).long().clamp(max=CODES - 1)[:, :length]

    def reconstructions(self, images):
        for step in super().reconstructions(images):
            yield step._replace(ids=self.ids(images, step.length))

    def token_ids(self, images):
        self.coded += len(images)
        for length in self.lengths:
            yield length, self.ids(images, length)


class Contrasted(MeanColor):
    """Features whose direction differs between images: mean colors about gray."""

    name = "contrast"
    record: dict = {"name": "contrast"}  # noqa: RUF012

    def __init__(self) -> None:
        self.images = 0

    def features(self, images):
        self.images += len(images)
        return images.mean(dim=(2, 3)) - 0.5


def run(tmp_path, tokenizer=None, *, out="sweep", training=None, config=CONFIG, extractor=None, sets=None):
    sweep(
        tokenizer or IdTokenizer(),
        sets or [ToySet("val", 6), ToySet("far", 5, seed=1)],
        [ReconstructionTask()],
        [extractor or Contrasted()],
        config=config,
        scratch=tmp_path / "scratch",
        out=tmp_path / out,
        training=training or ToySet("train", 30, seed=2),
    )
    return tmp_path / out


def test_training_distance_is_the_mean_cosine_distance_of_the_nearest():
    angles = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 2.0, 3.0])
    reference = torch.stack([angles.cos(), angles.sin()], dim=1)
    images = torch.tensor([[3.0, 0.0], [-1.0, 0.0]])  # their lengths do not matter
    expected = [
        np.sort(1 - np.cos(angles.numpy()))[:NEIGHBORS].mean(),
        np.sort(1 + np.cos(angles.numpy()))[:NEIGHBORS].mean(),
    ]
    np.testing.assert_allclose(training_distance(images, reference), expected, rtol=1e-5)


def test_the_table_has_the_distance_of_every_untouched_image(tmp_path):
    training, val = ToySet("train", 12, seed=2), ToySet("val", 6)
    table = read_table(run(tmp_path, training=training, sets=[val]) / "table.parquet")
    known, own = (
        torch.nn.functional.normalize(Contrasted().features(images.images(np.arange(len(images)))), dim=1)
        for images in (training, val)
    )
    expected = (1 - own @ known.T).sort(dim=1).values[:, :NEIGHBORS].mean(dim=1)
    found = table["training_distance_contrast"].to_numpy().reshape(6, 3)
    np.testing.assert_allclose(found, np.repeat(expected.numpy()[:, None], 3, axis=1), rtol=1e-3)


def test_entropy_coded_bits_are_those_of_the_model_beside_the_table(tmp_path):
    out = run(tmp_path, sets=[ToySet("val", 6)])
    table, model, tokenizer = read_table(out / "table.parquet"), CodeModel.load(out), IdTokenizer()
    assert table.loc[table["length"] == 0, list(ENTROPY_BITS)].isna().all(axis=None)
    images = ToySet("val", 6).images(np.arange(6))
    for length in tokenizer.lengths:
        expected = model.bits(tokenizer.ids(images, length).numpy(), length)
        for name, bits in zip(ENTROPY_BITS, expected, strict=True):
            np.testing.assert_allclose(table.loc[table["length"] == length, name], bits, rtol=1e-6)
    counts = {length: counts.sum() / length for length, counts in model.counts.items()}
    assert counts == {2: 16, 4: 16}


def test_the_model_is_fitted_without_token_ids_too(tmp_path):
    class Slow(IdTokenizer):
        token_ids = property()  # hasattr is false

    one = run(tmp_path, out="one")
    other = run(tmp_path, Slow(), out="other")
    assert CodeModel.load(one).sha256 == CodeModel.load(other).sha256


def test_codes_that_are_no_ids_have_no_entropy_coded_bits_and_files_their_own(tmp_path):
    table = read_table(run(tmp_path, FadingTokenizer(), out="fading") / "table.parquet")
    assert table[list(ENTROPY_BITS)].isna().all(axis=None)
    assert not (tmp_path / "fading" / "code_model.json").exists()
    codec = CodecTokenizer("jpeg", image_size=SIZE, qualities=(10, 50))
    table = read_table(run(tmp_path, codec, out="jpeg") / "table.parquet")
    for name in ENTROPY_BITS:
        pd.testing.assert_series_equal(table[name], table["bits"], check_names=False)
    assert table["entropy_bits"].notna().sum() == 22


def test_a_sweep_that_knows_no_training_images_lacks_the_columns(tmp_path):
    config = CONFIG.model_copy(update={"training_images": 0, "code_model_images": 0})
    out = run(tmp_path, config=config)
    table = read_table(out / "table.parquet")
    assert not [name for name in table if name.startswith(("entropy_", "training_distance_"))]
    assert "training_images" not in json.loads((out / "config.json").read_text())


@pytest.mark.parametrize(
    ("left", "columns"), [("training_images", ["training_distance_contrast"]), ("code_model_images", [*ENTROPY_BITS])]
)
def test_either_may_be_left_out(tmp_path, left, columns):
    both = {"training_images": 0, "code_model_images": 0} | {left: 10}
    out = run(tmp_path, config=CONFIG.model_copy(update=both))
    table = read_table(out / "table.parquet")
    assert [name for name in table if name.startswith(("entropy_", "training_distance_"))] == columns
    assert (out / "code_model.json").exists() == (left == "code_model_images")


def test_the_record_and_the_card_say_which_training_images(tmp_path):
    out = run(tmp_path)
    record = json.loads((out / "config.json").read_text())["training_images"]
    assert (record["dataset"], record["of"], record["left_out_because_swept"]) == ("train", 30, [])
    assert record["code_model"] | {"images": 16, "sha256": CodeModel.load(out).sha256} == record["code_model"]
    assert record["distances"]["images"] == 20
    assert set(record["distances"]["features_sha256"]) == {"contrast"}
    assert json.loads((out / "code_model.json").read_text())["training_images"] == record


@pytest.mark.parametrize("key", ["image_id", "sha256"])
def test_training_images_that_are_swept_are_left_out_by_name(key):
    training, val = ToySet("train", 30, seed=2), ToySet("val", 6)
    training.manifest.loc[[3, 8], key] = list(val.manifest[key].iloc[[0, 5]])
    chosen = choose_training_images(training, [val])
    assert chosen.left_out == tuple(training.manifest["image_id"].iloc[[3, 8]])
    assert chosen.rows.tolist() == [row for row in range(30) if row not in (3, 8)]
    assert chosen.at_most(7).rows.tolist() == [chosen.rows[place * 28 // 7] for place in range(7)]
    assert chosen.at_most(100).rows.tolist() == chosen.rows.tolist()


def test_too_few_training_images_are_refused():
    with pytest.raises(DataError, match=r"at least 5 images of train .* found 4"):
        choose_training_images(ToySet("train", 4), [])


@pytest.mark.parametrize("fail_at", [0, 3])
def test_a_killed_sweep_takes_up_what_it_knows_of_the_training_images(tmp_path, fail_at):
    whole = {path.name: path.read_bytes() for path in run(tmp_path, out="whole").iterdir()}
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path, IdTokenizer(fail_at))
    tokenizer, extractor = IdTokenizer(), Contrasted()
    again = run(tmp_path, tokenizer, extractor=extractor)
    assert {path.name: path.read_bytes() for path in again.iterdir()} == whole
    assert tokenizer.coded == 0
    assert extractor.images <= 11 * 3  # of the swept images alone
    assert list((tmp_path / "scratch").iterdir()) == []


def test_killed_among_the_training_images_it_repeats_no_finished_piece(tmp_path):
    class Dying(IdTokenizer):
        def token_ids(self, images):
            if self.coded >= 8:
                raise RuntimeError("killed")
            return super().token_ids(images)

    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path, Dying())
    tokenizer = IdTokenizer()
    run(tmp_path, tokenizer)
    assert tokenizer.coded == 16 - 8  # pieces of 4


def test_other_training_images_start_over(tmp_path):
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path, IdTokenizer(fail_at=5))
    tokenizer = IdTokenizer()
    run(tmp_path, tokenizer, training=ToySet("train", 30, seed=3))
    assert tokenizer.coded == 16
    assert tokenizer.images >= 11


def test_several_tokenizers_share_features_and_have_models_of_their_own(tmp_path):
    class Coarse(IdTokenizer):
        name = "coarse"
        codebook_size = 2

        def ids(self, images, length):
            return (images.mean(dim=(1, 2)) > 0.5).long()[:, :length]

    extractor = Contrasted()
    jobs = {"fine": SweepJob(IdTokenizer, {}), "coarse": SweepJob(Coarse, {})}
    folder = sweep_many(
        jobs,
        [ToySet("val", 6)],
        [ReconstructionTask()],
        [extractor],
        config=CONFIG,
        scratch=tmp_path,
        training=ToySet("train", 30, seed=2),
    )
    assert CodeModel.load(folder / "fine").counts[2].shape == (2, CODES)
    assert CodeModel.load(folder / "coarse").counts[2].shape == (2, 2)
    assert extractor.images == 20 + 2 * 6 * 3


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.zeros(2, 2), "expected integer ids"),
        (torch.zeros(1, 2, dtype=torch.int64), "expected integer ids"),
        (torch.full((2, 2), CODES), "expected ids of 0 to 4"),
        (torch.full((2, 2), -1), "expected ids of 0 to 4"),
    ],
)
def test_ids_that_are_none_are_refused(tmp_path, ids, message):
    class Wrong(IdTokenizer):
        def reconstructions(self, images):
            for length in self.lengths:
                yield Reconstruction(length, torch.ones(len(images)), images, ids)

    with pytest.raises(DataError, match=message):
        run(tmp_path, Wrong())


def test_ids_without_a_codebook_size_are_refused(tmp_path):
    class Wrong(IdTokenizer):
        codebook_size = None

    with pytest.raises(DataError, match="codebook_size"):
        run(tmp_path, Wrong())
