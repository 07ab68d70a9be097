"""A1 to A5: does adapting the length to the image pay, at equal cost over the set? The suite's own claims.

The paper compares ways of choosing lengths with each other and never with the same length for all. These claims do.
Criteria and margins were fixed before their numbers were known, with one exception: that lengths by an L1 threshold
have a higher mean L1 at 40, 60 and 80 % of the tokens was known of the kept Imagenette run when A1 was written.
"""

from collections.abc import Sequence

import numpy as np

from alit.analysis.bootstrap import resampled_means
from alit.analysis.claims import Claim, Statement, assesses
from alit.analysis.grid import metric_info
from alit.analysis.instruments import knows_task
from alit.analysis.measurements import Column, Gate, Measurement, gate, measured, pooled
from alit.analysis.other_network import CHOOSER, choosing_networks, other_networks
from alit.analysis.selection import own_column
from alit.analysis.study_data import StudyData
from alit.errors import NotMeasurable
from alit.studies.adaptivity.tables import (
    LEVEL,
    PREDICTED,
    SHARES,
    TOKENS,
    Asked,
    Comparison,
    Kind,
    advantage,
    compare_rules,
    cost_columns,
    sample_means,
    sample_tails,
    sample_uniform_tails,
    saved,
    tasks_of,
    unit_of,
)

MIDDLE = 0.6  # of the tokens, the share that the paper's Fig. 6 reads off
# A third of the smallest improvement between neighboring lengths in the paper's Tab. 1: FID 8.55 to 8.25, 3.5 %.
LOSS_MARGIN = 0.01
# One image in a hundred: half the smallest difference of accuracies that the paper interprets, 49.9 against 48.0.
POINT_MARGIN = 0.01
# A sixth of the step between neighboring lengths of the paper's eight, an eighth of the tokens.
TOKEN_MARGIN = 0.02

_EACH = ", ".join(f"{share:.0%}" for share in SHARES)
_MARGINS = (
    f"{LOSS_MARGIN:.0%} of a loss, a third of the smallest improvement between neighboring lengths in the paper's "
    f"Tab. 1; {POINT_MARGIN:.2f} of a score or share from 0 to 1, half the smallest difference of accuracies that it "
    "interprets"
)
_NO_PAPER = "does not compare with the same length for all"

A1 = Statement(
    id="A1",
    sentence="At equal tokens, lengths by an L1 threshold have a lower mean L1 than the same length for all.",
    source="what Fig. 6 is read as; sec. 4",
    paper=_NO_PAPER,
    criterion=f"the share by which mean L1 is lower at {_EACH} of the tokens is above 0 at each",
    control="and on scores that the threshold does not see, and at equal bits where these are not proportional: the "
    f"advantage at {MIDDLE:.0%} is above 0 for each",
    origin="suite",
    margins=_MARGINS,
)
A2 = Statement(
    id="A2",
    sentence="At equal tokens, an L1 threshold holds its promise for more images than the same length for all, and "
    "the worst losses are smaller.",
    source="what a threshold is for; sec. 4",
    paper=_NO_PAPER,
    criterion="the share of images with L1 below the threshold is larger, and the L1 that one image in twenty exceeds "
    f"lower, at {_EACH} of the tokens, each",
    control="when the threshold is on an L1 that is predicted after the first iteration, so that no length is tried, "
    f"and in losses that the threshold does not see, at {MIDDLE:.0%}: each as stated",
    origin="suite",
    margins=f"{_MARGINS}. Where losses fall with every token, the first share cannot be lower; its size decides",
)
A3 = Statement(
    id="A3",
    sentence="The same promise to 19 of 20 images costs fewer tokens with lengths by an L1 threshold.",
    source="what a threshold is for; sec. 4",
    paper=_NO_PAPER,
    criterion="the tokens that the same length for all needs for the L1 that one image in twenty exceeds under the "
    f"threshold, beyond the {_EACH} that the threshold spends, are above 0, each; a promise that no length keeps "
    "counts as the longest",
    control="the same with thresholds on the predicted L1, and on bits where these are not proportional to tokens",
    origin="suite",
    margins=f"{TOKEN_MARGIN:.0%} of the most tokens, a sixth of the step between the paper's neighboring lengths",
)
A4 = Statement(
    id="A4",
    sentence="At equal tokens, a budget that is spent where L1 falls most has a lower mean L1 than the same length for "
    "all.",
    source="encode(budget=) of this suite",
    paper=_NO_PAPER,
    criterion=f"the share by which mean L1 is lower at {_EACH} of the tokens is above 0 at each",
    control="with the fall of L1 predicted after the first iteration, on other images' fits, each; and at equal bits "
    "where these are not proportional",
    origin="suite",
    margins=f"{_MARGINS}. No choice of as many tokens has a lower mean: the size decides",
)
A5 = Statement(
    id="A5",
    sentence="At equal tokens, an oracle that knows a task's score of every image at every length does better than the "
    "same length for all.",
    source="upper end of Fig. 5, 6, 14, 15",
    paper=_NO_PAPER,
    criterion=f"the advantage of the oracle in its own task at {MIDDLE:.0%} of the tokens is above 0, for each task "
    "that two networks judge",
    control="when another network chooses than the one that judges: what is known of the image, and not of one "
    f"network's mistakes. It is {CHOOSER}",
    origin="suite",
    margins=f"{_MARGINS}. No choice of as many tokens has a better mean than the oracle's: the size decides",
)


