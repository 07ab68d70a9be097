"""Making image sets: whole or absent, the same bytes each time, and every unreadable image listed."""

from pathlib import Path

import pytest
from photo_project import Project, one_set, scenes

from alit.data.imageset import open_set
from alit.data.scenes.scene import SceneSource
from alit.errors import ConfigError, DataError


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_materializing_twice_gives_the_same_bytes(project):
    project.materialize(one_set(), scenes())
    first = contents(project.data)
    project.materialize(one_set(), scenes())
    assert contents(project.data) == first
    assert {"photos/images.npy", "scenes/depth.npy", "scenes/masks.npy", "scenes/set.json"} <= set(first)


def test_nothing_in_a_set_names_a_place_on_this_machine(project):
    project.materialize(one_set(), one_set("lazy", pack=False))
    assert not any(str(project.root).encode() in content for content in contents(project.data).values())


def test_unreadable_images_are_listed_and_left_out(project):
    project.break_image("cat/3.png")
    project.materialize(one_set(), scenes(), share=0.2)
    assert len(open_set(project.data / "photos")) == 9
    (refused,) = project.refused()
    assert (refused["set"], refused["origin"]) == ("photos", "cat/3.png")
    assert refused["reason"]
    assert "cat/3.png" not in open_set(project.data / "photos").manifest["origin"].tolist()


def test_an_untroubled_run_leaves_a_list_with_a_header_only(project):
    project.materialize(one_set())
    assert project.rejected.read_text() == "set,origin,reason\n"


def test_too_many_unreadable_images_stop_the_stage_with_the_list_written(project):
    project.break_image("cat/3.png")
    project.break_image("dog/0.png")
    with pytest.raises(DataError, match=r"2 of 10 images could not be read \(20\.0%") as caught:
        project.materialize(scenes(), one_set(), share=0.1)
    assert "\n" not in str(caught.value)
    assert len(project.refused()) == 2
    assert not (project.data / "photos").exists()


def test_the_rejected_count_is_on_the_screen(project, capsys):
    project.break_image("cat/3.png")
    project.materialize(one_set(), share=0.2)
    assert "rejected=1" in capsys.readouterr().err


def test_an_interrupted_set_is_absent_and_the_next_run_completes_it(project, monkeypatch):
    calls = []

    def interrupted(self, index):
        calls.append(index)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return SceneSource.record(SceneSource("s", "base", "train", 6, 16), index)

    class Interrupted(SceneSource):
        record = interrupted

    monkeypatch.setattr("alit.data.prepare.SceneSource", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        project.materialize(scenes())
    with pytest.raises(DataError, match="run the data stage"):
        open_set(project.data / "scenes")
    monkeypatch.undo()
    project.materialize(scenes())
    assert len(open_set(project.data / "scenes")) == 6
    assert sorted(path.name for path in project.data.iterdir()) == ["scenes", "settings.json"]


def test_missing_data_stop_the_stage_before_any_work(project):
    with pytest.raises(DataError, match="imagenette"):
        project.materialize(scenes(), one_set(path="imagenette96"))
    assert not project.data.exists()


def test_two_sets_of_one_name_are_refused(project):
    with pytest.raises(ConfigError, match="photos, photos"):
        project.materialize(one_set(), one_set())
