"""Where a tokenizer's weights come from: a small record that travels with them into every table and page."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alit.errors import CheckpointError
from alit.files import read_json
from alit.settings import Settings, parse_settings

ORIGIN_FILE = "origin.json"


class Origin(Settings):
    """Where weights come from; names no folder of the machine that wrote it."""

    checkpoint: str  # a hub id, the last part of a path, or the profile that trained it
    sha256: str  # of the file of weights that was read or written
    converted_from: str | None = None  # the file under the authors' tensor names
    trained: str | None = None  # how, as far as that is known

    def describe(self) -> str:
        """Return the record in a line of words, the digest by its first twelve digits."""
        parts = [f"{self.checkpoint} (sha256 {self.sha256[:12]})"]
        if self.converted_from is not None:
            parts.append(f"converted from {self.converted_from}")
        parts.append(f"trained: {self.trained or 'not known here'}")
        return "; ".join(parts)


def write_origin(folder: Path, origin: Origin) -> None:
    """Write `origin.json` beside the weights."""
    content = json.dumps(origin.model_dump(mode="json"), indent=2, ensure_ascii=False)
    (folder / ORIGIN_FILE).write_text(content + "\n", encoding="utf-8")


def read_origin(folder: Path) -> Origin | None:
    """Read `origin.json` of a checkpoint folder; None where there is none."""
    path = folder / ORIGIN_FILE
    if not path.is_file():
        return None
    return parse_settings(Origin, read_json(path, CheckpointError), source=str(path))


def origin_of_sweep(record: Mapping[str, Any]) -> Origin | None:
    """Return whose weights a sweep measured, by its record (config.json); None where that does not say."""
    found = record.get("origin")
    return None if found is None else parse_settings(Origin, found, source="the sweep's record: origin")
