"""C2 and C3 on tables where each column is true, false, open, negligible, and cannot be measured."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from synthetic_tables import Effects, synthetic_controlled, synthetic_study_data, synthetic_table

from alit.analysis.grid import to_grid
from alit.analysis.selection import BootstrapConfig
from alit.studies import all_claims
from alit.studies.complexity.tables import fan_samples, fan_table, known_confounds, own_lengths

HOW = BootstrapConfig(resamples=60, confidence=0.95, seed=0)


def claim(name, table, **options):
    return all_claims()[name](synthetic_study_data(table, **options))


def parts_of(judged):
    return {part.name: part for part in judged.measurements}


def with_confounds(table, values=None):
    """Give each image codec bytes and a contrast: of the given value per row, else at random."""
    generator = np.random.default_rng(5)
    names = table["image_id"].unique()
    drawn = [table["image_id"].map(dict(zip(names, generator.random(len(names)), strict=True))) for _ in range(3)]
    sizes = drawn[:2] if values is None else [values, values]
    return table.assign(jpeg_bytes=1000 + 10 * sizes[0], webp_bytes=800 + 9 * sizes[1], rms_contrast=0.5 * drawn[2])


@pytest.mark.parametrize("name", ["C2", "C3"])
@pytest.mark.parametrize(("effect", "verdict"), [(1.0, "supported"), (-1.0, "contradicted")])
def test_complexity_raises_loss_and_length_or_lowers_them(name, effect, verdict):
    judged = claim(name, synthetic_table(150, effects=Effects(complexity=effect)))
    assert judged.verdict == verdict
    assert effect * judged.headline.value > 0.5


@pytest.mark.parametrize("name", ["C2", "C3"])
def test_complexity_without_effect_is_open_or_negligible(name):
    few = claim(name, synthetic_table(40, ("val",), Effects(complexity=0.0)))
    assert few.verdict == "inconclusive"
    many = claim(name, synthetic_table(4000, ("val",), Effects(complexity=0.0)))
    assert many.verdict == "contradicted"
    assert "equivalent" in many.reason


@pytest.mark.parametrize("name", ["C2", "C3"])
def test_complexity_claims_need_complexities(name):
    judged = claim(name, synthetic_table(50, columns=("class", "depth")))
    assert judged.verdict == judged.control_verdict == "not measurable"
    assert "no data set" in judged.reason


def test_c2_pools_sets_that_are_resampled_independently():
    judged = claim("C2", synthetic_table(150, effects=Effects(complexity=0.3)))
    sets = [parts_of(judged)[f"loss_{name}"] for name in ("val", "near")]
    assert judged.headline.value == pytest.approx(np.mean([part.value for part in sets]))
    assert judged.headline.images == 300
    width = np.mean([part.high - part.low for part in sets])
    assert judged.headline.high - judged.headline.low < 0.9 * width  # about 0.71 of it


def test_each_length_is_reported_with_intervals_that_hold_at_once():
    found = parts_of(claim("C2", synthetic_table(150, effects=Effects(complexity=0.3))))
    each = [found[f"loss_val_{length}"] for length in range(4, 33, 4)]
    assert all(part.bound is None for part in each)
    assert min(part.high - part.low for part in each) > 0.05


# The fan


def test_the_fan_is_measured_on_three_scales():
    grid = to_grid(synthetic_table(80, ("val",)))
    few, many, complexity = grid.score("l1")[:, 0], grid.score("l1")[:, -1], grid.per_image("complexity")
    fan, by_length = fan_samples(grid, HOW)
    found = {kind: samples[0] for kind, samples in fan._asdict().items()}
    assert by_length.shape == (61, 8)
    rho = [spearmanr(complexity, values).statistic for values in (few, many, few - many, few / many)]
    assert found == pytest.approx({"fall": rho[2], "difference": rho[0] - rho[1], "ratio": rho[3]})


def test_lines_that_open_like_a_fan_support_the_control_and_lines_that_close_contradict_it():
    open_lines = claim("C2", synthetic_table(300, effects=Effects(complexity=0.5, fan=0.9)))
    assert open_lines.verdict == open_lines.control_verdict == "supported"
    closing = claim("C2", synthetic_table(300, effects=Effects(complexity=0.5, fan=-0.9)))
    assert closing.verdict == "supported"
    assert closing.control_verdict == "contradicted"


def test_a_fan_on_one_scale_alone_is_mixed():
    """Where complexity multiplies the loss at every length, falls grow with it and correlations do not change."""
    judged = claim("C2", synthetic_table(300, ("val",)))
    found = parts_of(judged)
    assert judged.control_verdict == "mixed"
    assert found["fan_fall_val"].outcome == "supported"
    assert found["fan_difference_val"].outcome == "equivalent"
    assert abs(found["fan_ratio_val"].value) < 0.2
    assert found["fan_ratio_val"].bound is None


def test_a_tokenizer_of_one_length_has_no_fan():
    judged = claim("C2", synthetic_table(100, ("val",), lengths=(16,)))
    assert judged.verdict == "supported"
    assert judged.control_verdict == "not measurable"


def test_the_table_of_the_fan_names_lengths_and_scales():
    table = fan_table(synthetic_study_data(synthetic_table(60)))
    assert len(table) == 6
    assert table["measure"].iloc[0] == "Spearman with the fall of L1 from 4 to 32 tokens"
    assert fan_table(synthetic_study_data(synthetic_table(60, columns=()))).empty


# C3: needs of an image's own


def test_own_lengths_are_those_at_which_most_of_an_images_own_improvement_is_made():
    table = synthetic_table(3, ("val",), lengths=(4, 8, 16))
    losses = {4: (1.0, 0.5, 0.4), 8: (0.15, 0.2, 0.5), 16: (0.1, 0.1, 0.6)}
    for length, values in losses.items():
        table.loc[table["length"] == length, "l1"] = values
    # 94 % of the way at 8; 75 % at 8; none at all
    assert own_lengths(to_grid(table)).tolist() == [8, 16, 4]


def test_an_images_own_need_is_told_from_a_loss_that_is_merely_larger():
    larger = claim("C3", with_confounds(synthetic_table(2000, ("val",))))
    assert larger.verdict == "supported"
    assert parts_of(larger)["own_length_val"].outcome == "equivalent"
    slower = claim("C3", with_confounds(synthetic_table(300, ("val",), Effects(complexity_rate=0.6))))
    assert slower.verdict == slower.control_verdict == "supported"


def test_a_length_that_follows_file_sizes_alone_does_not_survive_them():
    table = synthetic_table(300, ("val",), Effects(complexity_rate=0.6))
    same = claim("C3", with_confounds(table, table["complexity"]))  # sizes are complexity itself
    assert parts_of(same)["length_given_confounds_val"].value == 0
    assert same.control_verdict in ("mixed", "partly supported")
    other = parts_of(claim("C3", with_confounds(table)))["length_given_confounds_val"]
    assert other.outcome == "supported"
    assert other.statistic.endswith("given JPEG bytes, WebP bytes, RMS contrast")


def test_a_table_without_contrast_says_so():
    judged = claim("C3", synthetic_table(150, ("val",)))
    assert judged.verdict == "supported"
    assert "no RMS contrast of the images of val" in judged.control_reason
    assert list(known_confounds(to_grid(with_confounds(synthetic_table(5, ("val",)))))) == [
        "JPEG bytes",
        "WebP bytes",
        "RMS contrast",
    ]


def test_c3_sets_codec_bytes_beside_the_length_without_deciding_by_them():
    table = synthetic_table(80, ("val",))
    table["jpeg_bytes"] = 1000 + 10 * table["complexity"]
    found = parts_of(claim("C3", table))
    assert found["jpeg_bytes_val"].value == pytest.approx(1.0)
    assert found["gain_over_jpeg_bytes_val"].value < 0
    assert found["gain_over_jpeg_bytes_val"].bound is None


# Controlled scenes


@pytest.mark.parametrize(("effect", "sign"), [(1.0, 1), (-1.0, -1)])
def test_claims_name_what_a_factor_raises_without_deciding_by_it(effect, sign):
    data = synthetic_study_data(
        synthetic_table(60, ("val",)), controlled=synthetic_controlled(12, Effects(complexity=effect))
    )
    for name, kind in (("C2", "loss"), ("C3", "length")):
        judged = all_claims()[name](data)
        found = [part for part in judged.measurements if part.name.startswith(f"{kind}_controlled_")]
        assert [part.name.rpartition("_")[2] for part in found] == ["objects", "texture", "background"]
        assert all(sign * part.value > 0 and part.bound is None for part in found)
        assert judged.verdict == "supported"


def test_controlled_scenes_alone_decide_no_claim():
    bare = synthetic_study_data(synthetic_table(40, columns=()), controlled=synthetic_controlled(12))
    assert all_claims()["C2"](bare).verdict == all_claims()["C3"](bare).verdict == "not measurable"


def test_c3_reports_tau_and_the_images_that_no_length_satisfies():
    table = synthetic_table(150, ("val",))
    hopeless = table["image_id"].isin(sorted(table["image_id"].unique())[:30])
    table.loc[hopeless & (table["length"] > 0), "l1"] = 0.9
    found = parts_of(claim("C3", table))
    censored = found["length_censored_val"]
    assert censored.value >= 30 / 150
    assert censored.low < censored.value < censored.high
    assert 0 < found["length_tau_val"].low < found["length_tau_val"].value < found["length_val"].value
    assert found["length_tau_val"].bound is None
