"""Variables of the environment that libraries take for the current folder when they are empty."""

import os

# Caches and addresses of Hugging Face's hub, torch's hub and whatever follows the XDG rules.
NAMES = (
    *(
        "HF_ASSETS_CACHE",
        "HF_DATASETS_CACHE",
        "HF_ENDPOINT",
        "HF_HOME",
        "HF_HUB_CACHE",
        "HF_TOKEN_PATH",
        "HF_XET_CACHE",
    ),
    *("HUGGINGFACE_HUB_CACHE", "TORCH_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
)


def unset_empty_variables() -> None:
    """Unset those that are empty, as a shell leaves them behind; called before the libraries are imported."""
    for name in NAMES:
        if os.environ.get(name) == "":
            del os.environ[name]
