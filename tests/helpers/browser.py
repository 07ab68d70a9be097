"""A headless browser, where there is one, and what pages must be in it: no wider than the window, without faults."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


def open_browser(profile: Path, *, record_network: bool = False) -> Any:
    """Start a browser with a profile of its own, which keeps what pages write to the console."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox does not run as root
    for flag in (*FLAGS, *sandbox, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    logs = {"browser": "ALL"} | ({"performance": "ALL"} if record_network else {})
    options.set_capability("goog:loggingPrefs", logs)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))


def axe_core(folder: Path) -> str:
    """Return the script of axe-core, from the npm registry or `$AXE_CORE`, a file; neither is part of the suite."""
    if named := os.environ.get("AXE_CORE"):
        return Path(named).read_text(encoding="utf-8")
    if (npm := shutil.which("npm")) is None:
        pytest.skip("no npm on the PATH to get axe-core with, and AXE_CORE names no file")
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder), "axe-core@4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        pytest.skip(f"npm could not get axe-core: {done.stderr.strip()[-200:]}")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@contextmanager
def laid_out(driver: Any, width: int, scheme: str) -> Iterator[None]:
    """Show pages at a width in px, for a reader who prefers `scheme`, light or dark."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    yield
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def serious_faults(driver: Any, axe: str) -> list[tuple[str, list[str]]]:
    """Return what axe-core finds on the open page that is serious or critical: rule, and some of the places."""
    driver.execute_script("document.getAnimations().forEach(it => it.finish())")  # or colors are still on their way
    driver.execute_script(axe)
    found = driver.execute_async_script("axe.run({preload: false}).then(arguments[arguments.length - 1])")
    assert len(found["passes"]) > 15
    serious = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
    return [(each["id"], [node["html"][:120] for node in each["nodes"]][:3]) for each in serious]


def scrolls_sideways(driver: Any) -> bool:
    """Return whether the open page is wider than the window."""
    needed, there = driver.execute_script(
        "const it = document.documentElement; return [it.scrollWidth, it.clientWidth]"
    )
    return needed > there
