"""Sweep tables in which a weak and a strong model of each task lose a known share of their performance."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from synthetic_tables import SETTINGS

from alit.analysis.study_data import AnalysisConfig


class Rival(NamedTuple):
    """A model: its performance on untouched images, 0 to 1, and the share of it that no tokens at all would cost."""

    clean: float
    loss: float


WEAK, STRONG = Rival(0.5, 0.2), Rival(0.8, 0.7)


def with_model_pairs(
    table: pd.DataFrame, weak: Rival = WEAK, strong: Rival = STRONG, settings: AnalysisConfig = SETTINGS
) -> pd.DataFrame:
    """Return a table with the scores of the first and last classifier, depth model and captioner of the settings.

    The same images are hard for both models, so that their scores are paired. A depth error is what is missing from
    the performance, and grows by the share that an accuracy falls by.
    """
    image = table.groupby(["dataset", "image_id"], sort=False).ngroup().to_numpy()
    generator = np.random.default_rng(0)
    hard = generator.uniform(size=image.max() + 1)[image]
    length = table["length"].to_numpy()
    lost = np.where(length == 0, 0.0, np.exp(-3 * length / length.max()))
    columns = {}
    for place, rival in ((0, weak), (-1, strong)):
        noise = generator.normal(scale=0.02, size=len(table))
        kept = rival.clean * (1 - rival.loss * lost)
        error = (1 - rival.clean) * (1 + rival.loss * lost) * np.exp(noise) * (0.5 + hard)
        columns[f"class_rank_{settings.classifiers[place]}"] = np.where(hard < kept, 0.0, 3.0)
        columns[f"depth_true_error_{settings.depth_models[place]}"] = error
        columns[f"depth_error_{settings.depth_models[place]}"] = rival.loss * lost * (0.5 + hard)
        agreement = np.clip(rival.clean * (1 - rival.loss * lost) + 0.2 * (0.5 - hard), -1, 1)
        columns[f"depth_rank_agreement_{settings.depth_models[place]}"] = agreement
        columns[f"caption_true_score_{settings.captioners[place]}"] = np.clip(kept + 0.2 * (0.5 - hard) + noise, 0, 1)
        columns[f"caption_score_{settings.captioners[place]}"] = 1 - np.clip(rival.loss * lost * 2 * hard, 0, 1)
    return table.assign(**columns)
