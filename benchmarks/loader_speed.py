"""Images per second from 500 px JPEGs to 256 px crops: `python benchmarks/loader_speed.py [-o FILE]`.

The files are pieces of photographs that come with scikit-image and scikit-learn, 500 x 375 or 375 x 500, at the JPEG
quality at which they average 77 kB, as ImageNet's do. The crops are those of the profile `paper`.

- On one core, by turns in one process, images per CPU-second: the loader, the same pipeline of torchvision on the same
  files, and decoding alone. All of them end in a batch of tensors, mirrored at random.
- With one and with two worker processes, by turns, images per second by the clock. It needs two free cores.
"""

from common import Seconds, machine, ratio, take_turns, write_result  # isort: skip - before torch

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets import ImageFolder

from alit.data.imageset import ImageSet, open_set
from alit.data.prepare import DataConfig, ImageSetConfig, materialize_sets
from alit.data.scenes.textures import load_photo
from alit.errors import run_command
from alit.training.engine.fabric import build_fabric
from alit.training.engine.loader import Augmentation, BatchOrder, BatchSampler, view_requests
from alit.training.engine.views import ViewLoader

PHOTOS = ("astronaut", "chelsea", "china", "coffee", "flower", "motorcycle", "rocket")
FILES, BYTES, SIDES = 96, 77_000, (500, 375)
SIZE, BATCH, CROPS = 256, 32, Augmentation(True, 0.8)
LEAST_IMAGES, LEAST_GAIN = 300, 1.7  # bars: images per CPU-second, and the gain of a second worker


def pieces() -> list[Image.Image]:
    """Return pieces of photographs, wide and tall ones."""
    draws = np.random.default_rng(0)
    found = []
    for number in range(FILES):
        photo = Image.fromarray(load_photo(PHOTOS[number % len(PHOTOS)]).pixels.astype(np.uint8))
        sides = SIDES if number % 3 else SIDES[::-1]
        scale = min(photo.width / sides[0], photo.height / sides[1]) * draws.uniform(0.8, 1.0)
        width, height = (side * scale for side in sides)
        left, top = draws.uniform(0, photo.width - width), draws.uniform(0, photo.height - height)
        box = (left, top, left + width, top + height)
        found.append(photo.resize(sides, Image.Resampling.LANCZOS, box=box))
    return found


def coded(images: Sequence[Image.Image], quality: int) -> list[bytes]:
    """Return images as JPEG files."""
    files = [io.BytesIO() for _ in images]
    for image, file in zip(images, files, strict=True):
        image.save(file, "JPEG", quality=quality)
    return [file.getvalue() for file in files]


def write_photographs(folder: Path) -> dict[str, Any]:
    """Write the files into class folders; return what they are."""
    images = pieces()
    sizes = {quality: float(np.mean([len(file) for file in coded(images, quality)])) for quality in range(70, 99, 2)}
    quality = min(sizes, key=lambda key: abs(sizes[key] - BYTES))
    for number, file in enumerate(coded(images, quality)):
        path = folder / f"class{number % 2}" / f"{number:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file)
    return {"count": FILES, "pixels": list(SIDES), "quality": quality, "mean_bytes": round(sizes[quality])}


def image_set(root: Path) -> ImageSet:
    """Return the photographs as a set that is read from its files."""
    fields = {"name": "photos", "role": "train", "source": "folder", "path": "photos", "variant": "base"}
    one = ImageSetConfig.model_validate({**fields, "split": "train", "images": None, "pack": False})
    config = DataConfig(image_size=SIZE, rejected_share=0.0, flip=True, crop_scale=0.8, sets=(one,))
    materialize_sets(config, root / "sets", root / "rejected.csv", (root,))
    return open_set(root / "sets/photos", data_root=root)


def on_one_core(images: ImageSet, folder: Path, rounds: int) -> dict[str, Any]:
    """Return images per CPU-second of one process, and how the loader compares within a round."""
    sampler = BatchSampler(images, BATCH, CROPS, fabric=build_fabric("cpu", 1), seed=0, stage="speed")
    steps, batches = count(), FILES // BATCH
    crop = transforms.RandomResizedCrop(SIZE, scale=(CROPS.crop_scale, 1.0))
    pipeline = transforms.Compose([crop, transforms.RandomHorizontalFlip(), transforms.ToTensor()])
    data = ImageFolder(str(folder), pipeline)

    def load() -> None:
        for _ in range(batches):
            sampler(next(steps))

    def load_by_torchvision() -> None:
        for batch in range(batches):
            torch.stack([data[batch * BATCH + place][0] for place in range(BATCH)])

    def decode() -> None:
        for path, _ in data.samples:
            with Image.open(path) as image:
                image.convert("RGB")

    seconds = take_turns({"alit": load, "torchvision": load_by_torchvision, "decoding alone": decode}, rounds)
    return {
        "images_per_cpu_second": {name: images_per_second(taken.cpu) for name, taken in seconds.items()},
        "over_torchvision": ratio(seconds["torchvision"], seconds["alit"])["cpu"],
    }


def images_per_second(seconds: np.ndarray, images: int = FILES) -> dict[str, float]:
    """Return the median, least and greatest rate of the rounds."""
    rates = images / seconds
    return {
        "median": round(float(np.median(rates)), 1),
        "lowest": round(float(rates.min()), 1),
        "highest": round(float(rates.max()), 1),
    }


def with_workers(images: ImageSet, rounds: int, batches: int) -> dict[str, Any]:
    """Return images per second by the clock with one and with two workers, and their ratio within a round."""
    requests = partial(view_requests, BatchOrder(0, BATCH, len(images), 0, 1), CROPS)
    taken: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for workers, seconds in taken.items():
            seconds.append(seconds_of(ViewLoader(images, requests, workers=workers, pin_memory=False), batches))
    one, two = (np.array(seconds) for seconds in taken.values())
    gain = ratio(Seconds(one, one), Seconds(two, two))["wall"]
    rates = {str(workers): images_per_second(np.array(each), BATCH * batches) for workers, each in taken.items()}
    return {"images_per_second": rates, "gain_of_the_second": gain}


def seconds_of(load: Callable[[int], object], batches: int) -> float:
    """Return the seconds that batches take once the workers have started and what they had ready is used up."""
    warm = 6
    for step in range(warm):
        load(step)
    start = time.perf_counter()
    for step in range(warm, warm + batches):
        load(step)
    return time.perf_counter() - start


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write, and compare with the bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="repeats of each call (default: %(default)s)")
    parser.add_argument("--worker-rounds", type=int, default=5, help="0 leaves the workers out (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=40, help="of a round with workers (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        files = write_photographs(root / "photos")
        images = image_set(root)
        core = on_one_core(images, root / "photos", arguments.rounds)
        workers = with_workers(images, arguments.worker_rounds, arguments.batches) if arguments.worker_rounds else None
    result = {
        "command": "python benchmarks/loader_speed.py",
        "machine": machine(),
        "files": files,
        "bars": {"images_per_cpu_second": LEAST_IMAGES, "gain_of_the_second_worker": LEAST_GAIN},
        "one_core": core,
        "workers": workers,
    }
    write_result(result, arguments.output)
    slow = core["images_per_cpu_second"]["alit"]["median"] < LEAST_IMAGES
    alone = workers is not None and workers["gain_of_the_second"]["median"] < LEAST_GAIN
    sys.exit(1 if slow or alone else 0)


if __name__ == "__main__":
    run_command(main)
