"""Probes of somebody else's tokenizer, by its tokens' vectors: diffusers' classes for real, and one with lengths."""

import numpy as np
import pytest
import torch
from figure_checks import check_plot
from probe_cases import CONFIG, ColoredSet
from synthetic_tables import synthetic_study_data, synthetic_table

from alit.errors import DataError
from alit.studies import all_claims
from alit.studies.probe import CONTROLS_OF_PIXELS
from alit.studies.probe.features import RUNS, compute_features, gather
from alit.studies.probe.figures import probe_by_iteration, probe_by_latents, probe_grids
from alit.studies.probe.measure import measure_probes, token_points
from alit.studies.probe.tables import probe_scores
from alit.tokenizer.adapters.autoencoder import AutoencoderTokenizer
from alit.tokenizer.protocol import FeatureStep, features_of
from alit.training.engine.fabric import build_fabric

SIDE = ColoredSet("train").images([0]).shape[-1]
SMALL = {"block_out_channels": (8, 8), "down_block_types": ("DownEncoderBlock2D",) * 2, "norm_num_groups": 4}
SMALL |= {"up_block_types": ("UpDecoderBlock2D",) * 2, "latent_channels": 4}


class Rows:
    """The first 1, 4, ... of the image's pixels, row by row, as tokens of three numbers."""

    name, image_size, base_tokens = "rows", SIDE, 20

    def __init__(self, lengths=(1, 4, 20)):
        self.lengths = lengths

    def features(self, images):
        for length in self.lengths:
            yield FeatureStep(length, images.flatten(2).transpose(1, 2)[:, :length])


def test_every_point_is_the_mean_of_its_tokens(tmp_path):
    images, rows, fabric = ColoredSet("train"), np.arange(7), build_fabric("cpu", 1)
    arrays = compute_features(Rows(), images, rows, 3, tmp_path, fabric)
    pixels = images.images(rows).flatten(2).transpose(1, 2).numpy()
    points = [point for point in token_points(CONFIG, (1, 4, 20)) if point.features == "tokenizer"]
    assert len(points) == 6 + 3 + 2
    for point in points:
        tokens = pixels[:, : (1, 4, 20)[point.iteration - 1]]
        if point.pooling == "concatenated":
            runs = np.array_split(tokens, min(RUNS, tokens.shape[1]), axis=1)
            expected = np.concatenate([run.mean(axis=1) for run in runs], axis=1)
        elif point.tokens == "last latents":
            expected = tokens[:, -point.latents :].mean(axis=1)
        else:
            expected = tokens[:, : point.latents].mean(axis=1)
        np.testing.assert_allclose(gather(arrays, point), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["AutoencoderKL", "VQModel", "AutoencoderTiny"])
def test_an_autoencoder_of_diffusers_is_probed(kind, tmp_path):
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    tiny = {f"{part}_block_out_channels": (8, 8) for part in ("encoder", "decoder")}
    tiny |= {"num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1)}
    settings = {"VQModel": SMALL | {"num_vq_embeddings": 32}, "AutoencoderTiny": tiny}.get(kind, SMALL)
    getattr(diffusers, kind)(**settings).save_pretrained(tmp_path / "it")
    tokenizer = AutoencoderTokenizer(str(tmp_path / "it"), image_size=SIDE)
    tables = measure_probes(tokenizer, ColoredSet("train"), ColoredSet("val", 30, 1), CONFIG, 7, tmp_path / "scratch")
    assert tables is not None
    data = synthetic_study_data(synthetic_table(60, ("val",)), features=False)._replace(
        tables={f"probe_{name}": table for name, table in tables._asdict().items()}
    )
    scores = probe_scores(data)
    assert scores["label"].tolist()[-len(CONTROLS_OF_PIXELS) :] == [
        "nothing (most frequent class)",
        "mean and spread of the colors",
        "coarse pixels",
    ]
    (mean,) = scores.loc[(scores["features"] == "tokenizer") & (scores["pooling"] == "mean"), "size"]
    (beside,) = scores.loc[scores["pooling"] == "concatenated", "size"]
    assert (mean, beside) == (4, RUNS * 4)
    claim = all_claims()["C15"](data)
    assert "the profile does not probe parts of the last iteration's latents" in claim.reason
    for draw in (probe_by_iteration, probe_by_latents, probe_grids):
        check_plot(draw(scores), draw(scores), tmp_path)


def test_one_with_lengths_has_the_first_and_the_last_quarter_compared(tmp_path):
    tables = measure_probes(Rows((4, 8, 16)), ColoredSet("train"), ColoredSet("val", 30, 1), CONFIG, 7, tmp_path)
    assert tables is not None
    data = synthetic_study_data(synthetic_table(60, ("val",)), features=False)._replace(
        tables={f"probe_{name}": table for name, table in tables._asdict().items()}
    )
    names = {part.name for part in all_claims()["C15"](data).measurements}
    assert {"probe_quarter_over_all", "probe_first_over_last_quarter"} <= names


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([(1, torch.zeros(2, 3))], r"expected features \(2, tokens, d\)"),
        ([(1, torch.zeros(3, 1, 3))], r"expected features \(2, tokens, d\)"),
        ([(1, torch.full((2, 1, 3), torch.nan))], "expected finite floats"),
        ([(1, torch.zeros(2, 1, 3)), (4, torch.zeros(2, 4, 5))], "expected more than 1 tokens of 3 numbers"),
        ([(1, torch.zeros(2, 4, 3)), (4, torch.zeros(2, 4, 3))], "expected more than 4 tokens of 3 numbers"),
        ([(1, torch.zeros(2, 1, 3))], r"expected features at lengths \(1, 4\)"),
    ],
)
def test_features_of_another_shape_are_refused_in_a_line(steps, message):
    tokenizer = Rows((1, 4))
    tokenizer.features = lambda images: iter(steps)
    with pytest.raises(DataError, match=message):
        list(features_of(tokenizer, torch.zeros(2, 3, SIDE, SIDE)))
