"""Time the whole ledger at the size of ImageNet val: every claim of a sweep of 50,000 images at 8 lengths.

Prints json; exits 1 when the claims, folding the table included, take longer or more memory than the bar allows: by the
clock, or by the processor where others keep the machine busy. Claims
of tables that studies measure beside the sweep (probes, attention, variants) cost the same at any number of images and
are left out, and so are distances between features, which take as long as covariances of so many features do.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from memory import peak_bytes

from alit.analysis.choices import settings_of_table
from alit.analysis.grid import to_grid
from alit.analysis.ledger import ledger_to_json
from alit.analysis.study_data import StudyData
from alit.errors import run_command
from alit.files import write_whole
from alit.studies import all_claims, assess

MAX_SECONDS, MAX_GIB = 60.0, 3.0  # of one thread


def sweep_table(images: int, lengths: int, seed: int) -> pd.DataFrame:
    """Return a sweep table with all scores that claims ask for, which improve with the length, and complexities."""
    generator = np.random.default_rng(seed)
    share = np.arange(lengths + 1) / lengths
    shape = (images, lengths + 1)
    need = np.exp(generator.normal(0, 0.5, (images, 1)))  # how much an image needs of every task
    clean = share == 0

    def score(rate: float, least: float, noise: float = 0.1) -> np.ndarray:
        decay = least + np.exp(-rate * share / need) * np.exp(noise * generator.normal(size=shape))
        return np.where(clean, 0.0, 0.1 * decay).astype(np.float32).ravel()

    def rank(rate: float) -> np.ndarray:
        found = np.floor(900 * np.exp(-rate * share / need) * generator.random(shape) ** 3)
        return np.where(clean, 0, found).astype(np.int16).ravel()

    l1 = score(2, 0.3)
    ranks = {f"class_rank_{model}": rank(rate) for model, rate in (("weak", 7), ("strong", 9))}
    return pd.DataFrame(
        {
            "dataset": pd.Categorical.from_codes(np.zeros(l1.size, np.int8), ["val"]),
            "split": "val",
            "image_id": np.repeat([f"ILSVRC2012_val_{number:08d}" for number in range(images)], lengths + 1),
            "label": pd.array(np.repeat(generator.integers(1000, size=images), lengths + 1), dtype="Int64"),
            "complexity": np.repeat(need.ravel() + 0.3 * generator.normal(size=images), lengths + 1),
            "jpeg_bytes": np.repeat(1e4 * need.ravel(), lengths + 1),
            "length": np.tile(np.arange(lengths + 1) * 32, images),
            "bits": np.tile(np.where(clean, np.nan, np.arange(lengths + 1) * 320.0), images),
            "l1": l1,
            "l2": l1**2,
            "psnr": np.where(l1 > 0, -20 * np.log10(np.maximum(l1, 1e-6)), np.nan).astype(np.float32),
            "ssim": 1 - 3 * l1,
            "perceptual_net": score(3, 0.2),
            "depth_error_coarse": score(1.5, 0.4),
            "depth_error_depth": score(1.5, 0.3),
            "caption_score_wordy": 1 - score(3, 0.2),
        }
        | ranks
        | {name.replace("rank_", "rank_in_set_"): ranks[name] // 100 for name in ranks}
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Assess every claim and print what each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--lengths", type=int, default=8)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("-o", "--output", type=Path, help="file for the json; by default it is printed only")
    arguments = parser.parse_args(argv)
    table = sweep_table(arguments.images, arguments.lengths, seed=0)
    settings = settings_of_table(table).model_copy(update={"resamples": arguments.resamples})
    start, begun = time.perf_counter(), time.process_time()
    data = StudyData(to_grid(table), "val", 256, settings, 0, features={})
    seconds, claims = {"fold": time.process_time() - begun}, []
    for name in all_claims():
        before = time.process_time()
        claims += assess(data, [name])
        seconds[name] = time.process_time() - before
    ledger_to_json(claims)
    result = {
        "images": arguments.images,
        "lengths": arguments.lengths,
        "resamples": arguments.resamples,
        "verdicts": {claim.id: f"{claim.verdict}; {claim.control_verdict}" for claim in claims},
        "cpu_seconds_of": {name: round(value, 2) for name, value in seconds.items()},
        "cpu_seconds": round(time.process_time() - begun, 1),
        "seconds": round(time.perf_counter() - start, 1),
        "peak_gib": round(peak_bytes() / 2**30, 2),
    }
    text = json.dumps(result, indent=2) + "\n"
    print(text, end="")
    if arguments.output:
        write_whole(arguments.output, text.encode())
    if min(result["cpu_seconds"], result["seconds"]) > MAX_SECONDS or result["peak_gib"] > MAX_GIB:
        print(f"over the bar of {MAX_SECONDS} s and {MAX_GIB} GiB", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    run_command(main)
