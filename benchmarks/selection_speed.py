"""Time select, capacity and evaluate at the size of ImageNet val: 50,000 images, 8 lengths, 100 thresholds, 5 tasks.

Prints json; exits 1 when the whole, folding the table included, takes longer or more memory than the bar allows.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence

import numpy as np
import pandas as pd
from memory import peak_bytes

from alit.analysis.grid import to_grid
from alit.analysis.selection import SelectionCriterion, capacity, evaluate, select
from alit.errors import run_command

MAX_SECONDS, MAX_GIB = 10.0, 2.0
TASKS = ("psnr", "ssim", "top1_net", "depth_error_net", "perceptual_net")


def random_table(images: int, lengths: int, seed: int) -> pd.DataFrame:
    """Return a sweep table in canonical order, with rows of length 0 and scores that are noise."""
    generator = np.random.default_rng(seed)
    rows = images * (lengths + 1)
    scores = ("l1", "l2", "psnr", "ssim", "perceptual_net", "depth_error_net")
    return pd.DataFrame(
        {
            "dataset": "val",
            "split": "val",
            "image_id": np.repeat([f"ILSVRC2012_val_{i:08d}" for i in range(images)], lengths + 1),
            "label": pd.array(np.repeat(generator.integers(1000, size=images), lengths + 1), dtype="Int64"),
            "length": np.tile(np.arange(lengths + 1) * 32, images),
            "class_rank_net": generator.integers(1000, size=rows),
        }
        | {name: generator.random(rows, dtype=np.float32) for name in scores}
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--lengths", type=int, default=8)
    parser.add_argument("--thresholds", type=int, default=100)
    arguments = parser.parse_args(argv)
    table = random_table(arguments.images, arguments.lengths, seed=0)
    start = time.perf_counter()
    grid = to_grid(table)
    folded = time.perf_counter()
    for threshold in np.linspace(0, 1, arguments.thresholds):
        selection = select(grid, SelectionCriterion("l1"), float(threshold))
        capacity(selection, base_tokens=256)
        for task in TASKS:
            evaluate(grid, selection, task)
    end = time.perf_counter()
    result = {
        "images": arguments.images,
        "lengths": arguments.lengths,
        "thresholds": arguments.thresholds,
        "tasks": len(TASKS),
        "fold_seconds": round(folded - start, 3),
        "select_seconds": round(end - folded, 3),
        "seconds": round(end - start, 3),
        "peak_gib": round(peak_bytes() / 2**30, 3),
    }
    print(json.dumps(result, indent=2))
    if result["seconds"] > MAX_SECONDS or result["peak_gib"] > MAX_GIB:
        print(f"over the bar of {MAX_SECONDS} s and {MAX_GIB} GiB", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    run_command(main)
