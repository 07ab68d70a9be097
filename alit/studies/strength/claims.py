"""C8: stronger task models lose more at few tokens."""

from alit.analysis.bootstrap import estimate
from alit.analysis.claims import Claim, Measurement, Statement, measured
from alit.analysis.study_data import StudyData
from alit.studies.strength.tables import ModelComparison, Performance, model_comparisons, model_pairs, performances

C8 = Statement(
    id="C8",
    sentence="Stronger task models lose more at few tokens than weaker ones.",
    source="sec. 4, Fig. 7",
    paper="the gap to the original at few tokens is large for strong models and small for AlexNet",
    criterion="at the shortest length the drop of the strongest model, as a share of its performance on untouched "
    "images, is larger than that of the weakest, for each task; measurable where the strongest is the better one there",
)


def stronger_models_lose_more(data: StudyData) -> Claim:
    """C8: difference of the drops of the strongest and the weakest model of each task, paired over images."""
    parts, missing = [], []
    decided = {each.task: each for each in model_comparisons(data) if each.against == "truth"}
    for task, models in model_pairs(data).items():
        if task not in decided:
            missing.append(f"there is no truth for {task} to measure the strength of {' and '.join(models)} by")
            continue
        weak, *_, strong = performances(decided[task], data.bootstrap)
        weakest, *_, strongest = decided[task].models
        if not _is_stronger(data, weak, strong):
            missing.append(f"{strongest} is not measurably better than {weakest} on untouched images")
        elif not (weak.above_zero or strong.above_zero):
            missing.append(f"neither {weakest} nor {strongest} is left anything at the shortest length")
        else:
            parts += _compare(data, decided[task], weak, strong)
    return C8.judge(parts, missing or ([] if parts else ["no task has a weak and a strong model here"]))


def _is_stronger(data: StudyData, weak: Performance, strong: Performance) -> bool:
    return estimate(strong.sign * (strong.clean - weak.clean), data.bootstrap.confidence).low > 0


def _compare(data: StudyData, comparison: ModelComparison, weak: Performance, strong: Performance) -> list[Measurement]:
    images, length, confidence = len(comparison.grid), int(comparison.grid.lengths[0]), data.bootstrap.confidence
    names, task = f"{comparison.models[-1]} minus {comparison.models[0]}", comparison.task
    at = f"with {length} tokens, {names}, {data.dataset}"
    drop, gap = strong.drop[:, 0] - weak.drop[:, 0], strong.gap[:, 0] - weak.gap[:, 0]
    untouched = strong.sign * (strong.clean - weak.clean)
    lead = f"lead in {task} in its own units"
    return [
        measured(f"drop_{task}", f"drop in {task}, share of its own performance, {at}", drop, confidence, images, 0.0),
        measured(f"gap_{task}", f"drop in {task} in its own units {at}", gap, confidence, images),
        measured(f"lead_{task}", f"{lead} on untouched images, {names}", untouched, confidence, images),
        measured(f"lead_few_{task}", f"{lead} {at}", untouched - gap, confidence, images),
    ]


CLAIMS = {"C8": stronger_models_lose_more}
