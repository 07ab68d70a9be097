"""Frozen, strict settings of every stage; `configs/` holds the complete profiles."""

from alit.config.comparison import (
    AblationsConfig,
    BaselineConfig,
    BaselinesConfig,
    ComparisonConfig,
    CostConfig,
    VariantConfig,
    VariantsConfig,
)
from alit.config.data import FACTORS, DataConfig, Factor, ImageSetConfig
from alit.config.evaluation import (
    AnalysisConfig,
    AttentionConfig,
    CodebookConfig,
    MaeProbeConfig,
    ProbeConfig,
    ReportConfig,
    SweepConfig,
    TaskModelConfig,
)
from alit.config.model import BaseTokenizerConfig, DistillationConfig, TokenizerConfig
from alit.config.profile import Profile, load_profile, parse_settings, vary
from alit.config.settings import Settings
from alit.config.training import (
    BaseTrainingConfig,
    DistillTrainingConfig,
    FinetuneTrainingConfig,
    OptimisationConfig,
)

__all__ = [
    "FACTORS",
    "AblationsConfig",
    "AnalysisConfig",
    "AttentionConfig",
    "BaseTokenizerConfig",
    "BaseTrainingConfig",
    "BaselineConfig",
    "BaselinesConfig",
    "CodebookConfig",
    "ComparisonConfig",
    "CostConfig",
    "DataConfig",
    "DistillTrainingConfig",
    "DistillationConfig",
    "Factor",
    "FinetuneTrainingConfig",
    "ImageSetConfig",
    "MaeProbeConfig",
    "OptimisationConfig",
    "ProbeConfig",
    "Profile",
    "ReportConfig",
    "Settings",
    "SweepConfig",
    "TaskModelConfig",
    "TokenizerConfig",
    "VariantConfig",
    "VariantsConfig",
    "load_profile",
    "parse_settings",
    "vary",
]
