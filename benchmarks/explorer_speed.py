"""Time an explorer in headless Chromium: opening it from disk, and answers to a threshold's drag and to a click.

    python benchmarks/explorer_speed.py reports/cpu/explorer.html -o benchmarks/results/explorer_speed.json

Opening ends when all charts are drawn, in a browser that has just been started; an answer ends when the browser has
painted what follows from it. Prints json; exits 1 when a median is over its bar.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alit.errors import DataError, run_command
from alit.files import write_whole

MOST_SECONDS, MOST_MILLISECONDS = 2.0, 100.0
# A frame is requested after the event, and another, whose callback runs when the first has been painted.
DRAGS = """
const done = arguments[0], slider = document.getElementById('threshold'), taken = [];
const painted = () => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)));
(async () => {
  for (let turn = 0; turn < 60; turn += 1) {
    const start = performance.now();
    slider.value = (Number(slider.value) + 7) % (Number(slider.max) + 1);
    slider.dispatchEvent(new Event('input'));
    await painted();
    taken.push(performance.now() - start);
  }
  done(taken);
})();
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="an explorer.html")
    parser.add_argument("--rounds", type=int, default=5, help="browsers started (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args(argv)
    opened, answers = [], []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as profile:
            browser = start_browser(profile)
            try:
                opened.append(open_page(browser, arguments.page))
                answers += browser.execute_async_script(DRAGS)
            finally:
                browser.quit()
    result = {
        "page_megabytes": round(arguments.page.stat().st_size / 1e6, 2),
        "cores": os.cpu_count(),
        "rounds": arguments.rounds,
        "open_seconds": _spread(opened, 2),
        "drag_milliseconds": _spread(answers, 1),
    }
    print(json.dumps(result, indent=2))
    if arguments.output:
        write_whole(arguments.output, f"{json.dumps(result, indent=2)}\n".encode())
    if result["open_seconds"]["median"] > MOST_SECONDS or result["drag_milliseconds"]["median"] > MOST_MILLISECONDS:
        print(f"over the bar of {MOST_SECONDS} s to open and {MOST_MILLISECONDS} ms to answer", file=sys.stderr)
        sys.exit(1)


def start_browser(profile: str) -> Any:
    """Start a headless browser with a profile of its own.

    Raises:
        DataError: there is none on the PATH.
    """
    from selenium import webdriver

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        raise DataError("expected chromium and chromedriver on the PATH, found none; install them")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    for flag in ("--headless", "--disable-gpu", "--disable-dev-shm-usage", *sandbox, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


def open_page(browser: Any, page: Path) -> float:
    """Open a page and return the seconds until its charts are drawn."""
    start = time.perf_counter()
    browser.get(page.resolve().as_uri())
    while not browser.execute_script("return document.body.classList.contains('ready')"):
        time.sleep(0.01)
    return time.perf_counter() - start


def _spread(values: Sequence[float], digits: int) -> dict[str, float]:
    numbers = {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
    return {name: round(value, digits) for name, value in numbers.items()}


if __name__ == "__main__":
    run_command(main)
