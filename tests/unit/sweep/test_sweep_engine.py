"""The sweep: rows, scores, resumption, refusals, and the codec sizes beside each image."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from toy_sweep import CONFIG, FadingTokenizer, MeanColor, ToySet

from alit.errors import DataError
from alit.sweep.chunks import CODEC_QUALITY, file_sizes, rms_contrast
from alit.sweep.engine import SweepConfig, sweep
from alit.sweep.schema import read_table
from alit.tasks.perceptual import ReconstructionTask
from alit.tasks.protocol import round_to_8_bit
from alit.tokenizer.adapters import compress
from alit.tokenizer.protocol import Tokenizer


def run(tmp_path, tokenizer=None, sets=None, config=CONFIG, out="sweep", **settings):
    sweep(
        tokenizer or FadingTokenizer(),
        sets or [ToySet("val", 6), ToySet("far", 5, seed=1)],
        [ReconstructionTask()],
        [MeanColor()],
        config=config,
        scratch=tmp_path / "scratch",
        out=tmp_path / out,
        settings=settings,
    )
    return tmp_path / out


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_toy_tokenizer_keeps_the_protocol():
    assert isinstance(FadingTokenizer(), Tokenizer)


def test_rows_are_sorted_by_dataset_image_and_length(tmp_path):
    table = read_table(run(tmp_path) / "table.parquet")
    assert len(table) == 11 * 3
    assert table["dataset"].tolist() == ["far"] * 15 + ["val"] * 18
    assert table["image_id"].tolist()[:6] == ["far-0"] * 3 + ["far-1"] * 3
    assert table["length"].tolist() == [0, 2, 4] * 11
    assert table["bits"].fillna(0).tolist() == [0, 20, 40] * 11
    assert table["label"].isna().groupby(table["image_id"]).all().sum() == 3
    assert (table.loc[table["image_id"] == "val-4", "complexity"] == 4).all()


class Predicting(FadingTokenizer):
    """Says beforehand what the losses will be, and where it knows that from."""

    class length_predictor:
        @staticmethod
        def describe():
            return {"digest": "of the predictor", "margins": [[0.1, 0.01]]}

    def predicted_losses(self, images):
        return torch.stack([(0.5 - images).abs().mean(dim=(1, 2, 3)) / length for length in self.lengths], dim=1)


def test_predicted_losses_lie_beside_the_losses(tmp_path):
    out = run(tmp_path, Predicting())
    table = read_table(out / "table.parquet")
    untouched = table["length"] == 0
    assert table.loc[untouched, "predicted_l1"].isna().all()
    np.testing.assert_allclose(table.loc[~untouched, "predicted_l1"], table.loc[~untouched, "l1"], atol=2e-3)
    record = json.loads((out / "config.json").read_text())["tokenizer"]["length_predictor"]
    assert record["margins"] == [[0.1, 0.01]]
    plain = run(tmp_path, out="plain")
    assert read_table(plain / "table.parquet")["predicted_l1"].isna().all()
    assert json.loads((plain / "config.json").read_text())["tokenizer"]["length_predictor"] is None


def test_scores_are_those_of_the_8_bit_reconstruction(tmp_path):
    images = ToySet("val", 6)
    out = run(tmp_path, sets=[images])
    table = read_table(out / "table.parquet")
    originals = images.images(np.arange(6))
    for length in (2, 4):
        files = round_to_8_bit(originals + (0.5 - originals) / length)
        expected = (files - originals).abs().mean(dim=(1, 2, 3))
        np.testing.assert_allclose(table.loc[table["length"] == length, "l1"], expected, rtol=1e-5)
    untouched = table[table["length"] == 0]
    assert (untouched["l1"] == 0).all()
    assert np.isposinf(untouched["psnr"]).all()


def test_features_are_aligned_with_the_rows(tmp_path):
    images = ToySet("val", 6)
    out = run(tmp_path, sets=[images])
    features = np.load(out / "features_color.npy", mmap_mode="r")
    table = read_table(out / "table.parquet")
    assert features.shape == (len(table), 3)
    assert features.dtype == np.float32
    clean = images.images(np.arange(6)).mean(dim=(2, 3))
    np.testing.assert_allclose(features[(table["length"] == 0).to_numpy()], clean, rtol=1e-6)
    assert not np.allclose(features[(table["length"] == 2).to_numpy()], clean)


@pytest.mark.parametrize(
    "config", [SweepConfig(chunk_size=1, tokenizer_batch=1), SweepConfig(chunk_size=9, tokenizer_batch=9)]
)
def test_the_table_does_not_depend_on_chunks_and_batches(tmp_path, config):
    one = read_table(run(tmp_path, out="one") / "table.parquet")
    other = read_table(run(tmp_path, out="other", config=config) / "table.parquet")
    pd.testing.assert_frame_equal(one, other, rtol=1e-5)


@pytest.mark.parametrize("fail_at", [0, 1, 3, 4])
def test_a_killed_sweep_continues_and_gives_the_same_bytes(tmp_path, fail_at):
    whole = bytes_of(run(tmp_path, out="whole"))
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path, FadingTokenizer(fail_at))
    assert not (tmp_path / "sweep").exists()
    second = FadingTokenizer()
    assert bytes_of(run(tmp_path, second)) == whole
    assert second.batches < 6 if fail_at > 1 else second.batches == 6  # 3 chunks of up to 2 batches
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("change", ["images", "settings", "chunks"])
def test_chunks_of_another_sweep_are_never_taken_up(tmp_path, change):
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path, FadingTokenizer(fail_at=5))
    changed = {
        "images": {"sets": [ToySet("val", 6, seed=7), ToySet("far", 5, seed=8)]},
        "settings": {"tokenizer_settings": "others"},
        "chunks": {"config": SweepConfig(chunk_size=5, tokenizer_batch=3)},
    }[change]
    tokenizer = FadingTokenizer()
    run(tmp_path, tokenizer, **changed)
    assert tokenizer.images == 11


def test_other_weights_start_over(tmp_path):
    class Weighted(FadingTokenizer, torch.nn.Module):
        def __init__(self, value, fail_at=None):
            torch.nn.Module.__init__(self)
            FadingTokenizer.__init__(self, fail_at)
            self.weight = torch.nn.Parameter(torch.tensor(value))

    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path, Weighted(1.0, fail_at=5))
    other = Weighted(2.0)
    run(tmp_path, other)
    assert other.images == 11


def test_the_record_says_what_the_numbers_are_made_with(tmp_path):
    record = json.loads((run(tmp_path, profile="toy") / "config.json").read_text())
    assert record["tokenizer"]["base_tokens"] == 16
    assert record["images"][1]["dataset"] == "val"
    assert record["images"][1]["images"] == 6
    assert "round half to even" in record["reconstructions"]
    assert record["extractors"] == [{"name": "color"}]
    assert record["profile"] == "toy"


def test_a_tokenizer_that_skips_a_length_is_named(tmp_path):
    tokenizer = FadingTokenizer()
    tokenizer.lengths = (2, 4)
    tokenizer.reconstructions = lambda images: iter(list(FadingTokenizer().reconstructions(images))[:1])
    with pytest.raises(DataError, match=r"lengths \(2, 4\) from fading, found \(2,\)"):
        run(tmp_path, tokenizer)


def test_reconstructions_that_are_not_numbers_are_one_line(tmp_path):
    class Broken(FadingTokenizer):
        def reconstructions(self, images):
            yield from (step._replace(images=step.images * torch.nan) for step in super().reconstructions(images))

    with pytest.raises(DataError, match=r"expected reconstructions in \[0, 1\] from fading at length 2, found nan"):
        run(tmp_path, Broken())


def test_images_of_another_size_are_refused(tmp_path):
    images = ToySet("val", 3)
    images.image_size = 9
    with pytest.raises(DataError, match="images of 8 px"):
        run(tmp_path, sets=[images])


def test_no_images_repeated_names_and_repeated_ids_are_refused(tmp_path):
    with pytest.raises(DataError, match="found no image"):
        run(tmp_path, sets=[ToySet("val", 0)])
    with pytest.raises(DataError, match="different names"):
        run(tmp_path, sets=[ToySet("val", 2), ToySet("val", 2)])
    twice = ToySet("val", 3)
    twice.manifest.loc[2, "image_id"] = "val-0"
    with pytest.raises(DataError, match="val-0 again"):
        run(tmp_path, sets=[twice])


# Codec sizes


def test_a_busy_image_makes_a_larger_file_than_a_flat_one():
    flat = torch.full((1, 3, 32, 32), 0.5)
    busy = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for codec in ("jpeg", "webp"):
        small, large = file_sizes(torch.cat([flat, busy]), codec)
        assert 0 < small < large


def test_sizes_are_those_of_the_files_of_the_8_bit_images():
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    pixels = (image[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    assert file_sizes(image, "jpeg").tolist() == [len(compress(pixels, "jpeg", CODEC_QUALITY))]


def test_rms_contrast_is_the_spread_of_luminance():
    flat, halves = torch.full((1, 3, 8, 8), 0.3), torch.zeros(1, 3, 8, 8)
    halves[..., :4] = 1.0
    red = torch.zeros(1, 3, 8, 8)
    red[:, 0, :, :4] = 1.0
    np.testing.assert_allclose(rms_contrast(torch.cat([flat, halves, red])), [0, 0.5, 0.299 / 2], atol=1e-6)
