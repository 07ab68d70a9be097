"""The explorer in a real browser, from disk: pictures and numbers follow the controls, by mouse and by key."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from browser import BROWSER, DRIVER, axe_core, laid_out, open_browser, scrolls_sideways, serious_faults
from synthetic_tables import synthetic_study_data, synthetic_table
from synthetic_thumbnails import synthetic_thumbnails

from alit.analysis.numbers import format_number
from alit.report.explorer.page import write_explorer
from alit.report.site import Provenance, Site

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None or DRIVER is None, reason="no chromium and chromedriver on the PATH"),
]
TABLE = synthetic_table(images=60, datasets=("val",))
CONTROLS = ("criterion", "threshold", "measure", "pointer", "image", "tokens")
IDS = list(TABLE["image_id"].unique()[::3])
SCORES = TABLE.loc[TABLE["length"] > 0].set_index(["image_id", "length"])["l1"].unstack()  # image length


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    browser = open_browser(tmp_path_factory.mktemp("browser"), record_network=True)
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    site = Site(
        tmp_path_factory.mktemp("site"), Provenance("toy", "configs/toy.yaml", "0123456789ab", "random weights")
    )
    data = synthetic_study_data(TABLE, features=False)
    thumbnails = synthetic_thumbnails(IDS, len(SCORES.columns))
    return write_explorer(site, data, thumbnails, private=False, command="make").as_uri()


@pytest.fixture
def page(driver, address) -> Any:
    """The page, freshly opened, with its charts drawn."""
    driver.set_window_size(1280, 900)
    open_whole(driver, address)
    return driver


def open_whole(driver: Any, address: str) -> None:
    """Open the page and wait until its charts are drawn."""
    from selenium.webdriver.support.ui import WebDriverWait

    driver.get(address)
    WebDriverWait(driver, 30).until(lambda it: it.find_elements("css selector", "body.ready"))


def text(page: Any, name: str) -> str:
    return page.find_element("id", name).text


def set_slider(page: Any, name: str, value: int) -> None:
    """Move a slider as a drag does."""
    page.execute_script(
        "const it = document.getElementById(arguments[0]); it.value = arguments[1];"
        "it.dispatchEvent(new Event('input', {bubbles: true}))",
        name,
        value,
    )


def thumbnails(page: Any) -> dict[str, str]:
    """Return what is said of each thumbnail, in the page's order."""
    labels = page.execute_script(
        "return Array.from(document.querySelectorAll('#thumbnails button'), it => it.getAttribute('aria-label'))"
    )
    return dict(label.split(": ") for label in labels)


def test_the_slider_of_tokens_changes_picture_error_and_numbers(page):
    seen = set()
    for place, length in enumerate(SCORES.columns):
        set_slider(page, "tokens", place)
        l1 = format_number(SCORES.loc[IDS[0], length])
        assert text(page, "reconstruction-caption") == f"{length} tokens, L1 {l1}"
        assert page.find_element("css selector", "#scores td").text == l1
        pictures = [page.find_element("id", name) for name in ("reconstruction", "error")]
        seen.add(tuple(picture.value_of_css_property("background-position") for picture in pictures))
    assert len(seen) == len(SCORES.columns)


@pytest.mark.parametrize("place", [0, 7, 19])
def test_numbers_of_images_are_the_tables(page, place):
    from selenium.webdriver.support.ui import Select

    Select(page.find_element("id", "image")).select_by_index(place)
    for at in (0, 3, 7):
        set_slider(page, "tokens", at)
        assert page.find_element("css selector", "#scores td").text == format_number(SCORES.iloc[:, at][IDS[place]])


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_every_thumbnail_takes_its_selected_length_in_order(page, share):
    slider = page.find_element("id", "threshold")
    set_slider(page, "threshold", round(share * int(slider.get_attribute("max"))))
    threshold = float(text(page, "threshold-value"))
    satisfied = SCORES.loc[IDS].lt(threshold)
    expected = {
        name: f"{row.idxmax()} tokens" if row.any() else f"{SCORES.columns[-1]} tokens, not satisfied"
        for name, row in satisfied.iterrows()
    }
    shown = thumbnails(page)
    assert shown == expected
    order = [int(words.split()[0]) for words in shown.values()]
    assert order == sorted(order)
    assert len(set(order)) > 1
    everyone = SCORES.lt(threshold).to_numpy()
    lengths = np.where(everyone.any(axis=1), SCORES.columns.to_numpy()[everyone.argmax(axis=1)], SCORES.columns[-1])
    assert text(page, "capacity").startswith(f"{lengths.mean() / 64:.1%}")
    assert text(page, "satisfied").startswith(f"{everyone.any(axis=1).mean():.1%}")
    chosen = SCORES.to_numpy()[np.arange(len(SCORES)), np.searchsorted(SCORES.columns, lengths)].mean()
    cells = {
        row.find_element("tag name", "th").text: row.find_elements("tag name", "td")[0].text for row in rows_of(page)
    }
    assert cells["L1 error ↓"].startswith(f"{format_number(chosen)} [")