def _margin(column: str, kind: Kind) -> float:
    return POINT_MARGIN if unit_of(column, kind) == "points" else LOSS_MARGIN


def _comparisons(data: StudyData) -> list[Comparison]:
    """Return the comparison at equal tokens, and at equal bits where that is another one."""
    tokens = compare_rules(data)
    return [tokens, *(compare_rules(data, cost) for cost in cost_columns(tokens.grid) if cost != TOKENS)]


def _decided(comparison: Comparison) -> list[float]:
    return [share for share in SHARES if share in comparison.shares]


def _words(comparison: Comparison, rule: str, column: str, kind: Kind, share: float) -> str:
    unit = "share of it" if unit_of(column, kind) == "share" else "points of 1"
    label, name = comparison.rules[rule].label, metric_info(column).label
    what = {
        "mean": f"mean {name}",
        "kept": f"share of images that keep the promised {name}",
        "tail": f"{name} that {1 - LEVEL:.0%} of the images exceed",
    }[kind]
    spent = f"{share:.0%} of the {comparison.cost}"
    return f"how much better than the same length for all, {what}, {label}, at {spent} ({unit})"


class _Measured:
    """Measurements of advantages over the same length for all, and their samples by name."""

    def __init__(self, data: StudyData, comparison: Comparison) -> None:
        self.data, self.comparison = data, comparison
        self.samples: dict[str, np.ndarray] = {}

    def means(self, asked: Sequence[Asked], column: Column, *, decides: bool = True) -> list[Measurement]:
        """Measure means and, where there is a promise, shares of images that keep it."""
        parts = []
        for each, pair in sample_means(self.comparison, asked, self.data.bootstrap).items():
            kind: Kind = "mean" if each.promise is None else "kept"
            samples = advantage(pair, each.column, kind)
            parts.append(self._one(each.rule, each.share, each.column, kind, samples, column, decides))
        return parts

    def tails(self, rules: Sequence[str], shares: Sequence[float], score: str, column: Column) -> list[Measurement]:
        """Measure the loss that one image in twenty exceeds."""
        parts = []
        for share in shares:
            found = sample_tails(self.comparison, rules, share, score, self.data.bootstrap)
            for rule, tails in found.items():
                samples = advantage(tails.pair, score, "tail")
                parts.append(self._one(rule, share, score, "tail", samples, column, True))
        return parts

    def _one(
        self, rule: str, share: float, score: str, kind: Kind, samples: np.ndarray, column: Column, decides: bool
    ) -> Measurement:
        cost = "" if self.comparison.cost == TOKENS else "_bits"
        name = f"{kind}_{score}_by_{rule}_{share * 100:.0f}{cost}"
        self.samples[name] = samples
        return measured(
            name,
            _words(self.comparison, rule, score, kind, share),
            samples,
            self.data.bootstrap.confidence,
            len(self.comparison.grid),
            0.0 if decides else None,
            column=column,
            margin=_margin(score, kind) if decides else None,
        )


