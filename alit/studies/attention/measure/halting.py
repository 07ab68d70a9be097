"""What halting masks and what it brings over images of a set: `alit.tokenizer.halting` (paper, section 3, Fig. 2)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alit.data.images import to_png
from alit.data.imageset import ImageSet
from alit.errors import NotMeasurable
from alit.models.distillation import Halting
from alit.tokenizer.halting import HaltingStep, compare_halting
from alit.tokenizer.protocol import Tokenizer, device_of
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.fabric import derive_generator
from alit.training.engine.processes import PieceStore

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric

HALTING_COLUMNS = ["image_id", "iteration", "length", "masked", "l1", "l1_halting", "open_error", "open_error_halting"]
HALTING_COLUMNS += ["saved", "decoding"]
HALTED_COLUMNS = ["image_id", "iteration", "halted", "picture"]


def measure_halting(
    tokenizer: Tokenizer,
    images: ImageSet,
    rows: np.ndarray,
    halting: Halting,
    *,
    examples: int,
    batch_size: int,
    seed: int,
    scratch: Path,
    fabric: "Fabric",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Roll some images of a set out with and without halting.

    Args:
        tokenizer: in eval mode.
        images: of its image size.
        rows: (n,) of the images.
        halting: how likely well-distilled image tokens are to halt.
        examples: images whose halted tokens are shown, the first ones.
        batch_size: images at once.
        seed: of the draws.
        scratch: where finished batches are kept, for these images, weights and settings alone.
        fabric: the processes that share the batches.

    Returns:
        One row per image and iteration: image_id, iteration, length, masked (share of the image tokens, before the
        iteration), l1, l1_halting, open_error, open_error_halting, saved, decoding (see `HaltingStep`). And, of the
        first `examples` images, image_id, iteration from the second, halted (n bool) and picture (a PNG file).
        Both are empty where no images are asked for, where the tokenizer makes one pass, and in every process but the
        first.
    """
    device, names = device_of(tokenizer), images.manifest["image_id"].astype(str).to_numpy()
    batches = np.array_split(rows, max(1, len(rows) // batch_size)) if len(rows) else []

    def work(number: int) -> Mapping[str, np.ndarray]:
        generator = derive_generator(seed, "halting", images.name, number, device=device)
        shown = images.images(batches[number]).to(device)
        assert isinstance(tokenizer, AdaptiveTokenizer)  # of somebody else's no images are asked for
        try:
            steps = list(compare_halting(tokenizer, shown, halting, generator))
        except NotMeasurable:
            steps = []
        return _halting_arrays(steps)

    store = PieceStore(scratch)
    store.fill(fabric, list(map(len, batches)), work, f"halting on {images.name}")
    tables, pictures = [pd.DataFrame(columns=HALTING_COLUMNS)], [pd.DataFrame(columns=HALTED_COLUMNS)]
    if not fabric.is_global_zero:
        return tables[0], pictures[0]
    left = examples
    for number, batch in enumerate(batches):
        part = store.read(number)
        for place, row in enumerate(batch if len(part["iteration"]) else ()):
            values = {name: part[name][:, place] for name in HALTING_COLUMNS[3:]}
            about = {"image_id": names[row], "iteration": part["iteration"]}
            tables.append(pd.DataFrame({**about, "length": part["length"], **values}))
            if left > 0:
                left -= 1
                picture = to_png(images.view(int(row)))
                seen = {"iteration": part["iteration"][1:], "halted": list(part["halted"][1:, place])}
                pictures.append(pd.DataFrame({"image_id": names[row], **seen, "picture": picture}))
    return _stacked(tables), _stacked(pictures)


def _halting_arrays(steps: Sequence[HaltingStep]) -> dict[str, np.ndarray]:
    """Return what is kept of t iterations of b images, (t, b) or (t,) each, halted (t, b, n)."""

    def stacked(of: Callable[[HaltingStep], Tensor]) -> np.ndarray:
        return np.stack([of(step).cpu().numpy() for step in steps]) if steps else np.empty((0, 0))

    return {
        "iteration": np.array([step.iteration for step in steps], np.int64),
        "length": np.array([step.length for step in steps], np.int64),
        "halted": stacked(lambda step: step.halted),
        "masked": stacked(lambda step: step.halted.float().mean(-1)),
        "l1": stacked(lambda step: step.without.l1),
        "l1_halting": stacked(lambda step: step.halting.l1),
        "open_error": stacked(lambda step: step.without.open_error),
        "open_error_halting": stacked(lambda step: step.halting.open_error),
        "saved": stacked(lambda step: step.saved),
        "decoding": stacked(lambda step: torch.full_like(step.without.l1, step.decoding)),
    }


def _stacked(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Join tables, of which the first is empty and names the columns."""
    return pd.concat(tables[1:], ignore_index=True) if len(tables) > 1 else tables[0]
