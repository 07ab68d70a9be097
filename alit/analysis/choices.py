"""What is asked where no profile says it: what a caller chose, and what a table outside any run suggests."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from alit.analysis.study_data import AnalysisConfig, StudyData
from alit.errors import ConfigError
from alit.settings import parse_settings


def with_choices(
    data: StudyData,
    *,
    dataset: str = "",
    criteria: Mapping[str, Sequence[float]] | None = None,
    tasks: Sequence[str] = (),
    familiarity: Sequence[str] = (),
    resamples: int | None = None,
) -> StudyData:
    """Return the inputs with what a caller chose in place of the defaults; what is empty or 0 keeps its default.

    Args:
        data: the inputs.
        dataset: a set of the table to take as the in-distribution set.
        criteria: thresholds by score: l1, class_rank, depth_error, perceptual or caption_score, or a whole column name
            of such a score; scores that are not named are no criteria.
        tasks: score columns, `top1_<model>` among them, and `frechet_<extractor>`.
        familiarity: sets of the table, progressively less like the training images.
        resamples: bootstrap resamples.

    Raises:
        ConfigError: the table has no such set or score.
    """
    choices: dict[str, Any] = {
        "dataset": dataset,
        "criteria": criteria,
        "tasks": tasks,
        "familiarity": familiarity,
        "resamples": resamples,
    }
    data = data._replace(trainings={name: with_choices(each, **choices) for name, each in data.trainings.items()})
    absent = [name for name in (dataset, *familiarity) if name and name not in data.grid.datasets]
    if absent:
        raise ConfigError(f"expected data sets among {', '.join(data.grid.datasets)}, found {', '.join(absent)}")
    data = data._replace(dataset=dataset or data.dataset)
    chosen: tuple[str, ...] | None = data.chosen_criteria
    changed: dict[str, Any] = {
        "resamples": resamples or data.settings.resamples,
        "familiarity": tuple(familiarity) or data.settings.familiarity,
    }
    if criteria:
        known = {
            "l1": ("l1", "l1_thresholds"),
            "class_rank": (data.rank_column, "class_ranks"),
            "depth_error": (data.depth_column, "depth_thresholds"),
            "perceptual": (data.perceptual_column, "perceptual_thresholds"),
            "caption_score": (data.caption_column, "caption_thresholds"),
        }
        columns = {column: key for column, key in known.values() if column is not None}
        chosen = ()
        for name, thresholds in criteria.items():
            column = known[name][0] if name in known else name
            if column not in columns:
                raise ConfigError(f"criteria: expected scores among {', '.join(known)}, found {name}")
            chosen += (column,)
            changed[columns[column]] = thresholds
    distances = [f"frechet_{extractor}" for extractor in data.features]
    unknown = [name for name in tasks if not data.measured(name) and name not in distances]
    if unknown:
        raise ConfigError(f"tasks: expected score columns of the table, found {', '.join(unknown)}")
    settings = parse_settings(AnalysisConfig, data.settings.model_dump() | changed, source="what was chosen")
    return data._replace(settings=settings, chosen_criteria=chosen, chosen_tasks=tuple(tasks) or data.chosen_tasks)


def settings_of_table(table: pd.DataFrame) -> AnalysisConfig:
    """Return settings for a table that belongs to no run: its own models, and thresholds at quantiles of its scores."""

    def models(prefix: str) -> tuple[str, ...]:
        return tuple(name.removeprefix(prefix) for name in table.columns if name.startswith(prefix))

    def quantiles(column: str) -> tuple[float, ...]:
        scores = table.loc[table["length"] > 0, column] if column in table else pd.Series(dtype=float)
        values = scores.dropna().quantile(np.linspace(0.1, 0.9, 9)).dropna()  # of no scores at all they are nan
        return tuple(float(f"{value:.3g}") for value in dict.fromkeys(values))

    classifiers = tuple(name for name in models("class_rank_") if not name.startswith("in_set_"))
    depth, captioners = models("depth_error_"), models("caption_score_")
    perceptual = (*models("perceptual_"), "")
    return AnalysisConfig(
        resamples=1000,
        confidence=0.95,
        l1_thresholds=quantiles("l1"),
        class_ranks=(1, 2, 3, 5, 10),
        depth_thresholds=quantiles(f"depth_error_{depth[-1]}") if depth else (),
        perceptual_thresholds=quantiles(f"perceptual_{perceptual[0]}"),
        caption_thresholds=quantiles(f"caption_score_{captioners[-1]}") if captioners else (),
        classifiers=classifiers,
        depth_models=depth,
        captioners=captioners,
        perceptual_model=perceptual[0],
        feature_extractor="",
        familiarity=tuple(dict.fromkeys(table["dataset"]))[1:],
    )
