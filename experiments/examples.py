"""Stage `examples`: keep a few images and their reconstructions, for the report and the studies to show."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from alit.data.images import to_pixels, to_png
from alit.data.imageset import ImageSet, SetCard, open_set, read_cards
from alit.errors import ConfigError, run_command
from alit.tokenizer.adapters import BaselinesConfig, load_tokenizer
from alit.tokenizer.protocol import Tokenizer, checked_reconstructions
from experiments.network_stage import NetworkStage


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/examples/`: examples.npz (8-bit pictures), examples.csv (their L1), pictures.parquet.

    examples.npz: image_ids (n,), lengths (k,), originals (n, h, w, 3), reconstructions (n, k, h, w, 3), of the set that
    the profile names. pictures.parquet, where the profile has composed scenes, which anyone may be shown: some of them
    by the profile's tokenizer, its baselines and one training of each variant; columns as `alit.analysis.pictures`.
    """
    stage = NetworkStage(argv, main.__doc__)
    paths, name = stage.paths, stage.read("report.example_set", str)
    cards = read_cards(paths.data)
    known = {card.name: card.source for card in cards}
    if name not in known:
        raise ConfigError(f"report.example_set: expected one of {', '.join(known)}, found {name}")
    if known[name] != "scenes":
        print(f"The pictures of {name} are not this project's to publish: keep this profile's report to yourself")
    images, wanted = open_set(paths.data / name), stage.read("report.example_images", int)
    own = load_tokenizer("tokenizer", {}, folder=paths.run, image_size=images.image_size, device=stage.device)
    paths.examples.mkdir(parents=True, exist_ok=True)
    _keep_examples(stage, own, images, spread_rows(len(images), wanted))
    if (scenes := publishable_set(cards, name)) is not None:
        pictures = pd.concat(_pictures(stage, own, open_set(paths.data / scenes), wanted), ignore_index=True)
        pictures.to_parquet(paths.pictures, index=False)


def _keep_examples(stage: NetworkStage, tokenizer: Tokenizer, images: ImageSet, rows: np.ndarray) -> None:
    originals = images.images(rows)
    with torch.no_grad():
        shown = torch.stack(
            [step.images for step in checked_reconstructions(tokenizer, originals.to(stage.device))], dim=1
        )  # n k c h w
    ids = images.manifest["image_id"].iloc[rows].astype(str).tolist()
    pictures = to_pixels(shown)
    errors = np.abs(pictures / 255 - to_pixels(originals)[:, None] / 255).mean(axis=(2, 3, 4))
    np.savez_compressed(
        stage.paths.examples / "examples.npz",
        image_ids=np.array(ids),
        lengths=np.array(tokenizer.lengths),
        originals=to_pixels(originals),
        reconstructions=pictures,
    )
    table = pd.DataFrame(errors, index=pd.Index(ids, name="image_id"), columns=list(tokenizer.lengths))
    tidy = table.reset_index().melt("image_id", var_name="length", value_name="l1")
    tidy.to_csv(stage.paths.examples / "examples.csv", index=False, float_format="%.6g", lineterminator="\n")


def spread_rows(total: int, wanted: int) -> np.ndarray:
    """Return `wanted` rows, or all, evenly over a set: sets are ordered by class, and the first would all be of one."""
    count = min(wanted, total)
    return np.arange(count) * total // count


def publishable_set(cards: Sequence[SetCard], preferred: str) -> str | None:
    """Return the name of a set of composed scenes, which anyone may be shown; None where the profile has none.

    The preferred set if it is one, else the first that is evaluated, else the first that no network was trained on.
    """
    scenes = [card for card in cards if card.source == "scenes" and card.split != "train" and not card.controlled]
    ranked = sorted(scenes, key=lambda card: (card.name != preferred, card.role != "evaluate"))
    return ranked[0].name if ranked else None


def _pictures(stage: NetworkStage, own: Tokenizer, images: ImageSet, wanted: int) -> Iterator[pd.DataFrame]:
    """Yield the pictures of one tokenizer after another: the profile's own, its baselines, one of each variant."""
    paths = stage.paths
    load = partial(load_tokenizer, folder=paths.run, image_size=images.image_size, device=stage.device)
    complexity = images.manifest["complexity"].to_numpy(dtype=np.float64, na_value=np.nan)
    order = np.argsort(complexity, kind="stable")
    rows = order[spread_rows(len(order), wanted)]
    known = pd.DataFrame(
        {
            "dataset": images.name,
            "image_id": images.manifest["image_id"].iloc[rows].astype(str).to_numpy(dtype=object),
            "complexity": complexity[rows],
        }
    )
    originals = images.images(rows)
    yield pictures_of(own, originals, known, stage.device).assign(kind="own", tokenizer="own")
    for entry in stage.read("baselines", BaselinesConfig).tokenizers:
        tokenizer = load(stage.target(entry.target), entry.arguments, options=entry.options)
        shown = pictures_of(tokenizer, originals, known, stage.device)
        yield shown.assign(kind="baseline", tokenizer=entry.name)
    for variant in sorted(path for path in paths.variants.glob("*") if path.is_dir()):
        first = min(variant.iterdir(), key=lambda path: int(path.name))  # by the seed
        shown = pictures_of(load(str(first.relative_to(paths.run)), {}), originals, known, stage.device)
        yield shown.assign(kind="variant", tokenizer=variant.name)


def pictures_of(tokenizer: Tokenizer, originals: Tensor, known: pd.DataFrame, device: torch.device) -> pd.DataFrame:
    """Return one row per image and length, the original with length 0: `known`, and length, bits, l1, picture (PNG).

    Args:
        tokenizer: any.
        originals: (n, 3, h, w) in [0, 1].
        known: n rows, what is known of the images.
        device: of the tokenizer.
    """
    pixels = to_pixels(originals)
    parts = [known.assign(length=0, bits=np.nan, l1=0.0, picture=[to_png(each) for each in pixels])]
    with torch.no_grad():
        for step in checked_reconstructions(tokenizer, originals.to(device)):
            rebuilt = to_pixels(step.images)
            parts.append(
                known.assign(
                    length=step.length,
                    bits=step.bits.double().cpu().numpy(),
                    l1=np.abs(rebuilt / 255 - pixels / 255).mean(axis=(1, 2, 3)),
                    picture=[to_png(each) for each in rebuilt],
                )
            )
    return pd.concat(parts, ignore_index=True)


if __name__ == "__main__":
    run_command(main)
