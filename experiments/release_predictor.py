"""Keep a length predictor with a checkpoint of zoo/, and what became of its promises on images that it has not seen.

`python -m experiments.release PROFILE --checkpoint NAME --length-predictor` runs this; so does a release.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from alit.config import Profile
from alit.data.imageset import open_set
from alit.data.locate import data_roots
from alit.data.prepare import materialize_sets
from alit.errors import DataError, NotMeasurable
from alit.paths import RunPaths
from alit.tokenizer.length_predictor import FOLDER
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.fabric import build_fabric
from experiments.length_predictor import PromiseCheck, check_promises, fit_for, measure_set

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric

PROMISES = (0.1, 0.08, 0.12)  # L1; chosen before any image was looked at, the first is the one that is held to
CHECKS_FILE = "promises.json"


class PromiseChecks(TypedDict):
    """The content of `promises.json`."""

    command: str
    same: list[PromiseCheck]  # on all validation images of the profile's first evaluation set
    others: list[PromiseCheck]  # on the sets that are less and less like the training images


def keep_length_predictor(paths: RunPaths, profile: Profile, folder: Path) -> None:
    """Fit a predictor for the checkpoint in `folder` on the profile's training images, check it, and write both."""
    fabric = build_fabric(profile.device, 1)
    tokenizer = AdaptiveTokenizer.from_pretrained(folder).to(fabric.device).eval()
    train = next((each.name for each in profile.data.sets if each.role == "train"), None)
    if train is None:
        raise DataError(f"{paths.config}: expected a set with role train, found none")
    images = open_set(paths.data / train)
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    try:
        predictor = fit_for(tokenizer, images, profile.length_predictor, profile.seed, paths.scratch, fabric)
    except NotMeasurable as reason:
        return print(f"no length predictor: {reason}", flush=True)
    tokenizer.length_predictor = predictor
    checks = check(paths, profile, tokenizer, fabric)
    predictor.save(folder / FOLDER)
    checks["command"] = f"python -m experiments.release {paths.profile} --checkpoint {folder.name} --length-predictor"
    (folder / FOLDER / CHECKS_FILE).write_text(json.dumps(checks, indent=2) + "\n", encoding="utf-8")


def check(paths: RunPaths, profile: Profile, tokenizer: AdaptiveTokenizer, fabric: "Fabric") -> PromiseChecks:
    """Return what becomes of `PROMISES`, on whole sets where the profile's sweep takes a part of them."""
    sets = {each.name: each for each in profile.data.sets}
    first = next(each for each in profile.data.sets if each.role == "evaluate")
    whole = first if first.source == "scenes" else first.model_copy(update={"images": None})
    chosen = (whole, *(sets[name] for name in profile.analysis.familiarity))
    config = profile.data.model_copy(update={"sets": chosen})
    batch_size, found = profile.length_predictor.batch_size, []
    with tempfile.TemporaryDirectory() as data:
        folder = Path(data)
        materialize_sets(config, folder, folder / "rejected.csv", data_roots(paths.root))
        for each in chosen:
            examples = measure_set(tokenizer, open_set(folder / each.name), batch_size, paths.scratch, fabric)
            found.append(check_promises(tokenizer, each.name, examples, PROMISES))
    return {"command": "", "same": found[0], "others": [each for part in found[1:] for each in part]}


def read_checks(folder: Path) -> PromiseChecks | None:
    """Return what is kept of a checkpoint's promises; None where it has no length predictor."""
    path = folder / FOLDER / CHECKS_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