def _gates(data: StudyData, comparison: Comparison, tasks: Sequence[str]) -> list[Gate]:
    """Return what each task must show: it improves with tokens, and its network knows what it judges."""
    if not tasks:
        return []
    ends = [comparison.grid.score(task)[:, [0, -1]] for task in tasks]
    means = resampled_means(np.concatenate(ends, axis=1), data.bootstrap.resamples, data.bootstrap.seed)
    gates = []
    for place, task in enumerate(tasks):
        rise = metric_info(task).sign * (means[:, 2 * place + 1] - means[:, 2 * place])
        words = f"improvement of mean {metric_info(task).label} from the shortest to the longest length for all"
        guards = tuple(f"{kind}_{task}_by_" for kind in ("mean", "kept", "tail"))
        guards += ("saved_by_",) if task == "l1" else ()
        gates.append(gate(f"range_of_{task}", words, rise, data.bootstrap.confidence, 0.0, guards=guards))
        gates += knows_task(data, task, guards)
    return gates


def _headline(data: StudyData, comparison: Comparison, words: str, samples: Sequence[np.ndarray]) -> Measurement | None:
    if not samples:
        return None
    return measured("pooled", words, pooled(*samples), data.bootstrap.confidence, len(comparison.grid))


def _no_share(comparison: Comparison) -> list[str]:
    """Return the shares of the cost that no choice of lengths takes, as a reason."""
    absent = [f"{share:.0%}" for share in SHARES if share not in comparison.shares]
    words = f"{', '.join(absent)} of the {comparison.cost} are fewer than the shortest length for all"
    return [words] if absent else []


@assesses(A1)
def threshold_lowers_the_mean(data: StudyData) -> Claim:
    """A1: mean L1, and other scores, under an L1 threshold against the same length for all."""
    comparison, *in_bits = _comparisons(data)
    found = _Measured(data, comparison)
    parts = found.means([Asked("l1", share, "l1") for share in _decided(comparison)], "stated")
    head = _headline(data, comparison, "share by which mean L1 is lower, mean over shares", [*found.samples.values()])
    tasks = [Asked("l1", MIDDLE, task) for task in tasks_of(data) if MIDDLE in comparison.shares]
    parts += found.means(tasks, "control") if tasks else []
    for other in in_bits:
        asked = [Asked("l1", share, "l1") for share in _decided(other)]
        parts += _Measured(data, other).means(asked, "control") if asked else []
    absent = _no_share(comparison)
    missing = [] if tasks else ["no other score at this share"]
    missing += [words for other in in_bits for words in _no_share(other)]
    gates = _gates(data, comparison, ["l1", *tasks_of(data)])
    return A1.judge(parts, absent, missing_control=missing, gates=gates, headline=head)


@assesses(A2)
def threshold_keeps_its_promise(data: StudyData) -> Claim:
    """A2: images under the promised loss, and the worst losses, at equal tokens."""
    comparison = compare_rules(data)
    shares, found = _decided(comparison), _Measured(data, comparison)
    promised = {share: comparison.promise("l1", share) for share in shares}
    parts = found.means([Asked("l1", share, "l1", promised[share]) for share in shares], "stated")
    head = _headline(data, comparison, "rise of the share of images under the promise", [*found.samples.values()])
    parts += found.tails(["l1"], shares, "l1", "stated")
    parts += found.means([Asked(PREDICTED, share, "l1", promised[share]) for share in shares], "control")
    parts += found.tails([PREDICTED], shares, "l1", "control")
    unseen = data.measured(data.perceptual_column, data.depth_column) if MIDDLE in shares else ()
    if unseen:
        asked = [Asked("l1", MIDDLE, loss, comparison.promise(loss, MIDDLE)) for loss in unseen]
        parts += found.means(asked, "control")
        for loss in unseen:
            parts += found.tails(["l1"], [MIDDLE], loss, "control")
    absent = _no_share(comparison)
    missing = [*absent, *([] if unseen else ["no other loss at this share"])]
    gates = _gates(data, comparison, ["l1", *unseen])
    return A2.judge(parts, absent, missing_control=missing, gates=gates, headline=head)


