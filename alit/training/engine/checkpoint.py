"""Files of a training stage: the folder of its resume state, and its finished checkpoint."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from alit.errors import CheckpointError
from alit.files import file_sha256
from alit.models.weights import WEIGHTS_FILE
from alit.paths import TARGET_FILE
from alit.training.engine.loop import LOG_FILE

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric

TRAINING_FILE = "training.json"


def resume_dir(root: Path, stage: str, settings: Mapping[str, Any], inputs: Iterable[Path]) -> Path:
    """Return the folder of a stage's resume state: another one for other settings or other input files.

    Args:
        root: `RunPaths.scratch`.
        stage: the stage's name.
        settings: all settings that the result depends on; settings models or plain data by name.
        inputs: files that the stage reads, such as manifests and weights.

    Raises:
        CheckpointError: an input is missing.
    """
    digest = hashlib.sha256(json.dumps(plain(settings), sort_keys=True).encode())
    for path in inputs:
        if not path.is_file():
            raise CheckpointError(f"expected an input of stage {stage} at {path}, found none; run the stage before")
        digest.update(bytes.fromhex(file_sha256(path)))
    return root / f"{stage}-{digest.hexdigest()[:16]}"


def plain(value: Any) -> Any:
    """Turn settings models inside mappings and sequences into plain data for JSON."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value


def save_stage(
    fabric: "Fabric", folder: Path, write: Callable[[Path], object], settings: Mapping[str, Any], scratch: Path
) -> None:
    """Write a finished stage to `folder` at once and remove its resume state.

    Args:
        fabric: only its first process writes.
        folder: the stage's out; replaced.
        write: writes weights and config into a folder.
        settings: of the training, for `training.json`.
        scratch: the stage's scratch folder, whose log moves into `folder`.
    """
    if fabric.is_global_zero:
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write(partial)
        (partial / TRAINING_FILE).write_text(json.dumps(plain(settings), indent=2) + "\n")
        if (scratch / LOG_FILE).is_file():
            shutil.copyfile(scratch / LOG_FILE, partial / LOG_FILE)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
        shutil.rmtree(scratch, ignore_errors=True)
    fabric.barrier()


def copy_checkpoint(finished: Path, folder: Path) -> None:
    """Copy the checkpoint of a finished stage from another folder, instead of training it.

    Raises:
        CheckpointError: there is none.
    """
    if not any((finished / file).is_file() for file in (WEIGHTS_FILE, TARGET_FILE)):
        raise CheckpointError(f"expected a finished checkpoint in {finished}, found none; run stage pretrained again")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(finished, folder)
