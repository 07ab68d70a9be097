"""The peak memory of a benchmark. A file of its own, since some of them must not load torch, as `common` does."""

import resource
import sys
from pathlib import Path


def peak_bytes() -> int:
    """Return the most resident memory that this program has had, in bytes.

    On Linux not by `ru_maxrss`, which is carried over exec: it would also count the program that started this one.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 2**10
