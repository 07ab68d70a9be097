"""Ways of choosing an image's length against the same length for all, at the same mean cost over the set.

A way of choosing is called a rule. All rules spend the same: `alit.analysis.equal_cost` mixes two neighboring lengths,
thresholds or budgets at random until the mean cost is exactly the wanted one. Then each is asked for

- the mean of a score: what a data set is worth on average,
- the share of images whose loss is below a promised one, and the loss that only one image in twenty exceeds: what a
  threshold is for,
- what the same length for all would have to cost to be as good at the latter.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import estimate, resampled_means
from alit.analysis.equal_cost import CostedAllocation, EqualCost, cost_of, sample_upper_quantiles
from alit.analysis.grid import KEY, SweepGrid, metric_info
from alit.analysis.other_network import choosing_network
from alit.analysis.selection import (
    Allocation,
    BootstrapConfig,
    covering_allocation,
    criterion_on,
    uniform_allocation,
)
from alit.analysis.study_data import StudyData
from alit.errors import NotMeasurable
from alit.tokenizer.budget import allocate_budgets

SHARES = (0.4, 0.6, 0.8)  # of the cost of the longest length: where claims are decided; 60 % is the paper's Fig. 6
CURVE = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # where figures show rules
LEVEL = 0.95  # one image in twenty may be worse
FOLDS = 5  # of images, in the cross-fitting of the predictor
BUDGETS = 57  # mean lengths at which a family of budgets is computed; between two of them it is mixed
PREDICTED = "predicted_l1"  # rule: a threshold on an L1 that is predicted
CROSS_FITTED = "cross_fitted_l1"  # column that the study's own predictor adds to the grid; a tokenizer's is another
TOKENS = "tokens"
BITS = ("entropy_bits", "bits")  # columns of an image's size, the first that is there: entropy-coded, as stored

Kind = Literal["mean", "kept", "tail"]
RULE_COLUMNS = ["cost", "share", "rule", "rule_label", "kind", "column", "column_label", "better", "unit", "images"]
RULE_COLUMNS += ["promise", "value", "advantage", "low", "high"]
SAVED_COLUMNS = ["cost", "share", "rule", "rule_label", "images", "promise", "value", "low", "high"]
SPREAD_COLUMNS = ["rule", "rule_label", "group", "loss", "gain", "length", "images"]


class Rules(Mapping[str, CostedAllocation]):
    """Rules by name, each made when it is first asked for."""

    def __init__(self, makers: Mapping[str, Callable[[], Allocation]], costs: np.ndarray) -> None:
        """Take how each rule is made, and what each length costs each image."""
        self._makers, self._costs = makers, costs
        self._made: dict[str, CostedAllocation] = {}

    def __getitem__(self, name: str) -> CostedAllocation:
        if name not in self._made:
            self._made[name] = CostedAllocation(self._makers[name]()._replace(name=name), self._costs)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


class Comparison(NamedTuple):
    """Rules for the same n images, and what lengths cost."""

    grid: SweepGrid  # with the column `CROSS_FITTED`
    cost: str  # `TOKENS`, or the column of bits
    costs: np.ndarray  # (n, l)
    rules: Rules  # "uniform" among them
    shares: tuple[float, ...]  # those of `CURVE` that lie between the shortest and the longest length for all

    def at(self, rule: str, share: float) -> EqualCost:
        """Return a rule's lengths at a share of the cost of the longest length for all."""
        return self.rules[rule].at(share * self.most)

    @property
    def most(self) -> float:
        """Mean cost of the longest length for all."""
        return float(self.costs[:, -1].mean())

    def promise(self, column: str, share: float) -> float:
        """Return the threshold on a score that costs such a share, the looser of the two that are mixed."""
        return self.rules[column].loosest_threshold(share * self.most)


class Asked(NamedTuple):
    """A mean over images: of a score, or with a promise the share of images that satisfy it."""

    rule: str
    share: float
    column: str
    promise: float | None = None


