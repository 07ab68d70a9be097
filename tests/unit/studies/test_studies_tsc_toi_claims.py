"""C5, C6 and C7 on tables where they are true, false, open, and cannot be measured."""

import numpy as np
import pandas as pd
import pytest
from strength_tables import with_model_pairs
from synthetic_tables import LENGTHS, SETTINGS, Effects, synthetic_study_data, synthetic_table

from alit.analysis.claims import Claim
from alit.studies import all_claims

SHARES = np.array([1.0, *np.array(LENGTHS) / LENGTHS[-1]])  # of the tokens, by row of an image; untouched first
SPENT = np.maximum(SHARES - SHARES[1], 0) / (1 - SHARES[1])  # 0 at the shortest length, 1 at the longest


def claim(name: str, table: pd.DataFrame, settings=SETTINGS, features=None) -> Claim:
    data = synthetic_study_data(table, settings, features=False)
    return all_claims()[name](data if features is None else data._replace(features={"net": features}))


def deciding(judged: Claim) -> set[str]:
    return {part.name for part in judged.measurements if part.decides}


def outcome(judged: Claim, name: str):
    return {part.name: part.outcome for part in judged.measurements}[name]


def by_image(table: pd.DataFrame, column: str) -> np.ndarray:
    return table[column].to_numpy(dtype=float).reshape(-1, len(SHARES))


def two_kinds(busy_error, plain_error, images=400) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a table of two busy images, of high L1, to three plain ones, with errors (9,) by length; and features.

    Under an L1 threshold, plain images keep the shortest length until the busy ones have the longest. Depth error,
    class rank and the distance of the features follow the errors, which are 0.1 for the untouched image.
    """
    generator = np.random.default_rng(0)
    table, busy = synthetic_table(images, ("val",)), np.arange(images) % 5 < 2
    error = np.where(busy[:, None], busy_error, plain_error) * generator.uniform(0.98, 1.02, (images, 1))
    error[:, 0] = 0.1
    loss = np.where(busy, 0.3, 0.1)[:, None] - 0.05 * SPENT + generator.normal(scale=0.002, size=(images, 1))
    table["l1"] = np.where(SHARES[0] == SHARES, 0, loss).ravel() * (table["length"] > 0)
    table["depth_error_depth"] = error.ravel() * (table["length"] > 0)
    table["class_rank_strong"] = np.floor(10 * (error - 0.1) + generator.uniform(0, 0.9, (images, 1))).clip(0).ravel()
    table.loc[table["length"] == 0, "class_rank_strong"] = 0.0
    return table, with_distance(error, generator)


def with_distance(error: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return features (rows, 4) that lie as far from those of the untouched image as the error says."""
    base, ways = (generator.normal(mean, spread, (len(error), 1, 4)) for mean, spread in ((0, 1), (1, 0.3)))
    moved = 3 * np.where(np.arange(error.shape[1]) == 0, 0, error)[:, :, None] * ways
    return (base + moved).reshape(-1, 4).astype(np.float32)


FALLING, FLAT = 0.5 - 0.4 * SPENT, np.full(len(SPENT), 0.1)
SOON = np.where(SPENT > 0, 0.1, 0.5)  # all is gained by the second length


def test_c5_holds_in_both_columns_where_the_images_that_l1_gives_tokens_are_those_that_gain():
    judged = claim("C5", *swap(two_kinds(FALLING, FLAT)))
    assert judged.verdict == judged.control_verdict == "supported", judged.reason
    kinds = ("top1_strong", "depth_error_depth", "frechet_net")
    assert deciding(judged) == {f"{task}_{part}" for task in kinds for part in ("loss", "lead")}
    assert judged.headline is not None
    assert judged.low <= judged.value <= judged.high < 0.05
    assert all(gate.passes for gate in judged.gates)


def swap(made: tuple[pd.DataFrame, np.ndarray]):
    """Return the arguments of `claim`: table, settings, features."""
    return made[0], SETTINGS, made[1]


def test_c5_is_contradicted_where_l1_starves_the_images_that_gain():
    judged = claim("C5", *swap(two_kinds(FLAT, FALLING)))
    assert judged.verdict == judged.control_verdict == "contradicted"
    assert outcome(judged, "depth_error_depth_loss") == "contradicted"
    assert outcome(judged, "depth_error_depth_lead") == "contradicted"


