"""From the settings of an image set to its source."""

from pathlib import Path

from alit.config.s_data import ImageSetConfig
from alit.config.s_factor import FACTORS
from alit.data.depth_files import depth_source
from alit.data.folder import folder_source
from alit.data.locate import locate_data
from alit.data.mask_files import MASK_LAYOUTS, masked_source
from alit.data.packed import PackedSource
from alit.data.savoias import savoias_source
from alit.data.scene_source import ControlledSource, SceneSource
from alit.data.sources import ImageSource
from alit.errors import ConfigError


def build_source(config: ImageSetConfig, image_size: int, roots: tuple[Path, ...]) -> ImageSource:
    """Open the source of one set; `roots` are the folders that may hold real data.

    Raises:
        ConfigError: the settings do not say enough for this kind of source.
        DataError: the data are missing (the line says what to fetch) or of another layout.
    """
    if config.source == "scenes":
        if config.images is None or not config.pack:
            raise ConfigError(f"data.sets {config.name}: scenes need a number of images and pack: true")
        if config.variant in FACTORS:
            return ControlledSource(config.name, config.variant, config.split, config.images, image_size)
        return SceneSource(config.name, config.variant, config.split, config.images, image_size)
    if config.path is None:
        raise ConfigError(f"data.sets {config.name}: source {config.source} needs a path below $ALIT_DATA or data/")
    root = locate_data(config.path, roots)
    if config.source == "folder":
        return folder_source(config.name, root, config.split)
    if config.source in MASK_LAYOUTS:
        return masked_source(config.name, root, config.split, config.source)
    if config.source == "depth_pairs":
        return depth_source(config.name, root, config.split)
    if config.source == "savoias":
        return savoias_source(config.name, root, config.split)
    if not config.pack:
        raise ConfigError(f"data.sets {config.name}: source packed needs pack: true")
    return PackedSource(config.name, root, config.split)
