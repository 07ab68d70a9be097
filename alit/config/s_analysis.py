"""Settings."""

from pydantic import Field, PositiveInt

from alit.settings import Settings


class AnalysisConfig(Settings):
    """What the studies and the claims ledger ask of the table."""

    resamples: PositiveInt  # bootstrap resamples over images
    confidence: float = Field(gt=0, lt=1)
    l1_thresholds: tuple[float, ...]
    class_ranks: tuple[int, ...]  # top-X criteria
    depth_thresholds: tuple[float, ...]
    perceptual_thresholds: tuple[float, ...]
    caption_thresholds: tuple[float, ...]  # least token F1
    # Task models from weak to strong, the last is the model of record; empty where a profile has none.
    classifiers: tuple[str, ...] = Field(min_length=1)
    depth_models: tuple[str, ...]
    captioners: tuple[str, ...]
    perceptual_model: str
    feature_extractor: str
    familiarity: tuple[str, ...]  # sets ever less like the training images; the first is the next after in-distribution
