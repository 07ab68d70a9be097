"""Keep what a finished run of a profile gave where git holds it, and check what is kept. Run by hand, by no stage.

    python -m experiments.release imagenette-taesd                    its results: results/ and RESULTS.md
    python -m experiments.release ablations                           of another run: results/ablations.md
    python -m experiments.release cpu --checkpoint alit-scenes        its tokenizer: zoo/alit-scenes/, with its card
    python -m experiments.release imagenette --checkpoint alit-imagenette-seed-1 --variant recurrent/1    a variant's

With `--length-predictor` only what predicts the checkpoint's lengths is fitted and checked again, after stage `data`:
a variant's checkpoint has it only then.
`--check` writes nothing: it computes the verdicts again from the tables in results/, or compares a training that was
run again with its card. `--text` writes only the page of the results and the tables of README.md and docs/claims.md, or
the checkpoint's README.md, from what is kept. `--reassess` first computes the kept ledger again from the kept tables:
after claims were changed, without a run.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from alit.analysis.claims import Claim
from alit.analysis.ledger import ledger_to_json, recheck
from alit.analysis.loading import DISTANCES, load_run_data
from alit.errors import DataError, run_command
from alit.paths import TRAINING, RunPaths, project_root
from alit.plots.card import CARD
from alit.report.claims_figure import claims_overview
from alit.report.claims_page import by_section, read_claims
from alit.settings import read_yaml
from alit.studies import all_statements, assess
from experiments.release_checkpoint import STAGES, release_checkpoint
from experiments.site import judge_notes
from experiments.texts import replace_part, results_text, statement_table, verdict_table

RUN_OF_RECORD = "imagenette-taesd"  # RESULTS.md and README.md are about it


def main(argv: Sequence[str] | None = None) -> None:
    """Keep the results or the checkpoint of a profile, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    parser.add_argument("--checkpoint", metavar="NAME", help="release the tokenizer, trained from scratch, as zoo/NAME")
    parser.add_argument("--threads", type=int, default=1, help="that the training ran on, a core each; for its card")
    parser.add_argument("--variant", metavar="NAME/SEED", help="release that training of the profile's variants")
    parser.add_argument(
        "--commit", help="that the training ran on, by default the one that is checked out; for its card"
    )
    parser.add_argument(
        "--device",
        metavar="STAGE=DEVICE",
        action=StageDevices,
        default={},
        help="where base, distill or finetune ran, if on no CPU, as in distill='one NVIDIA H100'; for its card",
    )
    parser.add_argument("--remark", help="what else a reader of its card has to know of the training: a sentence")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--check", action="store_true", help="write nothing, compare what is kept")
    only.add_argument("--length-predictor", action="store_true", help="fit only a checkpoint's length predictor again")
    only.add_argument("--text", action="store_true", help="write only the texts, from what is kept")
    only.add_argument("--reassess", action="store_true", help="compute the kept ledger again from the kept tables, too")
    arguments = parser.parse_args(argv)
    paths = RunPaths(project_root(), arguments.profile)
    if arguments.checkpoint:
        release_checkpoint(paths, paths.root / "zoo" / arguments.checkpoint, arguments)
    else:
        release_results(paths, RunPaths(paths.root / "results", arguments.profile), arguments)


class StageDevices(argparse.Action):
    """Gather the stages' devices, each given as STAGE=DEVICE, in a mapping."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add one stage's."""
        stage, equals, device = str(values).partition("=")
        if stage not in STAGES or not equals or not device:
            parser.error(f"{option_string}: expected STAGE=DEVICE with one of {', '.join(STAGES)}, found {values}")
        setattr(namespace, self.dest, {**getattr(namespace, self.dest), stage: device})


def release_results(paths: RunPaths, kept: RunPaths, arguments: argparse.Namespace) -> None:
    """Write `results/`, the page of the run and the tables in README.md and docs/claims.md, or check them."""
    if arguments.check or arguments.text or arguments.reassess:
        if not kept.claims.is_file():
            raise DataError(
                f"expected kept results in {kept.claims}, found none; run: python -m experiments.release {kept.profile}"
            )
    else:
        keep_results(paths, kept)
    if arguments.reassess:
        kept.claims.write_text(ledger_to_json(assess(load_run_data(kept))), encoding="utf-8")
    if arguments.check:
        check_results(kept, paths.root)
        return
    claims = read_claims(kept.claims)
    picture(kept).write_bytes(claims_overview(by_section(claims)).png)
    for file, text in texts(kept, paths.root, claims).items():
        file.write_text(text, encoding="utf-8")


