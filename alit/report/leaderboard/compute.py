"""The result of one tokenizer, computed from its sweep by the studies' own functions."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np

from alit.analysis.bootstrap import estimate, resampled_means
from alit.analysis.grid import SweepGrid
from alit.analysis.rank_correlation import spearman_samples
from alit.analysis.selection import (
    CurveSamples,
    SelectionCriterion,
    allocate_by_threshold,
    at_tokens,
    middle_threshold,
)
from alit.analysis.study_data import StudyData
from alit.errors import NotMeasurable
from alit.report.leaderboard.result_file import FORMAT, BudgetResult, LengthResult, Number, Reason, ResultFile
from alit.studies.adaptivity.tables import (
    BITS,
    Asked,
    advantage,
    compare_rules,
    cost_columns,
    sample_means,
    sample_tails,
    sample_uniform_tails,
    saved,
)
from alit.studies.codebook.tables import prefix_survival
from alit.studies.complexity.tables import correlation_table
from alit.studies.cost.tables import cost_table
from alit.studies.reconstruction.tables import reconstruction_columns

SHARE = 0.6  # of the cost of the longest length: where adapting is judged, as in the paper's Fig. 6
BUDGETS = frozenset(2**power for power in range(4, 25))  # bits of an image at which tokenizers are compared
OPERATIONS = {"encode": "encode_ms", "decode": "decode_ms", "encode and decode": "both_ms"}


def hash_of_images(grid: SweepGrid) -> str:
    """Return what tells two sets of images apart: the sha256 of their ids, in order of the ids."""
    ids = sorted(grid.images["image_id"].astype(str))
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def compute_result(
    data: StudyData,
    *,
    name: str,
    kind: Literal["own", "baseline", "another training"],
    command: str,
    budgets: Iterable[int] = BUDGETS,
) -> ResultFile:
    """Return the result of a tokenizer on the in-distribution images of its sweep.

    Args:
        data: its sweep; `tables` with the run's cost study, and for the run's own tokenizer the codebook study.
        name: in the table, and in the cost study.
        kind: whose it is.
        command: that makes the file again.
        budgets: bits of an image at which it is compared with others.
    """
    columns = scores_of(data)
    swept = data.grid.dataset(data.dataset)
    grid = swept.complete(columns)
    rate, record = rate_column(grid), data.record
    tokenizer, judges = record.get("tokenizer", {}), record.get("tasks", ())
    sizes = {each["dataset"]: each["image_size"] for each in record.get("images", ())}
    return ResultFile(
        format=FORMAT,
        tokenizer=name,
        kind=kind,
        version=str(tokenizer.get("version", "")),
        checkpoint=str(tokenizer.get("weights_sha256") or ""),
        command=command,
        dataset=data.dataset,
        images=len(grid),
        image_size=sizes.get(data.dataset),
        image_ids=hash_of_images(swept),
        judges={each["name"]: each["weights_sha256"] for each in judges if each.get("weights_sha256")},
        rate=rate,
        lengths=_lengths(data, grid, columns),
        budgets=tuple(_budgets(data, grid, columns, sorted(set(budgets)))),
        measures={**adaptivity(data), **complexity(data, grid), **stability(data), **costs(data, name)},
    )


def scores_of(data: StudyData) -> list[str]:
    """Return the score columns that a leaderboard shows: reconstruction, and the reference tasks."""
    wanted = [*reconstruction_columns(data.grid), *data.task_columns()]
    shown = [name for name in wanted if not name.startswith("perceptual_") or name == data.perceptual_column]
    return list(dict.fromkeys(data.measured(*shown)))


def rate_column(grid: SweepGrid) -> Literal["bits", "entropy_bits"]:
    """Return what is paid: entropy-coded bits where every image has them, else bits as stored."""
    known = (name for name in BITS if name in grid.scores and np.isfinite(grid.score(name)).all())
    return "entropy_bits" if next(known, "bits") == "entropy_bits" else "bits"


def _lengths(data: StudyData, grid: SweepGrid, columns: Sequence[str]) -> tuple[LengthResult, ...]:
    def mean(column: str, place: int) -> float | None:
        values = grid.scores[column][:, place] if column in grid.scores else np.array([np.nan])
        return float(values.mean()) if np.isfinite(values).all() else None

    bootstrap = data.bootstrap
    samples = {name: resampled_means(grid.score(name), bootstrap.resamples, bootstrap.seed) for name in columns}
    tokens = _tokens(grid)
    return tuple(
        LengthResult(
            length=int(length),
            tokens=tokens[place],
            bits=float(grid.score("bits")[:, place].mean()),
            entropy_bits=mean("entropy_bits", place),
            scores={name: Number.of(estimate(each[:, place], bootstrap.confidence)) for name, each in samples.items()},
        )
        for place, length in enumerate(grid.lengths)
    )


def _tokens(grid: SweepGrid) -> list[float | None]:
    """Return the mean tokens of an image at each length, None for a code without any.

    Tables that were made before have no such column: there, a length that costs every image the same number of bits a
    token is a number of tokens, and anything else is a codec's setting.
    """
    if "tokens" in grid.scores:
        return [float(values.mean()) if np.isfinite(values).all() else None for values in grid.score("tokens").T]
    ratio = grid.score("bits") / grid.lengths
    are_tokens = bool(np.allclose(ratio, ratio[0, 0], rtol=1e-6))
    return [float(length) if are_tokens else None for length in grid.lengths]


def own_budget(data: StudyData) -> int | None:
    """Return the bits of a tokenizer with one length, at which others can be compared with it."""
    grid = data.grid.dataset(data.dataset)
    return round(float(grid.score(rate_column(grid)).mean())) if len(grid.lengths) == 1 else None


def _budgets(
    data: StudyData, grid: SweepGrid, columns: Sequence[str], budgets: Sequence[int]
) -> Iterator[BudgetResult]:
    """Yield the scores at each number of bits that the lengths span in every resample; of one length, at its own."""
    bootstrap, own = data.bootstrap, own_budget(data)
    spent = resampled_means(grid.score(rate_column(grid)), bootstrap.resamples, bootstrap.seed)
    within = [budget for budget in budgets if spent[:, 0].max() <= budget <= spent[:, -1].min()]
    samples = {name: resampled_means(grid.score(name), bootstrap.resamples, bootstrap.seed) for name in columns}
    for budget in within if own is None else [own]:
        found = {
            name: at_tokens(CurveSamples(np.log2(spent), values), float(np.log2(budget)))
            if own is None
            else values[:, 0]
            for name, values in samples.items()
        }
        scores = {name: Number.of(estimate(values, bootstrap.confidence)) for name, values in found.items()}
        yield BudgetResult(bits=budget, scores=scores)


def adaptivity(data: StudyData) -> dict[str, Number | Reason]:
    """Return what lengths by an L1 threshold gain over the same length for all, at equal cost: does adapting pay?

    `adaptive_l1` is the share by which the mean L1 is lower, `adaptive_saved` the share of the longest length's cost
    that the same length for all needs on top, for the promise that holds for 19 of 20 images. Cost is bits where an
    image's bits say more than a constant number for each token, else tokens.
    """
    names = ("adaptive_l1", "adaptive_saved")
    try:
        comparison = compare_rules(data, cost_columns(data.task_grid())[-1])
        share = min(comparison.shares, key=lambda each: abs(each - SHARE))
        asked = Asked("l1", share, "l1")
        pair = sample_means(comparison, [asked], data.bootstrap)[asked]
        tails = sample_tails(comparison, ["l1"], share, "l1", data.bootstrap)["l1"]
        kept = saved(comparison, tails, sample_uniform_tails(comparison, "l1", data.bootstrap), share)
    except NotMeasurable as reason:
        return dict.fromkeys(names, str(reason))
    found = (advantage(pair, "l1", "mean"), kept)
    return dict(zip(names, (Number.of(estimate(each, data.bootstrap.confidence)) for each in found), strict=True))


def complexity(data: StudyData, grid: SweepGrid) -> dict[str, Number | Reason]:
    """Return rank correlations of the length under an L1 threshold: with people's complexity, and with JPEG bytes.

    The threshold is `middle_threshold`. The first is that of the set with the most images that people scored.
    """
    names = ("complexity_human", "complexity_jpeg")
    if len(grid.lengths) < 2:
        return dict.fromkeys(names, "one length: nothing is chosen")
    threshold = middle_threshold(grid, data.settings.l1_thresholds)
    table = correlation_table(data.grid, [threshold], data.bootstrap)
    rows = table.loc[table["kind"] == "length"].sort_values("images", kind="stable")
    human: Number | Reason = "no set with complexities of people was swept"
    if len(rows):
        human = Number(**{key: float(rows.iloc[-1][key]) for key in ("value", "low", "high")})
    if "jpeg_bytes" not in grid.codecs():
        return {"complexity_human": human, "complexity_jpeg": "the table has no file sizes"}
    chosen = grid.lengths[allocate_by_threshold(grid, SelectionCriterion("l1"), [threshold]).positions]  # image 1
    if not np.ptp(chosen):
        return {"complexity_human": human, "complexity_jpeg": "all images have the same length"}
    samples = spearman_samples(grid.per_image("jpeg_bytes"), chosen.astype(np.float64), data.bootstrap)
    return {
        "complexity_human": human,
        "complexity_jpeg": Number.of(estimate(samples[:, 0], data.bootstrap.confidence)),
    }


def stability(data: StudyData) -> dict[str, Number | Reason]:
    """Return the share of the shortest code's ids that the longest code has at the same places, on these images."""
    try:
        table = prefix_survival(data)
    except (NotMeasurable, KeyError):
        return {"prefix": "its ids were not written down"}
    rows = table.loc[table["dataset"] == data.dataset] if len(table) else table
    if not len(rows):
        return {"prefix": "its ids were not written down"}
    row = rows.loc[rows["iteration"] == rows["iteration"].min()].sort_values("later").iloc[-1]
    return {"prefix": Number(**{key: float(row[key]) for key in ("value", "low", "high")})}


def costs(data: StudyData, name: str) -> dict[str, Number | Reason]:
    """Return milliseconds of one image at the longest length, median over rounds on the machine of the run."""
    table = cost_table(data)
    own = table.loc[table["tokenizer"] == name]
    found: dict[str, Number | Reason] = {}
    for operation, measure in OPERATIONS.items():
        rows = own.loc[own["operation"] == operation].sort_values("length")
        if len(rows):
            found[measure] = Number(**{key: float(rows.iloc[-1][key]) for key in ("value", "low", "high")})
        else:
            found[measure] = "not timed apart" if len(own) else "not timed"
    return found
