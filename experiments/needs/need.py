"""A thing that a run needs, and the stages of dvc.yaml that need it."""

from typing import NamedTuple

# Stages that read images or run networks, and those of them that run task models or the training losses.
TASK_STAGES = frozenset({"sweep", "baselines", "ablations"})
LOSS_STAGES = frozenset({"base", "finetune", "variants"})
MEASURES = frozenset({"examples", "cost", "measure@attention", "measure@codebook", "probe"})
NETWORK_STAGES = TASK_STAGES | LOSS_STAGES | MEASURES | {"data", "task_models", "distill"}
# A checkpoint names a published base tokenizer that it does not hold, so that whatever loads it needs that too.
BASELINE_STAGES = frozenset({"baselines", "examples", "cost"})
BASE_STAGES = NETWORK_STAGES - {"data", "task_models"} | {"pretrained"}
ESTIMATE = "estimate"  # the kind of a row that is about what a run takes


class Need(NamedTuple):
    """Something that a run needs, and whether it is there."""

    kind: str
    name: str
    needed: str
    found: str
    remedy: str = ""  # how to get what is missing; empty where nothing is
    stages: frozenset[str] = NETWORK_STAGES  # that need it