def rows_of(page: Any) -> list[Any]:
    return page.find_elements("css selector", "#tasks tbody tr")


def test_the_dot_moves_along_the_curves_and_another_criterion_has_its_own(page):
    from selenium.webdriver.support.ui import Select

    def dots() -> str:
        return page.execute_async_script(
            "const done = arguments[0]; setTimeout(() => done(Array.from("
            "document.querySelectorAll('#task-charts svg'), it => it.innerHTML).join()), 300)"
        )

    set_slider(page, "threshold", 3)
    strict, stop = dots(), text(page, "stops")
    set_slider(page, "threshold", 20)
    assert dots() != strict
    assert text(page, "stops") != stop
    Select(page.find_element("id", "criterion")).select_by_index(1)
    assert "class" in page.find_element("css selector", "#criterion option:checked").text
    assert dots() != strict
    Select(page.find_element("id", "criterion")).select_by_index(0)
    assert page.find_element("id", "threshold").get_property("value") == "20"  # each keeps its threshold


def test_everything_can_be_done_by_key(page):
    from selenium.webdriver.common.keys import Keys

    def focused() -> Any:
        return page.switch_to.active_element

    visited = []
    page.find_element("css selector", "nav a:last-child").send_keys(Keys.TAB)
    for _ in range(len(IDS) + 12):
        visited.append(focused().get_attribute("id") or focused().tag_name)
        focused().send_keys(Keys.TAB)
    assert [name for name in visited if name in CONTROLS] == list(CONTROLS)
    assert visited.count("button") == len(IDS)

    threshold, before = page.find_element("id", "threshold"), text(page, "threshold-value")
    threshold.send_keys(Keys.ARROW_RIGHT)
    assert float(text(page, "threshold-value")) > float(before)
    page.find_element("id", "pointer").send_keys(Keys.END)
    most = TABLE.loc[TABLE["image_id"].isin(IDS)].sort_values("complexity")["image_id"].iat[-1]
    assert text(page, "pointed-caption").startswith(most)
    button = page.find_elements("css selector", "#thumbnails button")[-1]
    name, words = button.get_attribute("aria-label").split(": ")
    button.send_keys(Keys.ENTER)
    assert text(page, "image-id") == name
    assert focused().get_attribute("id") == "tokens"
    assert text(page, "tokens-value") == words.split()[0]
    focused().send_keys(Keys.HOME)
    assert text(page, "tokens-value") == str(SCORES.columns[0])


def test_pointing_at_a_mark_shows_its_image(page):
    from selenium.webdriver.common.action_chains import ActionChains

    seen = set()
    marks = page.find_elements("css selector", "#length-chart .mark-symbol path")
    for mark in marks[:8]:
        page.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
        ActionChains(page).move_to_element(mark).perform()
        seen.add(text(page, "pointed-caption"))
    assert len(seen) > 3
    assert all(caption.split(":")[0] in IDS for caption in seen)


def test_nothing_is_on_the_console_and_no_request_leaves_the_page(page, address):
    for kind in ("browser", "performance"):
        page.get_log(kind)  # of the browser's own first page
    open_whole(page, address)
    set_slider(page, "threshold", 5)
    set_slider(page, "tokens", 2)
    assert [entry["message"] for entry in page.get_log("browser")] == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    requests = [it["params"]["request"]["url"] for it in events if it["method"] == "Network.requestWillBeSent"]
    assert address in requests
    assert [url for url in requests if url != address and not url.startswith("data:")] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_a_checker_of_accessibility_finds_no_serious_fault(page, address, width, scheme, axe):
    with laid_out(page, width, scheme):
        open_whole(page, address)
        assert not scrolls_sideways(page)
        assert serious_faults(page, axe) == []


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return axe_core(tmp_path_factory.mktemp("npm"))