def compare_rules(data: StudyData, cost: str = TOKENS) -> Comparison:
    """Return the rules of a table for the in-distribution images that every criterion and task has a score of.

    Args:
        data: the inputs.
        cost: what is equal: `TOKENS`, or a column of `cost_columns`.

    Raises:
        NotMeasurable: the table has one length only, or too few images to fit a predictor on others.
    """
    whole = data.task_grid()
    if len(whole.lengths) < 2:
        raise NotMeasurable(f"the table has one length only ({whole.longest}): there is nothing to choose")
    if len(whole) < 4 * FOLDS:
        raise NotMeasurable(f"{len(whole)} images are too few to fit a predictor on others; {4 * FOLDS} are needed")
    predicted = predicted_losses(whole, seed=data.seed)
    grid = replace(whole, scores={**whole.scores, CROSS_FITTED: predicted})
    costs = costs_of(grid, cost)
    makers: dict[str, Callable[[], Allocation]] = {"uniform": partial(uniform_allocation, grid)}
    makers |= {name: partial(threshold_family, grid, name) for name in data.criterion_columns()}
    makers[PREDICTED] = partial(threshold_family, grid, CROSS_FITTED)
    makers["budget"] = partial(budget_family, grid, "l1", "budget: largest fall of L1 per token first")
    words = "budget: largest predicted fall of L1 first"
    makers["predicted_budget"] = partial(budget_family, grid, CROSS_FITTED, words, spread=True)
    for task in tasks_of(data):
        makers |= oracles(data, grid, task) | retrained_oracle(data, grid, task)
    rules = Rules(makers, costs)
    least, most = float(costs[:, 0].mean()), float(costs[:, -1].mean())
    shares = tuple(share for share in CURVE if least < share * most < most)
    if not shares:
        raise NotMeasurable(f"no share of the longest length's {cost} lies between the shortest and the longest")
    return Comparison(grid, cost, costs, rules, shares)


def tasks_of(data: StudyData) -> tuple[str, ...]:
    """Return the reference tasks beside L1, and SSIM, which every sweep has."""
    return tuple(dict.fromkeys((*data.task_columns(), *data.measured("ssim"))))


def cost_columns(grid: SweepGrid) -> tuple[str, ...]:
    """Return what lengths may cost: tokens, and bits where they say more than a constant number for each token."""
    for name in BITS:
        if name in grid.scores and np.isfinite(grid.score(name)).all():
            ratio = grid.score(name) / grid.lengths
            return (TOKENS,) if np.allclose(ratio, ratio[0, 0], rtol=1e-6) else (TOKENS, name)
    return (TOKENS,)


def costs_of(grid: SweepGrid, cost: str) -> np.ndarray:
    """Return (n, l) costs of each image at each length."""
    if cost == TOKENS:
        return np.broadcast_to(grid.lengths.astype(np.float64), grid.rows.shape)
    return grid.score(cost)


def threshold_family(grid: SweepGrid, column: str) -> Allocation:
    """Return the smallest length that satisfies a threshold on a score, for thresholds that cover every cost."""
    allocation = covering_allocation(grid, column)
    return allocation._replace(label="predicted L1 < threshold") if column == CROSS_FITTED else allocation


def budget_family(grid: SweepGrid, column: str, label: str, *, spread: bool = False) -> Allocation:
    """Return what `encode(budget=)` chooses when it goes by a score, for budgets from the shortest to the longest.

    Tokens that lower no image's loss are not bought, so that the largest budget may be left unspent. With `spread` the
    rest goes to the images that have fewest: what a chooser that knows nothing more would do.
    """
    losses = -metric_info(column).sign * grid.score(column)
    means = np.linspace(grid.lengths[0], grid.longest, BUDGETS)
    positions = allocate_budgets(losses, grid.lengths.tolist(), np.ceil(means * len(grid)).tolist())
    if spread:
        raised = [np.maximum(positions[:, -1], place) for place in range(1, len(grid.lengths))]
        positions = np.concatenate([positions, np.stack(raised, axis=1)], axis=1)
        means = np.concatenate([means, np.full(len(raised), means[-1])])
    return Allocation("budget", label, means, positions, np.ones_like(positions, bool))


