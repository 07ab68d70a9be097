"""`alit explore`: the page of one's own pictures."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

from alit import explore
from alit.analysis.numbers import format_number
from alit.cli import main
from alit.errors import ConfigError, DataError, MissingPackageError
from alit.tasks.protocol import round_to_8_bit


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny.tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (folder := tmp_path / "my photos" / "of <summer>").mkdir(parents=True)
    for number in range(3):
        pixels = (tiny.images(1, 16, seed=number)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder.parent


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the browser was told to open."""
    addresses: list[str] = []
    monkeypatch.setattr(explore.webbrowser, "open", addresses.append)
    return addresses


def content_of(page: Path) -> dict:
    found = re.search(r'id="explorer-data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_pictures_are_measured_at_every_length_and_shown(tmp_path, photos, model, opened):
    page = tmp_path / "out" / "mine.html"
    main(["explore", str(photos), "-m", str(model), "-o", str(page)])
    assert opened == [page.as_uri()]
    content = content_of(page)
    assert content["lengths"] == [2, 4, 6]
    assert [image["image_id"] for image in content["shown"]] == [f"of <summer>/{number}.png" for number in range(3)]
    assert len(content["pictures"]) == 3
    original = tiny.images(1, 16, seed=1).mul(255).to(int).div(255)
    for step, texts in zip(tiny.tokenizer().reconstructions(original), content["shown"][1]["scores"], strict=True):
        assert texts[0] == format_number(float((round_to_8_bit(step.images) - original).abs().mean()))
    assert "publishing" not in page.read_text(encoding="utf-8").split("<script")[0]
    assert [task["column"] for task in content["criteria"][0]["tasks"]] == ["l1", "psnr", "ssim"]


def test_the_browser_stays_closed_where_asked_and_a_page_may_be_written_again(tmp_path, photos, model, opened):
    page = tmp_path / "mine.html"
    for most in ("2", "100"):
        main(["explore", str(photos), "-m", str(model), "-o", str(page), "--no-open", "--most", most])
        assert len(content_of(page)["shown"]) == min(int(most), 3)
    assert opened == []


def test_unreadable_pictures_are_named_once_the_page_is_there(tmp_path, photos, model, opened):
    (photos / "broken.png").write_bytes(b"no picture")
    page = tmp_path / "mine.html"
    with pytest.raises(DataError, match=r"1 of 4 pictures could not be read .*broken\.png"):
        main(["explore", str(photos), "-m", str(model), "-o", str(page)])
    assert len(content_of(page)["shown"]) == 3
    assert len(opened) == 1


def test_what_leads_to_no_page_is_one_line(tmp_path, photos, model):
    (tmp_path / "notes.html").write_text("<!doctype html> of somebody else")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"no picture")
    for arguments, error, words in (
        ([str(tmp_path / "nowhere")], DataError, "found no folder"),
        ([str(tmp_path / "empty")], DataError, "found none"),
        ([str(tmp_path / "bad")], DataError, "none that can be read"),
        ([str(photos), "-o", str(tmp_path / "notes.html")], ConfigError, "explorer"),
    ):
        output = [] if "-o" in arguments else ["-o", str(tmp_path / "page.html")]
        with pytest.raises(error, match=words):
            main(["explore", *arguments, *output, "-m", str(model)])
    assert not (tmp_path / "page.html").exists()


def test_a_missing_package_is_named_before_any_work(monkeypatch, photos):
    monkeypatch.setattr("alit.errors.find_spec", lambda name: None if name == "vl_convert" else True)
    with pytest.raises(MissingPackageError, match=r"vl_convert.*alit-suite\[notebooks\]"):
        main(["explore", str(photos), "-m", "nowhere"])


@pytest.mark.parametrize("name", [b"caf\xe9", b".hidden", b"a\nb", b"\xff", b"x" * 255])
def test_a_folder_of_any_name_is_read(name: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder := tmp_path / os.fsdecode(name)).mkdir()
    Image.new("RGB", (8, 8)).save(folder / os.fsdecode(b"p" + name[:200] + b".png"))
    (folder / "notes.txt").touch()
    images, refused = explore.read_pictures(folder, 8, 5, tmp_path / "scratch")
    assert (len(images), refused) == (1, [])
    images.name.encode()
    assert "skipped 1 files: 1 with the suffix .txt" in capsys.readouterr().err
