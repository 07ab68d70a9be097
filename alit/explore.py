"""`alit explore`: an explorer of one's own pictures, by any checkpoint."""

import re
import sys
import tempfile
import webbrowser
from argparse import Namespace
from pathlib import Path

import pandas as pd

from alit.analysis.choices import settings_of_table, with_choices
from alit.analysis.grid import to_grid
from alit.analysis.study_data import StudyData
from alit.commands import load_onto, make_room, require_device, writing
from alit.data.imageset import ImageSet, open_set
from alit.data.prepare import ImageSetConfig, Rejected, write_set
from alit.data.sources.folder import folder_source
from alit.describe import describe_tokenizer
from alit.errors import DataError
from alit.files import is_standard_output, name_to_text, require_free
from alit.progress import ProgressBar
from alit.report.explorer.page import write_explorer
from alit.report.site import Provenance, Site
from alit.sweep.chunks import Chunk, SweepModels, measure_chunk
from alit.tasks.perceptual import ReconstructionTask
from alit.tokenizer.thumbnails import thumbnails_of
from alit.tokenizer.tokenizer import AdaptiveTokenizer

TASKS = ("l1", "psnr", "ssim")  # what is known of pictures without labels and without other networks
MAP_LAYER = 7 / 8  # of the way through the latent decoder, as in the paper's figures


def explore(arguments: Namespace) -> None:
    """Write an explorer of a folder's pictures and open it in the browser; unreadable ones end it with status 2."""
    require_device(arguments.device)
    make_room(arguments.output)
    if not arguments.force:
        require_free(arguments.output, [], lambda head: b"ALIT Suite" in head, kind="an explorer")
    tokenizer = load_onto(arguments.model, arguments.device)
    with tempfile.TemporaryDirectory() as scratch:
        images, refused = read_pictures(arguments.images, tokenizer.image_size, arguments.most, Path(scratch))
        with ProgressBar(len(images), shown=arguments.progress) as bar:
            table, thumbnails = measure_pictures(tokenizer, images, arguments.batch_size, bar)
    data = StudyData(to_grid(table), images.name, tokenizer.base_tokens, settings_of_table(table), 0, {})
    site = Site(arguments.output.parent, Provenance(images.name, "", "", str(describe_tokenizer(tokenizer))))
    command = f"alit explore {arguments.images} -m {arguments.model}"
    chosen = with_choices(data, tasks=TASKS)
    with writing(arguments.output):
        page = write_explorer(site, chosen, thumbnails, private=True, command=command, page=arguments.output.name)
    print(f"{len(images)} pictures: {page}", file=sys.stderr if is_standard_output(page) else sys.stdout)
    if not arguments.no_open:
        webbrowser.open(page.resolve().as_uri())
    if refused:
        raise DataError(
            f"{len(refused)} of {len(refused) + len(images)} pictures could not be read and are not in {page}: "
            + "; ".join(f"{each.origin}: {each.reason}" for each in refused)
        )


def read_pictures(folder: Path, size: int, most: int, scratch: Path) -> tuple[ImageSet, list[Rejected]]:
    """Read at most so many pictures of a folder, evenly over it, as center squares; also return the unreadable ones.

    Raises:
        DataError: there is no folder, or no picture in it that can be read.
    """
    if not folder.is_dir():
        raise DataError(f"expected a folder of pictures, found no folder at {folder}")
    name = folder.resolve().name
    label = re.sub(r"[^\w .()+-]", "_", name).strip(". ")[:100] or "pictures"  # names of folders may be any bytes
    source = folder_source(label, folder.resolve().parent, name)
    source.records = tuple(record._replace(split=label) for record in source.records)
    if source.skipped:
        print(f"{name_to_text(str(folder))}: {source.skipped}", file=sys.stderr)
    known = {"name": label, "split": label, "path": None, "variant": "base", "images": most}
    config = ImageSetConfig(role="evaluate", source="folder", pack=True, **known)
    refused = write_set(source, config, size, scratch / "set")
    if len(refused) == min(most, len(source)):
        raise DataError(f"expected pictures in {folder}, found none that can be read: {refused[0].reason}")
    return open_set(scratch / "set"), refused


def measure_pictures(
    tokenizer: AdaptiveTokenizer, images: ImageSet, batch_size: int, bar: ProgressBar
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the sweep table of pictures, and their thumbnails."""
    models = SweepModels(tokenizer, (ReconstructionTask(),), (), tokenizer.device)
    layer = max(1, round(MAP_LAYER * tokenizer.config.distillation.layers))
    tables, thumbnails = [], []
    for start in range(0, len(images), batch_size):
        chunk = Chunk(images, start, min(start + batch_size, len(images)))
        tables.append(measure_chunk(chunk, models, batch_size)[0])
        thumbnails += thumbnails_of(tokenizer, images.images(range(start, chunk.stop)).to(tokenizer.device), layer)
        bar.update(chunk.stop - start)
    names = images.manifest["image_id"].astype(str).to_numpy(dtype=object)
    shown = pd.DataFrame(thumbnails).assign(image_id=names, publishable=True)  # the reader's own
    return pd.concat(tables, ignore_index=True), shown