def oracles(data: StudyData, grid: SweepGrid, task: str) -> dict[str, Callable[[], Allocation]]:
    """Return how budgets are spent by a task's own scores, and by another network's: `choosing_network`, if any can.

    The first knows what it is judged by and is the best there is for the mean. The second is what is left of it when
    another network judges, and so what a network knows of an image and not of its own mistakes.
    """
    own = partial(budget_family, grid, task, "oracle: budget by the task itself")
    try:
        chooser = choosing_network(data, task)
    except NotMeasurable:  # claims give the reason
        return {f"oracle_{task}": own}
    crossed = partial(budget_family, grid, chooser, "oracle of another network", spread=True)
    return {f"oracle_{task}": own, f"crossed_{task}": crossed}


def retrained_oracle(data: StudyData, grid: SweepGrid, task: str) -> dict[str, Callable[[], Allocation]]:
    """Return how budgets are spent by a task's scores of other trainings, where the run has them; else nothing.

    Cross-fitted: what the same network says of other seeds' reconstructions of the same images, mean over the seeds.
    What is left of the oracle then is the image's, and not one training's luck with it.
    """
    found = [_scores_of_same_images(each.grid, grid, task) for each in data.trainings.values()]
    scores = [each for each in found if each is not None]
    if not scores or len(scores) < len(found):
        return {}
    others = replace(grid, scores={task: np.mean(scores, axis=0)})
    return {f"retrained_{task}": partial(budget_family, others, task, "oracle of other trainings", spread=True)}


def _scores_of_same_images(other: SweepGrid, grid: SweepGrid, task: str) -> np.ndarray | None:
    """Return another sweep's scores (n, l) of the images of a grid; None where one of them, or a length, is missing."""
    if task not in other.scores or not np.array_equal(other.lengths, grid.lengths):
        return None
    here, there = (each.images.set_index(list(KEY)).index for each in (grid, other))
    rows = there.get_indexer(here)
    scores = other.score(task)[rows]
    return scores if (rows >= 0).all() and np.isfinite(scores).all() else None


