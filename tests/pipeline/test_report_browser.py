"""The report in a real browser, from the file system: no error on the console, no picture missing."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import BROWSER, DRIVER, open_browser
from synthetic_report import PAGES

WIDTHS = (1280, 400)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None or DRIVER is None, reason="no chromium and chromedriver on the PATH"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A headless browser with a profile of its own, which keeps what pages write to the console."""
    driver = open_browser(tmp_path_factory.mktemp("browser"))
    yield driver
    driver.quit()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", PAGES)
def test_page_loads_whole(browser, site: Path, page, width):
    browser.set_window_size(width, 900)
    browser.get((site / page).as_uri())
    assert browser.title.endswith("ALIT Suite · toy")
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    pictures = browser.execute_script("return Array.from(document.images, i => [i.src.slice(0, 80), i.naturalWidth])")
    assert [source for source, size in pictures if not size] == []
    assert browser.find_element("css selector", "h1").text
    assert browser.find_element("css selector", "main").value_of_css_property("max-width") != "none"  # styled


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", PAGES)
def test_page_never_scrolls_sideways(browser, site: Path, page, width):
    browser.set_window_size(width, 900)
    browser.get((site / page).as_uri())
    measures = "const page = document.documentElement; return [page.scrollWidth, page.clientWidth]"
    needed, there = browser.execute_script(measures)
    assert needed <= there


@pytest.mark.parametrize(("scheme", "file"), [("light", "card.png"), ("dark", "card_dark.png")])
def test_a_card_shows_the_figure_of_the_page_s_colors(browser, site: Path, scheme, file):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get((site / "index.html").as_uri())
    shown = browser.execute_script("return document.querySelector('.card img').currentSrc")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert shown.endswith(f"first/figures/{file}")


def test_a_reader_gets_from_the_front_page_to_a_study_its_code_and_back(browser, site: Path):
    browser.set_window_size(1280, 900)
    browser.get((site / "index.html").as_uri())
    browser.find_element("css selector", ".card").click()
    assert browser.current_url.endswith("first/index.html")
    browser.find_element("link text", "Show code").click()
    assert browser.current_url.endswith("first/code.html")
    browser.find_element("link text", "Overview").click()
    assert browser.current_url.endswith("toy/index.html")


def test_the_leaderboard_is_sorted_by_the_keyboard(browser, site: Path):
    from selenium.webdriver.common.keys import Keys

    browser.get((site / "leaderboard.html").as_uri())
    browser.find_element("css selector", ".sortable button").send_keys(Keys.ENTER)
    values = "return [...document.querySelector('.sortable').tBodies[0].rows].map(row => row.cells[2].dataset.value)"
    heads = browser.find_elements("css selector", ".sortable thead th")
    assert heads[0].get_attribute("aria-sort") == "ascending"
    bits = next(head for head in heads if head.text == "bits")
    button = bits.find_element("css selector", "button")
    for direction in ("ascending", "descending"):
        button.send_keys(Keys.SPACE)
        assert bits.get_attribute("aria-sort") == direction
        found = [float(value) for value in browser.execute_script(values)]
        assert found == sorted(found, reverse=direction == "descending")
        assert len(found) == 3
    assert browser.get_log("browser") == []


def test_a_missing_picture_would_be_seen(browser, site: Path, tmp_path):
    shutil.copytree(site, tmp_path / "broken")
    (tmp_path / "broken" / "first" / "figures" / "card.png").unlink()
    browser.get((tmp_path / "broken" / "index.html").as_uri())
    assert browser.execute_script("return Array.from(document.images).some(image => !image.naturalWidth)")
    assert browser.get_log("browser") != []
