"""Stage `claims`: assess the claims of one study of the paper, with an interval and a verdict for each."""

from collections.abc import Sequence

from alit.analysis.ledger import ledger_to_json
from alit.analysis.loading import load_study_data
from alit.analysis.sweep_folder import find_sweep
from alit.errors import run_command
from alit.studies import MEASURED, STUDIES, assess_study
from experiments.stage import Stage


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/claims/<study>.json` and print one line per claim."""
    stage = Stage(argv, main.__doc__, studies=STUDIES)
    paths = stage.paths
    sweep, claims = find_sweep(paths.sweep), []
    data = load_study_data(sweep, paths.measured(stage.study), trainings=stage.study not in MEASURED)
    for claim in assess_study(stage.study, data):
        claims.append(claim)
        print(f"{claim.id}  {claim.verdict:<16}  {claim.control_verdict:<16}  {claim.reason}", flush=True)
    (path := paths.study_claims(stage.study)).parent.mkdir(exist_ok=True)
    path.write_text(ledger_to_json(claims), encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
