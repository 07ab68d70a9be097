"""Layouts of image folders, SAVOIAS and packed arrays, and where data are looked for."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alit.data.locate import FETCH, data_roots, locate_data
from alit.data.prepare import ImageSetConfig, build_source
from alit.data.sources.folder import CATEGORIES, folder_source, savoias_source
from alit.data.sources.packed import PackedSource
from alit.errors import ConfigError, DataError


def picture(path: Path, value: int = 100, size: tuple[int, int] = (8, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)
    return path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def config(**changes) -> ImageSetConfig:
    fields = {"name": "set", "role": "evaluate", "source": "folder", "path": "set", "variant": "base"}
    return ImageSetConfig.model_validate(fields | {"split": "val", "images": None, "pack": True} | changes)


def test_class_folders_give_labels_in_the_order_of_their_names(tmp_path):
    for name in ("val/n02/b.png", "val/n01/a.png", "val/n02/a.JPEG", "train/n00/a.png"):
        picture(tmp_path / name)
    write(tmp_path / "val/n01/notes.txt", "not an image")
    source = folder_source("set", tmp_path, "val")
    records = [source.record(index) for index in range(len(source))]
    assert source.class_names == ("n01", "n02")
    assert [record.origin for record in records] == ["val/n01/a.png", "val/n02/a.JPEG", "val/n02/b.png"]
    assert [record.label for record in records] == [0, 1, 1]
    assert [record.class_name for record in records] == ["n01", "n02", "n02"]
    assert {record.split for record in records} == {"val"}


def test_nested_folders_name_the_class_by_the_nearest_folder(tmp_path):
    picture(tmp_path / "a/deep/cat/1.png")
    picture(tmp_path / "b/dog/2.png")
    source = folder_source("set", tmp_path, "val")
    assert source.class_names == ("cat", "dog")
    assert source.record(1).origin == "b/dog/2.png"


def test_a_flat_folder_has_no_labels(tmp_path):
    picture(tmp_path / "1.png")
    picture(tmp_path / "2.png")
    source = folder_source("set", tmp_path, "val")
    assert source.class_names == ()
    assert source.record(0).label is None
    assert source.record(0).class_name is None


def test_files_named_by_wordnet_ids_name_their_class(tmp_path):
    picture(tmp_path / "n01484850.jpg")
    picture(tmp_path / "n01440764.jpg")
    source = folder_source("set", tmp_path, "val")
    assert source.class_names == ("n01440764", "n01484850")
    assert source.record(1).label == 1


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected images"):
        folder_source("set", tmp_path, "val")


def test_a_file_source_reads_and_hashes_the_file(tmp_path):
    path = picture(tmp_path / "cat/1.png", 33)
    source = folder_source("set", tmp_path, "val")
    assert source.read(0).shape == (6, 8, 3)
    assert (source.read(0) == 33).all()
    assert source.digest(0) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert source.depth(0) is None
    assert source.masks(0) is None


def test_savoias_compact_layout_gives_one_category_with_scores(tmp_path):
    write(tmp_path / "scores.csv", "file,category,complexity\nart/0.jpg,art,36.5\nscenes/0.jpg,scenes,9\n")
    picture(tmp_path / "art/0.jpg")
    source = savoias_source("art", tmp_path, "art")
    assert len(source) == 1
    assert source.record(0).origin == "art/0.jpg"
    assert source.record(0).complexity == 36.5
    assert source.read(0).shape == (6, 8, 3)
    with pytest.raises(DataError, match="no category objects"):
        savoias_source("set", tmp_path, "objects")


@pytest.mark.parametrize("truth", ["Ground truth", "GroundTruth"])
@pytest.mark.parametrize("category", ["art", "objects", "interior_design"])
def test_savoias_public_layout_orders_scores_by_the_number_of_the_image(tmp_path, truth, category):
    folder, suffix = CATEGORIES[category]
    for number in range(11):
        picture(tmp_path / "Images" / folder / f"{number}.{'png' if number == 3 else 'jpg'}")
    write(tmp_path / f"{truth}/csv/global_ranking_{suffix}.csv", "gt\n" + "".join(f"{10 * n}\n" for n in range(11)))
    source = savoias_source("set", tmp_path, category)
    found = {Path(source.record(index).origin).stem: source.record(index).complexity for index in range(11)}
    assert found == {str(number): 10.0 * number for number in range(11)}
    assert source.record(10).origin == f"Images/{folder}/10.jpg"


def test_savoias_faults_say_what_is_wrong(tmp_path):
    with pytest.raises(DataError, match=r"expected scores\.csv"):
        savoias_source("set", tmp_path, "art")
    with pytest.raises(DataError, match="set split to one of: art, scenes"):
        savoias_source("set", tmp_path, "painting")
    picture(tmp_path / "Images/Art/0.jpg")
    write(tmp_path / "Ground truth/csv/global_ranking_art.csv", "gt\n1\n2\n")
    with pytest.raises(DataError, match="2 scores for 1 images"):
        savoias_source("set", tmp_path, "art")
    write(tmp_path / "scores.csv", "file,complexity\nart/0.jpg,1\n")
    with pytest.raises(DataError, match="lacks the column category"):
        savoias_source("set", tmp_path, "art")
    write(tmp_path / "scores.csv", "file,category,complexity\nart/0.jpg,art,high\n")
    with pytest.raises(DataError, match="expected a number"):
        savoias_source("set", tmp_path, "art")


def test_packed_arrays_bring_what_they_hold(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    depth = np.full((3, 5, 7), 2.5, np.float16)
    np.savez(
        tmp_path / "set.npz",
        images=images,
        labels=np.array([1, -1, 0]),
        class_names=np.array(["cat", "dog"]),
        complexity=np.array([3.0, np.nan, 5.0]),
        captions=np.array(["a dog", "nothing", "a cat"]),
        depth=depth,
        masks=np.ones((3, 5, 7), np.uint8),
    )
    source = PackedSource("set", tmp_path / "set.npz", "val")
    assert len(source) == 3
    assert np.array_equal(source.read(1), images[1])
    assert [source.record(index).label for index in range(3)] == [1, None, 0]
    assert source.record(0).class_name == "dog"
    assert source.record(1).complexity is None
    assert source.record(2).caption == "a cat"
    assert source.depth(0).dtype == np.float32
    assert source.masks(2).sum() == 35
    assert source.digest(0) == hashlib.sha256(images[0].tobytes()).hexdigest()


def test_a_bare_greyscale_array_is_a_source(tmp_path):
    np.save(tmp_path / "set.npy", np.full((2, 4, 4), 9, np.uint8))
    source = PackedSource("set", tmp_path / "set.npy", "val")
    assert source.read(1).shape == (4, 4, 3)
    assert source.record(1).label is None
    assert source.depth(1) is None


def test_faulty_packed_arrays_are_refused(tmp_path):
    path = tmp_path / "set.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="is not a"):
        PackedSource("set", path, "val")
    np.savez(path, images=np.zeros((2, 4, 4, 3), np.float32))
    with pytest.raises(DataError, match="expected images as uint8"):
        PackedSource("set", path, "val")
    np.savez(path, images=np.zeros((2, 4, 4, 3), np.uint8), labels=np.zeros(3))
    with pytest.raises(DataError, match="expected 2 labels"):
        PackedSource("set", path, "val")
    np.savez(path, images=np.array([{}], dtype=object))
    with pytest.raises(DataError):
        PackedSource("set", path, "val")


def test_named_data_come_before_the_checkouts_own(tmp_path, monkeypatch):
    monkeypatch.delenv("ALIT_DATA", raising=False)
    (tmp_path / "project/data/set").mkdir(parents=True)
    roots = data_roots(tmp_path / "project")
    assert locate_data("set", roots) == tmp_path / "project/data/set"
    monkeypatch.setenv("ALIT_DATA", str(tmp_path / "mine"))
    roots = data_roots(tmp_path / "project")
    assert locate_data("set", roots) == tmp_path / "project/data/set"
    (tmp_path / "mine/set").mkdir(parents=True)
    assert locate_data("set", roots) == tmp_path / "mine/set"


@pytest.mark.parametrize("name", sorted(FETCH))
def test_missing_data_are_explained_in_one_line(tmp_path, name):
    path = f"{name}96" if name == "imagenette" else name
    with pytest.raises(DataError) as caught:
        locate_data(path, (tmp_path / "data",))
    message = str(caught.value)
    assert "\n" not in message
    for part in (FETCH[name].home, FETCH[name].size, str(tmp_path / "data" / path), "ALIT_DATA"):
        assert part in message


def test_missing_data_of_ones_own_are_explained_too(tmp_path):
    with pytest.raises(DataError, match="put it there"):
        locate_data("holiday", (tmp_path,))


def test_settings_that_cannot_work_are_refused_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match="need a number of images"):
        build_source(config(source="scenes", path=None), 32, (tmp_path,))
    with pytest.raises(ConfigError, match="needs a path"):
        build_source(config(path=None), 32, (tmp_path,))
    np.save(tmp_path / "set.npy", np.zeros((2, 4, 4, 3), np.uint8))
    with pytest.raises(ConfigError, match="needs pack"):
        build_source(config(source="packed", path="set.npy", pack=False), 32, (tmp_path,))


REAL = Path(os.environ.get("ALIT_DATA", "data"))


@pytest.mark.skipif(not (REAL / "savoias/scores.csv").is_file(), reason="no SAVOIAS below ALIT_DATA")
def test_the_real_savoias_is_read_whole():
    counts = {}
    for category in ("art", "scenes", "objects"):
        source = savoias_source(category, REAL / "savoias", category)
        scores = [source.record(index).complexity for index in range(len(source))]
        counts[category] = len(source)
        assert 0 <= min(scores) < 20
        assert 80 < max(scores) <= 100
        assert source.read(0).ndim == 3
    assert counts == {"art": 420, "scenes": 200, "objects": 200}


@pytest.mark.skipif(not (REAL / "imagenette96/val").is_dir(), reason="no imagenette96 below ALIT_DATA")
def test_the_real_imagenette_has_ten_classes():
    source = folder_source("val", REAL / "imagenette96", "val")
    assert len(source) == 3925
    assert len(source.class_names) == 10
    assert source.read(0).shape == (96, 96, 3)
