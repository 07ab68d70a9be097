"""Sweep tables that know the training images: how far each image lies from them, and what its code costs."""

import numpy as np
import pandas as pd


def with_training_images(
    table: pd.DataFrame, *, follows: float = 0.0, surprisal: float = 0.0, unlike: float = 0.3, seed: int = 3
) -> pd.DataFrame:
    """Give each image a distance from training images and a code: noise, and so much of the order of its gap.

    Bytes and contrast are noise; sets lie `unlike` farther from the training images each than the one before.
    """
    generator = np.random.default_rng(seed)
    image = table.groupby(["dataset", "image_id"], sort=False).ngroup().to_numpy()
    losses = table.pivot_table(index=image, columns="length", values="l1")
    gap = losses[8] - losses[32]
    number = pd.Series(pd.factorize(table["dataset"])[0]).groupby(image).first()
    ranks = gap.groupby(number.to_numpy()).rank(pct=True).to_numpy()

    def noise() -> np.ndarray:
        return generator.random(len(gap))

    distance = 0.4 + unlike * number.to_numpy() + 0.2 * (follows * ranks + (1 - abs(follows)) * noise())
    bits = 5 + surprisal * ranks + (1 - surprisal) * noise()
    code = np.where(table["length"] == 0, np.nan, bits[image] * table["length"])
    return table.assign(
        training_distance_net=distance[image],
        entropy_bits=code,
        entropy_bits_by_position=code,
        jpeg_bytes=1000 + 100 * noise()[image],
        webp_bytes=900 + 100 * noise()[image],
        rms_contrast=0.5 * noise()[image],
    )
