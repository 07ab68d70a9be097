"""What entropy-coded ids take, against what their entropy says: `python benchmarks/entropy_coding.py [-o FILE]`.

Ids of training images fit a code model for each length; those of evaluation images, which it has not seen, are coded by
it, one file of each length, and decoded again. Payload and the rest of a file (header, lengths, flags, digest) are told
apart. Each payload is also coded by the order-0 model alone, as the code model's strength goes to infinity. Exits with
1 where ids come back changed, where a payload is not within 2 % of its model's cross-entropy, or where the payload by
position is more than 2 % above the order-0 cross-entropy.
"""

from common import machine, write_result  # isort: skip - before torch

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from alit.data.imageset import ImageSet, Subset, open_set
from alit.errors import ConfigError, run_command
from alit.tokenizer.code_model import CodeModel, count_ids
from alit.tokenizer.entropy_coding import WORD_BITS, decode_ids, encode_ids
from alit.tokenizer.protocol import bits_per_id
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.tokenizer.tokens import TokenSet, pack

WITHIN = 0.02  # of the cross-entropy
BATCH = 64
ORDER_0 = 1e15  # a strength beside which no place's own counts matter


def ids_of_set(tokenizer: AdaptiveTokenizer, images: ImageSet) -> dict[int, np.ndarray]:
    """Return the ids (n, length) of a set at every length."""
    found: dict[int, list[np.ndarray]] = {length: [] for length in tokenizer.lengths}
    for start in tqdm(range(0, len(images), BATCH), desc=f"ids of {images.name}", unit="batch"):
        batch = images.images(range(start, min(start + BATCH, len(images))))
        for length, ids in tokenizer.token_ids(batch.to(tokenizer.device)):
            found[length].append(ids.cpu().numpy())
    return {length: np.concatenate(parts) for length, parts in found.items()}


def measure(ids: np.ndarray, model: CodeModel, codebook_size: int, fingerprint: str) -> dict[str, Any]:
    """Return what ids (n, k) of one length take, in bits an image, and whether they come back."""
    images, length = ids.shape
    lengths = np.full(images, length)
    words = encode_ids(model, lengths, ids.ravel())
    order_0 = CodeModel(model.counts, dict.fromkeys(model.counts, ORDER_0))
    tokens = TokenSet(
        torch.from_numpy(lengths),
        torch.from_numpy(ids.ravel()),
        torch.ones(images, dtype=torch.bool),
        codebook_size,
        fingerprint,
    )
    cost, payload = model.bits(ids, length), WORD_BITS * len(words) / images
    decoded = decode_ids(model, lengths, words)
    return {
        "fixed_width": length * bits_per_id(codebook_size),
        "order_0": round(float(cost.order_0.mean()), 3),
        "by_position": round(float(cost.by_position.mean()), 3),
        "payload": round(payload, 3),
        "payload_order_0": round(WORD_BITS * len(encode_ids(order_0, lengths, ids.ravel())) / images, 3),
        "file": round(8 * len(pack(tokens, entropy=model)) / images, 3),
        "file_rest": round(8 * len(pack(tokens, entropy=model)) / images - payload, 3),
        "file_fixed_width": round(8 * len(pack(tokens)) / images, 3),
        "comes_back": decoded is not None and bool((decoded == ids.ravel()).all()),
    }


def passes(found: Mapping[str, Any]) -> bool:
    """Whether a length keeps the bar."""
    return (
        found["comes_back"]
        and abs(found["payload"] / found["by_position"] - 1) <= WITHIN
        and abs(found["payload_order_0"] / found["order_0"] - 1) <= WITHIN
        and found["payload"] <= (1 + WITHIN) * found["order_0"]
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write, and compare with the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="zoo/alit-imagenette")
    parser.add_argument("--data", type=Path, default=Path("runs/imagenette/data"), help="of stage data")
    parser.add_argument("--fit", default="imagenette", help="set whose ids fit the model (default: %(default)s)")
    parser.add_argument("--fit-images", type=int, default=3000)
    parser.add_argument("--code", default="imagenette_val", help="set whose ids are coded (default: %(default)s)")
    parser.add_argument("--code-images", type=int, default=1000)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args(argv)
    tokenizer = AdaptiveTokenizer.from_pretrained(arguments.checkpoint).eval()
    if (size := tokenizer.codebook_size) is None:
        raise ConfigError(f"expected a tokenizer with ids, found continuous codes in {arguments.checkpoint}")
    fitted, coded = (
        Subset(open_set(arguments.data / name), count)
        for name, count in ((arguments.fit, arguments.fit_images), (arguments.code, arguments.code_images))
    )
    counts = {length: count_ids(ids, size) for length, ids in ids_of_set(tokenizer, fitted).items()}
    model = CodeModel(counts)
    found = {
        str(length): measure(ids, model, size, tokenizer.fingerprint)
        for length, ids in ids_of_set(tokenizer, coded).items()
    }
    result = {
        "command": "python benchmarks/entropy_coding.py",
        "checkpoint": arguments.checkpoint,
        "fitted": {"set": fitted.name, "images": len(fitted)},
        "coded": {"set": coded.name, "images": len(coded)},
        "machine": machine(),
        "unit": "bits an image",
        "within": WITHIN,
        "lengths": found,
    }
    write_result(result, arguments.output)
    sys.exit(0 if all(map(passes, found.values())) else 1)


if __name__ == "__main__":
    run_command(main)