def test_c5_as_stated_does_not_say_that_adapting_brought_it():
    """Busy images gain all by the second length, plain ones a little later: 60 % is enough, the same for all best."""
    judged = claim("C5", *swap(two_kinds(SOON, np.where(SPENT > 0.5, 0.1, 0.105))))
    assert outcome(judged, "depth_error_depth_loss") == "supported"
    assert outcome(judged, "depth_error_depth_lead") == "contradicted"


def test_c5_finds_no_lead_worth_having_where_all_images_gain_soon():
    judged = claim("C5", *swap(two_kinds(SOON, FLAT)))
    assert judged.verdict == "supported"
    assert judged.control_verdict == "contradicted"
    assert outcome(judged, "depth_error_depth_lead") == "equivalent"


def test_c5_takes_no_task_with_nothing_to_lose():
    table, features = two_kinds(FALLING, FLAT)
    table["class_rank_strong"] = 0.0
    judged = claim("C5", table, SETTINGS, features)
    assert judged.verdict == "partly supported"
    assert "loss of top-1 accuracy of strong with the shortest length for all" in judged.reason
    assert outcome(judged, "top1_strong_loss") is None


def test_c5_takes_no_classifier_that_is_wrong_on_untouched_images():
    table, features = two_kinds(FALLING, FLAT)
    table.loc[(table["length"] == 0) & (table["label"] < 6), "class_rank_strong"] = 4.0
    judged = claim("C5", table, SETTINGS, features)
    assert "top-1 accuracy of strong on untouched images of val is 0.4" in judged.reason
    assert judged.verdict == "partly supported"


def test_c5_is_not_whole_without_a_depth_network():
    table, features = two_kinds(FALLING, FLAT)
    judged = claim("C5", table, SETTINGS.model_copy(update={"depth_models": ()}), features)
    assert judged.verdict == judged.control_verdict == "partly supported"
    assert "relative depth error cannot be measured" in judged.reason


def test_c5_cannot_be_measured_where_no_task_is_known():
    judged = claim("C5", synthetic_table(60, ("val",), columns=("complexity",)))
    assert judged.verdict == judged.control_verdict == "not measurable"
    assert "without its features" in judged.reason


def test_what_the_paper_does_not_ask_is_reported_and_decides_nothing():
    table = with_model_pairs(synthetic_table(400, ("val",)))
    judged = {name: claim(name, table) for name in ("C5", "C6")}
    decides = set().union(*map(deciding, judged.values()))
    beside = {part.name for item in judged.values() for part in item.measurements} - decides
    assert not any("caption" in name or "perceptual" in name or name.startswith("l1") for name in decides)
    assert {"l1_lead", "perceptual_net_loss", "caption_score_wordy_lead", "top1_strong_tokens_needed"} <= beside
    assert "depth_beyond_accuracy_near_maximum" in beside


