"""The README's promises: its code runs, its commands exist, its tables are those of the configs and the results."""

import json
import re
import shlex

import pandas as pd
import pytest
import yaml
from checkout import ROOT, run_of_record
from PIL import Image
from skimage.data import astronaut
from tiny import tokenizer

from alit.cli import main
from alit.config import load_profile
from alit.report.pages import mean_errors

CHECKPOINT = "zoo/alit-imagenette"
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """A reader's folder: a picture of their own, and the zoo's checkpoint, or one of its layout with random weights."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(astronaut()).save("picture.jpg")
    (tmp_path / "pictures").mkdir()
    Image.fromarray(astronaut()[:200]).save("pictures/part.png")
    if (ROOT / CHECKPOINT).is_dir():
        (tmp_path / "zoo").symlink_to(ROOT / "zoo")
    else:
        tokenizer(load_profile(ROOT / "configs" / "imagenette.yaml").tokenizer).save_pretrained(CHECKPOINT)
    return tmp_path


def test_the_python_example_encodes_a_picture_of_ones_own(own_folder):
    code = next(block for language, block in BLOCKS if language == "python")
    names = {}
    exec(code, names)
    assert names["images"].shape == names["rebuilt"].shape == (1, 3, 64, 64)
    assert names["tokens"].lengths[0] in names["tokenizer"].lengths


@pytest.mark.slow
def test_the_shell_lines_run(own_folder):
    lines = next(block for _, block in BLOCKS if block.startswith("alit encode")).splitlines()
    for line in lines:
        program, *arguments = line.split()
        assert program == "alit"
        main(arguments)
    assert [path.name for path in (own_folder / "rebuilt").iterdir()] == ["00000-part.png"]


@pytest.mark.parametrize("target", sorted({"repro", "test", *re.findall(r"`make ([\w-]+)", README)}))
def test_named_make_targets_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_by_hand_installs_what_make_installs():
    assert "-c requirements.lock -e '.[dev]'" in (ROOT / "Makefile").read_text()
    assert any("pip install -c requirements.lock -e '.[dev]'" in block for _, block in BLOCKS)


def test_the_notebook_and_its_parameters_exist():
    command = shlex.split(next(block for _, block in BLOCKS if block.startswith("papermill")))
    assert command[:3] == ["papermill", "notebooks/tsc_toi.ipynb", "out.ipynb"]
    given = {command[place + 1] for place, word in enumerate(command) if word == "-p"}
    for place, word in enumerate(command):
        if word == "-y":
            given |= set(yaml.safe_load(command[place + 1]))
    cells = json.loads((ROOT / command[1]).read_text())["cells"]
    parameters = next("".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", ()))
    assert given <= set(re.findall(r"^(\w+)", parameters, re.MULTILINE))


def section(title: str) -> str:
    """Return the README's part below a heading, up to the next of its kind."""
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_studies_of_the_table_are_those_of_the_pipeline():
    names = yaml.safe_load((ROOT / "params.yaml").read_text())
    told = dict(re.findall(r"^\| \[`(\w+)`\].*\| ([AC\d, ]+) \|$", section("The studies"), re.MULTILINE))
    assert sorted(told) == sorted([*names["studies"], *names.get("measured_studies", [])])
    for study, claims in told.items():
        about = json.loads((ROOT / "notebooks" / f"{study}.ipynb").read_text())["metadata"]["alit"]
        assert claims.split(", ") == about["claims"], study


def test_profiles_of_the_table_are_the_configs():
    named = re.findall(r"^\| `([\w-]+)`", section("Profiles"), re.MULTILINE)
    assert sorted(named) == sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))


def test_image_sizes_of_the_table_are_those_of_the_configs():
    named = dict(re.findall(r"^\| `([\w-]+)`[^|]*\|[^|]* (\d+) px \|", README, re.MULTILINE))
    configs = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "configs").glob("*.yaml")}
    assert named == {name: str(config["data"]["image_size"]) for name, config in configs.items()}


def test_a_setting_named_in_the_readme_exists():
    profile, keys = re.search(r"-S (configs/\w+\.yaml):([\w.]+)=", README).groups()
    content = yaml.safe_load((ROOT / profile).read_text())
    for key in keys.split("."):
        content = content[key]
    assert isinstance(content, int)


def test_errors_in_the_readme_are_those_of_the_reference_run():
    part = section("Results so far").split("<!-- end of verdicts -->")[1]
    head, _, row = [re.findall(r"[\d.]+", line) for line in part.splitlines() if line[:1] == "|"]
    table = pd.read_parquet(run_of_record().table)
    means = mean_errors(table, ["imagenette_val"]).loc["imagenette_val"]
    assert [int(length) for length in head] == list(means.index)
    assert row == [f"{value:.4f}" for value in means]
    card = json.loads((ROOT / CHECKPOINT / "card.json").read_text())
    assert f"{card['base']['l1']:.4f} with {card['base']['tokens']}" in README
