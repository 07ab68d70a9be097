"""What the README and the pages that it sends to promise: commands exist, tables are those of configs and studies."""

import json
import re
import shlex

import pytest
import yaml
from checkout import ROOT
from PIL import Image

README = (ROOT / "README.md").read_text(encoding="utf-8")
START = (ROOT / "docs" / "start.md").read_text(encoding="utf-8")
STUDIES = (ROOT / "docs" / "studies" / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```\w*\n(.*?)```", START + STUDIES, re.DOTALL)
PICTURE = "docs/images/lengths.png"


def test_the_picture_is_there_with_its_command_and_is_no_larger_than_it_must_be():
    assert f"]({PICTURE})" in README
    assert f"python -m experiments.picture -o {PICTURE}" in START
    with Image.open(ROOT / PICTURE) as picture:
        assert picture.width >= 1200
        assert picture.mode == "RGB"  # nothing shines through, on a light page or a dark one
    assert (ROOT / PICTURE).stat().st_size < 200_000


@pytest.mark.parametrize("target", sorted({"repro", "test", *re.findall(r"`make ([\w-]+)", README + START)}))
def test_named_make_targets_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_by_hand_installs_what_make_installs():
    assert "-c requirements.lock -e '.[dev]'" in (ROOT / "Makefile").read_text()
    assert any("pip install -c requirements.lock -e '.[dev]'" in block for block in BLOCKS)


def test_the_notebook_and_its_parameters_exist():
    command = shlex.split(next(block for block in BLOCKS if block.startswith("papermill")))
    assert command[:3] == ["papermill", "notebooks/tsc_toi.ipynb", "out.ipynb"]
    given = {command[place + 1] for place, word in enumerate(command) if word == "-p"}
    for place, word in enumerate(command):
        if word == "-y":
            given |= set(yaml.safe_load(command[place + 1]))
    cells = json.loads((ROOT / command[1]).read_text())["cells"]
    parameters = next("".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", ()))
    assert given <= set(re.findall(r"^(\w+)", parameters, re.MULTILINE))


def test_studies_of_the_table_are_those_of_the_pipeline():
    names = yaml.safe_load((ROOT / "params.yaml").read_text())
    told = dict(re.findall(r"^\| \[(\w+)\]\(\w+\.md\).*?\| ([AC]\d[AC\d, ]*) \|", STUDIES, re.MULTILINE))
    assert sorted(told) == sorted([*names["studies"], *names.get("measured_studies", [])])
    for study, claims in told.items():
        about = json.loads((ROOT / "notebooks" / f"{study}.ipynb").read_text())["metadata"]["alit"]
        assert claims.split(", ") == about["claims"], study


def test_profiles_of_the_table_are_the_configs():
    part = START.split("\n## Profiles\n")[1].split("\n## ")[0]
    named = re.findall(r"^\| `([\w-]+)`", part, re.MULTILINE)
    assert sorted(named) == sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))


def test_image_sizes_of_the_table_are_those_of_the_configs():
    named = dict(re.findall(r"^\| `([\w-]+)`[^|]*\|[^|]* (\d+) px \|", START, re.MULTILINE))
    configs = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "configs").glob("*.yaml")}
    assert named == {name: str(config["data"]["image_size"]) for name, config in configs.items()}


def test_a_setting_named_by_the_page_exists():
    profile, keys = re.search(r"-S (configs/\w+\.yaml):([\w.]+)=", START).groups()
    content = yaml.safe_load((ROOT / profile).read_text())
    for key in keys.split("."):
        content = content[key]
    assert isinstance(content, int)