def predicted_losses(grid: SweepGrid, folds: int = FOLDS, seed: int = 0) -> np.ndarray:
    """Predict each image's L1 at every length (n, l) from what is known after the first iteration.

    That is the L1 at the shortest length and, where the table has them, the file sizes of the untouched image. A ridge
    regression on their logarithms up to second order, the penalty chosen within the training folds; every image is
    predicted by a model that was fitted on other images.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    losses = grid.score("l1")
    known = [losses[:, 0], *(grid.per_image(codec) for codec in grid.codecs())]
    features = np.log(np.maximum(np.stack(known, axis=1), 1e-6))  # image feature
    shares = losses / np.maximum(losses[:, :1], 1e-6)  # of the L1 that is known already
    model = make_pipeline(
        StandardScaler(),
        PolynomialFeatures(2, include_bias=False),
        StandardScaler(),
        RidgeCV(alphas=np.logspace(-3, 3, 7)),
    )
    split = KFold(folds, shuffle=True, random_state=seed)
    return losses[:, :1] * np.maximum(np.asarray(cross_val_predict(model, features, shares, cv=split)), 0)


class Pair(NamedTuple):
    """Samples (1 + r,) of a statistic under a rule, and with the same length for all at what the rule costs there."""

    rule: np.ndarray
    uniform: np.ndarray


def sample_means(comparison: Comparison, asked: Sequence[Asked], bootstrap: BootstrapConfig) -> dict[Asked, Pair]:
    """Return samples of each mean, all over the same resamples of images."""
    chosen = {(rule, each.share): comparison.at(rule, each.share) for each in asked for rule in (each.rule, "uniform")}
    numbers = []
    for each in asked:
        rule, uniform = chosen[each.rule, each.share], chosen["uniform", each.share]
        scores = _scores(comparison.grid, each)
        numbers += [rule.expected(scores), uniform.at_cost_of(rule, scores)]
    means = resampled_means(np.stack(numbers, axis=1), bootstrap.resamples, bootstrap.seed)
    return {each: Pair(means[:, 2 * place], means[:, 2 * place + 1]) for place, each in enumerate(asked)}


def _scores(grid: SweepGrid, asked: Asked) -> np.ndarray:
    scores = grid.score(asked.column)
    if asked.promise is None:
        return scores
    below = criterion_on(asked.column).direction == "below"
    return (scores < asked.promise if below else scores > asked.promise).astype(np.float64)


class Tails(NamedTuple):
    """Samples (1 + r,) of the loss that a share of `1 - LEVEL` of the images exceeds, and of what a rule costs."""

    pair: Pair
    excess: np.ndarray  # beyond what the rule costs over all images


def sample_tails(
    comparison: Comparison, rules: Sequence[str], share: float, column: str, bootstrap: BootstrapConfig
) -> dict[str, Tails]:
    """Return samples of that loss under each rule and with the same length for all."""
    scores, uniform = comparison.grid.score(column), comparison.at("uniform", share)
    chosen = [comparison.at(rule, share) for rule in rules]
    found = sample_upper_quantiles([uniform, *chosen], scores, LEVEL, bootstrap)
    slope = uniform.quantile_slope(scores, LEVEL)
    tails = {}
    for place, rule in enumerate(rules, start=1):
        moved = found.values[:, 0] + slope * (found.excess[:, place] - found.excess[:, 0])
        tails[rule] = Tails(Pair(found.values[:, place], moved), found.excess[:, place])
    return tails


def sample_uniform_tails(comparison: Comparison, column: str, bootstrap: BootstrapConfig) -> np.ndarray:
    """Return (1 + r, l) samples of that loss with each length for all."""
    uniform = comparison.rules["uniform"]
    chosen = [uniform.at(float(cost)) for cost in uniform.spent]
    return sample_upper_quantiles(chosen, comparison.grid.score(column), LEVEL, bootstrap).values


def saved(comparison: Comparison, tails: Tails, uniform: np.ndarray, share: float) -> np.ndarray:
    """Return (1 + r,) what the same length for all costs beyond a rule for the same promise, share of the longest.

    Args:
        comparison: the rules.
        tails: the loss that the rule promises to all but one image in twenty.
        uniform: (1 + r, l) the same with each length for all (`sample_uniform_tails`).
        share: what the rule costs. A promise that no length for all keeps counts as the longest length: too few.
    """
    spent = np.broadcast_to(comparison.rules["uniform"].spent, uniform.shape)
    needed = cost_of(-uniform, spent, -tails.pair.rule)
    return (needed - tails.excess) / comparison.most - share


def advantage(pair: Pair, column: str, kind: Kind) -> np.ndarray:
    """Return (1 + r,) how much better a rule is than the same length for all; see `unit_of`."""
    rule, uniform = pair
    if unit_of(column, kind) == "points":
        return (rule - uniform) * (1.0 if kind == "kept" else metric_info(column).sign)
    return (uniform - rule) / uniform


def unit_of(column: str, kind: Kind) -> Literal["share", "points"]:
    """Return the unit of an advantage: the share by which a loss falls, else the rise of a score between 0 and 1."""
    return "points" if kind == "kept" or metric_info(column).better == "higher" else "share"


def rules_table(data: StudyData, cost: str = TOKENS, shares: Iterable[float] = CURVE) -> pd.DataFrame:
    """Return what each rule gives at each share of the cost, and how much better that is than the same length for all.

    Returns:
        Columns cost, share, rule, rule_label, kind ("mean" of a score; "kept": share of images that satisfy the
        promise; "tail": loss that one image in twenty exceeds), column, column_label, better, unit ("share", "points"),
        images, promise (nan but for "kept"), value, advantage, low, high (interval of the advantage). No rows where
        `compare_rules` has nothing to compare.
    """
    try:
        comparison = compare_rules(data, cost)
    except NotMeasurable:
        return pd.DataFrame(columns=RULE_COLUMNS)
    parts = []
    for share in (share for share in comparison.shares if share in set(shares)):
        for each, pair in sample_means(comparison, list(_asked(data, comparison, share)), data.bootstrap).items():
            parts.append(_row(data, comparison, each, "mean" if each.promise is None else "kept", pair))
        rules = [name for name in comparison.rules if not _is_oracle(name)]
        for rule, tails in sample_tails(comparison, rules, share, "l1", data.bootstrap).items():
            parts.append(_row(data, comparison, Asked(rule, share, "l1"), "tail", tails.pair))
    return pd.DataFrame(parts, columns=RULE_COLUMNS)


def _asked(data: StudyData, comparison: Comparison, share: float) -> Iterator[Asked]:
    """Yield every rule on every task, an oracle on its own one only, and every rule on the promise."""
    promise = comparison.promise("l1", share)
    for rule in comparison.rules:
        for task in ("l1", *tasks_of(data)):
            if not _is_oracle(rule) or rule.split("_", 1)[1] == task:
                yield Asked(rule, share, task)
        if not _is_oracle(rule):
            yield Asked(rule, share, "l1", promise)


def _is_oracle(rule: str) -> bool:
    return rule.startswith(("oracle_", "crossed_", "retrained_"))


def _row(data: StudyData, comparison: Comparison, asked: Asked, kind: Kind, pair: Pair) -> tuple[object, ...]:
    label = comparison.rules[asked.rule].label
    described = metric_info(asked.column)
    with np.errstate(divide="ignore", invalid="ignore"):  # a loss of 0 has no share
        gained = estimate(advantage(pair, asked.column, kind), data.bootstrap.confidence)
    promise = np.nan if asked.promise is None else asked.promise
    names = (comparison.cost, asked.share, asked.rule, label, kind, asked.column, described.label, described.better)
    return (*names, unit_of(asked.column, kind), len(comparison.grid), promise, float(pair.rule[0]), *gained)


def saved_table(data: StudyData, cost: str = TOKENS, shares: Iterable[float] = CURVE) -> pd.DataFrame:
    """Return what the same length for all would cost beyond each rule for the same promise to 19 of 20 images.

    Returns:
        Columns cost, share, rule, rule_label, images, promise (the L1 that one image in twenty exceeds), value (share
        of the cost of the longest length), low, high. No rows where `compare_rules` has nothing to compare.
    """
    try:
        comparison = compare_rules(data, cost)
    except NotMeasurable:
        return pd.DataFrame(columns=SAVED_COLUMNS)
    rules = [name for name in comparison.rules if name != "uniform" and not _is_oracle(name)]
    uniform, rows = sample_uniform_tails(comparison, "l1", data.bootstrap), []
    for share in (share for share in comparison.shares if share in set(shares)):
        tails = sample_tails(comparison, rules, share, "l1", data.bootstrap)
        for rule, tail in tails.items():
            found = estimate(saved(comparison, tail, uniform, share), data.bootstrap.confidence)
            label = comparison.rules[rule].label
            rows.append((cost, share, rule, label, len(comparison.grid), float(tail.pair.rule[0]), *found))
    return pd.DataFrame(rows, columns=SAVED_COLUMNS)


def spread_table(data: StudyData, share: float = 0.6, groups: int = 10) -> pd.DataFrame:
    """Return whom each rule gives tokens, and what tokens bring there; images are grouped by L1 at the shortest length.

    Returns:
        Columns rule, rule_label, group (1: the lowest L1), loss (mean L1 at the shortest length), gain (mean fall of L1
        per token between the two lengths around the share), length (mean tokens), images. The share is the nearest of
        those that lengths can take. No rows where
        `compare_rules` has nothing to compare.
    """
    try:
        comparison = compare_rules(data)
    except NotMeasurable:
        return pd.DataFrame(columns=SPREAD_COLUMNS)
    share = min(comparison.shares, key=lambda each: abs(each - share))
    grid = comparison.grid
    losses, lengths = grid.score("l1"), grid.lengths
    upper = int(np.clip(np.searchsorted(lengths, share * grid.longest), 1, len(lengths) - 1))
    gain = (losses[:, upper - 1] - losses[:, upper]) / (lengths[upper] - lengths[upper - 1])
    group = 1 + np.argsort(np.argsort(losses[:, 0], kind="stable")) * groups // len(grid)
    frames = []
    for rule, family in comparison.rules.items():
        if _is_oracle(rule):
            continue
        tokens = comparison.at(rule, share).here.expected(comparison.costs)
        frame = pd.DataFrame({"group": group, "loss": losses[:, 0], "gain": gain, "length": tokens, "images": 1})
        means = frame.groupby("group").agg({"loss": "mean", "gain": "mean", "length": "mean", "images": "sum"})
        frames.append(means.reset_index().assign(rule=rule, rule_label=family.label))
    return pd.DataFrame(pd.concat(frames, ignore_index=True), columns=SPREAD_COLUMNS)
