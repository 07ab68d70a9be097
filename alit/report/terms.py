"""Which pictures the report may show: composed scenes anyone may see, data sets with terms only their owner."""

from pathlib import Path

from alit.errors import ConfigError
from alit.settings import read_section


def shows_private_pictures(root: Path) -> bool:
    """Whether the report may show pictures whose terms forbid publishing them: key `pictures` of params.yaml.

    Raises:
        ConfigError: the key is missing, or neither `all` nor `publishable`.
    """
    path = root / "params.yaml"
    shown = read_section(path, "pictures", str)
    if shown not in ("all", "publishable"):
        raise ConfigError(f"{path}: pictures: expected all or publishable, found {shown}")
    return shown == "all"
