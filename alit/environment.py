"""Variables of the environment that would mislead libraries, or stop their import, settled before they are imported."""

import os
from urllib.parse import urlsplit

from alit.errors import ConfigError

# Caches and addresses of Hugging Face's hub, torch's hub and whatever follows the XDG rules.
NAMES = (
    "HF_ASSETS_CACHE",
    "HF_DATASETS_CACHE",
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_TOKEN_PATH",
    "HF_XET_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "TORCH_HOME",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
)


def settle_environment() -> None:
    """Unset those that are empty, as a shell leaves them behind: they would mean the current folder.

    Raises:
        ConfigError: the address of the hub is none; its client would not be imported.
    """
    for name in NAMES:
        if os.environ.get(name) == "":
            del os.environ[name]
    endpoint = os.environ.get("HF_ENDPOINT", "")
    try:
        urlsplit(endpoint)
    except ValueError as error:
        raise ConfigError(f"expected an address in HF_ENDPOINT, found {endpoint}: {error}; unset or mend it") from error
