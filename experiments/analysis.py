"""Stage `analysis`: write down the settings of the analyses, once for the studies that read them."""

from collections.abc import Sequence

import yaml

from alit.analysis.study_data import AnalysisConfig
from alit.errors import run_command
from experiments.stage import Stage


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/analysis.yaml`: the seed and the section `analysis` of the profile."""
    stage = Stage(argv, main.__doc__)
    settings = stage.read("analysis", AnalysisConfig).model_dump(mode="json")
    content = {"seed": stage.read("seed", int), "analysis": settings}
    stage.paths.analysis.parent.mkdir(parents=True, exist_ok=True)
    stage.paths.analysis.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
