"""Stage `examples`: keep a few images and their reconstructions at every length, for the report to show."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from torch import Tensor

from alit.data.imageset import open_set, read_cards
from alit.errors import ConfigError, run_command
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from experiments.network_stage import NetworkStage


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/examples/`: examples.npz (8-bit pictures) and examples.csv (their L1 per length).

    examples.npz: image_ids (n,), lengths (k,), originals (n, h, w, 3), reconstructions (n, k, h, w, 3).
    """
    stage = NetworkStage(argv, main.__doc__)
    paths, name = stage.paths, stage.read("report.example_set", str)
    known = {card.name: card.source for card in read_cards(paths.data)}
    if name not in known:
        raise ConfigError(f"report.example_set: expected one of {', '.join(known)}, found {name}")
    if known[name] != "scenes":
        print(f"The pictures of {name} are not this project's to publish: keep this profile's report to yourself")
    images = open_set(paths.data / name)
    rows = spread_rows(len(images), stage.read("report.example_images", int))
    originals = images.images(rows)
    tokenizer = AdaptiveTokenizer.from_pretrained(paths.tokenizer).to(stage.device).eval()
    with torch.no_grad():
        shown = torch.stack(
            [step.images for step in tokenizer.reconstructions(originals.to(stage.device))], dim=1
        )  # n k c h w
    ids = images.manifest["image_id"].iloc[rows].astype(str).tolist()
    pictures = _to_8_bit(shown)
    errors = np.abs(pictures / 255 - _to_8_bit(originals)[:, None] / 255).mean(axis=(2, 3, 4))
    paths.examples.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        paths.examples / "examples.npz",
        image_ids=np.array(ids),
        lengths=np.array(tokenizer.lengths),
        originals=_to_8_bit(originals),
        reconstructions=pictures,
    )
    table = pd.DataFrame(errors, index=pd.Index(ids, name="image_id"), columns=list(tokenizer.lengths))
    tidy = table.reset_index().melt("image_id", var_name="length", value_name="l1")
    tidy.to_csv(paths.examples / "examples.csv", index=False, float_format="%.6g", lineterminator="\n")


def spread_rows(total: int, wanted: int) -> np.ndarray:
    """Return `wanted` rows, or all, evenly over a set: sets are ordered by class, and the first would all be of one."""
    count = min(wanted, total)
    return np.arange(count) * total // count


def _to_8_bit(images: Tensor) -> np.ndarray:
    return rearrange((images.clamp(0, 1) * 255).round().byte(), "... c h w -> ... h w c").cpu().numpy()


if __name__ == "__main__":
    run_command(main)