def keep_results(paths: RunPaths, kept: RunPaths) -> None:
    """Copy tables, ledger, settings and plots. No photographs: figures that show images stay behind."""
    for folder in (kept.run, kept.report):
        shutil.rmtree(folder, ignore_errors=True)
    files = [paths.config, paths.config.with_name("paper.yaml"), paths.claims, paths.table, paths.sweep / "config.json"]
    files += sorted(paths.baselines.glob("*/table.parquet"))
    files += sorted(paths.baselines.glob(f"{TRAINING}*/config.json"))  # as the own sweep's: claims are about them
    files += sorted(paths.measured("").glob("*/*.parquet"))
    left = ("images_", CARD)  # photographs, and what the overview shows in little
    files += [path for path in sorted(paths.report.glob("*/figures/*.png")) if not path.stem.startswith(left)]
    for path in files:
        target = kept.root / path.relative_to(paths.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    keep_distances(paths, kept)


def keep_distances(paths: RunPaths, kept: RunPaths) -> None:
    """Write the distances that the ledger asks of the sweep's features, and each image's influence on them.

    A few megabytes in place of the features, from which `--check` computes every measurement again.
    """
    data = load_run_data(paths)
    if data.distances:
        assess(data)
    others = {kept.baselines / name: each for name, each in data.trainings.items()}
    for folder, each in {kept.sweep: data, **others}.items():
        for extractor, distances in each.distances.items():
            if len(table := distances.to_table()):
                table.to_parquet(folder / f"{DISTANCES}{extractor}.parquet", index=False, compression="zstd")


def picture(kept: RunPaths) -> Path:
    """Return where the picture of a kept run's claims lies."""
    return kept.root / ("claims.png" if kept.profile == RUN_OF_RECORD else f"{kept.profile}.png")


def texts(kept: RunPaths, root: Path, claims: Sequence[Claim]) -> dict[Path, str]:
    """Return the texts that follow from what is kept, by file; README.md and docs/claims.md where they are there.

    README.md is about the run of record alone.
    """
    of_record = kept.profile == RUN_OF_RECORD
    page = root / "RESULTS.md" if of_record else kept.root / f"{kept.profile}.md"
    notes = kept.root / "notes" / f"{kept.profile}.md"  # remarks on this run, if any: their numbers are its own
    table = pd.read_parquet(kept.table, columns=["dataset", "length", "l1"])
    settings = read_yaml(kept.config)
    found = {
        page: results_text(
            kept.profile,
            of_record=of_record,
            claims=claims,
            table=table,
            settings=settings,
            paper=read_yaml(kept.config.with_name("paper.yaml")),
            judges=judge_notes(kept),
            picture=str(picture(kept).relative_to(page.parent)),
            figures=sorted(str(path.relative_to(page.parent)) for path in kept.report.glob("*/figures/*.png")),
            notes=notes.read_text(encoding="utf-8") if notes.is_file() else "",
            tables=kept.run,
        )
    }
    parts = {root / "docs" / "claims.md": ("statements", statement_table(all_statements()))}
    if of_record:
        parts[root / "README.md"] = ("verdicts", verdict_table(claims))
    for file, (name, content) in parts.items():
        if file.is_file():
            found[file] = replace_part(file.read_text(encoding="utf-8"), name, content)
    return found


def check_results(kept: RunPaths, root: Path) -> None:
    """Compute every claim again from the kept tables and compare; compare the texts with what they follow from.

    Raises:
        DataError: something differs; each fault is printed.
    """
    ledger = read_claims(kept.claims)
    faults = recheck(ledger, assess(load_run_data(kept)))
    for file, text in texts(kept, root, ledger).items():
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            faults.append(f"{file.relative_to(root)} is not what the kept results give; run with --text")
    for fault in faults:
        print(fault)
    if faults:
        raise DataError(f"expected the verdicts of {kept.claims} to follow from its tables, found {len(faults)} faults")
    print(f"{len(ledger)} claims of {kept.claims}, in both columns, follow from the kept tables")


if __name__ == "__main__":
    run_command(main)
