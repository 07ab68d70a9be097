"""One listing of a folder's pictures: links, circles, pipes, what is hidden, what cannot be read, and odd names."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from alit.data.imageset import open_set, read_manifest
from alit.data.listing import IMAGE_SUFFIXES, find_pictures, list_images
from alit.data.prepare import DataConfig, materialize_sets
from alit.data.sources.folder import folder_source
from alit.data.sources.opening import open_source
from alit.data.sources.webdataset import list_shards
from alit.errors import DataError
from alit.inputs import find_images


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(path, "PNG")


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in list_images(folder)]


def test_class_folders_that_are_links_are_followed_and_circles_are_not(tmp_path):
    draw(tmp_path / "all" / "n01" / "a.png")
    draw(tmp_path / "all" / "n02" / "b.png")
    subset = tmp_path / "subset"
    subset.mkdir()
    for name in ("n01", "n02"):
        (subset / name).symlink_to(tmp_path / "all" / name)
    (tmp_path / "all" / "n01" / "up").symlink_to(tmp_path / "all")
    (subset / "self.png").symlink_to("self.png")
    found = find_pictures(subset)
    assert names(subset)[:2] == ["n01/a.png", "n01/up/n02/b.png"]
    assert found.skipped["links in a circle"] == 1
    assert subset / "self.png" in found.paths
    source = folder_source("s", tmp_path / "subset", "")
    assert source.class_names == ("n01", "n02")


def test_what_begins_with_a_dot_is_no_part_of_a_folder(tmp_path):
    draw(tmp_path / "cat" / "a.png")
    for hidden in (".ipynb_checkpoints/a-checkpoint.png", "cat/.ipynb_checkpoints/a.png", "cat/._a.png", ".git/x.png"):
        draw(tmp_path / hidden)
    assert names(tmp_path) == ["cat/a.png"]
    assert folder_source("s", tmp_path, "").class_names == ("cat",)


def test_the_command_line_and_the_library_list_the_same(tmp_path, capfd):
    for name in ("b.png", "a.JPEG", "deep/c.webp", "d.avif", "e.jp2", "notes.txt", "README", "f.tga"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe.png")
    assert find_images([str(tmp_path)]) == list_images(tmp_path)
    assert names(tmp_path) == ["a.JPEG", "b.png", "d.avif", "deep/c.webp", "e.jp2"]
    said = "skipped 4 files: 1 devices, pipes or sockets, 1 with the suffix .tga, 1 with the suffix .txt, 1 without"
    assert said in capfd.readouterr().err


def test_a_link_that_leads_nowhere_is_not_left_out(tmp_path):
    (tmp_path / "gone.png").symlink_to("nowhere")
    assert names(tmp_path) == ["gone.png"]
    (tmp_path / "n03").symlink_to("nowhere")
    with pytest.raises(DataError, match="n03, found a link that leads nowhere"):
        list_images(tmp_path)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    draw(tmp_path / "cat" / "a.png")
    (tmp_path / "dog").mkdir()
    scan = os.scandir

    def refuse(folder):
        if Path(folder).name == "dog":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"cannot read the folder .*dog: Permission denied"):
        list_images(tmp_path)


def test_no_suffix_of_a_format_that_is_read_is_missing():
    from alit.data.decoding import FORMATS

    Image.init()
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS}
    assert known - IMAGE_SUFFIXES <= {".avifs", ".pfm", ".mpo"}


ODD = [b"caf\xe9.png", b"a\nb.png", b"a\rb.png", b'a",b.png', b"a\\xe9.png", b"NA.png", b"\xff.png", b" .png"]


@pytest.mark.parametrize("pack", [True, False])
def test_the_data_stage_keeps_files_of_any_name(tmp_path, pack):
    root = tmp_path / "data" / "odd"
    for name in ODD:
        draw(root / os.fsdecode(b"cl\xe9 ss") / os.fsdecode(name))
    (root / os.fsdecode(b"cl\xe9 ss") / os.fsdecode(b"b\xe4d.png")).write_bytes(b"")
    one = {"name": "odd", "role": "train", "source": "folder", "path": "odd", "variant": "base", "split": ""}
    config = {
        "image_size": 8,
        "rejected_share": 0.5,
        "flip": False,
        "crop_scale": 1.0,
        "sets": ({**one, "images": None, "pack": pack},),
    }
    for extra in ("crop_aspect",):
        if extra in DataConfig.model_fields:
            config[extra] = (0.75, 4 / 3)
    run = tmp_path / "runs" / "p" / "data"
    materialize_sets(DataConfig.model_validate(config), run, tmp_path / "rejected.csv", (tmp_path / "data",))
    images = open_set(run / "odd", data_root=tmp_path / "data")
    assert images.images(range(len(ODD))).shape == (len(ODD), 3, 8, 8)
    manifest = read_manifest(run / "odd" / "manifest.csv")
    assert len(set(manifest["origin"])) == len(ODD)
    assert set(manifest["class_name"]) == {"cl\\xe9 ss"}
    manifest.to_parquet(tmp_path / "m.parquet")
    rejected = pd.read_csv(tmp_path / "rejected.csv")
    assert rejected["origin"].tolist() == ["cl\\xe9 ss/b\\xe4d.png"]


def test_one_listing_is_used_everywhere():
    """Nothing else in the library searches folders for pictures; data sets look for their Parquet files."""
    sources = sorted((Path(__file__).parents[3] / "alit").glob("**/*.py"))
    calls = [line for path in sources for line in path.read_text(encoding="utf-8").splitlines() if ".rglob(" in line]
    assert sources
    assert [line for line in calls if '.rglob("*.parquet")' not in line] == []


def test_a_glob_finds_each_file_once_and_names_what_cannot_be_read(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    draw(Path("d/a.png"))
    draw(Path("d/sub/b.png"))
    Path("d/loop").symlink_to("../d")
    Path("d/gone.png").symlink_to("nowhere")
    os.mkfifo("d/pipe.png")
    everything = ["d/a.png", "d/gone.png", "d/pipe.png", "d/sub/b.png"]
    for pattern in ("d/**/*.png", "**/*.png", f"../{tmp_path.name}/d/../**/*.png"):
        assert [os.path.relpath(path) for path in find_images([pattern])] == everything
    assert [str(path) for path in find_images(["d/*"])] == everything[:3]
    assert capfd.readouterr().err == "d/*: skipped 2 folders\n"


def test_a_name_that_the_system_refuses_is_left_to_whoever_reads_it(tmp_path):
    draw(tmp_path / "a[1].png")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone.png").symlink_to("nowhere")
    for name in ("a[1].png", "x" * 300, "loop/a.png", "loop", "gone.png"):
        assert find_images([str(tmp_path / name)]) == [tmp_path / name]
    for name in ("b.png", "a[1].png/b.png", "*.jpg", "a[2].png"):
        with pytest.raises(DataError, match="found none"):
            find_images([str(tmp_path / name)])


def test_parquet_files_and_shards_are_listed_as_pictures_are(tmp_path):
    rows = pd.DataFrame({"image": [b"x"]})
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    for place in (elsewhere, folder, folder / ".cache"):
        place.mkdir()
    odd = os.fsdecode(b"caf\xe9.parquet")
    rows.to_parquet(elsewhere / "a.parquet")
    (folder / odd).write_bytes((elsewhere / "a.parquet").read_bytes())
    (folder / "link").symlink_to(elsewhere)
    (folder / "._b.parquet").write_bytes(b"no")
    (folder / ".cache" / "c.parquet").write_bytes(b"no")
    (folder / "notes.txt").touch()
    source = open_source(str(folder))
    assert [record.origin for record in map(source.record, range(len(source)))] == [
        "caf\\xe9.parquet@0+0",
        "link/a.parquet@0+0",
    ]
    assert source.skipped == "skipped 1 files: 1 with the suffix .txt"
    with pytest.raises(DataError, match="not an image"):
        source.read(0)
    (elsewhere / "x.tar").touch()
    (elsewhere / "._x.tar").touch()
    assert list_shards(elsewhere) == [elsewhere / "x.tar"]
    assert list_shards(folder) == []