@assesses(A3)
def promise_costs_fewer_tokens(data: StudyData) -> Claim:
    """A3: what the same length for all costs beyond a threshold for the same promise."""
    comparison, *in_bits = _comparisons(data)
    parts, stated = [], []
    for each in (comparison, *in_bits):
        uniform = sample_uniform_tails(each, "l1", data.bootstrap)
        for share in _decided(each):
            tails = sample_tails(each, ["l1", PREDICTED], share, "l1", data.bootstrap)
            for rule, tail in tails.items():
                column: Column = "stated" if (rule, each.cost) == ("l1", TOKENS) else "control"
                samples = saved(each, tail, uniform, share)
                stated += [samples] if column == "stated" else []
                parts.append(_saving(data, each, rule, share, samples, column))
    words = "tokens that the same length for all needs beyond the threshold, share of the most tokens"
    absent, head = _no_share(comparison), _headline(data, comparison, words, stated)
    missing = [*absent, *(words for other in in_bits for words in _no_share(other))]
    gates = _gates(data, comparison, ["l1"])
    return A3.judge(parts, absent, missing_control=missing, gates=gates, headline=head)


def _saving(
    data: StudyData, comparison: Comparison, rule: str, share: float, samples: np.ndarray, column: Column
) -> Measurement:
    cost = "" if comparison.cost == TOKENS else "_bits"
    label = comparison.rules[rule].label
    words = (
        f"{comparison.cost} that the same length for all needs beyond {share:.0%} for the promise that {label} keeps "
        f"to {LEVEL:.0%} of the images, share of the most"
    )
    name, confidence, images = (
        f"saved_by_{rule}_{share * 100:.0f}{cost}",
        data.bootstrap.confidence,
        len(comparison.grid),
    )
    return measured(name, words, samples, confidence, images, 0.0, column=column, margin=TOKEN_MARGIN)


@assesses(A4)
def budget_lowers_the_mean(data: StudyData) -> Claim:
    """A4: mean L1 under a budget, with the losses known and predicted, against the same length for all."""
    comparison, *in_bits = _comparisons(data)
    found, shares = _Measured(data, comparison), _decided(comparison)
    parts = found.means([Asked("budget", share, "l1") for share in shares], "stated")
    head = _headline(data, comparison, "share by which mean L1 is lower, mean over shares", [*found.samples.values()])
    parts += found.means([Asked("predicted_budget", share, "l1") for share in shares], "control")
    others = [Asked("budget", MIDDLE, task) for task in tasks_of(data) if MIDDLE in shares]
    parts += found.means(others, "stated", decides=False) if others else []
    for other in in_bits:
        asked = [Asked("budget", share, "l1") for share in _decided(other)]
        parts += _Measured(data, other).means(asked, "control") if asked else []
    absent = _no_share(comparison)
    missing = [*absent, *(words for other in in_bits for words in _no_share(other))]
    gates = _gates(data, comparison, ["l1"])
    return A4.judge(parts, absent, missing_control=missing, gates=gates, headline=head)


@assesses(A5)
def oracle_helps_its_task(data: StudyData) -> Claim:
    """A5: what an oracle gains in its own task, and what is left when another network chooses."""
    comparison = compare_rules(data)
    tasks = [task for task in tasks_of(data) if other_networks(data, task)]
    if not tasks:
        raise NotMeasurable("no task that two networks judge")
    if MIDDLE not in comparison.shares:
        raise NotMeasurable(*_no_share(comparison))
    found = _Measured(data, comparison)
    parts = found.means([Asked(f"oracle_{task}", MIDDLE, task) for task in tasks], "stated")
    own = [Asked(name, MIDDLE, task) for task in tasks for name in [own_column(task)] if name in comparison.rules]
    parts += found.means(own, "stated", decides=False) if own else []
    crossed, unchosen = choosing_networks(data, tasks)
    parts += found.means([Asked(f"crossed_{task}", MIDDLE, task) for task in crossed], "control") if crossed else []
    retrained = [Asked(f"retrained_{task}", MIDDLE, task) for task in tasks]
    known = [each for each in retrained if each.rule in comparison.rules]
    parts += found.means(known, "control", decides=False) if known else []
    return A5.judge(parts, missing_control=unchosen, gates=_gates(data, comparison, tasks))


CLAIMS = {
    "A1": threshold_lowers_the_mean,
    "A2": threshold_keeps_its_promise,
    "A3": promise_costs_fewer_tokens,
    "A4": budget_lowers_the_mean,
    "A5": oracle_helps_its_task,
}
