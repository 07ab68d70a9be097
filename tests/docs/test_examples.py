"""The examples of the pages on concepts and on the library run, in their order, in a reader's folder."""

import re
import shlex

import pytest
from checkout import ROOT
from PIL import Image
from skimage.data import astronaut
from tiny import tokenizer

from alit.cli import main
from alit.config import load_profile

CHECKPOINT = "zoo/alit-imagenette"


def blocks(page: str, language: str = "python") -> list[str]:
    """Return the fenced blocks of a page in one language."""
    found = re.findall(r"```(\w*)\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    return [text for name, text in found if name == language]


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


def test_the_example_of_the_readme_encodes_a_picture_of_ones_own(own_folder):
    [code] = blocks("README.md")
    names = {}
    exec(code, names)
    assert names["images"].shape == names["rebuilt"].shape == (1, 3, 64, 64)
    assert names["tokens"].lengths[0] in names["tokenizer"].lengths


def test_the_examples_of_the_library_run_one_after_another(own_folder, capsys):
    names = {}
    for code in blocks("docs/library.md"):
        exec(code, names)
    lengths = names["tokenizer"].lengths
    assert names["fixed"].lengths.tolist() == [16]
    assert names["spent"].lengths[0] <= 24
    assert [int(line.split()[0]) for line in capsys.readouterr().out.splitlines()] == list(lengths)


def test_the_examples_of_the_concepts_say_what_is_so():
    names = {}
    for code in blocks("docs/concepts.md"):
        exec(code, names)
    assert names["selection"].excluded == 0


@pytest.mark.slow
def test_the_shell_lines_run(own_folder):
    [lines] = [block for block in blocks("docs/command-line.md", "") if block.startswith("alit encode")]
    for line in lines.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "alit"
        main(arguments)
    assert [path.name for path in (own_folder / "rebuilt").iterdir()] == ["00000-part.png"]
    assert (own_folder / "sheet.png").is_file()
