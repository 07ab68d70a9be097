"""Which network chooses where another judges: the best one on untouched images, whatever its name or place."""

import numpy as np
import pytest
from synthetic_tables import SETTINGS, synthetic_study_data, synthetic_table

from alit.analysis.grid import to_grid
from alit.analysis.other_network import choosing_network, choosing_networks, other_networks
from alit.errors import NotMeasurable

TRUE_ERROR, AGREEMENT = "depth_true_error_", "depth_rank_agreement_"


def classified(shares: dict[str, float], family: str = "class_rank_"):
    """Return a table in which classifiers are right on these shares of the untouched images."""
    table = synthetic_table(100, ("val",)).drop(columns=["class_rank_weak", "class_rank_strong"])
    number = table["image_id"].str[-3:].astype(int) / 100
    return table.assign(**{family + name: np.where(number < share, 0.0, 7.0) for name, share in shares.items()})


def data_of(table, *classifiers: str):
    return synthetic_study_data(table, SETTINGS.model_copy(update={"classifiers": classifiers or ("judge",)}))


def with_depth(datasets=("val",), **scores: float):
    """Return a table with depth errors of three networks and these scores of all untouched images."""
    table = synthetic_table(40, datasets)
    names = ("low", "high", "depth")
    table = table.assign(**{f"depth_error_{name}": table["depth_error_depth"] for name in names})
    return table.assign(**scores)


@pytest.mark.parametrize("best", ["aaa", "zzz", "mmm"])
@pytest.mark.parametrize("family", ["class_rank_", "class_rank_in_set_"])
def test_the_best_classifier_but_the_judge_chooses_whatever_its_name_or_place(best, family):
    names = ("zzz", "aaa", "mmm")
    shares = {"judge": 0.99, **dict.fromkeys(names, 0.6), best: 0.8}
    prefix = family.replace("class_rank_", "top1_")
    for listed in (names, names[::-1]):
        data = data_of(classified({name: shares[name] for name in ("judge", *listed)}, family), *listed, "judge")
        assert choosing_network(data, f"{prefix}judge") == prefix + best
        assert choosing_network(data, prefix + best) == f"{prefix}judge"


def test_of_equally_good_ones_the_one_chooses_that_does_better_on_reconstructions():
    table = classified({"judge": 0.9, "aaa": 0.7, "zzz": 0.7})
    for better, worse in (("aaa", "zzz"), ("zzz", "aaa")):
        rank = table[f"class_rank_{worse}"].where(table["length"] != 32, 7.0)
        assert (
            choosing_network(data_of(table.assign(**{f"class_rank_{worse}": rank})), "top1_judge") == f"top1_{better}"
        )


def test_other_networks_answer_the_same_question_on_the_same_images():
    table = classified({"judge": 0.9, "other": 0.8, "partial": 0.95}).assign(class_rank_in_set_judge=0.0)
    table.loc[table["image_id"] == table["image_id"][0], "class_rank_partial"] = np.nan
    assert other_networks(data_of(table), "top1_judge") == ("top1_other",)
    assert other_networks(data_of(table), "top1_in_set_judge") == ()
    assert other_networks(data_of(table), "ssim") == other_networks(data_of(table), "top1_absent") == ()


@pytest.mark.parametrize(("known", "better"), [(TRUE_ERROR, 0.1), (AGREEMENT, 0.9)])
def test_depth_networks_are_compared_by_known_depth(known, better):
    scores = {f"{known}{name}": 0.5 for name in ("low", "high", "depth")}
    for name in ("low", "high"):
        data = synthetic_study_data(with_depth(**scores | {f"{known}{name}": better}))
        assert choosing_network(data, "depth_error_depth") == f"depth_error_{name}"


def test_depth_is_known_of_other_sets_where_the_in_distribution_one_has_none():
    table = with_depth(("val", "check"), **{f"{AGREEMENT}low": 0.6, f"{AGREEMENT}high": 0.4, f"{AGREEMENT}depth": 0.9})
    check = table["dataset"] == "check"
    table.loc[~check, [name for name in table if str(name).startswith(AGREEMENT)]] = np.nan
    data = synthetic_study_data(table[~check])
    assert choosing_network(data._replace(checks=to_grid(table[check])), "depth_error_depth") == "depth_error_low"
    with pytest.raises(NotMeasurable, match="no truth to choose among high and low by, for relative depth error"):
        choosing_network(data, "depth_error_depth")


def test_an_only_other_network_needs_no_truth_and_reasons_are_kept_by_task():
    table = synthetic_table(40, ("val",)).assign(perceptual_other=0.3)
    table = table[table["length"] > 0].assign(depth_error_coarse=table["depth_error_depth"])
    chosen, reasons = choosing_networks(synthetic_study_data(table), ("depth_error_depth", "perceptual_net", "ssim"))
    assert chosen == {"depth_error_depth": "depth_error_coarse", "perceptual_net": "perceptual_other"}
    assert reasons == ["there is no second network for SSIM"]