def test_accuracy_among_all_classes_is_reported_where_that_among_the_sets_decides():
    table = synthetic_table(200, ("val",))
    table = table.assign(class_rank_in_set_strong=table["class_rank_strong"] // 2)
    judged = claim("C5", table)
    assert "top1_in_set_strong_loss" in deciding(judged)
    assert "top1_strong_loss" in {part.name for part in judged.measurements} - deciding(judged)


def test_a_network_of_the_sets_own_classes_has_one_accuracy():
    table = with_model_pairs(synthetic_table(200, ("val",)))
    own = {f"class_rank_in_set_{name}": table[f"class_rank_{name}"] for name in ("weak", "strong")}
    found = {name: claim(name, table.assign(**own)) for name in ("C5", "C8")}
    names = {part.name for judged in found.values() for part in judged.measurements}
    assert {"top1_in_set_strong_loss", "classification_gap"} <= names
    assert not {"top1_strong_loss", "classification_gap_among_all"} & names


# C6

RANKS = ("class_rank_weak", "class_rank_strong")


def steps(second_network: str = "the same", images: int = 800) -> pd.DataFrame:
    """Return a table in which each image has the class right from a length of its own on, and depth from another.

    Classification needs one to four of the eight lengths, depth three to eight. L1 is that of other images. The weaker
    networks need the same lengths as the stronger ones, or those of other images.
    """
    generator = np.random.default_rng(0)
    table = synthetic_table(images, ("val",))
    place = np.arange(len(SHARES)) - 1
    wrong = {name: place < generator.integers(*range_, size=(images, 1)) for name, range_ in NEEDS.items()}
    wrong = {name: each & (place >= 0) for name, each in wrong.items()}
    order = np.arange(images) if second_network == "the same" else generator.permutation(images)
    noise = generator.uniform(0, 0.01, (2, images, len(SHARES)))
    scores = {
        "class_rank_strong": 3.0 * wrong["class"],
        "class_rank_weak": 3.0 * wrong["class"][order],
        "depth_error_depth": 0.1 + 0.4 * wrong["depth"] + noise[0],
        "depth_error_coarse": 0.1 + 0.4 * wrong["depth"][order] + noise[1],
        "l1": np.where(place < 0, 0, 0.2 - 0.01 * place + 0.02 * generator.normal(size=(images, 1))),
    }
    return table.assign(**{name: values.ravel() for name, values in scores.items()})


NEEDS = {"class": (0, 4), "depth": (2, 8)}  # range of the place of the first length that is enough


def test_c6_holds_in_both_columns_where_what_one_network_needs_another_needs_too():
    judged = claim("C6", steps())
    assert judged.verdict == judged.control_verdict == "supported", (judged.reason, judged.control_reason)
    crossed = {f"{task}_crossed_over_uniform" for task in ("top1_strong", "depth_error_depth")}
    assert {"depth_beyond_accuracy", "top1_strong_over_l1", *crossed} <= deciding(judged)
    assert judged.low > 0


def test_c6_under_control_falls_where_the_other_network_knows_nothing_of_the_image():
    judged = claim("C6", steps("other images"))
    assert judged.verdict == "supported"
    assert judged.control_verdict in ("mixed", "contradicted")
    for task in ("top1_strong", "depth_error_depth"):
        assert outcome(judged, f"{task}_crossed_over_uniform") == "equivalent"


def test_c6_under_control_is_not_met_by_choosing_better_than_l1_but_worse_than_the_same_length_for_all():
    """Depth errors that fall by an image's own rate: a threshold spends most on images that gain least."""
    table = synthetic_table(800, ("val",), OWN)
    judged = claim("C6", table.assign(class_rank_weak=table["class_rank_strong"], depth_error_coarse=depth_of(table)))
    assert outcome(judged, "depth_error_depth_crossed_over_l1") == "supported"
    assert outcome(judged, "depth_error_depth_crossed_over_uniform") == "equivalent"
    assert judged.control_verdict == "mixed"


OWN = Effects(class_rate=10, depth_rate=2, class_spread=0.6, depth_spread=1.0)


def depth_of(table: pd.DataFrame) -> np.ndarray:
    return table["depth_error_depth"].to_numpy() * np.exp(0.01 * np.random.default_rng(0).normal(size=len(table)))


def test_c6_decides_where_the_criterion_is_the_task_whatever_the_number_of_classes():
    """Ranks of a thousand classes: where X = 1 is no threshold, the top 30 or 60 would be selected."""
    table = synthetic_table(800, ("val",), OWN)
    few = table.assign(class_rank_weak=table["class_rank_strong"])
    few, thousand = (claim("C6", few.assign(**{name: few[name] * times for name in RANKS})) for times in (1, 37))
    for part in few.measurements:
        if part.name.startswith("top1_strong_over") or part.name.startswith("top1_strong_crossed"):
            other = next(each for each in thousand.measurements if each.name == part.name)
            assert (other.value, other.outcome) == (pytest.approx(part.value), part.outcome)
    assert outcome(thousand, "top1_strong_over_l1") == "supported"


def test_c6_does_not_hold_where_depth_needs_fewer_tokens():
    swapped = Effects(class_rate=2, depth_rate=25, class_spread=1.0, depth_spread=0.3)
    judged = claim("C6", synthetic_table(400, ("val",), swapped))
    assert outcome(judged, "depth_beyond_accuracy") == "contradicted"
    assert judged.verdict == "mixed"


def test_c6_says_what_is_missing_without_depth_and_without_a_second_network():
    table = synthetic_table(400, ("val",), OWN, columns=("class", "complexity")).drop(columns="class_rank_weak")
    alone = SETTINGS.model_copy(update={"classifiers": ("strong",)})
    judged = claim("C6", table, alone)
    assert judged.verdict == "partly supported"
    assert judged.control_verdict == "not measurable"
    assert "relative depth error cannot be measured" in judged.reason
    assert "no second network for top-1 accuracy of strong" in judged.control_reason
    assert all("depth" not in item.name for item in judged.measurements)


def test_c6_leaves_out_a_depth_network_that_sees_no_more_than_a_blind_rule():
    table = steps(images=400).assign(
        depth_rank_agreement_depth=0.35, depth_rank_agreement_blind_lower=0.3, depth_rank_agreement_blind_center=0.4
    )
    judged = claim("C6", table)
    assert "lead of depth in rank agreement with known depth over the better rule" in judged.reason
    assert {part.name for part in judged.measurements if part.outcome} == {
        *("top1_strong_over_l1", "top1_strong_over_depth_error_depth"),
        *(f"top1_strong_crossed_over_{name}" for name in ("l1", "depth_error_depth", "uniform")),
    }
    sighted = claim("C6", table.assign(depth_rank_agreement_depth=0.45))
    assert outcome(sighted, "depth_error_depth_over_l1") == "supported"


# C7


def strangers(images=1500) -> pd.DataFrame:
    """Return a table whose criteria spend alike and know nothing of each other: the needs of other images."""
    table = synthetic_table(images, ("val",))
    depth, generator = by_image(table, "depth_error_depth"), np.random.default_rng(0)
    table["l1"] = depth[generator.permutation(images)].ravel()
    ranks = np.floor(40 * np.clip(depth[generator.permutation(images)] - 0.08, 0, None))
    ranks[:, 0] = 0
    return table.assign(class_rank_strong=ranks.ravel())


def twins(images=400) -> pd.DataFrame:
    """Return a table in which L1 is a twin of the class rank: it serves accuracy, and depth does not."""
    table = synthetic_table(images, ("val",), Effects(class_rate=6, depth_rate=3))
    noise = 0.001 * np.random.default_rng(0).random(len(table))
    return table.assign(l1=(0.01 + 0.05 * table["class_rank_strong"] + noise) * (table["length"] > 0))


def test_c7_holds_in_both_columns_where_criteria_spend_alike_and_know_nothing_of_each_other():
    judged = claim("C7", strangers())
    assert judged.verdict == judged.control_verdict == "supported", judged.control_reason
    assert {name for name in deciding(judged) if not name.endswith("_of_gain")} == {
        "l1_by_class_rank_strong_or_depth_error_depth",
        "top1_strong_by_l1_or_depth_error_depth",
        "depth_error_depth_by_l1_or_class_rank_strong",
    }
    assert "better by class than by depth" in judged.statistic
    assert judged.low < 0 < judged.high


def test_c7_is_contradicted_where_one_criterion_serves_the_third_task():
    judged = claim("C7", twins())
    assert outcome(judged, "top1_strong_by_l1_or_depth_error_depth") == "contradicted"
    assert outcome(judged, "l1_by_class_rank_strong_or_depth_error_depth") == "contradicted"
    assert judged.verdict in ("contradicted", "mixed")


def test_c7_under_control_asks_whether_tokens_bring_anything():
    """The same table, with L1 on a pedestal: a third of what tokens bring is a small part of the value."""
    table = twins()
    table["l1"] = (table["l1"] + 1.2 * table["l1"].max()) * (table["length"] > 0)
    judged = claim("C7", table)
    assert outcome(judged, "l1_by_class_rank_strong_or_depth_error_depth") == "supported"
    assert outcome(judged, "l1_by_class_rank_strong_or_depth_error_depth_of_gain") == "contradicted"


def test_c7_is_open_with_few_images():
    judged = claim("C7", strangers(30))
    assert judged.verdict in ("inconclusive", "not measurable", "partly supported")


def test_c7_cannot_be_measured_without_two_criteria_for_a_third_task():
    judged = claim("C7", synthetic_table(60, ("val",), columns=("complexity",)))
    assert judged.verdict == "not measurable"
    assert "only 0 criterion" in judged.reason
