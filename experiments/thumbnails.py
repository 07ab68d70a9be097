"""Stage `thumbnails`: keep small pictures of many images at every length, for the explorer."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from tqdm import tqdm

from alit.data.imageset import read_cards
from alit.data.listing import chosen_indices
from alit.errors import run_command
from alit.tokenizer.adapters import load_tokenizer
from alit.tokenizer.thumbnails import thumbnails_of
from experiments.network_stage import NetworkStage

BATCH = 16


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/thumbnails.parquet`: columns as `alit.tokenizer.thumbnails`, image_id and publishable.

    The images are `report.explorer_images` of the first set that the profile evaluates, evenly over it. `publishable`
    says whether anyone may be shown them: composed scenes alone.
    """
    stage = NetworkStage(argv, main.__doc__)
    images, layer = stage.evaluation_set, stage.read("attention.layer", int)
    rows = np.array(chosen_indices(len(images), stage.read("report.explorer_images", int)))
    own = {"folder": stage.paths.run, "image_size": images.image_size, "device": stage.device}
    tokenizer = load_tokenizer("tokenizer", {}, **own)
    kept = []
    for start in tqdm(range(0, len(rows), BATCH), desc="thumbnails", unit="batch", disable=None):
        shown = images.images(rows[start : start + BATCH]).to(stage.device)
        kept += thumbnails_of(tokenizer, shown, layer)
    sources = {card.name: card.source for card in read_cards(stage.paths.data)}
    table = pd.DataFrame(kept).assign(
        image_id=images.manifest["image_id"].iloc[rows].astype(str).to_numpy(dtype=object),
        publishable=sources[images.name] == "scenes",
    )
    table.to_parquet(stage.paths.thumbnails, index=False)


if __name__ == "__main__":
    run_command(main)
