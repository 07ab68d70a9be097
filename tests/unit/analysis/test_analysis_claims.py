"""C5 and later claims on tables where they are true, false, and cannot be decided; the first four: their studies."""

import numpy as np
import pandas as pd
from strength_tables import with_model_pairs
from synthetic_tables import Effects, synthetic_study_data, synthetic_table

from alit.analysis.claims import Claim
from alit.studies import all_claims


def claim(name: str, table: pd.DataFrame, **options) -> Claim:
    return all_claims()[name](synthetic_study_data(table, **options))


def deciding(judged: Claim) -> set[str]:
    """Return the names of the measurements that a verdict hangs on."""
    return {part.name for part in judged.measurements if part.bound is not None}


# C5, C6 and C7: in these tables classification needs few tokens (rate 6) and depth more (rate 2)

TASKS = ("val",)
EARLY = Effects(complexity=0.1, loss_rate=6, class_rate=8, depth_rate=8, class_spread=0.1, depth_spread=0.1)


def test_c5_holds_where_tasks_are_done_early():
    judged = claim("C5", synthetic_table(400, TASKS, EARLY))
    assert judged.verdict == "supported"
    assert deciding(judged) == {
        "tokens_for_top1_strong",
        "tokens_for_depth_error_depth",
        "tokens_for_frechet_net",
    }


def test_c5_does_not_hold_where_depth_needs_every_token():
    late = EARLY._replace(depth_rate=0.5)
    judged = claim("C5", synthetic_table(400, TASKS, late))
    assert judged.verdict == "does not hold"
    assert "tokens_for_depth_error_depth" in judged.reason


def test_c5_cannot_be_measured_where_no_task_improves():
    table = synthetic_table(100, TASKS, columns=("complexity",))
    judged = claim("C5", table, features=False)
    assert judged.verdict == "not measurable"


def test_c5_to_c7_set_perceptual_distance_and_captions_beside_what_decides():
    judged = [claim(name, with_model_pairs(synthetic_table(400, TASKS, EARLY))) for name in ("C5", "C6", "C7")]
    decides = set().union(*map(deciding, judged))
    beside = {part.name for item in judged for part in item.measurements} - decides
    assert not any("caption" in name or "perceptual" in name for name in decides)
    assert {"tokens_for_caption_score_wordy", "tokens_for_perceptual_net"} <= beside
    assert {"top1_strong_over_perceptual_net", "caption_score_wordy_over_l1", "top1_strong_of_possible"} <= beside
    assert {"wide_spread_of_top1_strong", "wide_spread_of_caption_score_wordy"} <= beside


def test_c5_leaves_out_a_task_that_does_not_improve_and_says_so():
    table = synthetic_table(200, TASKS, EARLY)
    table["class_rank_strong"] = 5.0
    judged = claim("C5", table)
    assert judged.verdict == "not measurable"
    assert "top-1 accuracy of strong does not clearly improve" in judged.reason


OWN = Effects(class_rate=10, depth_rate=2, class_spread=0.6, depth_spread=1.0)


def test_c6_holds_where_each_criterion_knows_its_own_task_best():
    judged = claim("C6", synthetic_table(800, TASKS, OWN))
    assert judged.verdict == "supported", judged.reason
    assert "depth_beyond_accuracy" in {item.name for item in judged.measurements}


def test_c6_does_not_hold_where_depth_needs_fewer_tokens():
    swapped = Effects(class_rate=2, depth_rate=25, class_spread=1.0, depth_spread=0.3)
    judged = claim("C6", synthetic_table(400, TASKS, swapped))
    assert judged.verdict == "does not hold"
    assert "depth_beyond_accuracy" in judged.reason


def test_c6_cannot_be_measured_whole_without_depth():
    judged = claim("C6", synthetic_table(400, TASKS, OWN, columns=("class", "complexity")))
    assert judged.verdict in ("not measurable", "does not hold")
    assert all("depth" not in item.name for item in judged.measurements)


def test_c7_holds_where_criteria_spend_alike_and_know_nothing_of_each_other():
    table = synthetic_table(1500, TASKS)
    # Loss and class rank become the depth errors of other images: the same needs, independent of the image's own.
    depth = table["depth_error_depth"].to_numpy().reshape(1500, -1)
    generator = np.random.default_rng(0)
    table["l1"] = depth[generator.permutation(1500)].ravel()
    table["class_rank_strong"] = np.floor(40 * np.clip(depth[generator.permutation(1500)].ravel() - 0.08, 0, None))
    judged = claim("C7", table, features=False)
    assert judged.verdict == "supported", judged.reason
    assert deciding(judged) == {"spread_of_top1_strong", "spread_of_depth_error_depth"}


def test_c7_does_not_hold_where_one_criterion_favours_the_third_task():
    table = synthetic_table(400, TASKS, Effects(class_rate=6, depth_rate=3))
    # L1 becomes a twin of the class rank, so that it serves accuracy and depth does not.
    generator = np.random.default_rng(0)
    reconstructed = table["length"] > 0
    table.loc[reconstructed, "l1"] = (
        0.01 + 0.05 * table.loc[reconstructed, "class_rank_strong"] + 0.001 * generator.random(reconstructed.sum())
    )
    judged = claim("C7", table, features=False)
    assert judged.verdict == "does not hold"
    assert "spread_of_top1_strong" in judged.reason


def test_c7_cannot_be_measured_without_two_criteria_for_a_third_task():
    table = synthetic_table(100, TASKS, columns=("class", "complexity"))
    judged = claim("C7", table, features=False)
    assert judged.verdict == "not measurable"
    assert "only 1 criterion" in judged.reason
